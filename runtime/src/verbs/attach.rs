//! Streams of sandboxes that go on alone, and of programs beside them, in the hands of another process.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::roster::Answer;
use crate::roster::Exec;
use crate::roster::FRAME_MAX;
use crate::roster::Frame;
use crate::roster::KeeperLine;
use crate::roster::Request;

use super::residents::ANSWER_MAX;
use super::residents::failed;
use super::residents::told;
use super::runtime::Runtime;

/// What comes of a sandbox that somebody is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// What its guest wrote to standard output.
    Output(Vec<u8>),
    /// What its guest wrote to standard error.
    Error(Vec<u8>),
    /// So many pieces were lost: they came faster than they were taken.
    Lost(u64),
    /// The guest ended with this code. The last.
    Ended(u8),
}

/// Somebody's hold on the streams of a sandbox. Dropped, it is let go, and the sandbox goes on.
#[derive(Debug)]
pub struct Attachment {
    line: KeeperLine,
}

/// The writer of a guest's standard input, beside an [`Attachment`].
#[derive(Debug)]
pub struct AttachedInput {
    line: KeeperLine,
}

impl Attachment {
    /// The next piece; nothing where the keeper is gone without a word.
    ///
    /// # Errors
    ///
    /// Fails where the connection does.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        loop {
            return Ok(Some(match self.line.next()? {
                None => return Ok(None),
                Some(Frame::Output { is_error: false, bytes }) => Piece::Output(bytes),
                Some(Frame::Output { is_error: true, bytes }) => Piece::Error(bytes),
                Some(Frame::Lost(count)) => Piece::Lost(count),
                Some(Frame::Ended(code)) => Piece::Ended(code),
                // That is ours to say.
                Some(Frame::Input(_)) => continue,
            }));
        }
    }

    /// The writer of the guest's input.
    ///
    /// # Errors
    ///
    /// Fails where the host has no room for one more descriptor.
    pub fn input(&self) -> io::Result<AttachedInput> {
        Ok(AttachedInput { line: self.line.again()? })
    }
}

impl AttachedInput {
    /// Ends the guest's input.
    ///
    /// # Errors
    ///
    /// Fails where the keeper is gone.
    pub fn end(&mut self) -> io::Result<()> {
        self.line.input(&[])
    }
}

impl io::Write for AttachedInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(FRAME_MAX)];
        if !bytes.is_empty() {
            self.line.input(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A program that is to run beside a guest that goes on alone, with its files and variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// A wasm file of this host; nothing for a program of the guest's own image.
    pub file: Option<PathBuf>,
    /// Its arguments, of which the first is its own name, and the program where that is the image's.
    pub command: Vec<String>,
    /// Its variables, beside those of the guest.
    pub environment: Vec<(String, String)>,
    /// Where it starts, if not where the guest did.
    pub working_directory: Option<String>,
    /// Whether it reads what is written to it; otherwise its input has ended.
    pub interactive: bool,
}

impl Runtime {
    /// Attaches to a sandbox that runs: what its guest writes from now on comes here, and what is
    /// written here is what it reads, where it was planned so.
    ///
    /// # Errors
    ///
    /// Fails where there is none that runs.
    pub fn attach(&self, name: &str) -> Result<Attachment, Error> {
        self.connected("attach to", name, &Request::Attach, ANSWER_MAX)
    }

    fn connected(
        &self,
        doing: &'static str,
        name: &str,
        request: &Request,
        limit: Duration,
    ) -> Result<Attachment, Error> {
        let roster = self.roster()?;
        let id = roster.find(name).map_err(told(doing, name))?;
        let unheard = |error| self.unheard(doing, name, &id, error);
        let mut line = roster.connect(&id).map_err(unheard)?;
        match line.ask(request, Some(limit)).map_err(unheard)? {
            Answer::Refused(reason) => Err(failed(doing, name, ErrorKind::Denied, reason)),
            _ => Ok(Attachment { line }),
        }
    }

    /// Runs a program beside a guest that goes on alone, and attaches to it. It is ended with the
    /// guest, and where the attachment is dropped.
    ///
    /// # Errors
    ///
    /// Fails where there is no sandbox that runs, and where the program cannot be prepared or launched.
    pub fn run_beside(&self, name: &str, program: Beside) -> Result<Attachment, Error> {
        /// What it may take to compile the program.
        const PREPARING_MAX: Duration = Duration::from_mins(6);
        let Beside { file, command, environment, working_directory, interactive } = program;
        let exec = Exec { file, command, environment, working_directory, interactive };
        self.connected("run a program beside", name, &Request::Exec(exec), PREPARING_MAX)
    }
}
