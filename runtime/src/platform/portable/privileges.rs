//! What this process may do beyond its user's rights: not known here, so that each call says so.

use std::io;

/// A user and a group, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl User {
    /// Who owns nothing.
    pub(crate) const NOBODY: Self = Self { user: 65534, group: 65534 };

    /// Nobody: who this process is is not known.
    pub(crate) fn current() -> Self {
        Self::NOBODY
    }

    /// Whether it is: not known.
    pub(crate) fn is_root(self) -> bool {
        self.user == 0
    }
}

fn not_here<T>() -> io::Result<T> {
    Err(io::Error::other("this platform does not know how"))
}

/// An error: the standard library knows no users.
pub(crate) fn become_user(_to: User, _groups: &[u32]) -> io::Result<()> {
    not_here()
}

/// An error: the standard library starts a program with all rights of this one.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    not_here()
}

/// An error: the standard library knows no rights beyond those of a user.
pub(crate) fn drop_capabilities() -> io::Result<&'static str> {
    not_here()
}

/// An error: who may read this process's memory is the system's decision.
pub(crate) fn hide_memory() -> io::Result<()> {
    not_here()
}

/// An error: the standard library knows no bounds.
pub(crate) fn bound_needless() -> io::Result<()> {
    not_here()
}

/// An error: the standard library knows no bounds.
pub(crate) fn bound_processes() -> io::Result<()> {
    not_here()
}

/// What this process is sent when its parent ends: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParentsEnd;

impl ParentsEnd {
    pub(crate) fn remembered() -> Self {
        Self
    }

    /// Does nothing.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn order_again(self) -> io::Result<()> {
        Ok(())
    }
}
