//! Files by path: this platform has no handles that a path can lead to.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::platform::Identity;

/// Opens a file for reading. What is no regular file is refused before it is opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// Opens a directory where the system can, and finds out whether it is one in any case.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"));
    }
    File::open(path)
}

/// Opens what a path leads to now, where it is a regular file.
pub(crate) fn hold(path: &Path) -> io::Result<File> {
    open(path)
}

/// Opens a file of a directory of ours, or nothing where it is a symbolic link.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    File::open(path)
}

/// Creates a file of ours that did not exist.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Opens a lock file, and creates it where there is none.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Opens a file of ours to add to its end, and creates it where there is none.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Creates a directory of ours, and its parents; one that exists is left as it is.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// What was created, renamed and removed survives a loss of power when the system says so.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail at it")]
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Nothing: how much room there is is not asked here.
pub(crate) fn free_space(_path: &Path) -> Option<u64> {
    None
}

/// Whether a path leads to the very file that is open: as far as a path can tell.
pub(crate) fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// The path that the directory was opened as: here a grant is held by name.
pub(crate) fn handle_path(_handle: &File, opened_as: &Path) -> PathBuf {
    opened_as.to_owned()
}

/// Nothing: the standard library has no identity of files that nobody can forge.
pub(crate) fn identity(_metadata: &Metadata) -> Option<Identity> {
    None
}

/// Nothing: the standard library knows no owners.
pub(crate) fn foreign_hands(_metadata: &Metadata) -> Option<&'static str> {
    None
}

/// False: the standard library does not know who may write to a file.
pub(crate) fn others_may_write(_metadata: &Metadata) -> bool {
    false
}

/// False: the standard library does not know who may read a file.
pub(crate) fn others_may_read(_metadata: &Metadata) -> bool {
    false
}

/// Takes the lock if nobody else holds it, and waits for it otherwise.
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

/// Never: what the numbers mean depends on the system.
pub(crate) fn is_lack(_number: i32) -> bool {
    false
}

/// Whether one of two directories is in the other, or they are the same.
pub(crate) fn are_nested(_one: &File, opened_as: &Path, other: &Path) -> io::Result<bool> {
    let one = opened_as.canonicalize()?;
    if !other.exists() {
        // What is not there yet may come.
        let above = other.ancestors().find(|above| above.exists());
        return above.map_or(Ok(false), |above| Ok(above.canonicalize()?.starts_with(&one)));
    }
    let other = other.canonicalize()?;
    Ok(one.starts_with(&other) || other.starts_with(&one))
}

/// Opens a file of a tree whose links lead nowhere else.
pub(crate) fn open_in_root(_root: &File, opened_as: &Path, path: &str) -> io::Result<File> {
    let root = opened_as.canonicalize()?;
    let found = root.join(path.trim_start_matches('/')).canonicalize()?;
    if !found.starts_with(&root) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it leads out of the image's files"));
    }
    open(&found)
}

/// How many names a directory has; no more than `enough` are counted.
pub(crate) fn count_names(_directory: &File, opened_as: &Path, enough: usize) -> io::Result<usize> {
    Ok(std::fs::read_dir(opened_as)?.take(enough).count())
}

/// Opens the directory `rest` beneath `directory`, where no symbolic link leads outside now.
pub(crate) fn open_beneath(_directory: &File, opened_as: &Path, rest: &str) -> io::Result<File> {
    let outer = opened_as.canonicalize()?;
    let inner = outer.join(rest).canonicalize()?;
    if !inner.starts_with(&outer) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it leads outside"));
    }
    open_directory(&inner)
}

/// Whether there is a symbolic link on `path`, which starts where `way` leads to beneath
/// `directory`: one that leads out is the likely reason why a path was refused.
pub(crate) fn leads_out(_directory: &File, opened_as: &Path, way: &str, path: &str) -> bool {
    let start = opened_as.join(way);
    let parts: Vec<&str> = path.split('/').collect();
    (1..=parts.len()).any(|count| start.join(parts[..count].join("/")).is_symlink())
}
