//! A child that runs beside this process: started with chosen descriptors and nothing else, and
//! held by a descriptor of its own, so that its number is never taken for another's.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;

use crate::platform::ChildEnd;

/// Whether there are such children.
pub(crate) fn are_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(super::process::has_pidfd_open)
}

/// What one of a child's standard streams is.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The same as ours.
    Inherit,
    /// Nothing: at its end, or writing into nowhere.
    Null,
    /// This.
    Handle(File),
}

/// The near end of a channel to a child.
pub(crate) type Channel = UnixStream;

/// The writing end of a child's standard input.
pub(crate) type InputPipe = Sender;

/// The reading end of what a child writes.
pub(crate) type OutputPipe = Receiver;

/// A channel to a child: our end, and the child's.
pub(crate) fn channel() -> io::Result<(Channel, File)> {
    let (near, far) = StdStream::pair()?;
    near.set_nonblocking(true)?;
    Ok((UnixStream::from_std(near)?, File::from(OwnedFd::from(far))))
}

/// A pipe that a child reads from.
pub(crate) fn input_pipe() -> io::Result<(InputPipe, File)> {
    let (reader, writer) = pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    Ok((Sender::from_owned_fd(writer.into())?, reader))
}

/// A pipe that a child writes to.
pub(crate) fn output_pipe() -> io::Result<(OutputPipe, File)> {
    let (reader, writer) = pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((Receiver::from_owned_fd(reader.into())?, writer))
}

/// Has a read of this find nothing rather than wait.
pub(crate) fn do_not_wait(file: &File) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(file, true)?)
}

