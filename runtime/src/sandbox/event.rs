//! What happens to a sandbox, as it happens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::broadcast;

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
    /// The guest stands still.
    Paused,
    /// The guest goes on.
    Resumed,
    /// The guest was asked to stop.
    Stopping,
    /// The guest ended. The last event.
    Ended(Exit),
}

/// How many events are kept for one who asks late, and how many wait for one who is slow.
const KEPT_MAX: usize = 64;

/// The events of a sandbox, from its start on. One who is slow misses the oldest of more than 64,
/// and never the last.
#[derive(Debug)]
pub struct Events {
    past: VecDeque<Event>,
    coming: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; nothing after the last.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            match self.coming.recv().await {
                Ok(event) => return Some(event),
                // The oldest are gone, and what is left comes next.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The sandbox's side of its events.
#[derive(Debug, Default)]
pub(super) struct Log {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    past: VecDeque<Event>,
    /// Made for the first who listens.
    listeners: Option<broadcast::Sender<Event>>,
    /// Who is told of each event as it happens.
    forward: Option<Forward>,
    closed: bool,
}

/// Who is told of events, wherever they happen.
pub(super) type Forward = Box<dyn FnMut(&Event) + Send>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("past", &self.past).finish_non_exhaustive()
    }
}

impl Log {
    pub(super) fn note(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            // What is asked of a guest that has ended is no event of its life.
            return;
        }
        if let Some(forward) = &mut inner.forward {
            forward(&event);
        }
        if let Some(listeners) = &inner.listeners {
            // Where nobody listens any more, nobody is told.
            let _unheard = listeners.send(event.clone());
        }
        let last = matches!(event, Event::Ended(_));
        if inner.past.len() == KEPT_MAX {
            inner.past.pop_front();
        }
        inner.past.push_back(event);
        if last {
            inner.close();
        }
    }

    /// Has `forward` told of each event from now on.
    pub(super) fn forward(&self, forward: Forward) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).forward = Some(forward);
    }

    /// Nothing more happens, also where nobody saw the guest's end.
    pub(super) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).close();
    }

    pub(super) fn listen(&self) -> Events {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let past = inner.past.clone();
        let coming = if let Some(listeners) = &inner.listeners {
            listeners.subscribe()
        } else {
            let (listeners, coming) = broadcast::channel(KEPT_MAX);
            if !inner.closed {
                inner.listeners = Some(listeners);
            }
            coming
        };
        Events { past, coming }
    }
}

impl Inner {
    fn close(&mut self) {
        self.closed = true;
        self.listeners = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut events: Events) -> Vec<Event> {
        let mut found = Vec::new();
        while let Some(event) = events.next().await {
            found.push(event);
        }
        found
    }

    #[tokio::test]
    async fn one_who_is_slow_misses_the_oldest_and_never_the_end() {
        let log = Log::default();
        let slow = log.listen();
        log.note(Event::Started);
        for _ in 0..2 * KEPT_MAX {
            log.note(Event::Updated);
        }
        log.note(Event::Ended(Exit::Exited(0)));
        log.note(Event::Stopping);
        for events in [slow, log.listen()] {
            let found = all(events).await;
            assert_eq!(found.len(), KEPT_MAX);
            assert_eq!(found.last(), Some(&Event::Ended(Exit::Exited(0))));
        }
    }

    #[tokio::test]
    async fn where_nobody_saw_the_end_there_is_no_more_to_wait_for() {
        let log = Log::default();
        let events = log.listen();
        log.note(Event::Started);
        log.close();
        assert_eq!(all(events).await, [Event::Started]);
        assert_eq!(all(log.listen()).await, [Event::Started]);
    }
}
