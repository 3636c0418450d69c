//! A sandbox stands still, and goes on.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;
use std::time::Instant;

use super::event::Event;
use super::handle::Sandbox;

/// How long a guest may take to stand still: it does at once, but for one whose process waits for a
/// disk, and one that shares a process and copies memory.
const STILL_MAX: Duration = Duration::from_secs(5);

/// The first look at whether it stands still, and the longest time between two.
const LOOKS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));

/// Why a sandbox was not paused, or does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// Pausing twice is no pause more.
    #[error("the sandbox is paused already; resume it once and it goes on")]
    Paused,
    /// Nothing is there to go on.
    #[error("the sandbox is not paused, so that it cannot be resumed")]
    NotPaused,
    /// What has ended neither stands still nor goes on.
    #[error("the guest has ended; launch it again")]
    Ended,
    /// Somebody resumed or stopped it before it stood still.
    #[error("somebody resumed the sandbox before it stood still; pause it again")]
    Resumed,
    /// It runs on.
    #[error("the guest did not stand still within {STILL_MAX:?}, and runs on; try again")]
    TooLong,
    /// The system did not do it.
    #[error("the guest's process cannot be paused or resumed: {reason}")]
    System {
        /// What the system said.
        reason: String,
    },
}

/// How a guest stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Running,
    /// It was asked to stand still, by the pause of this number.
    Asked(u64),
    Still {
        since: Instant,
    },
}

/// When a guest stood still, and whether it does.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    standing: Standing,
    /// How many pauses were asked for.
    count: u64,
    /// How long it stood still before.
    past: Duration,
    /// Of a guest that shares its process: whether a thread runs it just now.
    in_turn: bool,
    /// Who runs it once it may go on.
    waiting: Option<Waker>,
}

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_still(&self) -> bool {
        matches!(self.lock().standing, Standing::Still { .. })
    }

    /// How long it stood still until now; nothing while it does.
    pub(super) fn past(&self) -> Option<Duration> {
        let state = self.lock();
        match state.standing {
            Standing::Still { .. } => None,
            Standing::Running | Standing::Asked(_) => Some(state.past),
        }
    }

    /// Whether the calling thread may run a guest that shares its process. Where not, it is woken
    /// once it may.
    pub(super) fn take_turn(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.standing == Standing::Running {
            state.in_turn = true;
            return true;
        }
        state.waiting = Some(waker.clone());
        false
    }

    /// The guest gave way.
    pub(super) fn end_turn(&self) {
        self.lock().in_turn = false;
    }
}

impl Sandbox {
    /// Has the guest stand still, wherever it is, until [`Sandbox::resume`]; returns once it does.
    ///
    /// A guest that has a process is stopped with all of it: by its control group where that is of
    /// v2, and else by a signal that it cannot refuse. One that shares a process is not run on: what
    /// it waits for in the host goes on, and waits for it.
    ///
    /// The deadline stands still with it, and it uses no processor time. What it holds of memory, of
    /// files and of its place among others it keeps. It can be asked for its figures, be changed
    /// ([`Sandbox::update`]), stopped (it goes on for that) and killed.
    ///
    /// # Errors
    ///
    /// Fails where it is paused already, where it has ended, and where it does not stand still within
    /// five seconds: it runs on then. It also runs on where this is dropped before it is done.
    pub async fn pause(&self) -> Result<(), PauseError> {
        let asked = self.ask_to_stand_still()?;
        let started = Instant::now();
        let mut look = LOOKS.0;
        loop {
            if self.stands_still(&asked)? {
                return Ok(());
            }
            if STILL_MAX < started.elapsed() {
                return Err(PauseError::TooLong);
            }
            tokio::time::sleep(look).await;
            look = (look * 2).min(LOOKS.1);
        }
    }

    /// Has a paused guest go on where it stood still.
    ///
    /// # Errors
    ///
    /// Fails where it is not paused, and where it has ended.
    pub fn resume(&self) -> Result<(), PauseError> {
        if self.has_ended() {
            return Err(PauseError::Ended);
        }
        self.let_go(None)
    }

    /// Whether the guest stands still because it was paused.
    pub fn is_paused(&self) -> bool {
        !self.has_ended() && self.vitals.pauses.is_still()
    }

    /// Asks it once. Until this is known to be done, it is taken back when it is dropped.
    fn ask_to_stand_still(&self) -> Result<Asked<'_>, PauseError> {
        if self.has_ended() {
            return Err(PauseError::Ended);
        }
        let mut state = self.vitals.pauses.lock();
        if state.standing != Standing::Running {
            return Err(PauseError::Paused);
        }
        state.count += 1;
        let number = state.count;
        state.standing = Standing::Asked(number);
        let asked = Asked { sandbox: self, number };
        if let Some(worker) = &self.worker
            && let Err(reason) = worker.stand_still(false)
        {
            drop(state);
            return Err(self.system(reason));
        }
        Ok(asked)
    }

    /// Whether it stands still by now, for the pause that asked for it.
    fn stands_still(&self, asked: &Asked<'_>) -> Result<bool, PauseError> {
        if self.has_ended() {
            return Err(PauseError::Ended);
        }
        let mut state = self.vitals.pauses.lock();
        if state.standing != Standing::Asked(asked.number) {
            return Err(PauseError::Resumed);
        }
        let is_still = match &self.worker {
            Some(worker) => worker.stand_still(true),
            None => Ok(!state.in_turn),
        };
        match is_still {
            Ok(true) => {
                state.standing = Standing::Still { since: Instant::now() };
                // Told under the lock, so that nobody hears of it after it goes on.
                self.vitals.events.note(Event::Paused);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(reason) => {
                drop(state);
                Err(self.system(reason))
            }
        }
    }

    /// Has it go on: whoever asked it to stand still, or where it was this one alone.
    fn let_go(&self, number: Option<u64>) -> Result<(), PauseError> {
        let mut state = self.vitals.pauses.lock();
        let since = match (state.standing, number) {
            (Standing::Asked(asked), Some(number)) if asked == number => None,
            (Standing::Running, _) | (_, Some(_)) => return Err(PauseError::NotPaused),
            (Standing::Asked(_), None) => None,
            (Standing::Still { since }, None) => Some(since),
        };
        if let Some(worker) = &self.worker
            && let Err(reason) = worker.go_on()
        {
            drop(state);
            return Err(self.system(reason));
        }
        state.standing = Standing::Running;
        if let Some(since) = since {
            state.past += since.elapsed();
            self.vitals.note_resumed();
        }
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        Ok(())
    }

    /// What the system said, where that is not that the guest's process has just ended.
    fn system(&self, reason: String) -> PauseError {
        let is_gone = self.worker.as_ref().is_some_and(|worker| worker.is_gone());
        if self.has_ended() || is_gone { PauseError::Ended } else { PauseError::System { reason } }
    }
}

/// A guest that was asked to stand still, and goes on if that comes to nothing.
struct Asked<'a> {
    sandbox: &'a Sandbox,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // Where it stands still for it, or has ended, there is nothing to take back.
        let _done = self.sandbox.let_go(Some(self.number));
    }
}

/// The turn of a guest that shares its process.
pub(super) struct Turn<'a>(pub(super) &'a Pauses);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}
