//! What is known of a guest while it runs: shared by the guest's thread and those who watch it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
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
use crate::limits::Figure;
use crate::limits::Figures;
use crate::limits::Flow;
use crate::limits::Meter;
use crate::limits::NONE;
use crate::platform::clock;
use crate::units::Cpus;

use super::event::Event;
use super::event::Log;
use super::exit::Exit;
use super::group::without_own;
use super::pause::Pauses;
use super::placement::Placement;
use super::stats::Stats;

/// An end that somebody ordered, on its way out of the guest's code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest's end was ordered: {0}")]
pub(super) struct Ordered(pub(super) Exit);

/// A guest's live figures and limits.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(super) figures: Arc<Figures>,
    pub(super) meter: Arc<Meter>,
    pub(super) flow: Arc<Flow>,
    denials: Denials,
    pub(super) events: Log,
    launched: Instant,
    /// When the guest was let go, where it was held until then.
    let_go: OnceLock<Instant>,
    is_held: AtomicBool,
    /// Whether its group is held to its memory as it was asked for, so that its process needs some of it.
    shares_memory: AtomicBool,
    /// The thread's processor time when it last took the guest up.
    taken_up: AtomicU64,
    /// The processor time that was charged here.
    charged: AtomicU64,
    /// What was decided here. The figures have it too, for whoever runs the guest: what is read there
    /// is that one's word, and no limit for it.
    amounts: Mutex<Amounts>,
    open_files: AtomicU32,
    bucket: Mutex<Option<Bucket>>,
    ordered: Mutex<Option<Exit>>,
    pub(super) pauses: Pauses,
    /// Somebody ordered an end, or moved the deadline.
    changed: Notify,
    /// Somebody changed the share of processors, for a guest that waits for its own.
    reshared: Notify,
    /// Somebody changed limits, for a keeper that waits for one to look at.
    updated: Notify,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(NONE - 1)
}

fn limit(span: Option<Duration>) -> u64 {
    span.map_or(NONE, nanos)
}

impl Vitals {
    /// Of a guest in this process, for whose instances the engine holds `held` bytes.
    pub(super) fn new(amounts: &Amounts, held: u64) -> Self {
        let vitals = Self::of(Figures::own(), amounts);
        vitals.begin(amounts, held);
        vitals
    }

    /// Of a guest whose figures these are, wherever it is.
    pub(super) fn of(figures: Figures, amounts: &Amounts) -> Self {
        let now = Instant::now();
        // By the clock of the system, which the processes that share the figures share as well.
        let since = match figures.get(Figure::LaunchedAt) {
            0 => Duration::ZERO,
            at => clock::monotonic().saturating_sub(Duration::from_nanos(at)),
        };
        let launched = now.checked_sub(since).unwrap_or(now);
        let figures = Arc::new(figures);
        Self {
            meter: Arc::new(Meter::new(Arc::clone(&figures))),
            flow: Arc::new(Flow::new(Arc::clone(&figures))),
            figures,
            denials: Denials::default(),
            events: Log::default(),
            launched,
            let_go: OnceLock::new(),
            is_held: AtomicBool::new(false),
            shares_memory: AtomicBool::new(false),
            taken_up: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            amounts: Mutex::new(*amounts),
            open_files: AtomicU32::new(0),
            bucket: Mutex::new(amounts.cpus.map(|share| Bucket::new(share, launched))),
            ordered: Mutex::new(None),
            pauses: Pauses::default(),
            changed: Notify::new(),
            reshared: Notify::new(),
            updated: Notify::new(),
        }
    }

    /// Has it that the guest is placed so, before it is begun.
    pub(super) fn place(&self, placement: &Placement) {
        self.is_held.store(placement.is_held, Relaxed);
        self.shares_memory.store(placement.group.is_some(), Relaxed);
    }

    /// Writes the first figures: what the guest may, and that nothing happened yet.
    pub(super) fn begin(&self, amounts: &Amounts, held: u64) {
        self.figures.set(Figure::LaunchedAt, nanos(clock::monotonic()));
        for figure in [Figure::FirstInstruction, Figure::EndedAfter, Figure::Fuel] {
            self.figures.set(figure, NONE);
        }
        self.set(amounts);
        self.meter.begin(held);
    }

    fn set(&self, amounts: &Amounts) {
        *self.amounts.lock().unwrap_or_else(PoisonError::into_inner) = *amounts;
        let shares = self.shares_memory.load(Relaxed);
        self.meter.set_limit(amounts.memory.map(|all| if shares { without_own(all) } else { all }));
        self.flow.set_limit(amounts.output);
        let figures = &self.figures;
        figures.set(Figure::CpuLimit, limit(amounts.cpu_time));
        figures.set(Figure::OpenFilesMax, amounts.open_files.map_or(NONE, u64::from));
        figures.set(Figure::Share, amounts.cpus.map_or(NONE, |share| share.millionths().into()));
    }

    /// The guest, which was held, begins: here, or where it is run.
    pub(super) fn let_go(&self) {
        self.figures.set(Figure::LaunchedAt, nanos(clock::monotonic()));
        let _first = self.let_go.set(Instant::now());
        self.is_held.store(false, Relaxed);
        self.changed.notify_one();
    }

