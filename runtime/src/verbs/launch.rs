//! From an artifact to a sandbox that shares this process.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::Interruption;
use crate::engine::Kind;
use crate::engine::POOL_TABLE_ELEMENTS_MAX;
use crate::error::Error;
use crate::limits::Limit;
use crate::limits::Limits;
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
    /// Launches a guest in a sandbox that shares this process with others. It runs on the tokio
    /// runtime of the caller, which must have time enabled. The guest's first millisecond runs on
    /// the calling task: one that needs no more has ended when this returns.
    ///
    /// # Errors
    ///
    /// Fails where the guest cannot be run, a limit or a grant cannot be held, or there is no room
    /// for another sandbox. What the guest itself is refused at its start is its
    /// [`Exit`](crate::Exit), not an error.
    pub async fn launch(&self, artifact: &Artifact, spec: SandboxSpec) -> Result<Sandbox, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        if spec.isolation == Isolation::Process {
            return Err(failed(LaunchError::Isolation {
                reason:
                    "a process of its own beside this one is not built yet; run `aril run`, or \
                         launch it as `Isolation::Shared`"
                        .to_owned(),
            }));
        }
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
        let place = place_for(&spec.limits);
        let loaded = match artifact.loaded(kind, place) {
            Some(loaded) => loaded,
            None => self.load_aside(artifact, kind, place).await?,
        };
        self.inner.room.check(self.alive()).map_err(failed)?;
        self.inner.alive.fetch_add(1, Relaxed);
        let alive = Alive(Arc::clone(&self.inner));
        self.tick().map_err(failed)?;
        let files = self.inner.files.get(&spec.capabilities, self.inner.cache.empty());
        let files = files.map_err(|error| failed(error.into()))?;
        sandbox::launch(&loaded, &spec, files, Box::new(alive)).map_err(failed)
    }

    /// Refuses grants that would let a guest write machine code, or other images.
    pub(super) fn check_grants(&self, spec: &SandboxSpec) -> Result<(), LaunchError> {
        let mut directories = spec.capabilities.directories.iter();
        let data = self.inner.settings.data.as_deref();
        Ok(directories.try_for_each(|directory| directory.check_beside(self.cache(), data))?)
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
