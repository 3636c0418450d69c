//! The files of components: the engine's answers, counted, and judged where they refuse a path.

use std::path::Path;

use wasmtime::StoreContextMut;
use wasmtime::component;
use wasmtime::component::Accessor;
use wasmtime::component::Resource;
use wasmtime::component::ResourceType;
use wasmtime_wasi::TrappableError;
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
use crate::platform::files;

use super::linking::WASI_2;
use super::linking::WASI_3;
use super::refusal::Answer;
use super::state::PATH_SIZE_MAX;
use super::state::State;
use super::state::names_max;

type Linker = component::Linker<State>;

/// The calls on paths of both versions, but for the one that opens: whether it writes, its name,
/// and from where which of its paths lead.
macro_rules! calls_on_paths {
    ($judge:ident, $linker:ident, $wasi:ident) => {
        $judge! { $linker;
            true "create-directory-at" create_directory_at(this: Resource<Descriptor>, path: String) => this, path;
            false "stat-at" stat_at(this: Resource<Descriptor>, flags: $wasi::PathFlags, path: String) => this, path;
            false "metadata-hash-at" metadata_hash_at(this: Resource<Descriptor>, flags: $wasi::PathFlags, path: String) => this, path;
            true "set-times-at" set_times_at(this: Resource<Descriptor>, flags: $wasi::PathFlags, path: String, accessed: $wasi::NewTimestamp, modified: $wasi::NewTimestamp) => this, path;
            true "link-at" link_at(this: Resource<Descriptor>, flags: $wasi::PathFlags, path: String, there: Resource<Descriptor>, new_path: String) => this, path, there, new_path;
            false "readlink-at" readlink_at(this: Resource<Descriptor>, path: String) => this, path;
            true "remove-directory-at" remove_directory_at(this: Resource<Descriptor>, path: String) => this, path;
            true "rename-at" rename_at(this: Resource<Descriptor>, path: String, there: Resource<Descriptor>, new_path: String) => this, path, there, new_path;
            true "symlink-at" symlink_at(this: Resource<Descriptor>, target: String, path: String) => this, path, this, target;
            true "unlink-file-at" unlink_file_at(this: Resource<Descriptor>, path: String) => this, path;
        }
    };
}

/// Shadows calls of WASI 0.2 with the engine's own, judged.
macro_rules! judge_calls_2 {
    ($linker:ident; $($write:literal $name:literal $method:ident($($arg:ident: $ty:ty),*) => $($base:ident, $path:ident),+;)*) => {$(
        $linker.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut store: StoreContextMut<'_, State>, ($($arg),*): ($($ty),*)| {
                Box::new(async move {
                    if [$($path.as_str()),+].into_iter().any(is_too_long) {
                        return Ok((Err(fs2::ErrorCode::NameTooLong),));
                    }
                    let paths = [$(($base.rep(), $path.clone())),+];
                    let mut view = store.data_mut().filesystem();
                    let result = fs2::HostDescriptor::$method(&mut view, $($arg),*).await;
                    store.data_mut().judged(&paths, $write, result)
                })
            },
        )?;
    )*};
}

/// The same of WASI 0.3, whose calls may be under way at the same time.
macro_rules! judge_calls_3 {
    ($linker:ident; $($write:literal $name:literal $method:ident($($arg:ident: $ty:ty),*) => $($base:ident, $path:ident),+;)*) => {$(
        $linker.func_wrap_concurrent(
            concat!("[method]descriptor.", $name),
            |accessor: &Accessor<State>, ($($arg),*): ($($ty),*)| {
                Box::pin(async move {
                    if [$($path.as_str()),+].into_iter().any(is_too_long) {
                        return Ok((Err(fs3::ErrorCode::NameTooLong),));
                    }
                    let paths = [$(($base.rep(), $path.clone())),+];
                    let files = accessor.with_getter::<WasiFilesystem>(State::filesystem);
                    let result =
                        <WasiFilesystem as fs3::HostDescriptorWithStore<State>>::$method(&files, $($arg),*).await;
                    accessor.with(|mut access| access.data_mut().judged(&paths, $write, result))
                })
            },
        )?;
    )*};
}

