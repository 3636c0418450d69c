//! Patterns of paths, as Go's `filepath.Match` has them, and with `**` as files of what is left out
//! have it.
//!
//! All ways to match all patterns are followed at the same time, a bit each: a character of a path
//! costs as much whatever the patterns are, and little. Source: Baeza-Yates and Gonnet, "A new
//! approach to text searching".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The longest pattern, in bytes: as long as a path may be.
const PATTERN_MAX: usize = 4096;

/// For how many characters it is kept which parts take them.
const KEPT_MAX: usize = 512;

/// Several patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    /// Those of all of them, one pattern after the other. A place is one before a part.
    parts: Vec<Part>,
    /// The places where a pattern begins.
    begins: Bits,
    /// The places before `*`, `**/`, `**` at the end, and at the ends of patterns.
    stars: Bits,
    directories: Bits,
    all: Bits,
    ends: Bits,
    /// Where each ends.
    end_of: Vec<usize>,
    /// Which parts take a character, as far as that was asked for.
    takers: RefCell<BTreeMap<char, Rc<Bits>>>,
}

/// A set of places.
type Bits = Vec<u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `?`: any character of a name.
    One,
    /// `*`: any characters of a name.
    Some,
    /// `[a-z]`, or `[^a-z]`: one of these characters, or another one, of a name.
    Class {
        is_inverted: bool,
        ranges: Vec<(char, char)>,
    },
    /// `**/`: nothing, or any directories.
    Directories,
    /// `**` at the end: all.
    All,
    /// There is no more.
    End,
}

/// How far into the patterns a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    here: Bits,
    /// The places before `**/` that were reached.
    inside: Bits,
}

impl Patterns {
    /// `with_directories` tells whether `**` is any number of directories, or twice `*`.
    pub(super) fn add(&mut self, text: &str, with_directories: bool) -> Result<(), String> {
        let parts = parts(text, with_directories)
            .map_err(|reason| format!("`{}` is no pattern: {reason}", super::shown(text)))?;
        self.takers.take();
        let begin = self.parts.len();
        let size = (begin + parts.len()).div_ceil(WORD);
        for bits in [
            &mut self.begins,
            &mut self.stars,
            &mut self.directories,
            &mut self.all,
            &mut self.ends,
        ] {
            bits.resize(size, 0);
        }
        set(&mut self.begins, begin);
        for (at, part) in (begin..).zip(&parts) {
            match part {
                Part::Some => set(&mut self.stars, at),
                Part::Directories => set(&mut self.directories, at),
                Part::All => set(&mut self.all, at),
                Part::End => {
                    set(&mut self.ends, at);
                    self.end_of.push(at);
                }
                Part::Literal(_) | Part::One | Part::Class { .. } => {}
            }
        }
        self.parts.extend(parts);
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.end_of.len()
    }

    /// How much is done for each character of a path.
    pub(super) fn width(&self) -> usize {
        self.begins.len()
    }

    /// Before the first character of a path.
    pub(super) fn begin(&self) -> Way {
        let mut way = Way { here: self.begins.clone(), inside: vec![0; self.begins.len()] };
        self.skip(&mut way.here);
        way
    }

    /// Goes on with what follows in a path.
    pub(super) fn follow(&self, way: &mut Way, text: &str) {
        for c in text.chars() {
            let takers = self.takers(c);
            let is_inner = c != '/';
            let mut carried = 0;
            for at in 0..self.begins.len() {
                let here = way.here[at];
                way.inside[at] |= here & self.directories[at];
                let left = if is_inner { 0 } else { way.inside[at] };
                let stays = self.all[at] | if is_inner { self.stars[at] } else { 0 };
                let moved = here & takers[at] | left;
                way.here[at] = moved << 1 | carried | here & stays;
                carried = moved >> (WORD - 1);
            }
            self.skip(&mut way.here);
        }
    }

    /// Which patterns a path matches that led there: the places of their ends.
    pub(super) fn met(&self, way: &Way) -> Bits {
        way.here.iter().zip(&self.ends).map(|(here, ends)| here & ends).collect()
    }

    /// The last pattern of which the end is in a set.
    pub(super) fn last_of(&self, met: &[u64]) -> Option<usize> {
        self.end_of.iter().rposition(|at| has(met, *at))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut way = self.begin();
        self.follow(&mut way, path);
        self.last_of(&way.here).is_some()
    }

    /// What may be nothing is stepped over. There are never more than two of them in a row.
    fn skip(&self, here: &mut [u64]) {
        loop {
            let (mut carried, mut is_more) = (0, false);
            for (at, word) in here.iter_mut().enumerate() {
                let skipped = *word & (self.stars[at] | self.directories[at] | self.all[at]);
                let next = *word | skipped << 1 | carried;
                carried = skipped >> (WORD - 1);
                is_more |= next != *word;
                *word = next;
            }
            if !is_more {
                break;
            }
        }
    }

    /// The places before parts that take a character.
    fn takers(&self, c: char) -> Rc<Bits> {
        let mut kept = self.takers.borrow_mut();
        if let Some(takers) = kept.get(&c) {
            return Rc::clone(takers);
        }
        let mut takers = vec![0; self.begins.len()];
        for (at, part) in self.parts.iter().enumerate() {
            if part.is_one(c) {
                set(&mut takers, at);
            }
        }
        if kept.len() == KEPT_MAX {
            kept.clear();
        }
        let takers = Rc::new(takers);
        kept.insert(c, Rc::clone(&takers));
        takers
    }
}

/// How many places a word of bits has.
const WORD: usize = 64;

