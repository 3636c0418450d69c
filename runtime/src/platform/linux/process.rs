//! Bounds that a process puts on itself, and its end.

use std::io;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Bounds this process's memory: private writable pages, as `RLIMIT_DATA` counts them, in bytes.
pub(crate) fn bound_memory(bytes: u64) -> io::Result<()> {
    lower(Resource::Data, bytes)
}

/// Bounds the processor time of this process, in seconds. The kernel kills it then.
pub(crate) fn bound_cpu_time(seconds: u64) -> io::Result<()> {
    lower(Resource::Cpu, seconds)
}

/// Sees to it that this process leaves no image of its memory on disk.
pub(crate) fn leave_no_core() -> io::Result<()> {
    lower(Resource::Core, 0)
}

fn lower(resource: Resource, amount: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let amount = now.maximum.map_or(amount, |maximum| maximum.min(amount));
    let limit = Rlimit { current: Some(amount), maximum: Some(amount) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Ends this process when `parent` ends, also where it has ended already.
pub(crate) fn end_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let alive =
        rustix::process::getppid().is_some_and(|now| now.as_raw_pid().cast_unsigned() == parent);
    if alive { Ok(()) } else { Err(io::Error::other("the parent has ended")) }
}

/// Closes every descriptor that this process inherited beside the standard three.
///
/// Whoever started it may have left a directory open: it would lead out of every grant.
pub(crate) fn close_inherited() {
    // JUSTIFICATION: no safe wrapper exists; closing one by one needs /proc and costs a call each.
    // SAFETY: called before this process opened anything, so no handle of ours is closed; the
    // descriptors belong to nobody in this process.
    #[expect(unsafe_code, reason = "closes a range of descriptors")]
    unsafe {
        // A kernel older than 5.9 has no such call. `doctor` says so.
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// Ends this process at once: no destructors, no exit handlers, whatever other threads do.
pub(crate) fn exit_now(code: u8) -> ! {
    // JUSTIFICATION: `std::process::exit` runs exit handlers beside a guest that is still running.
    // SAFETY: `_exit` takes any number and does not return.
    #[expect(unsafe_code, reason = "ends the process without exit handlers")]
    unsafe {
        libc::_exit(i32::from(code))
    }
}

/// The program that this process runs, as a path that leads to it even where its file was
/// replaced.
#[expect(clippy::unnecessary_wraps, reason = "other systems have to look it up")]
pub(crate) fn own_program() -> io::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

/// The signal that ended a child, if one did.
pub(crate) fn ending_signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
