//! What a guest needs that has a process to itself, whoever ends that: a watchdog in it, or a keeper
//! beside it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::UpdateDeadline;

use crate::capabilities::InEnd;
use crate::capabilities::Input;
use crate::capabilities::OutEnd;
use crate::capabilities::Output;
use crate::capabilities::Streams;
use crate::limits::LimitError;
use crate::platform::process;
use crate::platform::stdio::InputEnd;
use crate::units::Bytes;

use super::guest::LaunchError;
use super::guest::Ready;
use super::spec::SandboxSpec;
use super::vitals::Vitals;

/// How often an artifact with epochs is interrupted, where processors are limited.
const TICK: Duration = Duration::from_millis(1);

/// The stack of the thread that does.
const TICKER_STACK: usize = 64 << 10;

/// The private memory of a process whose guest may have this much: beside it, the runner's own, and
/// copies that are in the making.
pub(super) fn with_spare(memory: Bytes) -> u64 {
    const SPARE: u64 = 256 << 20;
    memory.get().saturating_add(SPARE)
}

/// Finds out whether this process may have so many files open for a guest. What was asked for is
/// refused where not; a default is what there is.
pub(super) fn fit_open_files(
    count: &mut u32,
    asked: bool,
    granted: usize,
) -> Result<(), LimitError> {
    let most = process::open_files_max(granted);
    if asked && most < *count {
        return Err(LimitError::NoRung {
            name: "open_files",
            missing: format!(
                "this process may open {most} files for the guest; ask for no more, or raise the \
                 hard limit (`ulimit -Hn`)"
            ),
        });
    }
    *count = most.min(*count);
    if *count == 0 {
        let missing = "this process may open no more files; raise the hard limit (`ulimit -Hn`)";
        return Err(LimitError::NoRung { name: "open_files", missing: missing.to_owned() });
    }
    Ok(())
}

/// Makes the guest wait for its share of the processors. Nothing else interrupts it.
pub(super) fn throttle(
    ready: &mut Ready,
    engine: &Engine,
    vitals: &Arc<Vitals>,
) -> std::io::Result<()> {
    let store = ready.store();
    let for_guest = Arc::clone(vitals);
    for_guest.take_up();
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if let Some(wait) = for_guest.charge()? {
            std::thread::sleep(wait);
        }
        Ok(UpdateDeadline::Continue(1))
    });
    let engine = engine.clone();
    let ticker = move || {
        // It ends with the process.
        loop {
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new().stack_size(TICKER_STACK).spawn(ticker).map(drop)
}

/// The streams of this process, as the guest's.
pub(super) fn connect(
    spec: &SandboxSpec,
    vitals: &Arc<Vitals>,
    input_end: &Arc<InputEnd>,
) -> Result<Streams, LaunchError> {
    let flow = || Arc::clone(&vitals.flow);
    let nobody = || LaunchError::Invocation {
        reason: "a guest that has the process to itself has nobody to stream to or capture for"
            .to_owned(),
    };
    let stdin = match &spec.capabilities.stdin {
        Input::Closed => InEnd::closed(flow()),
        Input::Inherit => InEnd::host(flow(), Arc::clone(input_end)),
        Input::Bytes(_) | Input::Stream => return Err(nobody()),
    };
    let output = |error: bool, output: Output| match output {
        Output::Discard => Ok(OutEnd::discard(flow())),
        Output::Inherit => Ok(OutEnd::host(flow(), error)),
        Output::Capture | Output::Stream => Err(nobody()),
    };
    let stdout = output(false, spec.capabilities.stdout)?;
    let stderr = output(true, spec.capabilities.stderr)?;
    Ok(Streams { stdin, stdout, stderr })
}
