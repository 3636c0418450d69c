//! The verbs for sandboxes that go on alone: each asks the keeper, or looks at what it left.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use std::time::SystemTime;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::limits::Hold;
use crate::limits::Limits;
use crate::roster::Answer;
use crate::roster::Ending;
use crate::roster::FOLLOWING;
use crate::roster::Happening;
use crate::roster::Life;
use crate::roster::Line;
use crate::roster::LogQuery;
use crate::roster::Logs;
use crate::roster::Looked;
use crate::roster::Request;
use crate::roster::Resident;
use crate::roster::Roster;
use crate::roster::RosterError;
use crate::roster::SandboxId;
use crate::roster::SandboxName;
use crate::sandbox::Stats;
use crate::sandbox::WireLimits;
use crate::sandbox::sweep;

use super::runtime::Runtime;

/// How long a keeper may take for an answer that it has at once.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(super) fn failed(
    doing: &'static str,
    what: impl Into<String>,
    kind: ErrorKind,
    source: impl Into<crate::error::Cause>,
) -> Error {
    Error::Roster { doing, what: what.into(), kind, source: source.into() }
}

pub(super) fn told<'a>(doing: &'static str, what: &'a str) -> impl Fn(RosterError) -> Error + 'a {
    move |error| {
        let kind = match &error {
            RosterError::Missing => ErrorKind::NotFound,
            RosterError::Ambiguous(_) | RosterError::Taken(_) => ErrorKind::InvalidInput,
            RosterError::Kept => ErrorKind::Denied,
            RosterError::Damaged(_) => ErrorKind::Internal,
            RosterError::File { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                ErrorKind::Exhausted
            }
            RosterError::Folder(_) | RosterError::File { .. } => ErrorKind::Unavailable,
        };
        failed(doing, what, kind, error)
    }
}

/// What a sandbox uses now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What its guest uses.
    pub stats: Stats,
    /// How much it may use, and how that is held.
    pub limits: Vec<Hold>,
    /// Whether it stands still.
    pub is_paused: bool,
    /// When that was so.
    pub at: SystemTime,
}

impl Runtime {
    pub(super) fn roster(&self) -> Result<Roster, Error> {
        let path = self.data()?.join("sandboxes");
        let what = path.display().to_string();
        Roster::open(&path).map_err(told("open the roster", &what))
    }

    /// All sandboxes that go on alone, or did and were not removed, the newest first; and the ids of
    /// those of which nothing can be read.
    ///
    /// # Errors
    ///
    /// Fails where the roster cannot be read.
    pub fn residents(&self) -> Result<(Vec<Resident>, Vec<SandboxId>), Error> {
        let roster = self.roster()?;
        let Looked { all, damaged, lost } = roster.look().map_err(told("list", "the roster"))?;
        if !lost.is_empty() {
            sweep(self.cgroups());
        }
        for resident in lost {
            let reason = resident.ending.as_ref().map_or("", Ending::reason);
            let image = resident.plan.image.as_str();
            roster.note(&resident.id, "die", &[("image", image), ("reason", reason)]);
        }
        Ok((all, damaged))
    }

    /// What is known of a sandbox, by its name, its id, or the beginning of that.
    ///
    /// # Errors
    ///
    /// Fails where there is none, or more than one, and where nothing can be read of it.
    pub fn resident(&self, name: &str) -> Result<Resident, Error> {
        self.known("look at", name)
    }

    fn known(&self, doing: &'static str, name: &str) -> Result<Resident, Error> {
        let roster = self.roster()?;
        roster.find(name).and_then(|id| roster.get(&id)).map_err(told(doing, name))
    }

    /// Asks a keeper something.
    fn ask(
        &self,
        doing: &'static str,
        name: &str,
        request: &Request,
        limit: Option<Duration>,
    ) -> Result<Answer, Error> {
        let roster = self.roster()?;
        let id = roster.find(name).map_err(told(doing, name))?;
        let answer = roster.connect(&id).and_then(|mut line| line.ask(request, limit));
        match answer {
            Ok(Answer::Refused(reason)) => Err(failed(doing, name, ErrorKind::Denied, reason)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.unheard(doing, name, &id, error)),
        }
    }

