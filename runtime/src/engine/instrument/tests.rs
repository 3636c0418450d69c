//! Counted modules do what they did before, and can always be interrupted.
//!
//! Here an interval is so short that nearly every loop is left and entered again.

use wasmtime::Caller;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::Extern;
use wasmtime::ExternType;
use wasmtime::Instance;
use wasmtime::Linker;
use wasmtime::Module;
use wasmtime::Store;
use wasmtime::Val;

use crate::digest::Digest;

use super::DUE;
use super::MODULE;
use super::REST;
use super::instrument;
use super::samples::SPINNING;
use super::samples::TRICKY;

/// How a run ended: its results, or why it has none.
type Outcome = Result<Vec<String>, String>;

/// What can be seen of a run: how each call ended, and what is in memories and globals.
#[derive(Debug, PartialEq)]
struct Seen {
    outcomes: Vec<Outcome>,
    state: Vec<String>,
}

/// What a store counts: how often it was asked, and how often it may be.
struct Patience {
    left: u64,
}

const OUT_OF_FUEL: &str = "all fuel consumed by WebAssembly";
const OUT_OF_PATIENCE: &str = "out of patience";

fn engine() -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true);
    config.wasm_branch_hinting(true);
    config.max_wasm_stack(64 << 10);
    Engine::new(&config).expect("an engine")
}

fn shown(value: &Val) -> String {
    match value {
        Val::F32(bits) if f32::from_bits(*bits).is_nan() => "f32:nan".to_owned(),
        Val::F64(bits) if f64::from_bits(*bits).is_nan() => "f64:nan".to_owned(),
        Val::I32(_) | Val::I64(_) | Val::F32(_) | Val::F64(_) | Val::V128(_) => {
            format!("{value:?}")
        }
        _ => "a reference".to_owned(),
    }
}

fn linker(engine: &Engine) -> Linker<Patience> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "identity", |x: i32| x).expect("new");
    linker.func_wrap(MODULE, DUE, || 1_i32).expect("new");
    let rest = |mut caller: Caller<'_, Patience>| {
        let left = caller.data().left;
        caller.data_mut().left = left.saturating_sub(1);
        if left == 0 { Err(wasmtime::Error::msg(OUT_OF_PATIENCE)) } else { Ok(()) }
    };
    linker.func_wrap(MODULE, REST, rest).expect("new");
    linker
}

/// Calls all functions that the module exports, in turn, and tells what was seen; and how often
/// the guest rested.
fn run(engine: &Engine, wasm: &[u8], fuel: u64, patience: u64) -> wasmtime::Result<(Seen, u64)> {
    let module = Module::from_binary(engine, wasm)?;
    let mut store = Store::new(engine, Patience { left: patience });
    store.set_fuel(fuel)?;
    let mut outcomes = Vec::new();
    let mut state = Vec::new();
    let instance = linker(engine).instantiate(&mut store, &module);
    match instance {
        Err(error) => outcomes.push(Err(ended(&error))),
        Ok(instance) => {
            for export in module.exports() {
                if let ExternType::Func(ty) = export.ty() {
                    outcomes.push(call(&mut store, instance, export.name(), &ty));
                    if outcomes.last().is_some_and(|o| matches!(o, Err(e) if spent(e))) {
                        break;
                    }
                }
            }
            for export in module.exports() {
                match instance.get_export(&mut store, export.name()) {
                    Some(Extern::Global(global)) => state.push(shown(&global.get(&mut store))),
                    Some(Extern::Memory(memory)) => {
                        state.push(Digest::of(memory.data(&store)).to_string());
                    }
                    _ => {}
                }
            }
        }
    }
    let rested = patience - store.data().left;
    Ok((Seen { outcomes, state }, rested))
}

fn spent(error: &str) -> bool {
    error == OUT_OF_FUEL || error == OUT_OF_PATIENCE
}

