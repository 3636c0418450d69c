//! Trees of files by handle: each call acts on one name in a directory that is held open.
//!
//! Nothing here follows a symbolic link, and nothing takes a path from the root of the host, so
//! that whoever renames or links in a tree while it is worked on cannot lead the work elsewhere.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_OMIT;
use rustix::io::Errno;

use crate::platform::Kind;
use crate::platform::Stamp;
use crate::platform::Status;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is held open.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// Opens a directory of ours. Its last part is no symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?))
    }

    /// The directory that a handle holds.
    pub(crate) fn of(handle: &File, _opened_as: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(handle, ".", DIRECTORY, Mode::empty())?))
    }

    /// One more handle of the same directory.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, ".", DIRECTORY, Mode::empty())?))
    }

    /// The handle as a file, for those who know files alone.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn into_file(self) -> io::Result<File> {
        Ok(self.0.into())
    }

    /// Opens a directory in this one.
    pub(crate) fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name.as_ref(), DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory some names below this one, none of which is a symbolic link.
    pub(crate) fn descend(&self, way: &str) -> io::Result<Self> {
        let way = if way.is_empty() { "." } else { way };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.0, way, DIRECTORY, Mode::empty(), resolve) {
            Ok(found) => Ok(Self(found)),
            // Linux before 5.6 has no such call, and a filter of system calls may not know it.
            Err(Errno::NOSYS | Errno::PERM) => {
                let mut names = way.split('/').filter(|name| !name.is_empty() && *name != ".");
                names.try_fold(self.again()?, |above, name| match name {
                    ".." => Err(io::Error::from(Errno::XDEV)),
                    name => above.child(name),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn create_directory(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name.as_ref(), Mode::from_raw_mode(mode))?)
    }

    /// Creates a file that did not exist, for writing.
    pub(crate) fn create_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::openat(&self.0, name.as_ref(), flags, mode)?.into())
    }

    /// Opens a file for reading, without waiting where it is a FIFO.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name.as_ref(), flags, Mode::empty())?.into())
    }

    pub(crate) fn create_link(&self, name: impl AsRef<OsStr>, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name.as_ref())?)
    }

    pub(crate) fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.0, name.as_ref(), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Gives what `name` is in this directory a name in another one as well.
    pub(crate) fn link_to(
        &self,
        name: impl AsRef<OsStr>,
        other: &Self,
        other_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, other_name) = (name.as_ref(), other_name.as_ref());
        Ok(rustix::fs::linkat(&self.0, name, &other.0, other_name, AtFlags::empty())?)
    }

    pub(crate) fn rename(
        &self,
        name: impl AsRef<OsStr>,
        other: &Self,
        other_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name.as_ref(), &other.0, other_name.as_ref())?)
    }

    pub(crate) fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::empty())?)
    }

    /// Removes a directory that is empty.
    pub(crate) fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::REMOVEDIR)?)
    }

    /// What `name` is, if it is anything.
    pub(crate) fn status(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Status>> {
        match rustix::fs::statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(status(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What this directory is.
    pub(crate) fn own_status(&self) -> io::Result<Status> {
        Ok(status(&rustix::fs::fstat(&self.0)?))
    }

    /// The names in this directory, in no order.
    pub(crate) fn entries(&self) -> io::Result<Vec<(OsString, Kind)>> {
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => match self.status(name)? {
                    Some(status) => status.kind,
                    None => continue,
                },
                told => kind(told),
            };
            entries.push((name.to_owned(), kind));
        }
        Ok(entries)
    }

    /// Sets when `name` itself changed last.
    pub(crate) fn set_modified(&self, name: impl AsRef<OsStr>, stamp: Stamp) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(&self.0, name.as_ref(), &times(stamp), flags)?)
    }

    /// Sets when this directory changed last.
    pub(crate) fn set_own_modified(&self, stamp: Stamp) -> io::Result<()> {
        Ok(rustix::fs::futimens(&self.0, &times(stamp))?)
    }

    /// Sets what may be done with this directory.
    pub(crate) fn set_own_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0, Mode::from_raw_mode(mode))?)
    }

    /// Sets what may be done with a directory that is in this one, and perhaps cannot be opened.
    pub(crate) fn set_mode(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        // What is a symbolic link by now is in a tree of ours and leads to nothing of others'.
        Ok(rustix::fs::chmodat(
            &self.0,
            name.as_ref(),
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )?)
    }

    /// Makes all that was written to the file system of this directory survive a loss of power.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// Sets when a file changed last.
pub(crate) fn set_modified(file: &File, stamp: Stamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(stamp))?)
}

/// Sets what may be done with a file.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// What an open file is.
pub(crate) fn status_of(file: &File) -> io::Result<Status> {
    Ok(status(&rustix::fs::fstat(file)?))
}

/// Lets `to`, which is empty, share the content of `from` until one of both is written.
pub(crate) fn share_content(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

fn kind(found: FileType) -> Kind {
    match found {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn status(found: &Stat) -> Status {
    let nanos = u32::try_from(found.st_mtime_nsec).unwrap_or_default();
    Status {
        kind: kind(FileType::from_raw_mode(found.st_mode)),
        mode: found.st_mode & 0o7777,
        size: u64::try_from(found.st_size).unwrap_or_default(),
        names: wide(found.st_nlink),
        place: (found.st_dev, found.st_ino),
        modified: Stamp { seconds: found.st_mtime, nanos },
    }
}

/// A number that is as wide as the processor has it.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

fn times(stamp: Stamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stamp.seconds, tv_nsec: stamp.nanos.into() },
    }
}
