//! Mounts of this process's own: none here.

use std::fs::File;
use std::io;
use std::path::Path;

/// Refuses: no directory is made in memory.
pub(crate) fn memory(_size: u64, _files: u64) -> io::Result<File> {
    Err(missing())
}

/// Nothing: nothing is mounted.
pub(crate) fn held(_file: &File) -> Option<File> {
    None
}

/// Refuses: nothing is mounted.
pub(crate) fn settle(_tree: &File, _at: &Path) -> io::Result<bool> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn leave(_at: &Path) -> io::Result<()> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn found(_file: &File) -> io::Result<File> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn make_read_only(_tree: &File) -> io::Result<()> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn attach(_tree: &File) -> io::Result<()> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn root_of(_tree: &File) -> io::Result<File> {
    Err(missing())
}

/// Refuses: nothing is mounted.
pub(crate) fn put_over(_tree: &File, _directory: &File, _way: &str) -> io::Result<()> {
    Err(missing())
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no mounts of a process's own")
}