fn call(
    store: &mut Store<Patience>,
    instance: Instance,
    name: &str,
    ty: &wasmtime::FuncType,
) -> Outcome {
    let function = instance.get_func(&mut *store, name).expect("it is exported");
    let arguments = ty.params().map(|ty| match ty {
        wasmtime::ValType::I32 => Val::I32(7),
        wasmtime::ValType::I64 => Val::I64(7),
        other => Val::default_for_ty(&other).unwrap_or(Val::I32(0)),
    });
    let arguments: Vec<_> = arguments.collect();
    let mut results = vec![Val::I32(0); ty.results().len()];
    function
        .call(&mut *store, &arguments, &mut results)
        .map(|()| results.iter().map(shown).collect())
        .map_err(|error| ended(&error))
}

fn ended(error: &wasmtime::Error) -> String {
    error.downcast_ref::<wasmtime::Trap>().map_or_else(
        || error.root_cause().to_string(),
        |trap| trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
    )
}

const FUEL: u64 = 50_000_000;

/// Runs the text both ways, and says how often it rested.
fn same(text: &str) -> u64 {
    let engine = engine();
    let wasm = wat::parse_str(text).expect("valid text");
    let counted = instrument(&wasm).expect("it can be counted");
    let (expected, _) = run(&engine, &wasm, FUEL, 0).expect("it is valid");
    let (found, rested) = run(&engine, &counted, FUEL, u64::MAX).expect("it is valid still");
    assert_eq!(found, expected, "{text}");
    assert!(expected.outcomes.iter().all(|o| !matches!(o, Err(error) if spent(error))), "{text}");
    rested
}

#[test]
fn what_guests_compute_stays_the_same() {
    for (name, text) in TRICKY {
        let rested = same(text);
        assert!(*name == "short" || 0 < rested, "`{name}` never rested");
    }
}

#[test]
fn whatever_spins_comes_to_a_rest() {
    let engine = engine();
    for (name, text) in SPINNING {
        let wasm = wat::parse_str(text).expect("valid text");
        let counted = instrument(&wasm).expect("it can be counted");
        let (seen, _) = run(&engine, &counted, u64::MAX, 100).expect("it is valid still");
        let last = seen.outcomes.last().cloned().expect("it was called");
        assert_eq!(last, Err(OUT_OF_PATIENCE.to_owned()), "{name}");
    }
}

#[test]
fn a_rest_is_never_far() {
    // What was done between two rests, in fuel: an operator takes one.
    for (name, text) in SPINNING.iter().chain(TRICKY) {
        if name.starts_with("bulk") {
            // Fuel counts each byte that is moved.
            continue;
        }
        let engine = engine();
        let counted = instrument(&wat::parse_str(text).expect("valid")).expect("countable");
        let module = Module::from_binary(&engine, &counted).expect("valid");
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "identity", |x: i32| x).expect("new");
        linker.func_wrap(MODULE, DUE, || 1_i32).expect("new");
        linker
            .func_wrap(MODULE, REST, |mut caller: Caller<'_, (u64, u64, u64)>| {
                let left = caller.get_fuel()?;
                let (times, before, most) = *caller.data();
                *caller.data_mut() = (times + 1, left, most.max(before - left));
                if times == 1000 { Err(wasmtime::Error::msg(OUT_OF_PATIENCE)) } else { Ok(()) }
            })
            .expect("new");
        let mut store = Store::new(&engine, (0, FUEL, 0));
        store.set_fuel(FUEL).expect("with fuel");
        if let Ok(instance) = linker.instantiate(&mut store, &module) {
            for export in module.exports() {
                if let Some(function) = instance.get_func(&mut store, export.name()) {
                    let ty = function.ty(&store);
                    let arguments: Vec<_> = ty.params().map(|_| Val::I32(7)).collect();
                    let mut results = vec![Val::I32(0); ty.results().len()];
                    let _ended = function.call(&mut store, &arguments, &mut results);
                }
            }
        }
        let (_, _, most) = *store.data();
        assert!(most < 6000, "`{name}` did {most} between two rests");
    }
}

