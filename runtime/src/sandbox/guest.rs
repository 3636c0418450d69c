//! The run of one guest, from its instance to its last instruction.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component;
use wasmtime_wasi::I32Exit;

use crate::capabilities::Files;
use crate::capabilities::GrantError;
use crate::capabilities::Streams;
use crate::capabilities::context;
use crate::engine::Code;
use crate::limits::Amounts;
use crate::limits::LimitError;
use crate::platform::machine;

use super::end::bounded;
use super::end::exit_of;
use super::end::printable;
use super::exit::Exit;
use super::invoke;
use super::linking::Linked;
use super::linking::Loaded;
use super::linking::WASI_3;
use super::preview1::Preview1;
use super::spec::Invocation;
use super::spec::SandboxSpec;
use super::state::ComponentGuest;
use super::state::Guest;
use super::state::State;
use super::state::resources_max;
use super::state::store;
use super::vitals::Vitals;

/// Why a guest could not be launched, or its run not be brought to an end.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// There is nothing here that could be run.
    #[error("it cannot be run: {reason}")]
    NotRunnable {
        /// What is missing.
        reason: String,
    },
    /// The function cannot be called so.
    #[error("{reason}")]
    Invocation {
        /// Why not.
        reason: String,
    },
    /// A limit cannot be held.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A grant cannot be made.
    #[error(transparent)]
    Grant(Arc<GrantError>),
    /// It cannot be run where the spec says.
    #[error("it cannot be run there: {reason}")]
    Isolation {
        /// What is missing, and what to do.
        reason: String,
    },
    /// The host has no room for another guest.
    #[error("there is no room for another sandbox: {reason}")]
    Exhausted {
        /// What is used up, and what to do.
        reason: String,
    },
    /// The engine failed in a way that is nobody's fault but ours.
    #[error("the engine failed: {reason}")]
    Engine {
        /// What it said.
        reason: String,
    },
    /// The machine code is not what this engine runs.
    #[error("its machine code was made for another engine, or is broken: {reason}")]
    Stale {
        /// What the engine said.
        reason: String,
    },
}

impl LaunchError {
    #[expect(clippy::needless_pass_by_value, reason = "used as the argument of `map_err`")]
    pub(super) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine { reason: printable(&bounded(format!("{error:#}"))) }
    }
}

impl From<GrantError> for LaunchError {
    fn from(error: GrantError) -> Self {
        Self::Grant(Arc::new(error))
    }
}

/// How many units of fuel a guest burns between two times that it gives way: compiled code keeps
/// its count to itself until then. It takes about as long as a tick.
const FUEL_STEP: u64 = 1_000_000;

/// A guest that is about to run.
pub(super) struct Ready {
    store: Store<State>,
    linked: Linked,
    loaded: Arc<Loaded>,
    call: Option<Call>,
    fuel: Option<u64>,
}

/// A function to call instead of the guest's start.
enum Call {
    Module(Invocation),
    Component(invoke::ComponentCall),
}

/// How a run ended, and what the called function returned.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) results: Vec<String>,
}

/// Makes everything that a guest needs, up to its instance.
pub(super) fn ready(
    loaded: &Arc<Loaded>,
    spec: &SandboxSpec,
    amounts: &Amounts,
    vitals: &Arc<Vitals>,
    (streams, files): (Streams, Arc<Files>),
) -> Result<Ready, LaunchError> {
    let linked = loaded.linked(spec.trap_unknown_imports)?;
    let call = match &spec.invocation {
        None => {
            loaded.check_start()?;
            None
        }
        Some(invocation) => Some(match &loaded.code {
            Code::Module(module) => match module.get_export(&invocation.function) {
                Some(wasmtime::ExternType::Func(ty)) => {
                    // The values are made once more in the store; here is where they are refused.
                    invoke::module_arguments(invocation, ty.params())?;
                    Call::Module(invocation.clone())
                }
                _ => return Err(invoke::no_function(loaded, invocation)),
            },
            Code::Component(component) => {
                Call::Component(invoke::component_call(loaded, component, invocation)?)
            }
        }),
    };
    let mut wasi = context(&spec.capabilities, streams.clone())?;
    let resources = resources_max(amounts.open_files);
    let guest = if loaded.is_component() {
        let guest = ComponentGuest::new(wasi.build(), streams, files, resources);
        Guest::Component(Box::new(guest))
    } else {
        let guest = Preview1::new(wasi.build_p1(), Arc::clone(vitals), streams, files, resources);
        Guest::Preview1(Box::new(guest))
    };
    let state = State::new(guest, Arc::clone(vitals), amounts);
    let store = store(&loaded.engine, state, amounts).map_err(LaunchError::engine)?;
    let fuel = amounts.fuel.map(crate::units::Fuel::get);
    Ok(Ready { store, linked, loaded: Arc::clone(loaded), call, fuel })
}

impl Ready {
    pub(super) fn store(&mut self) -> &mut Store<State> {
        &mut self.store
    }

    /// Makes the guest show at times what it has used of its fuel, where there is a limit on that:
    /// an end that the host orders would know nothing of it.
    pub(super) fn show_fuel(&mut self) -> Result<(), LaunchError> {
        if self.fuel.is_none() {
            return Ok(());
        }
        self.store.fuel_async_yield_interval(Some(FUEL_STEP)).map_err(LaunchError::engine)
    }