/// A pipe: the end to read from, and the end to write to.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// Has this process killed at the moment when the other end of this pipe, its leash, is closed:
/// when whoever holds that ends, however it ends and whatever this process does then.
///
/// A parent's death can be told to a child otherwise, but it is that of one thread of the parent.
pub(crate) fn end_with(leash: &File) -> io::Result<()> {
    let fd = leash.as_raw_fd();
    // JUSTIFICATION: rustix knows no signals of descriptors.
    let set = |command: libc::c_int, value: libc::c_int| {
        // SAFETY: these take a number, and change what the kernel does with an open pipe alone.
        #[expect(unsafe_code, reason = "sets what a descriptor sends")]
        let done = unsafe { libc::fcntl(fd, command, value) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    set(libc::F_SETOWN, own)?;
    set(F_SETSIG, libc::SIGKILL)?;
    set(libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
    // It may have been closed before that.
    match rustix::io::read(leash, &mut [0_u8]) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        _ => Err(io::Error::other("the parent is gone")),
    }
}

/// What Linux calls the command that says which signal a descriptor sends.
const F_SETSIG: libc::c_int = 10;

/// The number by which a child that is given a file finds it.
pub(crate) fn number(file: &File) -> u32 {
    file.as_raw_fd().cast_unsigned()
}

/// The file that this process was given under a number when it was started.
///
/// # Errors
///
/// Fails where nothing is open under it.
pub(crate) fn given(number: u32) -> io::Result<File> {
    let raw = number.cast_signed();
    if raw < 3 {
        return Err(io::Error::other("it is the number of a standard stream"));
    }
    // JUSTIFICATION: what a process is given at its start has nothing but a number.
    // SAFETY: only asks about the number.
    #[expect(unsafe_code, reason = "asks whether a descriptor is open")]
    let flags = unsafe { libc::fcntl(raw, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, was there before this process opened anything, and each number is taken
    // once, by the one who reads them from the call.
    #[expect(unsafe_code, reason = "takes a descriptor that was inherited")]
    let file = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
    Ok(file.into())
}

/// A child of ours. Dropped before its end, it is killed.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    held: AsyncFd<OwnedFd>,
    /// How it ended, and the processor time that it had used, once it was waited for.
    end: OnceLock<(ChildEnd, Option<Duration>)>,
}

impl Child {
    /// Starts `program` with these arguments, no environment, these streams, and beside them what
    /// is in `given`, under the same numbers. The caller is in a tokio runtime.
    ///
    /// No memory of ours is copied for it, however large this process is.
    pub(crate) fn start(
        program: &Path,
        args: &[String],
        streams: &[Stream; 3],
        given: &[&File],
    ) -> io::Result<Self> {
        let is_null = |stream: &Stream| matches!(stream, Stream::Null);
        let nothing = streams.iter().any(is_null).then(open_nothing).transpose()?;
        let mut actions = Actions::new()?;
        for (number, stream) in (0..).zip(streams) {
            match stream {
                Stream::Inherit => {}
                Stream::Null => {
                    if let Some(nothing) = &nothing {
                        actions.duplicate(nothing.as_raw_fd(), number)?;
                    }
                }
                Stream::Handle(file) => actions.duplicate(file.as_raw_fd(), number)?,
            }
        }
        for file in given {
            // To its own number: that it is closed in a child is taken from it.
            actions.duplicate(file.as_raw_fd(), file.as_raw_fd())?;
        }
        let program = CString::new(program.as_os_str().as_bytes())?;
        Self::of(spawn(&program, args, &actions)?)
    }

    /// The child of this number, which is ours and was not waited for. The caller is in a tokio
    /// runtime.
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let held = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK);
        let held = held.map_err(io::Error::from).and_then(watched).inspect_err(|_| {
            // Nobody waited for it yet, so the number is still its own.
            let _killed = rustix::process::kill_process(pid, Signal::KILL);
            let _ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        })?;
        Ok(Self { pid, held, end: OnceLock::new() })
    }

    /// Its number, which is its own as long as nobody waited for it.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sets how readily the kernel ends it when memory is short.
    pub(crate) fn set_oom_score(&self, score: i32) -> io::Result<()> {
        std::fs::write(format!("/proc/{}/oom_score_adj", self.id()), score.to_string())
    }

    /// Kills it. One that has ended already is as good as killed.
    pub(crate) fn kill(&self) {
        if self.is_gone() {
            return;
        }
        let _ended = rustix::process::pidfd_send_signal(self.held.get_ref(), Signal::KILL);
    }

    /// Has it stand still: it cannot refuse, and ends all the same when it is killed.
    pub(crate) fn stop(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(self.held.get_ref(), Signal::STOP)?)
    }

    /// Has it go on.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(self.held.get_ref(), Signal::CONT)?)
    }

    /// Whether all its threads stand still, since it was stopped.
    pub(crate) fn is_stopped(&self) -> io::Result<bool> {
        let held = WaitId::PidFd(self.held.get_ref().as_fd());
        // Left as it is, so that whoever asks again is told the same.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(held, options)?;
        Ok(status.is_some_and(|status| status.stopped()))
    }

    /// Whether somebody has waited for its end.
    pub(crate) fn is_gone(&self) -> bool {
        self.end.get().is_some()
    }

    /// Waits for its end. Whoever asks again is told the same.
    pub(crate) async fn ended(&self) -> io::Result<ChildEnd> {
        // It is readable from its end on.
        let _ended = self.held.readable().await?;
        if let Some((end, _)) = self.end.get() {
            return Ok(*end);
        }
        // Nobody can ask for it later.
        let cpu_time = self.cpu_time();
        let held = WaitId::PidFd(self.held.get_ref().as_fd());
        let end = match rustix::process::waitid(held, WaitIdOptions::EXITED) {
            Ok(Some(status)) => match status.terminating_signal() {
                Some(signal) => ChildEnd::Signal(signal),
                None => ChildEnd::Exited(status.exit_status().unwrap_or(255)),
            },
            // Whoever waits for all children, or for none, was first.
            Ok(None) | Err(rustix::io::Errno::CHILD) => ChildEnd::Unknown,
            Err(error) => return Err(error.into()),
        };
        Ok(self.end.get_or_init(|| (end, cpu_time)).0)
    }

    /// The processor time that it has used so far.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        if let Some((_, used)) = self.end.get() {
            return *used;
        }
        let mut clock = MaybeUninit::uninit();
        let pid = self.pid.as_raw_nonzero().get();
        // SAFETY: `clock` is a place for the number of a clock.
        #[expect(unsafe_code, reason = "asks for the clock of a process")]
        let failed = unsafe { libc::clock_getcpuclockid(pid, clock.as_mut_ptr()) };
        if failed != 0 {
            return None;
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: it was filled, because the call did not fail.
        #[expect(unsafe_code, reason = "reads what was just filled")]
        let clock = unsafe { clock.assume_init() };
        // SAFETY: `time` lives through the call.
        #[expect(unsafe_code, reason = "reads a clock")]
        let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).ok()?;
        (failed == 0).then_some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
    }

    /// Bounds its private memory, as it could itself.
    pub(crate) fn bound_memory(&self, bytes: Option<u64>) -> io::Result<()> {
        if self.end.get().is_some() {
            // Its number may be another's.
            return Ok(());
        }
        let most = rustix::process::getrlimit(Resource::Data).maximum;
        let limit = Rlimit { current: bytes.or(most), maximum: most };
        rustix::process::prlimit(Some(self.pid), Resource::Data, limit)?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.end.get().is_none() {
            self.kill();
            let held = WaitId::PidFd(self.held.get_ref().as_fd());
            // What was killed ends at once.
            let _ended = rustix::process::waitid(held, WaitIdOptions::EXITED);
        }
    }
}

