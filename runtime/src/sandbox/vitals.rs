//! What is known of a guest while it runs: shared by the guest's thread and those who watch it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Notify;

use crate::capabilities::Denial;
use crate::capabilities::Denials;
use crate::limits::Amounts;
use crate::limits::Bucket;
use crate::limits::Flow;
use crate::limits::Meter;
use crate::platform::clock;

use super::event::Event;
use super::event::Log;
use super::exit::Exit;
use super::stats::Stats;

/// What means "not yet" or "no limit" in an atomic number of nanoseconds.
const NEVER: u64 = u64::MAX;

/// An end that somebody ordered, on its way out of the guest's code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest's end was ordered: {0}")]
pub(super) struct Ordered(pub(super) Exit);

/// A guest's live figures and limits.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(super) meter: Arc<Meter>,
    pub(super) flow: Arc<Flow>,
    denials: Denials,
    pub(super) events: Log,
    launched: Instant,
    first_instruction: AtomicU64,
    ended_after: AtomicU64,
    host_calls: AtomicU64,
    fuel: AtomicU64,
    /// Processor time up to the last time that the guest gave way.
    cpu: AtomicU64,
    /// The thread's processor time when it last took the guest up.
    taken_up: AtomicU64,
    cpu_limit: AtomicU64,
    open_files: AtomicU32,
    open_files_max: AtomicU32,
    deadline: AtomicU64,
    bucket: Mutex<Option<Bucket>>,
    ordered: Mutex<Option<Exit>>,
    /// Somebody ordered an end, or moved the deadline.
    changed: Notify,
    /// Somebody changed the share of processors, for a guest that waits for its own.
    reshared: Notify,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(NEVER - 1)
}

fn limit(span: Option<Duration>) -> u64 {
    span.map_or(NEVER, nanos)
}

impl Vitals {
    /// Of a guest for whose instances the engine holds `held` bytes.
    pub(super) fn new(amounts: &Amounts, held: u64) -> Self {
        let launched = Instant::now();
        Self {
            meter: Arc::new(Meter::new(amounts.memory, held)),
            flow: Arc::new(Flow::new(amounts.output)),
            denials: Denials::default(),
            events: Log::default(),
            launched,
            first_instruction: AtomicU64::new(NEVER),
            ended_after: AtomicU64::new(NEVER),
            host_calls: AtomicU64::new(0),
            fuel: AtomicU64::new(NEVER),
            cpu: AtomicU64::new(0),
            taken_up: AtomicU64::new(0),
            cpu_limit: AtomicU64::new(limit(amounts.cpu_time)),
            open_files: AtomicU32::new(0),
            open_files_max: AtomicU32::new(amounts.open_files.unwrap_or(u32::MAX)),
            deadline: AtomicU64::new(limit(amounts.deadline)),
            bucket: Mutex::new(amounts.cpus.map(|share| Bucket::new(share, launched))),
            ordered: Mutex::new(None),
            changed: Notify::new(),
            reshared: Notify::new(),
        }
    }

    /// Changes what can change while the guest runs.
    pub(super) fn update(&self, amounts: &Amounts) {
        self.meter.set_limit(amounts.memory);
        self.flow.set_limit(amounts.output);
        self.cpu_limit.store(limit(amounts.cpu_time), Relaxed);
        self.open_files_max.store(amounts.open_files.unwrap_or(u32::MAX), Relaxed);
        self.deadline.store(limit(amounts.deadline), Relaxed);
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        match (bucket.as_mut(), amounts.cpus) {
            (Some(bucket), Some(share)) => bucket.set_share(share, now),
            (_, share) => *bucket = share.map(|share| Bucket::new(share, now)),
        }
        drop(bucket);
        self.events.note(Event::Updated);
        self.changed.notify_one();
        self.reshared.notify_one();
    }

    // --- What the guest's side notes.

