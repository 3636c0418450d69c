//! Where groups are made in a hierarchy: the directory beneath which this process may make them,
//! and what it may hold them to there.

use rustix::io::Errno;

use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;
use crate::platform::groups::Missing;
use crate::platform::linux::tree::Directory;

use super::folder::Folder;
use super::parse;
use super::tables::Mount;

/// File systems of control groups, as the kernel numbers them.
const V1_MAGIC: i64 = 0x0027_e0eb;
const V2_MAGIC: i64 = 0x6367_7270;

/// The deepest group that is looked at.
const DEPTH_MAX: usize = 64;

/// A directory beneath which groups are made.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) folder: Folder,
    pub(super) mount: String,
    /// The way from the mount to it.
    pub(super) path: String,
    pub(super) unified: bool,
    /// Controllers of v2 that groups beneath it have, in the kernel's words.
    enabled: Vec<&'static str>,
    /// Those that they would have if this process said so.
    within_reach: Vec<&'static str>,
}

impl Base {
    /// Finds out where groups are made in a hierarchy: beneath `parent`, or beneath the group of
    /// this process, or near it.
    pub(super) fn find(
        mount: &Mount,
        own: Option<&str>,
        parent: Option<&str>,
        is_real: bool,
    ) -> Result<Self, Missing> {
        let top = open_mount(&mount.point, mount.unified, is_real)?;
        let way = match (parent, own) {
            (Some(parent), _) => parent,
            (None, Some(own)) => own,
            // The own group is not shown here: what is shown begins at the mount.
            (None, None) => "",
        };
        let open = |way: &str| open_below(&top, way);
        if parent.is_some() || !mount.unified {
            let folder = open(way)?;
            writable(&folder, mount.unified)?;
            return Ok(Self::of(mount, way, folder, parent.is_some() || own == Some(way)));
        }
        // A group with processes of its own cannot have groups with limits beneath it, so that for
        // most processes this is one that is further up.
        let mut best: Option<Self> = None;
        let mut reason = None;
        for (i, way) in upwards(way).enumerate() {
            let found = open(way).and_then(|folder| {
                writable(&folder, mount.unified)?;
                Ok(Self::of(mount, way, folder, i == 0))
            });
            match found {
                Ok(base) if best.as_ref().is_none_or(|best| best.count() < base.count()) => {
                    best = Some(base);
                }
                Ok(_) => {}
                Err(missing) => reason = reason.or(Some(missing)),
            }
        }
        best.ok_or_else(|| reason.unwrap_or_else(|| hidden(&mount.point)))
    }

    /// `is_ours`: whether it is for this process to say what groups beneath it have.
    fn of(mount: &Mount, way: &str, folder: Folder, is_ours: bool) -> Self {
        let (mut enabled, mut within_reach) = (Vec::new(), Vec::new());
        if mount.unified {
            let text = |name: &str| folder.read(name).unwrap_or_default();
            let (has, gives) = (text("cgroup.controllers"), text("cgroup.subtree_control"));
            // The top of all, and no top of a namespace, has no type.
            let kind = text("cgroup.type");
            let is_top = kind.is_empty() && way.is_empty();
            let is_domain = matches!(kind.trim(), "" | "domain");
            let is_free = is_top || text("cgroup.procs").trim().is_empty();
            for word in WORDS_V2 {
                if is_domain && parse::has_word(&gives, word) {
                    enabled.push(word);
                } else if is_domain
                    && (is_ours || is_top)
                    && is_free
                    && parse::has_word(&has, word)
                    && folder.try_write("cgroup.subtree_control").is_ok()
                {
                    within_reach.push(word);
                }
            }
        }
        Self {
            folder,
            mount: mount.point.clone(),
            path: way.to_owned(),
            unified: mount.unified,
            enabled,
            within_reach,
        }
    }

    fn count(&self) -> usize {
        self.enabled.len() + self.within_reach.len()
    }

    /// Whether groups beneath it can be held to something; in a hierarchy of v1, that is known from
    /// its mount.
    pub(super) fn can(&self, controller: Controller) -> Result<(), Missing> {
        let Some(word) = word_v2(controller).filter(|_| self.unified) else { return Ok(()) };
        if self.enabled.contains(&word) || self.within_reach.contains(&word) {
            return Ok(());
        }
        let path = &self.folder.path;
        Err(if parse::has_word(&self.folder.read("cgroup.controllers").unwrap_or_default(), word) {
            Missing {
                what: format!(
                    "`{path}` hands `{word}` to no groups beneath it, and has processes of its own \
                     or is not this process's to change"
                ),
                advice: "name an empty group that was made for this with --cgroup-parent, or have \
                         the administrator turn the controller on in its `cgroup.subtree_control`"
                    .to_owned(),
            }
        } else {
            Missing {
                what: format!("`{path}` was not given the controller `{word}`"),
                advice: format!(
                    "have it delegated (with systemd: `Delegate={word}` for the service \
                     `user@.service`), or enabled when the system starts"
                ),
            }
        })
    }

    /// Whether groups beneath it can be held to something and nothing has to be done for that.
    pub(super) fn gives(&self, controller: Controller) -> bool {
        let word = word_v2(controller).filter(|_| self.unified);
        word.is_none_or(|word| self.enabled.contains(&word))
    }

