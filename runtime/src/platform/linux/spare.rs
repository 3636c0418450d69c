//! A copy of this process, made before this one does anything, that waits until it is to be a child
//! of a certain kind.
//!
//! To start a program costs more than to copy a process that has just been started: the C library
//! asks the processor some hundred questions, which on a machine of a hypervisor's are answered by
//! that one. And what a copy does before it is needed is done while the other one does its own work.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd as _;
use std::os::fd::IntoRawFd as _;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream as StdStream;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::WaitOptions;
use tokio::net::UnixStream;

use super::child::Channel;
use super::child::Child;
use super::child::Stream;
use super::process::Kept;
use super::process::exit_now;
use super::start;
use super::start::Listing;

/// How many files it can be given: one message holds no more, with its streams.
pub(crate) const FILES_MAX: usize = 250;

/// What the kernel takes in one message.
const HANDLES_MAX: usize = 253;

/// Under what number it has its end of the channel: the first behind the standard three.
pub(crate) const CHANNEL: u32 = 3;

/// What it is listed as while it waits, and in short.
const WAITING: [&[u8]; 2] = [b"aril\0--aril-role\0spare", b"aril\0spare"];

/// What it is listed as from then on: as a worker that was started anew.
const BEGUN: [&[u8]; 2] = [b"aril\0--aril-role\0worker", b"aril\0worker"];

/// A copy that waits. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Spare {
    /// Nothing once it has become a child.
    pid: Option<Pid>,
    /// Closed, the copy ends.
    channel: Option<StdStream>,
}

/// The same, as itself.
#[derive(Debug)]
pub(crate) struct Waiting {
    channel: StdStream,
    listing: Option<Listing>,
}

/// Makes a copy, where the words of this process are such that it is `wanted`. It does `work`, and
/// ends with the code that this returns.
///
/// Nothing where this process has more than one thread, of which others may hold locks that would
/// never be let go of in the copy; or where this system cannot have a copy forget what it is not to
/// know.
pub(crate) fn fork(
    wanted: impl FnOnce(&[&OsStr]) -> bool,
    work: impl FnOnce(Waiting) -> u8,
) -> Option<Spare> {
    let can = KNOWS_GUARDS && is_on_first_stack() && start::with_words(wanted) && has_one_thread();
    can.then(|| copy(work)).flatten()
}

/// Where the guards are known that a copy must not have in common with this process.
const KNOWS_GUARDS: bool =
    cfg!(all(target_arch = "x86_64", target_env = "gnu", target_pointer_width = "64"));

/// Makes a copy of a process with one thread.
fn copy(work: impl FnOnce(Waiting) -> u8) -> Option<Spare> {
    // The processor is asked once for both what it can do.
    #[cfg(target_arch = "x86_64")]
    let _known = std::arch::is_x86_feature_detected!("avx2");
    let (near, far) = StdStream::pair().ok()?;
    // JUSTIFICATION: nothing else makes a copy of a process.
    // SAFETY: this process has one thread, so that nothing that the copy finds is held by another.
    #[expect(unsafe_code, reason = "makes a copy of this process")]
    match unsafe { libc::fork() } {
        0 => {
            drop(near);
            exit_now(begin(far).map_or(UNBEGUN, work))
        }
        pid if 0 < pid => Some(Spare { pid: Pid::from_raw(pid), channel: Some(near) }),
        _ => None,
    }
}

/// The code of a copy that could not begin.
const UNBEGUN: u8 = 125;

fn has_one_thread() -> bool {
    // Beside itself and what is above, there is a directory in it for each.
    rustix::fs::stat("/proc/self/task").is_ok_and(|found| found.st_nlink == 3)
}

/// How much of its stack a process may have in use that is copied: it has just begun.
const FRAMES_MAX: usize = 1 << 20;

/// Whether this is the thread that the kernel made, near the beginning of its stack.
fn is_on_first_stack() -> bool {
    let here = std::hint::black_box(0_u8);
    let end = start::end_of_stack().unwrap_or_default();
    end.checked_sub((&raw const here).addr()).is_some_and(|size| size < FRAMES_MAX)
}