    /// Why a keeper did not answer.
    pub(super) fn unheard(
        &self,
        doing: &'static str,
        name: &str,
        id: &SandboxId,
        error: io::Error,
    ) -> Error {
        let resident = self.roster().ok().and_then(|roster| roster.get(id).ok());
        match resident.map(|resident| resident.life) {
            Some(Life::Exited) => {
                failed(doing, name, ErrorKind::Denied, "it is not running: it has ended")
            }
            Some(Life::Created) => {
                failed(doing, name, ErrorKind::Denied, "it is not running yet: it is being started")
            }
            None => failed(doing, name, ErrorKind::NotFound, "it is no more"),
            Some(_) if error.kind() == io::ErrorKind::WouldBlock => {
                failed(doing, name, ErrorKind::Unavailable, "its keeper does not answer")
            }
            Some(_) => failed(doing, name, ErrorKind::Unavailable, error),
        }
    }

    /// Asks a sandbox to stop, and waits for its end: it has `grace` for that, or what it was planned
    /// with. Says its code; one that has ended already is no error.
    ///
    /// # Errors
    ///
    /// Fails where there is none, and where its keeper does not answer.
    pub fn stop_resident(&self, name: &str, grace: Option<Duration>) -> Result<u8, Error> {
        const DOING: &str = "stop";
        if let Some(code) = self.known(DOING, name)?.code() {
            return Ok(code);
        }
        match self.ask(DOING, name, &Request::Stop { grace }, None) {
            Ok(Answer::Ended(code)) => Ok(code),
            Ok(_) => Err(failed(DOING, name, ErrorKind::Internal, "its keeper makes no sense")),
            // It may have ended in the meantime.
            Err(error) => self.known(DOING, name)?.code().ok_or(error),
        }
    }

    /// Ends a sandbox by a signal. A guest hears none: it is ended, or asked to stop, as that signal
    /// does with programs.
    ///
    /// # Errors
    ///
    /// Fails where there is none that runs, and where the signal ends nothing.
    pub fn kill_resident(&self, name: &str, signal: i32) -> Result<(), Error> {
        self.ask("kill", name, &Request::Kill { signal }, Some(ANSWER_MAX)).map(drop)
    }

    /// Changes limits of a sandbox that runs: those that `changes` names, as
    /// [`Sandbox::update`](crate::Sandbox::update).
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, where there is none that runs, and where a limit cannot be held or
    /// is fixed at launch.
    pub fn update_resident(&self, name: &str, changes: Limits) -> Result<(), Error> {
        let request = Request::Update(Box::new(WireLimits::from(changes)));
        self.ask("update", name, &request, Some(ANSWER_MAX)).map(drop)
    }

    /// Has a sandbox stand still.
    ///
    /// # Errors
    ///
    /// Fails where there is none that runs.
    pub fn pause_resident(&self, name: &str) -> Result<(), Error> {
        self.ask("pause", name, &Request::Pause, Some(ANSWER_MAX)).map(drop)
    }

    /// Has a sandbox go on that stands still.
    ///
    /// # Errors
    ///
    /// Fails where there is none that stands still.
    pub fn resume_resident(&self, name: &str) -> Result<(), Error> {
        self.ask("resume", name, &Request::Resume, Some(ANSWER_MAX)).map(drop)
    }

    /// What a sandbox uses now.
    ///
    /// # Errors
    ///
    /// Fails where there is none that runs.
    pub fn usage(&self, name: &str) -> Result<Usage, Error> {
        self.usage_within(name, ANSWER_MAX)
    }

