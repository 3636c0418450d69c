//! What the operating system gives: files with an identity, clocks, signals, bounds on processes.
//!
//! Each system is a folder of files with the same functions; where a system lacks something, its
//! function says so in a sentence. No other room names an operating system.

#[cfg_attr(
    any(not(target_os = "linux"), aril_portable),
    expect(dead_code, reason = "nothing can be made of it there")
)]
pub(crate) mod groups;
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod linux;
#[cfg(any(not(target_os = "linux"), aril_portable))]
mod portable;

#[cfg(all(target_os = "linux", not(aril_portable)))]
use linux as host;
#[cfg(any(not(target_os = "linux"), aril_portable))]
use portable as host;

pub(crate) use host::calls;
pub(crate) use host::cgroup;
pub(crate) use host::child;
pub(crate) use host::clock;
pub(crate) use host::files;
pub(crate) use host::landlock;
pub(crate) use host::machine;
pub(crate) use host::mounts;
pub(crate) use host::namespaces;
#[cfg(any(feature = "hostile", all(test, target_os = "linux", not(aril_portable))))]
pub(crate) use host::native;
pub(crate) use host::numbers;
pub(crate) use host::overlay;
pub(crate) use host::privileges;
pub(crate) use host::process;
pub(crate) use host::room;
pub(crate) use host::seccomp;
pub(crate) use host::signals;
pub(crate) use host::socket;
pub(crate) use host::spare;
pub(crate) use host::start;
pub(crate) use host::stdio;
pub(crate) use host::terminal;
pub(crate) use host::tree;
pub(crate) use host::twin;

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

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// A symbolic link.
    Link,
    /// A device, a FIFO or a socket.
    Other,
}

/// When something changed: seconds since 1970, and nanoseconds that are later still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// What is known of an entry of a directory without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) kind: Kind,
    /// Who may do what with it: the twelve bits of Unix, or what comes closest.
    pub(crate) mode: u32,
    pub(crate) size: u64,
    /// How many names it has; 1 where the system does not tell.
    pub(crate) names: u64,
    /// What tells it from others; meaningless where it has one name.
    pub(crate) place: (u64, u64),
    pub(crate) modified: Stamp,
}

/// What is sent to a process that shows what another one writes.
#[cfg_attr(
    any(not(target_os = "linux"), aril_portable),
    expect(dead_code, reason = "nothing is sent there")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// Its terminal has another size.
    Resized,
    /// It is to stand still.
    StandStill,
    /// It goes on.
    GoesOn,
    /// It is asked to end, by the signal of this number.
    Ask(i32),
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

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    any(not(target_os = "linux"), aril_portable),
    expect(dead_code, reason = "no child is started there")
)]
pub(crate) enum ChildEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signal(i32),
    /// In a way that somebody else was told.
    Unknown,
}

/// Something that this system does not give: why not, and what to do, both for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

/// What may be done below a directory, or with a file, by the system's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Read,
    /// Read, write, make, rename and remove.
    Write,
}

/// Whether a process may make threads once its system calls are restricted. It makes no processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Those that it has are all.
    None,
    /// More may be made.
    More,
}
