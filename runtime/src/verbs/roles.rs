//! What this program does when it is started again in a role.

use std::ffi::OsStr;
use std::io::Write as _;

use crate::engine::Job;
use crate::engine::Kind;
use crate::engine::Report;
use crate::engine::compile;
use crate::platform::process;
use crate::platform::spare;
use crate::process::Call;
use crate::process::Role;
use crate::process::called;
use crate::process::keep_spare;
use crate::process::note_roles_are_served;
use crate::process::take_spare;
use crate::sandbox::serve_waiting_worker;
use crate::sandbox::serve_worker;

/// The code of a process that was called in a role that it cannot take.
const MISCALLED: u8 = 125;

/// Serves the roles that Aril starts this program in. Call it first in `main`.
///
/// Wasm is compiled in a process of its own, with bounds on its memory and time, and a guest may have
/// one ([`Isolation::Process`](crate::Isolation::Process)): this program again, started with a mark.
/// In such a process this function does that work and ends the process; in any other it returns at
/// once. It must come before any thread is started, so not within `#[tokio::main]`.
///
/// ```no_run
/// aril::roles();
/// // The program goes on here.
/// ```
pub fn roles() {
    note_roles_are_served();
    match called() {
        None => {}
        Some(Ok(call)) => process::exit_now(serve(&call)),
        Some(Err(error)) => {
            let _unheard = writeln!(std::io::stderr(), "{error}");
            process::exit_now(MISCALLED)
        }
    }
}

/// Has a worker ready for the first guest that is launched in a process of its own: a copy of this
/// process, made now, if the words that it was started with are such that one is `wanted`. Without it,
/// each worker is this program started anew, which takes longer.
///
/// Call it behind [`roles`], where this process has one thread and before it reads or opens anything:
/// a guest that broke out of its engine could read what was in this process's memory at this moment,
/// beside the words and the environment that it was started with, which the copy forgets. What this
/// process changes about itself later, such as its user or its bounds, does not reach the copy.
///
/// Where no such copy can be made, nothing happens. One that nobody needed ends when what this returns
/// is dropped, and with this process.
///
/// ```no_run
/// aril::roles();
/// let _worker = aril::fork_worker(|words| words.get(1).is_some_and(|verb| *verb == "run"));
/// // The program goes on here.
/// ```
pub fn fork_worker(wanted: impl FnOnce(&[&OsStr]) -> bool) -> ForkedWorker {
    if let Some(spare) = spare::fork(wanted, serve_waiting_worker) {
        keep_spare(spare);
    }
    ForkedWorker(())
}

/// A worker that waits for its guest: see [`fork_worker`]. Dropped, it ends, unless it has one.
#[derive(Debug)]
#[must_use = "dropped, the worker ends"]
pub struct ForkedWorker(());

impl Drop for ForkedWorker {
    fn drop(&mut self) {
        drop(take_spare());
    }
}

fn serve(call: &Call) -> u8 {
    match call.role {
        Role::Compiler => {
            if let Err(error) = call.enter() {
                let _unheard = write!(std::io::stderr(), "cannot enter the role: {error}");
                return MISCALLED;
            }
            serve_compiler(&call.words)
        }
        Role::Worker => match &call.words[..] {
            [number] => number.parse().map_or(MISCALLED, serve_worker),
            _ => MISCALLED,
        },
    }
}

/// The words that call a compiler.
pub(super) fn compiler_words(job: &Job) -> Vec<String> {
    vec![job.kind.word().to_owned(), job.digest.to_string()]
}

fn serve_compiler(words: &[String]) -> u8 {
    let job = match words {
        [kind, digest] => Kind::from_word(kind).zip(digest.parse().ok()),
        _ => None,
    };
    let Some((kind, digest)) = job else { return MISCALLED };
    // A compiler that panics has found a bug of the engine: what it read is refused, and its last
    // words, which would be no report, are not heard.
    std::panic::set_hook(Box::new(|_| {}));
    let job = Job { digest, kind };
    let compiled = std::panic::catch_unwind(|| compile(&job, std::io::stdin().lock(), RawOutput));
    let report = compiled.unwrap_or_else(|_| Report::Invalid {
        reason: "the compiler failed on it; please report this".to_owned(),
    });
    let Ok(report) = serde_json::to_vec(&report) else { return MISCALLED };
    match std::io::stderr().write_all(&report) {
        Ok(()) => 0,
        Err(_) => MISCALLED,
    }
}

/// Standard output without a buffer that looks for line ends in machine code.
struct RawOutput;

impl std::io::Write for RawOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        crate::platform::stdio::write_output(false, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Closes every descriptor that this process inherited beside the standard three.
///
/// Call it first in `main`, before [`roles`] and before anything is opened, in a program that will
/// be [occupied](crate::Runtime::occupy) by a guest: whoever started it may have left a file open
/// that leads out of every grant. Where the system has no such call, nothing happens.
pub fn close_inherited() {
    // A role is given what it needs by its caller, and closes the rest itself.
    if called().is_none() {
        process::close_inherited();
    }
}

/// Sees to it that what this process has in its memory from now on stays there: it leaves no image
/// of it where it is killed or crashes, and no other process of the same user may read it.
///
/// The library never does that by itself, for the process is not its own. Call it in a program that
/// is about to read [logins](crate::Registries::logins) or a [key](crate::SigningKey), before it
/// does. It cannot be taken back: the limit on the size of such images is lowered to nothing, also
/// for what this process starts. Where the system has no such calls, nothing happens.
///
/// # Errors
///
/// Fails where the system does not let this process do that.
pub fn keep_secrets() -> std::io::Result<()> {
    process::keep_secrets()
}
