//! What components of WASI 0.3 write: the engine's streams tell a guest of an overflow as they tell
//! it of any error, and a guest that does not listen would run on.

use std::io;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::FutureReader;
use wasmtime::component::Linker;
use wasmtime::component::Source;
use wasmtime::component::StreamConsumer;
use wasmtime::component::StreamReader;
use wasmtime::component::StreamResult;
use wasmtime_wasi::cli::StdoutStream as _;
use wasmtime_wasi::p3::bindings::cli::types::ErrorCode;

use crate::limits::Overflow;

use super::linking::WASI_3;
use super::state::State;

/// Shadows the engine's outputs with ones in which an overflow ends the guest.
pub(super) fn bound_3(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for (output, name) in ["stdout", "stderr"].into_iter().enumerate() {
        linker.instance(&format!("wasi:cli/{name}@{WASI_3}"))?.func_wrap(
            "write-via-stream",
            move |mut store: StoreContextMut<'_, State>, (data,): (StreamReader<u8>,)| {
                store.data().vitals.note_host_call();
                let to = store.data_mut().component().outputs[output].async_stream();
                let (failed, failure) = oneshot::channel();
                data.pipe(
                    &mut store,
                    Writer { to: to.into(), failed: Some(failed), flushing: false },
                )?;
                let done = async {
                    // A writer that is gone without a word has written all.
                    wasmtime::error::Ok(failure.await.map_or(Ok(()), Err))
                };
                Ok((FutureReader::<Result<(), ErrorCode>>::new(&mut store, done)?,))
            },
        )?;
    }
    Ok(())
}

/// Takes what the guest writes.
struct Writer {
    to: Pin<Box<dyn AsyncWrite + Send + Sync>>,
    /// Tells the guest why no more is taken.
    failed: Option<oneshot::Sender<ErrorCode>>,
    /// What the guest wrote last is taken, and not yet through.
    flushing: bool,
}

impl<D> StreamConsumer<D> for Writer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let cancelled = || Poll::Ready(Ok(StreamResult::Cancelled));
        if !self.flushing {
            let mut source = source.as_direct(store);
            if source.remaining().is_empty() {
                // It asks whether it could write, which nobody knows before it does.
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            match self.to.as_mut().poll_write(cx, source.remaining()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.fail(&ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => source.mark_read(count),
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail(&error)),
                Poll::Pending if finish => return cancelled(),
                Poll::Pending => return Poll::Pending,
            }
        }
        let flushed = self.to.as_mut().poll_flush(cx);
        self.flushing = flushed.is_pending() && !finish;
        match flushed {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(StreamResult::Completed)),
            Poll::Ready(Err(error)) => Poll::Ready(self.fail(&error)),
            Poll::Pending if finish => cancelled(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Writer {
    /// Takes no more, and tells the guest why; or ends it.
    fn fail(&mut self, error: &io::Error) -> wasmtime::Result<StreamResult> {
        if let Some(cause) = error.get_ref()
            && cause.is::<Overflow>()
        {
            return Err(Overflow.into());
        }
        let code = match error.kind() {
            ErrorKind::BrokenPipe => ErrorCode::Pipe,
            _ => ErrorCode::Io,
        };
        // A guest that dropped its end does not want to know.
        let _unheard = self.failed.take().map(|failed| failed.send(code));
        Ok(StreamResult::Dropped)
    }
}
