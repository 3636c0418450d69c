//! Processes that are known by a number and the moment at which they began: a number alone may be
//! another's by now.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

/// The number of this process.
pub(crate) fn own() -> u32 {
    std::process::id()
}

/// When a process began, in ticks since the host did.
pub(crate) fn beginning_of(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Its name may hold anything, and ends at the last parenthesis; the moment is the 22nd field.
    let after = text.rsplit_once(") ").map(|(_, rest)| rest);
    let field = after.and_then(|rest| rest.split(' ').nth(19));
    let ticks = field.and_then(|field| field.parse().ok());
    ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no beginning"))
}

/// Ends a process, if it is still the one that began at this moment, and waits until it is gone.
/// Says whether it is.
pub(crate) fn end(pid: u32, beginning: u64, limit: Duration) -> io::Result<bool> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(true) };
    let held = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(Errno::SRCH) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    // Held first, and looked at then: what is ended is what was looked at.
    match beginning_of(pid) {
        Ok(found) if found == beginning => {}
        _ => return Ok(true),
    }
    match rustix::process::pidfd_send_signal(&held, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
    let mut looked = [PollFd::new(&held, PollFlags::IN)];
    Ok(0 < rustix::event::poll(&mut looked, Some(&limit))?)
}

/// Whether the process that began at this moment is there, and has not ended.
pub(crate) fn is_running(pid: u32, beginning: u64) -> bool {
    let is_over = |pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        // One that nobody has waited for yet has ended all the same.
        matches!(state, None | Some('Z' | 'X'))
    };
    beginning_of(pid).is_ok_and(|found| found == beginning) && !is_over(pid)
}

/// Waits for the end of a process, if it is still the one that began at this moment, and ends it where
/// that takes longer than a second. Says whether it is gone.
pub(crate) fn end_after(pid: u32, beginning: u64, limit: Duration) -> io::Result<bool> {
    const GRACE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(true) };
    if !is_running(pid, beginning) {
        return Ok(true);
    }
    match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(held) => {
            let mut looked = [PollFd::new(&held, PollFlags::IN)];
            if is_running(pid, beginning) && rustix::event::poll(&mut looked, Some(&GRACE))? == 0 {
                return end(pid, beginning, limit);
            }
            Ok(true)
        }
        Err(Errno::SRCH) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_process_that_is_meant_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let beginning = beginning_of(child.id()).unwrap();
        let second = Duration::from_secs(1);
        assert!(end(child.id(), beginning + 1, second).unwrap());
        assert_eq!(child.try_wait().unwrap(), None, "a stranger was ended");
        assert!(end(child.id(), beginning, Duration::from_secs(10)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(end(child.id(), beginning, second).unwrap(), "gone is gone");
        assert!(end(0, 0, second).unwrap());
    }
}
