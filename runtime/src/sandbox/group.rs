//! The control group of one worker: what it is held to there, and its end.

use std::fs::File;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::limits::Amounts;
use crate::limits::LimitError;
use crate::platform::cgroup::Cgroups;
use crate::platform::cgroup::Group;
use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;
use crate::platform::groups::MemoryUsage;
use crate::platform::groups::Missing;
use crate::units::Bytes;

use super::group_name::Name;
use super::guest::LaunchError;
use super::stats::GroupStats;

/// What a worker takes of memory beside what its guest is granted: the group of a guest that may
/// have 64 MiB is held to that and this much more, so that the guest is told no before the kernel
/// ends it.
///
/// What one call of a component may make the host hold is 8 MiB at most. The runner of a small guest
/// takes a quarter of a MiB of its group, as the kernel counts (v1, Linux 6.18); of what the guest
/// itself is granted, the kernel counts what it has touched.
pub(crate) const RESERVE: Bytes = Bytes::mib(8);

/// How long the kernel may take to let go of processes that have ended.
const REMOVING_MAX: Duration = Duration::from_secs(2);

/// How long processes that were killed may take to be gone.
const KILLING_MAX: Duration = Duration::from_secs(2);

/// A control group that ends with this value.
#[derive(Debug)]
pub(super) struct HeldGroup {
    /// Joins more hierarchies where it is to be held to more.
    group: RwLock<Group>,
    cgroups: Arc<Cgroups>,
    pub(super) has_memory: bool,
    /// Whether it is at a place that others chose, and so is held to what they said exactly.
    pub(super) is_exact: bool,
    /// How many of its processes the kernel had ended for want of memory before it was closed, and
    /// for how many of them that was told.
    ended_for_memory: AtomicU64,
    told_of_memory: AtomicU64,
}

/// What of a guest's limits a control group holds on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) memory: bool,
    pub(crate) cpus: bool,
}

impl Held {
    /// What a group would hold of these limits here.
    pub(crate) fn of(amounts: &Amounts, cgroups: &Cgroups) -> Self {
        Self {
            memory: amounts.memory.is_some() && cgroups.can(Controller::Memory).is_ok(),
            cpus: amounts.cpus.is_some() && cgroups.can(Controller::Cpu).is_ok(),
        }
    }
}

/// Whether this process has looked for what others left.
static SWEPT: AtomicBool = AtomicBool::new(false);

/// Removes the groups of keepers that are no more. Their workers end with them, and are waited for a
/// moment.
pub(crate) fn sweep(cgroups: &Cgroups) {
    /// How often it is tried.
    const TRIES: u32 = 50;
    /// What a try waits for the next one.
    const STEP: Duration = Duration::from_millis(2);
    let name = Name::new();
    if name.started == 0 {
        return;
    }
    for _ in 0..TRIES {
        if cgroups.sweep(&Controller::ALL, None, |other| name.is_left(other)) == 0 {
            return;
        }
        std::thread::sleep(STEP);
    }
}

/// The limits that only a group holds and that somebody asked for, with what it needs for each.
fn needed(amounts: &Amounts) -> impl Iterator<Item = (&'static str, Controller)> {
    let all = [
        ("pids", Controller::Pids, amounts.pids.is_some()),
        ("cpu_weight", Controller::Cpu, amounts.cpu_weight.is_some()),
        ("memory_swap", Controller::Memory, amounts.memory_swap.is_some()),
        ("memory_reservation", Controller::Memory, amounts.memory_reservation.is_some()),
        ("device_read_bps", Controller::Io, amounts.device_read_bps.is_some()),
        ("device_write_bps", Controller::Io, amounts.device_write_bps.is_some()),
        ("device_read_iops", Controller::Io, amounts.device_read_iops.is_some()),
        ("device_write_iops", Controller::Io, amounts.device_write_iops.is_some()),
    ];
    all.into_iter()
        .filter(|(_, _, is_asked)| *is_asked)
        .map(|(name, controller, _)| (name, controller))
}

fn no_rung(name: &'static str, error: &GroupError) -> LimitError {
    LimitError::NoRung { name, missing: told(error) }
}

