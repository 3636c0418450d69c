//! Clocks of processor time.

use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// The processor time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// The processor time that all threads of this process have used.
pub(crate) fn process_cpu_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
