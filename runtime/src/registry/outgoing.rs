//! What a request carries: nothing, bytes, or a stream that is read while it is sent.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

/// How much is read at a time, in bytes.
const PIECE: usize = 64 << 10;

/// The body of a request.
pub(super) enum Outgoing {
    Bytes(Bytes),
    Stream(Stream),
}

/// Bytes that are read while they are sent.
pub(super) struct Stream {
    source: Box<dyn AsyncRead + Send + Unpin>,
    left: u64,
    buffer: Vec<u8>,
    progress: Arc<Progress>,
}

/// How far the sending of a stream is, for whoever waits for it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sent: AtomicU64,
    failed: Mutex<Option<io::Error>>,
}

impl Progress {
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why the source could not be read, if that is what ended the request.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, error: io::Error) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl Outgoing {
    pub(super) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// `size` bytes of a source, which must have as many.
    pub(super) fn stream(source: Box<dyn AsyncRead + Send + Unpin>, size: u64) -> Self {
        let progress = Arc::new(Progress::default());
        Self::Stream(Stream { source, left: size, buffer: vec![0; PIECE], progress })
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(stream) => stream.left,
        }
    }

    /// How far the sending is; nothing where that does not matter.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Bytes(_) => None,
            Self::Stream(stream) => Some(Arc::clone(&stream.progress)),
        }
    }

    /// The same once more, where that is possible.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.size())
    }
}

impl Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = ReadBuf::new(&mut self.buffer[..most]);
        match Pin::new(&mut self.source).poll_read(cx, &mut piece) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) if piece.filled().is_empty() => {
                let error = format!("it has {} bytes less than it should", self.left);
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error))))
            }
            Poll::Ready(Ok(())) => {
                let piece = Bytes::copy_from_slice(piece.filled());
                self.left -= piece.len() as u64;
                self.progress.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Poll::Ready(Some(Ok(piece)))
            }
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Stream(stream) => match stream.poll_piece(cx) {
                Poll::Ready(Some(Err(error))) => {
                    let kind = error.kind();
                    stream.progress.fail(error);
                    Poll::Ready(Some(Err(io::Error::from(kind))))
                }
                other => other,
            },
        };
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size())
    }
}
