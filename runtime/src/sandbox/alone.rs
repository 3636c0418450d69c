//! A guest that has this process to itself: one thread runs it, another watches, and whichever
//! comes to an end first ends the process.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use wasmtime::Engine;
use wasmtime::UpdateDeadline;

use crate::capabilities::Files;
use crate::capabilities::InEnd;
use crate::capabilities::Input;
use crate::capabilities::OutEnd;
use crate::capabilities::Output;
use crate::capabilities::Streams;
use crate::limits::Hold;
use crate::limits::Watch;
use crate::platform::Ask;
use crate::platform::clock;
use crate::platform::process;
use crate::platform::signals::Asks;
use crate::platform::stdio::InputEnd;

use super::event::Event;
use super::exit::Exit;
use super::guest::Ended;
use super::guest::LaunchError;
use super::guest::Ready;
use super::guest::ready;
use super::linking::Loaded;
use super::record::Record;
use super::spec::SandboxSpec;
use super::vitals::Vitals;

/// How a guest occupies this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupation {
    /// How long a guest has to end by itself when this process is asked to end. 10 s by default,
    /// as everywhere.
    pub grace: Duration,
}

impl Default for Occupation {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10) }
    }
}

/// The watchdog's stack: it writes a record, and does nothing deep.
const WATCHDOG_STACK: usize = 256 << 10;

/// How long a report may take while its guest may still be running.
const REPORT_TIME_MAX: Duration = Duration::from_millis(250);

/// How often an artifact with epochs is interrupted, where processors are limited.
const TICK: Duration = Duration::from_millis(1);

/// Ends the process, once, with a record.
struct Finish {
    vitals: Arc<Vitals>,
    cpu_at_launch: Duration,
    holds: Mutex<Option<Vec<Hold>>>,
    report: Mutex<Option<Report>>,
}

/// Who is told how a guest ended, and says the code that the process ends with.
pub(crate) type Report = Box<dyn FnOnce(Result<&Record, &LaunchError>) -> u8 + Send>;

impl Finish {
    /// Reports the end, and ends the process. Whoever comes second waits for that.
    fn finish(&self, outcome: Result<Ended, LaunchError>) -> ! {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(report) = report else {
            loop {
                std::thread::park();
            }
        };
        self.vitals.set_cpu_time(clock::process_cpu_time().saturating_sub(self.cpu_at_launch));
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner).take();
        let code = match outcome {
            Ok(Ended { exit, results }) => {
                self.vitals.note_end(&exit);
                let vitals = &self.vitals;
                let record = Record {
                    exit,
                    stats: vitals.stats(),
                    holds: holds.unwrap_or_default(),
                    denials: vitals.denials(),
                    results,
                };
                report(Ok(&record))
            }
            Err(error) => report(Err(&error)),
        };
        process::exit_now(code)
    }

    /// Ends the process while the guest may still be running.
    fn end(&self, exit: Exit) -> ! {
        // Nobody may read what the report has to say, and the guest must not go on for that long.
        let code = exit.code();
        let hurry = std::thread::Builder::new().stack_size(WATCHDOG_STACK).spawn(move || {
            std::thread::sleep(REPORT_TIME_MAX);
            process::exit_now(code)
        });
        // Without a thread, the report takes as long as it takes.
        drop(hurry);
        self.finish(Ok(Ended { exit, results: Vec::new() }))
    }
}

