//! Worlds: what a guest may import, what it exports to be run by, and what it lacks.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use wasmtime::Engine;
use wasmtime::ExternType;
use wasmtime::component;
use wasmtime::component::Resource;
use wasmtime::component::ResourceType;
use wasmtime::component::types::ComponentItem;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::preopens as preopens2;
use wasmtime_wasi::p2::bindings::filesystem::types as fs2;
use wasmtime_wasi::p3::bindings::filesystem::preopens as preopens3;
use wasmtime_wasi::p3::bindings::filesystem::types as fs3;

use crate::capabilities::Denial;
use crate::capabilities::Refusal;
use crate::engine::Code;
use crate::engine::Form;
use crate::engine::Known;

use super::end::printable;
use super::guest::LaunchError;
use super::interrupt;
use super::missing;
use super::missing::Imports;
use super::state::Answer;
use super::state::State;

/// Machine code in a process that can run it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) engine: Engine,
    pub(super) code: Code,
    known: Known,
    /// Where the guest's work is counted, the ticks at which it gives way.
    ticks: Option<Arc<AtomicU64>>,
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
        Self { engine, code, known: *known, ticks, linked: OnceLock::new() }
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
                let mut linker = wasmtime::Linker::new(&self.engine);
                wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(
                    &mut linker,
                    State::preview1,
                )
                .map_err(LaunchError::engine)?;
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
                .map(|export| printable(export.name()))
                .collect(),
            Code::Component(component) => component
                .component_type()
                .exports(&self.engine)
                .map(|(name, _)| printable(name))
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
                component.component_type().exports(&self.engine).any(|(name, item)| {
                    name.starts_with("wasi:cli/run@")
                        && matches!(item.ty, ComponentItem::ComponentInstance(_))
                })
            }
        };
        if runnable {
            return Ok(());
        }
        let exports = self.exported_functions();
        let serves = exports.iter().any(|name| {
            name.starts_with("wasi:http/incoming-handler@")
                || name.starts_with("wasi:http/handler@")
        });
        let start = if self.is_component() { "wasi:cli/run" } else { "_start" };
        let reason = if serves {
            "it serves `wasi:http`, which comes with `-p`: that is not built yet".to_owned()
        } else if exports.is_empty() {
            format!("it exports no `{start}`, and no function at all")
        } else {
            let some = exports.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("`, `");
            format!("it exports no `{start}`; call one of its functions with `--invoke`: `{some}`")
        };
        Err(LaunchError::NotRunnable { reason })
    }
}

type Opened2 = (Result<Resource<Descriptor>, fs2::ErrorCode>,);
type Opened3 = (Result<Resource<Descriptor>, fs3::ErrorCode>,);

