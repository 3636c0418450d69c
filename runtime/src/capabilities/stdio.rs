//! Standard streams: what they are connected to, and the guest's ends of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::task::JoinHandle;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::AsyncStdinStream;
use wasmtime_wasi::cli::AsyncStdoutStream;
use wasmtime_wasi::cli::IsTerminal;
use wasmtime_wasi::cli::StdinStream;
use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi::p2::StreamResult;

use crate::limits::Flow;
use crate::limits::Overflow;
use crate::platform::stdio;

use super::shared_writer::SharedWriter;

/// What a guest reads as standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing: it is at its end from the start.
    #[default]
    Closed,
    /// These bytes, and then its end.
    Bytes(Vec<u8>),
    /// What the host writes into [`Sandbox::stdin`](crate::Sandbox::stdin).
    Stream,
    /// The standard input of this process.
    Inherit,
}

/// Where a guest's standard output, or standard error, goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    #[default]
    Discard,
    /// Into memory, up to the output limit, for [`Sandbox::captured`](crate::Sandbox::captured).
    Capture,
    /// To whoever reads [`Sandbox::stdout`](crate::Sandbox::stdout) or `stderr`. A guest whose
    /// reader is slow waits for it.
    Stream,
    /// To the same stream of this process.
    Inherit,
}

/// How much is on its way through a stream before the writer waits.
const STREAM_SIZE: usize = 64 << 10;

/// A pipe between guest and host, used in one direction. Where either end is dropped, the other
/// learns of it: the halves of a simplex stream would wait for each other for ever.
pub(crate) fn stream_pair() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(STREAM_SIZE)
}

/// Why a guest's write did not happen.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The guest may not write more.
    Overflow,
    /// The host could not take it.
    Host(io::Error),
}

/// The guest's end of an output.
#[derive(Clone)]
pub(crate) struct OutEnd {
    flow: Arc<Flow>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Discard,
    Capture(Arc<Mutex<Vec<u8>>>),
    /// Standard output or standard error, by a thread that may wait for it.
    Host {
        error: bool,
    },
    Stream {
        /// For WASI 0.2, which asks how much it may write; it writes into `writer` itself.
        stream: Arc<AsyncStdoutStream>,
        writer: SharedWriter,
        terminal: bool,
    },
}

impl std::fmt::Debug for OutEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutEnd").finish_non_exhaustive()
    }
}

impl OutEnd {
    pub(crate) fn discard(flow: Arc<Flow>) -> Self {
        Self { flow, place: Place::Discard }
    }

    pub(crate) fn capture(flow: Arc<Flow>, into: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { flow, place: Place::Capture(into) }
    }

    /// This process's own stream, written to by the guest's thread itself.
    pub(crate) fn host(flow: Arc<Flow>, error: bool) -> Self {
        Self { flow, place: Place::Host { error } }
    }

    pub(crate) fn stream(flow: Arc<Flow>, writer: impl AsyncWrite + Send + 'static) -> Self {
        Self::through(flow, writer, false)
    }

    fn through(flow: Arc<Flow>, writer: impl AsyncWrite + Send + 'static, terminal: bool) -> Self {
        let writer = SharedWriter::new(writer);
        let stream = Arc::new(AsyncStdoutStream::new(STREAM_SIZE, writer.clone()));
        Self { flow, place: Place::Stream { stream, writer, terminal } }
    }

    /// This process's own stream, written to on the side.
    pub(crate) fn host_on_the_side(flow: Arc<Flow>, error: bool) -> Self {
        if error {
            let terminal = io::IsTerminal::is_terminal(&io::stderr());
            Self::through(flow, tokio::io::stderr(), terminal)
        } else {
            let terminal = io::IsTerminal::is_terminal(&io::stdout());
            Self::through(flow, tokio::io::stdout(), terminal)
        }
    }

    /// Whether `write_now` works here.
    pub(crate) fn is_direct(&self) -> bool {
        !matches!(self.place, Place::Stream { .. })
    }

