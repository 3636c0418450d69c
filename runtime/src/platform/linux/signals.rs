//! Signals that ask this process to end, waited for rather than handled.

use std::mem::MaybeUninit;
use std::time::Duration;

use crate::platform::Ask;

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
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // JUSTIFICATION: rustix has no signal masks, and a handler could do almost nothing.
        // SAFETY: `set` is a place for a signal set, which this fills.
        #[expect(unsafe_code, reason = "fills a signal set")]
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
        }
        for signal in ASKS {
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

    /// Waits until a signal asks, for `span` at most, or for ever.
    pub(crate) fn wait(&self, span: Option<Duration>) -> Option<Ask> {
        let time = span.map(|span| libc::timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(span.subsec_nanos()),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // JUSTIFICATION: rustix has no such call.
        // SAFETY: the set lives as long as `self`; `time` is null or points to a value that lives
        // to the end of this function; the kernel is not asked for details.
        #[expect(unsafe_code, reason = "waits for a signal of the set")]
        let signal = unsafe { libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), time) };
        match signal {
            libc::SIGINT | libc::SIGQUIT | libc::SIGXCPU => Some(Ask::Now(signal)),
            libc::SIGTERM | libc::SIGHUP => Some(Ask::Soon(signal)),
            _ => None,
        }
    }
}
