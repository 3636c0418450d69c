//! The process that keeps a container: it holds the guest, does what verbs ask, and ends as the guest
//! ended.

use std::cell::Cell;
use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use oci_spec::runtime::LinuxResources;
use oci_spec::runtime::Process;
use oci_spec::runtime::Spec;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;

use crate::bundle;
use crate::bundle::Container;
use crate::bundle::limits_of;
use crate::guest;
use crate::hooks;
use crate::hooks::Turn;
use crate::platform::inherit;
use crate::platform::processes;
use crate::platform::pty;
use crate::platform::talk;
use crate::platform::talk::Listener;
use crate::platform::talk::Talk;
use crate::signals::Deed;
use crate::signals::deed;

use super::failure::Failure;
use super::failure::whole;
use super::folder::Folder;
use super::message::Answer;
use super::message::Ask;
use super::message::SIZE_MAX;
use super::state;
use super::state::Known;
use super::state::Status;
use super::verbs;
use super::words::Keep;
use super::words::Manager;
use super::words::Words;

/// The code behind an end that is the host's own failing, as container engines have it.
const FAILED: u8 = 125;

/// The signals that end a guest by ending its keeper: hanging up, and what is typed or sent to end it.
const SIGNALS: [u32; 4] = [1, 2, 3, 15];

/// A container, kept.
struct Keeper {
    folder: Folder,
    spec: Spec,
    bundle: PathBuf,
    runtime: Runtime,
    sandbox: Sandbox,
    known: RefCell<Known>,
    limits: Cell<aril::Limits>,
}

/// Keeps a container until its end, and says the code to end with. Who started this process is told when
/// the container is created, or why it is not.
pub(super) fn keep(words: &Words, keep: &Keep) -> Result<u8, Failure> {
    let told = inherit::tell(keep.tell);
    let mut told = told.map_err(|error| Failure::of("cannot tell who started this", &error))?;
    pty::lead_session();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let tokio = tokio.map_err(|error| Failure::of("cannot keep the container", &error))?;
    let tasks = tokio::task::LocalSet::new();
    let code = tasks.block_on(&tokio, async {
        let (keeper, listener) = match make(words, keep).await {
            Ok(made) => made,
            Err(failure) => {
                tell(&mut told, &serde_json::json!({ "failed": failure.to_string() }));
                return super::FAILED;
            }
        };
        let pid = processes::own();
        tell(&mut told, &serde_json::json!({ "pid": pid }));
        drop(told);
        keeper.live(&listener).await
    });
    tokio.shutdown_background();
    Ok(code)
}

fn tell(told: &mut File, line: &serde_json::Value) {
    // Who started this may have been killed.
    let _unheard = told.write_all(format!("{line}\n").as_bytes());
}

/// Makes the container: its guest is there, and waits.
async fn make(words: &Words, keep: &Keep) -> Result<(Rc<Keeper>, Listener), Failure> {
    let folder = Folder::of(words, &keep.id)?;
    let bundle = keep.bundle.clone();
    let failed = |error: &dyn std::error::Error| Failure::new(whole(error));
    let spec = bundle::read_spec(&bundle.join(bundle::CONFIG)).map_err(|error| failed(&error))?;
    let asked = Container::from_spec(&spec);
    let asked = asked.map_err(|refusal| Failure::of("config.json", &refusal))?;
    let group = match words.cgroup_manager {
        Some(Manager::Disabled) => None,
        _ => guest::group(&asked).map_err(|error| failed(&error))?,
    };
    let mut sandbox = guest::spec(&asked, &bundle).map_err(|error| failed(&error))?.held();
    if let Some(group) = &group {
        sandbox = sandbox.control_group(group).map_err(|error| failed(&error))?;
    }
    let runtime = Runtime::open(guest::cache()).map_err(|error| failed(&error))?;
    let artifact = guest::prepare(&runtime, &asked, &bundle).map_err(|error| failed(&error))?;
    let sandbox = streams(sandbox, &asked, keep)?;
    let sandbox = runtime.launch(&artifact, sandbox).await.map_err(|error| failed(&error))?;
    let pid = processes::own();
    let known = Known {
        id: keep.id.clone(),
        bundle: bundle.clone(),
        pid,
        beginning: processes::beginning_of(pid).unwrap_or(0),
        status: Status::Creating,
        rootfs: guest::root_path(&asked, &bundle),
        annotations: spec.annotations().clone().unwrap_or_default(),
        group,
        created: state::now(),
    };
    let hooks = asked.hooks.clone();
    for turn in [Turn::Prestart, Turn::CreateRuntime, Turn::CreateContainer] {
        let run = hooks::run(&hooks, turn, &known.state(Status::Creating), &bundle).await;
        run.map_err(|error| failed(&error))?;
    }
    let listener = Listener::at(&folder.socket());
    let listener =
        listener.map_err(|error| Failure::of("cannot listen for other verbs", &error))?;
    let keeper = Rc::new(Keeper {
        folder,
        spec,
        bundle,
        runtime,
        sandbox,
        known: RefCell::new(known),
        limits: Cell::new(asked.limits),
    });
    keeper.is_now(Status::Created)?;
    Ok((keeper, listener))
}

