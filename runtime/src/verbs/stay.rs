//! The life of a guest that goes on alone, as its keeper sees it: one run after another, until it has
//! ended for good.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::platform::Ask;
use crate::platform::signals::Listening;
use crate::roster::Ending;
use crate::sandbox::Event;
use crate::sandbox::Exit;
use crate::sandbox::Sandbox;

use super::desk::Command;
use super::desk::Post;
use super::enrol::Guest;

/// How long a guest waits that is started again for the first time; twice as long each time after.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long it waits at the most.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// A guest that ran for so long is started again as if for the first time.
const SETTLED: Duration = Duration::from_secs(10);

/// How much is read of what a guest writes at a time.
const CHUNK: usize = 16 << 10;

/// How many of the denials of a run are written down as they happen.
const DENIALS_NOTED_MAX: usize = 16;

/// A guest, and what its keeper is told.
#[derive(Debug)]
pub(super) struct Stay {
    guest: Rc<Guest>,
    post: Rc<Post>,
    commands: UnboundedReceiver<Command>,
    /// Whether somebody asked for its end: it is not started again then.
    is_asked: bool,
}

impl Stay {
    pub(super) fn new(
        guest: Rc<Guest>,
        post: Rc<Post>,
        commands: UnboundedReceiver<Command>,
    ) -> Self {
        Self { guest, post, commands, is_asked: false }
    }

    /// Keeps the guest until it has ended for good.
    pub(super) async fn live(mut self, first: Arc<Sandbox>, asks: &mut Listening) -> Ending {
        let plan = self.post.plan();
        let mut next = Some(first);
        let mut pause = PAUSE_MIN;
        let mut times = 0;
        loop {
            let sandbox = if let Some(sandbox) = next.take() {
                sandbox
            } else {
                // Freed before the next long wait.
                let launch = self.guest.runtime.launch(&self.guest.artifact, self.spec());
                match Box::pin(launch).await {
                    Ok(sandbox) => self.post.begin(sandbox),
                    Err(error) => return Ending::Failed(crate::error::whole(&error)),
                }
            };
            let began = Instant::now();
            let ending = self.run(sandbox, asks, plan.grace).await;
            if SETTLED <= began.elapsed() {
                (pause, times) = (PAUSE_MIN, 0);
            }
            times += 1;
            if self.is_asked || !plan.restart.applies(ending.code(), times) {
                return ending;
            }
            self.post.restarting(&ending);
            if !self.rest(pause, asks).await {
                return ending;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The spec of the next run: with the limits of now.
    fn spec(&self) -> crate::sandbox::SandboxSpec {
        let spec = self.guest.spec.clone();
        let limits = spec.limits.changed_by(self.post.changes());
        let size = self.post.size().filter(|_| spec.terminal.is_some());
        let spec = spec.limits(limits);
        match size {
            Some(size) => spec.terminal(size),
            None => spec,
        }
    }

    /// Keeps one run of the guest to its end.
    async fn run(
        &mut self,
        sandbox: Arc<Sandbox>,
        asks: &mut Listening,
        grace: Duration,
    ) -> Ending {
        let streams = [
            tokio::task::spawn_local(hand_on(sandbox.stdout(), Rc::clone(&self.post), false)),
            tokio::task::spawn_local(hand_on(sandbox.stderr(), Rc::clone(&self.post), true)),
        ];
        let denials =
            tokio::task::spawn_local(note_denials(Rc::clone(&self.post), sandbox.events()));
        let mut record = std::pin::pin!(sandbox.record());
        let mut stop_at: Option<Instant> = None;
        let ending = loop {
            tokio::select! {
                record = &mut record => break match record {
                    Ok(record) => Ending::Told(Box::new(record)),
                    Err(error) => Ending::Failed(error.to_string()),
                },
                ask = asks.next() => match ask {
                    Ok(Ask::Now(signal)) => {
                        self.obey(Command::Kill(signal), &sandbox, grace, &mut stop_at);
                    }
                    // Who asks this process again means it.
                    Ok(Ask::Soon(_)) | Err(_) if stop_at.is_some() => sandbox.end_as_stopped(),
                    Ok(Ask::Soon(_)) | Err(_) => {
                        self.obey(Command::Stop(None), &sandbox, grace, &mut stop_at);
                    }
                },
                Some(command) = self.commands.recv() => {
                    self.obey(command, &sandbox, grace, &mut stop_at);
                }
                () = super::keep::until(stop_at) => {
                    sandbox.end_as_stopped();
                    stop_at = None;
                }
            }
        };
        self.post.audience().over();
        for stream in streams {
            // Its process has ended, and with it what it wrote.
            let _read = stream.await;
        }
        denials.abort();
        self.post.left().await;
        ending
    }

    /// Does what was asked. The first request to stop begins the grace; another one, which may be of
    /// somebody who knows nothing of the first, makes it no longer than its own.
    fn obey(
        &mut self,
        command: Command,
        sandbox: &Sandbox,
        grace: Duration,
        stop_at: &mut Option<Instant>,
    ) {
        self.is_asked = true;
        match command {
            Command::Kill(signal) => {
                self.post.note("kill", &[("signal", &signal.to_string())]);
                sandbox.kill_as(signal);
            }
            Command::Stop(own) => {
                let end = super::keep::after(own.unwrap_or(grace));
                if let Some(first) = stop_at {
                    *first = end.min(*first);
                } else {
                    sandbox.begin_to_stop();
                    self.post.stopping();
                    self.post.close_input();
                    *stop_at = Some(end);
                }
            }
        }
    }

    /// Waits until the guest is to be started again, and says whether it still is.
    async fn rest(&mut self, pause: Duration, asks: &mut Listening) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            _ = asks.next() => false,
            Some(_) = self.commands.recv() => false,
        }
    }
}

/// Hands what a guest writes to its log, and to those who are attached.
async fn hand_on(from: Option<impl AsyncRead + Unpin>, post: Rc<Post>, is_error: bool) {
    let Some(mut from) = from else { return };
    // Not filled before it is read into: pages that nothing is written to take no memory.
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Ok(1..) = from.read_buf(&mut chunk).await {
        post.wrote(is_error, &chunk).await;
        chunk.clear();
        // Writing a log takes its time: who asks for the sandbox comes in between.
        tokio::task::yield_now().await;
    }
}

/// Writes down what the guest is refused.
async fn note_denials(post: Rc<Post>, mut events: crate::sandbox::Events) {
    let mut noted = 0;
    while let Some(event) = events.next().await {
        match event {
            Event::Denied(denial) if noted < DENIALS_NOTED_MAX => {
                noted += 1;
                let path = crate::sandbox::printable(&denial.path);
                post.note("denied", &[("path", &path), ("refusal", denial.refusal.word())]);
            }
            _ => {}
        }
    }
}

/// Whether an end was the kernel's or the meter's, for want of memory.
pub(super) fn is_out_of_memory(ending: &Ending) -> bool {
    matches!(ending, Ending::Told(record) if matches!(record.exit, Exit::OutOfMemory(_)))
}
