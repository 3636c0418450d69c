//! A guest in a process that it shares with others.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use tokio::sync::SetOnce;
use wasmtime::UpdateDeadline;

use crate::capabilities::Files;
use crate::capabilities::InEnd;
use crate::capabilities::Input;
use crate::capabilities::OutEnd;
use crate::capabilities::Output;
use crate::capabilities::Streams;
use crate::capabilities::stream_pair;
use crate::platform::stdio::InputEnd;

use super::disk;
use super::guest::Ended;
use super::guest::LaunchError;
use super::guest::Ready;
use super::guest::ready;
use super::handle::Captured;
use super::handle::End;
use super::handle::HostEnds;
use super::handle::InheritedInput;
use super::handle::Lease;
use super::handle::Sandbox;
use super::handle::Told;
use super::linking::Loaded;
use super::pause::Turn;
use super::spec::SandboxSpec;
use super::state::open_files_max;
use super::state::resources_max;
use super::stats::Stats;
use super::vitals::Ordered;
use super::vitals::Vitals;

/// How many ticks of the epoch a guest runs between two looks at the world: one. A tick is a
/// millisecond, and looking costs about a microsecond.
const TICKS: u64 = 1;

/// Launches a guest on the tokio runtime of the caller.
pub(crate) fn launch(
    loaded: &Arc<Loaded>,
    spec: &SandboxSpec,
    files: Arc<Files>,
    lease: Lease,
) -> Result<Sandbox, LaunchError> {
    let captures = spec.captures();
    let amounts = spec.limits.amounts(captures)?;
    let room = disk::room_of(spec)?;
    let vitals = Arc::new(Vitals::new(&amounts, loaded.held()));
    super::terminal::check(spec, false)?;
    super::placement::check(spec, false)?;
    let (streams, ends, captured) = connect(spec, &vitals)?;
    let mut ready = ready(loaded, spec, &amounts, &vitals, (streams, files))?;
    let input = ends.inherited.clone();
    interrupt(&mut ready, &vitals)?;
    let outcome = Arc::new(SetOnce::new());
    let sandbox = Sandbox::new(
        (&vitals, &outcome),
        (spec.limits, captures),
        open_files_max(resources_max(amounts.open_files)),
        (ends, captured),
        (None, room.clone()),
    );
    let told = Told::new(&outcome, &vitals);
    let mut task = Box::pin(async move {
        let told = told;
        let result = run(ready, &vitals).await;
        let end = result.map(|Ended { exit, results }| {
            vitals.note_end(&exit);
            let (stats, denials) = (vitals.stats(), vitals.denials());
            let stats = Stats { disk: disk::used(room.as_ref()), ..stats };
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
        if !self.vitals.pauses.take_turn(cx.waker()) {
            return Poll::Pending;
        }
        let turn = Turn(&self.vitals.pauses);
        self.vitals.take_up();
        let polled = self.run.as_mut().poll(cx);
        drop(turn);
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
            ends.inherited = Some(InheritedInput::new(Arc::clone(&end)));
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