/// Provides WASI 0.2, and 0.3 where the guest is concurrent, with our counts around files.
fn link_component(linker: &mut component::Linker<State>, concurrent: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    if concurrent {
        wasmtime_wasi::p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(true);
    count_files_2(linker)?;
    if concurrent {
        count_files_3(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// The version of WASI 0.2 that the engine's crate provides: what is shadowed needs its full name.
const WASI_2: &str = "0.2.12";

/// The same of WASI 0.3.
const WASI_3: &str = "0.3.0";

fn count_files_2(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    linker.instance(&format!("wasi:filesystem/preopens@{WASI_2}"))?.func_wrap(
        "get-directories",
        |mut store: wasmtime::StoreContextMut<'_, State>, (): ()| {
            let mut view = store.data_mut().filesystem();
            let directories = preopens2::Host::get_directories(&mut view)?;
            store.data_mut().remember_preopens(&directories);
            Ok((directories,))
        },
    )?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{WASI_2}"))?;
    types.resource(
        "descriptor",
        ResourceType::host::<Descriptor>(),
        |mut store: wasmtime::StoreContextMut<'_, State>, rep| {
            store.data_mut().close_descriptor(rep)
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: wasmtime::StoreContextMut<'_, State>,
         (base, flags, path, open, mode): (
            Resource<Descriptor>,
            fs2::PathFlags,
            String,
            fs2::OpenFlags,
            fs2::DescriptorFlags,
        )| {
            Box::new(async move {
                if let Some(refused) = store.data_mut().refuse_open(&path) {
                    return Ok((Err(refused.into()),));
                }
                let rep = base.rep();
                let write = open.intersects(fs2::OpenFlags::CREATE | fs2::OpenFlags::TRUNCATE)
                    || mode.contains(fs2::DescriptorFlags::WRITE);
                let mut view = store.data_mut().filesystem();
                let opened =
                    fs2::HostDescriptor::open_at(&mut view, base, flags, path.clone(), open, mode)
                        .await;
                let answer: Opened2 = match opened {
                    Ok(descriptor) => (Ok(descriptor),),
                    Err(error) => (Err(error.downcast()?),),
                };
                if let Err(code) = &answer.0 {
                    let judged = match code {
                        fs2::ErrorCode::NoEntry => Answer::NoEntry,
                        fs2::ErrorCode::NotPermitted | fs2::ErrorCode::ReadOnly => {
                            Answer::NotPermitted
                        }
                        _ => Answer::Other,
                    };
                    store.data_mut().opening_failed(rep, &path, write, judged);
                }
                Ok(answer)
            })
        },
    )
}

fn count_files_3(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    linker.instance(&format!("wasi:filesystem/preopens@{WASI_3}"))?.func_wrap(
        "get-directories",
        |mut store: wasmtime::StoreContextMut<'_, State>, (): ()| {
            let mut view = store.data_mut().filesystem();
            let directories = preopens3::Host::get_directories(&mut view)?;
            store.data_mut().remember_preopens(&directories);
            Ok((directories,))
        },
    )?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{WASI_3}"))?;
    types.resource(
        "descriptor",
        ResourceType::host::<Descriptor>(),
        |mut store: wasmtime::StoreContextMut<'_, State>, rep| {
            store.data_mut().close_descriptor(rep)
        },
    )?;
    types.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |accessor: &component::Accessor<State>,
         (base, flags, path, open, mode): (
            Resource<Descriptor>,
            fs3::PathFlags,
            String,
            fs3::OpenFlags,
            fs3::DescriptorFlags,
        )| {
            Box::pin(async move {
                let refused = accessor.with(|mut access| access.data_mut().refuse_open(&path));
                if let Some(refused) = refused {
                    return Ok((Err(refused.into()),));
                }
                let rep = base.rep();
                let write = open.intersects(fs3::OpenFlags::CREATE | fs3::OpenFlags::TRUNCATE)
                    || mode.contains(fs3::DescriptorFlags::WRITE);
                let files = accessor.with_getter::<WasiFilesystem>(State::filesystem);
                let opened = <WasiFilesystem as fs3::HostDescriptorWithStore<State>>::open_at(
                    &files,
                    base,
                    flags,
                    path.clone(),
                    open,
                    mode,
                )
                .await;
                let answer: Opened3 = match opened {
                    Ok(descriptor) => (Ok(descriptor),),
                    Err(error) => (Err(error.downcast()?),),
                };
                if let Err(code) = &answer.0 {
                    let judged = match code {
                        fs3::ErrorCode::NoEntry => Answer::NoEntry,
                        fs3::ErrorCode::NotPermitted | fs3::ErrorCode::ReadOnly => {
                            Answer::NotPermitted
                        }
                        _ => Answer::Other,
                    };
                    accessor.with(|mut access| {
                        access.data_mut().opening_failed(rep, &path, write, judged);
                    });
                }
                Ok(answer)
            })
        },
    )
}

/// A component has as many files open as it may. Neither version of WASI has a word for it.
#[derive(Clone, Copy, Debug)]
struct TooManyFiles;

impl From<TooManyFiles> for fs2::ErrorCode {
    fn from(_: TooManyFiles) -> Self {
        Self::Quota
    }
}

impl From<TooManyFiles> for fs3::ErrorCode {
    fn from(_: TooManyFiles) -> Self {
        Self::Quota
    }
}

impl State {
    fn remember_preopens(&mut self, directories: &[(Resource<Descriptor>, String)]) {
        let known = directories.iter().enumerate().map(|(i, (handle, _))| (handle.rep(), i));
        self.component().known.extend(known);
    }

    fn refuse_open(&mut self, path: &str) -> Option<TooManyFiles> {
        if self.vitals.open_file() {
            return None;
        }
        self.vitals.note_denial(Denial::new(path, Refusal::TooManyFiles));
        Some(TooManyFiles)
    }

    fn opening_failed(&mut self, base: u32, path: &str, write: bool, answer: Answer) {
        self.vitals.close_file();
        self.note_answer(base, path, write, answer);
    }

    fn close_descriptor(&mut self, rep: u32) -> wasmtime::Result<()> {
        if self.component().known.remove(&rep).is_none() {
            self.vitals.close_file();
        }
        self.ctx().table.delete(Resource::<Descriptor>::new_own(rep))?;
        Ok(())
    }
}
