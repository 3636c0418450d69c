//! Control groups: what this process may use of them, and groups of processes held by them.
//!
//! A group is a directory `aril-NAME` in each hierarchy that it needs, beneath the group of this
//! process: nothing has to be made or removed above it, so that whoever makes groups at the same
//! time is in nobody's way. Directories are held open, and their files are opened beneath them.

mod base;
mod bounds;
mod folder;
mod group;
mod parse;
mod place;
mod stop;
mod tables;
mod usage;

use std::io;
use std::sync::OnceLock;

use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;
use crate::platform::groups::Layout;
use crate::platform::groups::Missing;

use base::Base;
use tables::Mount;
use tables::Tables;

pub(crate) use group::Group;
pub(crate) use group::walk_in;

/// How many groups are looked at in any case by who looks for those that were left.
const SWEPT_MAX: u64 = 64;

/// What this process may use of control groups. Each hierarchy is looked at when it is first asked
/// for, and once.
#[derive(Debug)]
pub(crate) struct Cgroups {
    tables: Result<Tables, String>,
    /// What was found out of each mount of the tables.
    bases: Vec<OnceLock<Result<Base, Missing>>>,
    parent: Option<String>,
    /// Whether mounts are the kernel's, and not a test's.
    is_real: bool,
}

impl Cgroups {
    /// Reads what control groups there are. Groups are made beneath `parent`, a group as the top of
    /// each hierarchy shows it, or near the group of this process. Does not fail: what is missing is
    /// told by [`Cgroups::can`].
    pub(crate) fn find(parent: Option<&str>) -> Self {
        Self::of(Tables::read().map_err(|error| error.to_string()), parent, true)
    }

    fn of(tables: Result<Tables, String>, parent: Option<&str>, is_real: bool) -> Self {
        let count = tables.as_ref().map_or(0, |tables| tables.mounts.len());
        let bases = std::iter::repeat_with(OnceLock::new).take(count).collect();
        let parent = parent.map(|path| path.trim_matches('/').to_owned());
        Self { tables, bases, parent, is_real }
    }

    /// How this system arranges its control groups.
    pub(crate) fn layout(&self) -> Layout {
        let Ok(tables) = &self.tables else { return Layout::None };
        let has_v1 = tables.mounts.iter().any(is_v1);
        match (has_v1, tables.v2().is_some()) {
            (false, false) => Layout::None,
            (false, true) => Layout::V2,
            (true, false) => Layout::V1,
            (true, true) => Layout::Hybrid,
        }
    }

    /// Whether groups can be made that are held to something, or what is missing.
    pub(crate) fn can(&self, controller: Controller) -> Result<(), Missing> {
        self.hosts(controller).map(drop)
    }

    /// Whether the kernel counts what groups swap, or what is missing.
    pub(crate) fn counts_swap(&self) -> Result<(), Missing> {
        let counts = |base: &&Base| {
            if base.unified {
                // The top of all has no such file, and has no limits either.
                base.folder.has("memory.swap.max") || !base.folder.has("memory.max")
            } else {
                base.folder.has("memory.memsw.limit_in_bytes")
            }
        };
        match self.hosts(Controller::Memory)?.first() {
            Some(base) if counts(base) => Ok(()),
            _ => Err(bounds::swap_is_not_counted()),
        }
    }

    /// Makes a group without processes, in no more hierarchies than the controllers need.
    ///
    /// # Errors
    ///
    /// Fails where the name is not one of letters, digits, `-`, `_` and `.`, where a group of this
    /// name exists, or where something is missing. Nothing is left behind then.
    pub(crate) fn make(&self, name: &str, controllers: &[Controller]) -> Result<Group, GroupError> {
        let mut group = Group::new(name)?;
        for controller in controllers {
            if let Err(error) = self.extend(&mut group, *controller) {
                // The first error is the one to tell.
                let _left = group.remove(std::time::Duration::ZERO);
                return Err(error);
            }
        }
        self.take_what_is_there(&mut group);
        Ok(group)
    }

    /// Lets a group be held to, and count, what its directories can as well: that costs nothing.
    fn take_what_is_there(&self, group: &mut Group) {
        let Ok(tables) = &self.tables else { return };
        let others = [Controller::Cpu, Controller::CpuTime, Controller::Pids, Controller::Io];
        for controller in others {
            let mounts = [tables.v1(word_v1(controller)), tables.v2()];
            for (mount, own) in mounts.into_iter().flatten() {
                if group.has(controller) || !group.is_in(&mount.point) {
                    continue;
                }
                if let Ok(base) = self.base(tables, mount, own.as_deref())
                    && base.gives(controller)
                {
                    // Where there is no file for it, the group is without it as before.
                    let _taken = group.take_seat(base, controller);
                }
            }
        }
    }

