//! Files by handle, and whom they belong to.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::platform::Identity;

/// Opens a file for reading, without waiting where it is a FIFO or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Opens a directory, following symbolic links: what they lead to now is what is granted.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Holds what a path leads to now, without opening it: neither a FIFO nor a device notices.
pub(crate) fn hold(path: &Path) -> io::Result<File> {
    use rustix::fs::Mode;

    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?.into())
}

/// Opens a file of a directory of ours, or nothing where its last part is a symbolic link.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Creates a file of ours that did not exist, readable by its owner alone.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a lock file, and creates it where there is none.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Opens a file of ours to add to its end, and creates it, readable by its owner alone, where there is
/// none.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Creates a directory of ours, and its parents; one that exists is left as it is.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes what was created, renamed and removed in a directory survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match open_directory(path)?.sync_all() {
        // A file system that knows no such thing says so: there is nothing more to be done.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced,
    }
}

/// How many bytes this user may still write to the file system that a path is on; nothing where
/// the system does not tell.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Whether a path leads to the very file that is open.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let found = std::fs::symlink_metadata(path).map(place);
    file.metadata().map(place).is_ok_and(|own| found.is_ok_and(|found| found == own))
}

/// A path that leads to the very directory that `handle` holds, whatever its names became since.
pub(crate) fn handle_path(handle: &File, _opened_as: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// What tells this state of a file from others; nothing where the system cannot tell.
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such identity")]
pub(crate) fn identity(metadata: &Metadata) -> Option<Identity> {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Why others than the user of this process could have changed the file, if they could.
pub(crate) fn foreign_hands(metadata: &Metadata) -> Option<&'static str> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        Some("it belongs to another user")
    } else if metadata.mode() & 0o022 != 0 {
        Some("others may write to it")
    } else if metadata.is_file() && metadata.nlink() != 1 {
        Some("it has more than one name")
    } else {
        None
    }
}

/// Whether others than the user of this process may write to a file. Root may always.
pub(crate) fn others_may_write(metadata: &Metadata) -> bool {
    is_of_another(metadata) || metadata.mode() & 0o022 != 0
}

/// Whether others than the user of this process may read or write a file. Root may always.
pub(crate) fn others_may_read(metadata: &Metadata) -> bool {
    is_of_another(metadata) || metadata.mode() & 0o077 != 0
}

fn is_of_another(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    owner != 0 && owner != rustix::process::geteuid().as_raw()
}

/// Takes the lock if nobody else holds it, and waits for it otherwise. It ends with the handle,
/// and so with the process, however that ends.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

/// Takes the lock if nobody else holds it, and says whether that was so.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the lock together with others if nobody has it alone, and says whether that was so.
pub(crate) fn try_lock_shared(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether an error's number says that the system has no room: for files, memory or bytes.
pub(crate) fn is_lack(number: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOSPC, libc::EDQUOT, libc::EIO]
        .contains(&number)
}

/// Whether one of two directories is in the other, or they are the same. `other` need not be there.
pub(crate) fn are_nested(one: &File, _opened_as: &Path, other: &Path) -> io::Result<bool> {
    // By what they are and not by their names: a directory may be mounted at several places.
    let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let is_above = |upper: (u64, u64), lower: &Path| -> io::Result<bool> {
        for path in lower.ancestors() {
            if place(std::fs::metadata(path)?) == upper {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let one_path = handle_path(one, Path::new("")).canonicalize()?;
    let one_place = place(one.metadata()?);
    if !other.exists() {
        // What is not there yet may come.
        return other
            .ancestors()
            .find(|above| above.exists())
            .map_or(Ok(false), |above| is_above(one_place, &above.canonicalize()?));
    }
    let other = other.canonicalize()?;
    let other_place = place(std::fs::metadata(&other)?);
    Ok(is_above(one_place, &other)? || is_above(other_place, &one_path)?)
}

/// Whether the kernel has the call that opens beneath a directory, and nothing outside of it.
pub(crate) fn has_openat2() -> bool {
    use rustix::fs::Mode;
    use rustix::fs::ResolveFlags;

    let (here, flags) = (rustix::fs::CWD, OFlags::PATH | OFlags::CLOEXEC);
    let opened = rustix::fs::openat2(here, ".", flags, Mode::empty(), ResolveFlags::BENEATH);
    !matches!(opened, Err(rustix::io::Errno::NOSYS))
}

/// Opens the directory `rest` beneath `directory`, and nothing outside of it.
pub(crate) fn open_beneath(directory: &File, _opened_as: &Path, rest: &str) -> io::Result<File> {
    use rustix::fs::Mode;
    use rustix::fs::ResolveFlags;

    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(directory, rest, flags, Mode::empty(), resolve)?.into())
}

/// Opens a file of a tree as somebody would for whom `root` is the root of all files: links lead
/// nowhere else. It does not wait where the file is a FIFO or a device.
pub(crate) fn open_in_root(root: &File, _opened_as: &Path, path: &str) -> io::Result<File> {
    use rustix::fs::Mode;
    use rustix::fs::ResolveFlags;

    let flags = OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?.into())
}

/// How many names a directory has; no more than `enough` are counted.
pub(crate) fn count_names(directory: &File, _opened_as: &Path, enough: usize) -> io::Result<usize> {
    let mut names = rustix::fs::Dir::read_from(directory)?;
    let mut count = 0;
    while count < enough {
        match names.read() {
            None => break,
            // This one and the one above are among them.
            Some(name) => {
                count += usize::from(!matches!(name?.file_name().to_bytes(), b"." | b".."));
            }
        }
    }
    Ok(count)
}

/// Whether a symbolic link on `path` leads out of where `way` leads to beneath `directory`.
pub(crate) fn leads_out(directory: &File, opened_as: &Path, way: &str, path: &str) -> bool {
    use rustix::fs::Mode;
    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;

    let opened;
    let start = if way.is_empty() {
        directory
    } else {
        let Ok(inner) = open_beneath(directory, opened_as, way) else { return false };
        opened = inner;
        &opened
    };
    // Nothing is opened but the name: neither a FIFO nor a device notices.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(start, path, flags, Mode::empty(), resolve);
    matches!(found, Err(Errno::XDEV))
}