/// What reads as ended, and swallows what is written.
pub(super) fn open_nothing() -> io::Result<File> {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    opened.map_err(|error| match error.raw_os_error() {
        // That there is no room is not about this file, and is told by its number.
        Some(number) if super::files::is_lack(number) => error,
        _ => io::Error::new(error.kind(), format!("`/dev/null`: {error}")),
    })
}

/// A descriptor that tells when it is readable.
fn watched(held: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it stays open, under one number, until the watch is dropped with it.
    #[expect(unsafe_code, reason = "registers a descriptor")]
    let watched = unsafe { AsyncFd::register_with_interest(held, Interest::READABLE) };
    Ok(watched?)
}

/// What is done to the descriptors of a child before it begins.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // JUSTIFICATION: the standard library starts children without copying this process's
        // memory only where they are given no more than the three streams.
        // SAFETY: `actions` is a place for them.
        #[expect(unsafe_code, reason = "makes an empty list")]
        told(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it was filled.
        #[expect(unsafe_code, reason = "reads what was just filled")]
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: i32, to: i32) -> io::Result<()> {
        // SAFETY: the list is whole, and takes any numbers.
        #[expect(unsafe_code, reason = "adds to the list")]
        told(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the list is whole, and nobody uses it any more.
        #[expect(unsafe_code, reason = "frees the list")]
        unsafe {
            libc::posix_spawn_file_actions_destroy(&raw mut self.0);
        }
    }
}

/// What a child begins with: no signal is kept from it, whatever is kept from us.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: `attributes` is a place for them.
        #[expect(unsafe_code, reason = "makes the default attributes")]
        told(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was filled.
        #[expect(unsafe_code, reason = "reads what was just filled")]
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut none = MaybeUninit::uninit();
        // SAFETY: `none` is a place for a set of signals, which this fills.
        #[expect(unsafe_code, reason = "fills a set of signals")]
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
        }
        // SAFETY: the attributes are whole, and the set was filled.
        #[expect(unsafe_code, reason = "sets an attribute")]
        told(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()) })?;
        let flags = libc::c_short::try_from(libc::POSIX_SPAWN_SETSIGMASK).unwrap_or_default();
        // SAFETY: the attributes are whole.
        #[expect(unsafe_code, reason = "sets an attribute")]
        told(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they are whole, and nobody uses them any more.
        #[expect(unsafe_code, reason = "frees the attributes")]
        unsafe {
            libc::posix_spawnattr_destroy(&raw mut self.0);
        }
    }
}

/// Starts a program with an empty environment.
fn spawn(program: &CString, args: &[String], actions: &Actions) -> io::Result<Pid> {
    let args = std::iter::once("aril").chain(args.iter().map(String::as_str));
    let args: Vec<CString> = args.map(CString::new).collect::<Result<_, _>>()?;
    let mut list: Vec<*mut libc::c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    list.push(std::ptr::null_mut());
    let environment = [std::ptr::null_mut()];
    let attributes = Attributes::new()?;
    let mut pid: libc::pid_t = 0;
    // SAFETY: both lists end with null, and their texts live through the call, which changes none
    // of them; `pid` is a place for a number.
    #[expect(unsafe_code, reason = "starts a child")]
    told(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            list.as_ptr(),
            environment.as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("it has no number"))
}

/// What a call says that returns the number of an error.
fn told(number: libc::c_int) -> io::Result<()> {
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) }
}
