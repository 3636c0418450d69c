//! What both benches share: numbers that look random and are the same everywhere.

/// Knuth's MMIX generator; the upper bits are good enough for a text.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn roll(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    pub fn word(&mut self) -> &'static str {
        WORDS[self.roll(WORDS.len())]
    }
}

const WORDS: [&str; 24] = [
    "aril", "seed", "cover", "host", "guest", "limit", "grant", "naïve", "über", "kernel", "page",
    "fault", "the", "of", "and", "a", "to", "memory", "instance", "start", "exit", "deadline",
    "digest", "layer",
];

/// The sizes a bench takes: a first and a second argument, or what it does by itself.
pub fn sizes(first: usize, second: usize) -> (usize, usize) {
    let mut arguments =
        std::env::args().skip(1).map(|argument| argument.parse().expect("sizes are numbers"));
    (arguments.next().unwrap_or(first), arguments.next().unwrap_or(second))
}