/// What a copy does first: it keeps nothing of the other one's but the standard streams, and
/// forgets what that was told.
fn begin(channel: StdStream) -> io::Result<Waiting> {
    renew_guards()?;
    let listing = start::forget();
    if let Some(listing) = &listing {
        listing.say(&WAITING);
    }
    let channel = move_to_number(channel)?;
    let mut kept = Kept::standard();
    kept.keep_number(CHANNEL);
    kept.close_others()?;
    // The directory of who started it may be about to be removed.
    rustix::process::chdir("/")?;
    super::signals::let_all_through();
    Ok(Waiting { channel, listing })
}

/// Has the channel be open under its number, whatever was.
fn move_to_number(channel: StdStream) -> io::Result<StdStream> {
    let number = CHANNEL.cast_signed();
    if channel.as_raw_fd() == number {
        return Ok(channel);
    }
    // JUSTIFICATION: there is no handle of what is open under a number by chance.
    // SAFETY: what is open under it, if anything, is nobody's in this process, which is about to
    // close all that it did not make.
    #[expect(unsafe_code, reason = "takes a number")]
    let done = unsafe { libc::dup3(channel.as_raw_fd(), number, libc::O_CLOEXEC) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and is nobody else's.
    #[expect(unsafe_code, reason = "takes a descriptor that was just made")]
    let channel = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(channel.into())
}

/// Has this process's guards of its stack and of its pointers be others than those of the process
/// that it was copied from: whoever reads them here knows nothing of those.
///
/// Nobody returns from here to a frame that was made before, but for those in which a copy of a
/// guard is changed along.
#[inline(never)]
fn renew_guards() -> io::Result<()> {
    let mut fresh = [0_u64; 2];
    let size = size_of_val(&fresh);
    // SAFETY: fills these two numbers.
    #[expect(unsafe_code, reason = "asks for random numbers")]
    let got = unsafe { libc::getrandom(fresh.as_mut_ptr().cast(), size, 0) };
    if usize::try_from(got) != Ok(size) {
        return Err(io::Error::other("there is no randomness"));
    }
    let [stack, pointers] = fresh;
    // As the C library has it: no text runs over it.
    let stack = stack << 8;
    let (old_stack, old_pointers) = guards();
    set_guards(stack, pointers);
    if is_on_first_stack() {
        replace_in_frames(old_stack, stack);
        replace_in_frames(old_pointers, pointers);
    }
    forget_dead_frames();
    Ok(())
}

/// The guards of the stack and of pointers.
#[cfg(target_arch = "x86_64")]
fn guards() -> (u64, u64) {
    let (stack, pointers): (u64, u64);
    // JUSTIFICATION: no function of the C library knows of them; their places are fixed.
    // SAFETY: reads two words of the thread's own block.
    #[expect(unsafe_code, reason = "reads the guards")]
    unsafe {
        std::arch::asm!(
            "mov {}, fs:[0x28]",
            "mov {}, fs:[0x30]",
            out(reg) stack,
            out(reg) pointers,
            options(nostack, readonly, preserves_flags),
        );
    }
    (stack, pointers)
}

#[cfg(target_arch = "x86_64")]
fn set_guards(stack: u64, pointers: u64) {
    // SAFETY: writes two words of the thread's own block, which compiled code compares with copies
    // of its own: those are changed along, or never looked at again. What was registered for the
    // end of the process, as pointers under the old guard, never runs: this process ends at once.
    #[expect(unsafe_code, reason = "writes the guards")]
    unsafe {
        std::arch::asm!(
            "mov fs:[0x28], {}",
            "mov fs:[0x30], {}",
            in(reg) stack,
            in(reg) pointers,
            options(nostack, preserves_flags),
        );
    }
}

/// Where their places are not known, no copy is made.
#[cfg(not(target_arch = "x86_64"))]
fn guards() -> (u64, u64) {
    (0, 0)
}

#[cfg(not(target_arch = "x86_64"))]
fn set_guards(_stack: u64, _pointers: u64) {}

/// Changes the copies of a guard in the frames of who called.
#[inline(never)]
fn replace_in_frames(old: u64, new: u64) {
    if old == 0 {
        return;
    }
    // Not as it is, or it would be replaced here as well.
    let inverse = std::hint::black_box(!old);
    let here = std::hint::black_box(0_u64);
    let first = (&raw const here).expose_provenance();
    let Some(end) = start::end_of_stack() else { return };
    for address in (first..end).step_by(size_of::<u64>()).take(FRAMES_MAX / size_of::<u64>()) {
        let place = std::ptr::with_exposed_provenance_mut::<u64>(address);
        // SAFETY: from a local variable up to what the kernel put above the stack, all of it is
        // mapped, and aligned as the variable is, but for the last word, which is not whole where
        // that is not aligned. Nobody else runs.
        #[expect(unsafe_code, reason = "reads this thread's stack")]
        let word = unsafe { place.read_volatile() };
        if !word == inverse {
            // SAFETY: as above; it is a copy of a guard, which is compared with the new one.
            #[expect(unsafe_code, reason = "changes a copy of a guard")]
            unsafe {
                place.write_volatile(new);
            }
        }
    }
}

/// Overwrites what is left on the stack of calls that have returned.
#[inline(never)]
fn forget_dead_frames() {
    /// More than anything needs before `main`.
    const DEPTH: usize = 16 << 10;
    std::hint::black_box(&mut [0_u8; DEPTH]);
}

/// By what number a copy that is given these files finds this one.
pub(crate) fn number_among(given: &[&File], file: &File) -> u32 {
    let at = given.iter().position(|one| one.as_raw_fd() == file.as_raw_fd());
    // It is one of them; otherwise nothing is found under it.
    at.and_then(|at| u32::try_from(at).ok()).map_or(u32::MAX, |at| CHANNEL + 1 + at)
}

impl Spare {
    /// Whether nobody has ended the copy meanwhile.
    pub(crate) fn is_there(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = |pid| rustix::process::waitid(WaitId::Pid(pid), options);
        self.pid.is_some_and(|pid| matches!(ended(pid), Ok(None)))
    }

    /// Has the copy begin, with these streams, and what is in `given` under the numbers that
    /// [`number_among`] says. The caller is in a tokio runtime.
    pub(crate) fn begin(
        mut self,
        streams: &[Stream; 3],
        given: &[&File],
    ) -> io::Result<(Child, Channel)> {
        let Some(channel) = self.channel.take() else {
            return Err(io::Error::other("it has begun"));
        };
        let is_null = |stream: &Stream| matches!(stream, Stream::Null);
        let nothing = streams.iter().any(is_null).then(super::child::open_nothing).transpose()?;
        let streams = streams.each_ref().map(|stream| match stream {
            Stream::Inherit => None,
            Stream::Null => nothing.as_ref(),
            Stream::Handle(file) => Some(file),
        });
        let count = u8::try_from(given.len()).map_err(|_| io::Error::other("too many files"))?;
        let [input, output, errors] = streams.map(|handle| u8::from(handle.is_some()));
        let handles = given.iter().copied().chain(streams.into_iter().flatten());
        let handles: Vec<BorrowedFd<'_>> = handles.map(|file| file.as_fd()).collect();
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut message = SendAncillaryBuffer::new(&mut room);
        if !message.push(SendAncillaryMessage::ScmRights(&handles)) {
            return Err(io::Error::other("too many files"));
        }
        let said = [count, input, output, errors];
        rustix::net::sendmsg(&channel, &[IoSlice::new(&said)], &mut message, SendFlags::NOSIGNAL)?;
        channel.set_nonblocking(true)?;
        let channel = UnixStream::from_std(channel)?;
        let Some(pid) = self.pid.take() else { return Err(io::Error::other("it has begun")) };
        Ok((Child::of(pid)?, channel))
    }
}

/// How much room what is sent with handles takes.
const ROOM: usize = rustix::cmsg_space!(ScmRights(HANDLES_MAX));

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // Nobody waited for it yet, so the number is still its own. Its channel closes too, by
            // which it ends where it cannot be held.
            self.channel = None;
            if let Ok(held) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                let _killed = rustix::process::pidfd_send_signal(held, Signal::KILL);
            }
            let _ended = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