    /// The same for who cannot wait for a keeper that does not answer for longer than `limit`.
    ///
    /// # Errors
    ///
    /// As [`usage`](Self::usage).
    pub fn usage_within(&self, name: &str, limit: Duration) -> Result<Usage, Error> {
        const DOING: &str = "look at";
        match self.ask(DOING, name, &Request::Stats, Some(limit))? {
            Answer::Stats { stats, limits, is_paused } => Ok(Usage {
                stats: (*stats).into(),
                limits: limits.iter().filter_map(crate::sandbox::WireHold::read).collect(),
                is_paused,
                at: SystemTime::now(),
            }),
            _ => Err(failed(DOING, name, ErrorKind::Internal, "its keeper makes no sense")),
        }
    }

    /// Waits for the next end of a sandbox, and says its code; that of its last one where it runs no
    /// more.
    ///
    /// # Errors
    ///
    /// Fails where there is none.
    pub fn wait_for_resident(&self, name: &str) -> Result<u8, Error> {
        const DOING: &str = "wait for";
        let resident = self.known(DOING, name)?;
        if let Some(code) = resident.code() {
            return Ok(code);
        }
        if let Ok(Answer::Ended(code)) = self.ask(DOING, name, &Request::Wait, None) {
            return Ok(code);
        }
        // Its keeper is gone, or about to go.
        let roster = self.roster()?;
        roster.wait(&resident.id).map_err(told(DOING, name))?;
        let resident = roster.get(&resident.id).map_err(told(DOING, name))?;
        resident.code().ok_or_else(|| {
            failed(DOING, name, ErrorKind::Unavailable, "its keeper does not answer")
        })
    }

    /// Gives a sandbox another name.
    ///
    /// # Errors
    ///
    /// Fails where there is none, and where the name is taken.
    pub fn rename_resident(&self, name: &str, new: &SandboxName) -> Result<(), Error> {
        const DOING: &str = "rename";
        let resident = self.known(DOING, name)?;
        let roster = self.roster()?;
        roster.rename(&resident.id, new).map_err(told(DOING, name))?;
        // What happens to it is told under its name; where nobody keeps it, nothing happens.
        let _nobody = self.ask(DOING, resident.id.as_str(), &Request::Rename, Some(ANSWER_MAX));
        let old = resident.name.as_ref().map_or("", |name| name.as_str());
        let attributes = [("name", new.as_str()), ("oldName", old)];
        roster.note(&resident.id, "rename", &attributes);
        Ok(())
    }

