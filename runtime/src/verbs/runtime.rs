//! The runtime: what all sandboxes of a process have in common.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use wasmtime::Engine;

use crate::capabilities::KnownFiles;
use crate::content::Store;
use crate::digest::Digest;
use crate::engine::Cache;
use crate::engine::Form;
use crate::engine::Kind;
use crate::engine::Pool;
use crate::engine::running_engine;
use crate::error::Error;
use crate::limits::STACK_DEFAULT;
use crate::platform::cgroup::Cgroups;
use crate::rootfs::WeakRoot;
use crate::units::Bytes;

use super::launch::Ticker;
use super::room::Room;

/// Prepares wasm and runs it in sandboxes.
///
/// Cheap to clone: all clones are the same runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(super) inner: Arc<Inner>,
}

/// What a runtime is made of.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) settings: RuntimeBuilder,
    /// Opened at once, or when somebody needs it.
    cache: OnceLock<Cache>,
    /// Opened when the first image is asked for.
    pub(super) store: OnceLock<Store>,
    /// The engines that are shared by sandboxes, made when the first one needs them.
    engines: Mutex<HashMap<(Form, Kind, Place), Engine>>,
    pub(super) ticker: Mutex<Option<Ticker>>,
    pub(super) alive: AtomicU32,
    /// How often the ticker has ticked.
    pub(super) ticks: Arc<AtomicU64>,
    pub(super) room: Room,
    pub(super) files: KnownFiles,
    /// What this process may use of control groups, once somebody asked.
    pub(super) cgroups: OnceLock<Arc<Cgroups>>,
    /// The unpacked files that were asked for last, by their key: a run asks for its program's, and
    /// then for them.
    pub(super) root: Mutex<Option<(Digest, WeakRoot)>>,
}

/// Where a guest's memories, tables and stack are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// In a pool, which hands them from guest to guest.
    Pool,
    /// Where there is room: for the only guest of a process, and for one that no pool is made for.
    Anywhere,
}

/// The choices of a [`Runtime`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RuntimeBuilder {
    pub(super) cache: PathBuf,
    pub(super) data: Option<PathBuf>,
    pub(super) program: Option<PathBuf>,
    pub(super) sandboxes_max: u32,
    pub(super) stack: Bytes,
    pub(super) keep_resident: Bytes,
    pub(super) compile_time_max: Duration,
    pub(super) compile_memory_max: Bytes,
    pub(super) cgroup_parent: Option<String>,
}

impl Runtime {
    /// The choices of a runtime that keeps its artifacts in `cache`, a folder of this user's own.
    pub fn builder(cache: impl Into<PathBuf>) -> RuntimeBuilder {
        RuntimeBuilder {
            cache: cache.into(),
            data: None,
            program: None,
            sandboxes_max: 1000,
            stack: STACK_DEFAULT,
            keep_resident: Bytes::kib(256),
            compile_time_max: Duration::from_mins(5),
            compile_memory_max: Bytes::mib(4096),
            cgroup_parent: None,
        }
    }

    /// A runtime that keeps its artifacts in `cache`, with the default choices.
    ///
    /// # Errors
    ///
    /// Fails where the folder cannot be made, or is not this user's alone.
    pub fn open(cache: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::builder(cache).open()
    }

    /// Whether guests can have processes of their own beside this one on this host: it needs a call
    /// that holds a process by a descriptor.
    pub fn has_workers() -> bool {
        crate::platform::child::are_available()
    }

    /// The folder in which artifacts are kept.
    pub fn cache(&self) -> &Path {
        &self.inner.settings.cache
    }

    /// Where artifacts are kept.
    pub(super) fn artifacts(&self) -> Result<&Cache, Error> {
        let Inner { cache, settings, .. } = &*self.inner;
        if let Some(cache) = cache.get() {
            return Ok(cache);
        }
        let opened = Cache::open(&settings.cache).map_err(|source| Error::Open {
            cache: settings.cache.clone(),
            source: source.into(),
        })?;
        Ok(cache.get_or_init(|| opened))
    }

