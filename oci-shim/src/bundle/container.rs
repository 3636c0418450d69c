//! What a configuration asks for, in the words of this crate: all that is decided before anything is
//! opened.

use std::path::PathBuf;

use aril::Access;
use aril::Bytes;
use aril::Isolation;
use aril::Limits;
use oci_spec::runtime::Hooks;

/// A container, before anything of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// The files that it sees as `/`.
    pub root: Root,
    /// The program and its arguments. There is at least the program.
    pub args: Vec<String>,
    /// Variables, each once.
    pub env: Vec<(String, String)>,
    /// The working directory: an absolute path.
    pub cwd: String,
    /// The terminal that it has as its streams, if it has one.
    pub terminal: Option<Terminal>,
    /// As whom its process acts on files.
    pub user: User,
    /// What it sees beside its root, in the order in which it is mounted.
    pub mounts: Vec<Mounted>,
    /// How much it may use.
    pub limits: Limits,
    /// Where its control group is to be.
    pub group: Option<GroupPlace>,
    /// The namespaces of others that its process joins.
    pub joins: Vec<Join>,
    /// How readily the kernel ends its process when memory is short: from -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Whether it has a process of its own, where an annotation says so.
    pub isolation: Option<Isolation>,
    /// Programs of the host that are run at the turns of its life.
    pub hooks: Hooks,
    /// What it was given that is not its own here, and does no harm by that: for the log, once.
    pub notes: Vec<String>,
}

/// The files of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where they are: relative to the bundle, or absolute.
    pub path: PathBuf,
    /// What it may do with them.
    pub access: Access,
}

/// A terminal, by its size in cells where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
}

/// As whom a process acts. These are numbers of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The first group.
    pub gid: u32,
    /// The other groups.
    pub groups: Vec<u32>,
    /// What is taken from the mode of files that it makes.
    pub umask: Option<u32>,
}

/// One thing that a container sees beside its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where: an absolute path.
    pub destination: String,
    /// What.
    pub share: Share,
}

/// What a container sees at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// A directory or a file of the host.
    Host {
        /// Where it is there: relative to the bundle, or absolute.
        source: PathBuf,
        /// What the container may do with it.
        access: Access,
    },
    /// An empty directory in memory.
    Memory {
        /// How much it holds, where that is said.
        size: Option<Bytes>,
    },
}

/// Where a control group is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupPlace {
    /// At a path below the root of the hierarchies.
    Path(String),
    /// In a scope that systemd makes.
    Systemd {
        /// The slice that it is in; the empty one is the system's own.
        slice: String,
        /// The first part of its name.
        prefix: String,
        /// The other part.
        name: String,
    },
}

/// A namespace of others that a process joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which, as `/proc/PID/ns` names it.
    pub kind: &'static str,
    /// The file that stands for it.
    pub path: PathBuf,
}
