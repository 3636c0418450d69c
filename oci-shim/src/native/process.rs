//! A process that was made in a container, waited for by whoever asks.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::watch;

use super::NativeError;
use super::streams;
use super::streams::Attached;
use crate::platform::places::Places;
use crate::platform::reaper::Adopted;

/// What containerd says where nobody knows how something ended.
const STATUS_UNKNOWN: u32 = 255;

/// How often who is left in a group is killed again: whoever they started meanwhile.
const KILLS_MAX: usize = 200;

/// How long is waited between that.
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its code; 128 and the signal's number where a signal ended it; 255 where nobody knows.
    pub status: u32,
    /// When.
    pub at: SystemTime,
    /// How many processes of the container the kernel had killed by then because memory was out.
    pub memory_kills: u64,
}

/// The processes of a container for which somebody here waits, and its groups.
#[derive(Debug, Default)]
pub(super) struct Kin {
    pub(super) places: Places,
    waited: Mutex<Vec<u32>>,
}

impl Kin {
    pub(super) fn of(places: Places) -> Self {
        Self { places, waited: Mutex::default() }
    }

    pub(super) fn waited(&self) -> MutexGuard<'_, Vec<u32>> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process in a container: its first one, or one that was started beside it.
#[derive(Debug)]
pub struct Process {
    name: String,
    adopted: Arc<Adopted>,
    ended: watch::Receiver<Option<Ended>>,
    attached: Mutex<Attached>,
}

impl Process {
    /// Begins to wait for it. Where `is_all` says so, all of its container ends with it.
    pub(super) fn begin(
        name: &str,
        adopted: Adopted,
        attached: Attached,
        kin: Arc<Kin>,
        is_all: bool,
    ) -> Self {
        let adopted = Arc::new(adopted);
        let (sender, ended) = watch::channel(None);
        kin.waited().push(adopted.pid());
        let process = Arc::clone(&adopted);
        tokio::spawn(async move {
            let status = process.ended().await.unwrap_or(STATUS_UNKNOWN);
            let at = SystemTime::now();
            kin.waited().retain(|pid| *pid != process.pid());
            if is_all {
                // Whoever cannot be killed keeps the groups from being removed, which is told then.
                let _left = kill_all(&kin.places).await;
            }
            let memory_kills = kin.places.memory_kills().unwrap_or_default();
            sender.send_replace(Some(Ended { status, at, memory_kills }));
        });
        Self { name: name.to_owned(), adopted, ended, attached: Mutex::new(attached) }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.adopted.pid()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await.ok().and_then(|told| *told);
        let unknown = || Ended { status: STATUS_UNKNOWN, at: SystemTime::now(), memory_kills: 0 };
        // Nobody tells where the runtime goes down.
        told.unwrap_or_else(unknown)
    }

    /// Sends it a signal, by its number.
    ///
    /// # Errors
    ///
    /// Fails where it has ended, or there is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), NativeError> {
        let id = || self.name.clone();
        let sent = self.ended().is_none()
            && self.adopted.signal(signal).map_err(|source| NativeError::Signal {
                id: id(),
                signal,
                source,
            })?;
        if sent { Ok(()) } else { Err(NativeError::NotRunning { id: id() }) }
    }

    /// Says how large its terminal is.
    ///
    /// # Errors
    ///
    /// Fails where it has none.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<(), NativeError> {
        let attached = self.attached();
        let id = || self.name.clone();
        let terminal = attached.terminal().ok_or_else(|| NativeError::NoTerminal { id: id() })?;
        terminal.resize(columns, rows).map_err(|source| NativeError::Terminal { id: id(), source })
    }

    /// Ends its input, once the engine has closed its own end.
    pub fn close_stdin(&self) {
        self.attached().close_stdin();
    }

    /// Lets go of its streams, after what its terminal still shows was carried, for two seconds at most.
    pub async fn close(&self) {
        let output = self.attached().take_output();
        if let Some(output) = output {
            streams::carried(output).await;
        }
        self.attached().close();
    }

    fn attached(&self) -> MutexGuard<'_, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills whoever is in the groups of a container, until nobody is.
pub(super) async fn kill_all(places: &Places) -> std::io::Result<()> {
    for _ in 0..KILLS_MAX {
        if !places.kill()? {
            return Ok(());
        }
        places.thaw();
        tokio::time::sleep(KILL_PAUSE).await;
    }
    Err(std::io::Error::other("somebody is in them who cannot be killed"))
}

/// Removes the groups of a container, which nobody is in: the kernel may need a moment to see that.
pub(super) async fn remove(places: &Places) -> std::io::Result<()> {
    let mut removed = places.remove();
    for _ in 0..KILLS_MAX {
        if removed.is_ok() {
            break;
        }
        tokio::time::sleep(KILL_PAUSE).await;
        removed = places.remove();
    }
    removed
}
