//! A guest that has this process to itself: one thread runs it, another watches, and whichever
//! comes to an end first ends the process.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::capabilities::Files;
use crate::limits::Hold;
use crate::limits::Watch;
use crate::platform::Ask;
use crate::platform::clock;
use crate::platform::process;
use crate::platform::signals::Asks;
use crate::platform::stdio::InputEnd;
use crate::units::Bytes;

use super::event::Event;
use super::exit::Exit;
use super::guest::Ended;
use super::guest::LaunchError;
use super::guest::ready;
use super::linking::Loaded;
use super::record::Record;
use super::single::connect;
use super::single::fit_open_files;
use super::single::throttle;
use super::single::with_spare;
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

/// Processor time of this process beyond a guest's limit: ours, before and after.
const CPU_SECONDS_SPARE: u64 = 2;

/// From how much memory on another process gives it back, where the end must be in time.
const MEMORY_LEFT_BEHIND: Bytes = Bytes::mib(64);

/// How long a report may take while its guest may still be running.
const REPORT_TIME_MAX: Duration = Duration::from_millis(60);

/// Ends the process, once, with a record.
struct Finish {
    vitals: Arc<Vitals>,
    cpu_at_launch: Duration,
    holds: Mutex<Option<Vec<Hold>>>,
    report: Mutex<Option<Report>>,
    /// The code of the end that is being told of.
    told: OnceLock<u8>,
}

/// Who is told how a guest ended, and says the code that the process ends with.
pub(crate) type Report = Box<dyn FnOnce(Result<&Record, &LaunchError>) -> u8 + Send>;

impl Finish {
    /// Reports the end, and says the process's code. Whoever comes second waits for its end.
    fn tell(&self, outcome: Result<Ended, LaunchError>) -> u8 {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(report) = report else {
            loop {
                std::thread::park();
            }
        };
        self.vitals.set_cpu_time(clock::process_cpu_time().saturating_sub(self.cpu_at_launch));
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome {
            Ok(Ended { exit, results }) => {
                // Whoever is told may not listen; how the guest ended is settled all the same.
                let _first = self.told.set(exit.code());
                self.vitals.note_end(&exit);
                let vitals = &self.vitals;
                let record = Record {
                    exit,
                    stats: vitals.stats(),
                    holds: holds.unwrap_or_default(),
                    denials: vitals.denials(),
                    results,
                    walls: Vec::new(),
                    violation: None,
                    mid_line: vitals.flow.is_mid_line(),
                };
                report(Ok(&record))
            }
            Err(error) => report(Err(&error)),
        }
    }

    /// Reports the end, and ends the process.
    fn finish(&self, outcome: Result<Ended, LaunchError>) -> ! {
        process::exit_now(self.tell(outcome))
    }

    /// Ends the process while the guest may still be running.
    fn end(self: &Arc<Self>, exit: Exit) -> ! {
        // Nobody may read what the report has to say, and the guest must not go on for that long.
        let code = exit.code();
        let finish = Arc::clone(self);
        let hurry = std::thread::Builder::new().stack_size(WATCHDOG_STACK).spawn(move || {
            std::thread::sleep(REPORT_TIME_MAX);
            process::exit_now(finish.told.get().copied().unwrap_or(code))
        });
        // Without a thread, the report takes as long as it takes.
        drop(hurry);
        let code = self.tell(Ok(Ended { exit, results: Vec::new() }));
        if MEMORY_LEFT_BEHIND <= self.vitals.meter.peak() {
            process::leave_memory_behind();
        }
        process::exit_now(code)
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
    let mut amounts = spec.limits.amounts(false)?;
    super::mounts::check(spec, false)?;
    super::terminal::check(spec, false)?;
    super::placement::check(spec, false)?;
    // Held as long as its files are.
    let _room = super::disk::room_of(spec)?;
    let granted = spec.capabilities.directories.len();
    if let Some(count) = &mut amounts.open_files {
        fit_open_files(count, spec.limits.open_files.is_asked(), granted)?;
    }
    let files = Arc::new(Files::open(&spec.capabilities, empty, true)?);
    let vitals = Arc::new(Vitals::new(&amounts, loaded.held()));
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
        told: OnceLock::new(),
    });
    if let Some(count) = amounts.open_files {
        process::bound_open_files(count, granted).map_err(unwatched)?;
    }
    // Behind what holds these limits, in case it has a hole: what ends then has no record.
    if let Some(memory) = amounts.memory {
        process::bound_memory(with_spare(memory)).map_err(unwatched)?;
    }
    if let Some(time) = amounts.cpu_time {
        process::bound_cpu_time(time.as_secs().saturating_add(CPU_SECONDS_SPARE))
            .map_err(unwatched)?;
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
    if spec.limits.throttles_a_thread() {
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

/// The moment after `span`; for what is longer than clocks tell, a hundred years from now.
fn after(span: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(span).unwrap_or_else(|| now + Duration::from_hours(100 * 365 * 24))
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
                    self.stop_at = Some(after(self.grace));
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