    /// Sees to it that groups beneath it have a controller.
    pub(super) fn enable(&self, controller: Controller) -> Result<(), GroupError> {
        match word_v2(controller).filter(|word| self.unified && !self.enabled.contains(word)) {
            Some(word) => self.folder.write("cgroup.subtree_control", &format!("+{word}")),
            None => Ok(()),
        }
    }
}

/// The controllers of v2 that have to be turned on for groups to have them.
pub(super) const WORDS_V2: [&str; 4] = ["memory", "cpu", "pids", "io"];

fn word_v2(controller: Controller) -> Option<&'static str> {
    match controller {
        Controller::Memory => Some("memory"),
        Controller::Cpu => Some("cpu"),
        Controller::Pids => Some("pids"),
        Controller::Io => Some("io"),
        Controller::CpuTime | Controller::Freezer => None,
    }
}

/// Whether a way leads from a mount downwards, by names alone.
pub(super) fn is_plain(way: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    way.len() <= WAY_LENGTH_MAX && (way.is_empty() || way.split('/').all(is_name))
}

/// The longest way: what Linux takes as a path.
const WAY_LENGTH_MAX: usize = 4096;

/// A way, and all that lead to it: `a/b`, `a` and the empty one.
fn upwards(way: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(way);
    let steps = std::iter::from_fn(move || {
        let now = next?;
        next = match now.rsplit_once('/') {
            Some((above, _)) => Some(above),
            None => (!now.is_empty()).then_some(""),
        };
        Some(now)
    });
    steps.take(DEPTH_MAX)
}

/// Opens where a hierarchy is mounted, and sees that it still is.
pub(super) fn open_mount(point: &str, unified: bool, is_real: bool) -> Result<Folder, Missing> {
    let opened = Directory::open(point.as_ref());
    let handle = opened.map_err(|error| Missing {
        what: format!("`{point}`, where control groups are mounted, cannot be opened: {error}"),
        advice: "have it mounted where this process can see it".to_owned(),
    })?;
    let magic = if unified { V2_MAGIC } else { V1_MAGIC };
    let is_one =
        !is_real || rustix::fs::fstatfs(&handle).is_ok_and(|system| wide(system.f_type) == magic);
    if !is_one {
        return Err(hidden(point));
    }
    Ok(Folder { handle, path: point.to_owned() })
}

/// A number that is as wide as the processor has it.
fn wide(number: impl Into<i64>) -> i64 {
    number.into()
}

fn hidden(point: &str) -> Missing {
    Missing {
        what: format!("`{point}` is no hierarchy of control groups: something is mounted over it"),
        advice: "have control groups mounted where this process can see them".to_owned(),
    }
}

fn open_below(top: &Folder, way: &str) -> Result<Folder, Missing> {
    let path = top.file(way).trim_end_matches('/').to_owned();
    match top.handle.descend(way) {
        Ok(handle) => Ok(Folder { handle, path }),
        Err(error) => Err(Missing {
            what: format!("the control group `{path}` cannot be opened: {error}"),
            advice: "make it, or name another one with --cgroup-parent".to_owned(),
        }),
    }
}

/// Whether this process may make groups in a directory, and move processes into them from it.
fn writable(folder: &Folder, unified: bool) -> Result<(), Missing> {
    let tried = folder.try_write(".").and_then(|()| folder.try_write("cgroup.procs"));
    tried.map_err(|error| unwritable(&folder.path, unified, error))
}

fn unwritable(path: &str, unified: bool, error: Errno) -> Missing {
    match error {
        Errno::ROFS => Missing {
            what: format!("`{path}` is mounted read-only"),
            advice: "have control groups mounted writable in this container".to_owned(),
        },
        Errno::ACCESS | Errno::PERM => Missing {
            what: format!("the control group `{path}` may not be written by this user"),
            advice: if unified {
                "have one delegated (with systemd: start this with `systemd-run --user --scope -p \
                 Delegate=yes`), name one that may be with --cgroup-parent, or run as root"
            } else {
                "run as root, or have a group given to this user in each hierarchy, and name it \
                 with --cgroup-parent"
            }
            .to_owned(),
        },
        error => Missing {
            what: format!("`{path}` cannot be used as a control group: {error}"),
            advice: "name another one with --cgroup-parent".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_looked_at_from_its_end_to_the_top() {
        assert_eq!(upwards("a/b/c").collect::<Vec<_>>(), ["a/b/c", "a/b", "a", ""]);
        assert_eq!(upwards("").collect::<Vec<_>>(), [""]);
        assert_eq!(upwards(&"a/".repeat(1000)).count(), DEPTH_MAX);
    }

    #[test]
    fn what_cannot_be_written_is_told_by_its_reason() {
        let of = |unified, error| unwritable("/sys/fs/cgroup/x", unified, error).to_string();
        assert!(of(false, Errno::ROFS).contains("`/sys/fs/cgroup/x` is mounted read-only; have"));
        assert!(
            of(true, Errno::ACCESS).contains("not be written by this user; have one delegated")
        );
        assert!(of(false, Errno::PERM).contains("not be written by this user; run as root"));
        assert!(of(true, Errno::NOENT).contains("cannot be used as a control group: No such file"));
    }
}
