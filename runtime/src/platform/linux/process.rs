//! Bounds that a process puts on itself, and its end.

use std::io;
use std::mem::MaybeUninit;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Bounds this process's memory: private writable pages, as `RLIMIT_DATA` counts them, in bytes.
pub(crate) fn bound_memory(bytes: u64) -> io::Result<()> {
    lower(Resource::Data, bytes)
}

/// The same, in a way that this process or its parent can change.
pub(crate) fn bound_memory_for_now(bytes: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(Resource::Data).maximum;
    let bytes = maximum.map_or(bytes, |maximum| maximum.min(bytes));
    Ok(rustix::process::setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum })?)
}

/// The files that a guest may have open in this process at the most, beside `granted` directories.
pub(crate) fn open_files_max(granted: usize) -> u32 {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    u32::try_from(most.saturating_sub(files_of_own(granted))).unwrap_or(u32::MAX)
}

/// Bounds the files that this process has open to what a guest may have, beside `granted`
/// directories.
///
/// What counts elsewhere may miss a file that a stream keeps open; this does not.
pub(crate) fn bound_open_files(guests: u32, granted: usize) -> io::Result<()> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let bound = u64::from(guests).saturating_add(files_of_own(granted));
    Ok(rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(bound), maximum: now.maximum },
    )?)
}

/// Files of the process's own: streams, grants, artifacts, and a directory on the way to a file.
fn files_of_own(granted: usize) -> u64 {
    FILES_SPARE.saturating_add(granted as u64)
}

const FILES_SPARE: u64 = 64;

/// Bounds the processor time of this process, in seconds. The kernel kills it then.
pub(crate) fn bound_cpu_time(seconds: u64) -> io::Result<()> {
    lower(Resource::Cpu, seconds)
}

/// Sees to it that this process leaves no image of its memory on disk.
pub(crate) fn leave_no_core() -> io::Result<()> {
    lower(Resource::Core, 0)
}

/// Sees to it that nobody reads what this process has in its memory: it leaves no image of it,
/// also not to a program that collects them, and other processes of the same user may not look into
/// it. What it starts may be looked into, and leaves no image on disk either.
pub(crate) fn keep_secrets() -> io::Result<()> {
    leave_no_core()?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes a file that grows too large an error of the write that made it so, and no end of this
/// process.
pub(crate) fn bear_large_files() {
    // JUSTIFICATION: rustix sets no signals.
    // SAFETY: the number is a signal's, and to ignore it runs no code of anybody's.
    #[expect(unsafe_code, reason = "ignores a signal")]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
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
    // Called before this process opened anything, so no handle of ours is closed.
    close_between(3, libc::c_uint::MAX);
}

/// Closes them with the calls that every kernel has.
fn close_one_by_one(first: libc::c_uint, last: libc::c_uint) {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let listed: Option<Vec<libc::c_int>> = std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| entries.flatten().filter_map(number).collect());
    // Without /proc, what could be open: numbers end at the limit.
    let all = listed.unwrap_or_else(|| {
        let most = rustix::process::getrlimit(Resource::Nofile).maximum;
        (0..libc::c_int::try_from(most.unwrap_or(NUMBERS_MAX)).unwrap_or(libc::c_int::MAX))
            .collect()
    });
    let between = |number: &libc::c_int| (first..=last).contains(&number.cast_unsigned());
    for number in all.into_iter().filter(between) {
        // JUSTIFICATION: nobody owns what was inherited.
        // SAFETY: as above, and the list itself is closed already.
        #[expect(unsafe_code, reason = "closes a descriptor that was inherited")]
        unsafe {
            libc::close(number);
        }
    }
}

/// Where numbers of descriptors end if no limit says so: `fs.nr_open` is that by default.
const NUMBERS_MAX: u64 = 1 << 20;

/// Descriptors that stay open when all others are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept(std::collections::BTreeSet<libc::c_uint>);

impl Kept {
    /// The standard three.
    pub(crate) fn standard() -> Self {
        Self((0..3).collect())
    }

