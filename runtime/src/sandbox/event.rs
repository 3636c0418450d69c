//! What happens to a sandbox, as it happens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::mpsc;

use crate::capabilities::Denial;

use super::exit::Exit;

/// Something that happened to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The guest is about to execute its first instruction.
    Started,
    /// The guest tried something that it was not granted.
    Denied(Denial),
    /// Limits were changed.
    Updated,
    /// The guest was asked to stop.
    Stopping,
    /// The guest ended. The last event.
    Ended(Exit),
}

/// How many events are kept for one who asks late, and how many wait for one who is slow.
const KEPT_MAX: usize = 64;

/// The events of a sandbox, from its start on. One who is slow misses the oldest of more than 64.
#[derive(Debug)]
pub struct Events {
    past: VecDeque<Event>,
    coming: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; nothing after the last.
    pub async fn next(&mut self) -> Option<Event> {
        match self.past.pop_front() {
            Some(event) => Some(event),
            None => self.coming.recv().await,
        }
    }
}

/// The sandbox's side of its events.
#[derive(Debug, Default)]
pub(super) struct Log {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    past: VecDeque<Event>,
    listeners: Vec<mpsc::Sender<Event>>,
}

impl Log {
    pub(super) fn note(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(inner.past.back(), Some(Event::Ended(_))) {
            // What is asked of a guest that has ended is no event of its life.
            return;
        }
        let last = matches!(event, Event::Ended(_));
        // One who does not listen loses what it does not take, and nobody waits for it.
        inner.listeners.retain(|listener| {
            !matches!(listener.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
        if inner.past.len() == KEPT_MAX {
            inner.past.pop_front();
        }
        inner.past.push_back(event);
        if last {
            inner.listeners.clear();
        }
    }

    pub(super) fn listen(&self) -> Events {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (listener, coming) = mpsc::channel(KEPT_MAX);
        if !matches!(inner.past.back(), Some(Event::Ended(_))) {
            inner.listeners.push(listener);
        }
        Events { past: inner.past.clone(), coming }
    }
}
