//! Processes that another program started and this one has to wait for.
//!
//! Each is held by a descriptor, and waited for by that: never any child that comes, because this process
//! has children of other rooms, and of the library, who wait for them by themselves.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What is added to a signal's number to tell an end by it.
const BY_SIGNAL: u32 = 128;

/// The highest number of a signal.
const SIGNAL_MAX: i32 = 64;

/// How long a chain of parents and children is followed as they end.
const GENERATIONS_MAX: usize = 32;

/// The signal that nobody can refuse.
pub(crate) const KILL: i32 = 9;

/// Has this process become the parent of what its children leave behind.
pub(crate) fn be_reaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Has a program that is about to be started killed when the thread that starts it ends, and so with
/// this process: nobody would look at what it did.
pub(crate) fn end_with_us(command: &mut tokio::process::Command) {
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before that.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(Errno::SRCH))
        }
    };
    // JUSTIFICATION: it is said by the child of itself, between fork and exec.
    // SAFETY: `tie` makes two system calls, takes no lock and no memory.
    #[expect(unsafe_code, reason = "says something in the child before its program begins")]
    unsafe {
        command.pre_exec(tie);
    }
}

/// A child of this process that another program started.
#[derive(Debug)]
pub(crate) struct Adopted {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Adopted {
    /// Holds the child of this number.
    ///
    /// Fails where it is no child of this process: nobody else could tell how it ends.
    pub(crate) fn hold(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
        // Looked at with the descriptor open: the number of a child that was not waited for is free
        // for nobody else.
        let parent = stat(pid).map(|stat| stat.parent);
        if parent != Some(rustix::process::getpid().as_raw_nonzero().get().cast_unsigned()) {
            return Err(Errno::CHILD.into());
        }
        Ok(Self { pid: raw, pidfd })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends it a signal; says whether there was still somebody to get it.
    pub(crate) fn signal(&self, number: i32) -> io::Result<bool> {
        send(&self.pidfd, number)
    }

    /// Waits until it has ended, and says how: its code, or 128 and the number of a signal.
    pub(crate) async fn ended(&self) -> io::Result<u32> {
        watch(self.pidfd.try_clone()?)?.readable().await?.retain_ready();
        let id = WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.pidfd));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(id, options)?.ok_or(Errno::CHILD)?;
        let number = |number: i32| number.cast_unsigned();
        let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + number(signal));
        status.exit_status().map(number).or(by_signal).ok_or_else(|| Errno::CHILD.into())
    }
}

/// Sends a signal to the process of this number, if there is one of which `is_meant` holds.
pub(super) fn signal_if(pid: u32, number: i32, is_meant: impl Fn() -> bool) -> io::Result<()> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        // With the descriptor open the number stays whose it was when it was opened.
        Ok(pidfd) if is_meant() => send(&pidfd, number).map(|_gone| ()),
        Ok(_) | Err(Errno::SRCH | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn send(pidfd: &OwnedFd, number: i32) -> io::Result<bool> {
    if !(1..=SIGNAL_MAX).contains(&number) {
        return Err(Errno::INVAL.into());
    }
    // JUSTIFICATION: programs are stopped by signals without a name as well.
    // SAFETY: the number is a signal's, and is handed to the kernel for another process alone.
    #[expect(unsafe_code, reason = "names a signal by its number")]
    let signal = unsafe { Signal::from_raw_unchecked(number) };
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Has the runtime watch a descriptor for something to read.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it stays open, under one number, until the watch is dropped with it.
    #[expect(unsafe_code, reason = "registers a descriptor")]
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// What the kernel's table says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    parent: u32,
    group: u32,
    session: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in brackets, and may have brackets and spaces of its own.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut words = line.rsplit_once(") ")?.1.split(' ');
    let ended = words.next()? == "Z";
    let parent = words.next()?.parse().ok()?;
    let group = words.next()?.parse().ok()?;
    let session = words.next()?.parse().ok()?;
    Some(Stat { ended, parent, group, session })
}

/// Waits for children of this process that have ended and belong to a container: whom its processes left
/// behind, where it has no numbers of processes of its own.
///
/// A child belongs to it that is in its group of v2, or in a session that one of `leaders` began. That
/// tells it from the children of other rooms. The children `known` have somebody who waits for them.
pub(crate) fn reap_left(group: Option<&str>, leaders: &[u32], known: &[u32]) {
    for child in children(std::process::id()) {
        let is_left = !known.contains(&child)
            && stat(child).is_some_and(|stat| {
                stat.ended && (leaders.contains(&stat.session) || is_in(child, group))
            });
        if is_left && let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // It ended, and nobody asks how.
            let _how = rustix::process::waitid(WaitId::Pid(pid), options);
        }
    }
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let lists = lists.collect::<Vec<_>>().join(" ");
    lists.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Those that a process has started, and those that they have.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// Ends what a program left that was killed: its descendants, and whoever else is of its group, which it
/// began. They are children of this process once their parents are gone.
pub(crate) async fn end_left(group: u32, descendants: &[u32]) {
    for _ in 0..GENERATIONS_MAX {
        let is_of_it = |pid: &u32| stat(*pid).is_some_and(|stat| stat.group == group);
        let ours = children(std::process::id()).into_iter();
        let ours = ours.filter(|pid| descendants.contains(pid) || is_of_it(pid));
        let left: Vec<Adopted> = ours.filter_map(|pid| Adopted::hold(pid).ok()).collect();
        if left.is_empty() {
            return;
        }
        for process in left {
            // It may have ended; nobody asks how.
            let _gone = process.signal(KILL);
            let _how = process.ended().await;
        }
    }
}

/// Whether a process is, or was when it ended, in a group of v2.
fn is_in(pid: u32, group: Option<&str>) -> bool {
    let seats = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let seat = seats.lines().find_map(|line| line.strip_prefix("0::"));
    let seat = seat.map(|seat| seat.strip_suffix(" (deleted)").unwrap_or(seat));
    // The root is everybody's.
    group.is_some() && group != Some("/") && seat == group
}

/// How readily the kernel ends this process when memory is out: a child may ask for no less, where this
/// process has not the right to.
pub(crate) fn own_oom_score() -> Option<i64> {
    fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_process_cannot_be_taken_for_what_stands_behind_it() {
        let stat = parse_stat("71 (a) Z 9 (b) S 4 71 12 0 -1 4194560 1").unwrap();
        assert_eq!(stat, Stat { ended: false, parent: 4, group: 71, session: 12 });
        assert_eq!(parse_stat("71 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn the_group_of_everybody_makes_nobody_a_containers() {
        assert!(!is_in(std::process::id(), Some("/")));
        assert!(!is_in(std::process::id(), None));
    }
}
