//! What is known of a container, and the state that the runtime specification gives it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::platform::processes;

/// The version of the runtime specification that is spoken.
pub(super) const VERSION: &str = "1.2.0";

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    /// The process that keeps it: its number, and when it began.
    pub(super) pid: u32,
    pub(super) beginning: u64,
    pub(super) status: Status,
    /// Where its files are.
    pub(super) rootfs: PathBuf,
    pub(super) annotations: HashMap<String, String>,
    /// Its control group, by its path below the top of each hierarchy.
    pub(super) group: Option<String>,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Known {
    /// Where it is now: without its keeper, it has stopped.
    pub(super) fn status_now(&self) -> Status {
        let is_kept = processes::is_running(self.pid, self.beginning);
        if is_kept { self.status } else { Status::Stopped }
    }

    /// The state, as hooks and `state` are told it.
    pub(super) fn state(&self, status: Status) -> serde_json::Value {
        let created = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.created);
        serde_json::json!({
            "ociVersion": VERSION,
            "id": self.id,
            "pid": if status == Status::Stopped { 0 } else { self.pid },
            "status": status.word(),
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": humantime::format_rfc3339_seconds(created).to_string(),
            "annotations": self.annotations,
            "owner": "",
        })
    }
}

/// The seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