    /// Removes a sandbox with its log. One that runs is ended first where `force` says so.
    ///
    /// # Errors
    ///
    /// Fails where there is none, and where it runs and is not to be ended.
    pub fn remove_resident(&self, name: &str, force: bool) -> Result<(), Error> {
        const DOING: &str = "remove";
        /// How long one that is killed may take to be gone.
        const GOING_MAX: Duration = Duration::from_secs(20);
        /// The number of the signal that cannot be caught.
        const KILL: i32 = 9;
        /// How often it is looked whether it is gone until it is killed again: it may have been just
        /// about to be started.
        const LOOKS: u32 = 100;
        let roster = self.roster()?;
        if force && roster.remove_stranger(name).map_err(told(DOING, name))? {
            return Ok(());
        }
        let id = roster.find(name).map_err(told(DOING, name))?;
        let end = std::time::Instant::now() + GOING_MAX;
        let mut looks = 0;
        let held = loop {
            if force && looks % LOOKS == 0 {
                let kill = Request::Kill { signal: KILL };
                let asked = roster.connect(&id);
                // Where nobody listens, nobody keeps it, or that one is about to go.
                drop(asked.and_then(|mut line| line.ask(&kill, Some(ANSWER_MAX))));
            }
            looks += 1;
            match roster.hold(&id) {
                Ok(held) => break held,
                Err(RosterError::Kept) if std::time::Instant::now() < end => {
                    // Its keeper may be about to leave, or somebody else removes it.
                    let is_going = match roster.get(&id) {
                        Ok(resident) => resident.life == Life::Exited,
                        Err(error) => matches!(error, RosterError::Missing),
                    };
                    if !force && !is_going {
                        return Err(told(DOING, name)(RosterError::Kept));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(RosterError::Kept) if force => {
                    let hangs = "its keeper does not answer: end that process first";
                    return Err(failed(DOING, name, ErrorKind::Unavailable, hangs));
                }
                // With `--rm`, it went by itself.
                Err(RosterError::Missing) if force => return Ok(()),
                Err(error) => return Err(told(DOING, name)(error)),
            }
        };
        let known = match roster.get(&id) {
            Err(RosterError::Damaged(_)) if force => None,
            known => Some(known.map_err(told(DOING, name))?),
        };
        held.remove(&id).map_err(told(DOING, name))?;
        // A keeper that told of the end removed the group before. To look for others takes as long as
        // there are sandboxes.
        if !known.as_ref().is_some_and(|known| matches!(known.ending, Some(Ending::Told(_)))) {
            sweep(self.cgroups());
        }
        let known = known.and_then(|known| known.name);
        let own = known.as_ref().map_or(name, |name| name.as_str());
        roster.note(&id, "destroy", &[("name", own)]);
        Ok(())
    }

    /// Removes all sandboxes that have ended, and says which.
    ///
    /// # Errors
    ///
    /// Fails where the roster cannot be read.
    pub fn prune_residents(&self) -> Result<Vec<SandboxId>, Error> {
        let (all, _) = self.residents()?;
        let ended = all.into_iter().filter(|resident| resident.life == Life::Exited);
        let mut removed = Vec::new();
        for resident in ended {
            // Others may prune as well.
            if self.remove_resident(resident.id.as_str(), false).is_ok() {
                removed.push(resident.id);
            }
        }
        Ok(removed)
    }

    /// Hands on lines of what a sandbox wrote, the oldest first. Where `follow` says so, goes on with
    /// what it writes until it has ended for good. Ends early where `each` says that it is enough.
    ///
    /// # Errors
    ///
    /// Fails where there is none, and where its log cannot be read.
    pub fn log_of_resident(
        &self,
        name: &str,
        query: &LogQuery,
        follow: bool,
        mut each: impl FnMut(&Line) -> bool,
    ) -> Result<(), Error> {
        const DOING: &str = "read the log of";
        let roster = self.roster()?;
        let id = roster.find(name).map_err(told(DOING, name))?;
        let unread = |error: io::Error| failed(DOING, name, ErrorKind::Unavailable, error);
        let mut logs = Logs::open(&roster.path_of(&id));
        if !logs.lines(query).map_err(unread)?.iter().all(&mut each) {
            return Ok(());
        }
        if !follow {
            return Ok(());
        }
        loop {
            // Asked before, so that what it wrote last is read.
            let is_kept = roster.is_kept(&id);
            while let Some(line) = logs.next().map_err(unread)? {
                if !each(&line) {
                    return Ok(());
                }
            }
            if !is_kept {
                return Ok(());
            }
            std::thread::sleep(FOLLOWING);
        }
    }

    /// Hands on what happened to sandboxes of this host, the oldest first. Where `follow` says so,
    /// goes on with what happens, until `each` says that it is enough.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be read.
    pub fn happenings(
        &self,
        follow: bool,
        mut each: impl FnMut(&Happening) -> bool,
    ) -> Result<(), Error> {
        let roster = self.roster()?;
        let mut happenings = roster.happenings();
        loop {
            let next = happenings.next().map_err(|error| {
                failed("read the events of", "the roster", ErrorKind::Unavailable, error)
            })?;
            match next {
                Some(happening) if !each(&happening) => return Ok(()),
                Some(_) => {}
                None if follow => std::thread::sleep(FOLLOWING),
                None => return Ok(()),
            }
        }
    }

    /// The names of all sandboxes, for who completes them.
    ///
    /// # Errors
    ///
    /// Fails where the roster cannot be read.
    pub fn resident_names(&self) -> Result<BTreeSet<SandboxName>, Error> {
        self.roster()?.all_names().map_err(told("list", "the roster"))
    }
}
