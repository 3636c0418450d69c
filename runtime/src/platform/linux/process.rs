//! Bounds that a process puts on itself, and its end.

use std::io;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Bounds this process's memory: private writable pages, as `RLIMIT_DATA` counts them, in bytes.
pub(crate) fn bound_memory(bytes: u64) -> io::Result<()> {
    lower(Resource::Data, bytes)
}

/// Bounds the files that this process has open, beside those that it has now.
///
/// What counts elsewhere may miss a file that a stream keeps open; this does not.
pub(crate) fn bound_open_files(more: u32) -> io::Result<()> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let bound = u64::from(more).saturating_add(FILES_SPARE);
    let bound = now.current.map_or(bound, |current| current.min(bound));
    Ok(rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(bound), maximum: now.maximum },
    )?)
}

/// Files of the process's own: streams, grants, artifacts, and a directory on the way to a file.
const FILES_SPARE: u64 = 64;

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
        // A kernel older than 5.9 has no such call; what it lets through is in no grant either.
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

/// Lets all threads of this process share one heap.
///
/// A second one costs a watchdog, which hardly allocates, 128 MiB of address space and a dozen
/// microseconds.
pub(crate) fn share_one_heap() {
    // JUSTIFICATION: only the C library's allocator knows its arenas.
    // SAFETY: takes two numbers, and is called before there is a second thread.
    #[expect(unsafe_code, reason = "sets an option of the allocator")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Asks for large pages where a guest's memory is beyond its first few MiB.
///
/// A process that ends gives back its memory page by page: a GiB takes 14 ms in small ones, which
/// would be 14 ms beyond a deadline.
pub(crate) fn prefer_large_pages(memory: *mut u8, reserved: usize) {
    let Some(rest) = reserved.checked_sub(SMALL_PAGES) else { return };
    // JUSTIFICATION: the advice is given by address.
    // SAFETY: the range is one guest's reservation, and the advice changes no content of it.
    #[expect(unsafe_code, reason = "advises the kernel about a range of memory")]
    let advised = unsafe {
        let start = memory.wrapping_add(SMALL_PAGES).cast();
        rustix::mm::madvise(start, rest, rustix::mm::Advice::LinuxHugepage)
    };
    // A kernel without large pages has small ones.
    advised.unwrap_or(());
}

/// Memory that stays in small pages: small guests are smaller so.
const SMALL_PAGES: usize = 4 << 20;

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
