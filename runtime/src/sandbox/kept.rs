//! A worker as its keeper holds it: what it is held to, what it uses, and how it is halted.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLockReadGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::SetOnce;

use crate::limits::Amounts;
use crate::limits::LimitError;
use crate::platform::cgroup::Group;
use crate::platform::child::Child;
use crate::process::Wall;
use crate::process::WallStanding;

use super::event::Event;
use super::group::Held;
use super::group::HeldGroup;
use super::group::told;
use super::guest::LaunchError;
use super::single::with_spare;
use super::stats::GroupStats;
use super::vitals::Vitals;

/// A worker, held.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) child: Child,
    /// Closed with this process, however that ends; the worker is killed then.
    pub(super) _leash: File,
    /// What holds it as a whole; removed behind it.
    pub(super) group: Option<Arc<HeldGroup>>,
    /// Whether that is another worker's, which it is beside: that one's keeper changes it, has it stand
    /// still, and ends what is in it.
    pub(super) is_beside: bool,
    /// What it is let go by, where it is held until then.
    pub(super) gate: Mutex<Option<File>>,
    /// Nanoseconds of processor time that it had used when its guest began.
    pub(super) cpu_at_start: AtomicU64,
    pub(super) walls: OnceLock<Vec<(Wall, WallStanding)>>,
    /// Set once it says that its guest's instance is made.
    pub(super) instance: SetOnce<()>,
    pub(super) violation: OnceLock<String>,
}

impl Worker {
    /// Writes what the guest has used of processors into its figures, and says it.
    pub(super) fn note_cpu_time(&self, vitals: &Vitals) -> Duration {
        let used = self.child.cpu_time().unwrap_or_default();
        let before = Duration::from_nanos(self.cpu_at_start.load(Relaxed));
        let used = used.saturating_sub(before);
        vitals.set_cpu_time(used);
        used
    }

    /// The guest begins: what was used before is not its own.
    pub(super) fn note_begin(&self, vitals: &Vitals) {
        let used = self.child.cpu_time().unwrap_or_default();
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_at_start.store(used, Relaxed);
        vitals.events.note(Event::Started);
    }

    /// Lets a guest go that was held.
    pub(super) fn let_go(&self, vitals: &Vitals) -> Result<(), LaunchError> {
        let refused = |reason: &str| LaunchError::Invocation { reason: reason.to_owned() };
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut gate = gate.ok_or_else(|| refused("it is not held: it was started already"))?;
        vitals.let_go();
        self.note_begin(vitals);
        gate.write_all(&[1]).map_err(|_| refused("it ended before it was started"))
    }

    /// Kills it, whoever is to tell of its end.
    pub(super) fn kill(&self) {
        self.child.kill();
    }

    /// Asks it to stand still, and says whether it does by now: by its group, where that can, and
    /// else by a signal that it cannot refuse.
    pub(super) fn stand_still(&self, is_asked: bool) -> Result<bool, String> {
        if let Some(freezer) = self.freezer() {
            if self.is_beside {
                return Ok(true);
            }
            return freezer.freeze_once().map_err(|error| told(&error));
        }
        if !is_asked {
            self.child.stop().map_err(|error| error.to_string())?;
        }
        self.child.is_stopped().map_err(|error| error.to_string())
    }

    /// Has it go on.
    pub(super) fn go_on(&self) -> Result<(), String> {
        match self.freezer() {
            Some(_) if self.is_beside => Ok(()),
            Some(freezer) => freezer.let_go().map_err(|error| told(&error)),
            None => self.child.go_on().map_err(|error| error.to_string()),
        }
    }

    /// Whether it is known to have ended.
    pub(super) fn is_gone(&self) -> bool {
        self.child.is_gone()
    }

    fn freezer(&self) -> Option<RwLockReadGuard<'_, Group>> {
        self.group.as_deref().and_then(HeldGroup::freezer)
    }

    /// Whether its guest began.
    pub(super) fn has_begun(&self) -> bool {
        self.walls.get().is_some()
    }

    /// Holds it to other limits from now on.
    pub(super) fn update(&self, before: &Amounts, amounts: &Amounts) -> Result<(), LimitError> {
        match &self.group {
            _ if self.is_beside => {}
            Some(group) => group.update(before, amounts)?,
            None => HeldGroup::refuse_without(amounts)?,
        }
        // It is behind the meter, which holds by itself.
        let _held_by_the_meter = self.child.bound_memory(amounts.memory.map(with_spare));
        Ok(())
    }

    /// Whether its control group can hold a share of processors.
    pub(super) fn can_hold_cpus(&self) -> bool {
        self.group.as_deref().is_some_and(HeldGroup::can_hold_cpus)
    }

    /// What of the limits its control group holds.
    pub(super) fn held(&self) -> Held {
        self.group.as_deref().map(HeldGroup::held).unwrap_or_default()
    }

    /// What its control group counts.
    pub(super) fn group_stats(&self) -> Option<GroupStats> {
        self.group.as_deref().and_then(HeldGroup::stats)
    }

    /// Ends the workers beside it, which has ended, where it had any, and says what all of them used.
    /// Their group is gone then.
    pub(super) fn close_group(&self) -> Option<GroupStats> {
        let group = self.group.as_ref()?;
        let is_shared = !self.is_beside && 1 < Arc::strong_count(group);
        if is_shared {
            group.end_others();
        }
        let stats = group.stats();
        if is_shared {
            group.remove();
        }
        stats
    }

    /// How the walls around it stand, as it said.
    pub(super) fn walls(&self) -> Vec<(Wall, WallStanding)> {
        self.walls.get().cloned().unwrap_or_default()
    }

    /// The system call that ended it, as it said.
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.get().cloned()
    }
}
