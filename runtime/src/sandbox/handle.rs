//! A sandbox as its owner holds it, wherever its guest is: what is asked of it, and what is told.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::SetOnce;

use crate::capabilities::Denial;
use crate::limits::Hold;
use crate::limits::LimitError;
use crate::limits::Limits;
use crate::limits::Watch;
use crate::platform::room::Room;
use crate::platform::stdio::InputEnd;
use crate::platform::terminal::Terminal;

use super::disk;
use super::event::Event;
use super::event::Events;
use super::exit::Exit;
use super::group::Held;
use super::guest::LaunchError;
use super::kept::Worker;
use super::record::Record;
use super::stats::Stats;
use super::terminal::WindowSize;
use super::vitals::Vitals;

/// A guest, alive, with its limits and capabilities.
///
/// Dropping it ends the guest: nothing runs that nobody holds.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) vitals: Arc<Vitals>,
    outcome: Outcome,
    limits: Mutex<(Limits, bool)>,
    /// How many files it can have open at the most: fixed at launch.
    open_files_max: u32,
    ends: Mutex<HostEnds>,
    captured: [Captured; 2],
    /// The process that it has to itself, if it has one.
    pub(super) worker: Option<Arc<Worker>>,
    /// The room that it has for files of its own, where that is bounded.
    room: Option<Arc<Room>>,
}

pub(super) type Outcome = Arc<SetOnce<Result<End, LaunchError>>>;

/// How a guest ended, before anybody asks for its record.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) exit: Exit,
    pub(super) stats: Stats,
    pub(super) denials: Vec<Denial>,
    pub(super) results: Vec<String>,
}

pub(super) type Captured = Option<Arc<Mutex<Vec<u8>>>>;

/// The host's ends of the guest's streams, until somebody takes them.
#[derive(Default)]
pub(super) struct HostEnds {
    pub(super) stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub(super) outputs: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2],
    /// Ends the guest's reading of this process's own input.
    pub(super) inherited: Option<InheritedInput>,
    /// What those of them are that are a terminal.
    pub(super) terminal: Option<Terminal>,
}

impl std::fmt::Debug for HostEnds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostEnds").field("inherited", &self.inherited).finish_non_exhaustive()
    }
}

/// This process's standard input, read by a guest. Dropped, it has ended for the guest: a thread
/// that waits for it on the guest's behalf is released.
#[derive(Clone, Debug)]
pub(super) struct InheritedInput(Arc<InputEnd>);

impl InheritedInput {
    pub(super) fn new(end: Arc<InputEnd>) -> Self {
        Self(end)
    }
}

impl Drop for InheritedInput {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What is dropped when the guest has ended. Whoever launches may hang on to it.
pub(crate) type Lease = Box<dyn Send>;

/// Sees to it that those who wait for a guest are told, also where its task panics, or goes with
/// the tokio runtime that it was on.
pub(super) struct Told {
    outcome: Outcome,
    vitals: Arc<Vitals>,
    /// The guest's, which is over when it is told how that ended.
    span: tracing::Span,
}

impl Told {
    pub(super) fn new(outcome: &Outcome, vitals: &Arc<Vitals>) -> Self {
        let span = tracing::Span::current();
        Self { outcome: Arc::clone(outcome), vitals: Arc::clone(vitals), span }
    }

    /// Tells how it ended.
    pub(super) fn tell(mut self, end: Result<End, LaunchError>) {
        // Whoever hears of the end finds the span whole.
        let span = std::mem::replace(&mut self.span, tracing::Span::none());
        if !span.is_disabled() {
            match &end {
                Ok(end) => {
                    span.record("exit.reason", end.exit.reason());
                    span.record("exit.code", end.exit.code());
                }
                Err(error) => drop(span.record("error", tracing::field::display(error))),
            }
        }
        drop(span);
        // Only the guest's task does.
        let _first = self.outcome.set(end);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let reason = "the guest's task ended before the guest did".to_owned();
        // Where it was set, it stays as it is.
        let _told = self.outcome.set(Err(LaunchError::Engine { reason }));
        self.vitals.events.close();
    }
}

impl Sandbox {
    /// A sandbox of a guest that is told of by these: with `open_files_max` files at the most, and in a
    /// process of its own or not, and room for files of its own or not.
    pub(super) fn new(
        (vitals, outcome): (&Arc<Vitals>, &Outcome),
        (limits, captures): (Limits, bool),
        open_files_max: u32,
        (ends, captured): (HostEnds, [Captured; 2]),
        (worker, room): (Option<Arc<Worker>>, Option<Arc<Room>>),
    ) -> Self {
        Self {
            vitals: Arc::clone(vitals),
            outcome: Arc::clone(outcome),
            limits: Mutex::new((limits, captures)),
            open_files_max,
            ends: Mutex::new(ends),
            captured,
            worker,
            room,
        }
    }

