//! A group at a place that others chose, for those who look for it there.

use std::io;
use std::time::Duration;

use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;
use crate::platform::groups::Missing;
use crate::platform::linux::tree::Directory;

use super::Cgroups;
use super::base;
use super::base::WORDS_V2;
use super::group::Group;
use super::is_v1;
use super::tables::Mount;

/// How often a group above ours may be removed by whoever else used it, while ours is made.
const TRIES: u32 = 8;

/// A group above another one that was made for it. It is removed behind that, where it is empty.
#[derive(Debug)]
pub(super) struct Made {
    above: Directory,
    name: String,
}

impl Made {
    /// Removes it, where nobody else uses it by now.
    pub(super) fn remove(&self) {
        let _others_are_there = self.above.remove_directory(&self.name);
    }
}

impl Cgroups {
    /// Makes a group without processes at this path below the top of every hierarchy, with those above
    /// it that are missing, and in it all that each hierarchy counts and holds. One that is there already
    /// is made anew, where it is empty.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be made, and where one is there that is in use. Nothing is left behind then.
    pub(crate) fn make_at(path: &str) -> Result<Group, GroupError> {
        let (above, name) = split(path);
        let mut tried = 0;
        loop {
            match make_once(above, name) {
                Err(error) if tried < TRIES && is_gone(&error) => tried += 1,
                made => return made,
            }
        }
    }

    /// Ends all processes of the group at this path, in every hierarchy, and removes it. One that is
    /// not there is as good as removed.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be removed within `limit`.
    pub(crate) fn clear_at(path: &str, limit: Duration) -> Result<(), GroupError> {
        let (above, name) = split(path);
        let cgroups = Self::find(Some(above));
        let mut group = Group::placed(name);
        for controller in Controller::ALL {
            // Where the one above is not there, neither is it.
            for base in cgroups.hosts(controller).into_iter().flatten() {
                group.find_seat(base, controller)?;
            }
        }
        if group.seats.is_empty() {
            return Ok(());
        }
        group.kill(limit)?;
        group.remove(limit)
    }
}

/// The groups above, and the name.
fn split(path: &str) -> (&str, &str) {
    let way = path.trim_matches('/');
    way.rsplit_once('/').unwrap_or(("", way))
}

/// Whether something was removed meanwhile that was there before.
fn is_gone(error: &GroupError) -> bool {
    match error {
        GroupError::Make { source, .. } => source.kind() == io::ErrorKind::NotFound,
        GroupError::Missing { .. } => true,
        _ => false,
    }
}

fn make_once(above: &str, name: &str) -> Result<Group, GroupError> {
    let mut group = Group::placed(name);
    let made = make_above(&mut group, above).and_then(|()| {
        let cgroups = Cgroups::find(Some(above));
        for controller in Controller::ALL {
            // What the host has not, nobody is held to there.
            let hosts = cgroups.hosts(controller).unwrap_or_default();
            for base in &hosts {
                let _in_use = group.forget_old(base);
            }
            if !hosts.is_empty() {
                cgroups.extend(&mut group, controller)?;
            }
        }
        let controller = Controller::Memory;
        match cgroups.hosts(controller) {
            _ if !group.seats.is_empty() => Ok(()),
            Ok(_) => Err(GroupError::NotJoined { controller }),
            Err(source) => Err(GroupError::Missing { controller, source }),
        }
    });
    match made {
        Ok(()) => Ok(group),
        Err(error) => {
            // The first error is the one to tell.
            let _left = group.remove(Duration::ZERO);
            Err(error)
        }
    }
}

/// Makes the groups above one that are missing, in every hierarchy, and hands them what it is to have.
fn make_above(group: &mut Group, above: &str) -> Result<(), GroupError> {
    let cgroups = Cgroups::find(None);
    let controller = Controller::Memory;
    let tables = cgroups.tables.as_ref().map_err(|error| GroupError::Missing {
        controller,
        source: Missing {
            what: format!("the system does not tell where control groups are: {error}"),
            advice: "have /proc mounted".to_owned(),
        },
    })?;
    let used = tables.mounts.iter().filter(|mount| mount.unified || is_v1(mount));
    used.into_iter().try_for_each(|mount| make_above_in(group, mount, above))
}

