//! `aril run -d`: a second process of this program keeps the sandbox, and this one says its id.
//!
//! The keeper is started with the same words behind a mark. It does all that a run does, and says what
//! fails on the terminal that it shares; once its guest has begun, it says the id on standard output
//! and leaves. This process hands that on, or ends as the keeper did.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io::Read as _;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use anyhow::bail;

use crate::report;

/// The first argument of a keeper.
const MARK: &str = "--aril-keeper";

/// Whether this process is a keeper.
static IS_KEEPER: AtomicBool = AtomicBool::new(false);

/// The words of the command line, of which the mark of a keeper is taken.
pub(super) fn unmarked(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|word| word == MARK) {
        args.remove(1);
        IS_KEEPER.store(true, Relaxed);
    }
    args
}

/// Whether a keeper is started with these words, behind its own name.
pub(super) fn begins_keeper(words: &[&OsStr]) -> bool {
    words.first().is_some_and(|word| *word == MARK)
}

/// Whether this process was started to keep a sandbox.
pub(super) fn is_keeper() -> bool {
    IS_KEEPER.load(Relaxed)
}

/// The words behind the program's own name, without the one that gives the sandbox its name, if there
/// is one.
pub(super) fn words(has_name: bool) -> Vec<String> {
    let words = unmarked(std::env::args_os().collect()).into_iter().skip(1);
    let mut words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    if has_name {
        remove_name(&mut words);
    }
    words
}

/// Removes the first `--name` and its value: what comes behind the program is its own.
fn remove_name(words: &mut Vec<String>) {
    let found = words.iter().position(|word| word == "--name" || word.starts_with("--name="));
    if let Some(at) = found {
        let count = if words[at] == "--name" { 2 } else { 1 };
        words.drain(at..words.len().min(at + count));
    }
}

/// Starts a keeper with the words of this process, and hands on what it says.
pub(super) fn start() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut keeper = Command::new(program);
    keeper.arg(MARK).args(std::env::args_os().skip(1)).stdout(Stdio::piped());
    let mut keeper = keeper.spawn().context("cannot start a keeper")?;
    let mut said = String::new();
    if let Some(output) = &mut keeper.stdout {
        output.read_to_string(&mut said).context("cannot hear the keeper")?;
    }
    if let Some(id) = said.strip_suffix('\n') {
        report::line(format_args!("{id}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = keeper.wait().context("cannot wait for the keeper")?;
    if status.code().is_none() {
        bail!("its keeper was killed before the guest had begun ({status})");
    }
    // What failed was said.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(report::FAILED);
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_goes_and_what_is_the_programs_own_stays() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (given, expected) in [
            ("run -d --name old app.wasm --name x", "run -d app.wasm --name x"),
            ("run --name=old -d app.wasm", "run -d app.wasm"),
        ] {
            let mut found = words(given);
            remove_name(&mut found);
            assert_eq!(found, words(expected));
        }
    }
}