impl Waiting {
    /// Waits until this process is to begin, and is the end of its channel then. What it is given is
    /// open under its numbers. Nothing where it is not needed.
    pub(crate) fn wait(self) -> io::Result<Option<File>> {
        let mut room = [MaybeUninit::uninit(); ROOM];
        let mut handles = RecvAncillaryBuffer::new(&mut room);
        let mut said = [0; 4];
        let mut bytes = [IoSliceMut::new(&mut said)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.channel, &mut bytes, &mut handles, flags)
        })?;
        if got.bytes == 0 {
            return Ok(None);
        }
        let files = handles.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let mut files = files.flatten();
        let [count, streams @ ..] = said;
        for number in (CHANNEL + 1..).take(usize::from(count)) {
            let given = files.next().map(OwnedFd::into_raw_fd);
            // Nothing else is open, so that each has the next number that is free.
            if given.map(RawFd::cast_unsigned) != Some(number) {
                return Err(io::Error::other("it was given what has another number"));
            }
        }
        for (number, is_given) in (0..).zip(streams) {
            if is_given == 0 {
                continue;
            }
            let file = files.next().ok_or_else(|| io::Error::other("a stream is missing"))?;
            match number {
                0 => rustix::stdio::dup2_stdin(&file),
                1 => rustix::stdio::dup2_stdout(&file),
                _ => rustix::stdio::dup2_stderr(&file),
            }?;
        }
        if let Some(listing) = &self.listing {
            listing.say(&BEGUN);
        }
        Ok(Some(File::from(OwnedFd::from(self.channel))))
    }
}

