//! Where a host wants a guest's process that it started for others: held until they say so, in their
//! group, as their user, at their streams.

use std::fs::File;
use std::sync::Arc;

use crate::capabilities::GrantError;
use crate::capabilities::Input;
use crate::capabilities::Output;

use super::guest::LaunchError;
use super::spec::SandboxSpec;

/// How readily the kernel ends a process when memory is short: the least and the most.
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// As whom a guest's process acts on files. These are numbers of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The first group.
    pub gid: u32,
    /// The other groups.
    pub groups: Vec<u32>,
    /// What is taken from the mode of files that it makes, where that is not what this process has.
    pub umask: Option<u32>,
}

/// What of a guest's process is decided by those who manage the host. It is nothing in particular where
/// nobody says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    /// Whether it waits, within its walls, until it is started.
    pub(crate) is_held: bool,
    /// What it has as its streams instead of what its capabilities say.
    pub(crate) streams: [Option<Arc<File>>; 3],
    /// The group that it is in, below the top of each hierarchy.
    pub(crate) group: Option<String>,
    pub(crate) user: Option<User>,
    pub(crate) oom_score_adj: Option<i32>,
}

impl Placement {
    /// What of it was asked for, in words; nothing where nothing was.
    fn asked(&self) -> Option<&'static str> {
        let asked = [
            (self.is_held, "to be held until it is started"),
            (self.streams.iter().any(Option::is_some), "an open file as a stream"),
            (self.group.is_some(), "a control group at a place of its own"),
            (self.user.is_some(), "a user of its own"),
            (self.oom_score_adj.is_some(), "a score for when memory is short"),
        ];
        asked.into_iter().find_map(|(is_asked, what)| is_asked.then_some(what))
    }
}

impl SandboxSpec {
    /// Has [`Runtime::launch`](crate::Runtime::launch) return once the guest's process is ready, within
    /// its walls: the guest begins when [`Sandbox::start`](crate::Sandbox::start) is called, and its
    /// deadline with it. Needs a process of its own ([`Isolation::Process`](crate::Isolation::Process)).
    pub fn held(mut self) -> Self {
        self.placement.is_held = true;
        self
    }

    /// Has the guest read this very file as its standard input: a pipe's end, a terminal, a regular
    /// file. It is the guest's from its beginning on, and so is its end. Needs a process of its own.
    pub fn stdin_from(mut self, file: File) -> Self {
        self.capabilities.stdin = Input::Inherit;
        self.placement.streams[0] = Some(Arc::new(file));
        self
    }

    /// Has the guest write this very file as its standard output. What it writes is counted against its
    /// limit. Needs a process of its own.
    pub fn stdout_to(mut self, file: File) -> Self {
        self.capabilities.stdout = Output::Inherit;
        self.placement.streams[1] = Some(Arc::new(file));
        self
    }

    /// The same for standard error.
    pub fn stderr_to(mut self, file: File) -> Self {
        self.capabilities.stderr = Output::Inherit;
        self.placement.streams[2] = Some(Arc::new(file));
        self
    }

    /// Has the guest's process live in the control group at this path, below the top of each hierarchy
    /// (`/kubepods/pod1/app`). The group is made, with those above it that are missing, and removed with
    /// the process. It is held to exactly [`Limits::memory`](crate::Limits::memory), as others who
    /// account for the host expect; the guest itself is told no a quarter of that earlier, or 8 MiB
    /// where that is less: its process needs something too. Needs a process of its own.
    ///
    /// # Errors
    ///
    /// Fails where that is no path of a group: absolute, with a name at its end, and without `.`, `..`
    /// and control characters.
    pub fn control_group(mut self, path: &str) -> Result<Self, GrantError> {
        if !is_place(path) {
            return Err(GrantError::Placement {
                what: path.escape_debug().to_string(),
                reason: "is no place of a control group: that is an absolute path with a name at its \
                         end, without `.` and `..`",
            });
        }
        self.placement.group = Some(path.to_owned());
        Ok(self)
    }

    /// Has the guest's process act on files as this user, and no other. Files that were granted stay
    /// granted; what the guest may do in them is what that user may do as well. Takes a process that may
    /// be another one (root), and needs a process of its own.
    pub fn user(mut self, user: User) -> Self {
        self.placement.user = Some(user);
        self
    }

    /// Sets how readily the kernel ends the guest's process when memory is short: from -1000 to 1000.
    /// What this process may not lower it cannot give. Needs a process of its own.
    ///
    /// # Errors
    ///
    /// Fails where it is none of these.
    pub fn oom_score_adj(mut self, score: i32) -> Result<Self, GrantError> {
        if !OOM_SCORE_ADJ.contains(&score) {
            return Err(GrantError::Placement {
                what: score.to_string(),
                reason: "is no score for when memory is short: that is from -1000 to 1000",
            });
        }
        self.placement.oom_score_adj = Some(score);
        Ok(self)
    }
}

/// Whether a group can be there: below the top, by a path in its one form.
fn is_place(path: &str) -> bool {
    /// The longest one; a name is bounded by the file system.
    const LENGTH_MAX: usize = 4096;
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(char::is_control)
    };
    let names = path.strip_prefix('/').filter(|_| path.len() <= LENGTH_MAX);
    names.is_some_and(|names| names.split('/').all(is_name))
}

/// Refuses what a guest cannot have without a process that is kept by another one.
pub(super) fn check(spec: &SandboxSpec, has_process: bool) -> Result<(), LaunchError> {
    match spec.placement.asked() {
        Some(what) if !has_process => Err(LaunchError::Isolation {
            reason: format!(
                "{what} is for a guest with a process that is kept by another one; launch it as \
                 `Isolation::Process`"
            ),
        }),
        _ => Ok(()),
    }
}

/// Refuses to hold a guest that nobody would start.
pub(crate) fn check_not_held(spec: &SandboxSpec) -> Result<(), LaunchError> {
    if spec.placement.is_held {
        let reason = "it is to be held until it is started, and nobody holds it who could start it; \
                      launch it with `Runtime::launch`";
        return Err(LaunchError::Invocation { reason: reason.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_none_is_refused() {
        for path in ["", "/", "web", "/a/../b", "/a//b", "/a/.", "/a\n/b", "/a/"] {
            let refused = SandboxSpec::new("x").control_group(path);
            assert!(refused.is_err(), "{path:?}");
        }
        for path in ["/a", "/kubepods.slice/pod-1.slice/cri-x.scope", "/docker/a:b@1"] {
            assert!(SandboxSpec::new("x").control_group(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_needs_a_process_is_refused_without_one() {
        let spec = SandboxSpec::new("x").held();
        assert!(check(&spec, true).is_ok());
        let error = check(&spec, false).expect_err("refused");
        assert!(error.to_string().contains("to be held until it is started"), "{error}");
        assert!(check_not_held(&spec).is_err());
        assert!(check(&SandboxSpec::new("x"), false).is_ok());
        assert!(SandboxSpec::new("x").oom_score_adj(1001).is_err());
    }
}