    /// Writes all of `bytes`, or what the limit lets through.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> Result<(), WriteError> {
        let allowed = self.flow.allow(bytes.len());
        let fits = &bytes[..allowed];
        match &self.place {
            Place::Discard => {}
            Place::Capture(into) => {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(fits);
            }
            Place::Host { error } => stdio::write_output(*error, fits).map_err(WriteError::Host)?,
            Place::Stream { .. } => unreachable!("callers ask `is_direct` first"),
        }
        self.flow.note_written(fits);
        if matches!(self.place, Place::Host { error: false }) {
            self.flow.note_end_of_line(fits);
        }
        if allowed < bytes.len() { Err(WriteError::Overflow) } else { Ok(()) }
    }
}

impl IsTerminal for OutEnd {
    fn is_terminal(&self) -> bool {
        match &self.place {
            Place::Discard | Place::Capture(_) => false,
            Place::Host { error: true } => io::IsTerminal::is_terminal(&io::stderr()),
            Place::Host { error: false } => io::IsTerminal::is_terminal(&io::stdout()),
            Place::Stream { terminal, .. } => *terminal,
        }
    }
}

impl StdoutStream for OutEnd {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        match &self.place {
            Place::Stream { writer, .. } => {
                Box::new(CountedWriter { flow: Arc::clone(&self.flow), inner: writer.clone() })
            }
            _ => Box::new(self.clone()),
        }
    }

    fn p2_stream(&self) -> Box<dyn p2::OutputStream> {
        match &self.place {
            Place::Stream { stream, .. } => {
                Box::new(CountedStream { flow: Arc::clone(&self.flow), inner: stream.p2_stream() })
            }
            _ => Box::new(self.clone()),
        }
    }
}

/// How an overflow ends a guest that writes through streams.
fn overflow() -> StreamError {
    StreamError::Trap(Overflow.into())
}

impl p2::OutputStream for OutEnd {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_now(&bytes).map_err(|error| match error {
            WriteError::Overflow => overflow(),
            WriteError::Host(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                StreamError::Closed
            }
            WriteError::Host(error) => StreamError::LastOperationFailed(error.into()),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_SIZE)
    }
}

#[async_trait]
impl Pollable for OutEnd {
    async fn ready(&mut self) {}
}

impl AsyncWrite for OutEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.write_now(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(WriteError::Overflow) => Err(io::Error::other(Overflow)),
            Err(WriteError::Host(error)) => Err(error),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream of WASI 0.2 whose bytes are counted.
struct CountedStream {
    flow: Arc<Flow>,
    inner: Box<dyn p2::OutputStream>,
}

impl p2::OutputStream for CountedStream {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let wanted = bytes.len();
        let allowed = self.flow.allow(wanted);
        bytes.truncate(allowed);
        self.inner.write(bytes.clone())?;
        self.flow.note_written(&bytes);
        if allowed < wanted { Err(overflow()) } else { Ok(()) }
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }
}

#[async_trait]
impl Pollable for CountedStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

/// A writer whose bytes are counted.
struct CountedWriter {
    flow: Arc<Flow>,
    inner: SharedWriter,
}

impl AsyncWrite for CountedWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = self.flow.allow(bytes.len());
        if allowed == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::Error::other(Overflow)));
        }
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[..allowed]))?;
        self.flow.note_written(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The guest's end of an input.
#[derive(Clone)]
pub(crate) struct InEnd {
    flow: Arc<Flow>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Closed,
    Host {
        end: Arc<stdio::InputEnd>,
        /// Whether the guest's own thread may wait for it.
        direct: bool,
    },
    Stream(Arc<AsyncStdinStream>),
}

impl std::fmt::Debug for InEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InEnd").finish_non_exhaustive()
    }
}

impl InEnd {
    pub(crate) fn closed(flow: Arc<Flow>) -> Self {
        Self { flow, source: Source::Closed }
    }

    /// This process's own stream, read by the guest's thread itself.
    pub(crate) fn host(flow: Arc<Flow>, end: Arc<stdio::InputEnd>) -> Self {
        Self { flow, source: Source::Host { end, direct: true } }
    }

