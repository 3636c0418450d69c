//! Trying again: how often, and after what pause.

use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::time::Duration;

use super::error::Reason;
use super::settings::Patience;

/// The tries of one thing.
#[derive(Debug)]
pub(super) struct Tries {
    patience: Patience,
    done: u32,
}

impl Tries {
    pub(super) fn new(patience: &Patience) -> Self {
        Self { patience: patience.clone(), done: 0 }
    }

    /// Begins to count anew, since something was gained.
    pub(super) fn reset(&mut self) {
        self.done = 0;
    }

    /// Waits for the next try; fails where there is none, because it is of no use, or because it
    /// was tried often enough.
    pub(super) async fn next(&mut self, reason: Reason) -> Result<(), Reason> {
        self.done += 1;
        let most = self.patience.attempts.min(reason.attempts_max());
        if !reason.is_passing() || most <= self.done {
            return Err(reason);
        }
        tokio::time::sleep(self.pause(reason.after())).await;
        Ok(())
    }

    /// What a registry asks for, and at least twice the last pause, give or take a half, so that
    /// many of us do not come back at once.
    fn pause(&self, asked: Option<Duration>) -> Duration {
        let doubled = self.patience.pause.saturating_mul(1 << (self.done - 1).min(16));
        // Each state of this kind has keys of its own, which is all the chance that is needed.
        let chance = u32::try_from(RandomState::new().hash_one(0) % 1000).unwrap_or(0);
        let own = doubled.saturating_mul(500 + chance) / 1000;
        own.max(asked.unwrap_or_default()).min(self.patience.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(after: Option<u64>) -> Reason {
        let after = after.map(Duration::from_secs);
        Reason::Busy { host: "r".to_owned(), status: 429, said: String::new(), after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut tries = Tries::new(&Patience::default());
        let mut pauses = Vec::new();
        let begun = tokio::time::Instant::now();
        while tries.next(busy(None)).await.is_ok() {
            pauses.push(begun.elapsed());
        }

        assert_eq!(pauses.len(), 4);
        // 0.5, 1, 2 and 4 seconds, give or take a half.
        assert!(pauses[3] >= Duration::from_millis(3750), "{pauses:?}");
        assert!(pauses[3] <= Duration::from_millis(11_260), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_kept_within_reason() {
        for (asked, expected) in [(7, 7), (1_000_000, 30), (u64::MAX, 30)] {
            let begun = tokio::time::Instant::now();
            Tries::new(&Patience::default()).next(busy(Some(asked))).await.expect("a next try");
            let waited = begun.elapsed();
            let expected = Duration::from_secs(expected);
            assert!(expected <= waited && waited < expected + Duration::from_secs(1), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_where_nobody_is_is_tried_twice() {
        use std::io::ErrorKind::*;
        for (kind, expected) in [(ConnectionRefused, 1), (NotFound, 1), (TimedOut, 4)] {
            let mut tries = Tries::new(&Patience::default());
            let mut pauses = 0;
            let nobody =
                || Reason::Connect { host: "r".to_owned(), source: std::io::Error::from(kind) };
            while tries.next(nobody()).await.is_ok() {
                pauses += 1;
            }
            assert_eq!(pauses, expected, "{kind}");
        }
    }

    #[tokio::test]
    async fn what_will_not_pass_is_not_tried_again() {
        let reason = Reason::Missing { host: "r".to_owned(), said: String::new() };
        assert!(Tries::new(&Patience::default()).next(reason).await.is_err());
    }
}