/// Runs the guest in this process, and ends the process with it.
///
/// # Errors
///
/// Fails, and leaves the process as it was, where the guest cannot be launched.
pub(crate) fn occupy(
    loaded: &Arc<Loaded>,
    spec: &SandboxSpec,
    empty: &std::path::Path,
    occupation: Occupation,
    report: Report,
) -> Result<std::convert::Infallible, LaunchError> {
    let amounts = spec.limits.amounts(false)?;
    let files = Arc::new(Files::open(&spec.capabilities, empty, true)?);
    let vitals = Arc::new(Vitals::new(&amounts));
    let unwatched = |error: std::io::Error| LaunchError::Exhausted {
        reason: format!("the guest cannot be watched: {error}"),
    };
    let input_end = Arc::new(InputEnd::new().map_err(unwatched)?);
    let streams = connect(spec, &vitals, &input_end)?;
    let mut ready = ready(loaded, spec, &amounts, &vitals, (streams, files))?;
    let finish = Arc::new(Finish {
        vitals: Arc::clone(&vitals),
        cpu_at_launch: clock::process_cpu_time(),
        holds: Mutex::new(Some(spec.limits.holds(&amounts, Watch::Process))),
        report: Mutex::new(Some(report)),
    });
    if let Some(more) = amounts.open_files {
        process::bound_open_files(more).map_err(unwatched)?;
    }
    process::share_one_heap();
    let asks = Asks::block();
    let watchdog =
        Watchdog { finish: Arc::clone(&finish), input_end, grace: occupation.grace, stop_at: None };
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .stack_size(WATCHDOG_STACK)
        .spawn(move || watchdog.watch(&asks))
        .map_err(unwatched)?;
    ready.prefer_large_pages();
    if amounts.cpus.is_some() {
        ready.show_fuel()?;
        throttle(&mut ready, &loaded.engine, &vitals).map_err(unwatched)?;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unwatched)?;
    let outcome = runtime.block_on(ready.run(&vitals));
    let outcome = outcome.map(|ended| match ended.exit {
        // What the guest wrote beyond its limit may have reached it as an error of its own.
        _ if vitals.flow.overflowed() => Ended { exit: Exit::Output, ..ended },
        _ => ended,
    });
    finish.finish(outcome)
}

/// Makes the guest wait for its share of the processors. Nothing else interrupts it.
fn throttle(ready: &mut Ready, engine: &Engine, vitals: &Arc<Vitals>) -> std::io::Result<()> {
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
    let (engine, running) = (engine.clone(), Arc::new(AtomicBool::new(true)));
    let ticker = move || {
        while running.load(Relaxed) {
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new().stack_size(WATCHDOG_STACK).spawn(ticker).map(drop)
}

fn connect(
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

/// What ends the process when the guest does not.
struct Watchdog {
    finish: Arc<Finish>,
    input_end: Arc<InputEnd>,
    grace: Duration,
    /// When the grace is over, once somebody asked the process to end.
    stop_at: Option<Instant>,
}

impl Watchdog {
    fn watch(mut self, asks: &Asks) {
        loop {
            let now = Instant::now();
            let vitals = &self.finish.vitals;
            let deadline = vitals.deadline();
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.finish.end(Exit::Deadline);
            }
            if self.stop_at.is_some_and(|stop_at| stop_at <= now) {
                self.finish.end(Exit::Stopped);
            }
            let cpu_left = match self.cpu_left() {
                Some(Duration::ZERO) => self.finish.end(Exit::CpuTime),
                left => left,
            };
            let until = |at: Instant| at.saturating_duration_since(now);
            let waits = [deadline.map(until), self.stop_at.map(until), cpu_left];
            match asks.wait(waits.into_iter().flatten().min()) {
                None => {}
                Some(Ask::Now(signal)) => self.finish.end(Exit::Killed(signal)),
                Some(Ask::Soon(_)) if self.stop_at.is_some() => self.finish.end(Exit::Stopped),
                Some(Ask::Soon(_)) => {
                    vitals.events.note(Event::Stopping);
                    self.input_end.end();
                    self.stop_at = Some(Instant::now() + self.grace);
                }
            }
        }
    }

    /// The processor time that is left. It cannot be used up any sooner than that, because one
    /// thread uses it.
    fn cpu_left(&self) -> Option<Duration> {
        let limit = self.finish.vitals.cpu_limit()?;
        let used = clock::process_cpu_time().saturating_sub(self.finish.cpu_at_launch);
        Some(limit.saturating_sub(used))
    }
}