/// Whether a path is longer than any system takes.
fn is_too_long(path: &str) -> bool {
    PATH_SIZE_MAX < path.len()
}

/// Puts our counts and judgements around the files of WASI 0.2.
pub(super) fn judge_2(linker: &mut Linker) -> wasmtime::Result<()> {
    linker.instance(&format!("wasi:filesystem/preopens@{WASI_2}"))?.func_wrap(
        "get-directories",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            let mut view = store.data_mut().filesystem();
            let directories = preopens2::Host::get_directories(&mut view)?;
            store.data_mut().remember_preopens(&directories);
            Ok((directories,))
        },
    )?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{WASI_2}"))?;
    count_closed(&mut types)?;
    calls_on_paths!(judge_calls_2, types, fs2);
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, State>, (this,): (Resource<Descriptor>,)| {
            Box::new(async move {
                let state = store.data_mut();
                let most = names_max(state.vitals.meter.left());
                let names = match state.ctx().table.get(&this)? {
                    Descriptor::Dir(directory) => {
                        let place = Path::new("");
                        files::count_names(&directory.dir, place, most + 1).unwrap_or(0)
                    }
                    Descriptor::File(_) => 0,
                };
                if most < names {
                    return Ok((Err(fs2::ErrorCode::InsufficientMemory),));
                }
                let mut view = state.filesystem();
                let result = fs2::HostDescriptor::read_directory(&mut view, this).await;
                match result {
                    Ok(stream) => Ok((Ok(stream),)),
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>,
         (this, flags, path, open, mode): (
            Resource<Descriptor>,
            fs2::PathFlags,
            String,
            fs2::OpenFlags,
            fs2::DescriptorFlags,
        )| {
            Box::new(async move {
                if is_too_long(&path) {
                    return Ok((Err(fs2::ErrorCode::NameTooLong),));
                }
                if let Some(refused) = store.data_mut().refuse_open(this.rep(), &path) {
                    return Ok((Err(refused.into()),));
                }
                let write = open.intersects(fs2::OpenFlags::CREATE | fs2::OpenFlags::TRUNCATE)
                    || mode.contains(fs2::DescriptorFlags::WRITE);
                let from = (this.rep(), path.clone());
                let mut view = store.data_mut().filesystem();
                let result =
                    fs2::HostDescriptor::open_at(&mut view, this, flags, path, open, mode).await;
                store.data_mut().opened(from, write, result)
            })
        },
    )
}

/// The same of WASI 0.3.
pub(super) fn judge_3(linker: &mut Linker) -> wasmtime::Result<()> {
    linker.instance(&format!("wasi:filesystem/preopens@{WASI_3}"))?.func_wrap(
        "get-directories",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            let mut view = store.data_mut().filesystem();
            let directories = preopens3::Host::get_directories(&mut view)?;
            store.data_mut().remember_preopens(&directories);
            Ok((directories,))
        },
    )?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{WASI_3}"))?;
    count_closed(&mut types)?;
    calls_on_paths!(judge_calls_3, types, fs3);
    types.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |accessor: &Accessor<State>,
         (this, flags, path, open, mode): (
            Resource<Descriptor>,
            fs3::PathFlags,
            String,
            fs3::OpenFlags,
            fs3::DescriptorFlags,
        )| {
            Box::pin(async move {
                if is_too_long(&path) {
                    return Ok((Err(fs3::ErrorCode::NameTooLong),));
                }
                let refused =
                    accessor.with(|mut access| access.data_mut().refuse_open(this.rep(), &path));
                if let Some(refused) = refused {
                    return Ok((Err(refused.into()),));
                }
                let write = open.intersects(fs3::OpenFlags::CREATE | fs3::OpenFlags::TRUNCATE)
                    || mode.contains(fs3::DescriptorFlags::WRITE);
                let from = (this.rep(), path.clone());
                let files = accessor.with_getter::<WasiFilesystem>(State::filesystem);
                let result = <WasiFilesystem as fs3::HostDescriptorWithStore<State>>::open_at(
                    &files, this, flags, path, open, mode,
                )
                .await;
                accessor.with(|mut access| access.data_mut().opened(from, write, result))
            })
        },
    )
}