fn set(bits: &mut [u64], at: usize) {
    bits[at / WORD] |= 1 << (at % WORD);
}

fn has(bits: &[u64], at: usize) -> bool {
    bits[at / WORD] >> (at % WORD) & 1 == 1
}

fn parts(text: &str, with_directories: bool) -> Result<Vec<Part>, &'static str> {
    if PATTERN_MAX < text.len() {
        return Err("it is longer than 4096 bytes");
    }
    let mut parts = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let part = match c {
            '*' if with_directories && chars.next_if_eq(&'*').is_some() => {
                let _eaten = chars.next_if_eq(&'/');
                if chars.peek().is_none() { Part::All } else { Part::Directories }
            }
            '*' => Part::Some,
            '?' => Part::One,
            '\\' => Part::Literal(chars.next().ok_or("it ends with `\\`")?),
            '[' => class(&mut chars).ok_or("its `[` has no end, or nothing in it")?,
            c => Part::Literal(c),
        };
        // Twice as many of any are as many.
        let is_again =
            matches!(part, Part::Some | Part::Directories) && parts.last() == Some(&part);
        if !is_again {
            parts.push(part);
        }
    }
    parts.push(Part::End);
    Ok(parts)
}

/// What follows a `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let is_inverted = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
    Some(Part::Class { is_inverted, ranges })
}

/// A character between `[` and `]`.
fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next() {
        Some('\\') => chars.next(),
        Some('-' | ']') => None,
        found => found,
    }
}

impl Part {
    fn is_one(&self, c: char) -> bool {
        match self {
            Self::Literal(own) => *own == c,
            Self::One => c != '/',
            Self::Class { is_inverted, ranges } => {
                let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                c != '/' && is_in != *is_inverted
            }
            Self::Some | Self::All | Self::Directories | Self::End => false,
        }
    }
}

/// Whether a path is a pattern of several.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// A pattern of names, without directories.
#[derive(Clone, Debug)]
pub(crate) struct Names(Patterns);

impl Names {
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut patterns = Patterns::default();
        patterns.add(pattern, false)?;
        Ok(Self(patterns))
    }

    /// Whether a name is one of them.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }

    /// How much it costs to find out, in words.
    pub(crate) fn cost_of(&self, name: &str) -> u64 {
        (name.len() * self.0.width()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> Result<bool, String> {
        Ok(Names::parse(pattern)?.matches(name))
    }

    #[test]
    fn a_pattern_means_what_go_takes_it_for() {
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("a[", "a", false),
            ("**", "a/b", false),
        ] {
            assert_eq!(matches(pattern, path).unwrap_or(false), expected, "{pattern} {path}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[", "[^", "[a", "a\\", &"a".repeat(4097)] {
            assert!(matches(pattern, "a").is_err(), "{pattern:.20} was taken");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer() {
        let mut patterns = Patterns::default();
        patterns.add(&"*a".repeat(1000), true).expect("a pattern");
        assert!(!patterns.matches(&"a".repeat(999)));
        assert!(patterns.matches(&"ba".repeat(1000)));
    }

    #[test]
    fn patterns_do_not_get_in_each_others_way() {
        // Their ends and beginnings are in the same word, and in the next one.
        for between in [0, 1, 60, 61, 62, 63, 64, 200] {
            let mut patterns = Patterns::default();
            for text in ["a", &"x".repeat(between + 1), "**/b", "*", "c**"] {
                patterns.add(text, true).expect("a pattern");
            }
            let last = |path: &str| {
                let mut way = patterns.begin();
                patterns.follow(&mut way, path);
                patterns.last_of(&patterns.met(&way))
            };
            for (path, expected) in [
                ("a", Some(3)),
                ("d/b", Some(2)),
                ("d/e", None),
                ("c/d", Some(4)),
                ("a/a", None),
                ("", Some(3)),
            ] {
                assert_eq!(last(path), expected, "{between} {path}");
            }
        }
    }

    /// What a pattern means, followed one way after the other.
    fn tried(parts: &[Part], path: &str, is_inside: bool) -> bool {
        let Some((part, rest)) = parts.split_first() else { return false };
        let mut chars = path.chars();
        let next = chars.next();
        let later = chars.as_str();
        match part {
            Part::End => path.is_empty(),
            Part::All => true,
            Part::Some => {
                tried(rest, path, false)
                    || next.is_some_and(|c| c != '/') && tried(parts, later, false)
            }
            Part::Directories => {
                !is_inside && tried(rest, path, false)
                    || next.is_some_and(|c| c == '/' && tried(rest, later, false))
                    || next.is_some() && tried(parts, later, true)
            }
            part => next.is_some_and(|c| part.is_one(c)) && tried(rest, later, false),
        }
    }

    #[test]
    fn all_short_patterns_mean_what_they_mean_one_way_after_the_other() {
        let words = |letters: &[&str], longest: u32| {
            let mut all = vec![String::new()];
            let mut last = 0;
            for _ in 0..longest {
                let end = all.len();
                for at in last..end {
                    all.extend(
                        letters
                            .iter()
                            .map(|letter| format!("{}{letter}", all[at]))
                            .collect::<Vec<_>>(),
                    );
                }
                last = end;
            }
            all
        };
        let paths = words(&["a", "b", "/"], 5);
        for pattern in words(&["a", "*", "?", "/", "[^a]"], 5) {
            let parts = parts(&pattern, true).expect("a pattern");
            let mut patterns = Patterns::default();
            patterns.add(&pattern, true).expect("a pattern");
            for path in &paths {
                assert_eq!(patterns.matches(path), tried(&parts, path, false), "{pattern} {path}");
            }
        }
    }
}