    /// The engine that all sandboxes of this kind share.
    pub(super) fn shared_engine(
        &self,
        form: Form,
        kind: Kind,
        place: Place,
    ) -> wasmtime::Result<Engine> {
        let mut engines = self.inner.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&(form, kind, place)) {
            return Ok(engine.clone());
        }
        let settings = &self.inner.settings;
        let pool =
            Pool { sandboxes: settings.sandboxes_max, keep_resident: settings.keep_resident };
        let pool = (place == Place::Pool).then_some(pool);
        let engine = running_engine(form, kind, settings.stack, pool)?;
        engines.insert((form, kind, place), engine.clone());
        Ok(engine)
    }

    /// All engines that sandboxes share by now.
    pub(super) fn shared_engines(&self) -> Vec<Engine> {
        let engines = self.inner.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.values().cloned().collect()
    }
}

impl RuntimeBuilder {
    /// Keeps images in this folder of this user's own, in `content`: an OCI image layout that
    /// other tools can read. Without such a folder there are no images.
    pub fn data(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Uses this program to compile, and to run guests that have processes of their own, rather than
    /// this process's: an `aril` of the same version, or a program that calls
    /// [`roles`](crate::roles).
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Makes the control groups of workers beneath this one, a path as the top of each hierarchy shows
    /// it. By default they are made beneath the group of this process, or as near as it may.
    pub fn cgroup_parent(mut self, group: impl Into<String>) -> Self {
        self.cgroup_parent = Some(group.into());
        self
    }

    /// Makes room for this many sandboxes at the same moment; 1000 by default. Room costs address
    /// space: 4 GiB each. It is made for guests of an ordinary shape: a memory, a table (a component:
    /// four) and up to 64 modules in a component. One that has more is launched all the same, in a
    /// little more time, and takes no room from the others.
    pub fn sandboxes_max(mut self, count: u32) -> Self {
        self.sandboxes_max = count.max(1);
        self
    }

    /// Gives guests of this runtime that much stack; 1 MiB by default. A spec that asks for
    /// another is refused.
    pub fn stack(mut self, stack: Bytes) -> Self {
        self.stack = stack;
        self
    }

    /// Keeps that much memory of an ended sandbox resident, for the next one in its place; 256 KiB
    /// by default. More makes short guests with large memories faster, and an idle runtime larger.
    pub fn keep_resident(mut self, amount: Bytes) -> Self {
        self.keep_resident = amount;
        self
    }

    /// Bounds compiling in time; five minutes by default.
    pub fn compile_time_max(mut self, limit: Duration) -> Self {
        self.compile_time_max = limit;
        self
    }

    /// Bounds compiling in memory; 4 GiB by default.
    pub fn compile_memory_max(mut self, limit: Bytes) -> Self {
        self.compile_memory_max = limit;
        self
    }

    /// Opens the runtime.
    ///
    /// # Errors
    ///
    /// Fails where the folder for artifacts cannot be made, or is not this user's alone.
    pub fn open(self) -> Result<Runtime, Error> {
        let runtime = self.open_lazily();
        runtime.artifacts()?;
        Ok(runtime)
    }

    /// Opens the runtime, and the folder for artifacts when something is prepared or launched: what
    /// looks at sandboxes and images works also where that folder cannot be used.
    pub fn open_lazily(self) -> Runtime {
        Runtime {
            inner: Arc::new(Inner {
                settings: self,
                cache: OnceLock::new(),
                store: OnceLock::new(),
                engines: Mutex::default(),
                ticker: Mutex::default(),
                alive: AtomicU32::default(),
                ticks: Arc::default(),
                room: Room::new(),
                files: KnownFiles::default(),
                cgroups: OnceLock::new(),
                root: Mutex::default(),
            }),
        }
    }
}