fn count_closed(types: &mut component::LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.resource(
        "descriptor",
        ResourceType::host::<Descriptor>(),
        |mut store: StoreContextMut<'_, State>, rep| store.data_mut().close_descriptor(rep),
    )
}

/// How a version of WASI says that a call failed.
trait Failure: std::error::Error + Send + Sync + 'static {
    fn answer(&self) -> Answer;

    /// What the engine says where it refuses to write itself.
    fn not_permitted() -> Self;
}

/// A component has as many files open as it may. Neither version of WASI has a word for it.
#[derive(Clone, Copy, Debug)]
struct TooManyFiles;

macro_rules! failures {
    ($($wasi:ident)*) => {$(
        impl Failure for $wasi::ErrorCode {
            fn answer(&self) -> Answer {
                match self {
                    Self::NoEntry => Answer::NoEntry,
                    Self::NotPermitted | Self::ReadOnly => Answer::NotPermitted,
                    Self::Io => Answer::Io,
                    _ => Answer::Other,
                }
            }

            fn not_permitted() -> Self {
                Self::NotPermitted
            }
        }

        impl From<TooManyFiles> for $wasi::ErrorCode {
            fn from(_: TooManyFiles) -> Self {
                Self::Quota
            }
        }
    )*};
}

failures!(fs2 fs3);

/// What a call returns to the guest.
type Told<T, F> = (Result<T, F>,);

impl State {
    fn remember_preopens(&mut self, directories: &[(Resource<Descriptor>, String)]) {
        let places = &mut self.component().places;
        for (grant, (descriptor, _)) in directories.iter().enumerate() {
            places.give(descriptor.rep(), Some(grant));
        }
    }

    fn refuse_open(&mut self, base: u32, path: &str) -> Option<TooManyFiles> {
        if self.vitals.open_file() {
            return None;
        }
        let path = self.component().places.whole(base, path);
        self.vitals.note_denial(Denial::new(&path, Refusal::TooManyFiles));
        Some(TooManyFiles)
    }

    /// Passes on what came of opening a path, with what is counted and remembered of it.
    fn opened<F: Failure>(
        &mut self,
        from: (u32, String),
        write: bool,
        result: Result<Resource<Descriptor>, TrappableError<F>>,
    ) -> wasmtime::Result<Told<Resource<Descriptor>, F>> {
        match &result {
            Ok(opened) => self.component().places.note_opened(opened.rep(), from.0, &from.1),
            Err(_) => self.vitals.close_file(),
        }
        self.judged(&[from], write, result)
    }

    /// Passes a result on, and notes where it refused something. Of several paths, the first that
    /// was refused is told.
    fn judged<T, F: Failure>(
        &mut self,
        paths: &[(u32, String)],
        write: bool,
        result: Result<T, TrappableError<F>>,
    ) -> wasmtime::Result<Told<T, F>> {
        let failure = match result {
            Ok(value) => return Ok((Ok(value),)),
            Err(error) => error.downcast()?,
        };
        let (places, answer) = (&self.component().places, failure.answer());
        let denial =
            paths.iter().find_map(|(base, path)| places.refusal(*base, path, write, answer));
        let is_denied = denial.is_some();
        if let Some(denial) = denial {
            self.vitals.note_denial(denial);
        }
        // Whoever refused it, the guest is told the same.
        Ok((Err(if is_denied && answer == Answer::Io { F::not_permitted() } else { failure }),))
    }

    fn close_descriptor(&mut self, rep: u32) -> wasmtime::Result<()> {
        if self.component().places.note_closed(rep) {
            self.vitals.close_file();
        }
        self.ctx().table.delete(Resource::<Descriptor>::new_own(rep))?;
        Ok(())
    }
}
