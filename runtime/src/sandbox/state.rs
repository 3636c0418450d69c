//! What a guest's store holds: its WASI context, its meter, and the ear of those who watch.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::Store;
use wasmtime_wasi::ResourceTable;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::WasiView;

use crate::capabilities::Files;
use crate::capabilities::OutEnd;
use crate::capabilities::Streams;
use crate::limits::Amounts;
use crate::limits::MeterHandle;

use super::preview1::Preview1;
use super::refusal::Places;
use super::vitals::Vitals;

/// What the host keeps track of for one guest: streams, pollables, descriptors; more only where
/// more files may be open.
pub(super) const RESOURCES_MAX: usize = 4096;

/// How many of those are left for what is no file, where more files may be open.
const RESOURCES_BESIDE_FILES: usize = 1024;

/// The most there ever is, where files are not limited.
const RESOURCES_UNLIMITED: usize = 1 << 20;

/// The longest path that is taken from a guest, in bytes. The engine copies a path several times, and
/// aborts the process where there is no room for a copy.
pub(super) const PATH_SIZE_MAX: usize = 4096;

/// What the host holds for a name of a directory that is listed, in bytes: the longest name, and
/// what is kept of it.
pub(super) const NAME_COST: u64 = 512;

/// What one call may make the host hold in any case, in bytes; beyond, as much as the guest has
/// memory left.
pub(super) const CALL_SIZE_MIN: u64 = 512 << 10;

/// How many names a directory may have to be listed, for a guest that has `left` bytes of memory: the
/// engine reads all of them before it gives the guest the first.
pub(super) fn names_max(left: u64) -> usize {
    usize::try_from(left.max(CALL_SIZE_MIN) / NAME_COST).unwrap_or(usize::MAX)
}

/// How many resources a guest has that may have so many files open.
pub(super) fn resources_max(open_files: Option<u32>) -> usize {
    let files = open_files.and_then(|count| usize::try_from(count).ok());
    let wanted = files.map_or(RESOURCES_UNLIMITED, |count| count + RESOURCES_BESIDE_FILES);
    wanted.clamp(RESOURCES_MAX, RESOURCES_UNLIMITED)
}

/// How many files a guest with so many resources can have open.
pub(super) fn open_files_max(resources: usize) -> u32 {
    u32::try_from(resources - RESOURCES_BESIDE_FILES).unwrap_or(u32::MAX)
}

/// Handles that a component may hold.
const HANDLES_MAX: usize = 4096;

/// What the lists and texts of one call of a component may cost the host, in bytes.
const CALL_SIZE_MAX: usize = 8 << 20;

/// What a guest's store holds.
pub(crate) struct State {
    pub(super) guest: Guest,
    pub(super) vitals: Arc<Vitals>,
    /// The tick at which a guest whose work is counted last gave way.
    pub(super) tick: u64,
    meter: MeterHandle,
}

/// The context of a guest, by the world that it lives in.
pub(super) enum Guest {
    Preview1(Box<Preview1>),
    Component(Box<ComponentGuest>),
}

/// The context of a component.
pub(super) struct ComponentGuest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) places: Places,
    pub(super) outputs: [OutEnd; 2],
}

impl ComponentGuest {
    pub(super) fn new(
        mut wasi: WasiCtx,
        streams: Streams,
        files: Arc<Files>,
        resources: usize,
    ) -> Self {
        files.give(&mut wasi);
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources);
        let outputs = [streams.stdout, streams.stderr];
        Self { wasi, table, places: Places::new(files), outputs }
    }
}

impl State {
    pub(super) fn new(guest: Guest, vitals: Arc<Vitals>, amounts: &Amounts) -> Self {
        let meter = MeterHandle::new(Arc::clone(&vitals.meter), amounts);
        Self { guest, vitals, tick: 0, meter }
    }

    /// The preview 1 side; each call of the guest comes through here.
    pub(super) fn preview1(&mut self) -> &mut Preview1 {
        self.vitals.note_host_call();
        match &mut self.guest {
            Guest::Preview1(guest) => guest,
            Guest::Component(_) => unreachable!("a component has no preview 1 imports"),
        }
    }

    pub(super) fn component(&mut self) -> &mut ComponentGuest {
        match &mut self.guest {
            Guest::Component(guest) => guest,
            Guest::Preview1(_) => unreachable!("a module has no component imports"),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.vitals.note_host_call();
        let guest = self.component();
        WasiCtxView { ctx: &mut guest.wasi, table: &mut guest.table }
    }
}

/// The one maker of stores.
pub(super) fn store(
    engine: &Engine,
    state: State,
    amounts: &Amounts,
) -> wasmtime::Result<Store<State>> {
    let component = matches!(state.guest, Guest::Component(_));
    let mut store = Store::try_new(engine, state)?;
    store.limiter(|state| &mut state.meter);
    if component {
        store.set_hostcall_fuel(CALL_SIZE_MAX);
        store.set_max_component_handles(HANDLES_MAX);
    }
    if let Some(fuel) = amounts.fuel {
        store.set_fuel(fuel.get())?;
    }
    Ok(store)
}
