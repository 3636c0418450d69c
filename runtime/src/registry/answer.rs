//! What a host answers: read piece by piece, never more than is asked for, never for ever.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::header;
use hyper::header::HeaderName;
use tokio::time::Instant;
use tokio::time::timeout;

use super::address::Address;
use super::address::Reach;
use super::error::Reason;
use super::error::said;
use super::settings::Patience;
use super::wire::Idle;
use super::wire::Pool;
use super::wire::keep;
use super::wire::told;

/// The most that is read of a refusal, in bytes.
const REFUSAL_SIZE_MAX: u64 = 64 << 10;

/// An answer, its body still to come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it comes from.
    pub(super) address: Address,
    body: Incoming,
    /// The connection, until the body is at its end and others may have it.
    idle: Option<Idle>,
    pub(super) reach: Reach,
    pool: Pool,
    patience: Patience,
    /// How long was waited in this window, and how much came.
    waited: Duration,
    came: u64,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} of {})", self.status, self.address)
    }
}

impl Answer {
    pub(super) fn new(
        answer: Response<Incoming>,
        address: Address,
        idle: Idle,
        pool: &Pool,
        patience: Patience,
    ) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            address,
            body,
            reach: idle.reach,
            idle: Some(idle),
            pool: Arc::clone(pool),
            patience,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    pub(super) fn host(&self) -> String {
        self.address.origin.to_string()
    }

    /// A header, if it is there and is text.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers.get(name.into()).and_then(|value| value.to_str().ok())
    }

    /// How many bytes the body is said to have.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
    }

    /// That what came is not what it should be.
    pub(super) fn broken(&self, reason: impl Into<String>) -> Reason {
        Reason::Broken { host: self.host(), reason: reason.into() }
    }

    /// The next bytes of the body, and nothing at its end. Only the time in which we wait counts,
    /// not the time in which bytes are kept.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Reason> {
        loop {
            let begun = Instant::now();
            let left = self.patience.window.saturating_sub(self.waited);
            let body = &mut self.body;
            let frame = timeout(left, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
            self.waited += begun.elapsed();
            if frame.is_err() || self.patience.window <= self.waited {
                if self.came < self.patience.floor && !matches!(frame, Ok(None)) {
                    let (host, span) = (self.host(), self.patience.window);
                    return Err(Reason::Slow { host, what: "send enough", span });
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            match frame {
                Err(_) => {}
                Ok(None) => {
                    if let Some(idle) = self.idle.take() {
                        keep(&self.pool, idle);
                    }
                    return Ok(None);
                }
                Ok(Some(Err(error))) => {
                    return Err(Reason::Cut { host: self.host(), reason: told(&error) });
                }
                // What is no data is a trailer, of which nothing is asked.
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.came += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, which may have `most` bytes.
    pub(super) async fn document(&mut self, most: u64) -> Result<Vec<u8>, Reason> {
        let too_large = format!("it is larger than {most} bytes");
        if self.length().is_some_and(|length| most < length) {
            return Err(self.broken(too_large));
        }
        let span = self.patience.document;
        let host = self.host();
        let read = async {
            let mut bytes = Vec::new();
            while let Some(piece) = self.piece().await? {
                if most < (bytes.len() + piece.len()) as u64 {
                    return Err(self.broken(too_large));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        let slow = Reason::Slow { host, what: "send a document", span };
        timeout(span, read).await.unwrap_or(Err(slow))
    }

    /// Reads what is left, so that the connection serves again, if it is little.
    pub(super) async fn finish(mut self) {
        let span = self.patience.window;
        let read = async {
            let mut count = 0;
            while let Ok(Some(piece)) = self.piece().await {
                count += piece.len() as u64;
                if REFUSAL_SIZE_MAX < count {
                    break;
                }
            }
        };
        // Where it is not little, or does not come, the connection is closed.
        let _closed = timeout(span, read).await;
    }

    /// Why this answer is not the one that was hoped for.
    pub(super) async fn refusal(mut self) -> Reason {
        let after = self.header(header::RETRY_AFTER).and_then(|text| text.parse().ok());
        let after = after.map(Duration::from_secs);
        let said = self.document(REFUSAL_SIZE_MAX).await.map_or(String::new(), |body| said(&body));
        let (host, status) = (self.host(), self.status.as_u16());
        match status {
            401 | 403 => Reason::Forbidden { host, said },
            404 => Reason::Missing { host, said },
            408 | 425 | 429 | 500.. => Reason::Busy { host, status, said, after },
            _ => Reason::Answer { host, status, said },
        }
    }
}