    /// Whether the guest is held until it is started.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Relaxed)
    }

    /// When its time began.
    fn began(&self) -> Instant {
        self.let_go.get().copied().unwrap_or(self.launched)
    }

    /// Changes what can change while the guest runs.
    pub(super) fn update(&self, amounts: &Amounts) {
        self.set(amounts);
        self.events.note(Event::Updated);
        self.changed.notify_one();
        self.reshared.notify_one();
        self.updated.notify_one();
    }

    // --- What the guest's side notes.

    pub(super) fn note_host_call(&self) {
        // One thread writes.
        self.figures.set(Figure::HostCalls, self.figures.get(Figure::HostCalls) + 1);
    }

    pub(super) fn note_first_instruction(&self) {
        self.figures.set(Figure::FirstInstruction, nanos(self.began().elapsed()));
        self.events.note(Event::Started);
    }

    pub(super) fn note_fuel(&self, used: u64) {
        self.figures.set(Figure::Fuel, used);
    }

    pub(super) fn note_denial(&self, mut denial: Denial) {
        denial.call = self.figures.get(Figure::HostCalls);
        self.figures.at(Figure::Denials).fetch_add(1, Relaxed);
        self.events.note(Event::Denied(denial.clone()));
        self.denials.note(denial);
        // What it writes from here on may be about it.
        self.flow.listen();
    }

    /// Notes what a worker says that its guest was refused.
    pub(super) fn note_told_denial(&self, denial: Denial) {
        self.events.note(Event::Denied(denial.clone()));
        self.denials.note(denial);
    }

    pub(super) fn note_end(&self, exit: &Exit) {
        self.figures.set(Figure::EndedAfter, nanos(self.began().elapsed()));
        self.events.note(Event::Ended(exit.clone()));
    }

    /// Takes the right to open one more file, if there is one left.
    pub(super) fn open_file(&self) -> bool {
        let open = self.open_files.load(Relaxed);
        let allowed = u64::from(open) < self.figures.get(Figure::OpenFilesMax);
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
        let total = self.charged.load(Relaxed).saturating_add(spent);
        self.charged.store(total, Relaxed);
        self.figures.set(Figure::CpuTime, total);
        if self.figures.get(Figure::CpuLimit) <= total {
            return Err(Ordered(Exit::CpuTime));
        }
        if self.flow.overflowed() {
            return Err(Ordered(Exit::Output));
        }
        let (spent, now) = (Duration::from_nanos(spent), Instant::now());
        let share = self.figures.known(Figure::Share).and_then(Cpus::from_millionths);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been changed since, here or by whoever keeps the guest.
        match (bucket.as_mut(), share) {
            (Some(bucket), Some(share)) => bucket.set_share(share, now),
            (_, share) => *bucket = share.map(|share| Bucket::new(share, now)),
        }
        Ok(bucket.as_mut().and_then(|bucket| bucket.spend(spent, now)))
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

    /// What was decided here.
    pub(super) fn amounts(&self) -> Amounts {
        *self.amounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processor time that was charged in this process.
    fn charged(&self) -> Duration {
        Duration::from_nanos(self.charged.load(Relaxed))
    }

    /// Sets the processor time of a guest that has a process to itself.
    pub(super) fn set_cpu_time(&self, total: Duration) {
        self.figures.set(Figure::CpuTime, nanos(total));
    }

    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.figures.get(Figure::CpuTime))
    }

    pub(super) fn cpu_limit(&self) -> Option<Duration> {
        self.amounts().cpu_time
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

    /// When the guest's time is over, unless it stands still: time stands still with it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stood_still = self.pauses.past().filter(|_| !self.is_held())?;
        self.began().checked_add(self.amounts().deadline?)?.checked_add(stood_still)
    }

    /// The guest goes on, and its time with it.
    pub(super) fn note_resumed(&self) {
        self.events.note(Event::Resumed);
        self.changed.notify_one();
    }

    /// Waits until an end was ordered, or the time is over.
    pub(super) async fn end_is_due(&self) -> Exit {
        loop {
            if let Some(exit) = self.ordered() {
                return exit;
            }
            // Lowered below what was used, where the guest waits for something else.
            if self.cpu_limit().is_some_and(|limit| limit <= self.charged()) {
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

    /// Waits until limits were changed.
    pub(super) async fn limits_changed(&self) {
        self.updated.notified().await;
    }

    // --- What those who watch see.

    /// The latest of what was refused, oldest first.
    pub(super) fn denials(&self) -> Vec<Denial> {
        self.denials.latest(&self.flow.last_words())
    }

    pub(super) fn stats(&self) -> Stats {
        let figures = &self.figures;
        let span = |figure| figures.known(figure).map(Duration::from_nanos);
        Stats {
            elapsed: span(Figure::EndedAfter).unwrap_or_else(|| self.began().elapsed()),
            cpu_time: self.cpu_time(),
            memory: self.meter.used(),
            memory_peak: self.meter.peak(),
            memory_refusals: self.meter.refusals(),
            bytes_in: self.flow.bytes_in(),
            bytes_out: self.flow.bytes_out(),
            fuel: figures.known(Figure::Fuel),
            host_calls: figures.get(Figure::HostCalls),
            denials: figures.get(Figure::Denials),
            first_instruction: span(Figure::FirstInstruction),
            disk: None,
            group: None,
        }
    }
}
