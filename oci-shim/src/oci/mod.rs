//! The OCI runtime, `aril-oci`: a command line of verbs about containers, each of which has a folder and
//! a process that keeps it.
//!
//! Sources: the [runtime specification](https://github.com/opencontainers/runtime-spec) for what
//! states, hooks and bundles are, and the command lines of `runc` and `crun`, which is what callers use.
//!
//! `create` starts a *keeper*: a process that holds the guest, is the one whose number callers are told,
//! and ends with the guest's code. All other verbs speak with it over a socket in the container's
//! folder, and clear behind it where it is gone.

mod create;
mod exec;
mod failure;
mod features;
mod folder;
mod keeper;
mod log;
mod message;
mod state;
mod verbs;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use failure::Failure;
use words::Command;
use words::Words;

/// The code of a verb that failed, as callers of `runc` know it.
const FAILED: u8 = 1;

/// Does what a command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = match Words::try_parse_from(args) {
        Ok(words) => words,
        Err(error) => {
            // Nobody may read it.
            let _unseen = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log::failed(&words, &failure);
            ExitCode::from(failure.code())
        }
    }
}

fn run(words: &Words) -> Result<u8, Failure> {
    let done = |()| 0;
    match &words.command {
        Command::Create(create) => create::create(words, create).map(done),
        Command::Run(run) => create::run(words, run),
        Command::Keep(keep) => keeper::keep(words, keep),
        Command::Start { id } => verbs::start(words, id).map(done),
        Command::State { id } => verbs::state(words, id).map(done),
        Command::Kill(kill) => verbs::kill(words, kill).map(done),
        Command::Delete { ids, force } => verbs::delete(words, ids, *force).map(done),
        Command::List(list) => verbs::list(words, list).map(done),
        Command::Ps { id, format, .. } => verbs::ps(words, id, *format).map(done),
        Command::Pause { id } => verbs::pause(words, id).map(done),
        Command::Resume { id } => verbs::resume(words, id).map(done),
        Command::Update(update) => verbs::update(words, update).map(done),
        Command::Events { id, stats, interval } => {
            verbs::events(words, id, *stats, *interval).map(done)
        }
        Command::Exec(exec) => exec::exec(words, exec),
        Command::Features => features::print_all().map(done),
    }
}
