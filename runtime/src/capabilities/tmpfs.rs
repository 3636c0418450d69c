//! A directory in memory that a guest has to itself.

use crate::units::Bytes;

use super::GrantError;
use super::directory::check_guest_path;

/// An empty directory in memory that a guest may write to, and that is gone with it.
///
/// It takes a process of the guest's own ([`Isolation::Process`](crate::Isolation::Process)), on a
/// system with namespaces of mounts. A guest that fills it is told that there is no room (`ENOSPC`).
/// What is in it is memory of the guest's process: where a control group holds that to the guest's
/// [`memory`](crate::Limits::memory), both together must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    // Invariant: `check_guest_path` accepted it.
    guest: String,
    // Invariant: at least a page.
    size: Bytes,
}

/// What the kernel gives out at once, in bytes.
const PAGE: u64 = 4 << 10;

impl Tmpfs {
    /// How much one holds of which nobody said it: what shared memory is for a container of docker's.
    /// A sixteenth of a guest's memory by default.
    pub const SIZE_DEFAULT: Bytes = Bytes::mib(64);

    /// A directory of [`SIZE_DEFAULT`](Self::SIZE_DEFAULT), to be seen by a guest as `guest`: an
    /// absolute path without `.` and `..`.
    ///
    /// # Errors
    ///
    /// Fails where `guest` is no such path.
    pub fn new(guest: impl AsRef<str>) -> Result<Self, GrantError> {
        Ok(Self { guest: check_guest_path(guest.as_ref())?, size: Self::SIZE_DEFAULT })
    }

    /// Sets how much it holds. It is given out in pages of 4 KiB, of which only whole ones are
    /// counted; and it holds no more files and directories than it has pages.
    ///
    /// # Errors
    ///
    /// Fails where that is less than a page.
    pub fn size(self, size: Bytes) -> Result<Self, GrantError> {
        if size.get() < PAGE {
            return Err(GrantError::NoRoom { guest: self.guest, size });
        }
        Ok(Self { size, ..self })
    }

    /// The path under which the guest sees it.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// How much it holds, as it was asked for.
    pub(crate) fn bytes(&self) -> Bytes {
        self.size
    }

    /// How much it holds, in bytes, and how many files.
    pub(crate) fn room(&self) -> (u64, u64) {
        let pages = self.size.get() / PAGE;
        (pages * PAGE, pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_nothing_is_refused_and_none_holds_more_than_was_asked_for() {
        let of = |bytes| Tmpfs::new("/tmp").and_then(|tmpfs| tmpfs.size(Bytes::new(bytes)));
        for bytes in [0, 1, 4095] {
            // The kernel takes no room for no bound.
            assert!(matches!(of(bytes), Err(GrantError::NoRoom { .. })), "{bytes}");
        }
        assert_eq!(of(4096).expect("a page").room(), (4096, 1));
        assert_eq!(of(12_287).expect("two pages").room(), (8192, 2));
        let huge = of(u64::MAX).expect("what the host has not is found out by writing");
        assert_eq!(huge.room(), (u64::MAX - 4095, u64::MAX / 4096));
        assert!(matches!(Tmpfs::new("tmp"), Err(GrantError::GuestPath { .. })));
    }
}
