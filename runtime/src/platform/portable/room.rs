//! Room for what one guest writes: this platform makes none.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

use super::tree::Directory;

/// A file system in memory, of which there is none.
#[derive(Debug)]
pub(crate) struct Room(Infallible);

impl Room {
    /// Refuses: no file system is made in memory.
    pub(crate) fn new(_size: Option<u64>) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no file systems of a process's own in memory",
        ))
    }

    /// There is none.
    pub(crate) fn directory(&self, _name: &str) -> io::Result<(Directory, Option<File>)> {
        match self.0 {}
    }

    /// There is none.
    pub(crate) fn lay_over(
        &self,
        _lower: &Path,
        _name: &str,
        _at: &Path,
    ) -> io::Result<(File, File)> {
        match self.0 {}
    }

    /// There is none.
    pub(crate) fn used(&self) -> io::Result<u64> {
        match self.0 {}
    }

    /// There is none.
    pub(crate) fn resize(&self, _size: Option<u64>) -> io::Result<()> {
        match self.0 {}
    }
}
