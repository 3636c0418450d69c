//! From an artifact to a sandbox.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::Instrument as _;
use tracing::Span;

use crate::engine::Interruption;
use crate::engine::Kind;
use crate::engine::POOL_TABLE_ELEMENTS_MAX;
use crate::error::Error;
use crate::limits::Limit;
use crate::limits::Limits;
use crate::platform::cgroup::Cgroups;
use crate::platform::groups::Controller;
use crate::process;
use crate::process::Need;
use crate::process::Wall;
use crate::sandbox;
use crate::sandbox::Isolation;
use crate::sandbox::LaunchError;
use crate::sandbox::Loaded;
use crate::sandbox::Sandbox;
use crate::sandbox::SandboxSpec;

use super::prepare::Artifact;
use super::runtime::Inner;
use super::runtime::Place;
use super::runtime::Runtime;
use super::spans;

/// How often guests are interrupted. It bounds how late a limit on time is held, and how long one
/// guest keeps a thread from the others.
const TICK: Duration = Duration::from_millis(1);

/// The kind of machine code for a guest that shares its process. What counts its work would itself
/// use fuel, so that with fuel it is epochs that interrupt.
pub(super) fn kind_for(fuel: bool) -> Kind {
    let interruption = if fuel { Interruption::Epochs } else { Interruption::Counted };
    Kind { interruption, fuel }
}

/// Where a guest with these limits can have all that they allow.
fn place_for(limits: &Limits) -> Place {
    match limits.table_elements {
        Limit::Of(count) if POOL_TABLE_ELEMENTS_MAX < count => Place::Anywhere,
        Limit::Unlimited => Place::Anywhere,
        _ => Place::Pool,
    }
}

/// Refuses walls that are required around a guest that shares its process.
fn refuse_walls(spec: &SandboxSpec) -> Result<(), LaunchError> {
    let mut walls = Wall::ALL.into_iter();
    let required = walls.find(|wall| spec.walls.need(*wall) == Need::Required);
    let what = match required {
        Some(wall) => format!("the wall `{wall}` is required"),
        None if spec.requires_group => "a control group is required".to_owned(),
        None => return Ok(()),
    };
    Err(LaunchError::Isolation {
        reason: format!(
            "{what}, and a guest that shares its process has none; launch it as \
             `Isolation::Process`"
        ),
    })
}

/// Advances the epochs of the shared engines while sandboxes are alive, and sleeps otherwise.
#[derive(Debug)]
pub(super) struct Ticker {
    thread: JoinHandle<()>,
}

/// One sandbox that is alive. It keeps the runtime: without its ticker, nothing would interrupt a
/// guest that its owner outlived.
struct Alive(Arc<Inner>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Relaxed);
    }
}

impl Runtime {
    /// Launches a guest in a sandbox that shares this process with others, or has a process of its
    /// own beside it, as the spec says. It is run, or kept, by the tokio runtime of the caller, which
    /// must have time enabled, and I/O for a process of its own. The first millisecond of a guest
    /// that shares this process runs on the calling task: one that needs no more has ended when this
    /// returns.
    ///
    /// # Errors
    ///
    /// Fails where the guest cannot be run, a limit or a grant cannot be held, or there is no room
    /// for another sandbox. What the guest itself is refused at its start is its
    /// [`Exit`](crate::Exit), not an error.
    pub async fn launch(&self, artifact: &Artifact, spec: SandboxSpec) -> Result<Sandbox, Error> {
        self.launch_in(artifact, spec, None).await
    }

    /// The same beside a first one with a process of its own: in that one's control group, where it has
    /// one, and so within its limits, and gone with it. It stands still with the first one; what it is
    /// held to itself, and its own end, are its own.
    ///
    /// # Errors
    ///
    /// Fails as [`launch`](Self::launch) does, and where the first one has as many processes as it may.
    pub async fn launch_beside(
        &self,
        artifact: &Artifact,
        spec: SandboxSpec,
        first: &Sandbox,
    ) -> Result<Sandbox, Error> {
        self.launch_in(artifact, spec.isolation(Isolation::Process), Some(first)).await
    }

