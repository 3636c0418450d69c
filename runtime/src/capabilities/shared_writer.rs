//! One writer for several streams of a guest.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;

use tokio::io::AsyncWrite;

/// A writer that several streams of one guest write into, as each of them comes.
///
/// The engine's own for this takes no more at once than it said before, and panics otherwise; and
/// who writes by WASI 0.3 asks nobody before.
#[derive(Clone)]
pub(super) struct SharedWriter(Arc<Shared>);

type Writer = Pin<Box<dyn AsyncWrite + Send>>;

struct Shared {
    writer: Mutex<Writer>,
    /// Who waits for it.
    waiting: Mutex<Vec<Waker>>,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let waiting = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).for_each(Waker::wake);
    }
}

impl SharedWriter {
    pub(super) fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        let writer: Writer = Box::pin(writer);
        Self(Arc::new(Shared { writer: Mutex::new(writer), waiting: Mutex::default() }))
    }

    fn poll<T>(
        &self,
        cx: &Context<'_>,
        act: impl FnOnce(&mut Writer, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.iter().all(|other| !other.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        // The writer may wake at once.
        drop(waiting);
        let waker = Waker::from(Arc::clone(&self.0));
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut writer, &mut Context::from_waker(&waker))
    }
}

impl AsyncWrite for SharedWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |writer, cx| writer.as_mut().poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |writer, cx| writer.as_mut().poll_flush(cx))
    }

    /// Another stream may still write: it ends when the last of them is gone.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn two_that_write_more_than_fits_both_come_to_their_end() {
        let (near, mut far) = tokio::io::duplex(16);
        let shared = SharedWriter::new(near);
        let writers = [b'a', b'b'].map(|byte| {
            let mut writer = shared.clone();
            tokio::spawn(async move { writer.write_all(&[byte; 10_000]).await })
        });
        drop(shared);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("it can be read");
        for writer in writers {
            writer.await.expect("no panic").expect("it can be written");
        }
        let (first, second): (Vec<u8>, Vec<u8>) = read.into_iter().partition(|byte| *byte == b'a');
        assert_eq!((first.len(), second.len()), (10_000, 10_000));
    }
}