    /// Waits for the guest's end.
    ///
    /// # Errors
    ///
    /// Fails where the host, and not the guest, is what failed.
    pub async fn wait(&self) -> Result<Exit, LaunchError> {
        self.outcome.wait().await.as_ref().map(|end| end.exit.clone()).map_err(Clone::clone)
    }

    /// Waits until the guest's own code runs, of a guest that is known by an id.
    ///
    /// # Errors
    ///
    /// Fails where there is no instance: where the guest was refused what it declares, and where the
    /// host failed. A guest that ended in any other way has begun.
    pub(crate) async fn begun(&self) -> Result<(), LaunchError> {
        let Some(worker) = &self.worker else { return Ok(()) };
        tokio::select! {
            biased;
            () = worker.instance.wait() => Ok(()),
            outcome = self.outcome.wait() => match outcome {
                Ok(End { exit: Exit::Denied(what), .. }) => {
                    let reason = format!("the guest was denied at its start: {what}");
                    Err(LaunchError::NotRunnable { reason })
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.clone()),
            },
        }
    }

    /// Waits for the guest's end, and tells all about its run.
    ///
    /// # Errors
    ///
    /// Fails where the host, and not the guest, is what failed.
    pub async fn record(&self) -> Result<Record, LaunchError> {
        let End { exit, stats, denials, results } = self.outcome.wait().await.clone()?;
        let holds = self.holds();
        let walls = self.worker.as_ref().map(|worker| worker.walls());
        let violation = self.worker.as_ref().and_then(|worker| worker.violation());
        let mid_line = self.worker.is_some() && self.vitals.flow.is_mid_line();
        Ok(Record {
            exit,
            stats,
            holds,
            denials,
            results,
            walls: walls.unwrap_or_default(),
            violation,
            mid_line,
        })
    }

    /// Begins the guest, where its spec says that it is held until then
    /// ([`SandboxSpec::held`](crate::SandboxSpec::held)).
    ///
    /// # Errors
    ///
    /// Fails where it is not held, or was started before, and where its process ended meanwhile.
    pub fn start(&self) -> Result<(), LaunchError> {
        match &self.worker {
            Some(worker) => worker.let_go(&self.vitals),
            None => Err(LaunchError::Invocation { reason: "it is not held".to_owned() }),
        }
    }

    /// The number of the process that the guest has to itself, if it has one. Once that has ended, the
    /// number may be another's.
    pub fn process_id(&self) -> Option<u32> {
        self.worker.as_ref().map(|worker| worker.child.id())
    }

    /// How each of its limits is held, in the order of [`Limits`].
    pub fn holds(&self) -> Vec<Hold> {
        let (limits, captures) = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.worker.as_ref().map(|worker| worker.held());
        let watch =
            held.map_or(Watch::Shared, |Held { memory, cpus }| Watch::Worker { memory, cpus });
        // They hold, or they would not be there.
        let amounts = limits.amounts(captures);
        amounts.map(|amounts| limits.holds(&amounts, watch)).unwrap_or_default()
    }

