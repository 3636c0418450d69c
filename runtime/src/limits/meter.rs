//! One total over everything a guest can make grow.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use wasmtime::ResourceLimiter;

use crate::units::Bytes;

use super::Amounts;
use super::figures::Figure;
use super::figures::Figures;
use super::figures::NONE;

/// What the host may hold for one guest at any moment, charged when the guest starts.
///
/// It covers the buffers of one call of a preview 1 guest, the streams of standard input and output
/// (64 KiB each) and the table of resources (4096 entries). Those are bounded one by one where they
/// are made; this is their sum, so that the limit a user names is what a guest costs, and not only
/// what it knows of. Beside it stand the arguments and the environment, which the caller chose (2
/// MiB each at most), and what one call of a component holds for its time (8 MiB at most).
pub(crate) const HOST_HELD: Bytes = Bytes::mib(1);

/// What of that is for the guest's instances: a program of some thousand functions has one that is
/// smaller. What is beyond is charged as well.
const INSTANCES_HELD: u64 = 64 << 10;

/// What one element of a table costs: a pointer.
const TABLE_ELEMENT_SIZE: u64 = 8;

/// Linear memories of one guest: each costs address space, which is not memory but not free.
const MEMORIES_MAX: usize = 100;

/// Tables of one guest.
const TABLES_MAX: usize = 1_000;

/// The memory of one guest: how much it may have, has, had at its peak, and was refused.
///
/// Shared between the guest's store and those who watch it.
#[derive(Debug)]
pub(crate) struct Meter {
    figures: Arc<Figures>,
}

impl Meter {
    /// The meter whose figures these are.
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self { figures }
    }

    /// Begins to count, for a guest for whose instances the engine holds `held` bytes.
    pub(crate) fn begin(&self, held: u64) {
        self.figures.set(Figure::MemoryUsed, HOST_HELD.get());
        self.figures.set(Figure::MemoryPeak, HOST_HELD.get());
        // Where this is refused, the guest is not started.
        self.charge(held.saturating_sub(INSTANCES_HELD));
    }

    /// Changes the limit. A guest that has more already keeps it, and is told no from now on.
    pub(crate) fn set_limit(&self, limit: Option<Bytes>) {
        self.figures.set(Figure::MemoryLimit, limit.map_or(NONE, Bytes::get));
    }

    pub(crate) fn limit(&self) -> Option<Bytes> {
        self.figures.known(Figure::MemoryLimit).map(Bytes::new)
    }

    pub(crate) fn used(&self) -> Bytes {
        Bytes::new(self.figures.get(Figure::MemoryUsed))
    }

    pub(crate) fn peak(&self) -> Bytes {
        Bytes::new(self.figures.get(Figure::MemoryPeak))
    }

    /// What is left of the total, in bytes.
    pub(crate) fn left(&self) -> u64 {
        self.figures.get(Figure::MemoryLimit).saturating_sub(self.used().get())
    }

    /// How many growths were refused.
    pub(crate) fn refusals(&self) -> u64 {
        self.figures.get(Figure::Refusals)
    }

    /// The total that the last refused growth would have made, where the last growth was refused.
    pub(crate) fn last_refusal(&self) -> Option<Bytes> {
        let refused = self.figures.get(Figure::RefusedLast) != 0;
        refused.then(|| Bytes::new(self.figures.get(Figure::RefusedTotal)))
    }

    /// Takes `count` more bytes, where the total allows it.
    fn charge(&self, count: u64) -> bool {
        // Only the guest's own thread charges, so that reading and writing apart is no race; the
        // atomics are for those who watch.
        let figures = &self.figures;
        let total = self.used().get().saturating_add(count);
        let granted = total <= figures.get(Figure::MemoryLimit);
        figures.set(Figure::RefusedLast, u64::from(!granted));
        if granted {
            figures.set(Figure::MemoryUsed, total);
            figures.at(Figure::MemoryPeak).fetch_max(total, Relaxed);
        } else {
            figures.set(Figure::RefusedTotal, total);
            figures.at(Figure::Refusals).fetch_add(1, Relaxed);
        }
        granted
    }

    /// Notes that the host did not have what was granted.
    ///
    /// It stays charged: the engine also says so of growths that nobody asked the meter about, and
    /// what is given back for one of those would be a guest's to take twice.
    fn note_failure(&self) {
        self.figures.set(Figure::RefusedLast, 1);
        self.figures.at(Figure::Refusals).fetch_add(1, Relaxed);
    }
}