    pub(super) fn note_host_call(&self) {
        // One thread writes.
        self.host_calls.store(self.host_calls.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn note_first_instruction(&self) {
        self.first_instruction.store(nanos(self.launched.elapsed()), Relaxed);
        self.events.note(Event::Started);
    }

    pub(super) fn note_fuel(&self, used: u64) {
        self.fuel.store(used, Relaxed);
    }

    pub(super) fn note_denial(&self, mut denial: Denial) {
        denial.call = self.host_calls.load(Relaxed);
        self.events.note(Event::Denied(denial.clone()));
        self.denials.note(denial);
        // What it writes from here on may be about it.
        self.flow.listen();
    }

    pub(super) fn note_end(&self, exit: &Exit) {
        self.ended_after.store(nanos(self.launched.elapsed()), Relaxed);
        self.events.note(Event::Ended(exit.clone()));
    }

    /// Takes the right to open one more file, if there is one left.
    pub(super) fn open_file(&self) -> bool {
        let open = self.open_files.load(Relaxed);
        let allowed = open < self.open_files_max.load(Relaxed);
        if allowed {
            self.open_files.store(open + 1, Relaxed);
        }
        allowed
    }

    /// Gives the right to open one file back.
    pub(super) fn close_file(&self) {
        self.open_files.store(self.open_files.load(Relaxed).saturating_sub(1), Relaxed);
    }

    // --- Processor time of a guest that shares its threads.

    /// The calling thread takes the guest up.
    pub(super) fn take_up(&self) {
        self.taken_up.store(nanos(clock::thread_cpu_time()), Relaxed);
    }

    /// Charges what the calling thread spent since it took the guest up, or since the last charge.
    /// Says how long the guest must wait for its share now.
    pub(super) fn charge(&self) -> Result<Option<Duration>, Ordered> {
        let now = nanos(clock::thread_cpu_time());
        let spent = now.saturating_sub(self.taken_up.swap(now, Relaxed));
        let total = self.cpu.load(Relaxed).saturating_add(spent);
        self.cpu.store(total, Relaxed);
        if self.cpu_limit.load(Relaxed) <= total {
            return Err(Ordered(Exit::CpuTime));
        }
        if self.flow.overflowed() {
            return Err(Ordered(Exit::Output));
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = Duration::from_nanos(spent);
        Ok(bucket.as_mut().and_then(|bucket| bucket.spend(spent, Instant::now())))
    }

    /// Has the guest wait until it may go on: for its share, or for its turn.
    pub(super) async fn wait_for_turn(&self) -> Result<(), Ordered> {
        let Some(mut wait) = self.charge()? else {
            tokio::task::yield_now().await;
            return Ok(());
        };
        // What is owed takes as long as the share of now says, and not that of before.
        while tokio::time::timeout(wait, self.reshared.notified()).await.is_ok() {
            match self.charge()? {
                None => break,
                Some(left) => wait = left,
            }
        }
        Ok(())
    }

    /// Sets the processor time of a guest that has a process to itself.
    pub(super) fn set_cpu_time(&self, total: Duration) {
        self.cpu.store(nanos(total), Relaxed);
    }

    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Relaxed))
    }

    pub(super) fn cpu_limit(&self) -> Option<Duration> {
        Some(self.cpu_limit.load(Relaxed)).filter(|n| *n != NEVER).map(Duration::from_nanos)
    }

    // --- Ends that are ordered.

    /// Orders the guest's end. The first order counts.
    pub(super) fn order(&self, exit: Exit) {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(exit);
        self.changed.notify_one();
    }

    pub(super) fn ordered(&self) -> Option<Exit> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the guest's time is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let after = self.deadline.load(Relaxed);
        (after != NEVER).then(|| self.launched.checked_add(Duration::from_nanos(after))).flatten()
    }

    /// Waits until an end was ordered, or the time is over.
    pub(super) async fn end_is_due(&self) -> Exit {
        loop {
            if let Some(exit) = self.ordered() {
                return exit;
            }
            // Lowered below what was used, where the guest waits for something else.
            if self.cpu_limit.load(Relaxed) <= self.cpu.load(Relaxed) {
                return Exit::CpuTime;
            }
            match self.deadline() {
                None => self.changed.notified().await,
                Some(deadline) if deadline <= Instant::now() => return Exit::Deadline,
                Some(deadline) => {
                    // Either way, the loop looks again.
                    let _woken =
                        tokio::time::timeout_at(deadline.into(), self.changed.notified()).await;
                }
            }
        }
    }

    // --- What those who watch see.

    /// The latest of what was refused, oldest first.
    pub(super) fn denials(&self) -> Vec<Denial> {
        self.denials.latest(&self.flow.last_words())
    }

    pub(super) fn stats(&self) -> Stats {
        let known = |n: u64| (n != NEVER).then_some(n);
        let elapsed = known(self.ended_after.load(Relaxed)).map(Duration::from_nanos);
        Stats {
            elapsed: elapsed.unwrap_or_else(|| self.launched.elapsed()),
            cpu_time: self.cpu_time(),
            memory: self.meter.used(),
            memory_peak: self.meter.peak(),
            memory_refusals: self.meter.refusals(),
            bytes_in: self.flow.bytes_in(),
            bytes_out: self.flow.bytes_out(),
            fuel: known(self.fuel.load(Relaxed)),
            host_calls: self.host_calls.load(Relaxed),
            denials: self.denials.count(),
            first_instruction: known(self.first_instruction.load(Relaxed))
                .map(Duration::from_nanos),
        }
    }
}
