//! The streams of a process: what containerd names, opened and handed to the guest.
//!
//! Outputs are the guest's own descriptors. An input, and all of a terminal, is handed on here: an input
//! can be closed at any moment, and a terminal is more than a pipe.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use aril::Input;
use aril::Sandbox;
use aril::SandboxSpec;
use aril::WindowSize;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use crate::native::Streams;
use crate::platform::stdio;
use crate::platform::stdio::Sink;
use crate::platform::stdio::Source;

use super::failure::Failure;

/// What is in front of the path of a regular file.
const FILE: &str = "file://";

/// How much is handed on at a time.
const CHUNK: usize = 16 << 10;

/// How long the last output of a terminal may take to be read after the guest's end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The streams of a process, as containerd names them: a FIFO, a file, or nothing each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stdio {
    pub(super) stdin: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Whether they are a terminal, of which standard output is all.
    pub(super) terminal: bool,
}

/// Streams that are open, before there is a guest.
#[derive(Debug, Default)]
pub(super) struct Opened {
    source: Option<Source>,
    sink: Option<Sink>,
    held: Vec<File>,
    beside: Option<File>,
    is_terminal: bool,
}

/// What is handed on while a guest runs.
#[derive(Debug, Default)]
pub(super) struct Pumps {
    input: Option<JoinHandle<()>>,
    output: Option<JoinHandle<()>>,
    /// Where the last line is said.
    beside: Option<File>,
    /// Other ends of outputs. As long as they are there, what was written is there as well.
    _held: Vec<File>,
}

impl Stdio {
    /// Opens them, for a guest with this spec; with a terminal of this size, where they are one.
    pub(super) fn open(
        &self,
        mut spec: SandboxSpec,
        size: WindowSize,
    ) -> Result<(SandboxSpec, Opened), Failure> {
        let mut opened = Opened { is_terminal: self.terminal, ..Opened::default() };
        if !self.stdin.is_empty() {
            let path = plain(&self.stdin)?;
            let source = Source::open(path).map_err(|error| unopened(&self.stdin, &error))?;
            opened.source = Some(source);
            spec = spec.stdin(Input::Stream);
        }
        if self.terminal {
            if let Some(output) = open(&self.stdout)? {
                opened.held.extend(output.held);
                let sink = Sink::new(output.file);
                opened.sink = Some(sink.map_err(|error| unopened(&self.stdout, &error))?);
            }
            opened.beside = self.open_beside();
            let spec = spec.stdin(Input::Stream).terminal(size);
            return Ok((spec.stdout(aril::Output::Stream).stderr(aril::Output::Stream), opened));
        }
        if let Some(output) = open(&self.stdout)? {
            opened.held.extend(output.held);
            spec = spec.stdout_to(output.file);
        }
        if let Some(output) = open(&self.stderr)? {
            opened.held.extend(output.held);
            spec = spec.stderr_to(output.file);
        }
        opened.beside = self.open_beside();
        Ok((spec, opened))
    }
}

impl Stdio {
    /// Opens them for a native process, and hands on what there is for it to read.
    pub(super) fn open_native(&self) -> Result<(Streams, Pumps), Failure> {
        let fifo = |name: &str| -> Result<Option<PathBuf>, Failure> {
            let is_fifo = !name.is_empty() && !name.starts_with(FILE);
            is_fifo.then(|| plain(name).map(Path::to_owned)).transpose()
        };
        let (stdout, stderr) = (fifo(&self.stdout)?, fifo(&self.stderr)?);
        let stdin = (!self.stdin.is_empty()).then(|| plain(&self.stdin)).transpose()?;
        if self.terminal {
            if self.stdout.starts_with(FILE) {
                let text = format!("`{}`: a terminal's output goes to a FIFO", self.stdout);
                return Err(Failure::unimplemented(text));
            }
            let streams = Streams::fifos(stdin, stdout.as_deref(), None, true)?;
            return Ok((streams, Pumps::default()));
        }
        let mut streams = Streams::fifos(None, stdout.as_deref(), stderr.as_deref(), false)?;
        if self.stdout.starts_with(FILE) {
            streams.stdout = open(&self.stdout)?.map(|output| output.file);
        }
        if self.stderr.starts_with(FILE) {
            streams.stderr = open(&self.stderr)?.map(|output| output.file);
        }
        let mut pumps = Pumps::default();
        if let Some(path) = stdin {
            let failed = |error| unopened(&self.stdin, &error);
            let source = Source::open(path).map_err(failed)?;
            let (read, write) = stdio::pipe().map_err(failed)?;
            streams.stdin = Some(read);
            pumps.input = Some(tokio::task::spawn_local(hand_on(source, write, false)));
        }
        Ok((streams, pumps))
    }

    /// Where the guest writes its errors: that is the log of the container, where people look for why
    /// it ended.
    fn open_beside(&self) -> Option<File> {
        let name = if self.terminal { &self.stdout } else { &self.stderr };
        let path = match name.strip_prefix(FILE) {
            Some(path) => path.split('?').next().unwrap_or(path),
            None => name.strip_prefix("fifo://").unwrap_or(name),
        };
        // Where it cannot be, nothing is said.
        stdio::open_beside(Path::new(path)).ok()
    }
}