#[cfg(all(test, target_arch = "x86_64", target_env = "gnu"))]
mod tests {
    use std::io::Read as _;
    use std::io::Write as _;

    use crate::platform::native::Ended;
    use crate::platform::native::in_child;

    use super::*;

    /// A test has threads, so that a copy is made within a child that has one.
    fn in_one_thread(part: impl FnOnce()) {
        assert_eq!(in_child(part).wait(), Ended::Code(0));
    }

    #[test]
    fn a_process_with_threads_is_known_from_one_without() {
        let other = std::thread::spawn(std::thread::park);
        assert!(!has_one_thread());
        other.thread().unpark();
        other.join().expect("it ends");
        in_one_thread(|| assert!(has_one_thread()));
    }

    #[test]
    fn a_copy_has_other_guards_and_neither_words_nor_variables() {
        in_one_thread(|| {
            let (mut reader, writer) = crate::platform::child::pipe().unwrap();
            let before = guards();
            let made = copy(|_waiting| {
                let now = guards();
                let differ = now.0 != before.0 && now.1 != before.1;
                let words = std::fs::read("/proc/self/cmdline").unwrap();
                let variables = std::fs::read("/proc/self/environ").unwrap();
                let forgot = words.starts_with(WAITING[0])
                    && words[WAITING[0].len()..].iter().all(|byte| *byte == 0)
                    && variables.iter().all(|byte| *byte == 0)
                    && std::env::vars_os().next().is_none();
                u8::from(!(differ && forgot))
            });
            let pid = made.expect("a copy").pid.take();
            drop(writer);
            let (_, status) = rustix::process::waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
            // All that it had open is closed with it.
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        });
    }

    #[test]
    fn a_copy_is_given_files_under_the_numbers_that_are_said() {
        in_one_thread(|| {
            let (mut reader, writer) = crate::platform::child::pipe().unwrap();
            let (other, _kept) = crate::platform::child::pipe().unwrap();
            let made = copy(|waiting| {
                let Ok(Some(_channel)) = waiting.wait() else { return 1 };
                let mut file = crate::platform::child::given(CHANNEL + 2).unwrap();
                file.write_all(b"a word").unwrap();
                crate::platform::stdio::write_output(false, b", and one more").unwrap();
                0
            });
            let copied = made.expect("a copy");
            let given = [&other, &writer];
            assert_eq!(number_among(&given, &writer), CHANNEL + 2);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.unwrap().block_on(async {
                let output = Stream::Handle(writer.try_clone().unwrap());
                let streams = [Stream::Null, output, Stream::Inherit];
                let (child, _channel) = copied.begin(&streams, &given).unwrap();
                assert_eq!(child.ended().await.unwrap(), crate::platform::ChildEnd::Exited(0));
            });
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "a word, and one more");
        });
    }

    #[test]
    fn a_copy_that_is_not_needed_ends() {
        in_one_thread(|| {
            let made = copy(|waiting| u8::from(!matches!(waiting.wait(), Ok(None))));
            let mut copied = made.expect("a copy");
            drop(copied.channel.take());
            let pid = copied.pid.take();
            let (_, status) = rustix::process::waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
        });
    }

    #[test]
    fn a_copy_that_somebody_ended_is_not_there() {
        in_one_thread(|| {
            let made = copy(|waiting| u8::from(waiting.wait().is_err())).expect("a copy");
            assert!(made.is_there());
            let pid = made.pid.unwrap();
            let held = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
            rustix::process::pidfd_send_signal(held, Signal::KILL).unwrap();
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::process::waitid(WaitId::Pid(pid), options).unwrap();
            assert!(!made.is_there());
        });
    }
}
