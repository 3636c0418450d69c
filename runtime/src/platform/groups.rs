//! What is said of control groups on every system: what one may be limited to, what it uses, where
//! it is, and what is missing.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::units::Bytes;
use crate::units::Cpus;

/// What a group of processes can be held to or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Controller {
    /// Memory: a limit, what is used, and what was killed for it.
    Memory,
    /// A share of processors.
    Cpu,
    /// How much processor time was used.
    CpuTime,
    /// How many processes and threads there may be.
    Pids,
    /// How much is read from and written to devices.
    Io,
    /// Standing still, and going on.
    Freezer,
}

impl Controller {
    /// All of them, in the order in which they are told to people.
    pub(crate) const ALL: [Self; 6] =
        [Self::Memory, Self::Cpu, Self::CpuTime, Self::Pids, Self::Io, Self::Freezer];
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::CpuTime => "cpu time",
            Self::Pids => "pids",
            Self::Io => "io",
            Self::Freezer => "freezer",
        })
    }
}

/// How a system arranges its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// There are none.
    None,
    /// A tree for each controller.
    V1,
    /// A tree for each controller, and one without controllers beside them.
    Hybrid,
    /// One tree for all controllers.
    V2,
}

/// What this process lacks to hold a group to something, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {advice}")]
pub(crate) struct Missing {
    /// What is missing, such as "`/sys/fs/cgroup` is mounted read-only".
    pub(crate) what: String,
    /// What the user can do, such as "mount it writable".
    pub(crate) advice: String,
}

/// Where a group is, so that another process finds it again: a value that can be kept in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    /// Its directories: one in each hierarchy that it is in.
    pub(crate) places: Vec<Place>,
}

/// A directory of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Where the hierarchy is mounted.
    pub(crate) mount: String,
    /// The directory in it, without a slash at its beginning.
    pub(crate) path: String,
    /// Whether the hierarchy is of the second version.
    pub(crate) unified: bool,
    /// What the group can be held to there.
    pub(crate) controllers: Vec<Controller>,
}

/// Where a limit is: at an amount, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound<T> {
    Unlimited,
    At(T),
}

impl<T> Bound<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Bound<U> {
        match self {
            Self::Unlimited => Bound::Unlimited,
            Self::At(amount) => Bound::At(change(amount)),
        }
    }
}

/// Limits of a group's memory. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    /// The most that it may use; its processes are killed where nothing can be given back. Held in
    /// whole pages, as the kernel counts: what is more than that is not granted.
    pub(crate) max: Option<Bound<Bytes>>,
    /// From where on it is slowed down (v2) or the first to give back when memory is short (v1).
    pub(crate) high: Option<Bound<Bytes>>,
    /// How much may be swapped, beside `max`.
    pub(crate) swap: Option<Bound<Bytes>>,
}

/// Limits of a group's processor time. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuLimits {
    /// The most that it gets, in periods of 100 ms (of a second for less than a hundredth of a
    /// processor).
    pub(crate) quota: Option<Bound<Cpus>>,
    /// What it gets beside others where all want more than there is: from 1 to 10000, 100 where
    /// nothing else was said.
    pub(crate) weight: Option<u32>,
}

/// Limits of what a group reads from and writes to a device. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoLimits {
    /// The device's numbers: a whole one, and no partition.
    pub(crate) device: (u32, u32),
    /// Bytes read in a second.
    pub(crate) read: Option<Bound<Bytes>>,
    /// Bytes written in a second.
    pub(crate) write: Option<Bound<Bytes>>,
    /// Reads in a second.
    pub(crate) reads: Option<Bound<u64>>,
    /// Writes in a second.
    pub(crate) writes: Option<Bound<u64>>,
}

impl IoLimits {
    /// Nothing said of a device.
    pub(crate) const fn none(device: (u32, u32)) -> Self {
        Self { device, read: None, write: None, reads: None, writes: None }
    }
}

/// What a group uses: `None` where it is in no hierarchy that counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) memory: Option<MemoryUsage>,
    pub(crate) cpu: Option<CpuUsage>,
    pub(crate) throttling: Option<Throttling>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    pub(crate) io: Option<IoUsage>,
}

/// The memory that a group uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryUsage {
    /// All that is counted as the group's.
    pub(crate) current: Bytes,
    /// The most that `current` ever was; Linux before 5.19 does not tell with v2.
    pub(crate) peak: Option<Bytes>,
    pub(crate) limit: Bound<Bytes>,
    /// Content of files.
    pub(crate) cache: Bytes,
    /// Content of files that was not used lately: Kubernetes counts `current` without it.
    pub(crate) inactive_file: Bytes,
    /// What belongs to no file.
    pub(crate) anon: Bytes,
    /// What was swapped out; `None` where the kernel does not count it.
    pub(crate) swap: Option<Bytes>,
}

/// The processor time that a group has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuUsage {
    pub(crate) total: Duration,
    /// In programs.
    pub(crate) user: Duration,
    /// In the kernel.
    pub(crate) system: Duration,
}

/// How a group's quota of processors held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// How many periods there were in which it wanted to run.
    pub(crate) periods: u64,
    /// In how many of them it used all of its quota.
    pub(crate) throttled_periods: u64,
    /// How long it stood still for that.
    pub(crate) throttled: Duration,
}

/// What a group has read from and written to all devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoUsage {
    pub(crate) read: Bytes,
    pub(crate) written: Bytes,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

/// What can go wrong with a group.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("`{name}` cannot name a control group: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("cannot hold a group to `{controller}`")]
    Missing { controller: Controller, source: Missing },
    #[error("the group is in no hierarchy of `{controller}`; it was made without it")]
    NotJoined { controller: Controller },
    #[error("cannot make the control group `{group}`")]
    Make { group: String, source: io::Error },
    #[error("cannot find the control group `{group}`")]
    Open { group: String, source: io::Error },
    #[error("the control group is gone: `{group}` was removed")]
    Gone { group: String },
    #[error("cannot remove the control group `{group}`{holders}")]
    Remove { group: String, holders: String, source: io::Error },
    #[error("cannot add the process {pid} to the control group `{group}`")]
    Add { pid: u32, group: String, source: io::Error },
    #[error("{limit} cannot be a limit of `{controller}`: {reason}")]
    Limit { controller: Controller, limit: String, reason: &'static str },
    #[error("cannot write `{value}` to `{file}`")]
    Write { file: String, value: String, source: io::Error },
    #[error("cannot read `{file}`")]
    Read { file: String, source: io::Error },
    #[error("`{file}` says `{found}`, which is no {expected}")]
    Garbled { file: String, found: String, expected: &'static str },
    #[error("the kernel holds `{found}` in `{file}`, and not `{wanted}`")]
    Differs { file: String, wanted: String, found: String },
    #[error("the control group `{group}` was not {state} within {limit:?}")]
    TooLong { group: String, state: &'static str, limit: Duration },
}
