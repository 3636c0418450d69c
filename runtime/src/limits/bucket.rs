//! A share of processors, as a bucket that fills with time and is emptied by work.

use std::time::Duration;
use std::time::Instant;

use crate::units::Cpus;

/// What a bucket holds at most: the share of one such period.
///
/// The kernel's own quota has the same period, so that a guest in a process of its own and one in
/// a shared process see the same pauses.
const PERIOD: Duration = Duration::from_millis(100);

/// How much processor time a guest has left.
#[derive(Debug)]
pub(crate) struct Bucket {
    share: Cpus,
    /// Nanoseconds of processor time; below zero, a debt.
    level: i64,
    filled_at: Instant,
}

impl Bucket {
    /// A bucket that is full at `now`.
    pub(crate) fn new(share: Cpus, now: Instant) -> Self {
        Self { share, level: nanos(share.earned_in(PERIOD)), filled_at: now }
    }

    /// Changes the share, for the time to come.
    pub(crate) fn set_share(&mut self, share: Cpus, now: Instant) {
        if self.share == share {
            return;
        }
        self.fill(now);
        self.share = share;
        self.level = self.level.min(nanos(share.earned_in(PERIOD)));
    }

    /// Takes `spent` out, and says how long to wait until nothing is owed.
    pub(crate) fn spend(&mut self, spent: Duration, now: Instant) -> Option<Duration> {
        self.fill(now);
        self.level = self.level.saturating_sub(nanos(spent));
        let owed = u64::try_from(self.level.checked_neg()?).ok().filter(|owed| *owed != 0)?;
        Some(self.share.time_to_earn(Duration::from_nanos(owed)))
    }

    fn fill(&mut self, now: Instant) {
        let earned = self.share.earned_in(now.saturating_duration_since(self.filled_at));
        let full = nanos(self.share.earned_in(PERIOD));
        self.level = self.level.saturating_add(nanos(earned)).min(full);
        self.filled_at = now;
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Cpus {
        text.parse().expect("a share")
    }

    #[test]
    fn a_spinning_guest_gets_its_share_over_time() {
        let start = Instant::now();
        let (mut now, mut worked) = (start, Duration::ZERO);
        let mut bucket = Bucket::new(share("0.1"), now);
        while now < start + Duration::from_secs(10) {
            now += Duration::from_millis(1);
            worked += Duration::from_millis(1);
            now += bucket.spend(Duration::from_millis(1), now).unwrap_or_default();
        }
        let percent = worked.as_secs_f64() * 10.0;
        assert!((9.9..10.3).contains(&percent), "{percent}");
    }

    #[test]
    fn a_guest_that_sleeps_is_never_throttled() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(share("0.01"), now);
        for _ in 0..1000 {
            now += Duration::from_millis(100);
            assert_eq!(bucket.spend(Duration::from_micros(900), now), None);
        }
    }

    #[test]
    fn a_debt_is_paid_before_the_guest_goes_on() {
        let now = Instant::now();
        let mut bucket = Bucket::new(share("0.5"), now);
        let wait = bucket.spend(Duration::from_millis(150), now).expect("100 ms are owed");
        assert_eq!(wait, Duration::from_millis(200));
    }
}