#[test]
fn a_guest_cannot_name_what_is_added() {
    for text in [
        "(module (func (call 1)))",
        "(module (func (global.set 0 (i32.const 1))))",
        "(module (func (local.set 0 (i32.const 1))))",
    ] {
        let wasm = wat::parse_str(text).expect("text");
        assert!(Module::validate(&engine(), &wasm).is_err());
    }
    let reserved = format!("(module (import \"{MODULE}\" \"{DUE}\" (func)) (func))");
    instrument(&wat::parse_str(reserved).expect("text")).expect_err("the name is reserved");
    let wasm = wat::parse_str("(module (func (export \"f\") (loop (br 0))))").expect("text");
    let module = Module::new(&engine(), instrument(&wasm).expect("countable")).expect("valid");
    assert_eq!(module.exports().map(|export| export.name().to_owned()).collect::<Vec<_>>(), ["f"]);
}

#[test]
fn names_of_functions_survive() {
    let text = "(module $guest (import \"host\" \"identity\" (func $host (param i32) (result i32)))
        (func $outer (export \"f\") (call $inner)) (func $inner (unreachable)))";
    let engine = engine();
    let wasm = instrument(&wat::parse_str(text).expect("text")).expect("countable");
    let module = Module::new(&engine, &wasm).expect("valid");
    let mut store = Store::new(&engine, Patience { left: 9 });
    store.set_fuel(FUEL).expect("with fuel");
    let instance = linker(&engine).instantiate(&mut store, &module).expect("an instance");
    let function = instance.get_func(&mut store, "f").expect("exported");
    let error = function.call(&mut store, &[], &mut []).expect_err("it traps");
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>().expect("a backtrace");
    let names: Vec<_> = backtrace.frames().iter().map(|frame| frame.func_name()).collect();
    assert_eq!(names, [Some("inner"), Some("outer")]);
}

/// Bytes by chance, always the same.
fn chance(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn modules_by_chance_stay_the_same() {
    let engine = engine();
    let rounds: u64 = 25;
    let mut rests = 0;
    let mut finished = 0;
    for seed in 1..=rounds {
        let bytes = chance(seed, 6000);
        let config = wasm_smith::Config {
            max_imports: 0,
            export_everything: true,
            threads_enabled: false,
            max_memories: 2,
            min_funcs: 3,
            max_funcs: 12,
            max_instructions: 400,
            max_data_segments: 3,
            canonicalize_nans: true,
            memory_max_size_required: true,
            table_max_size_required: true,
            ..wasm_smith::Config::default()
        };
        let mut chosen = arbitrary::Unstructured::new(&bytes);
        let Ok(module) = wasm_smith::Module::new(config, &mut chosen) else { continue };
        let wasm = module.to_bytes();
        if Module::validate(&engine, &wasm).is_err() {
            continue;
        }
        let counted = instrument(&wasm).expect("it can be counted");
        // Some want more than there is.
        let Ok((expected, _)) = run(&engine, &wasm, 200_000, 0) else { continue };
        let spends = |seen: &Seen| seen.outcomes.iter().any(|o| matches!(o, Err(e) if spent(e)));
        let deep = |seen: &Seen| {
            seen.outcomes.iter().any(|o| matches!(o, Err(e) if e.contains("stack exhausted")))
        };
        let (found, rested) = run(&engine, &counted, u64::MAX / 2, 100_000)
            .unwrap_or_else(|error| panic!("module {seed} is not valid any more: {error:?}"));
        rests += rested;
        if spends(&expected) {
            continue;
        }
        // A deep chain of calls ends where the stack does, and frames are not the same size.
        if !deep(&expected) && !deep(&found) {
            finished += 1;
            assert_eq!(found, expected, "module {seed}");
        }
    }
    assert!(rounds / 3 < finished, "only {finished} came to an end by themselves");
    assert!(0 < rests);
}
