//! Another program beside a guest that goes on alone: with its files, and within its limits.
//!
//! It lives in the guest's own control group, where that has one: what both take together is what the
//! guest may take. It stands still with the guest, is held to what the guest is held to from then on,
//! and is gone when the guest's end is told.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Weak;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::error::whole;
use crate::limits::LimitError;
use crate::limits::Limits;
use crate::roster::Answer;
use crate::roster::Asker;
use crate::roster::Exec;
use crate::roster::Frame;
use crate::roster::answer;
use crate::roster::hand_on;
use crate::roster::next_frame;
use crate::sandbox::Exit;
use crate::sandbox::PauseError;
use crate::sandbox::Sandbox;
use crate::sandbox::SandboxSpec;
use crate::sandbox::WindowSize;

use super::desk::Post;
use super::enrol::Guest;
use super::prepare::Artifact;
use super::prepare::Source;

/// How many pieces of output wait for the one who asked; the program waits where he is slower.
const PIECES_MAX: usize = 16;

/// How much is read of what it writes at a time.
const CHUNK: usize = 16 << 10;

/// The programs beside a guest.
#[derive(Debug, Default)]
pub(super) struct Company {
    programs: RefCell<Vec<Weak<Sandbox>>>,
    /// Held by whoever launches one, and by whoever does something to all: none is missed.
    gate: tokio::sync::Mutex<()>,
}

impl Company {
    /// Those that have not ended.
    fn alive(&self) -> Vec<Arc<Sandbox>> {
        let mut programs = self.programs.borrow_mut();
        programs.retain(|one| 0 < one.strong_count());
        programs.iter().filter_map(Weak::upgrade).filter(|one| !one.has_ended()).collect()
    }

