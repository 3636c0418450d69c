//! A process of a container, its first or one beside that, as containerd sees it.

use std::cell::RefCell;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use aril::WindowSize;
use containerd_shim_protos::api::StateResponse;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use tokio::sync::Notify;
use tokio::sync::SetOnce;

use super::body::Body;
use super::failure::Failure;
use super::state::End;
use super::state::Life;
use super::streams::Pumps;
use super::streams::Stdio;

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
    pub(super) body: RefCell<Option<Body>>,
    pub(super) pumps: RefCell<Pumps>,
    over: SetOnce<End>,
    settled: Notify,
}

impl Process {
    /// One that waits for its start.
    pub(super) fn first(id: &str, stdio: Stdio, body: Body, pumps: Pumps) -> Self {
        let pid = body.pid();
        Self {
            container: id.to_owned(),
            exec: String::new(),
            stdio,
            asked: Vec::new(),
            life: RefCell::new(Life::created(pid)),
            body: RefCell::new(Some(body)),
            pumps: RefCell::new(pumps),
            over: SetOnce::new(),
            settled: Notify::new(),
        }
    }

    /// One that is not there yet.
    pub(super) fn beside(id: &str, exec: &str, stdio: Stdio, asked: Vec<u8>) -> Self {
        Self {
            container: id.to_owned(),
            exec: exec.to_owned(),
            stdio,
            asked,
            life: RefCell::new(Life::created(0)),
            body: RefCell::default(),
            pumps: RefCell::default(),
            over: SetOnce::new(),
            settled: Notify::new(),
        }
    }

    /// The number of its process: 0 where there is none.
    pub(super) fn pid(&self) -> u32 {
        self.life.borrow().pid()
    }

    /// Whether its end was told.
    pub(super) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// What it is, where it is there.
    pub(super) fn body(&self) -> Option<Body> {
        self.body.borrow().clone()
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

    /// Sends a signal, by its number: to all of a native container, where it is to go to all.
    pub(super) async fn signal(
        &self,
        signal: u32,
        to_all: bool,
        grace: Duration,
    ) -> Result<(), Failure> {
        self.life.borrow().check_signal()?;
        let grace = if self.life.borrow().is_waiting() { Duration::ZERO } else { grace };
        let Some(body) = self.body() else { return Ok(()) };
        body.signal(signal, to_all, grace).await
    }

    /// Ends it now, if it has not ended.
    pub(super) fn kill(&self) {
        if let Some(body) = self.body().filter(|body| !body.has_ended()) {
            body.kill();
        }
    }

    /// Gives its terminal another size; one that has none has no size.
    pub(super) fn resize(&self, size: WindowSize) -> Result<(), Failure> {
        let body = self.body().filter(|_| self.stdio.terminal);
        body.map_or(Ok(()), |body| body.resize(size))
    }

    /// Ends its input.
    pub(super) fn close_input(&self) {
        self.pumps.borrow_mut().close_input();
        if let Some(body) = self.body() {
            body.close_input();
        }
    }

    /// Somebody who started it has told so, or failed.
    pub(super) fn settle(&self) {
        self.settled.notify_waiters();
    }

    /// Waits until nobody starts it just now: its end is told behind its start.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if !self.life.borrow().is_starting() {
                return;
            }
            settled.await;
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
