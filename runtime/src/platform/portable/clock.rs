//! Clocks of processor time.

use std::time::Duration;

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
