//! What the roster says of one sandbox.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::limits::Hold;
use crate::sandbox::Record;
use crate::sandbox::WireHold;

use super::name::SandboxId;
use super::name::SandboxName;

/// The version of an entry's form. It is raised when a field goes or changes its meaning.
const ENTRY_VERSION: u32 = 1;

/// The code of a sandbox whose keeper was killed: its process went with it, by that signal.
const LOST: u8 = 137;

/// The code of a sandbox that the host failed at.
pub(crate) const FAILED: u8 = 125;

/// A sandbox of this host that goes on alone, or did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resident {
    /// Its id.
    pub id: SandboxId,
    /// Its name; none where it lost that, because it is being removed.
    pub name: Option<SandboxName>,
    /// What was decided before it ran.
    pub plan: Plan,
    /// When it was made.
    pub created: SystemTime,
    /// What it is doing.
    pub life: Life,
    /// Its keeper's process, as long as that is there.
    pub keeper: Option<u32>,
    /// When its guest was started last.
    pub started: Option<SystemTime>,
    /// When its guest ended last.
    pub ended: Option<SystemTime>,
    /// How its guest ended last.
    pub ending: Option<Ending>,
    /// How often its keeper has started it again.
    pub restarts: u32,
    /// How much it may use, and how that is held.
    pub limits: Vec<Hold>,
    /// Bytes of output that could not be written to the log, because the disk was full, say.
    pub log_lost: u64,
}

/// What was decided of a sandbox that goes on alone, before it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The image, or the file, as it was named.
    pub image: String,
    /// The guest's arguments, of which the first is its own name.
    pub command: Vec<String>,
    /// What people put on it to find it by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When its keeper starts it again.
    #[serde(default)]
    pub restart: Restart,
    /// Whether it goes from the roster at its end.
    #[serde(default)]
    pub remove: bool,
    /// How long it has to end by itself when it is asked to.
    pub grace: Duration,
    /// Whether its standard input can be written to.
    #[serde(default)]
    pub interactive: bool,
    /// Whether its streams are a terminal of its own.
    #[serde(default)]
    pub terminal: bool,
    /// The words of the command line that started it, without the program's own name.
    #[serde(default)]
    pub words: Vec<String>,
    /// Where that was said.
    #[serde(default)]
    pub directory: String,
    /// Its log.
    #[serde(default)]
    pub log: LogPlan,
}

/// How much of a sandbox's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct LogPlan {
    /// The most bytes of a file, with the time and the stream of each line.
    pub size_max: u64,
    /// The most files. The oldest goes where one more is needed.
    pub files_max: u32,
}

impl LogPlan {
    /// The smallest size of a file: less has no room for a line and what is written in front of it.
    pub const SIZE_MIN: u64 = 1 << 10;

    /// As much as this.
    pub const fn new(size_max: u64, files_max: u32) -> Self {
        Self { size_max, files_max }
    }
}

impl Default for LogPlan {
    /// Three files of 10 MiB.
    fn default() -> Self {
        Self::new(10 << 20, 3)
    }
}

/// When the keeper of a sandbox starts it again after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Where it ended with another code than 0, as often as this at the most, or as often as it
    /// takes.
    OnFailure(Option<u32>),
    /// Always, until it is stopped.
    Always,
    /// The same: no keeper outlives a restart of the host.
    UnlessStopped,
}

impl Restart {
    /// Whether a guest that ended with this code, for this time (the first is 1), is started again.
    pub(crate) const fn applies(self, code: u8, time: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(None) => code != 0,
            Self::OnFailure(Some(most)) => code != 0 && time <= most,
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

/// A text that is no policy for restarts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no policy: there are `no`, `on-failure`, `on-failure:TIMES`, `always` and \
     `unless-stopped`",
    .0.escape_debug()
)]
pub struct InvalidRestart(String);

impl std::str::FromStr for Restart {
    type Err = InvalidRestart;

    fn from_str(text: &str) -> Result<Self, InvalidRestart> {
        Ok(match text {
            "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure(None),
            _ => {
                let most = text.strip_prefix("on-failure:").and_then(|most| most.parse().ok());
                Self::OnFailure(Some(most.ok_or_else(|| InvalidRestart(text.to_owned()))?))
            }
        })
    }
}

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Life {
    /// It is made, and its guest is not there yet.
    Created,
    /// Its guest runs.
    Running,
    /// Its guest stands still.
    Paused,
    /// Its guest ended, and is about to be started again.
    Restarting,
    /// It ended.
    Exited,
}

impl Life {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Running, Self::Paused, Self::Restarting, Self::Exited];

    /// Its word, as docker has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }
}

/// How a guest that goes on alone ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Ending {
    /// As its record says.
    Told(Box<Record>),
    /// With its keeper, which somebody killed.
    KeeperLost,
    /// With the host, which was restarted or lost its power.
    Rebooted,
    /// The host failed at it.
    Failed(String),
}

impl Ending {
    /// The code, as a process that ran it would have ended with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Told(record) => record.exit.code(),
            Self::KeeperLost | Self::Rebooted => LOST,
            Self::Failed(_) => FAILED,
        }
    }

    /// Why, in a word or a few.
    pub fn reason(&self) -> &str {
        match self {
            Self::Told(record) => record.exit.reason(),
            Self::KeeperLost => "keeper lost",
            Self::Rebooted => "host restarted",
            Self::Failed(_) => "failed",
        }
    }
}

