//! What control groups are called, so that whoever finds one knows whether somebody keeps it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::platform::clock;
use crate::platform::process;

/// The name of a group: of the process that keeps it, by its number, what that means and when it was
/// started, and of nothing else that it ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    space: u64,
    pub(super) process: u32,
    /// 0 where the system does not tell.
    pub(super) started: u64,
    count: u64,
}

impl Name {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        Self {
            space: process::number_space(),
            process,
            started: clock::started_at(process).unwrap_or(0),
            count: COUNT.fetch_add(1, Relaxed),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(str::parse::<u64>);
        let mut next = || parts.next()?.ok();
        let (space, process, started, count) = (next()?, next()?, next()?, next()?);
        let process = u32::try_from(process).ok()?;
        parts.next().is_none().then_some(Self { space, process, started, count })
    }

    /// Whether a group of this name was left, as far as that can be told without asking much: where
    /// thousands are there, each start would ask for each of their keepers. That a number is another's
    /// by now is looked for in one of 32.
    pub(super) fn is_surely_left(self, text: &str) -> bool {
        let looks_closely = |other: &Self| other.process % 32 == self.process % 32;
        Self::parse(text)
            .filter(|other| looks_closely(other) || !process::is_there(other.process))
            .is_some_and(|_| self.is_left(text))
    }

    /// Whether a group of this name was left by a keeper that is no more.
    pub(super) fn is_left(self, text: &str) -> bool {
        Self::parse(text).is_some_and(|other| {
            other.space == self.space
                && other.started != 0
                && clock::started_at(other.process) != Some(other.started)
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, process, started, count } = self;
        write!(f, "{space}-{process}-{started}-{count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_left_once_its_keeper_is_no_more_and_no_sooner() {
        let own = Name::new();
        assert_eq!(Name::parse(&own.to_string()), Some(own));
        assert!(!own.is_left(&own.to_string()), "its keeper is this process");
        if clock::started_at(own.process).is_some() {
            let later = Name { started: own.started + 1, ..own };
            assert!(own.is_left(&later.to_string()), "another had the number");
            let elsewhere = Name { space: own.space + 1, ..later };
            assert!(!own.is_left(&elsewhere.to_string()), "the number means another there");
        }
        let gone = Name { process: i32::MAX.cast_unsigned(), ..own };
        assert!(own.is_surely_left(&gone.to_string()) == (own.started != 0), "it has no keeper");
        assert!(!own.is_surely_left(&own.to_string()), "its keeper is this process");
        for text in ["", "1-2-3", "1-2-3-4-5", "web", "1-2-x-4", "1-99999999999-3-4"] {
            assert!(!own.is_left(text), "{text}");
        }
    }
}
