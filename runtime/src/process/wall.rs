//! The walls of the operating system around a process that runs a guest, by name.

use std::fmt;
use std::str::FromStr;

/// A wall of the operating system around the process that runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wall {
    /// A namespace of users with one user in it: no right in it reaches outside.
    UserNamespace,
    /// A namespace of mounts, with an empty root: no path leads to a file of the host.
    MountNamespace,
    /// A namespace of message queues, semaphores and shared memory.
    IpcNamespace,
    /// A namespace of host names.
    UtsNamespace,
    /// No program that is started brings rights of its own.
    NoNewPrivs,
    /// No capability is held.
    Capabilities,
    /// The kernel's own list of granted directories, each for reading or for writing.
    Landlock,
    /// The list of system calls that are left.
    Seccomp,
    /// Bounds on core files, queues, locked memory and new threads.
    Rlimits,
    /// No other process of the same user reads the memory.
    NoDump,
    /// No descriptor is open but those that are named.
    Descriptors,
}

impl Wall {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 11] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::NoNewPrivs,
        Self::Capabilities,
        Self::Landlock,
        Self::Seccomp,
        Self::Rlimits,
        Self::NoDump,
        Self::Descriptors,
    ];

    /// The word for it, as `--require` takes it and records have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UserNamespace => "user_namespace",
            Self::MountNamespace => "mount_namespace",
            Self::IpcNamespace => "ipc_namespace",
            Self::UtsNamespace => "uts_namespace",
            Self::NoNewPrivs => "no_new_privs",
            Self::Capabilities => "capabilities",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Rlimits => "rlimits",
            Self::NoDump => "no_dump",
            Self::Descriptors => "descriptors",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no wall.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no wall `{word}`; there are {}", all_words())]
pub struct InvalidWall {
    /// What was given.
    pub word: String,
}

fn all_words() -> String {
    Wall::ALL.map(|wall| format!("`{wall}`")).join(", ")
}

impl FromStr for Wall {
    type Err = InvalidWall;

    fn from_str(word: &str) -> Result<Self, InvalidWall> {
        let found = Self::ALL.into_iter().find(|wall| wall.word() == word);
        found.ok_or_else(|| InvalidWall { word: word.to_owned() })
    }
}

/// How a wall stands around a process, or could on this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WallStanding {
    /// It holds.
    Held {
        /// How far, for people: a version, a number.
        detail: String,
    },
    /// This host does not give it to this user.
    Missing {
        /// Why not.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// It was not wanted.
    LeftOut,
}

impl WallStanding {
    /// Whether it holds.
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

impl fmt::Display for WallStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { detail } => f.write_str(detail),
            Self::Missing { reason, remedy } => write!(f, "missing: {reason}; {remedy}"),
            Self::LeftOut => f.write_str("left out"),
        }
    }
}

/// How much a wall is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Need {
    /// Where this host gives it; where not, the report says so.
    #[default]
    Wanted,
    /// Nothing runs without it.
    Required,
    /// Not at all.
    LeftOut,
}

/// How much each wall is wanted: all of them, as far as this host gives them, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Walls {
    needs: [Need; Wall::ALL.len()],
}

impl Walls {
    /// All of them, as far as this host gives them: the default.
    pub const ALL: Self = Self { needs: [Need::Wanted; Wall::ALL.len()] };

    /// None at all.
    pub const NONE: Self = Self { needs: [Need::LeftOut; Wall::ALL.len()] };

    /// The same, but for one wall.
    #[must_use]
    pub const fn with(mut self, wall: Wall, need: Need) -> Self {
        self.needs[wall as usize] = need;
        self
    }

    /// How much this one is wanted.
    pub const fn need(&self, wall: Wall) -> Need {
        self.needs[wall as usize]
    }

    /// Whether it is built where it can be.
    pub(super) const fn is_wanted(&self, wall: Wall) -> bool {
        !matches!(self.need(wall), Need::LeftOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_wall_and_an_unknown_one_lists_them_all() {
        for wall in Wall::ALL {
            assert_eq!(wall.word().parse(), Ok(wall));
        }
        let error = "moat".parse::<Wall>().unwrap_err().to_string();
        assert!(error.contains("`moat`") && error.contains("`landlock`"), "{error}");
    }

    #[test]
    fn needs_are_kept_apart() {
        let walls = Walls::NONE.with(Wall::Seccomp, Need::Required);
        for wall in Wall::ALL {
            let expected = if wall == Wall::Seccomp { Need::Required } else { Need::LeftOut };
            assert_eq!(walls.need(wall), expected, "{wall}");
        }
    }
}
