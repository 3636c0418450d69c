//! Patterns of paths, as Go's `filepath.Match` has them, and with `**` as files of what is left out
//! have it.
//!
//! All ways to match are followed at the same time, so that no pattern takes longer than its length
//! times that of the path.

/// The longest pattern, in bytes: as long as a path may be.
const PATTERN_MAX: usize = 4096;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

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
}

impl Pattern {
    /// `with_directories` tells whether `**` is any number of directories, or twice `*`.
    pub(super) fn parse(text: &str, with_directories: bool) -> Result<Self, String> {
        let wrong = |reason: &str| format!("`{}` is no pattern: {reason}", super::shown(text));
        if PATTERN_MAX < text.len() {
            return Err(wrong("it is longer than 4096 bytes"));
        }
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if with_directories && chars.next_if_eq(&'*').is_some() => {
                    let _eaten = chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Part::All } else { Part::Directories }
                }
                '*' => Part::Some,
                '?' => Part::One,
                '\\' => Part::Literal(chars.next().ok_or_else(|| wrong("it ends with `\\`"))?),
                '[' => {
                    let is_inverted = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                        let mut one = || match chars.next() {
                            Some('\\') => chars.next(),
                            Some('-' | ']') | None => None,
                            found => found,
                        };
                        let open = || wrong("its `[` has no end, or nothing in it");
                        let low = one().ok_or_else(open)?;
                        let high = match chars.next_if_eq(&'-') {
                            None => low,
                            Some(_) => match chars.next() {
                                Some('\\') => chars.next(),
                                Some('-' | ']') => None,
                                found => found,
                            }
                            .ok_or_else(open)?,
                        };
                        ranges.push((low, high));
                    }
                    Part::Class { is_inverted, ranges }
                }
                c => Part::Literal(c),
            });
        }
        Ok(Self { parts })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let end = self.parts.len();
        // Where in the pattern we may be, and whether in the middle of some directories there.
        let mut here = vec![false; end + 1];
        let mut inside = vec![false; end];
        here[0] = true;
        self.skip(&mut here);
        for c in path.chars() {
            let mut next = vec![false; end + 1];
            for (at, part) in self.parts.iter().enumerate() {
                let is_here = here[at];
                match part {
                    Part::Directories => {
                        inside[at] |= is_here;
                        next[at + 1] |= inside[at] && c == '/';
                    }
                    Part::Some | Part::All => {
                        next[at] |= is_here && (c != '/' || *part == Part::All);
                    }
                    part => next[at + 1] |= is_here && part.is_one(c),
                }
            }
            here = next;
            self.skip(&mut here);
        }
        here[end]
    }

    /// What may be nothing is stepped over.
    fn skip(&self, here: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if here[at] && matches!(part, Part::Some | Part::All | Part::Directories) {
                here[at + 1] = true;
            }
        }
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
            Self::Some | Self::All | Self::Directories => false,
        }
    }
}

/// Whether a path is a pattern of several.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a name is one of those that a pattern means, without directories.
pub(crate) fn matches(pattern: &str, name: &str) -> Result<bool, String> {
    Ok(Pattern::parse(pattern, false)?.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let pattern = Pattern::parse(&"*a".repeat(1000), true).expect("a pattern");
        assert!(!pattern.matches(&"a".repeat(999)));
        assert!(pattern.matches(&"ba".repeat(1000)));
    }
}
