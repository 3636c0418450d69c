//! Clocks of processor time, and a steady one.

use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use cpu_time::ProcessTime;
use cpu_time::ThreadTime;

/// The processor time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    ThreadTime::try_now().map_or(Duration::ZERO, |time| time.as_duration())
}

/// The processor time that all threads of this process have used.
pub(crate) fn process_cpu_time() -> Duration {
    ProcessTime::try_now().map_or(Duration::ZERO, |time| time.as_duration())
}

/// Nobody knows here.
pub(crate) fn started_at(_process: u32) -> Option<u64> {
    None
}

/// A steady clock of this process: nothing is shared with others here.
pub(crate) fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    // Never zero, which stands for nothing.
    START.get_or_init(Instant::now).elapsed() + Duration::from_nanos(1)
}
