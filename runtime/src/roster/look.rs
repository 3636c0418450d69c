//! A look at all sandboxes: what is known of each, and what became of those whose keepers are gone.

use std::fs;

use super::entry::Life;
use super::entry::Resident;
use super::name::SandboxId;
use super::place::PART;
use super::place::Roster;
use super::place::RosterError;
use super::place::is_free;

/// What a look at all sandboxes finds.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// All of them, the newest first.
    pub(crate) all: Vec<Resident>,
    /// Those of which nothing can be read.
    pub(crate) damaged: Vec<SandboxId>,
    /// Those that lost their keepers since somebody looked last. Where they were to be removed at their
    /// end, they are.
    pub(crate) lost: Vec<Resident>,
}

impl Roster {
    /// Looks at all sandboxes, each once. Writes down what became of those whose keepers are gone, and
    /// removes what others left in the middle of their work.
    pub(crate) fn look(&self) -> Result<Looked, RosterError> {
        let directories = self.directories(true)?;
        for part in directories.iter().filter(|name| name.starts_with(PART)) {
            let path = self.ids.path_of(part);
            if is_free(&path) {
                let _others_may_be_first = fs::remove_dir_all(path);
            }
        }
        let mut names = self.clear_names()?;
        let mut looked = Looked::default();
        for id in directories.iter().filter_map(|name| SandboxId::parse(name)) {
            match self.look_at(&id, &mut looked.lost) {
                Ok(Some(mut resident)) => {
                    resident.name = match (names.remove(&id), resident.name) {
                        (Some(name), _) => Some(name),
                        // It may have been made since the names were read.
                        (None, Some(own)) if self.leads_to(&own, &id)? => Some(own),
                        (None, _) => None,
                    };
                    looked.all.push(resident);
                }
                Err(RosterError::Damaged(_)) => looked.damaged.push(id),
                // It was removed meanwhile.
                Ok(None) | Err(RosterError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        let newest_first = |one: &Resident, other: &Resident| {
            other.created.cmp(&one.created).then(one.id.cmp(&other.id))
        };
        looked.all.sort_by(newest_first);
        Ok(looked)
    }

    /// What is known of a sandbox, and settled where its keeper is gone; nothing of one that goes.
    fn look_at(
        &self,
        id: &SandboxId,
        lost: &mut Vec<Resident>,
    ) -> Result<Option<Resident>, RosterError> {
        let held = match self.hold(id) {
            Ok(held) => held,
            Err(RosterError::Missing) => return Ok(None),
            // Who has a keeper is none of our business.
            Err(_) => {
                return match self.read(id) {
                    Ok(resident) => Ok(Some(resident)),
                    Err(RosterError::Damaged(error)) => Err(error.into()),
                    Err(_) => Ok(None),
                };
            }
        };
        let (mut resident, boot) = held.read(id)?;
        if resident.life != Life::Exited {
            held.settle(&mut resident, boot.as_deref());
            if !resident.plan.remove {
                held.write(&resident)?;
            }
            lost.push(resident.clone());
        }
        if resident.plan.remove {
            held.remove(id)?;
            return Ok(None);
        }
        Ok(Some(resident))
    }
}

#[cfg(test)]
mod tests {
    // Names are links, which not every system makes.
    #[cfg(all(unix, not(aril_portable)))]
    #[test]
    fn one_that_lost_its_keeper_is_settled_once_and_goes_with_the_name_that_it_has_by_then() {
        use super::*;
        use crate::roster::Plan;

        let dir = tempfile::tempdir().expect("a directory");
        let roster = Roster::open(dir.path()).expect("a roster");
        let (made, held) = roster.enrol(None, &Plan::default()).expect("a place");
        let looked = roster.look().expect("a look");
        assert_eq!((looked.all.len(), looked.lost.len()), (1, 0), "its keeper is this process");
        drop(held);
        let looked = roster.look().expect("a look");
        assert_eq!(looked.lost.len(), 1);
        assert_eq!(looked.all[0].life, Life::Exited);
        assert_eq!(looked.all[0].name, made.name);
        assert_eq!(roster.look().expect("a look").lost, [], "it is told once");

        // Its entry has the old one, and nobody who would write it anew.
        let new = "new".parse().expect("a name");
        roster.rename(&made.id, &new).expect("another name");
        assert_eq!(roster.look().expect("a look").all[0].name, Some(new.clone()));
        assert_eq!(roster.get(&made.id).expect("it is there").name, Some(new));
        roster.hold(&made.id).expect("nobody keeps it").remove(&made.id).expect("it goes");
        assert_eq!(roster.all_names().expect("names").len(), 0);
        assert!(roster.look().expect("a look").all.is_empty());
    }
}
