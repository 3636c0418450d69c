//! What a guest calls whose work is counted, when it has worked for an interval.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use wasmtime::Caller;
use wasmtime::Linker;

use crate::engine::DUE;
use crate::engine::INTERRUPT;
use crate::engine::REST;

use super::state::State;

/// Provides what counted code imports. A guest cannot call it by itself.
pub(super) fn link(linker: &mut Linker<State>, ticks: &Arc<AtomicU64>) -> wasmtime::Result<()> {
    let ticks = Arc::clone(ticks);
    // Every few microseconds: it must cost nothing.
    linker.func_wrap(INTERRUPT, DUE, move |mut caller: Caller<'_, State>| {
        let now = ticks.load(Relaxed);
        i32::from(std::mem::replace(&mut caller.data_mut().tick, now) != now)
    })?;
    linker.func_wrap_async(INTERRUPT, REST, |caller: Caller<'_, State>, (): ()| {
        let vitals = Arc::clone(&caller.data().vitals);
        Box::new(async move { Ok(vitals.wait_for_turn().await?) })
    })?;
    Ok(())
}