fn make_above_in(group: &mut Group, mount: &Mount, above: &str) -> Result<(), GroupError> {
    let missing = |source| GroupError::Missing { controller: Controller::Memory, source };
    let top = base::open_mount(&mount.point, mount.unified, true).map_err(missing)?;
    let mut folder = top;
    for name in above.split('/').filter(|name| !name.is_empty()) {
        hand_down(&folder, mount);
        let failed = |source| GroupError::Make { group: folder.file(name), source };
        match folder.handle.create_directory(name, 0o755) {
            Ok(()) => {
                let above = folder.handle.again().map_err(failed)?;
                group.made.push(Made { above, name: name.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let child = folder.child(name).map_err(failed)?;
        folder = child;
    }
    hand_down(&folder, mount);
    Ok(())
}

/// Has the groups beneath one of v2 be held to what it is held to itself, as far as it may say so: what
/// it may not is found when the group is made.
fn hand_down(folder: &super::folder::Folder, mount: &Mount) {
    if mount.unified {
        for word in WORDS_V2 {
            let _not_there = folder.write("cgroup.subtree_control", &format!("+{word}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::linux::cgroup::tests::skip;

    /// Whether this process may make groups.
    fn may() -> bool {
        Cgroups::find(Some("")).can(Controller::Memory).is_ok()
            || Cgroups::find(Some("")).can(Controller::Pids).is_ok()
    }

    #[test]
    fn a_group_is_where_it_was_asked_for_and_leaves_nothing() {
        if !may() {
            return skip("control groups at the top of their hierarchies");
        }
        let place = format!("/aril-place-{}/deep/web", std::process::id());
        let group = Cgroups::make_at(&place).expect("a group");
        assert!(group.seats.iter().all(|seat| seat.folder.path.ends_with(&place)), "{group:?}");
        let beside = format!("/aril-place-{}/deep/app", std::process::id());
        let other = Cgroups::make_at(&beside).expect("another");
        group.remove(Duration::from_secs(1)).expect("removed");
        assert!(other.seats.iter().all(|seat| seat.folder.read("cgroup.procs").is_ok()));
        let again = Cgroups::make_at(&beside).expect("an empty one is made anew");
        drop(other);
        again.remove(Duration::from_secs(1)).expect("removed");
        let mounts = Cgroups::find(None);
        for mount in &mounts.tables.as_ref().expect("tables").mounts {
            let left = format!("{}/aril-place-{}/deep", mount.point, std::process::id());
            // Who made the ones above removed them, or left them to whoever was in them.
            let _empty = std::fs::remove_dir(&left);
            let above = left.trim_end_matches("/deep");
            let _empty = std::fs::remove_dir(above);
            assert!(!std::path::Path::new(above).exists(), "{above}");
        }
    }

    #[test]
    fn a_group_in_use_is_not_taken_over_and_clearing_ends_what_is_in_it() {
        if !may() {
            return skip("control groups at the top of their hierarchies");
        }
        let place = format!("/aril-clear-{}", std::process::id());
        let group = Cgroups::make_at(&place).expect("a group");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a child");
        group.add(child.id()).expect("added");
        let error = Cgroups::make_at(&place).expect_err("in use");
        assert!(matches!(error, GroupError::Make { .. }), "{error:?}");
        Cgroups::clear_at(&place, Duration::from_secs(5)).expect("cleared");
        assert!(!child.wait().expect("ended").success());
        Cgroups::clear_at(&place, Duration::from_secs(5)).expect("cleared again");
        let folders: Vec<_> = group.seats.iter().map(|seat| seat.folder.path.clone()).collect();
        assert!(folders.iter().all(|path| !std::path::Path::new(path).exists()), "{folders:?}");
    }
}
