//! Containers that are no wasm: an ordinary Linux container of a pod, run by `runc` as containerd's own
//! shim has it run.
//!
//! `runc` makes the container and ends; its first process becomes a child of this one, which has to be a
//! reaper by then ([`be_reaper`]). Each process is held by a descriptor and waited for by that. What is
//! read often (who runs, what is used) is read from the control groups, without another program.

mod error;
mod making;
mod process;
mod runc;
mod streams;
mod usage;

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_spec::runtime::Spec;
use tokio::signal::unix::SignalKind;
use tokio::sync::Mutex;

pub use error::NativeError;
pub use process::Ended;
pub use process::Process;
pub use runc::Runc;
pub use streams::Streams;
pub use usage::Usage;

use crate::bundle;
use crate::platform::places::MemoryWatch;
use crate::platform::places::Places;
use crate::platform::reaper;
use crate::platform::reaper::Adopted;
use making::Making;
use making::Undo;
use process::Kin;
use runc::Call;
use streams::Attached;

/// How long a kill is waited for after memory was said to be out, and between looks.
const MEMORY_KILL_SPAN: Duration = Duration::from_secs(1);
const MEMORY_KILL_PAUSE: Duration = Duration::from_millis(10);

/// Has this process become the parent of the containers that it has made. Before the first one.
///
/// # Errors
///
/// Fails where the kernel does not have it.
pub fn be_reaper() -> io::Result<()> {
    reaper::be_reaper()
}

/// A native container, from its making to its deletion.
#[derive(Debug)]
pub struct Native {
    runc: Runc,
    id: String,
    bundle: PathBuf,
    kin: Arc<Kin>,
    process: Process,
    memory: Option<MemoryWatch>,
    kills_seen: AtomicU64,
    /// Calls that may bring processes that nobody holds yet.
    making: Arc<AtomicUsize>,
    made: AtomicU64,
    is_deleted: Mutex<bool>,
}

impl Native {
    /// Makes the container of a bundle. Its program does not run before [`start`](Self::start).
    ///
    /// Where nobody waits for it any more, it is made all the same, and then removed.
    ///
    /// # Errors
    ///
    /// Fails where the program that makes it is not there, refuses, or takes too long. Nothing of the
    /// container is left then.
    pub async fn create(
        runc: &Runc,
        id: &str,
        bundle: &Path,
        streams: Streams,
    ) -> Result<Self, NativeError> {
        making::check(id)?;
        let (runc, id, bundle) = (runc.clone(), id.to_owned(), bundle.to_owned());
        making::whole(async move { Self::make(&runc, &id, &bundle, streams).await }).await
    }

    async fn make(
        runc: &Runc,
        id: &str,
        bundle: &Path,
        streams: Streams,
    ) -> Result<Self, NativeError> {
        let path = bundle.join("config.json");
        let spec = bundle::read_spec(&path)
            .map_err(|source| NativeError::Bundle { id: id.to_owned(), source })?;
        let bundle = fs::canonicalize(bundle)
            .map_err(|source| NativeError::File { path: bundle.to_owned(), source })?;
        let mut call = Call::new("create", id).flag("--bundle").flag(&bundle);
        call.span = runc::MAKING_SPAN;
        if runc.no_pivot {
            call = call.flag("--no-pivot");
        }
        if runc.no_new_keyring {
            call = call.flag("--no-new-keyring");
        }
        let made = match making::make(runc, call, &bundle, "init", streams).await {
            Ok((adopted, attached)) => Self::of(runc, id, &bundle, &spec, adopted, attached),
            Err(error) => Err(error),
        };
        let error = match made {
            Ok(native) => return Ok(native),
            Err(error) => error,
        };
        // Where the program refused, nothing is left of it; and what stands under the name, or in the
        // group, is somebody else's.
        let is_refused = matches!(
            error,
            NativeError::Missing { .. }
                | NativeError::Refused { .. }
                | NativeError::Gone { .. }
                | NativeError::NotRunning { .. }
        );
        if !is_refused {
            // What went wrong first is told.
            let _left = Self::force_delete(runc, id, &bundle).await;
        }
        Err(making::explained(error, &spec))
    }

