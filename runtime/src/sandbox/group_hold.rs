//! How a control group is held to each limit, at first and when one is changed.

use crate::limits::Amounts;
use crate::limits::Rates;
use crate::platform::groups::Bound;
use crate::platform::groups::Controller;
use crate::platform::groups::CpuLimits;
use crate::platform::groups::GroupError;
use crate::platform::groups::IoLimits;
use crate::platform::groups::MemoryLimits;
use crate::units::Bytes;
use crate::units::Cpus;

use super::group::HeldGroup;
use super::group::RESERVE;

/// Holds a group to a limit: the one that it was held to before, if it was, and the one of now.
type Hold = fn(&HeldGroup, Option<&Amounts>, &Amounts) -> Result<(), GroupError>;

/// What a group has of processors beside others where nothing else is said.
const WEIGHT_OF_ALL: u32 = 100;

/// The limit, where it is another one than before. A new group has none.
fn changed<T: PartialEq>(
    before: Option<&Amounts>,
    amounts: &Amounts,
    limit: impl Fn(&Amounts) -> Option<T>,
) -> Option<Bound<T>> {
    let now = limit(amounts);
    (before.and_then(&limit) != now).then(|| now.map_or(Bound::Unlimited, Bound::At))
}

impl HeldGroup {
    /// How each limit is held, in the order in which that is done.
    pub(super) const HOLDS: [(&'static str, Hold); 10] = [
        ("pids", Self::hold_pids),
        ("cpu_weight", Self::hold_weight),
        ("cpus", Self::hold_cpus),
        ("memory", Self::hold_memory),
        ("memory_swap", Self::hold_swap),
        ("memory_reservation", Self::hold_reservation),
        ("device_read_bps", |group, before, amounts| {
            group.hold_rates(
                before,
                amounts,
                |one| &one.device_read_bps,
                |limits, read| {
                    limits.read = Some(read);
                },
            )
        }),
        ("device_write_bps", |group, before, amounts| {
            group.hold_rates(
                before,
                amounts,
                |one| &one.device_write_bps,
                |limits, write| {
                    limits.write = Some(write);
                },
            )
        }),
        ("device_read_iops", |group, before, amounts| {
            group.hold_rates(
                before,
                amounts,
                |one| &one.device_read_iops,
                |limits, reads| {
                    limits.reads = Some(reads.map(u64::from));
                },
            )
        }),
        ("device_write_iops", |group, before, amounts| {
            group.hold_rates(
                before,
                amounts,
                |one| &one.device_write_iops,
                |limits, writes| {
                    limits.writes = Some(writes.map(u64::from));
                },
            )
        }),
    ];

    /// Holds it to rates of devices, where they are others than before. What was limited and is no
    /// longer is let go.
    fn hold_rates<T: Copy + PartialEq>(
        &self,
        before: Option<&Amounts>,
        amounts: &Amounts,
        rates: impl Fn(&Amounts) -> &Option<Rates<T>>,
        set: impl Fn(&mut IoLimits, Bound<T>),
    ) -> Result<(), GroupError> {
        let (then, now) = (before.map(&rates).copied().flatten(), *rates(amounts));
        let (then, now) = (then.unwrap_or_default(), now.unwrap_or_default());
        let gone = then.iter().filter(|(device, _)| now.of(*device).is_none());
        let gone = gone.map(|(device, _)| (device, Bound::Unlimited));
        let there = now.iter().filter(|(device, rate)| then.of(*device) != Some(*rate));
        let there = there.map(|(device, rate)| (device, Bound::At(rate)));
        for (device, bound) in gone.chain(there) {
            let mut limits = IoLimits::none(device.numbers());
            set(&mut limits, bound);
            self.group().set_io(&limits)?;
        }
        Ok(())
    }

    fn hold_pids(&self, before: Option<&Amounts>, amounts: &Amounts) -> Result<(), GroupError> {
        match changed(before, amounts, |amounts| amounts.pids) {
            Some(max) => self.group().set_pids(max.map(u64::from)),
            None => Ok(()),
        }
    }

    fn hold_weight(&self, before: Option<&Amounts>, amounts: &Amounts) -> Result<(), GroupError> {
        let Some(weight) = changed(before, amounts, |amounts| amounts.cpu_weight) else {
            return Ok(());
        };
        let weight = match weight {
            Bound::At(weight) => weight,
            Bound::Unlimited => WEIGHT_OF_ALL,
        };
        self.group().set_cpu(&CpuLimits { weight: Some(weight), ..CpuLimits::default() })
    }

    fn hold_cpus(&self, before: Option<&Amounts>, amounts: &Amounts) -> Result<(), GroupError> {
        // One that was made for its weight alone has no quota.
        if self.has(Controller::Cpu) && (before.is_some() || amounts.cpus.is_some()) {
            let quota = amounts.cpus.map_or(Bound::Unlimited, Bound::<Cpus>::At);
            self.group().set_cpu(&CpuLimits { quota: Some(quota), ..CpuLimits::default() })?;
        }
        Ok(())
    }

    fn hold_memory(&self, before: Option<&Amounts>, amounts: &Amounts) -> Result<(), GroupError> {
        if !self.has_memory || before.is_some() && self.uses_more_than(amounts.memory) {
            return Ok(());
        }
        let max = amounts.memory.map_or(Bound::Unlimited, |memory| Bound::At(self.bound(memory)));
        self.group().set_memory(&MemoryLimits { max: Some(max), ..MemoryLimits::default() })
    }

    /// Whether the kernel would end the worker, or refuse, for what the meter granted: its guest is
    /// told no from now on, and the group stays as it is behind that.
    fn uses_more_than(&self, memory: Option<Bytes>) -> bool {
        let used = self.group().usage().ok().and_then(|usage| usage.memory);
        let used = used.map_or(0, |memory| memory.current.get());
        memory.is_some_and(|memory| self.bound(memory).get() <= used)
    }

    /// What it is held to where this much memory is asked for.
    fn bound(&self, memory: Bytes) -> Bytes {
        if self.is_exact { memory } else { with_reserve(memory) }
    }

    fn hold_swap(&self, before: Option<&Amounts>, amounts: &Amounts) -> Result<(), GroupError> {
        // Beside `memory`, so that it changes with that too.
        let beside = |amounts: &Amounts| {
            let (both, memory) = (amounts.memory_swap?, amounts.memory?);
            Some(Bytes::new(both.get().saturating_sub(memory.get())))
        };
        match changed(before, amounts, beside) {
            Some(swap) => self
                .group()
                .set_memory(&MemoryLimits { swap: Some(swap), ..MemoryLimits::default() }),
            None => Ok(()),
        }
    }

    fn hold_reservation(
        &self,
        before: Option<&Amounts>,
        amounts: &Amounts,
    ) -> Result<(), GroupError> {
        match changed(before, amounts, |amounts| amounts.memory_reservation) {
            Some(high) => self
                .group()
                .set_memory(&MemoryLimits { high: Some(high), ..MemoryLimits::default() }),
            None => Ok(()),
        }
    }
}

fn with_reserve(memory: Bytes) -> Bytes {
    Bytes::new(memory.get().saturating_add(RESERVE.get()))
}
