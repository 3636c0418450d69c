//! Worlds: what a guest may import, what it exports to be run by, and what it lacks.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use wasmtime::Engine;
use wasmtime::ExternType;
use wasmtime::Linker;
use wasmtime::component;
use wasmtime::component::types::ComponentItem;

use crate::engine::Code;
use crate::engine::Form;
use crate::engine::Known;

use super::end::bounded;
use super::end::printable;
use super::filesystem;
use super::guest::LaunchError;
use super::interrupt;
use super::missing;
use super::missing::Imports;
use super::output;
use super::state::State;

/// Machine code in a process that can run it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) engine: Engine,
    pub(super) code: Code,
    known: Known,
    /// Where the guest's work is counted, the ticks at which it gives way.
    ticks: Option<Arc<AtomicU64>>,
    /// What modules are provided with, where somebody made it beforehand.
    provided: Option<Linker<State>>,
    linked: OnceLock<Result<Linked, LaunchError>>,
}

/// Machine code whose imports were all found.
#[derive(Clone)]
pub(super) enum Linked {
    Module(wasmtime::InstancePre<State>),
    Component(component::InstancePre<State>),
}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linked").finish_non_exhaustive()
    }
}

impl Loaded {
    pub(crate) fn new(
        engine: Engine,
        code: Code,
        known: &Known,
        ticks: Option<Arc<AtomicU64>>,
    ) -> Self {
        Self { engine, code, known: *known, ticks, provided: None, linked: OnceLock::new() }
    }

    /// The same, with what [`provided`] made for this engine.
    pub(super) fn with_provided(self, provided: Option<Linker<State>>) -> Self {
        Self { provided, ..self }
    }

    /// What the engine holds for the guest's instances, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.known.held
    }

    /// Whether the code is a component's.
    pub(super) fn is_component(&self) -> bool {
        matches!(self.code, Code::Component(_))
    }

    /// Whether the guest needs the engine's support for concurrency.
    pub(super) fn is_concurrent(&self) -> bool {
        self.known.form == Form::ConcurrentComponent
    }

    /// Finds the guest's imports, once; with `trap_unknown`, those that nobody provides trap when
    /// they are used.
    pub(super) fn linked(&self, trap_unknown: bool) -> Result<Linked, LaunchError> {
        if trap_unknown {
            return self.link(true);
        }
        self.linked.get_or_init(|| self.link(false)).clone()
    }

    fn link(&self, trap_unknown: bool) -> Result<Linked, LaunchError> {
        match &self.code {
            Code::Module(module) => {
                let linker = self.provided.clone().map_or_else(|| provided(&self.engine), Ok);
                let mut linker = linker.map_err(LaunchError::engine)?;
                if let Some(ticks) = &self.ticks {
                    interrupt::link(&mut linker, ticks).map_err(LaunchError::engine)?;
                }
                if trap_unknown {
                    linker.define_unknown_imports_as_traps(module).map_err(LaunchError::engine)?;
                }
                linker
                    .instantiate_pre(module)
                    .map(Linked::Module)
                    .map_err(|error| missing::in_module(&error))
            }
            Code::Component(component) => {
                let mut linker = component::Linker::new(&self.engine);
                let concurrent = self.is_concurrent();
                link_component(&mut linker, concurrent).map_err(LaunchError::engine)?;
                let imports = Imports { engine: &self.engine, component, concurrent };
                if trap_unknown {
                    imports.stand_in(&mut linker).map_err(LaunchError::engine)?;
                }
                linker
                    .instantiate_pre(component)
                    .map(Linked::Component)
                    .map_err(|error| imports.missing(trap_unknown, &error))
            }
        }
    }

    /// The functions that the guest exports, as they can be shown in a sentence.
    pub(super) fn exported_functions(&self) -> Vec<String> {
        match &self.code {
            Code::Module(module) => module
                .exports()
                .filter(|export| matches!(export.ty(), ExternType::Func(_)))
                .map(|export| printable(&bounded(export.name().to_owned())))
                .collect(),
            Code::Component(component) => component
                .component_type()
                .exports(&self.engine)
                .map(|(name, _)| printable(&bounded(name.to_owned())))
                .collect(),
        }
    }

    /// Finds out whether there is a start to run.
    pub(super) fn check_start(&self) -> Result<(), LaunchError> {
        let runnable = match &self.code {
            Code::Module(module) => {
                matches!(module.get_export("_start"), Some(ExternType::Func(ty))
                    if ty.params().len() + ty.results().len() == 0)
            }
            Code::Component(component) => {
                let concurrent = self.is_concurrent();
                component.component_type().exports(&self.engine).any(|(name, item)| {
                    name.starts_with("wasi:cli/run@")
                        && missing::is_provided(name, concurrent)
                        && is_run(&item.ty, &self.engine)
                })
            }
        };
        if runnable {
            return Ok(());
        }
        let exports = self.exported_functions();
        let other = exports.iter().find(|name| name.starts_with("wasi:cli/run@"));
        let serves = exports.iter().any(|name| {
            name.starts_with("wasi:http/incoming-handler@")
                || name.starts_with("wasi:http/handler@")
        });
        let start = if self.is_component() { "wasi:cli/run" } else { "_start" };
        let reason = if serves {
            "it serves `wasi:http`, which comes with `-p`: that is not built yet".to_owned()
        } else if let Some(other) = other {
            format!("it exports `{other}`, which is not the start of a program of WASI 0.2 or 0.3")
        } else if exports.is_empty() {
            format!("it exports no `{start}`, and no function at all")
        } else {
            let some = exports.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("`, `");
            format!("it exports no `{start}`; call one of its functions with `--invoke`: `{some}`")
        };
        Err(LaunchError::NotRunnable { reason })
    }
}

/// What every module of this engine is provided with.
pub(super) fn provided(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(&mut linker, State::preview1)?;
    #[cfg(feature = "hostile")]
    super::hostile::link(&mut linker)?;
    Ok(linker)
}

/// The version of WASI 0.2 that the engine's crate provides: what is shadowed needs its full name.
pub(super) const WASI_2: &str = "0.2.12";

/// The same of WASI 0.3.
pub(super) const WASI_3: &str = "0.3.0";

/// Whether something exported is `wasi:cli/run`, by what it holds.
fn is_run(item: &ComponentItem, engine: &Engine) -> bool {
    let ComponentItem::ComponentInstance(instance) = item else { return false };
    let run = instance.get_export(engine, "run");
    let Some(ComponentItem::ComponentFunc(run)) = run.map(|run| run.ty) else { return false };
    let results: Vec<_> = run.results().collect();
    let [component::Type::Result(result)] = results.as_slice() else { return false };
    run.params().len() == 0 && result.ok().is_none() && result.err().is_none()
}

/// Provides WASI 0.2, and 0.3 where the guest is concurrent, with our counts around it.
fn link_component(linker: &mut component::Linker<State>, concurrent: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    if concurrent {
        wasmtime_wasi::p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(true);
    filesystem::judge_2(linker)?;
    if concurrent {
        filesystem::judge_3(linker)?;
        output::bound_3(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