/// An entry as it is kept in its file.
#[derive(Debug, Deserialize, Serialize)]
struct Written {
    version: u32,
    /// What it was called when this was written. What it is called is what leads to it.
    #[serde(default)]
    name: Option<String>,
    plan: Plan,
    #[serde(with = "stamp")]
    created: SystemTime,
    life: Life,
    keeper: Option<u32>,
    /// The start of the host that the keeper is of.
    boot: Option<String>,
    #[serde(with = "stamp::optional")]
    started: Option<SystemTime>,
    #[serde(with = "stamp::optional")]
    ended: Option<SystemTime>,
    ending: Option<WrittenEnding>,
    restarts: u32,
    limits: Vec<WireHold>,
    log_lost: u64,
}

#[derive(Debug, Deserialize, Serialize)]
enum WrittenEnding {
    /// A record in its own wire form.
    Told(String),
    KeeperLost,
    Rebooted,
    Failed(String),
}

/// What is wrong with a file that should be an entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidEntry {
    #[error("it is no entry of the roster")]
    Form(#[from] serde_json::Error),
    #[error("it is of version {0}, and this is version {ENTRY_VERSION}")]
    Version(u32),
    #[error("its record is none: {0}")]
    Record(String),
}

impl Resident {
    /// One that was just made, by this process.
    pub(super) fn new(id: SandboxId, name: SandboxName, plan: Plan) -> Self {
        Self {
            id,
            name: Some(name),
            plan,
            created: SystemTime::now(),
            life: Life::Created,
            keeper: Some(std::process::id()),
            started: None,
            ended: None,
            ending: None,
            restarts: 0,
            limits: Vec::new(),
            log_lost: 0,
        }
    }

    /// Its code, once it ended.
    pub fn code(&self) -> Option<u8> {
        let ended = self.life == Life::Exited;
        ended.then(|| self.ending.as_ref().map_or(FAILED, Ending::code))
    }

    /// The entry as it is kept, by a keeper of this start of the host.
    pub(super) fn to_bytes(&self, boot: Option<&str>) -> Vec<u8> {
        let ending = self.ending.as_ref().map(|ending| match ending {
            Ending::Told(record) => WrittenEnding::Told(record.to_json()),
            Ending::KeeperLost => WrittenEnding::KeeperLost,
            Ending::Rebooted => WrittenEnding::Rebooted,
            Ending::Failed(reason) => WrittenEnding::Failed(reason.clone()),
        });
        let written = Written {
            version: ENTRY_VERSION,
            name: self.name.as_ref().map(ToString::to_string),
            plan: self.plan.clone(),
            created: self.created,
            life: self.life,
            keeper: self.keeper,
            boot: boot.map(str::to_owned),
            started: self.started,
            ended: self.ended,
            ending,
            restarts: self.restarts,
            limits: self.limits.iter().map(Into::into).collect(),
            log_lost: self.log_lost,
        };
        // Texts and numbers alone: nothing of it can fail to be written.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// The entry that a file holds, with the name that it had then, and the start of the host that its
    /// keeper was of.
    pub(super) fn parse(
        id: SandboxId,
        bytes: &[u8],
    ) -> Result<(Self, Option<String>), InvalidEntry> {
        let written: Written = serde_json::from_slice(bytes)?;
        if written.version != ENTRY_VERSION {
            return Err(InvalidEntry::Version(written.version));
        }
        let ending = match written.ending {
            None => None,
            Some(WrittenEnding::Told(text)) => {
                let record = Record::from_json(&text).map_err(InvalidEntry::Record)?;
                Some(Ending::Told(Box::new(record)))
            }
            Some(WrittenEnding::KeeperLost) => Some(Ending::KeeperLost),
            Some(WrittenEnding::Rebooted) => Some(Ending::Rebooted),
            Some(WrittenEnding::Failed(reason)) => Some(Ending::Failed(reason)),
        };
        let entry = Self {
            id,
            name: written.name.and_then(|name| name.parse().ok()),
            plan: written.plan,
            created: written.created,
            life: written.life,
            keeper: written.keeper,
            started: written.started,
            ended: written.ended,
            ending,
            restarts: written.restarts,
            limits: written.limits.iter().filter_map(WireHold::read).collect(),
            log_lost: written.log_lost,
        };
        Ok((entry, written.boot))
    }
}

/// Moments as text, to the nanosecond, in UTC.
pub(super) mod stamp {
    use std::time::SystemTime;

    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(
        at: &SystemTime,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_nanos(*at))
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use super::Deserializer;
        use super::Serializer;
        use super::SystemTime;
        use serde::Deserialize as _;
        use serde::de::Error as _;

        #[expect(clippy::ref_option, reason = "serde gives it so")]
        pub(in super::super) fn serialize<S: Serializer>(
            at: &Option<SystemTime>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
            from: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| humantime::parse_rfc3339(&text).map_err(D::Error::custom)).transpose()
        }
    }
}
