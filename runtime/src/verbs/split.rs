//! One process that becomes two: who starts a sandbox that goes on alone, and who keeps it.

use std::io;
use std::process::ExitStatus;

use crate::platform::twin;

/// The process that goes on as the keeper, as the one sees it that was there before.
#[derive(Debug)]
pub struct Twin(twin::Twin);

/// Goes on twice: as the process that was there, which is given the other one, and as a new one, its
/// child, which is given nothing and has a pipe to the first one as its standard output.
///
/// The new process has all that this one has: it can be its [keeper](crate::Runtime::keep_alone)
/// without starting a program and reading its command line again.
///
/// # Errors
///
/// Fails where the process has more than one thread, where the host has no room for another, and on
/// systems that cannot do that.
pub fn split() -> io::Result<Option<Twin>> {
    Ok(twin::split()?.map(Twin))
}

impl Twin {
    /// All that it says on its standard output, once it has closed that.
    ///
    /// # Errors
    ///
    /// Fails where that is not UTF-8.
    pub fn hear(&mut self) -> io::Result<String> {
        self.0.hear()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Fails where somebody else has waited for it.
    pub fn wait(self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}