    /// Launches a guest; where there is a first one, in that one's control group, which ends with it.
    pub(super) async fn launch_in(
        &self,
        artifact: &Artifact,
        spec: SandboxSpec,
        first: Option<&Sandbox>,
    ) -> Result<Sandbox, Error> {
        let span = spans::guest(artifact, &spec);
        let launching = spans::launch(&span);
        let launched = self.launch_told(artifact, spec, first).instrument(span.clone()).await;
        drop(launching);
        spans::noted(&span, launched)
    }

    async fn launch_told(
        &self,
        artifact: &Artifact,
        spec: SandboxSpec,
        first: Option<&Sandbox>,
    ) -> Result<Sandbox, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        if spec.isolation == Isolation::Process {
            return self.launch_apart(artifact, &spec, first).await;
        }
        refuse_walls(&spec).map_err(failed)?;
        spec.limits.need_no_group().map_err(|error| failed(error.into()))?;
        sandbox::check_mounts(&spec, false).map_err(failed)?;
        if let Limit::Of(stack) = spec.limits.stack
            && stack != self.inner.settings.stack
        {
            return Err(failed(LaunchError::Limit(crate::limits::LimitError::NoRung {
                name: "stack",
                missing: format!(
                    "sandboxes that share a process have the stack of their runtime, {}; choose \
                     it with `RuntimeBuilder::stack`",
                    self.inner.settings.stack
                ),
            })));
        }
        self.check_grants(&spec).map_err(failed)?;
        let kind = kind_for(spec.limits.fuel.is_asked());
        Span::current().record("kind", kind.word());
        let place = place_for(&spec.limits);
        let loaded = match artifact.loaded(kind, place) {
            Some(loaded) => loaded,
            None => self.load_aside(artifact, kind, place).await?,
        };
        self.inner.room.check(self.alive()).map_err(failed)?;
        self.inner.alive.fetch_add(1, Relaxed);
        let alive = Alive(Arc::clone(&self.inner));
        self.tick().map_err(failed)?;
        let files = self.inner.files.get(&spec.capabilities, self.artifacts()?.empty());
        let files = files.map_err(|error| failed(error.into()))?;
        sandbox::launch(&loaded, &spec, files, Box::new(alive)).map_err(failed)
    }

    /// Launches a guest in a process of its own beside this one.
    async fn launch_apart(
        &self,
        artifact: &Artifact,
        spec: &SandboxSpec,
        first: Option<&Sandbox>,
    ) -> Result<Sandbox, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        // What cannot be is refused before anything is started.
        spec.limits.amounts(spec.captures()).map_err(|error| failed(error.into()))?;
        self.check_grants(spec).map_err(failed)?;
        let kind = self.kind_apart(&spec.limits);
        Span::current().record("kind", kind.word());
        match self.launch_worker(artifact, (spec, first), kind).await? {
            // Made by another build, or broken where its footer cannot tell: once more.
            Err(LaunchError::Stale { .. }) => {
                self.artifacts()?.forget(&artifact.inner.known, kind);
                self.launch_worker(artifact, (spec, first), kind).await?.map_err(failed)
            }
            launched => launched.map_err(failed),
        }
    }

    /// The kind of machine code for a guest with these limits in a process of its own beside this
    /// one: where a control group holds its share of processors, its code need not.
    pub(super) fn kind_apart(&self, limits: &Limits) -> Kind {
        let kind = super::occupy::kind_for(limits);
        let needs = kind.interruption != Interruption::None;
        if needs && self.cgroups().can(Controller::Cpu).is_ok() {
            return Kind { interruption: Interruption::None, ..kind };
        }
        kind
    }

    /// What this process may use of control groups.
    pub(super) fn cgroups(&self) -> &Arc<Cgroups> {
        let parent = self.inner.settings.cgroup_parent.as_deref();
        self.inner.cgroups.get_or_init(|| Arc::new(Cgroups::find(parent)))
    }

    async fn launch_worker(
        &self,
        artifact: &Artifact,
        (spec, first): (&SandboxSpec, Option<&Sandbox>),
        kind: Kind,
    ) -> Result<Result<Sandbox, LaunchError>, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        let program = process::program(self.inner.settings.program.as_deref());
        let program = program.ok_or_else(|| {
            failed(LaunchError::Isolation {
                reason: "there is no program to run it in: call `aril::roles()` first in `main`, \
                         or name an installed `aril` with `RuntimeBuilder::program`"
                    .to_owned(),
            })
        })?;
        let program = program.map_err(|error| {
            failed(LaunchError::Isolation { reason: format!("this program is not there: {error}") })
        })?;
        let code = if let Some(code) = self.found(artifact, kind) {
            code
        } else {
            let (runtime, artifact) = (self.clone(), artifact.clone());
            let compiling = tokio::task::spawn_blocking(move || runtime.code_of(&artifact, kind));
            match compiling.await {
                Ok(code) => code?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        };
        // One that waits is a copy of this program.
        let is_ours = self.inner.settings.program.is_none();
        let place = sandbox::Place {
            program,
            spare: is_ours.then(process::take_spare).flatten(),
            artifact: code.file(),
            known: artifact.inner.known,
            kind,
            empty: self.artifacts()?.empty(),
            cgroups: self.cgroups(),
            beside: first,
        };
        // What is granted stays held here as well: volumes that somebody uses are not removed.
        let lease = Box::new(spec.capabilities.directories.clone());
        Ok(sandbox::launch_apart(place, spec, lease).await)
    }

    /// Refuses grants that would let a guest write machine code, or other images.
    pub(super) fn check_grants(&self, spec: &SandboxSpec) -> Result<(), LaunchError> {
        let mut directories = spec.capabilities.directories.iter();
        let data = self.inner.settings.data.as_deref();
        directories.try_for_each(|directory| directory.check_beside(self.cache(), data))?;
        let mut files = spec.capabilities.files.iter();
        Ok(files.try_for_each(|file| file.check_beside(self.cache(), data))?)
    }

    /// Loads machine code for sandboxes that share this process, where that may take a while.
    async fn load_aside(
        &self,
        artifact: &Artifact,
        kind: Kind,
        place: Place,
    ) -> Result<Arc<Loaded>, Error> {
        let (runtime, artifact) = (self.clone(), artifact.clone());
        let form = artifact.inner.known.form;
        let loading = tokio::task::spawn_blocking(move || {
            runtime
                .load_artifact(&artifact, kind, place, |at| runtime.shared_engine(form, kind, at))
        });
        match loading.await {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// How many sandboxes of this runtime are alive.
    pub fn alive(&self) -> u32 {
        self.inner.alive.load(Relaxed)
    }

    /// Sees to it that somebody advances the epochs: without that, no limit on time would hold.
    fn tick(&self) -> Result<(), LaunchError> {
        let mut ticker = self.inner.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticker) = &*ticker {
            ticker.thread.thread().unpark();
            return Ok(());
        }
        let runtime = Arc::downgrade(&self.inner);
        let thread = std::thread::Builder::new().name("aril-ticker".to_owned()).spawn(move || {
            while let Some(inner) = runtime.upgrade() {
                let runtime = Self { inner };
                if runtime.alive() == 0 {
                    drop(runtime);
                    std::thread::park_timeout(IDLE);
                    continue;
                }
                runtime.inner.ticks.fetch_add(1, Relaxed);
                for engine in runtime.shared_engines() {
                    engine.increment_epoch();
                }
                drop(runtime);
                std::thread::sleep(TICK);
            }
        });
        // The next launch tries again.
        let thread = thread.map_err(|error| LaunchError::Exhausted {
            reason: format!("the thread that interrupts guests cannot be started: {error}"),
        })?;
        *ticker = Some(Ticker { thread });
        Ok(())
    }
}

/// How often an idle ticker looks whether its runtime is still there.
const IDLE: Duration = Duration::from_secs(1);
