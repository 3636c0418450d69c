//! A sandbox in a process that it shares with others.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::SetOnce;
use wasmtime::UpdateDeadline;

use crate::capabilities::Denial;
use crate::capabilities::Files;
use crate::capabilities::InEnd;
use crate::capabilities::Input;
use crate::capabilities::OutEnd;
use crate::capabilities::Output;
use crate::capabilities::Streams;
use crate::capabilities::stream_pair;
use crate::limits::LimitError;
use crate::limits::Limits;
use crate::limits::Watch;
use crate::platform::stdio::InputEnd;

use super::apart::Worker;
use super::event::Event;
use super::event::Events;
use super::exit::Exit;
use super::group::Held;
use super::guest::Ended;
use super::guest::LaunchError;
use super::guest::Ready;
use super::guest::ready;
use super::linking::Loaded;
use super::record::Record;
use super::spec::SandboxSpec;
use super::state::open_files_max;
use super::state::resources_max;
use super::stats::Stats;
use super::vitals::Ordered;
use super::vitals::Vitals;

/// How many ticks of the epoch a guest runs between two looks at the world: one. A tick is a
/// millisecond, and looking costs about a microsecond.
const TICKS: u64 = 1;

/// A guest, alive, with its limits and capabilities.
///
/// Dropping it ends the guest: nothing runs that nobody holds.
#[derive(Debug)]
pub struct Sandbox {
    vitals: Arc<Vitals>,
    outcome: Outcome,
    limits: Mutex<(Limits, bool)>,
    /// How many files it can have open at the most: fixed at launch.
    open_files_max: u32,
    ends: Mutex<HostEnds>,
    captured: [Captured; 2],
    /// The process that it has to itself, if it has one.
    worker: Option<Arc<Worker>>,
}

type Outcome = Arc<SetOnce<Result<End, LaunchError>>>;

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

/// Launches a guest on the tokio runtime of the caller.
pub(crate) fn launch(
    loaded: &Arc<Loaded>,
    spec: &SandboxSpec,
    files: Arc<Files>,
    lease: Lease,
) -> Result<Sandbox, LaunchError> {
    let captures = spec.captures();
    let amounts = spec.limits.amounts(captures)?;
    let vitals = Arc::new(Vitals::new(&amounts, loaded.held()));
    let (streams, ends, captured) = connect(spec, &vitals)?;
    let mut ready = ready(loaded, spec, &amounts, &vitals, (streams, files))?;
    let input = ends.inherited.clone();
    interrupt(&mut ready, &vitals)?;
    let outcome = Arc::new(SetOnce::new());
    let sandbox = Sandbox {
        vitals: Arc::clone(&vitals),
        outcome: Arc::clone(&outcome),
        limits: Mutex::new((spec.limits, captures)),
        open_files_max: open_files_max(resources_max(amounts.open_files)),
        ends: Mutex::new(ends),
        captured,
        worker: None,
    };
    let told = Told::new(&outcome, &vitals);
    let mut task = Box::pin(async move {
        let told = told;
        let result = run(ready, &vitals).await;
        let end = result.map(|Ended { exit, results }| {
            vitals.note_end(&exit);
            let (stats, denials) = (vitals.stats(), vitals.denials());
            End { exit, stats, denials, results }
        });
        drop((lease, input));
        told.tell(end);
    });
    // Most guests end before they wait for anything: handing such a one to another thread, and its
    // end back, takes ten times as long as running it. One that spins gives way at its first tick.
    if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::spawn(task);
    }
    Ok(sandbox)
}

/// Sees to it that those who wait for a guest are told, also where its task panics, or goes with
/// the tokio runtime that it was on.
pub(super) struct Told {
    outcome: Outcome,
    vitals: Arc<Vitals>,
}

impl Told {
    pub(super) fn new(outcome: &Outcome, vitals: &Arc<Vitals>) -> Self {
        Self { outcome: Arc::clone(outcome), vitals: Arc::clone(vitals) }
    }

    /// Tells how it ended.
    pub(super) fn tell(self, end: Result<End, LaunchError>) {
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

/// Runs the guest, or ends it when its end is due.
async fn run(mut ready: Ready, vitals: &Arc<Vitals>) -> Result<Ended, LaunchError> {
    let guest = Charged { run: Box::pin(ready.run(vitals)), vitals };
    let ended = tokio::select! {
        // A guest that never waits must not keep its end waiting.
        biased;
        exit = vitals.end_is_due() => Ok(Ended { exit, results: Vec::new() }),
        ended = guest => ended,
    };
    // An end that came from outside left the run where it was.
    ready.note_fuel(vitals);
    ended
}

/// Makes the guest give way at each tick, wait for its share, and end when it must.
fn interrupt(ready: &mut Ready, vitals: &Arc<Vitals>) -> Result<(), LaunchError> {
    ready.show_fuel()?;
    let store = ready.store();
    let vitals = Arc::clone(vitals);
    store.set_epoch_deadline(TICKS);
    store.epoch_deadline_callback(move |_| {
        let vitals = Arc::clone(&vitals);
        // An end that is due by now is seen at the next tick.
        let turn = Box::pin(async move { vitals.wait_for_turn().await.unwrap_or(()) });
        Ok(UpdateDeadline::YieldCustom(TICKS, turn))
    });
    Ok(())
}

/// A run whose processor time is charged to its guest.
struct Charged<'a, F> {
    run: Pin<Box<F>>,
    vitals: &'a Vitals,
}

impl<F: Future<Output = Result<Ended, LaunchError>>> Future for Charged<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.vitals.take_up();
        let polled = self.run.as_mut().poll(cx);
        // A guest that only ever waits shortly never meets the callback; its time counts all the
        // same.
        match (self.vitals.charge(), polled) {
            (Err(Ordered(exit)), Poll::Pending) => {
                Poll::Ready(Ok(Ended { exit, results: Vec::new() }))
            }
            (_, polled) => polled,
        }
    }
}

