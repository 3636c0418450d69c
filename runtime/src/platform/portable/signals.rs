//! What asks this process to end, through the `ctrlc` crate.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use crate::platform::Ask;
use crate::platform::Noticed;

/// The number of the interrupt from the keyboard, on every system that numbers it.
const INTERRUPT: i32 = 2;

/// Asks that no longer end this process by themselves, because somebody waits for them.
#[derive(Debug)]
pub(crate) struct Asks {
    asked: mpsc::Receiver<()>,
}

impl Asks {
    /// Starts to catch what asks this process to end.
    pub(crate) fn block() -> Self {
        let (ask, asked) = mpsc::channel();
        // Where it cannot be caught, it ends the process as it always did.
        let _uncaught = ctrlc::set_handler(move || {
            let _gone = ask.send(());
        });
        Self { asked }
    }

    /// Does nothing: who caught them stays.
    pub(crate) fn release(self) {
        drop(self.asked);
    }

    /// Fails: nobody keeps a guest in another process here.
    pub(crate) fn listen(&self) -> io::Result<Listening> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits until somebody asks, for `span` at most, or for ever. Every ask is one to end now:
    /// this platform does not tell them apart.
    pub(crate) fn wait(&self, span: Option<Duration>) -> Option<Ask> {
        let ask = Ask::Now(INTERRUPT);
        match span {
            Some(span) => match self.asked.recv_timeout(span) {
                Ok(()) => Some(ask),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(span);
                    None
                }
            },
            None => match self.asked.recv() {
                Ok(()) => Some(ask),
                Err(mpsc::RecvError) => loop {
                    std::thread::park();
                },
            },
        }
    }
}

/// What is sent to a process that shows what another one writes: nothing, because none does here.
#[derive(Debug)]
pub(crate) struct Notices;

impl Notices {
    /// Blocks nothing.
    pub(crate) fn block() -> Self {
        Self
    }

    /// Waits for ever.
    #[expect(clippy::unused_self, reason = "other systems hold a set")]
    pub(crate) fn wait(&self) -> Noticed {
        loop {
            std::thread::park();
        }
    }

    /// Does nothing: nobody is asked to.
    #[expect(clippy::unused_self, reason = "other systems hold a set")]
    pub(crate) fn stand_still(&self) {}
}

/// Nothing listens.
#[derive(Debug)]
pub(crate) struct Listening(Infallible);

impl Listening {
    #[expect(clippy::unused_async, reason = "other systems wait")]
    pub(crate) async fn next(&mut self) -> io::Result<Ask> {
        match self.0 {}
    }
}

/// Does nothing: there are no keepers.
pub(crate) fn leave_to_keeper() {}

/// Whether a signal is a polite request to end: nobody sends one here.
pub(crate) fn asks_soon(_signal: i32) -> bool {
    false
}

/// Whether a signal ends a program at once.
pub(crate) fn ends(_signal: i32) -> bool {
    false
}
