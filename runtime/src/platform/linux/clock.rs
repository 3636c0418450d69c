//! Clocks of processor time, and the steady one that all processes share.

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

/// The system's steady clock: the same for all processes, from a moment that nobody knows.
pub(crate) fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// When a process was started, in ticks since the system was: no two processes with one number have
/// the same. Nothing where there is none, or only what is left of one that ended: who should wait for
/// it may never do.
pub(crate) fn started_at(process: u32) -> Option<u64> {
    started_in(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// The time in what the kernel says of a process: the twenty-second word, of which the second may
/// hold anything, and the third says whether it has ended.
fn started_in(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let has_ended = matches!(words.next()?, "Z" | "X");
    let started = words.nth(18)?.parse().ok();
    started.filter(|_| !has_ended)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_process_that_ended_is_none() {
        let stat = |state: &str| {
            format!("7 (a) Z (b) {state} 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0 0")
        };
        assert_eq!(started_in(&stat("S")), Some(12345));
        assert_eq!(started_in(&stat("T")), Some(12345));
        assert_eq!(started_in(&stat("Z")), None);
        assert_eq!(started_in(&stat("X")), None);
        assert_eq!(started_in(""), None);
        assert!(started_at(std::process::id()).is_some());
    }
}
