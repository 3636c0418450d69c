//! What sandboxes are called: an id that no other ever has, and a name that people give.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::str::FromStr;

/// The longest name of a sandbox, in bytes.
const NAME_MAX: usize = 64;

/// How many digits an id has.
const ID_LENGTH: usize = 32;

/// How many digits of an id people are shown.
const SHORT_LENGTH: usize = 12;

/// What tells a sandbox from all others that ever were: 32 hexadecimal digits by chance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxId(String);

impl SandboxId {
    /// One that nobody has.
    pub(crate) fn new() -> Self {
        // Two keys by chance of the system's, each of 128 bits.
        let half = || RandomState::new().hash_one(std::process::id());
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first 12 digits, as people are shown it.
    pub fn short(&self) -> &str {
        &self.0[..SHORT_LENGTH]
    }

    /// The id that a text is, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == ID_LENGTH && could_begin_one(text);
        is_id.then(|| Self(text.to_owned()))
    }
}

/// Whether ids can begin with a text.
pub(crate) fn could_begin_one(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    !text.is_empty() && text.len() <= ID_LENGTH && text.bytes().all(is_digit)
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a sandbox: 1 to 64 letters, digits, `_`, `.` and `-`, of which the first is a letter
/// or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxName(String);

impl SandboxName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name by chance, for a sandbox that nobody named.
    pub(crate) fn by_chance() -> Self {
        let chance = RandomState::new().hash_one(0);
        let pick = |words: &[&'static str], from: u64| {
            let count = words.len() as u64;
            words[usize::try_from(from % count).unwrap_or_default()]
        };
        let (first, second) = (pick(&QUALITIES, chance >> 32), pick(&SEEDS, chance & 0xffff));
        Self(format!("{first}_{second}"))
    }

    /// The same with a number behind it, where the name alone is taken.
    pub(crate) fn numbered(&self, number: u32) -> Self {
        Self(format!("{}{number}", self.0))
    }
}

/// The first half of names by chance.
const QUALITIES: [&str; 48] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cool",
    "crisp", "deft", "eager", "early", "fair", "fine", "firm", "fond", "frank", "free", "fresh",
    "gentle", "glad", "golden", "grand", "green", "happy", "hardy", "honest", "keen", "kind",
    "lively", "lucky", "mellow", "merry", "mild", "neat", "noble", "plain", "proud", "quick",
    "quiet", "ready", "ripe", "sharp", "steady", "warm", "wise",
];

/// The second half: what has an aril, or is a seed.
const SEEDS: [&str; 40] = [
    "ackee", "almond", "anise", "apple", "bean", "cacao", "caraway", "cashew", "chia", "clove",
    "coconut", "coffee", "cotton", "cumin", "durian", "fennel", "fig", "flax", "guarana", "hazel",
    "lentil", "linseed", "longan", "lychee", "mace", "maize", "millet", "mustard", "nutmeg", "oat",
    "pea", "peach", "pepper", "pine", "poppy", "rambutan", "rye", "sesame", "walnut", "yew",
];

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot be a sandbox's name: {reason}; it begins with a letter or a digit, and has letters, \
     digits, `_`, `.` and `-`, at most {NAME_MAX} of them",
    name.escape_debug()
)]
pub struct InvalidSandboxName {
    name: String,
    reason: &'static str,
}

impl FromStr for SandboxName {
    type Err = InvalidSandboxName;

    fn from_str(name: &str) -> Result<Self, InvalidSandboxName> {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let reason = if name.is_empty() {
            "it is empty"
        } else if NAME_MAX < name.len() {
            "it is too long"
        } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "it begins with another character"
        } else if !name.chars().all(is_inner) {
            "it has another character"
        } else if SandboxId::parse(name).is_some() {
            "it has the form of an id"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidSandboxName { name: name.chars().take(NAME_MAX).collect(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_file_can_be_called_anywhere_and_nothing_else() {
        let long = "n".repeat(65);
        let id = SandboxId::new().to_string();
        for (name, reason) in [
            ("", "empty"),
            ("../x", "begins with another"),
            ("-rf", "begins with another"),
            (".", "begins with another"),
            ("a/b", "another character"),
            ("a\0", "another character"),
            ("a\n", "another character"),
            ("\u{1f331}", "begins with another"),
            (long.as_str(), "too long"),
            (id.as_str(), "form of an id"),
        ] {
            let error = name.parse::<SandboxName>().expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
        for name in ["web", "a", "7.b_c-D", "deadbeef"] {
            assert_eq!(name.parse::<SandboxName>().expect("a name").as_str(), name);
        }
        for _ in 0..100 {
            let name = SandboxName::by_chance();
            assert_eq!(name.as_str().parse().as_ref(), Ok(&name));
        }
    }

    #[test]
    fn ids_are_their_own_and_are_read_back() {
        let (one, other) = (SandboxId::new(), SandboxId::new());
        assert_ne!(one, other);
        assert_eq!(SandboxId::parse(one.as_str()), Some(one.clone()));
        assert_eq!(SandboxId::parse(one.short()), None);
        assert!(could_begin_one(one.short()) && !could_begin_one("") && !could_begin_one("x"));
    }
}