    /// Keeps this one as well.
    #[cfg(test)]
    pub(crate) fn keep(&mut self, open: &impl std::os::fd::AsRawFd) {
        self.0.insert(open.as_raw_fd().cast_unsigned());
    }

    /// Keeps what was inherited under this number as well.
    pub(crate) fn keep_number(&mut self, number: u32) {
        self.0.insert(number);
    }

    /// Closes all others, and says how, for people. Nobody in this process may use one of them, or
    /// close it, from here on.
    #[expect(clippy::unnecessary_wraps, reason = "other systems cannot")]
    pub(crate) fn close_others(&self) -> io::Result<String> {
        let mut from = 0;
        for kept in self.0.iter().copied().chain([libc::c_uint::MAX]) {
            if from < kept {
                close_between(from, kept - 1);
            }
            from = kept.saturating_add(1);
        }
        Ok(format!("{} are open, and no other", self.0.len()))
    }
}

fn close_between(first: libc::c_uint, last: libc::c_uint) {
    // JUSTIFICATION: no safe wrapper exists; closing one by one needs /proc and costs a call each.
    // SAFETY: the descriptors belong to nobody in this process, as both who call this say.
    #[expect(unsafe_code, reason = "closes a range of descriptors")]
    let closed = unsafe { libc::close_range(first, last, 0) } == 0;
    if !closed {
        // A kernel older than 5.9 has no such call, and a wall around this process may hide it.
        close_one_by_one(first, last);
    }
}

/// Whether the kernel has the call that closes a range of descriptors.
pub(crate) fn has_close_range() -> bool {
    // SAFETY: an empty range above all descriptors closes nothing; this asks for the call alone.
    #[expect(unsafe_code, reason = "asks whether the kernel has a call")]
    unsafe {
        libc::close_range(libc::c_uint::MAX - 1, libc::c_uint::MAX, 0) == 0
    }
}

/// Whether the kernel has the call that holds a process by a descriptor.
pub(crate) fn has_pidfd_open() -> bool {
    let own = rustix::process::getpid();
    rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).is_ok()
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

/// Leaves this process's memory to another process, which gives it back after this one has ended.
///
/// Giving a GiB back takes 5 to 15 ms, and a process has not ended, for the one who waits for it,
/// before that is done. So a second process, which shares this one's memory and nothing else, lets
/// go of it last. It closes all files, runs nothing of the guest's, and ends with this process.
///
/// Where the system lacks a call for it, nothing happens: the end takes as long as it takes.
pub(crate) fn leave_memory_behind() {
    use std::os::fd::AsRawFd as _;
    use std::os::fd::IntoRawFd as _;

    let own = rustix::process::getpid();
    let Ok(own) = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()) else {
        return;
    };
    // Whoever reads what this process wrote waits until every copy of the writing end is closed.
    let Ok(number) = usize::try_from(own.as_raw_fd()) else { return };
    if !has_close_range() {
        return;
    }
    let stack: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(HEIR_STACK));
    // JUSTIFICATION: nobody else can make a process that shares memory and is no thread.
    // SAFETY: the stack is leaked, so it stays; its end is aligned below. `heir` makes system calls
    // alone, and reads only its argument. The calling thread does not return from ending the
    // process, so that what both share, such as `errno`, has no reader.
    #[expect(unsafe_code, reason = "makes a process that shares this one's memory")]
    unsafe {
        let top = stack.as_mut_ptr_range().end;
        let top = top.wrapping_sub(top.addr() % STACK_ALIGNMENT).cast();
        libc::clone(heir, top, libc::CLONE_VM, std::ptr::without_provenance_mut(number));
    }
    // The descriptor stays open: ending the process closes it.
    let _open = own.into_raw_fd();
}

/// The stack of what [`leave_memory_behind`] starts: a few frames of system calls.
const HEIR_STACK: usize = 16 << 10;

/// What every platform's calls want a stack aligned to.
const STACK_ALIGNMENT: usize = 16;