impl HeldGroup {
    /// Makes the group that holds what it can of these limits; nothing where that is nothing.
    pub(super) fn make(
        cgroups: &Arc<Cgroups>,
        amounts: &Amounts,
    ) -> Result<Option<Self>, LaunchError> {
        let held = Held::of(amounts, cgroups);
        let mut controllers = Vec::new();
        if held.memory {
            controllers.push(Controller::Memory);
        }
        if held.cpus {
            controllers.push(Controller::Cpu);
        }
        for (name, controller) in needed(amounts) {
            let missing =
                |missing: Missing| LimitError::NoRung { name, missing: missing.to_string() };
            cgroups.can(controller).map_err(missing)?;
            if name == "memory_swap" {
                cgroups.counts_swap().map_err(missing)?;
            }
            if !controllers.contains(&controller) {
                controllers.push(controller);
            }
        }
        if controllers.is_empty() {
            return Ok(None);
        }
        let failed = |error: GroupError| LaunchError::Exhausted { reason: told(&error) };
        let name = Name::new();
        // What others left is looked for once, and where there are many, by one of several.
        if name.started != 0 && !SWEPT.swap(true, Relaxed) {
            let turn = Some(name.process);
            cgroups.sweep(&controllers, turn, |other| name.is_surely_left(other));
        }
        let group = cgroups.make(&name.to_string(), &controllers).map_err(failed)?;
        let group = Self::of(group, cgroups, false);
        group.hold_all(amounts)?;
        Ok(Some(group))
    }

    /// Makes the group at this place, with all that the host has for groups: others look at it there.
    pub(super) fn make_at(place: &str, amounts: &Amounts) -> Result<Self, LaunchError> {
        let failed = |error: GroupError| LaunchError::Exhausted { reason: told(&error) };
        for (name, controller) in needed(amounts) {
            let missing =
                |missing: Missing| LimitError::NoRung { name, missing: missing.to_string() };
            // The groups above it are not there yet: what the host has is what its top has.
            Cgroups::find(Some("")).can(controller).map_err(missing)?;
        }
        let group = Cgroups::make_at(place).map_err(failed)?;
        let (has_memory, has_cpu) = (group.has(Controller::Memory), group.has(Controller::Cpu));
        for (name, is_asked, is_there, controller) in [
            ("memory", amounts.memory.is_some(), has_memory, Controller::Memory),
            ("cpus", amounts.cpus.is_some(), has_cpu, Controller::Cpu),
        ] {
            if is_asked && !is_there {
                let missing =
                    format!("the control group `{place}` cannot be held to `{controller}`");
                let _left = group.remove(Duration::ZERO);
                return Err(LimitError::NoRung { name, missing }.into());
            }
        }
        let above = place.rsplit_once('/').map_or("", |(above, _)| above);
        let group = Self::of(group, &Arc::new(Cgroups::find(Some(above))), true);
        group.hold_all(amounts)?;
        Ok(group)
    }

    fn of(group: Group, cgroups: &Arc<Cgroups>, is_exact: bool) -> Self {
        Self {
            has_memory: group.has(Controller::Memory),
            group: RwLock::new(group),
            cgroups: Arc::clone(cgroups),
            is_exact,
            ended_for_memory: AtomicU64::new(0),
            told_of_memory: AtomicU64::new(0),
        }
    }

    /// Holds a new group to all of these limits.
    fn hold_all(&self, amounts: &Amounts) -> Result<(), LaunchError> {
        let failed = |error: GroupError| LaunchError::Exhausted { reason: told(&error) };
        for (name, hold) in Self::HOLDS {
            hold(self, None, amounts).map_err(|error| match name {
                // They are asked of the group, and held by other means as well.
                "memory" | "cpus" => failed(error),
                _ => no_rung(name, &error).into(),
            })?;
        }
        Ok(())
    }

