//! Streams of sandboxes that go on alone, and of programs beside them, in the hands of another process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::platform::Noticed;
use crate::platform::signals;
use crate::roster::Answer;
use crate::roster::Exec;
use crate::roster::FRAME_MAX;
use crate::roster::Frame;
use crate::roster::KeeperLine;
use crate::roster::Request;
use crate::sandbox::Record;
use crate::sandbox::WindowSize;

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
    /// How the guest ended. Who started it is told, before its code.
    Record(Box<Record>),
    /// The guest ended with this code. The last.
    Ended(u8),
}

/// Somebody's hold on the streams of a sandbox. Dropped, it is let go, and the sandbox goes on.
#[derive(Debug)]
pub struct Attachment {
    line: KeeperLine,
    has_terminal: bool,
    writer: Arc<Writer>,
}

/// The writer of a guest's standard input, beside an [`Attachment`]: any number of them, each for one
/// thread.
#[derive(Clone, Debug)]
pub struct AttachedInput {
    writer: Arc<Writer>,
}

/// The same line, for those who write: one frame after the other.
#[derive(Debug)]
struct Writer {
    line: KeeperLine,
    turn: Mutex<()>,
}

/// What is sent to a process that shows what a sandbox writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Its terminal has another size.
    Resized,
    /// It is to stand still: [`Notices::stand_still`] does that, once what it changed of its terminal is
    /// undone.
    StandStill,
    /// It goes on.
    GoesOn,
    /// It is asked to end, by the signal of this number.
    Ask(i32),
}

/// What is sent to this process: it no longer ends by it, and somebody waits for it.
#[derive(Debug)]
pub struct Notices(signals::Notices);

impl Notices {
    /// Takes it over in the calling thread, and in those that it starts from now on. There must be no
    /// others.
    pub fn take_over() -> Self {
        Self(signals::Notices::block())
    }

    /// Waits for the next one.
    pub fn wait(&self) -> Notice {
        match self.0.wait() {
            Noticed::Resized => Notice::Resized,
            Noticed::StandStill => Notice::StandStill,
            Noticed::GoesOn => Notice::GoesOn,
            Noticed::Ask(signal) => Notice::Ask(signal),
        }
    }

    /// Has this process stand still until it is sent to go on, of which the next notice tells.
    pub fn stand_still(&self) {
        self.0.stand_still();
    }
}

impl Attachment {
    /// Over a connection that carries what a guest writes.
    pub(super) fn over(line: KeeperLine, has_terminal: bool) -> io::Result<Self> {
        let writer = Writer { line: line.again()?, turn: Mutex::default() };
        Ok(Self { line, has_terminal, writer: Arc::new(writer) })
    }

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
                Some(Frame::Record(text)) => match Record::from_json(&text) {
                    Ok(record) => Piece::Record(Box::new(record)),
                    Err(reason) => return Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
                },
                // That is ours to say.
                Some(Frame::Input(_) | Frame::Resize { .. }) => continue,
            }));
        }
    }

    /// Whether what is written comes through a terminal of the program's own, which ends lines with
    /// `\r\n`.
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// The writer of the guest's input.
    pub fn input(&self) -> AttachedInput {
        AttachedInput { writer: Arc::clone(&self.writer) }
    }
}

impl AttachedInput {
    /// Ends the guest's input.
    ///
    /// # Errors
    ///
    /// Fails where the keeper is gone.
    pub fn end(&mut self) -> io::Result<()> {
        self.give(&Frame::Input(Vec::new()))
    }

    /// Gives the guest's terminal another size, where it has one.
    ///
    /// # Errors
    ///
    /// Fails where the keeper is gone.
    pub fn resize(&mut self, size: WindowSize) -> io::Result<()> {
        self.give(&Frame::Resize { columns: size.columns, rows: size.rows })
    }

    fn give(&self, frame: &Frame) -> io::Result<()> {
        let _turn = self.writer.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer.line.give(frame)
    }

    /// Lets go of the sandbox for the [`Attachment`] too, which is told of nothing more.
    pub fn leave(&self) {
        self.writer.line.leave();
    }
}

impl io::Write for AttachedInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(FRAME_MAX)];
        if !bytes.is_empty() {
            self.give(&Frame::Input(bytes.to_vec()))?;
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
    /// The size of a terminal of its own, where its streams are to be one.
    pub terminal: Option<WindowSize>,
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
        if let Answer::Refused(reason) = line.ask(request, Some(limit)).map_err(unheard)? {
            return Err(failed(doing, name, ErrorKind::Denied, reason));
        }
        let has_terminal = match request {
            Request::Exec(program) => program.terminal.is_some(),
            // One that has ended and is gone by now says little more.
            _ => roster.get(&id).is_ok_and(|resident| resident.plan.terminal),
        };
        Attachment::over(line, has_terminal).map_err(unheard)
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
        let Beside { file, command, environment, working_directory, interactive, terminal } =
            program;
        let terminal = terminal.map(|size| (size.columns, size.rows));
        let exec = Exec { file, command, environment, working_directory, interactive, terminal };
        self.connected("run a program beside", name, &Request::Exec(exec), PREPARING_MAX)
    }
}
