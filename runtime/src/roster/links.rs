//! The names of sandboxes: symbolic links that lead to ids, each of one maker.
//!
//! A link is made by whoever is first, and all others fail. One that is there is changed by nobody: it
//! is removed, by whoever holds a lock and has seen that it still leads where it led.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::time::Duration;

use crate::platform::files;
use crate::platform::tree::Directory;

use super::name::SandboxId;
use super::name::SandboxName;
use super::place::Roster;
use super::place::RosterError;
use super::place::at;

/// The lock of those who remove names.
const REMOVING: &str = "removing-names";

/// The lock of those who give a sandbox another name, for as long as it may have two.
const RENAMING: &str = "renaming";

impl Roster {
    fn links(&self) -> Result<Directory, RosterError> {
        let path = self.names.path();
        Directory::open(path).map_err(at("open", path))
    }

    /// Waits until nobody else has this lock.
    fn alone(&self, lock: &str) -> Result<File, RosterError> {
        let path = self.folder().path_of(lock);
        let file = files::open_lock(&path).map_err(at("open", &path))?;
        files::lock(&file).map_err(at("lock", &path))?;
        Ok(file)
    }

    /// Where a name leads.
    pub(super) fn led_to(&self, name: &str) -> Result<Option<SandboxId>, RosterError> {
        let link = self.links()?.read_link(name).ok();
        Ok(link.and_then(|link| SandboxId::parse(&link.to_string_lossy())))
    }

    /// Takes a name for a sandbox. One that leads to a sandbox that is no more is free.
    pub(super) fn take(&self, name: &SandboxName, id: &SandboxId) -> Result<(), RosterError> {
        /// How long a name is waited for whose sandbox is being made or removed, in steps.
        const PATIENCE: u32 = 100;
        /// A step.
        const STEP: Duration = Duration::from_millis(2);
        let path = self.names.path_of(name.as_str());
        let links = self.links()?;
        let mut steps = 0;
        loop {
            match links.create_link(name.as_str(), OsStr::new(id.as_str())) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at("take the name", &path)(error)),
            }
            let Ok(seen) = links.read_link(name.as_str()) else { continue };
            if let Some(other) = SandboxId::parse(&seen.to_string_lossy()) {
                // In this order: one that is made leaves the first for the second.
                let is_in_between = self.is_in_between(&other);
                if self.has_place(&other) || is_in_between && PATIENCE <= steps {
                    return Err(RosterError::Taken(other.short().to_owned()));
                }
                if is_in_between {
                    steps += 1;
                    std::thread::sleep(STEP);
                    continue;
                }
            }
            self.free(name.as_str(), &seen)?;
        }
    }

    pub(super) fn take_any(&self, id: &SandboxId) -> Result<SandboxName, RosterError> {
        /// How many names without a number are tried.
        const PLAIN: u32 = 8;
        for count in 0.. {
            let name = SandboxName::by_chance();
            let name = if count < PLAIN { name } else { name.numbered(count) };
            match self.take(&name, id) {
                Ok(()) => return Ok(name),
                Err(RosterError::Taken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RosterError::Missing)
    }

    /// Removes a name, if it still leads where it did.
    fn free(&self, name: &str, seen: &OsStr) -> Result<(), RosterError> {
        let _alone = self.alone(REMOVING)?;
        let links = self.links()?;
        if links.read_link(name).is_ok_and(|now| now == seen) {
            let path = self.names.path_of(name);
            links.remove_file(name).map_err(at("remove", &path))?;
        }
        Ok(())
    }

    /// Frees a name, if it is this sandbox's.
    pub(super) fn give_up(&self, name: &SandboxName, id: &SandboxId) {
        // One that leads nowhere is as good as free.
        let _left = self.free(name.as_str(), OsStr::new(id.as_str()));
    }

    /// Gives a sandbox another name instead of all that it has.
    pub(crate) fn rename(&self, id: &SandboxId, new: &SandboxName) -> Result<(), RosterError> {
        let _alone = self.alone(RENAMING)?;
        let old = self.names_of(id)?;
        if !old.contains(new) {
            // It has two for a moment, which is better than none.
            self.take(new, id)?;
        }
        for name in old.iter().filter(|name| *name != new) {
            self.give_up(name, id);
        }
        // Last: who removes a sandbox moves that away first, and frees the one name that he knows.
        if !self.has_place(id) {
            self.give_up(new, id);
            return Err(RosterError::Missing);
        }
        Ok(())
    }

    /// All names, with where they lead.
    fn all_links(&self) -> Result<Vec<(SandboxName, SandboxId)>, RosterError> {
        let links = self.links()?;
        let lead = |text: String| {
            let link = links.read_link(&text).ok()?;
            Some((text.parse().ok()?, SandboxId::parse(&link.to_string_lossy())?))
        };
        Ok(self.names.names().into_iter().filter_map(lead).collect())
    }

    /// The names of all sandboxes.
    pub(crate) fn all_names(&self) -> Result<BTreeSet<SandboxName>, RosterError> {
        let own = self.all_links()?.into_iter().filter(|(_, id)| self.has_place(id));
        Ok(own.map(|(name, _)| name).collect())
    }

    /// The names of a sandbox: one, but for moments.
    pub(crate) fn names_of(&self, id: &SandboxId) -> Result<Vec<SandboxName>, RosterError> {
        let own = self.all_links()?.into_iter().filter(|(_, other)| other == id);
        Ok(own.map(|(name, _)| name).collect())
    }

    /// Whether a name is this sandbox's.
    pub(super) fn leads_to(&self, name: &SandboxName, id: &SandboxId) -> Result<bool, RosterError> {
        Ok(self.led_to(name.as_str())?.is_some_and(|other| other == *id))
    }

    /// The name of a sandbox, which had this one when somebody looked. Where that is not its own any
    /// more, it is looked for among all.
    pub(super) fn name_of(
        &self,
        id: &SandboxId,
        known: Option<&SandboxName>,
    ) -> Result<Option<SandboxName>, RosterError> {
        if let Some(name) = known
            && self.leads_to(name, id)?
        {
            return Ok(Some(name.clone()));
        }
        Ok(self.names_of(id)?.into_iter().next())
    }

    /// Frees the names of those that are no more, and says the others by the ids that have them.
    pub(super) fn clear_names(&self) -> Result<HashMap<SandboxId, SandboxName>, RosterError> {
        let links = self.links()?;
        let mut found = HashMap::new();
        for name in self.names.names() {
            let Ok(seen) = links.read_link(&name) else { continue };
            // Most are there, and need no second look.
            let id = SandboxId::parse(&seen.to_string_lossy())
                .filter(|id| self.has_place(id) || self.is_there(id));
            match (id, name.parse()) {
                (Some(id), Ok(name)) => {
                    found.insert(id, name);
                }
                (Some(_), Err(_)) => {}
                (None, _) => self.free(&name, &seen)?,
            }
        }
        Ok(found)
    }

    /// Whether a sandbox is there, or is being made or removed. In this order: one that is made leaves
    /// the first for the second.
    fn is_there(&self, id: &SandboxId) -> bool {
        self.is_in_between(id) || self.has_place(id)
    }
}
