//! A process of a container, its first or one beside that, as containerd sees it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use aril::Sandbox;
use aril::WindowSize;
use containerd_shim_protos::api::StateResponse;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use tokio::sync::SetOnce;

use super::failure::Failure;
use super::signals::Deed;
use super::signals::KILL;
use super::state::End;
use super::state::Life;
use super::streams::Pumps;
use super::streams::Stdio;

/// The number of the signal that asks to stop.
const TERM: i32 = 15;

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    /// The container that it is in.
    pub(super) container: String,
    /// What it is called there: the first one has no name.
    pub(super) exec: String,
    pub(super) stdio: Stdio,
    /// What it asks for, where it is beside another one: as containerd hands it over.
    pub(super) asked: Vec<u8>,
    pub(super) life: RefCell<Life>,
    pub(super) sandbox: RefCell<Option<Rc<Sandbox>>>,
    pub(super) pumps: RefCell<Pumps>,
    over: SetOnce<End>,
}

impl Process {
    /// One whose guest waits.
    pub(super) fn first(id: &str, stdio: Stdio, sandbox: Sandbox, pumps: Pumps) -> Self {
        let pid = sandbox.process_id().unwrap_or(0);
        Self {
            container: id.to_owned(),
            exec: String::new(),
            stdio,
            asked: Vec::new(),
            life: RefCell::new(Life::created(pid)),
            sandbox: RefCell::new(Some(Rc::new(sandbox))),
            pumps: RefCell::new(pumps),
            over: SetOnce::new(),
        }
    }

    /// One that has no guest yet.
    pub(super) fn beside(id: &str, exec: &str, stdio: Stdio, asked: Vec<u8>) -> Self {
        Self {
            container: id.to_owned(),
            exec: exec.to_owned(),
            stdio,
            asked,
            life: RefCell::new(Life::created(0)),
            sandbox: RefCell::default(),
            pumps: RefCell::default(),
            over: SetOnce::new(),
        }
    }

    /// The number of its process: 0 where there is none.
    pub(super) fn pid(&self) -> u32 {
        self.life.borrow().pid()
    }

    /// Its guest, where there is one.
    pub(super) fn sandbox(&self) -> Option<Rc<Sandbox>> {
        self.sandbox.borrow().clone()
    }

    /// Notes that it ended, and tells all who wait for that.
    pub(super) fn ended(&self, end: End) {
        self.life.borrow_mut().ended(end);
        // The first end is the one that counts.
        let _first = self.over.set(end);
    }

    /// Waits for its end.
    pub(super) async fn wait(&self) -> End {
        *self.over.wait().await
    }

    /// Does what a signal does.
    pub(super) fn signal(&self, deed: Deed, grace: Duration) -> Result<(), Failure> {
        self.life.borrow().check_signal()?;
        let Some(sandbox) = self.sandbox() else { return Ok(()) };
        match deed {
            Deed::Nothing => {}
            Deed::End(signal) => sandbox.kill_as(signal),
            Deed::Stop if grace.is_zero() || self.life.borrow().is_waiting() => {
                sandbox.kill_as(TERM);
            }
            Deed::Stop => {
                tokio::task::spawn_local(async move {
                    // How it ended is told by who waits for that.
                    let _end = sandbox.stop(grace).await;
                });
            }
        }
        Ok(())
    }

    /// Ends it now, if it has not ended.
    pub(super) fn kill(&self) {
        if let Some(sandbox) = self.sandbox().filter(|sandbox| !sandbox.has_ended()) {
            sandbox.kill_as(KILL);
        }
    }

    /// Gives its terminal another size; one that has none has no size.
    pub(super) fn resize(&self, size: WindowSize) -> Result<(), Failure> {
        let Some(sandbox) = self.sandbox().filter(|_| self.stdio.terminal) else { return Ok(()) };
        match sandbox.resize(size) {
            Err(_) if sandbox.has_ended() => Ok(()),
            Err(error) => Err(Failure::other(format!("cannot resize the terminal: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// What containerd asks for of its state, in a bundle in this folder.
    pub(super) fn state(&self, bundle: &str) -> StateResponse {
        let life = self.life.borrow();
        let end = life.end();
        StateResponse {
            id: self.container.clone(),
            bundle: bundle.to_owned(),
            pid: life.pid(),
            status: life.status().into(),
            stdin: self.stdio.stdin.clone(),
            stdout: self.stdio.stdout.clone(),
            stderr: self.stdio.stderr.clone(),
            terminal: self.stdio.terminal,
            exit_status: end.map_or(0, |end| end.code),
            exited_at: end.map_or_else(MessageField::none, |end| stamp(end.at)),
            exec_id: self.exec.clone(),
            ..StateResponse::default()
        }
    }
}

/// A moment, as messages have it.
pub(super) fn stamp(at: SystemTime) -> MessageField<Timestamp> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    MessageField::some(Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    })
}