    fn of(
        runc: &Runc,
        id: &str,
        bundle: &Path,
        spec: &Spec,
        adopted: Adopted,
        attached: Attached,
    ) -> Result<Self, NativeError> {
        let failed = |source| NativeError::Groups { id: id.to_owned(), done: "read", source };
        let places = Places::of(adopted.pid()).map_err(failed)?;
        // A kernel may have no more watches, or none: it is told at the end then.
        let memory = places.watch_memory().unwrap_or_default();
        let kills_seen = places.memory_kills().unwrap_or_default().into();
        let kin = Arc::new(Kin::of(places));
        let has_own_numbers = making::has_own_numbers(spec);
        let process = Process::begin(id, adopted, attached, Arc::clone(&kin), !has_own_numbers);
        let native = Self {
            runc: runc.clone(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            kin,
            process,
            memory,
            kills_seen,
            making: Arc::default(),
            made: AtomicU64::new(0),
            is_deleted: Mutex::new(false),
        };
        if !has_own_numbers {
            native.reap().map_err(|source| NativeError::NotAdopted {
                id: id.to_owned(),
                pid: native.pid(),
                source,
            })?;
        }
        Ok(native)
    }

    /// Waits for whom its processes leave behind. Where a container has numbers of processes of its own,
    /// its first process does that.
    fn reap(&self) -> io::Result<()> {
        let mut children = tokio::signal::unix::signal(SignalKind::child())?;
        let (kin, making) = (Arc::clone(&self.kin), Arc::clone(&self.making));
        let first = self.pid();
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                // One that is being made is taken for left behind until somebody holds it.
                if making.load(Ordering::SeqCst) == 0 {
                    let known = kin.waited().clone();
                    reaper::reap_left(kin.places.seat(), &[&known[..], &[first]].concat(), &known);
                }
                if Arc::strong_count(&kin) == 1 {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its first process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The number of its first process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until its first process has ended. As many may wait as like.
    pub async fn wait(&self) -> Ended {
        self.process.wait().await
    }

    /// Has its program run.
    ///
    /// # Errors
    ///
    /// Fails where it runs already, or has ended.
    pub async fn start(&self) -> Result<(), NativeError> {
        self.runc.run(Call::new("start", &self.id)).await
    }

    /// Sends a signal to its first process, or to all of its processes.
    ///
    /// # Errors
    ///
    /// Fails where it has ended, or there is no such signal.
    pub async fn kill(&self, signal: i32, all: bool) -> Result<(), NativeError> {
        if self.process.ended().is_some() {
            return Err(self.not_running());
        }
        if all {
            let mut call = Call::new("kill", &self.id).flag("--all");
            call.tail.push(signal.to_string().into());
            self.runc.run(call).await?;
        } else {
            self.process.signal(signal)?;
        }
        if signal == reaper::KILL {
            // In v1 one that is frozen does not die.
            self.kin.places.thaw();
        }
        Ok(())
    }

    /// Runs another process in it, described as in a configuration's `process`.
    ///
    /// Its streams are let go of by [`Process::close`].
    ///
    /// # Errors
    ///
    /// Fails where it does not run, or the process cannot be made.
    pub async fn exec(
        &self,
        exec_id: &str,
        process: &[u8],
        streams: Streams,
    ) -> Result<Process, NativeError> {
        if self.process.ended().is_some() {
            return Err(self.not_running());
        }
        // The name that it was given is the engine's, and may be any.
        let label = format!("exec-{}", self.made.fetch_add(1, Ordering::SeqCst));
        let name = format!("{}/{}", self.id, exec_id);
        let (runc, id, bundle) = (self.runc.clone(), self.id.clone(), self.bundle.clone());
        let (kin, making) = (Arc::clone(&self.kin), Making::begin(&self.making));
        let process = process.to_vec();
        making::whole(async move {
            let _until_it_is_held = making;
            let failed = |source| NativeError::File { path: bundle.clone(), source };
            // Nobody else may read it: there are secrets in its variables.
            let mut file = tempfile::NamedTempFile::new_in(&bundle).map_err(failed)?;
            file.write_all(&process).map_err(failed)?;
            let mut call =
                Call::new("exec", &id).flag("--process").flag(file.path()).flag("--detach");
            call.span = runc::MAKING_SPAN;
            let made = making::make(&runc, call, &bundle, &label, streams).await;
            // It is known by the process alone.
            let _gone = fs::remove_file(bundle.join(format!("{label}.pid")));
            let (adopted, attached) = made?;
            Ok(Process::begin(&name, adopted, attached, kin, false))
        })
        .await
    }

    /// The numbers of its processes.
    ///
    /// # Errors
    ///
    /// Fails where it has ended, or its groups cannot be seen from here.
    pub fn pids(&self) -> Result<Vec<u32>, NativeError> {
        Ok(self.places()?.processes())
    }

    /// Freezes it.
    ///
    /// # Errors
    ///
    /// Fails where it does not run.
    pub async fn pause(&self) -> Result<(), NativeError> {
        self.runc.run(Call::new("pause", &self.id)).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// Fails where it is not frozen.
    pub async fn resume(&self) -> Result<(), NativeError> {
        self.runc.run(Call::new("resume", &self.id)).await
    }

    /// Sets its limits anew: what a configuration has as `linux.resources`, as JSON.
    ///
    /// # Errors
    ///
    /// Fails where they cannot be held.
    pub async fn update(&self, resources: &[u8]) -> Result<(), NativeError> {
        let mut call = Call::new("update", &self.id).flag("--resources").flag("-");
        call.input = Some(resources.to_vec());
        self.runc.run(call).await
    }

    /// What it uses.
    ///
    /// # Errors
    ///
    /// Fails where it has ended, or its groups cannot be seen from here.
    pub fn stats(&self) -> Result<Usage, NativeError> {
        self.places().map(Usage::of)
    }

    /// Its groups, which are there as long as it runs.
    fn places(&self) -> Result<&Places, NativeError> {
        if self.process.ended().is_some() {
            return Err(self.not_running());
        }
        if self.kin.places.are_none() {
            let source = io::Error::other("it has none of its own that can be seen from here");
            return Err(NativeError::Groups { id: self.id.clone(), done: "read", source });
        }
        Ok(&self.kin.places)
    }

    fn not_running(&self) -> NativeError {
        NativeError::NotRunning { id: self.id.clone() }
    }

    /// Waits until the kernel has killed one of its processes because memory was out, and says how many
    /// there were until now. For ever, where that does not happen again. Where the kernel has no watch
    /// for that, it is told when the container has ended.
    pub async fn out_of_memory(&self) -> u64 {
        let news = || {
            let kills = self.kin.places.memory_kills();
            let kills = kills.or_else(|| Some(self.process.ended()?.memory_kills))?;
            let seen = self.kills_seen.fetch_max(kills, Ordering::SeqCst);
            (seen < kills).then_some(kills)
        };
        loop {
            if let Some(kills) = news() {
                return kills;
            }
            if self.process.ended().is_some() {
                return std::future::pending().await;
            }
            let stirred = async {
                match &self.memory {
                    Some(watch) => watch.stirred().await.is_ok(),
                    None => false,
                }
            };
            let is_watched = tokio::select! {
                is_watched = stirred => is_watched,
                _ended = self.process.wait() => continue,
            };
            if !is_watched {
                self.process.wait().await;
                continue;
            }
            // It is told before somebody is killed for it.
            let kill = async {
                loop {
                    if let Some(kills) = news() {
                        return kills;
                    }
                    tokio::time::sleep(MEMORY_KILL_PAUSE).await;
                }
            };
            if let Ok(kills) = tokio::time::timeout(MEMORY_KILL_SPAN, kill).await {
                return kills;
            }
        }
    }

    /// Removes what there is of it, after its last output was carried.
    ///
    /// # Errors
    ///
    /// Fails where it has not ended, or was deleted before.
    pub async fn delete(&self) -> Result<(), NativeError> {
        let mut is_deleted = self.is_deleted.lock().await;
        let id = || self.id.clone();
        if *is_deleted {
            return Err(NativeError::Gone { id: id() });
        }
        if self.process.ended().is_none() {
            return Err(NativeError::Running { id: id() });
        }
        self.runc.run(Call::new("delete", &self.id)).await?;
        *is_deleted = true;
        self.process.close().await;
        Ok(())
    }

    /// Removes what there is of a container that nobody holds any more, whatever state it is in: after a
    /// crash. There may be nothing.
    ///
    /// # Errors
    ///
    /// Fails where something of it is left.
    pub async fn force_delete(runc: &Runc, id: &str, bundle: &Path) -> Result<(), NativeError> {
        making::check(id)?;
        let outcome = match runc.run(Call::new("delete", id).flag("--force")).await {
            Err(NativeError::Gone { .. }) => Ok(()),
            outcome => outcome,
        };
        // Who was killed while it made the container left what it had made so far.
        let folder = runc.root.join(id);
        if !folder.join("state.json").exists() && folder.is_dir() {
            fs::remove_dir_all(&folder)
                .map_err(|source| NativeError::File { path: folder, source })?;
        }
        let failed = |source| NativeError::Groups { id: id.to_owned(), done: "removed", source };
        let places = Places::named(&making::groups_of(bundle, id)).map_err(failed)?;
        process::kill_all(&places).await.map_err(failed)?;
        process::remove(&places).await.map_err(failed)?;
        outcome
    }
}

impl Undo for Native {
    async fn undo(self) {
        // Nobody is there to be told.
        let _gone = self.process.signal(reaper::KILL);
        self.process.wait().await;
        let _left = Self::force_delete(&self.runc, &self.id, &self.bundle).await;
    }
}

impl Undo for Process {
    async fn undo(self) {
        let _gone = self.signal(reaper::KILL);
    }
}

#[cfg(test)]
mod tests;
