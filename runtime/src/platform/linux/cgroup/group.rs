//! A group: its directories, who is in it, and its end.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;
use crate::platform::groups::GroupRecord;
use crate::platform::groups::Missing;
use crate::platform::groups::Place;
use crate::platform::linux::tree::Directory;

use super::Cgroups;
use super::base;
use super::base::Base;
use super::folder::Folder;
use super::parse;
use super::place::Made;

/// What the names of our directories begin with, so that whoever finds one knows whose it is.
pub(super) const PREFIX: &str = "aril-";

/// The longest name of a group: file systems take 255 bytes, of which the prefix needs some.
const NAME_LENGTH_MAX: usize = 200;

/// How long processes are moved into a hierarchy before that is given up: those that multiply
/// faster than they are moved are never all there.
const MOVING_MAX: Duration = Duration::from_secs(1);

/// A group of processes. It does not end with this value: [`Group::remove`] removes it.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    pub(super) seats: Vec<Seat>,
    /// Groups above it that were made for it.
    pub(super) made: Vec<Made>,
}

/// The directory of a group in a hierarchy.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) folder: Folder,
    above: Directory,
    pub(super) place: Place,
}

impl Group {
    /// A group that is in no hierarchy yet.
    pub(super) fn new(name: &str) -> Result<Self, GroupError> {
        check_name(name)?;
        Ok(Self { name: format!("{PREFIX}{name}"), seats: Vec::new(), made: Vec::new() })
    }

    /// A group of a name that others chose, which is in no hierarchy yet.
    pub(super) fn placed(name: &str) -> Self {
        Self { name: name.to_owned(), seats: Vec::new(), made: Vec::new() }
    }

    /// Removes a directory of this name that is empty and was left by somebody.
    pub(super) fn forget_old(&self, base: &Base) -> io::Result<()> {
        if self.is_in(&base.mount) {
            Ok(())
        } else {
            base.folder.handle.remove_directory(&self.name)
        }
    }

    /// Takes the seat that is there in a hierarchy, where one is.
    pub(super) fn find_seat(
        &mut self,
        base: &Base,
        controller: Controller,
    ) -> Result<(), GroupError> {
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.place.mount == base.mount) {
            seat.place.controllers.push(controller);
            return Ok(());
        }
        let failed = |source| GroupError::Open { group: base.folder.file(&self.name), source };
        let folder = match base.folder.child(&self.name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let above = base.folder.handle.again().map_err(failed)?;
        let place = self.place_in(base, controller);
        self.seats.push(Seat { folder, above, place });
        Ok(())
    }

    /// Where it is in a hierarchy.
    fn place_in(&self, base: &Base, controller: Controller) -> Place {
        let separator = if base.path.is_empty() { "" } else { "/" };
        Place {
            mount: base.mount.clone(),
            path: format!("{}{separator}{}", base.path, self.name),
            unified: base.unified,
            controllers: vec![controller],
        }
    }

    /// Finds a group again, of what [`Group::record`] said. Directories that were removed are left
    /// out.
    ///
    /// # Errors
    ///
    /// Fails with [`GroupError::Gone`] where no directory is left.
    pub(crate) fn open(record: &GroupRecord) -> Result<Self, GroupError> {
        Self::open_in(record, true)
    }