/// The spec with the streams of this process, or with a terminal whose near end the engine is given.
fn streams(spec: SandboxSpec, asked: &Container, keep: &Keep) -> Result<SandboxSpec, Failure> {
    match (&asked.terminal, &keep.console_socket) {
        (None, None) => {
            let own = inherit::streams();
            let own = own.map_err(|error| Failure::of("a standard stream is closed", &error))?;
            Ok(with_streams(spec, own))
        }
        (Some(terminal), Some(socket)) => {
            let far = open_terminal(terminal.size, socket)?;
            // What is typed to interrupt it is a signal for this process.
            let made = pty::control(&far);
            made.map_err(|error| Failure::of("cannot have the terminal", &error))?;
            Ok(with_streams(spec, thrice(far)?))
        }
        (Some(_), None) => Err(Failure::new(
            "`process.terminal` is set, and nobody takes the terminal: `--console-socket` is missing",
        )),
        (None, Some(_)) => Err(Failure::new(
            "`--console-socket` is given, and `process.terminal` is not set: there is no terminal",
        )),
    }
}

pub(super) fn with_streams(spec: SandboxSpec, [stdin, stdout, stderr]: [File; 3]) -> SandboxSpec {
    spec.stdin_from(stdin).stdout_to(stdout).stderr_to(stderr)
}

/// A new terminal whose near end is handed over at this socket.
pub(super) fn open_terminal(
    size: Option<(u16, u16)>,
    socket: &std::path::Path,
) -> Result<File, Failure> {
    let opened = pty::open();
    let (near, far) = opened.map_err(|error| Failure::of("cannot make a terminal", &error))?;
    if let Some((rows, columns)) = size {
        let sized = pty::resize(&near, (columns, rows));
        sized.map_err(|error| Failure::of("cannot give the terminal its size", &error))?;
    }
    let handed = talk::hand_over(socket, pty::NAME, &near);
    handed.map_err(|error| {
        Failure::of(format!("cannot hand the terminal over at `{}`", socket.display()), &error)
    })?;
    Ok(far)
}

/// One file as three streams.
pub(super) fn thrice(file: File) -> Result<[File; 3], Failure> {
    let again = || file.try_clone().map_err(|error| Failure::of("no more files", &error));
    let (first, second) = (again()?, again()?);
    Ok([first, second, file])
}

impl Keeper {
    /// Notes where the container is in its life.
    fn is_now(&self, status: Status) -> Result<(), Failure> {
        let mut known = self.known.borrow_mut();
        known.status = status;
        let noted = self.folder.note(&known);
        noted.map_err(|error| {
            Failure::of(format!("cannot note that it is {}", status.word()), &error)
        })
    }

    fn status(&self) -> Status {
        self.known.borrow().status
    }

    /// Answers until the guest has ended, and says the code of that.
    async fn live(self: &Rc<Self>, listener: &Listener) -> u8 {
        let mut signals = signals();
        let ended = loop {
            tokio::select! {
                record = self.sandbox.record() => break record,
                Ok(talk) = listener.accept() => {
                    tokio::task::spawn_local(Rc::clone(self).answer(talk));
                }
                Some(signal) = signals.recv() => self.sandbox.kill_as(signal.cast_signed()),
            }
        };
        // Where this cannot be written, it is known by the end of this process.
        let _unwritten = self.is_now(Status::Stopped);
        ended.map_or(FAILED, |record| record.exit.code())
    }

    async fn answer(self: Rc<Self>, talk: Talk) {
        // One that left is answered nothing.
        let Ok(Some((message, files))) = talk.receive(SIZE_MAX).await else { return };
        let answer = match serde_json::from_slice(&message) {
            Ok(ask) => Box::pin(self.deal_with(ask, files, &talk)).await,
            Err(error) => Err(Failure::of("a question that is none", &error)),
        };
        let answer = answer.unwrap_or_else(|failure| Answer::Failed { text: failure.to_string() });
        say(&talk, &answer).await;
    }