    /// Runs the guest to its end.
    ///
    /// # Errors
    ///
    /// Fails where the host, and not the guest, is what failed.
    pub(super) async fn run(&mut self, vitals: &Vitals) -> Result<Ended, LaunchError> {
        if let Some(exit) = too_large(vitals) {
            return Ok(Ended { exit, results: Vec::new() });
        }
        let result = self.run_inner(vitals).await;
        self.note_fuel(vitals);
        match result {
            Ok(results) => Ok(Ended { exit: Exit::Exited(0), results }),
            Err(Failure::Start(error)) => {
                let exit = start_failure(&error, vitals)?;
                Ok(Ended { exit, results: Vec::new() })
            }
            Err(Failure::Run(error)) => {
                Ok(Ended { exit: exit_of(&error, vitals), results: Vec::new() })
            }
        }
    }

    /// Notes what the guest has used of its fuel, as far as its own thread can tell: whoever ends
    /// the process beside a running guest cannot look into its store.
    pub(super) fn note_fuel(&self, vitals: &Vitals) {
        if let Some(fuel) = self.fuel {
            vitals.note_fuel(fuel.saturating_sub(self.store.get_fuel().unwrap_or(0)));
        }
    }

    async fn run_inner(&mut self, vitals: &Vitals) -> Result<Vec<String>, Failure> {
        let store = &mut self.store;
        match &self.linked {
            Linked::Module(pre) => {
                let instance = pre.instantiate_async(&mut *store).await.map_err(Failure::Start)?;
                vitals.note_first_instruction();
                run_module(store, instance, self.call.as_ref()).await.map_err(Failure::Run)
            }
            Linked::Component(pre) => {
                let instance = pre.instantiate_async(&mut *store).await.map_err(Failure::Start)?;
                vitals.note_first_instruction();
                let concurrent = self.loaded.is_concurrent();
                run_component(store, instance, self.call.as_ref(), concurrent)
                    .await
                    .map_err(Failure::Run)
            }
        }
    }
}

/// Where a run failed.
enum Failure {
    /// In making the instance, or in the code that runs then.
    Start(wasmtime::Error),
    /// In the guest's code.
    Run(wasmtime::Error),
}

async fn run_module(
    store: &mut Store<State>,
    instance: wasmtime::Instance,
    call: Option<&Call>,
) -> wasmtime::Result<Vec<String>> {
    let Some(Call::Module(invocation)) = call else {
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        start.call_async(&mut *store, ()).await?;
        return Ok(Vec::new());
    };
    // A reactor wants to be initialised before anything else of it is called.
    if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize")
        && invocation.function != "_initialize"
    {
        initialize.call_async(&mut *store, ()).await?;
    }
    let function = instance
        .get_func(&mut *store, &invocation.function)
        .ok_or_else(|| wasmtime::Error::msg("the function is gone"))?;
    let types: Vec<_> = function.ty(&*store).params().collect();
    let arguments = invoke::module_arguments(invocation, types.into_iter())?;
    invoke::call_module(store, function, &arguments).await
}

async fn run_component(
    store: &mut Store<State>,
    instance: component::Instance,
    call: Option<&Call>,
    concurrent: bool,
) -> wasmtime::Result<Vec<String>> {
    if let Some(Call::Component(call)) = call {
        let function = instance
            .get_func(&mut *store, call.function)
            .ok_or_else(|| wasmtime::Error::msg("the function is gone"))?;
        return invoke::call_component(store, function, call).await;
    }
    let newer = if concurrent { run_of_wasi_3(store, instance) } else { None };
    let ended = if let Some(run) = newer {
        let (ended,) = run.call_async(&mut *store, ()).await?;
        ended
    } else {
        let command = wasmtime_wasi::p2::bindings::Command::new(&mut *store, &instance)?;
        command.wasi_cli_run().call_run(&mut *store).await?
    };
    ended.map(|()| Vec::new()).map_err(|()| I32Exit(1).into())
}

/// The end of a guest that was refused what it declares, before its first instruction.
fn too_large(vitals: &Vitals) -> Option<Exit> {
    let (wanted, limit) = (vitals.meter.last_refusal()?, vitals.meter.limit()?);
    Some(Exit::Denied(format!(
        "it declares so much memory at its start that it would have {wanted} in total; its limit \
         is {limit}"
    )))
}

/// The start of WASI 0.3, where the component has it.
///
/// Not by the engine's bindings for it: their calls wait for ever where nothing can happen any
/// more, because the host might still call something else. We never do, and want the deadlock told.
fn run_of_wasi_3(
    store: &mut Store<State>,
    instance: component::Instance,
) -> Option<component::TypedFunc<(), (Result<(), ()>,)>> {
    let interface = format!("wasi:cli/run@{WASI_3}");
    let interface = instance.get_export_index(&mut *store, None, &interface)?;
    let run = instance.get_export_index(&mut *store, Some(&interface), "run")?;
    instance.get_typed_func(&mut *store, run).ok()
}

/// What it means when no instance could be made.
fn start_failure(error: &wasmtime::Error, vitals: &Vitals) -> Result<Exit, LaunchError> {
    if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
        return Err(LaunchError::Exhausted {
            reason: format!("{error:#}; give the runtime a larger `sandboxes_max`"),
        });
    }
    let guest_ran = error.downcast_ref::<wasmtime::Trap>().is_some()
        || error.downcast_ref::<I32Exit>().is_some()
        || error.downcast_ref::<super::vitals::Ordered>().is_some()
        // The host ended it while code of its own ran: `start`, or what a component begins with.
        || error.downcast_ref::<wasmtime::WasmBacktrace>().is_some();
    if guest_ran {
        return Ok(exit_of(error, vitals));
    }
    if let Some(exit) = too_large(vitals) {
        return Ok(exit);
    }
    let text = format!("{error:#}");
    if machine::is_lack_of_memory(&text) {
        let bound = machine::memory_bound().map_or_else(String::new, |bound| format!(" ({bound})"));
        let reason = printable(&bounded(format!("{text}{bound}")));
        return Err(LaunchError::Exhausted { reason });
    }
    Ok(Exit::Denied(printable(&bounded(text))))
}
