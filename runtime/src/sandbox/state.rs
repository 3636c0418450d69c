//! What a guest's store holds: its WASI context, its meter, and the ear of those who watch.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::Store;
use wasmtime_wasi::ResourceTable;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxView;
use wasmtime_wasi::WasiView;

use crate::capabilities::Access;
use crate::capabilities::Denial;
use crate::capabilities::Files;
use crate::capabilities::Preopen;
use crate::capabilities::Refusal;
use crate::limits::Amounts;
use crate::limits::MeterHandle;

use super::preview1::Preview1;
use super::vitals::Vitals;

/// What the host keeps track of for one guest: streams, pollables, descriptors; more only where
/// more files may be open.
const RESOURCES_MAX: usize = 4096;

/// How many of those are left for what is no file, where more files may be open.
const RESOURCES_BESIDE_FILES: usize = 1024;

/// The most there ever is, where files are not limited.
const RESOURCES_UNLIMITED: usize = 1 << 20;

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
    files: Arc<Files>,
    /// Which descriptors are which of the preopens.
    pub(super) known: HashMap<u32, usize>,
}

impl ComponentGuest {
    pub(super) fn new(mut wasi: WasiCtx, files: Arc<Files>, resources: usize) -> Self {
        files.give(&mut wasi);
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources);
        Self { wasi, table, files, known: HashMap::new() }
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

    /// Notes that a component's call was refused, if it was.
    pub(super) fn note_answer(&mut self, base: u32, path: &str, write: bool, answer: Answer) {
        let guest = self.component();
        let base = guest.known.get(&base).map(|i| &guest.files.preopens[*i]);
        if let Some(denial) = refusal(base, path, write, answer) {
            self.vitals.note_denial(denial);
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

/// How a call on a path failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    NoEntry,
    NotPermitted,
    Other,
}

/// What was refused, if a call that failed with `answer` was.
///
/// `base` is the grant that the call started from, where it is known; `path` is relative to it.
pub(super) fn refusal(
    base: Option<&Preopen>,
    path: &str,
    write: bool,
    answer: Answer,
) -> Option<Denial> {
    let refusal = match (base, answer) {
        (_, Answer::Other) => return None,
        (Some(base), _) if base.empty => Refusal::NotGranted,
        (_, Answer::NoEntry) => return None,
        (_, Answer::NotPermitted) if climbs(path) => Refusal::Outside,
        (Some(base), Answer::NotPermitted) if write && base.access == Access::ReadOnly => {
            Refusal::ReadOnly
        }
        (_, Answer::NotPermitted) => Refusal::Outside,
    };
    let shown = Denial::shown(path);
    Some(match base {
        Some(base) => {
            Denial::new(&format!("{}/{shown}", base.place.trim_end_matches('/')), refusal)
        }
        None => Denial::new(shown, refusal),
    })
}

/// Whether a path leads above where it starts.
fn climbs(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_climbs_when_it_leads_above_its_start() {
        for path in ["..", "../x", "a/../../x", "/etc"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["", "a", "a/..", "a/../b", "./a"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