    async fn deal_with(&self, ask: Ask, files: Vec<File>, talk: &Talk) -> Result<Answer, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::new(whole(error));
        match ask {
            Ask::Start => self.start().await?,
            Ask::Kill { signal } => match deed(signal).map_err(|error| failed(&error))? {
                Deed::Nothing => {}
                // As a program ends that says nothing about that signal.
                Deed::Stop => self.sandbox.kill_as(15),
                Deed::End(signal) => self.sandbox.kill_as(signal),
            },
            Ask::Pause => {
                self.needs(Status::Running, "pause")?;
                self.sandbox.pause().await.map_err(|error| failed(&error))?;
                self.is_now(Status::Paused)?;
            }
            Ask::Resume => {
                self.needs(Status::Paused, "resume")?;
                self.sandbox.resume().map_err(|error| failed(&error))?;
                self.is_now(Status::Running)?;
            }
            Ask::Update { resources } => self.update(&resources)?,
            Ask::Stats => {
                let stats = verbs::figures(&self.sandbox.stats(), &self.limits.get());
                return Ok(Answer::Stats { json: stats.to_string() });
            }
            Ask::Processes => {
                return Ok(Answer::Processes { numbers: vec![self.known.borrow().pid] });
            }
            Ask::Exec { process } => return Box::pin(self.exec(&process, files, talk)).await,
        }
        Ok(Answer::Done)
    }

    fn needs(&self, status: Status, to: &str) -> Result<(), Failure> {
        let is = self.status();
        if is == status {
            return Ok(());
        }
        Err(Failure::new(format!(
            "cannot {to} a container that is {}: it has to be {}",
            is.word(),
            status.word()
        )))
    }

    async fn start(&self) -> Result<(), Failure> {
        self.needs(Status::Created, "start")?;
        let container = Container::from_spec(&self.spec);
        let container = container.map_err(|refusal| Failure::of("config.json", &refusal))?;
        let state = |status| self.known.borrow().state(status);
        let hooks = container.hooks;
        let failed = |error: &dyn std::error::Error| Failure::new(whole(error));
        let created = state(Status::Created);
        let run = hooks::run(&hooks, Turn::StartContainer, &created, &self.bundle).await;
        if let Err(error) = run {
            // As the specification has it: it is stopped, and deleted by whoever made it.
            self.sandbox.kill();
            return Err(failed(&error));
        }
        self.is_now(Status::Running)?;
        self.sandbox.start().map_err(|error| failed(&error))?;
        let running = state(Status::Running);
        let run = hooks::run(&hooks, Turn::Poststart, &running, &self.bundle).await;
        if let Err(error) = run {
            self.sandbox.kill();
            return Err(failed(&error));
        }
        Ok(())
    }

    fn update(&self, resources: &str) -> Result<(), Failure> {
        let resources: LinuxResources = serde_json::from_str(resources)
            .map_err(|error| Failure::of("resources that are none", &error))?;
        // What does no harm and is not its own here: there is nobody to tell.
        let mut notes = Vec::new();
        let changes = limits_of(&resources, &mut notes);
        let changes = changes.map_err(|refusal| Failure::new(refusal.to_string()))?;
        let after = self.limits.get().changed_by(changes);
        let updated = self.sandbox.update(|limits| *limits = after);
        updated.map_err(|error| Failure::of("cannot hold the container to that", &error))?;
        self.limits.set(after);
        Ok(())
    }

    /// Runs a program beside the guest, and tells how it ended. It ends with whoever asked.
    async fn exec(&self, process: &str, files: Vec<File>, talk: &Talk) -> Result<Answer, Failure> {
        self.needs(Status::Running, "run something in")?;
        let process: Process = serde_json::from_str(process)
            .map_err(|error| Failure::of("a process that is none", &error))?;
        let mut spec = self.spec.clone();
        spec.set_process(Some(process));
        let asked = Container::from_spec(&spec);
        let mut asked = asked.map_err(|refusal| Failure::new(refusal.to_string()))?;
        asked.limits = self.limits.get();
        let streams: [File; 3] =
            files.try_into().map_err(|_| Failure::new("a program without its three streams"))?;
        let failed = |error: &dyn std::error::Error| Failure::new(whole(error));
        let sandbox = guest::spec(&asked, &self.bundle).map_err(|error| failed(&error))?;
        let artifact = guest::prepare(&self.runtime, &asked, &self.bundle);
        let artifact = artifact.map_err(|error| failed(&error))?;
        let sandbox = with_streams(sandbox, streams);
        let launched = self.runtime.launch_beside(&artifact, sandbox, &self.sandbox).await;
        let launched = launched.map_err(|error| failed(&error))?;
        say(talk, &Answer::Began).await;
        tokio::select! {
            ended = launched.record() => {
                Ok(Answer::Ended { code: ended.map_or(FAILED, |record| record.exit.code()) })
            }
            // Nothing more is asked: whoever did has gone, or says what makes no sense.
            _gone = talk.receive(SIZE_MAX) => {
                launched.kill();
                let _end = launched.wait().await;
                Ok(Answer::Done)
            }
        }
    }
}

async fn say(talk: &Talk, answer: &Answer) {
    if let Ok(bytes) = serde_json::to_vec(answer) {
        // Whoever asked may be gone.
        let _unheard = talk.send(&bytes).await;
    }
}

/// The signals that ask this process to end, from now on.
fn signals() -> mpsc::UnboundedReceiver<u32> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for number in SIGNALS {
        let sender = sender.clone();
        // One that cannot be listened to ends this process, and the guest with it.
        let Ok(mut signal) = signal(SignalKind::from_raw(number.cast_signed())) else { continue };
        tokio::task::spawn_local(async move {
            while signal.recv().await.is_some() && sender.send(number).is_ok() {}
        });
    }
    receiver
}
