//! Numbers of this process alone: no memory is shared with others here.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

/// How many numbers there are.
pub(crate) const COUNT: usize = 32;

/// The numbers. All of them are zero at first.
#[derive(Debug)]
pub(crate) struct Numbers {
    all: Box<[AtomicU64; COUNT]>,
}

impl Numbers {
    /// Numbers of this process alone.
    pub(crate) fn own() -> Self {
        Self { all: Box::new([const { AtomicU64::new(0) }; COUNT]) }
    }

    /// Fails: the standard library shares no memory.
    pub(crate) fn shared() -> io::Result<(Self, File)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Fails as well.
    pub(crate) fn of(_file: &File) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[AtomicU64; COUNT] {
        &self.all
    }
}
