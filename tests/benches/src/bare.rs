//! The engine without Aril: wasmtime as somebody would tune it who wants no limits.

use std::path::Path;

use anyhow::Result;
use anyhow::anyhow;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::InstanceAllocationStrategy;
use wasmtime::InstancePre;
use wasmtime::Linker;
use wasmtime::Module;
use wasmtime::PoolingAllocationConfig;
use wasmtime::Store;
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// How much output is captured, as by default in Aril.
const CAPTURED_MAX: usize = 16 << 20;

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of `map_err`")]
fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("the bare engine failed: {error:#}")
}

/// What machine code depends on: as in the library's `engine/config.rs`, without interruption.
fn settings() -> Config {
    let mut config = Config::new();
    config.concurrency_support(false);
    config.wasm_component_model_async(false);
    config.shared_memory(false);
    config.memory_reservation(4 << 30);
    config.memory_guard_size(32 << 20);
    config.generate_address_map(true);
    config.native_unwind_info(false);
    config.collector(wasmtime::Collector::DeferredReferenceCounting);
    config.compiler_inlining(wasmtime::Inlining::No);
    config
}

/// An engine with room for so many guests, with the library's pool and stacks.
pub(crate) fn engine(guests: u32) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(guests)
        .total_component_instances(guests)
        .total_memories(guests)
        .total_tables(guests)
        .total_stacks(guests)
        .total_gc_heaps((guests / 16).max(1))
        .max_memory_size(4 << 30)
        .table_elements(1_000_000)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(4 << 10)
        .async_stack_keep_resident(16 << 10);
    let mut config = running();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.async_stack_zeroing(true);
    Engine::new(&config).map_err(failed)
}

fn running() -> Config {
    let mut config = settings();
    config.enable_compiler(false);
    config.max_wasm_stack(1 << 20);
    config.async_stack_size(2 << 20);
    config
}

/// An engine without a pool, for one guest.
pub(crate) fn engine_for_one() -> Result<Engine> {
    Engine::new(&running()).map_err(failed)
}

/// Compiles `wasm` into a file that [`load`] takes.
pub(crate) fn compile(wasm: &str, output: &str) -> Result<()> {
    let engine = Engine::new(&settings()).map_err(failed)?;
    let bytes = wat::parse_file(wasm)?;
    let code = engine.precompile_module(&bytes).map_err(failed)?;
    std::fs::write(output, code)?;
    Ok(())
}

/// Maps machine code that [`compile`] wrote.
#[expect(unsafe_code, reason = "the engine's loading is what the library's is measured against")]
pub(crate) fn load(engine: &Engine, code: &str) -> Result<Module> {
    // SAFETY: the benches wrote the file themselves, in the repository's own `target`.
    unsafe { Module::deserialize_file(engine, Path::new(code)) }.map_err(failed)
}

/// A guest that is ready to be made again and again.
pub(crate) struct Guest {
    engine: Engine,
    ready: InstancePre<WasiP1Ctx>,
}

impl Guest {
    pub(crate) fn new(engine: &Engine, code: &str) -> Result<Self> {
        let module = load(engine, code)?;
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker, |context: &mut WasiP1Ctx| context).map_err(failed)?;
        let ready = linker.instantiate_pre(&module).map_err(failed)?;
        Ok(Self { engine: engine.clone(), ready })
    }

    /// From nothing to the guest's end. `granted` is what it sees as `/data`.
    pub(crate) async fn run(&self, arguments: &[String], granted: Option<&str>) -> Result<Vec<u8>> {
        let output = MemoryOutputPipe::new(CAPTURED_MAX);
        let mut context = WasiCtxBuilder::new();
        context.args(arguments).stdout(output.clone()).stderr(output.clone());
        if let Some(granted) = granted {
            context.preopened_dir(granted, "/data", FsPerms::ReadWrite).map_err(failed)?;
        }
        let mut store = Store::new(&self.engine, context.build_p1());
        let instance = self.ready.instantiate_async(&mut store).await.map_err(failed)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(failed)?;
        match start.call_async(&mut store, ()).await {
            Err(error) if !matches!(error.downcast_ref(), Some(I32Exit(0))) => Err(failed(error)),
            _ => Ok(output.contents().to_vec()),
        }
    }
}
