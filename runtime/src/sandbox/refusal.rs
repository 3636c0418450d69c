//! Which failed calls on paths were refusals, and of what: the directories that a guest has open.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::capabilities::Access;
use crate::capabilities::Denial;
use crate::capabilities::Files;
use crate::capabilities::Preopen;
use crate::capabilities::Refusal;
use crate::platform::files;

use super::state::RESOURCES_MAX;

/// How a call on a path failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    NoEntry,
    NotPermitted,
    /// What the engine says where it does not know what the system said: that a mount may only be
    /// read, for one.
    Io,
    Other,
}

/// Where something that is open lies.
#[derive(Debug)]
struct Place {
    /// Which of the grants it is in.
    grant: usize,
    /// The way that the guest took from the grant to it.
    way: String,
}

/// What a guest has open, by the numbers that its world calls it by.
#[derive(Debug)]
pub(super) struct Places {
    files: Arc<Files>,
    // Invariant: at most `RESOURCES_MAX`, each with a way that `Denial::shown` has cut.
    known: BTreeMap<u32, Place>,
    /// What was there without being opened: it does not count as an open file.
    given: BTreeSet<u32>,
}

impl Places {
    pub(super) fn new(files: Arc<Files>) -> Self {
        Self { files, known: BTreeMap::new(), given: BTreeSet::new() }
    }

    /// The guest was given a grant, or something that is in none.
    pub(super) fn give(&mut self, number: u32, grant: Option<usize>) {
        self.given.insert(number);
        if let Some(grant) = grant {
            self.insert(number, Place { grant, way: String::new() });
        }
    }

    /// The guest opened `path`, which starts at `base`.
    pub(super) fn note_opened(&mut self, number: u32, base: u32, path: &str) {
        if let Some(Place { grant, way }) = self.known.get(&base) {
            let way = if way.is_empty() { path.to_owned() } else { format!("{way}/{path}") };
            let place = Place { grant: *grant, way: Denial::shown(&way).to_owned() };
            self.insert(number, place);
        }
    }

    fn insert(&mut self, number: u32, place: Place) {
        if self.known.len() < RESOURCES_MAX {
            self.known.insert(number, place);
        }
    }

    /// The guest closed it. Says whether it counted as an open file.
    pub(super) fn note_closed(&mut self, number: u32) -> bool {
        self.known.remove(&number);
        !self.given.remove(&number)
    }

    /// What was `from` is `to`, and what was `to` is closed. Says whether that counted as an open
    /// file.
    pub(super) fn note_renumbered(&mut self, from: u32, to: u32) -> bool {
        let counted = self.note_closed(to);
        if let Some(place) = self.known.remove(&from) {
            self.insert(to, place);
        }
        if self.given.remove(&from) {
            self.given.insert(to);
        }
        counted
    }

    /// Whether a call on a path from `base` that failed with `answer` can have been refused: most
    /// failures are no refusals, and need no look at the path.
    pub(super) fn may_be_refusal(&self, base: u32, answer: Answer) -> bool {
        match answer {
            Answer::NotPermitted => true,
            Answer::NoEntry => self.known.get(&base).is_some_and(|place| self.grant(place).empty),
            Answer::Io => {
                self.known.get(&base).is_some_and(|place| !self.grant(place).files.is_empty())
            }
            Answer::Other => false,
        }
    }

    /// What was refused, if a call on `path` from `base` that failed with `answer` was.
    ///
    /// The engine says the same where it refuses and where the host's own rules do: what is neither
    /// against the grant nor leads out of it is the host's answer, and no denial.
    pub(super) fn refusal(
        &self,
        base: u32,
        path: &str,
        write: bool,
        answer: Answer,
    ) -> Option<Denial> {
        let place = self.known.get(&base);
        let grant = place.map(|place| self.grant(place));
        let refusal =
            match (grant, answer) {
                (Some(grant), Answer::Io | Answer::NotPermitted)
                    if write && grant.is_read_only_file(&self.whole(base, path)) =>
                {
                    Refusal::ReadOnly
                }
                (Some(grant), Answer::Io) if write && grant.is_held_by_the_system() => {
                    if grant.empty { Refusal::NotGranted } else { Refusal::ReadOnly }
                }
                (_, Answer::Io | Answer::Other) => return None,
                (Some(grant), _) if grant.empty => Refusal::NotGranted,
                (_, Answer::NoEntry) => return None,
                (_, Answer::NotPermitted) if climbs(path) => Refusal::Outside,
                (Some(grant), _) if write && grant.access == Access::ReadOnly => Refusal::ReadOnly,
                (Some(grant), _) if leads_out(grant, place?, path) => Refusal::Outside,
                (_, Answer::NotPermitted) => return None,
            };
        Some(Denial::new(&self.whole(base, path), refusal))
    }

    /// A path from `base`, as the guest sees it from its root.
    pub(super) fn whole(&self, base: u32, path: &str) -> String {
        let shown = Denial::shown(path);
        let place = self.known.get(&base).filter(|_| !path.starts_with('/'));
        let Some(place) = place else { return shown.to_owned() };
        let start = self.grant(place).place.trim_end_matches('/');
        let between = if place.way.is_empty() { "" } else { "/" };
        format!("{start}{between}{}/{shown}", place.way)
    }

    /// How many names the open directory `number` has, counted up to `enough`; nothing where it is no
    /// longer where the guest found it.
    pub(super) fn names_in(&self, number: u32, enough: usize) -> Option<usize> {
        let place = self.known.get(&number)?;
        let grant = self.grant(place);
        let handle = grant.handle.as_ref()?;
        if place.way.is_empty() {
            return files::count_names(handle, &grant.host, enough).ok();
        }
        let inner = files::open_beneath(handle, &grant.host, &place.way).ok()?;
        files::count_names(&inner, &grant.host.join(&place.way), enough).ok()
    }

    fn grant(&self, place: &Place) -> &Preopen {
        &self.files.preopens[place.grant]
    }
}

/// Whether a link on the way leads out of what the guest has open.
fn leads_out(grant: &Preopen, place: &Place, path: &str) -> bool {
    let Some(handle) = &grant.handle else { return false };
    files::leads_out(handle, &grant.host, &place.way, path)
}

/// Whether a path leads above where it starts.
fn climbs(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_climbs_when_it_leads_above_its_start() {
        for path in ["..", "../x", "a/../../x", "/etc"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["", "a", "a/..", "a/../b", "./a"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
