//! The one maker of engines: compiler and runner set every tunable alike, by name.

use std::num::NonZeroUsize;

use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::InstanceAllocationStrategy;
use wasmtime::PoolingAllocationConfig;
use wasmtime::WasmBacktraceDetails;

use crate::units::Bytes;

use super::kind::Form;
use super::kind::Interruption;
use super::kind::Kind;

/// Room for many guests in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Guests alive at the same moment.
    pub(crate) sandboxes: u32,
    /// Memory of an ended guest that stays resident for the next one in its slot.
    ///
    /// Clearing this much by hand is cheaper than giving pages back and faulting them in again.
    pub(crate) keep_resident: Bytes,
}

/// Native stack that the host's own frames may need above the guest's.
const HOST_STACK: u64 = 1 << 20;

/// Elements of one table in a pool. A reservation of address space, not memory.
pub(crate) const POOL_TABLE_ELEMENTS_MAX: u32 = 1_000_000;

/// The most that a component in a pool has, so that none takes the places of others: what a
/// language's tools make of a program is a dozen modules with one memory and a few tables.
const MODULES_OF_COMPONENT: u32 = 64;

/// The same of tables: 8 MiB of address space each.
const TABLES_OF_COMPONENT: u32 = 4;

/// Garbage-collected heaps in a pool: each takes the address space of a memory, of which a
/// processor has enough for some thirty thousand.
const HEAPS_MAX: u32 = 4096;

/// Address space of one linear memory: all that a 32-bit guest can name.
const MEMORY_RESERVATION: usize = 4 << 30;

/// An engine that compiles and never runs.
pub(crate) fn compiling_engine(form: Form, kind: Kind) -> wasmtime::Result<Engine> {
    let mut config = settings(form, kind);
    config.strategy(wasmtime::Strategy::Cranelift);
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    config.parallel_compilation(true);
    Engine::new(&config)
}

/// An engine that runs and never compiles; with a pool for many guests, or without for one.
pub(crate) fn running_engine(
    form: Form,
    kind: Kind,
    stack: Bytes,
    pool: Option<Pool>,
) -> wasmtime::Result<Engine> {
    // A guest's end reaches us as an error of the engine's. With RUST_BACKTRACE set, each would
    // walk the host's stack, which takes a static program five milliseconds and tells nobody
    // anything.
    wasmtime::error::disable_backtrace();
    let mut config = settings(form, kind);
    config.enable_compiler(false);
    let stack = stack.get();
    config.max_wasm_stack(usize::try_from(stack)?);
    config.async_stack_size(usize::try_from(stack + HOST_STACK)?);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(form, pool)));
        // Stacks are handed from guest to guest.
        config.async_stack_zeroing(true);
    }
    Engine::new(&config)
}

/// What machine code depends on. Both sides must agree on every line of it.
fn settings(form: Form, kind: Kind) -> Config {
    let concurrent = form == Form::ConcurrentComponent;
    let mut config = Config::new();
    let interruption = kind.interruption(form);
    config.epoch_interruption(interruption == Interruption::Epochs);
    // Counted code says which of its branches are hardly ever taken.
    config.wasm_branch_hinting(interruption == Interruption::Counted);
    config.consume_fuel(kind.fuel);
    // Only what needs it pays for concurrency: host calls cost four times as much with it.
    config.concurrency_support(concurrent);
    config.wasm_component_model_async(concurrent);
    // Threads of a guest would share its memory, which the meter cannot see.
    config.shared_memory(false);
    // A full reservation lets the guest's code leave bounds checks to the memory hardware.
    config.memory_reservation(MEMORY_RESERVATION as u64);
    config.memory_guard_size(32 << 20);
    config.guard_before_linear_memory(true);
    config.signals_based_traps(true);
    config.memory_init_cow(true);
    config.table_lazy_init(true);
    // Backtraces with names come from the artifact; nothing is read from the environment.
    config.wasm_backtrace_max_frames(NonZeroUsize::new(64));
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.generate_address_map(true);
    config.native_unwind_info(false);
    config.gc_support(true);
    config.collector(wasmtime::Collector::DeferredReferenceCounting);
    config.cranelift_nan_canonicalization(false);
    config.compiler_inlining(wasmtime::Inlining::No);
    config
}

fn pooling(form: Form, pool: Pool) -> PoolingAllocationConfig {
    let (modules, tables) = match form {
        Form::Module | Form::UncountedModule => (1, 1),
        Form::Component | Form::ConcurrentComponent => (MODULES_OF_COMPONENT, TABLES_OF_COMPONENT),
    };
    let mut config = PoolingAllocationConfig::new();
    config.total_core_instances(pool.sandboxes.saturating_mul(modules));
    config.total_component_instances(pool.sandboxes);
    // A garbage-collected heap is a memory as well.
    config.total_memories(pool.sandboxes.saturating_add(pool.sandboxes.min(HEAPS_MAX)));
    config.total_tables(pool.sandboxes.saturating_mul(tables));
    config.total_stacks(pool.sandboxes);
    config.total_gc_heaps(pool.sandboxes.min(HEAPS_MAX));
    config.max_core_instances_per_component(modules);
    config.max_memories_per_component(1);
    config.max_tables_per_component(tables);
    // A memory may be as large as the limits allow; the reservation is address space.
    config.max_memory_size(4 << 30);
    config.table_elements(POOL_TABLE_ELEMENTS_MAX as usize);
    config
        .linear_memory_keep_resident(usize::try_from(pool.keep_resident.get()).unwrap_or(0))
        .table_keep_resident(4 << 10)
        .async_stack_keep_resident(16 << 10);
    config
}
