//! The life of a process of a container, its first or one beside that: created, running, stopped, gone.
//!
//! Who asks for what it cannot do just now is told which state it is in.

use std::time::SystemTime;

use containerd_shim_protos::api::Status;

use super::failure::Failure;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The code that it ended with.
    pub(super) code: u32,
    /// When.
    pub(super) at: SystemTime,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    /// Somebody starts it.
    Starting,
    Running,
    Paused,
    Stopped(End),
    Deleted,
}

/// The life of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    phase: Phase,
    /// The number of its process: 0 before there is one.
    pid: u32,
}

impl Life {
    /// One that was created, with a process that waits, or with none yet (0).
    pub(super) const fn created(pid: u32) -> Self {
        Self { phase: Phase::Created, pid }
    }

    /// The number of its process: 0 where there was none.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub(super) const fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Stopped(end) => Some(end),
            _ => None,
        }
    }

    /// The state, in containerd's words.
    pub(super) const fn status(&self) -> Status {
        match self.phase {
            Phase::Created | Phase::Starting => Status::CREATED,
            Phase::Running => Status::RUNNING,
            Phase::Paused => Status::PAUSED,
            Phase::Stopped(_) => Status::STOPPED,
            Phase::Deleted => Status::UNKNOWN,
        }
    }

    const fn word(&self) -> &'static str {
        match self.phase {
            Phase::Created => "created",
            Phase::Starting => "about to start",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Stopped(_) => "stopped",
            Phase::Deleted => "deleted",
        }
    }

    fn refuse(&self, verb: &str) -> Failure {
        match self.phase {
            Phase::Deleted => Failure::not_found(format!("cannot {verb} a process: it is deleted")),
            _ => Failure::precondition(format!("cannot {verb} a process that is {}", self.word())),
        }
    }

    /// Begins to start it: nobody else may from now on.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        match self.phase {
            Phase::Created => {
                self.phase = Phase::Starting;
                Ok(())
            }
            _ => Err(self.refuse("start")),
        }
    }

    /// It runs, as the process of this number. One that ended meanwhile has ended.
    pub(super) fn started(&mut self, pid: u32) {
        self.pid = pid;
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
        }
    }

    /// It could not be started, and waits again.
    pub(super) fn not_started(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Created;
        }
    }

    /// Whether somebody starts it just now.
    pub(super) fn is_starting(&self) -> bool {
        self.phase == Phase::Starting
    }

    /// It ended.
    pub(super) fn ended(&mut self, end: End) {
        if !matches!(self.phase, Phase::Stopped(_) | Phase::Deleted) {
            self.phase = Phase::Stopped(end);
        }
    }

    /// Whether it can be paused, or have others run beside it.
    pub(super) fn check_running(&self, verb: &str) -> Result<(), Failure> {
        if self.phase == Phase::Running { Ok(()) } else { Err(self.refuse(verb)) }
    }

    /// Whether it can be made to go on.
    pub(super) fn check_paused(&self, verb: &str) -> Result<(), Failure> {
        if self.phase == Phase::Paused { Ok(()) } else { Err(self.refuse(verb)) }
    }

    /// Whether it has a process that has not ended, whatever that does.
    pub(super) fn check_alive(&self, verb: &str) -> Result<(), Failure> {
        match self.phase {
            Phase::Created | Phase::Starting | Phase::Running | Phase::Paused => Ok(()),
            _ => Err(self.refuse(verb)),
        }
    }

    /// Whether something may be added to run beside it.
    pub(super) fn check_joinable(&self, verb: &str) -> Result<(), Failure> {
        match self.phase {
            Phase::Created | Phase::Starting | Phase::Running => Ok(()),
            _ => Err(self.refuse(verb)),
        }
    }

    /// It stands still.
    pub(super) fn paused(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Paused;
        }
    }

    /// It goes on.
    pub(super) fn resumed(&mut self) {
        if self.phase == Phase::Paused {
            self.phase = Phase::Running;
        }
    }

    /// Whether a signal reaches anybody: callers take for done what has ended, where they are told that
    /// it is not there.
    pub(super) fn check_signal(&self) -> Result<(), Failure> {
        match self.phase {
            Phase::Stopped(_) | Phase::Deleted => {
                Err(Failure::not_found("the process has finished already"))
            }
            _ if self.pid == 0 => Err(self.refuse("send a signal to")),
            _ => Ok(()),
        }
    }

    /// Whether it can be deleted: it was never started, or has ended. Tells how that was, where it
    /// ended.
    pub(super) fn check_delete(&self) -> Result<Option<End>, Failure> {
        match self.phase {
            Phase::Stopped(end) => Ok(Some(end)),
            Phase::Created if self.pid == 0 => Ok(None),
            _ => Err(self.refuse("delete")),
        }
    }

    /// Deletes it.
    pub(super) fn delete(&mut self) -> Result<Option<End>, Failure> {
        let end = self.check_delete()?;
        self.phase = Phase::Deleted;
        Ok(end)
    }

    /// Whether it waits for its start: it is ended first where it is deleted.
    pub(super) fn is_waiting(&self) -> bool {
        self.phase == Phase::Created && self.pid != 0
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::ttrpc;
    use containerd_shim_protos::ttrpc::Code;

    use super::*;

    fn end() -> End {
        End { code: 3, at: SystemTime::UNIX_EPOCH }
    }

    fn code(failure: Failure) -> Code {
        let ttrpc::Error::RpcStatus(status) = failure.into() else { panic!("no status") };
        status.code()
    }

    fn running() -> Life {
        let mut life = Life::created(7);
        life.start().unwrap();
        life.started(7);
        life
    }

    #[test]
    fn a_life_goes_from_created_to_deleted_and_tells_where_it_is() {
        let mut life = Life::created(7);
        assert_eq!((life.status(), life.pid()), (Status::CREATED, 7));
        life.start().unwrap();
        assert_eq!(code(life.start().unwrap_err()), Code::FAILED_PRECONDITION, "started twice");
        life.started(7);
        assert_eq!(life.status(), Status::RUNNING);
        life.check_running("pause").unwrap();
        life.paused();
        assert_eq!(life.status(), Status::PAUSED);
        assert_eq!(code(life.check_joinable("run beside").unwrap_err()), Code::FAILED_PRECONDITION);
        life.check_paused("resume").unwrap();
        life.resumed();
        assert_eq!(code(life.delete().unwrap_err()), Code::FAILED_PRECONDITION, "it runs");
        life.ended(end());
        assert_eq!((life.status(), life.end()), (Status::STOPPED, Some(end())));
        life.ended(End { code: 4, ..end() });
        assert_eq!(life.end(), Some(end()), "it ended twice");
        assert_eq!(code(life.start().unwrap_err()), Code::FAILED_PRECONDITION);
        assert_eq!(life.delete().unwrap(), Some(end()));
        assert_eq!(code(life.delete().unwrap_err()), Code::NOT_FOUND);
    }

    #[test]
    fn what_ends_before_or_while_it_is_started_has_ended() {
        let mut life = Life::created(7);
        life.check_signal().unwrap();
        life.ended(end());
        assert_eq!(code(life.start().unwrap_err()), Code::FAILED_PRECONDITION);
        let mut life = Life::created(7);
        life.start().unwrap();
        assert!(life.is_starting());
        life.ended(end());
        life.started(7);
        assert_eq!(life.end(), Some(end()));
        let mut life = Life::created(7);
        life.start().unwrap();
        life.not_started();
        assert!(life.is_waiting(), "it can be started again, or deleted");
        life.start().unwrap();
    }

    #[test]
    fn a_signal_to_what_has_ended_finds_nobody_and_one_to_what_has_no_process_waits_for_it() {
        let mut life = running();
        life.check_signal().unwrap();
        life.ended(end());
        assert_eq!(code(life.check_signal().unwrap_err()), Code::NOT_FOUND);
        assert_eq!(code(Life::created(0).check_signal().unwrap_err()), Code::FAILED_PRECONDITION);
    }

    #[test]
    fn nothing_runs_beside_what_has_ended() {
        let mut life = running();
        life.check_joinable("run beside").unwrap();
        life.ended(end());
        let error = life.check_joinable("run beside").unwrap_err();
        assert_eq!(error.text(), "cannot run beside a process that is stopped");
        assert_eq!(code(error), Code::FAILED_PRECONDITION);
    }

    #[test]
    fn what_was_never_started_can_be_deleted_once_its_process_is_gone() {
        assert_eq!(Life::created(0).delete().unwrap(), None);
        let mut life = Life::created(7);
        assert!(life.is_waiting());
        assert_eq!(code(life.delete().unwrap_err()), Code::FAILED_PRECONDITION);
        life.ended(end());
        assert_eq!(life.delete().unwrap(), Some(end()));
    }
}
