//! No second process: the standard library copies none.

use std::convert::Infallible;
use std::io;
use std::process::ExitStatus;

/// The other process, which is never there.
#[derive(Debug)]
pub(crate) struct Twin(Infallible);

/// Fails.
pub(crate) fn split() -> io::Result<Option<Twin>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system cannot copy a process"))
}

impl Twin {
    /// Never happens.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        match self.0 {}
    }

    /// Never happens.
    pub(crate) fn into_line(self) -> super::socket::Stream {
        match self.0 {}
    }

    /// Never happens.
    pub(crate) fn wait(self) -> io::Result<ExitStatus> {
        match self.0 {}
    }
}