/// The side of a [`Meter`] that a store asks before anything grows.
#[derive(Debug)]
pub(crate) struct MeterHandle {
    meter: Arc<Meter>,
    table_elements_max: u64,
    table_elements: u64,
    instances_max: usize,
    /// Whether the last growth that was asked for was granted, and nothing was heard of it since.
    granted: bool,
}

impl MeterHandle {
    pub(crate) fn new(meter: Arc<Meter>, amounts: &Amounts) -> Self {
        Self {
            meter,
            table_elements_max: amounts.table_elements.map_or(u64::MAX, u64::from),
            table_elements: 0,
            instances_max: amounts.instances.map_or(usize::MAX, |n| n as usize),
            granted: false,
        }
    }

    fn charge(&mut self, count: u64) -> bool {
        self.granted = self.meter.charge(count);
        self.granted
    }
}

impl ResourceLimiter for MeterHandle {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| maximum < desired) {
            // The guest's own declaration says no: nothing of ours is refused.
            return Ok(false);
        }
        Ok(self.charge(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The host had no memory, or no address space, for what the meter had granted.
        if std::mem::take(&mut self.granted) {
            self.meter.note_failure();
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| maximum < desired) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        let elements = self.table_elements.saturating_add(more);
        if self.table_elements_max < elements
            || !self.charge(more.saturating_mul(TABLE_ELEMENT_SIZE))
        {
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn meter(limit: Option<Bytes>, held: u64) -> Meter {
        let meter = Meter::new(Arc::new(Figures::own()));
        meter.set_limit(limit);
        meter.begin(held);
        meter
    }

    fn handle(limit: Bytes) -> MeterHandle {
        let limits = Limits { memory: limit.into(), ..Limits::default() };
        let amounts = limits.amounts(false).expect("the limit holds");
        MeterHandle::new(Arc::new(meter(amounts.memory, 0)), &amounts)
    }

    fn grow(handle: &mut MeterHandle, from: Bytes, to: Bytes) -> bool {
        let size = |bytes: Bytes| usize::try_from(bytes.get()).expect("a small size");
        handle.memory_growing(size(from), size(to), None).expect("the meter does not fail")
    }

    #[test]
    fn all_memories_and_tables_share_one_total() {
        let mut handle = handle(Bytes::mib(4));
        assert!(grow(&mut handle, Bytes::new(0), Bytes::mib(2)));
        assert!(handle.table_growing(0, 65_536, None).expect("no failure"), "512 KiB of table");
        assert!(!grow(&mut handle, Bytes::new(0), Bytes::mib(1)), "a second memory");
        assert!(grow(&mut handle, Bytes::new(0), Bytes::kib(512)));
        assert_eq!(handle.meter.used(), Bytes::mib(4));
    }

    #[test]
    fn a_refusal_is_counted_and_forgotten_by_the_next_grant() {
        let mut handle = handle(Bytes::mib(4));
        assert!(!grow(&mut handle, Bytes::new(0), Bytes::mib(100)));
        assert_eq!(handle.meter.last_refusal(), Some(Bytes::mib(101)));
        assert!(grow(&mut handle, Bytes::new(0), Bytes::mib(1)));
        assert_eq!((handle.meter.last_refusal(), handle.meter.refusals()), (None, 1));
    }

    #[test]
    fn a_raised_limit_grants_what_was_refused() {
        let mut handle = handle(Bytes::mib(4));
        assert!(!grow(&mut handle, Bytes::new(0), Bytes::mib(8)));
        handle.meter.set_limit(Some(Bytes::mib(16)));
        assert!(grow(&mut handle, Bytes::new(0), Bytes::mib(8)));
    }

    #[test]
    fn a_failure_that_nobody_asked_about_gives_nothing_back() {
        let mut handle = handle(Bytes::mib(4));
        assert!(grow(&mut handle, Bytes::new(0), Bytes::mib(2)));
        handle.table_grow_failed(wasmtime::Error::msg("no room")).expect("no failure");
        assert_eq!(handle.meter.used(), Bytes::mib(3));
        assert!(handle.meter.last_refusal().is_some());
    }

    #[test]
    fn what_instances_take_is_charged_beyond_what_is_for_all() {
        assert_eq!(meter(None, INSTANCES_HELD).used(), HOST_HELD);
        let large = meter(Some(Bytes::mib(2)), 8 << 20);
        assert_eq!(large.last_refusal().map(Bytes::get), Some((9 << 20) - INSTANCES_HELD));
    }
}