    /// Whether the guest has ended.
    pub fn has_ended(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Whether the guest has ended, or its process has, and its end is about to be told.
    pub(crate) fn is_ending(&self) -> bool {
        self.has_ended() || self.worker.as_ref().is_some_and(|worker| worker.is_gone())
    }

    /// Asks the guest to stop: its standard input ends. Where it has not ended by itself after
    /// `grace`, it is ended as [`Exit::Stopped`].
    ///
    /// WASI has no signals: a guest that reads no input hears nothing. One that is paused goes on, or
    /// it could do nothing with its grace.
    ///
    /// # Errors
    ///
    /// Fails where the host, and not the guest, is what failed.
    pub async fn stop(&self, grace: Duration) -> Result<Exit, LaunchError> {
        self.begin_to_stop();
        if let Ok(outcome) = tokio::time::timeout(grace, self.outcome.wait()).await {
            return outcome.as_ref().map(|end| end.exit.clone()).map_err(Clone::clone);
        }
        self.end_as_stopped();
        self.wait().await
    }

    /// Asks the guest to stop: its input ends.
    pub(crate) fn begin_to_stop(&self) {
        // Most are not paused; one that cannot go on is ended once its grace is over.
        let _running = self.resume();
        self.vitals.events.note(Event::Stopping);
        self.vitals.flow.stop_input();
        drop(self.ends.lock().unwrap_or_else(PoisonError::into_inner).inherited.take());
    }

    /// Ends a guest that was asked to stop, and did not.
    pub(crate) fn end_as_stopped(&self) {
        self.vitals.order(Exit::Stopped);
    }

    /// Ends the guest now, as [`Exit::Killed`] by signal 9.
    pub fn kill(&self) {
        self.kill_as(KILL);
    }

    /// Ends the guest now, as [`Exit::Killed`] by this signal. WASI has no signals: the guest hears
    /// nothing of it, whichever it is.
    pub fn kill_as(&self, signal: i32) {
        self.vitals.order(Exit::Killed(signal));
        // Whoever keeps it may not be run just now.
        if let Some(worker) = &self.worker {
            worker.kill();
        }
    }

    /// Changes limits of the running guest: `change` is given the limits as they are.
    ///
    /// Memory, cpus, deadline, cpu time, output and open files can change, and so can disk, where there
    /// was such a limit at launch, to no less than is in use; and what a control group alone holds, where
    /// the guest has one: memory with swap, the reservation, processes, weight and rates of devices. A
    /// group that was made without what holds them joins it. A guest that was told no may ask again. Time
    /// that has passed counts.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, where a limit cannot be held or is fixed at launch.
    pub fn update(&self, change: impl FnOnce(&mut Limits)) -> Result<(), LimitError> {
        let mut guard = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let (limits, captures) = &mut *guard;
        let mut changed = *limits;
        change(&mut changed);
        let fixed = [
            ("stack", changed.stack != limits.stack),
            ("table_elements", changed.table_elements != limits.table_elements),
            ("instances", changed.instances != limits.instances),
            ("fuel", changed.fuel != limits.fuel),
        ];
        if let Some((name, _)) = fixed.into_iter().find(|(_, changed)| *changed) {
            return Err(LimitError::Fixed { name });
        }
        let most = self.open_files_max;
        if changed.open_files.or(None).is_some_and(|count| most < count) {
            let missing = format!(
                "it was launched with room for {most} files; launch it with a higher limit"
            );
            return Err(LimitError::NoRung { name: "open_files", missing });
        }
        let amounts = changed.amounts(*captures)?;
        if let Some(worker) = &self.worker {
            let throttles = changed.throttles_a_thread();
            if !worker.can_hold_cpus() && throttles != limits.throttles_a_thread() {
                let missing = "its code was made with or without checks for a share below one \
                               processor; launch it anew";
                let missing = missing.to_owned();
                return Err(LimitError::NoRung { name: "cpus", missing });
            }
            disk::update(self.room.as_ref(), limits, &changed)?;
            if let Err(error) = worker.update(&self.vitals.amounts(), &amounts) {
                // It was so large before.
                let _back = disk::update(self.room.as_ref(), &changed, limits);
                return Err(error);
            }
        } else {
            changed.need_no_group()?;
            disk::update(self.room.as_ref(), limits, &changed)?;
        }
        self.vitals.update(&amounts);
        *limits = changed;
        Ok(())
    }

    /// What the guest has used so far.
    pub fn stats(&self) -> Stats {
        if let Some(Ok(end)) = self.outcome.get() {
            return end.stats;
        }
        let Some(worker) = self.worker.as_ref().filter(|_| !self.has_ended()) else {
            return Stats { disk: disk::used(self.room.as_ref()), ..self.vitals.stats() };
        };
        let _used = worker.note_cpu_time(&self.vitals);
        let disk = disk::used(self.room.as_ref());
        Stats { group: worker.group_stats(), disk, ..self.vitals.stats() }
    }

    /// What happens to the sandbox, from its start on.
    pub fn events(&self) -> Events {
        self.vitals.events.listen()
    }

    /// Takes the writer of the guest's standard input, where the spec says [`Input::Stream`](crate::Input::Stream).
    /// Dropping it ends the input.
    pub fn stdin(&self) -> Option<impl AsyncWrite + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).stdin.take()
    }

    /// Takes the reader of the guest's standard output, where the spec says [`Output::Stream`](crate::Output::Stream).
    pub fn stdout(&self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).outputs[0].take()
    }

    /// Takes the reader of the guest's standard error, where the spec says [`Output::Stream`](crate::Output::Stream).
    pub fn stderr(&self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).outputs[1].take()
    }

    /// Gives the guest's terminal another size, where the spec gave it one
    /// ([`SandboxSpec::terminal`](crate::SandboxSpec::terminal)). No guest hears of it: WASI does not tell the size.
    ///
    /// # Errors
    ///
    /// Fails where it has none.
    pub fn resize(&self, size: WindowSize) -> std::io::Result<()> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match &ends.terminal {
            Some(terminal) => terminal.resize((size.columns, size.rows)),
            None => Err(std::io::Error::other("the guest has no terminal")),
        }
    }

    /// What the guest has written so far to standard output, where the spec says
    /// [`Output::Capture`](crate::Output::Capture); empty elsewhere.
    pub fn captured(&self) -> Vec<u8> {
        copy(self.captured[0].as_ref())
    }

    /// The same of standard error.
    pub fn captured_error(&self) -> Vec<u8> {
        copy(self.captured[1].as_ref())
    }
}

/// The number of the signal that cannot be caught, on every system that numbers it.
const KILL: i32 = 9;

fn copy(captured: Option<&Arc<Mutex<Vec<u8>>>>) -> Vec<u8> {
    let lock = |captured: &Arc<Mutex<Vec<u8>>>| {
        captured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    };
    captured.map(lock).unwrap_or_default()
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.kill();
        }
    }
}