/// Connects the guest's streams to what the spec says.
fn connect(
    spec: &SandboxSpec,
    vitals: &Arc<Vitals>,
) -> Result<(Streams, HostEnds, [Captured; 2]), LaunchError> {
    let mut ends = HostEnds::default();
    let mut captured = [None, None];
    let flow = || Arc::clone(&vitals.flow);
    let stdin = match &spec.capabilities.stdin {
        Input::Closed => InEnd::closed(flow()),
        Input::Bytes(bytes) => InEnd::stream(flow(), std::io::Cursor::new(bytes.clone())),
        Input::Stream => {
            let (reader, writer) = stream_pair();
            ends.stdin = Some(Box::new(writer));
            InEnd::stream(flow(), reader)
        }
        Input::Inherit => {
            let end = InputEnd::new().map_err(|error| LaunchError::Exhausted {
                reason: format!("standard input cannot be watched: {error}"),
            })?;
            let end = Arc::new(end);
            ends.inherited = Some(InheritedInput(Arc::clone(&end)));
            InEnd::host_on_the_side(flow(), end)
        }
    };
    let mut output = |index: usize, output: Output| match output {
        Output::Discard => OutEnd::discard(flow()),
        Output::Capture => {
            let into = Arc::default();
            captured[index] = Some(Arc::clone(&into));
            OutEnd::capture(flow(), into)
        }
        Output::Stream => {
            let (reader, writer) = stream_pair();
            ends.outputs[index] = Some(Box::new(reader));
            OutEnd::stream(flow(), writer)
        }
        Output::Inherit => OutEnd::host_on_the_side(flow(), index == 1),
    };
    let stdout = output(0, spec.capabilities.stdout);
    let stderr = output(1, spec.capabilities.stderr);
    Ok((Streams { stdin, stdout, stderr }, ends, captured))
}

impl Sandbox {
    /// A sandbox in a process of its own.
    pub(super) fn apart(
        (vitals, outcome): (&Arc<Vitals>, &Outcome),
        (limits, captures, open_files): (Limits, bool, Option<u32>),
        (ends, captured): (HostEnds, [Captured; 2]),
        worker: Arc<Worker>,
    ) -> Self {
        Self {
            vitals: Arc::clone(vitals),
            outcome: Arc::clone(outcome),
            limits: Mutex::new((limits, captures)),
            open_files_max: open_files.unwrap_or(u32::MAX),
            ends: Mutex::new(ends),
            captured,
            worker: Some(worker),
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

    /// Waits for the guest's end, and tells all about its run.
    ///
    /// # Errors
    ///
    /// Fails where the host, and not the guest, is what failed.
    pub async fn record(&self) -> Result<Record, LaunchError> {
        let End { exit, stats, denials, results } = self.outcome.wait().await.clone()?;
        let (limits, captures) = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        // They hold, or they would not be there.
        let amounts = limits.amounts(captures);
        let held = self.worker.as_ref().map(|worker| worker.held());
        let watch =
            held.map_or(Watch::Shared, |Held { memory, cpus }| Watch::Worker { memory, cpus });
        let holds = amounts.map(|amounts| limits.holds(&amounts, watch));
        let walls = self.worker.as_ref().map(|worker| worker.walls());
        let violation = self.worker.as_ref().and_then(|worker| worker.violation());
        let mid_line = self.worker.is_some() && self.vitals.flow.is_mid_line();
        Ok(Record {
            exit,
            stats,
            holds: holds.unwrap_or_default(),
            denials,
            results,
            walls: walls.unwrap_or_default(),
            violation,
            mid_line,
        })
    }

    /// Whether the guest has ended.
    pub fn has_ended(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Asks the guest to stop: its standard input ends. Where it has not ended by itself after
    /// `grace`, it is ended as [`Exit::Stopped`].
    ///
    /// WASI has no signals: a guest that reads no input hears nothing.
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
    /// Memory, cpus, deadline, cpu time, output and open files can change. A guest that was told
    /// no may ask again. Time that has passed counts.
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
            if !worker.held().cpus && throttles != limits.throttles_a_thread() {
                let missing = "its code was made with or without checks for a share below one \
                               processor; launch it anew";
                let missing = missing.to_owned();
                return Err(LimitError::NoRung { name: "cpus", missing });
            }
            worker.update(&self.vitals.amounts(), &amounts)?;
        }
        self.vitals.update(&amounts);
        *limits = changed;
        Ok(())
    }

    /// What the guest has used so far.
    pub fn stats(&self) -> Stats {
        if let Some(worker) = self.worker.as_ref().filter(|_| !self.has_ended()) {
            let _used = worker.note_cpu_time(&self.vitals);
        }
        self.vitals.stats()
    }

    /// What happens to the sandbox, from its start on.
    pub fn events(&self) -> Events {
        self.vitals.events.listen()
    }

    /// Takes the writer of the guest's standard input, where the spec says [`Input::Stream`].
    /// Dropping it ends the input.
    pub fn stdin(&self) -> Option<impl AsyncWrite + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).stdin.take()
    }

    /// Takes the reader of the guest's standard output, where the spec says [`Output::Stream`].
    pub fn stdout(&self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).outputs[0].take()
    }

    /// Takes the reader of the guest's standard error, where the spec says [`Output::Stream`].
    pub fn stderr(&self) -> Option<impl AsyncRead + Send + Unpin + use<>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).outputs[1].take()
    }

    /// What the guest has written so far to standard output, where the spec says
    /// [`Output::Capture`]; empty elsewhere.
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
