//! A worker with a hole: one more import, by which the guest does what native code in its place could.
//!
//! This module exists under the feature `hostile` alone, which no program has that is given to anybody.
//! Nothing else of the worker is different, so that what holds around it holds around every worker.

use wasmtime::Caller;
use wasmtime::Extern;
use wasmtime::Linker;

use crate::platform::native;

use super::state::State;

/// The number that is no call: it asks where the guest's memory is in that of the process.
const WHERE_IS_MEMORY: i64 = -1;

/// Provides `aril_hostile.call`: a number, six arguments, and what the kernel answers.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let call = |mut caller: Caller<'_, State>, number, a, b, c, d, e, f| {
        if number == WHERE_IS_MEMORY {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            return memory.map_or(0, |memory| memory.data_ptr(&caller).addr().cast_signed() as i64);
        }
        native::raw(number, [a, b, c, d, e, f])
    };
    linker.func_wrap("aril_hostile", "call", call)?;
    Ok(())
}

/// What the list of system calls says of each number, and the call's name.
pub fn calls() -> Vec<(i64, &'static str, &'static str)> {
    native::list()
}

/// Has this process and all that it starts make no namespace of users, as some hosts do to everybody.
pub fn refuse_user_namespaces() {
    native::refuse_user_namespaces();
}