    /// Holds the guest and those beside it to other limits; where one cannot be, all as before.
    pub(super) async fn update(&self, guest: &Sandbox, changes: &Limits) -> Result<(), String> {
        let _gate = self.gate.lock().await;
        let change = |one: &Sandbox| {
            let mut before = Limits::default();
            let changed = one.update(|limits| {
                before = *limits;
                *limits = limits.changed_by(*changes);
            });
            changed.map(|()| before)
        };
        let before = change(guest).map_err(|error| error.to_string())?;
        let mut done: Vec<(Arc<Sandbox>, Limits)> = Vec::new();
        for one in self.alive() {
            match change(&one) {
                Ok(before) => done.push((one, before)),
                // It ended meanwhile.
                Err(_) if one.has_ended() => {}
                Err(error) => {
                    let back = |one: &Sandbox, before| -> Result<(), LimitError> {
                        one.update(|limits| *limits = before)
                    };
                    let _as_before = back(guest, before);
                    for (one, before) in done {
                        let _as_before = back(&one, before);
                    }
                    return Err(format!(
                        "a program beside it (`aril exec`) cannot be held to that: {error}; end it \
                         first"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Has the guest and those beside it stand still; where one does not, all go on.
    pub(super) async fn pause(&self, guest: &Sandbox) -> Result<(), PauseError> {
        let _gate = self.gate.lock().await;
        guest.pause().await?;
        // Also where whoever asked leaves before all do.
        let going_on = GoingOn(self, guest);
        for one in self.alive() {
            match one.pause().await {
                Ok(()) | Err(PauseError::Ended) => {}
                Err(error) => return Err(error),
            }
        }
        std::mem::forget(going_on);
        Ok(())
    }

    /// Has the guest and those beside it go on.
    pub(super) fn resume(&self, guest: &Sandbox) -> Result<(), PauseError> {
        guest.resume()?;
        self.resume_programs();
        Ok(())
    }

    /// Has those beside a guest that goes on go on.
    pub(super) fn resume_programs(&self) {
        for one in self.alive() {
            // It has ended.
            let _gone = one.resume();
        }
    }

    /// Ends those that are left behind a guest, and waits until they are gone.
    pub(super) async fn end(&self) {
        let _gate = self.gate.lock().await;
        let left = self.alive();
        for one in &left {
            one.kill();
        }
        for one in &left {
            // How is told by whoever runs it.
            let _end = one.wait().await;
        }
    }
}

/// A guest that stands still alone, until those beside it do.
struct GoingOn<'a>(&'a Company, &'a Sandbox);

impl Drop for GoingOn<'_> {
    fn drop(&mut self) {
        let _gone = self.0.resume(self.1);
    }
}

/// Runs a program beside the guest for somebody who asks, and hands on its streams until it ends. It is
/// ended with the guest, and where the one who asked leaves.
pub(super) async fn run(
    mut asker: Asker,
    post: &Post,
    guest: &Guest,
    exec: Exec,
) -> std::io::Result<()> {
    let command = crate::sandbox::printable(&exec.command.join(" "));
    let sandbox = match launched(post, guest, exec).await {
        Ok(sandbox) => sandbox,
        Err(reason) => return answer(&mut asker, &Answer::Refused(reason)).await,
    };
    post.note("exec", &[("command", &command)]);
    let done = speak(asker, &sandbox).await;
    sandbox.kill();
    note_end(post, &sandbox, &command).await;
    done
}

/// Hands on its streams until it has ended, or the one who asked leaves.
async fn speak(mut asker: Asker, sandbox: &Sandbox) -> std::io::Result<()> {
    answer(&mut asker, &Answer::Done).await?;
    let (mut from, mut to) = tokio::io::split(asker);
    let (pieces, mut coming) = mpsc::channel(PIECES_MAX);
    let streams = [
        tokio::task::spawn_local(read(sandbox.stdout(), false, pieces.clone())),
        tokio::task::spawn_local(read(sandbox.stderr(), true, pieces)),
    ];
    let input = sandbox.stdin();
    let sending = async {
        while let Some(frame) = coming.recv().await {
            hand_on(&mut to, &frame).await?;
        }
        // It wrote its last: its process is gone, or about to go.
        let code = sandbox.wait().await.map_or(crate::roster::FAILED, |exit| exit.code());
        hand_on(&mut to, &Frame::Ended(code)).await
    };
    let receiving = async {
        let mut input = input;
        while let Some(frame) = next_frame(&mut from).await? {
            let bytes = match frame {
                Frame::Input(bytes) => bytes,
                Frame::Resize { columns, rows } => {
                    // One without a terminal has no size.
                    let _without = sandbox.resize(WindowSize { columns, rows });
                    continue;
                }
                _ => continue,
            };
            if bytes.is_empty() {
                input = None;
            } else if let Some(input) = &mut input {
                // A program that no longer reads is none that must be written to.
                let _unread = input.write_all(&bytes).await;
            }
        }
        Ok(())
    };
    let done = tokio::select! {
        sent = sending => sent,
        left = receiving => left,
    };
    for stream in streams {
        stream.abort();
    }
    done
}

/// Writes down how it ended.
async fn note_end(post: &Post, sandbox: &Sandbox, command: &str) {
    let (code, reason) = match sandbox.wait().await {
        Ok(exit) => {
            if matches!(exit, Exit::OutOfMemory(_)) {
                post.note("oom", &[("command", command)]);
            }
            (exit.code(), exit.reason())
        }
        Err(_) => (crate::roster::FAILED, "failed"),
    };
    let code = code.to_string();
    post.note("exec_die", &[("command", command), ("exitCode", &code), ("reason", reason)]);
}

async fn launched(post: &Post, guest: &Guest, exec: Exec) -> Result<Arc<Sandbox>, String> {
    /// Why nothing runs beside a guest that ended while that was made ready.
    const GONE: &str = "it has ended meanwhile, and nothing runs beside it";
    let is_gone = |_| "it is not running just now".to_owned();
    post.sandbox().map_err(is_gone)?;
    let spec = spec_of(post, guest, &exec)?;
    let artifact = prepared(guest, &exec, &spec.limits).await?;
    let company = post.company();
    let _gate = company.gate.lock().await;
    // What happened meanwhile happened to it as well.
    let limits = guest.spec.limits.changed_by(post.changes());
    let first = post.sandbox().map_err(is_gone)?;
    if first.is_paused() {
        return Err("it is paused, and nothing runs beside it before `aril resume`".to_owned());
    }
    let spec = spec.limits(limits);
    let launched = guest.runtime.launch_in(&artifact, spec, Some(&first)).await;
    let launched = launched.map(Arc::new).map_err(|error| {
        // What it was to live in goes with the guest.
        if first.is_ending() { GONE.to_owned() } else { whole(&error) }
    })?;
    company.programs.borrow_mut().push(Arc::downgrade(&launched));
    Ok(launched)
}

/// The guest's spec, but for what is asked to be otherwise.
fn spec_of(post: &Post, guest: &Guest, exec: &Exec) -> Result<SandboxSpec, String> {
    let refused = |error: crate::capabilities::GrantError| whole(&error);
    let mut spec = guest.spec.clone();
    spec.limits = spec.limits.changed_by(post.changes());
    spec.capabilities.arguments.clone_from(&exec.command);
    spec.invocation = None;
    for (name, value) in &exec.environment {
        spec = spec.env(name, value).map_err(refused)?;
    }
    if let Some(directory) = &exec.working_directory {
        spec = spec.working_directory(directory).map_err(refused)?;
    }
    spec.terminal = exec.terminal.map(|(columns, rows)| WindowSize { columns, rows });
    let input = if exec.interactive { Input::Stream } else { Input::Closed };
    Ok(spec.stdin(input).stdout(Output::Stream).stderr(Output::Stream))
}

/// The program, ready to run.
async fn prepared(guest: &Guest, exec: &Exec, limits: &Limits) -> Result<Artifact, String> {
    let source = match (&exec.file, &guest.image, exec.command.first()) {
        (Some(file), ..) => Source::file(file),
        (None, Some(image), Some(program)) if !image.is_artifact() => {
            Source::image(image.clone().with_entrypoint(program))
        }
        _ => {
            return Err("it has no image with other programs: name a file with `--wasm`".to_owned());
        }
    };
    let (runtime, limits) = (guest.runtime.clone(), *limits);
    let around = tracing::Span::current();
    let preparing = tokio::task::spawn_blocking(move || {
        around.in_scope(|| runtime.prepare_alone(source, &limits, |_elapsed| {}))
    });
    match preparing.await {
        Ok(prepared) => prepared.map_err(|error| whole(&error)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, is_error: bool, to: mpsc::Sender<Frame>) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let bytes = chunk[..count].to_vec();
        if to.send(Frame::Output { is_error, bytes }).await.is_err() {
            return;
        }
    }
}
