//! What a container reads and writes: the engine's FIFOs themselves, or a terminal that is carried to
//! them.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;
use tokio::task::JoinHandle;

use super::NativeError;
use crate::platform::console::Terminal;
use crate::platform::fifo;

/// As much as is carried at once, in bytes.
const BLOCK_SIZE: usize = 16 << 10;

/// How long what a terminal still shows is carried after its last program has ended, where nobody reads
/// it.
const LAST_OUTPUT_SPAN: Duration = Duration::from_secs(2);

/// The standard streams of a process in a container. One that is not there reads as ended, and swallows
/// what is written.
#[derive(Debug, Default)]
pub struct Streams {
    /// What it reads.
    pub stdin: Option<File>,
    /// Where it writes; where a terminal's output goes.
    pub stdout: Option<File>,
    /// Where it writes errors; a terminal has no such stream.
    pub stderr: Option<File>,
    /// Whether it has a terminal of its own, whose output and input are the streams. They are FIFOs then,
    /// or pipes, at which nobody waits.
    pub terminal: bool,
    /// What keeps its input from ending, until [`Process::close_stdin`](super::Process::close_stdin).
    pub stdin_writer: Option<File>,
    /// What is held open until it is deleted.
    pub held: Vec<File>,
}

impl Streams {
    /// Those that an engine named by FIFOs.
    ///
    /// The other end of each is held, so that an engine that goes away and comes again breaks nothing: a
    /// process that writes meanwhile waits where the FIFO is full.
    ///
    /// # Errors
    ///
    /// Fails where one is no FIFO, or cannot be opened.
    pub fn fifos(
        stdin: Option<&Path>,
        stdout: Option<&Path>,
        stderr: Option<&Path>,
        terminal: bool,
    ) -> Result<Self, NativeError> {
        let mut streams = Self { terminal, ..Self::default() };
        let failed = |stream, path: &Path| {
            let path = path.to_owned();
            move |source| NativeError::Stream { stream, path, source }
        };
        let open = |ends: io::Result<fifo::Ends>| {
            let ends = ends?;
            // A program waits at its streams; who carries a terminal's does not.
            fifo::wait(&ends.used, !terminal)?;
            Ok((ends.used, ends.held))
        };
        if let Some(path) = stdin {
            let (used, held) = open(fifo::to_read(path)).map_err(failed("standard input", path))?;
            (streams.stdin, streams.stdin_writer) = (Some(used), Some(held));
        }
        if let Some(path) = stdout {
            let (used, held) =
                open(fifo::to_write(path)).map_err(failed("standard output", path))?;
            streams.stdout = Some(used);
            streams.held.push(held);
        }
        // A terminal has one output.
        if let Some(path) = stderr.filter(|_| !terminal) {
            let (used, held) =
                open(fifo::to_write(path)).map_err(failed("standard error", path))?;
            streams.stderr = Some(used);
            streams.held.push(held);
        }
        Ok(streams)
    }

    /// What a process that was made with these is told by, and held by.
    pub(super) fn attach(self, terminal: Option<Terminal>) -> io::Result<Attached> {
        let mut attached =
            Attached { stdin_writer: self.stdin_writer, held: self.held, terminal: None };
        if let Some(terminal) = terminal {
            let (shown, typed) = terminal.ends()?;
            let output = self.stdout.map(Sender::from_file).transpose()?;
            let input = self.stdin.map(Receiver::from_file).transpose()?;
            attached.terminal = Some(Carried {
                terminal,
                output: Some(tokio::spawn(carry_output(shown, output))),
                input: input.map(|input| tokio::spawn(carry_input(input, typed))),
            });
        }
        Ok(attached)
    }
}

/// What there is of the streams of a process on this side of it.
pub(super) struct Attached {
    stdin_writer: Option<File>,
    held: Vec<File>,
    terminal: Option<Carried>,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_terminal = self.terminal.is_some();
        f.debug_struct("Attached").field("terminal", &is_terminal).finish_non_exhaustive()
    }
}

impl Attached {
    pub(super) fn close_stdin(&mut self) {
        self.stdin_writer = None;
    }

    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref().map(|carried| &carried.terminal)
    }

    /// What still carries output, if something does.
    pub(super) fn take_output(&mut self) -> Option<JoinHandle<()>> {
        self.terminal.as_mut().and_then(|carried| carried.output.take())
    }

    /// Lets go of everything.
    pub(super) fn close(&mut self) {
        self.stdin_writer = None;
        self.held.clear();
        self.terminal = None;
    }
}

/// Waits until all output was carried, and no longer than somebody may take to read it.
pub(super) async fn carried(mut output: JoinHandle<()>) {
    if tokio::time::timeout(LAST_OUTPUT_SPAN, &mut output).await.is_err() {
        output.abort();
    }
}

/// A terminal, and what carries its streams.
struct Carried {
    terminal: Terminal,
    output: Option<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        for task in [self.output.take(), self.input.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

/// Carries what a terminal shows until its last program has closed it.
async fn carry_output(mut shown: Receiver, mut to: Option<Sender>) {
    let mut block = vec![0; BLOCK_SIZE];
    while let Ok(length @ 1..) = shown.read(&mut block).await {
        // Where nobody takes it any more it is read all the same, or the programs there would wait.
        if let Some(writer) = &mut to
            && writer.write_all(&block[..length]).await.is_err()
        {
            to = None;
        }
    }
}

/// Carries what is typed until who types has closed their end.
async fn carry_input(mut from: Receiver, mut typed: Sender) {
    let mut block = vec![0; BLOCK_SIZE];
    while let Ok(length @ 1..) = from.read(&mut block).await {
        if typed.write_all(&block[..length]).await.is_err() {
            return;
        }
    }
}
