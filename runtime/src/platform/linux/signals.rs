//! Signals that ask this process to end, waited for rather than handled.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::platform::Ask;
use crate::platform::Noticed;

/// The signals that are waited for. That a file is too large is an error of the write that made it
/// so, which is the guest's to handle, and no reason to end.
const ASKS: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGXCPU, libc::SIGXFSZ];

/// Signals that no longer end this process by themselves, because somebody waits for them.
pub(crate) struct Asks {
    set: libc::sigset_t,
}

impl std::fmt::Debug for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asks").finish_non_exhaustive()
    }
}

impl Asks {
    /// Blocks the signals in the calling thread, and in the threads that it will start.
    pub(crate) fn block() -> Self {
        Self::of(&ASKS)
    }

    fn of(signals: &[i32]) -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // JUSTIFICATION: rustix has no signal masks, and a handler could do almost nothing.
        // SAFETY: `set` is a place for a signal set, which this fills.
        #[expect(unsafe_code, reason = "fills a signal set")]
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
        }
        for &signal in signals {
            // SAFETY: `set` was filled above, and the number is a signal's.
            #[expect(unsafe_code, reason = "adds to a signal set")]
            unsafe {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
        }
        // SAFETY: `sigemptyset` initialised it.
        #[expect(unsafe_code, reason = "reads the set that was just filled")]
        let set = unsafe { set.assume_init() };
        // SAFETY: both pointers are to a set that lives through the call, or null, which is
        // allowed for the old mask.
        #[expect(unsafe_code, reason = "blocks the signals in this thread")]
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        Self { set }
    }

    /// Lets the signals end this process by themselves again, in the calling thread.
    pub(crate) fn release(self) {
        // SAFETY: both pointers are to a set that lives through the call, or null, which is allowed
        // for the old mask.
        #[expect(unsafe_code, reason = "lets signals through in this thread")]
        unsafe {
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const self.set, std::ptr::null_mut());
        }
    }

    /// The same, to be waited for in a tokio runtime.
    pub(crate) fn listen(&self) -> io::Result<Listening> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // JUSTIFICATION: rustix has no such call.
        // SAFETY: the set lives through the call, and a new descriptor is asked for.
        #[expect(unsafe_code, reason = "makes a descriptor for the signals of the set")]
        let raw = unsafe { libc::signalfd(-1, &raw const self.set, flags) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and is nobody else's.
        #[expect(unsafe_code, reason = "takes a descriptor that was just made")]
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: it stays open, under one number, until the watch is dropped with it.
        #[expect(unsafe_code, reason = "registers a descriptor")]
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Listening(fd?))
    }

    /// Waits until a signal asks, for `span` at most, or for ever.
    pub(crate) fn wait(&self, span: Option<Duration>) -> Option<Ask> {
        asked(self.take(span))
    }

    /// The next signal, by its number; none where `span` is over before there is one.
    fn take(&self, span: Option<Duration>) -> libc::c_int {
        let time = span.map(|span| libc::timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(span.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // JUSTIFICATION: rustix has no such call.
        // SAFETY: the set lives as long as `self`; `time` is null or points to a value that lives
        // to the end of this function; the kernel is not asked for details.
        #[expect(unsafe_code, reason = "waits for a signal of the set")]
        unsafe {
            libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), time)
        }
    }
}

/// Signals of a process that shows what another one writes: those that ask it to end or to stand still,
/// and those that tell of another size of its terminal, or that it goes on.
#[derive(Debug)]
pub(crate) struct Notices(Asks);

impl Notices {
    /// Blocks them in the calling thread, and in the threads that it will start.
    pub(crate) fn block() -> Self {
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let others = [libc::SIGWINCH, libc::SIGTSTP, libc::SIGCONT];
        Self(Asks::of(&[&ends[..], &others].concat()))
    }

    /// Waits until one comes.
    pub(crate) fn wait(&self) -> Noticed {
        loop {
            return match self.0.take(None) {
                libc::SIGWINCH => Noticed::Resized,
                libc::SIGTSTP => Noticed::StandStill,
                libc::SIGCONT => Noticed::GoesOn,
                // It was interrupted.
                ..=0 => continue,
                signal => Noticed::Ask(signal),
            };
        }
    }

    /// Has this process stand still until it is sent to go on, as it does where nobody waits for that.
    #[expect(clippy::unused_self, reason = "who holds it is who was asked")]
    pub(crate) fn stand_still(&self) {
        // JUSTIFICATION: rustix sends signals by numbers of processes alone.
        // SAFETY: the number is a signal's that runs no code of anybody's.
        #[expect(unsafe_code, reason = "stops this process")]
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
    }
}

/// What a signal asks for.
fn asked(signal: libc::c_int) -> Option<Ask> {
    match signal {
        libc::SIGINT | libc::SIGQUIT | libc::SIGXCPU => Some(Ask::Now(signal)),
        libc::SIGTERM | libc::SIGHUP => Some(Ask::Soon(signal)),
        _ => None,
    }
}

/// Whether a signal is a polite request to end.
pub(crate) fn asks_soon(signal: i32) -> bool {
    matches!(asked(signal), Some(Ask::Soon(_)))
}

/// Whether a signal ends a program at once that does nothing about it, and is sent for that.
pub(crate) fn ends(signal: i32) -> bool {
    matches!(signal, libc::SIGINT | libc::SIGQUIT | libc::SIGKILL | libc::SIGABRT)
}

/// Asks, as they come.
#[derive(Debug)]
pub(crate) struct Listening(AsyncFd<OwnedFd>);

impl Listening {
    /// The next ask.
    pub(crate) async fn next(&mut self) -> io::Result<Ask> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let mut told = [0; size_of::<libc::signalfd_siginfo>()];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut told)?));
            // The number of the signal stands first.
            if let Ok(Ok(_)) = read
                && let [a, b, c, d, ..] = told
                && let Ok(signal) = libc::c_int::try_from(u32::from_ne_bytes([a, b, c, d]))
                && let Some(ask) = asked(signal)
            {
                return Ok(ask);
            }
        }
    }
}

/// Keeps no signal from the calling thread, whatever was kept from who started it.
pub(super) fn let_all_through() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: `none` is a place for a set of signals, which this fills.
    #[expect(unsafe_code, reason = "fills a set of signals")]
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
    }
    // SAFETY: the set was filled; a null pointer is allowed for the old mask.
    #[expect(unsafe_code, reason = "lets signals through in this thread")]
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Leaves what people send to this process's keeper, who gets it as well and answers it.
pub(crate) fn leave_to_keeper() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGXFSZ] {
        // JUSTIFICATION: rustix sets no signals.
        // SAFETY: the number is a signal's, and to ignore it runs no code of anybody's.
        #[expect(unsafe_code, reason = "ignores a signal")]
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}