impl Opened {
    /// Hands on what there is to hand on, from now on.
    pub(super) fn attach(self, sandbox: &Sandbox) -> Pumps {
        let is_terminal = self.is_terminal;
        let input = self
            .source
            .zip(sandbox.stdin())
            .map(|(source, stdin)| tokio::task::spawn_local(hand_on(source, stdin, is_terminal)));
        let mut sink = self.sink;
        let output = sandbox.stdout().filter(|_| is_terminal).map(|mut stdout| {
            tokio::task::spawn_local(async move {
                let mut chunk = vec![0; CHUNK];
                while let Ok(count @ 1..) = stdout.read(&mut chunk).await {
                    if let Some(to) = &mut sink
                        && to.write(&chunk[..count]).await.is_err()
                    {
                        // What nobody takes is read all the same: the guest would wait for ever.
                        sink = None;
                    }
                }
            })
        });
        Pumps { input, output, beside: self.beside, _held: self.held }
    }
}

impl Pumps {
    /// Ends the input.
    pub(super) fn close_input(&mut self) {
        if let Some(input) = self.input.take() {
            input.abort();
        }
    }

    /// What is left to be handed on once the guest has ended.
    pub(super) fn last_words(&mut self) -> impl Future<Output = ()> + use<> {
        self.close_input();
        let output = self.output.take();
        async move {
            let Some(mut output) = output else { return };
            if tokio::time::timeout(LAST_WORDS_MAX, &mut output).await.is_err() {
                output.abort();
            }
        }
    }
}

impl Pumps {
    /// Says the last line, if there is one, as far as there is room: behind it, the outputs are at their
    /// ends.
    pub(super) fn last_line(&mut self, text: Option<&str>) {
        let beside = self.beside.take();
        if let Some((mut beside, text)) = beside.zip(text) {
            let _no_room = beside.write_all(text.as_bytes());
        }
    }
}

impl Drop for Pumps {
    fn drop(&mut self) {
        self.close_input();
        if let Some(output) = self.output.take() {
            output.abort();
        }
    }
}

/// Hands on what is to be read, to its end. A terminal goes on without whoever typed.
async fn hand_on(mut source: Source, mut stdin: impl AsyncWrite + Unpin, is_terminal: bool) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = source.read(&mut chunk).await {
        // One that reads no more is none that must be written to.
        if stdin.write_all(&chunk[..count]).await.is_err() {
            return;
        }
        let _written = stdin.flush().await;
    }
    if is_terminal {
        std::future::pending::<()>().await;
    }
}

/// Opens an output: nothing where none is named.
fn open(name: &str) -> Result<Option<stdio::Output>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    let opened = match name.strip_prefix(FILE) {
        Some(path) => {
            let path = path.split('?').next().unwrap_or(path);
            if !path.starts_with('/') {
                return Err(Failure::invalid(format!("`{name}` names no absolute path")));
            }
            stdio::open_file(Path::new(path))
        }
        None => stdio::open_output(plain(name)?),
    };
    opened.map(Some).map_err(|error| unopened(name, &error))
}

/// The path of a FIFO.
fn plain(name: &str) -> Result<&Path, Failure> {
    let path = name.strip_prefix("fifo://").unwrap_or(name);
    if let Some((scheme, _)) = path.split_once("://") {
        return Err(Failure::unimplemented(format!(
            "`{name}`: there are no streams of `{scheme}` here: use a FIFO, or `file://` for outputs"
        )));
    }
    if !path.starts_with('/') {
        return Err(Failure::invalid(format!("`{name}` is no absolute path")));
    }
    Ok(Path::new(path))
}

fn unopened(name: &str, error: &std::io::Error) -> Failure {
    let text = format!("cannot open `{name}`, which is to be a stream: {error}");
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::invalid(text);
    }
    Failure::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(stdio: &Stdio) -> String {
        let opened = stdio.open(SandboxSpec::new("web"), WindowSize::default());
        opened.map(|_| ()).unwrap_err().text().to_owned()
    }

    #[test]
    fn a_stream_that_is_none_is_refused_and_nothing_is_run_for_it() {
        for (name, why) in [
            ("binary:///bin/true?id=1", "`binary`"),
            ("binary-v2:///bin/true", "`binary-v2`"),
            ("relative", "no absolute path"),
            ("file://relative", "no absolute path"),
            ("/missing/fifo", "cannot open `/missing/fifo`"),
        ] {
            let text = refused(&Stdio { stdout: name.to_owned(), ..Stdio::default() });
            assert!(text.contains(why), "{name}: {text}");
        }
        let text = refused(&Stdio { stdin: "file:///etc/passwd".to_owned(), ..Stdio::default() });
        assert!(text.contains("`file`"), "{text}");
    }
}