/// Waits for the end of the process that `pidfd` is, with nothing open but that.
extern "C" fn heir(pidfd: *mut libc::c_void) -> libc::c_int {
    let Ok(pidfd) = libc::c_int::try_from(pidfd.addr()) else { return 0 };
    let number = pidfd.cast_unsigned();
    let mut wanted = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    for (first, last) in [(0, number.saturating_sub(1)), (number + 1, libc::c_uint::MAX)] {
        // SAFETY: the table of descriptors is this process's own copy, and the rest of what it
        // opened is used by nobody here. Standard input is below what it waits for.
        #[expect(unsafe_code, reason = "closes all but one descriptor")]
        unsafe {
            libc::syscall(libc::SYS_close_range, first, last, 0);
        }
    }
    // A time limit, so that nothing can make it stay.
    // SAFETY: one descriptor, in a structure that lives through the call.
    #[expect(unsafe_code, reason = "waits for a descriptor")]
    unsafe {
        libc::poll(&raw mut wanted, 1, 1000);
    }
    0
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

/// Gives memory back that this process took to start and has freed: without this it would stay, in a
/// process that may live for years.
fn give_back_memory() {
    // JUSTIFICATION: only the C library's allocator knows what it keeps.
    // SAFETY: takes a number, and touches nothing but what is free.
    #[expect(unsafe_code, reason = "asks the allocator for its free pages")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Leaves the terminal, and whoever started this process: it goes on without them, and without the
/// memory that it took to start. Its standard streams read as ended, and swallow what is written.
pub(crate) fn go_on_alone() -> io::Result<()> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // Who leads a group of processes cannot leave it, and has no terminal to lose.
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    give_back_stack();
    give_back_memory();
    Ok(())
}

/// Gives the system the pages of the main thread's stack that nobody uses: to start takes many times as
/// much of it as to wait. On another stack than that, nothing happens.
fn give_back_stack() {
    /// How much below this is left for what is called from here.
    const OWN: usize = 8 << 10;
    let page = rustix::param::page_size();
    let here = std::ptr::from_ref(&page).addr();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(stack) = maps.lines().find(|line| line.ends_with(" [stack]")) else { return };
    let bounds = stack.split(' ').next().and_then(|bounds| bounds.split_once('-'));
    let Some((bottom, end)) = bounds else { return };
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (Some(bottom), Some(end)) = (number(bottom), number(end)) else { return };
    let top = here.saturating_sub(OWN) / page * page;
    if !(bottom..end).contains(&here) || top <= bottom {
        return;
    }
    let unused: *mut libc::c_void = std::ptr::without_provenance_mut(bottom);
    // JUSTIFICATION: a stack gives nothing back by itself.
    // SAFETY: what is below the frames of now, with room for those of this call, is read by nobody
    // before it is written.
    #[expect(unsafe_code, reason = "gives back pages of the stack that are not in use")]
    unsafe {
        libc::madvise(unused, top - bottom, libc::MADV_DONTNEED);
    }
}

/// Sets what is taken from the mode of files that this process makes.
pub(crate) fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Leaves the session that this process was started in, and with it what is typed at its terminal. Who
/// leads a group of processes stays.
pub(crate) fn leave_session() {
    let _stays = rustix::process::setsid();
}

/// Whether there is a process of this number, which may have ended and not been waited for.
pub(crate) fn is_there(process: u32) -> bool {
    let Some(process) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    // Whoever it belongs to.
    !matches!(rustix::process::getpgid(Some(process)), Err(rustix::io::Errno::SRCH))
}

/// How many threads this process has, where the system tells.
pub(crate) fn thread_count() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Names this process, for who lists processes.
pub(crate) fn be_called(name: &std::ffi::CStr) {
    // Without it, it is called as its file is.
    let _unnamed = rustix::thread::set_name(name);
}

/// What tells the namespace from others in which numbers of processes mean what they do here.
pub(crate) fn number_space() -> u64 {
    std::fs::metadata("/proc/self/ns/pid")
        .map_or(0, |found| std::os::unix::fs::MetadataExt::ino(&found))
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
