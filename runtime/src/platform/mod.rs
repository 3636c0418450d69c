//! What the operating system gives: files with an identity, clocks, signals, bounds on processes.
//!
//! Each system is a folder of files with the same functions; where a system lacks something, its
//! function says so in a sentence. No other room names an operating system.

#[cfg(all(target_os = "linux", not(aril_portable)))]
mod linux;
#[cfg(any(not(target_os = "linux"), aril_portable))]
mod portable;

#[cfg(all(target_os = "linux", not(aril_portable)))]
use linux as host;
#[cfg(any(not(target_os = "linux"), aril_portable))]
use portable as host;

pub(crate) use host::clock;
pub(crate) use host::files;
pub(crate) use host::machine;
pub(crate) use host::process;
pub(crate) use host::signals;
pub(crate) use host::stdio;

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// When the content last changed, in nanoseconds since 1970.
    pub(crate) modified_ns: i128,
    /// When the file itself last changed: unlike `modified_ns`, nobody can set it.
    pub(crate) changed_ns: i128,
}

/// A signal that asks this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// From the keyboard: end now. Holds the signal's number.
    Now(i32),
    /// A polite request: end soon. Holds the signal's number.
    #[cfg_attr(
        any(not(target_os = "linux"), aril_portable),
        expect(dead_code, reason = "other systems do not tell requests apart")
    )]
    Soon(i32),
}