    /// This process's own stream, waited for on the side.
    pub(crate) fn host_on_the_side(flow: Arc<Flow>, end: Arc<stdio::InputEnd>) -> Self {
        Self { flow, source: Source::Host { end, direct: false } }
    }

    pub(crate) fn stream(flow: Arc<Flow>, reader: impl AsyncRead + Send + Sync + 'static) -> Self {
        let reader = CountedReader { flow: Arc::clone(&flow), inner: Box::pin(reader) };
        Self { flow, source: Source::Stream(Arc::new(AsyncStdinStream::new(reader))) }
    }

    /// Reads this process's standard input at once, where that is what the guest reads: the
    /// thread waits until there is something.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let Source::Host { end, direct: true } = &self.source else { return None };
        let count = stdio::read_input(buffer, end);
        if let Ok(count) = count {
            self.flow.note_read(count);
        }
        Some(count)
    }
}

impl IsTerminal for InEnd {
    fn is_terminal(&self) -> bool {
        matches!(self.source, Source::Host { .. }) && io::IsTerminal::is_terminal(&io::stdin())
    }
}

impl StdinStream for InEnd {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        match &self.source {
            Source::Closed => Box::new(tokio::io::empty()),
            Source::Host { end, .. } => Box::new(HostInput::new(&self.flow, end)),
            Source::Stream(stream) => stream.async_stream(),
        }
    }

    fn p2_stream(&self) -> Box<dyn p2::InputStream> {
        match &self.source {
            Source::Closed => Box::new(p2::pipe::ClosedInputStream),
            Source::Host { end, .. } => Box::new(HostInput::new(&self.flow, end)),
            Source::Stream(stream) => stream.p2_stream(),
        }
    }
}

/// A reader whose bytes are counted, and which ends when the host stops the guest's input.
struct CountedReader {
    flow: Arc<Flow>,
    inner: Pin<Box<dyn AsyncRead + Send + Sync>>,
}

impl AsyncRead for CountedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flow.input_stopped(cx.waker()) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(self.inner.as_mut().poll_read(cx, buffer))?;
        self.flow.note_read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

/// Standard input of this process, read only when the guest asks, so that what it leaves is left.
struct HostInput {
    flow: Arc<Flow>,
    end: Arc<stdio::InputEnd>,
    /// A thread that waits until there is something.
    waiting: Option<JoinHandle<()>>,
}

impl HostInput {
    fn new(flow: &Arc<Flow>, end: &Arc<stdio::InputEnd>) -> Self {
        Self { flow: Arc::clone(flow), end: Arc::clone(end), waiting: None }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() && stdio::input_ready(&self.end, false) {
            return Poll::Ready(());
        }
        let end = &self.end;
        let waiting = self.waiting.get_or_insert_with(|| {
            let end = Arc::clone(end);
            tokio::task::spawn_blocking(move || {
                stdio::input_ready(&end, true);
            })
        });
        // Whether it waited to the end or was cancelled, the read that follows tells.
        let _outcome = ready!(Pin::new(waiting).poll(cx));
        self.waiting = None;
        Poll::Ready(())
    }

    /// Reads what there is; nothing yet is `None`.
    fn read_some(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let count = stdio::try_read_input(buffer, &self.end)?;
        self.flow.note_read(count.unwrap_or(0));
        Ok(count)
    }
}

#[async_trait]
impl Pollable for HostInput {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }
}

impl p2::InputStream for HostInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = vec![0; size.min(STREAM_SIZE)];
        match self.read_some(&mut buffer) {
            Ok(None) => Ok(Bytes::new()),
            Ok(Some(0)) => Err(StreamError::Closed),
            Ok(Some(count)) => {
                buffer.truncate(count);
                Ok(buffer.into())
            }
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}

impl AsyncRead for HostInput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_ready(cx));
            // Another guest may have taken it.
            if let Some(count) = self.read_some(buffer.initialize_unfilled())? {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
        }
    }
}