    /// Removes the groups that somebody left behind, by their names, in the hierarchies of these
    /// controllers. One with processes stays; says how many do.
    ///
    /// Where `turn` is a number by chance, this takes no longer the more groups there are: of so many
    /// turns as there are times [`SWEPT_MAX`] of them, one looks at all and the others at none.
    pub(crate) fn sweep(
        &self,
        controllers: &[Controller],
        turn: Option<u32>,
        is_left: impl Fn(&str) -> bool,
    ) -> usize {
        let mut busy = 0;
        let hosts = controllers.iter().filter_map(|controller| self.hosts(*controller).ok());
        let is_due = |base: &&Base| {
            // A directory has a name for itself, one above, and one in each that is in it.
            let groups = || base.folder.handle.own_status().map_or(0, |own| own.names);
            turn.is_none_or(|turn| u64::from(turn).is_multiple_of(1 + groups() / SWEPT_MAX))
        };
        for base in hosts.flatten().filter(is_due) {
            let Ok(entries) = base.folder.handle.entries() else { continue };
            for (name, _) in entries {
                let own = name.to_str().and_then(|name| name.strip_prefix(group::PREFIX));
                if own.is_some_and(&is_left) {
                    // Another one may have been first.
                    let removed = base.folder.handle.remove_directory(&name);
                    let is_busy = |error: io::Error| error.kind() == io::ErrorKind::ResourceBusy;
                    busy += usize::from(removed.is_err_and(is_busy));
                }
            }
        }
        busy
    }

    /// Puts a group into the hierarchy of a controller, and says whether that is a new one for it.
    fn extend(&self, group: &mut Group, controller: Controller) -> Result<bool, GroupError> {
        let missing = |source| GroupError::Missing { controller, source };
        if group.has(controller) {
            return Ok(false);
        }
        for base in self.hosts(controller).map_err(missing)? {
            base.enable(controller)?;
            if let Some(is_new) = group.take_seat(base, controller)? {
                return Ok(is_new);
            }
        }
        Err(missing(Missing {
            what: format!("the kernel is too old to hold a group to `{controller}`"),
            advice: "Linux 5.2 or later is needed".to_owned(),
        }))
    }

    /// The directories beneath which groups can be held to something, the best one first.
    fn hosts(&self, controller: Controller) -> Result<Vec<&Base>, Missing> {
        let tables = self.tables.as_ref().map_err(|error| Missing {
            what: format!("the system does not tell where control groups are: {error}"),
            advice: "have /proc mounted".to_owned(),
        })?;
        if let Some(parent) = &self.parent {
            check_parent(parent)?;
        }
        let v1 = tables.v1(word_v1(controller));
        let v2 = tables.v2();
        let candidates = match controller {
            // A tree without controllers can do both. It stops groups more surely than the freezer
            // of v1, but a process is added to it more slowly.
            Controller::Freezer => [v2, v1],
            Controller::CpuTime => [v1, v2],
            Controller::Memory | Controller::Cpu | Controller::Pids | Controller::Io => {
                [v1.clone(), v2.filter(|_| v1.is_none())]
            }
        };
        let (mut hosts, mut reason) = (Vec::new(), None);
        for (mount, own) in candidates.into_iter().flatten() {
            let base = self.base(tables, mount, own.as_deref());
            match base.and_then(|base| base.can(controller).map(|()| base)) {
                Ok(base) => hosts.push(base),
                Err(missing) => reason = reason.or(Some(missing)),
            }
        }
        match reason {
            _ if !hosts.is_empty() => Ok(hosts),
            Some(reason) => Err(reason),
            None if self.layout() == Layout::None => Err(Missing {
                what: "no control groups are mounted here".to_owned(),
                advice: "have them mounted at /sys/fs/cgroup".to_owned(),
            }),
            None => Err(Missing {
                what: format!("no hierarchy of control groups has the controller `{controller}`"),
                advice: format!(
                    "enable it when the system starts (such as with `cgroup_enable={}`), and have \
                     it mounted",
                    word_v1(controller)
                ),
            }),
        }
    }

    /// What was found out of a mount; found out now, where nobody has asked before.
    fn base(&self, tables: &Tables, mount: &Mount, own: Option<&str>) -> Result<&Base, Missing> {
        let mut known = tables.mounts.iter().zip(&self.bases);
        let (_, base) = known.find(|(other, _)| *other == mount).ok_or_else(|| Missing {
            what: format!("`{}` is no mount of control groups", mount.point),
            advice: "this is a flaw of ours".to_owned(),
        })?;
        let find = || Base::find(mount, own, self.parent.as_deref(), self.is_real);
        base.get_or_init(find).as_ref().map_err(Missing::clone)
    }
}

/// Whether a mount is of v1 and of a controller that groups of ours use.
fn is_v1(mount: &Mount) -> bool {
    let is_used = |word: &String| Controller::ALL.iter().any(|known| word_v1(*known) == word);
    !mount.unified && mount.controllers.iter().any(is_used)
}

/// The name of a controller of v1, as the kernel has it.
fn word_v1(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "memory",
        Controller::Cpu => "cpu",
        Controller::CpuTime => "cpuacct",
        Controller::Pids => "pids",
        Controller::Io => "blkio",
        Controller::Freezer => "freezer",
    }
}

fn check_parent(parent: &str) -> Result<(), Missing> {
    if base::is_plain(parent) {
        return Ok(());
    }
    Err(Missing {
        what: format!("`{}` is no path of a control group", parent.escape_debug()),
        advice: "name one such as `/machine.slice`, as it is beneath the mount of a hierarchy"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trees;
