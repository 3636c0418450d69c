//! A group stands still, goes on, and is killed.

use std::time::Duration;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

use crate::platform::groups::Controller;
use crate::platform::groups::GroupError;

use super::folder::Folder;
use super::group::Beat;
use super::group::Group;
use super::group::Seat;
use super::parse;

impl Group {
    /// Lets all processes of the group stand still, and returns when they do. A group that does not
    /// within `limit` goes on.
    ///
    /// # Errors
    ///
    /// Fails where the group is in no hierarchy that can do so: see [`Group::join`].
    pub(crate) fn freeze(&self, limit: Duration) -> Result<(), GroupError> {
        let mut beat = Beat::new(limit);
        while !self.freeze_once()? {
            if !beat.wait() {
                self.let_go()?;
                return Err(self.too_long("frozen", limit));
            }
        }
        Ok(())
    }

    /// Asks all processes of the group to stand still, and says whether they do by now.
    pub(crate) fn freeze_once(&self) -> Result<bool, GroupError> {
        let seat = self.freezer()?;
        if seat.place.unified {
            seat.folder.write_exactly("cgroup.freeze", "1")?;
            is_frozen(&seat.folder)
        } else {
            // What is forked while v1 freezes is missed, and asked again.
            seat.folder.write("freezer.state", "FROZEN")?;
            Ok(state(&seat.folder)? == "FROZEN")
        }
    }

    /// Says that the group goes on, and does not wait until it does.
    pub(crate) fn let_go(&self) -> Result<(), GroupError> {
        let_go(self.freezer()?)
    }

    /// Whether it is, for what else it is made, in a hierarchy where it can stand still and where
    /// what is killed meanwhile ends. What v1 has frozen does not end before it goes on.
    pub(crate) fn can_be_frozen_and_killed(&self) -> bool {
        self.freezer_v2().is_some()
    }

    fn freezer_v2(&self) -> Option<&Seat> {
        let is_one = |seat: &&Seat| seat.place.unified && seat.folder.has("cgroup.freeze");
        self.seats.iter().find(is_one)
    }

    fn freezer(&self) -> Result<&Seat, GroupError> {
        self.freezer_v2().map_or_else(|| self.seat(Controller::Freezer), Ok)
    }

    /// Lets the group go on, and returns when it does.
    pub(crate) fn thaw(&self, limit: Duration) -> Result<(), GroupError> {
        let seat = self.freezer()?;
        let_go(seat)?;
        let mut beat = Beat::new(limit);
        loop {
            let still = if seat.place.unified {
                is_frozen(&seat.folder)?
            } else {
                state(&seat.folder)? != "THAWED"
            };
            if !still {
                return Ok(());
            }
            if !beat.wait() {
                return Err(self.too_long("thawed (is a group above it frozen?)", limit));
            }
        }
    }

    /// Kills all processes of the group, frozen ones as well, and returns when they have ended.
    ///
    /// The group takes no new ones after that: where the kernel cannot kill a group at once, its
    /// limit of processes is zero from then on.
    pub(crate) fn kill(&self, limit: Duration) -> Result<(), GroupError> {
        let mut beat = Beat::new(limit);
        loop {
            self.kill_once()?;
            if self.is_empty()? {
                return Ok(());
            }
            if !beat.wait() {
                return Err(self.too_long("empty", limit));
            }
        }
    }

    fn kill_once(&self) -> Result<(), GroupError> {
        for seat in self.seats.iter().filter(|seat| seat.place.unified) {
            // Linux before 5.14 has no such file.
            if seat.folder.has("cgroup.kill") {
                seat.folder.write("cgroup.kill", "1")?;
                return Ok(());
            }
        }
        // Who is killed starts no others, and who is not yet cannot where the group has a limit.
        if let Ok(seat) = self.seat(Controller::Pids) {
            seat.folder.write("pids.max", "0")?;
        }
        for pid in self.processes()? {
            self.kill_one(pid)?;
        }
        // What stands still in v1 does not end before it goes on.
        match self.seat(Controller::Freezer) {
            Ok(seat) => let_go(seat),
            Err(_) => Ok(()),
        }
    }

    /// Kills a process that is in the group, and no other that has its number by now.
    fn kill_one(&self, number: u32) -> Result<(), GroupError> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let Some(Ok(held)) = pid.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
        else {
            // It has ended.
            return Ok(());
        };
        // Held first and looked for then: if it is still there, it is the one that is held.
        if self.processes()?.contains(&number) {
            // It may have ended in the meantime.
            let _ended = rustix::process::pidfd_send_signal(&held, Signal::KILL);
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, GroupError> {
        for seat in &self.seats {
            if !seat.folder.read("cgroup.procs")?.trim().is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn too_long(&self, state: &'static str, limit: Duration) -> GroupError {
        GroupError::TooLong { group: self.told(), state, limit }
    }
}

/// Says that a group goes on.
fn let_go(seat: &Seat) -> Result<(), GroupError> {
    if seat.place.unified {
        seat.folder.write_exactly("cgroup.freeze", "0")
    } else {
        seat.folder.write("freezer.state", "THAWED")
    }
}

fn is_frozen(folder: &Folder) -> Result<bool, GroupError> {
    let frozen = |text: &str| parse::field(text, "frozen");
    folder.value("cgroup.events", "list with `frozen`", frozen).map(|frozen| frozen == 1)
}

fn state(folder: &Folder) -> Result<&'static str, GroupError> {
    folder.value("freezer.state", "state of a freezer", |text| {
        ["THAWED", "FREEZING", "FROZEN"].into_iter().find(|state| *state == text.trim())
    })
}