    pub(super) fn open_in(record: &GroupRecord, is_real: bool) -> Result<Self, GroupError> {
        let mut group = Self { name: String::new(), seats: Vec::new(), made: Vec::new() };
        for place in &record.places {
            let path = format!("{}/{}", place.mount.trim_end_matches('/'), place.path);
            let failed = |source| GroupError::Open { group: path.clone(), source };
            let (above, own) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
            let name = own.strip_prefix(PREFIX).ok_or_else(|| GroupError::Name {
                name: own.escape_debug().to_string(),
                reason: "groups of ours begin with `aril-`",
            })?;
            check_name(name)?;
            if !base::is_plain(above) {
                let error = io::Error::other("the record names no directory beneath its mount");
                return Err(failed(error));
            }
            if !group.seats.is_empty() && group.name != own {
                let error = io::Error::other("the record names two groups");
                return Err(failed(error));
            }
            own.clone_into(&mut group.name);
            let missing = |missing: Missing| failed(io::Error::other(missing));
            let top = base::open_mount(&place.mount, place.unified, is_real).map_err(missing)?;
            let opened = top.handle.descend(above).and_then(|above| {
                let handle = above.child(own)?;
                Ok(Seat {
                    folder: Folder { handle, path: path.clone() },
                    above,
                    place: place.clone(),
                })
            });
            match opened {
                Ok(seat) => group.seats.push(seat),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if group.seats.is_empty() {
            return Err(GroupError::Gone { group: group.name });
        }
        Ok(group)
    }

    /// Where this group is: what another process finds it again by. Changes with [`Group::join`].
    pub(crate) fn record(&self) -> GroupRecord {
        GroupRecord { places: self.seats.iter().map(|seat| seat.place.clone()).collect() }
    }

    /// Whether it is in a hierarchy of this controller.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.seats.iter().any(|seat| seat.place.controllers.contains(&controller))
    }

    /// Whether it has a directory in the hierarchy that is mounted there.
    pub(super) fn is_in(&self, mount: &str) -> bool {
        self.seats.iter().any(|seat| seat.place.mount == mount)
    }

    /// Its directory in the hierarchy of a controller.
    pub(super) fn seat(&self, controller: Controller) -> Result<&Seat, GroupError> {
        let mut seats = self.seats.iter();
        seats
            .find(|seat| seat.place.controllers.contains(&controller))
            .ok_or(GroupError::NotJoined { controller })
    }

    /// Takes a seat in a hierarchy: whether it is a new one, or nothing where the kernel does not
    /// hold groups to this there.
    pub(super) fn take_seat(
        &mut self,
        base: &Base,
        controller: Controller,
    ) -> Result<Option<bool>, GroupError> {
        let there = self.seats.iter_mut().find(|seat| seat.place.mount == base.mount);
        if let Some(seat) = there {
            let can = has_file_of(&seat.folder, base.unified, controller);
            if can {
                seat.place.controllers.push(controller);
            }
            return Ok(can.then_some(false));
        }
        let path = base.folder.file(&self.name);
        let failed = |source| GroupError::Make { group: path.clone(), source };
        let made = base.folder.handle.create_directory(&self.name, 0o755);
        made.map_err(failed)?;
        let opened = base
            .folder
            .handle
            .again()
            .and_then(|above| Ok((above, base.folder.child(&self.name)?)));
        let (above, folder) = match opened {
            Ok((above, folder)) if has_file_of(&folder, base.unified, controller) => {
                (above, folder)
            }
            unusable => {
                let _left = base.folder.handle.remove_directory(&self.name);
                return unusable.map(|_| None).map_err(failed);
            }
        };
        let place = self.place_in(base, controller);
        self.seats.push(Seat { folder, above, place });
        Ok(Some(true))
    }

    /// Puts a group with all its processes into the hierarchy of a controller that it was made
    /// without, so that only who needs it pays for it. The group's record changes by that.
    ///
    /// # Errors
    ///
    /// Fails where something is missing, and where its processes multiply faster than they are
    /// moved. It is held to nothing by that controller then.
    pub(crate) fn join(
        &mut self,
        cgroups: &Cgroups,
        controller: Controller,
    ) -> Result<(), GroupError> {
        let earlier = self.seats.len();
        if !cgroups.extend(self, controller)? || earlier == 0 {
            return Ok(());
        }
        let moved = self.move_to_seat(earlier);
        if moved.is_err()
            && let Some(seat) = self.seats.get_mut(earlier)
        {
            // It stays, to be removed with the others: some may be there.
            seat.place.controllers.clear();
        }
        moved
    }

    /// Moves all its processes to a seat that is new.
    fn move_to_seat(&self, new: usize) -> Result<(), GroupError> {
        let (Some(from), Some(to)) = (self.seats.first(), self.seats.get(new)) else {
            return Ok(());
        };
        let started = Instant::now();
        loop {
            let there = processes_of(&to.folder)?;
            let mut all = processes_of(&from.folder)?;
            all.retain(|pid| !there.contains(pid));
            if all.is_empty() {
                return Ok(());
            }
            if started.elapsed() > MOVING_MAX {
                return Err(GroupError::TooLong {
                    group: to.folder.path.clone(),
                    state: "joined by all processes",
                    limit: MOVING_MAX,
                });
            }
            for pid in all {
                match add(&to.folder, pid) {
                    // It has ended.
                    Err(GroupError::Add { source, .. })
                        if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                    added => added?,
                }
            }
        }
    }

    /// Adds a process with all its threads, and with it the children that it will start.
    ///
    /// # Errors
    ///
    /// Fails where there is no such process, or where this process may not move it.
    #[cfg(test)]
    pub(super) fn add(&self, pid: u32) -> Result<(), GroupError> {
        self.seats.iter().try_for_each(|seat| add(&seat.folder, pid))
    }

    /// What a process with one thread walks into this group by, with [`walk_in`]: a file for each
    /// hierarchy of v1.
    ///
    /// Whoever moves another process waits until all processors have passed through the kernel, which
    /// takes milliseconds, since that one may be starting a thread meanwhile. A thread that moves itself
    /// does not. The kernel knows this way in hierarchies of v1 alone.
    pub(crate) fn doors(&self) -> Result<Vec<File>, GroupError> {
        let seats = self.seats.iter().filter(|seat| !seat.place.unified);
        seats.map(|seat| seat.folder.open_to_write("tasks")).collect()
    }

    /// Adds a process with all its threads, and with it the children that it will start, in the
    /// hierarchies that have no [`Group::doors`].
    ///
    /// # Errors
    ///
    /// Fails where there is no such process, or where this process may not move it.
    pub(crate) fn add_where_no_door_is(&self, pid: u32) -> Result<(), GroupError> {
        let mut seats = self.seats.iter().filter(|seat| seat.place.unified);
        seats.try_for_each(|seat| add(&seat.folder, pid))
    }

    /// The processes in it, in no order. One of another namespace of processes is left out.
    pub(crate) fn processes(&self) -> Result<Vec<u32>, GroupError> {
        let mut all = Vec::new();
        for seat in &self.seats {
            all.extend(processes_of(&seat.folder)?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Removes a group without processes. For those that are just ending it waits for as long as
    /// `limit`. What is removed already is no error.
    pub(crate) fn remove(&self, limit: Duration) -> Result<(), GroupError> {
        let mut result = Ok(());
        let started = Instant::now();
        // All that can be removed is, whatever cannot be.
        for seat in self.seats.iter().rev() {
            let left = limit.saturating_sub(started.elapsed());
            if let Err(error) = self.remove_seat(seat, left) {
                result = Err(error);
            }
        }
        self.made.iter().rev().for_each(Made::remove);
        result
    }

    fn remove_seat(&self, seat: &Seat, limit: Duration) -> Result<(), GroupError> {
        let mut beat = Beat::new(limit);
        loop {
            match rustix::fs::unlinkat(&seat.above, &self.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if beat.wait() => {}
                Err(error) => {
                    let pids = processes_of(&seat.folder).unwrap_or_default();
                    let some: Vec<_> = pids.iter().take(8).map(u32::to_string).collect();
                    let holders = match pids.len() {
                        0 => String::new(),
                        count => {
                            format!(": it holds processes ({}; {count} in all)", some.join(", "))
                        }
                    };
                    let group = seat.folder.path.clone();
                    return Err(GroupError::Remove { group, holders, source: error.into() });
                }
            }
        }
    }

    /// Its name, as it is told to people.
    pub(super) fn told(&self) -> String {
        self.name.clone()
    }
}

/// Has the thread that calls this walk into a group by one of its [`Group::doors`].
pub(crate) fn walk_in(mut door: &File) -> io::Result<()> {
    // Who writes it is meant.
    door.write_all(b"0")
}

/// Whether a directory has what a group is held to something by, where kernels differ.
fn has_file_of(folder: &Folder, unified: bool, controller: Controller) -> bool {
    match controller {
        Controller::Freezer if unified => folder.has("cgroup.freeze"),
        Controller::CpuTime if unified => folder.has("cpu.stat"),
        _ => true,
    }
}

fn add(folder: &Folder, pid: u32) -> Result<(), GroupError> {
    match folder.write("cgroup.procs", &pid.to_string()) {
        Err(GroupError::Write { source, .. }) => {
            Err(GroupError::Add { pid, group: folder.path.clone(), source })
        }
        written => written,
    }
}

pub(super) fn processes_of(folder: &Folder) -> Result<Vec<u32>, GroupError> {
    folder.read("cgroup.procs").map(|text| parse::processes(&text))
}

fn check_name(name: &str) -> Result<(), GroupError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let reason = match name {
        "" => "it is empty",
        _ if name.len() > NAME_LENGTH_MAX => "it is longer than 200 characters",
        _ if !name.chars().all(is_plain) => "only letters, digits, `-`, `_` and `.` may be in it",
        _ => return Ok(()),
    };
    Err(GroupError::Name { name: name.escape_debug().to_string(), reason })
}

/// Waits in steps that grow, until a limit.
pub(super) struct Beat {
    end: Option<Instant>,
    step: Duration,
}

impl Beat {
    /// The first step, and the longest.
    const STEPS: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

    pub(super) fn new(limit: Duration) -> Self {
        // What cannot be told has no end.
        Self { end: Instant::now().checked_add(limit), step: Self::STEPS.0 }
    }

    /// Waits for a step, or says that the time is over.
    pub(super) fn wait(&mut self) -> bool {
        let left =
            self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.step.min(left));
        self.step = (self.step * 2).min(Self::STEPS.1);
        true
    }
}
