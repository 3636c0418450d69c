//! The desk: the one place where calls are done, whoever brings them and whether or not they wait for the
//! answer. What was begun is done, also where the caller hangs up.

use std::pin::Pin;
use std::rc::Rc;

use containerd_shim_protos::ttrpc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::tasks::Tasks;

/// How many calls wait at the most until they are looked at.
const WAITING_MAX: usize = 256;

/// A call.
pub(super) type Call = Box<dyn FnOnce(Rc<Tasks>) -> Work + Send>;

/// What there is to do for it.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Where calls are brought.
#[derive(Clone)]
pub(super) struct Desk {
    calls: mpsc::Sender<Call>,
}

impl Desk {
    /// A desk, and what is brought there.
    pub(super) fn new() -> (Self, mpsc::Receiver<Call>) {
        let (calls, brought) = mpsc::channel(WAITING_MAX);
        (Self { calls }, brought)
    }

    /// Has a call done, and answers it.
    pub(super) async fn ask<T, F, W>(&self, call: F) -> ttrpc::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Tasks>) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + 'static,
    {
        self.bring(|answer| {
            Box::new(move |tasks| {
                Box::pin(async move {
                    // Who hung up hears nothing.
                    let _unheard = answer.send(call(tasks).await);
                })
            })
        })
        .await
    }

    /// The same for one that only waits: it is given up where the caller is.
    pub(super) async fn ask_while_heard<T, F, W>(&self, call: F) -> ttrpc::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Tasks>) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + 'static,
    {
        self.bring(|mut answer| {
            Box::new(move |tasks| {
                Box::pin(async move {
                    let done = tokio::select! {
                        biased;
                        done = call(tasks) => done,
                        () = answer.closed() => return,
                    };
                    let _unheard = answer.send(done);
                })
            })
        })
        .await
    }

    async fn bring<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Call,
    ) -> ttrpc::Result<T> {
        let (answer, told) = oneshot::channel();
        let closed = || ttrpc::Error::from(Failure::other("the shim is shutting down"));
        self.calls.send(call(answer)).await.map_err(|_| closed())?;
        Ok(told.await.map_err(|_| closed())??)
    }
}
