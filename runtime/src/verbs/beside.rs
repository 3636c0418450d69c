//! Another program beside a guest that goes on alone: with its files, and within its limits.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::error::whole;
use crate::roster::Answer;
use crate::roster::Asker;
use crate::roster::Exec;
use crate::roster::Frame;
use crate::roster::answer;
use crate::roster::hand_on;
use crate::roster::next_frame;
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

/// Runs a program beside the guest for somebody who asks, and hands on its streams until it ends. It is
/// ended with the guest, and where the one who asked leaves.
pub(super) async fn run(
    mut asker: Asker,
    post: &Post,
    guest: &Guest,
    exec: Exec,
) -> std::io::Result<()> {
    let mut ends = post.ends();
    let sandbox = match launched(post, guest, exec).await {
        Ok(sandbox) => sandbox,
        Err(reason) => return answer(&mut asker, &Answer::Refused(reason)).await,
    };
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
        let code = sandbox.record().await.map_or(crate::roster::FAILED, |one| one.exit.code());
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
        // The guest ended, and its files and its limits with it.
        _ = ends.changed() => Ok(()),
    };
    sandbox.kill();
    for stream in streams {
        stream.abort();
    }
    done
}

async fn launched(post: &Post, guest: &Guest, exec: Exec) -> Result<Arc<Sandbox>, String> {
    post.sandbox().map_err(|_| "it is not running just now".to_owned())?;
    let spec = spec_of(post, guest, &exec)?;
    let artifact = prepared(guest, &exec, spec.limits).await?;
    let command = exec.command.join(" ");
    post.note("exec", &[("command", &crate::sandbox::printable(&command))]);
    let launched = guest.runtime.launch(&artifact, spec).await;
    launched.map(Arc::new).map_err(|error| whole(&error))
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
async fn prepared(
    guest: &Guest,
    exec: &Exec,
    limits: crate::limits::Limits,
) -> Result<Artifact, String> {
    let source = match (&exec.file, &guest.image, exec.command.first()) {
        (Some(file), ..) => Source::file(file),
        (None, Some(image), Some(program)) if !image.is_artifact() => {
            Source::image(image.clone().with_entrypoint(program))
        }
        _ => {
            return Err("it has no image with other programs: name a file with `--wasm`".to_owned());
        }
    };
    let runtime = guest.runtime.clone();
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
