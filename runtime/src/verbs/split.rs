//! One process that becomes two: who starts a sandbox that goes on alone, and who keeps it.

use std::ffi::OsStr;
use std::io;
use std::process::ExitStatus;

use crate::platform::start;
use crate::platform::twin;
use crate::process::take_spare;
use crate::roster::KeeperLine;

use super::attach::Attachment;

/// The process that goes on as the keeper, as the one sees it that was there before.
#[derive(Debug)]
pub struct Twin(twin::Twin);

/// Goes on twice: as the process that was there, which is given the other one, and as a new one, its
/// child, which is given nothing and has a connection to the first one as its standard output.
///
/// The new process has all that this one has: it can be its [keeper](crate::Runtime::keep_alone)
/// without starting a program and reading its command line again.
///
/// # Errors
///
/// Fails where the process has more than one thread, where the host has no room for another, and on
/// systems that cannot do that.
pub fn split() -> io::Result<Option<Twin>> {
    // A worker that waits is a child of this process, and could be none of the other one's.
    drop(take_spare());
    Ok(twin::split()?.map(Twin))
}

/// What a process is after [`split_first`].
#[derive(Debug)]
pub enum Split {
    /// What it was, and alone: nobody is wanted beside it, or nobody could be made.
    Alone,
    /// The new one.
    New,
    /// The one that was there before, which is given the other one.
    Beside(Twin),
}

/// [Splits](split) this process first in `main`, where the words that it was started with are such that
/// the other one is `wanted`: that one has nothing in its memory but what every process of this program
/// has at first, and can have a [worker of its own](crate::fork_worker) ready.
pub fn split_first(wanted: impl FnOnce(&[&OsStr]) -> bool) -> Split {
    if !start::with_words(wanted) {
        return Split::Alone;
    }
    match twin::split() {
        Ok(None) => Split::New,
        Ok(Some(twin)) => Split::Beside(Twin(twin)),
        // Who needs one asks again, and is told why there is none.
        Err(_) => Split::Alone,
    }
}

impl Twin {
    /// The next line that it says on its standard output, with its end; what it said of one, where it
    /// has closed that before.
    ///
    /// # Errors
    ///
    /// Fails where that is not UTF-8.
    pub fn hear(&mut self) -> io::Result<String> {
        self.0.hear()
    }

    /// Attaches to the sandbox that it keeps for this process
    /// ([`Enrolment::with_owner`](crate::Enrolment::with_owner)), once it has said a line when that
    /// began. All that the guest writes comes here from its beginning on, and how it ended, whenever
    /// this process takes it: also where the keeper is gone by then. `has_terminal` is whether its spec
    /// gives it a terminal.
    ///
    /// # Errors
    ///
    /// Fails where this process has no room for it.
    pub fn attach(self, has_terminal: bool) -> io::Result<Attachment> {
        Attachment::over(KeeperLine::own(self.0.into_line()), has_terminal)
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