    pub(super) fn group(&self) -> RwLockReadGuard<'_, Group> {
        self.group.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.group().has(controller)
    }

    /// Whether it can hold a share of processors: it does, or will where one is asked of it.
    pub(super) fn can_hold_cpus(&self) -> bool {
        self.has(Controller::Cpu) || self.cgroups.can(Controller::Cpu).is_ok()
    }

    /// Holds it to other limits than these from now on; where that fails, to these as before. It joins
    /// the hierarchies that it was made without.
    pub(super) fn update(&self, before: &Amounts, amounts: &Amounts) -> Result<(), LimitError> {
        let cpus = amounts.cpus.map(|_| ("cpus", Controller::Cpu));
        for (name, controller) in needed(amounts).chain(cpus) {
            if self.has(controller) {
                continue;
            }
            // What it takes by then would count for nobody.
            if controller == Controller::Memory {
                let missing = format!(
                    "its control group was made without `{controller}`; launch it with a limit of \
                     that, which can be changed then"
                );
                return Err(LimitError::NoRung { name, missing });
            }
            let mut group = self.group.write().unwrap_or_else(PoisonError::into_inner);
            group.join(&self.cgroups, controller).map_err(|error| no_rung(name, &error))?;
        }
        for (done, (name, hold)) in Self::HOLDS.into_iter().enumerate() {
            if let Err(error) = hold(self, Some(before), amounts) {
                for (_, hold) in Self::HOLDS.into_iter().take(done) {
                    let _as_before = hold(self, Some(amounts), before);
                }
                return Err(no_rung(name, &error));
            }
        }
        Ok(())
    }

    /// Refuses what only a group could hold, of a worker that has none.
    pub(super) fn refuse_without(amounts: &Amounts) -> Result<(), LimitError> {
        match needed(amounts).next() {
            Some((name, controller)) => {
                let missing = format!(
                    "it was launched without a control group; launch it anew, where one can be \
                     held to `{controller}`"
                );
                Err(LimitError::NoRung { name, missing })
            }
            None => Ok(()),
        }
    }

    /// What of the limits it holds.
    pub(super) fn held(&self) -> Held {
        Held { memory: self.has_memory, cpus: self.has(Controller::Cpu) }
    }

    /// What a worker walks into it by.
    pub(super) fn doors(&self) -> Result<Vec<File>, LaunchError> {
        self.group().doors().map_err(|error| LaunchError::Exhausted { reason: told(&error) })
    }

    /// Adds a worker to what it cannot walk into.
    pub(super) fn add(&self, process: u32) -> Result<(), LaunchError> {
        let added = self.group().add_where_no_door_is(process);
        added.map_err(|error| LaunchError::Exhausted { reason: told(&error) })
    }

    /// What its processes stand still by, where it has that and what is killed meanwhile ends.
    pub(super) fn freezer(&self) -> Option<RwLockReadGuard<'_, Group>> {
        Some(self.group()).filter(|group| group.can_be_frozen_and_killed())
    }

    /// What it counts; nothing where that cannot be read.
    pub(super) fn stats(&self) -> Option<GroupStats> {
        let usage = self.group().usage().ok()?;
        let (memory, cpu) = (usage.memory, usage.cpu);
        let (throttling, io) = (usage.throttling, usage.io);
        let in_use =
            |memory: MemoryUsage| memory.current.get().saturating_sub(memory.inactive_file.get());
        Some(GroupStats {
            memory: memory.map(in_use).map(Bytes::new),
            memory_peak: memory.and_then(|memory| memory.peak),
            swap: memory.and_then(|memory| memory.swap),
            cpu_user: cpu.map(|cpu| cpu.user),
            cpu_system: cpu.map(|cpu| cpu.system),
            periods: throttling.map(|throttling| throttling.periods),
            throttled_periods: throttling.map(|throttling| throttling.throttled_periods),
            throttled: throttling.map(|throttling| throttling.throttled),
            pids: usage.pids,
            read: io.map(|io| io.read),
            written: io.map(|io| io.written),
            reads: io.map(|io| io.reads),
            writes: io.map(|io| io.writes),
        })
    }

    /// Whether a process of it that was killed was killed by the kernel for want of memory, as far as
    /// can be told: of so many ends as the kernel made, and no more, it is said once of each.
    pub(super) fn was_out_of_memory(&self) -> bool {
        let count = self.note_ended_for_memory();
        let one_more = |told| (told < count).then_some(told + 1);
        self.told_of_memory.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    fn note_ended_for_memory(&self) -> u64 {
        let count = if self.has_memory { self.group().oom_kills().unwrap_or(0) } else { 0 };
        self.ended_for_memory.fetch_max(count, Relaxed).max(count)
    }

    /// Refuses another worker where its processes are as many as they may be: those that are moved
    /// into a group the kernel does not count against its limit.
    pub(super) fn check_room(&self, amounts: &Amounts) -> Result<(), LaunchError> {
        let Some(max) = amounts.pids else { return Ok(()) };
        let failed = |error: GroupError| LaunchError::Exhausted { reason: told(&error) };
        match self.group().usage().map_err(failed)?.pids {
            Some(count) if u64::from(max) <= count => Err(LaunchError::Exhausted {
                reason: format!(
                    "its control group has {count} processes and threads, and its `pids` limit is \
                     {max}; raise it with `aril update --pids-limit`"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Kills what is left in it. Nothing that is moved there later is.
    pub(super) fn end_others(&self) {
        self.note_ended_for_memory();
        // Each has a keeper that ends it as well.
        let _left = self.group().kill(KILLING_MAX);
    }

    /// Removes it, whoever holds it still: nothing is in it.
    pub(super) fn remove(&self) {
        // What cannot be removed now is removed by the next one that looks.
        let _left = self.group().remove(REMOVING_MAX);
    }
}

impl Drop for HeldGroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What a guest may have of a group that is held to this much and no more: its process takes the rest.
pub(super) fn without_own(memory: Bytes) -> Bytes {
    Bytes::new(memory.get() - RESERVE.get().min(memory.get() / 4))
}

/// An error with what is behind it.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", told(cause)))
}
