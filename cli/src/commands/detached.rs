//! `aril run -d`, and what else goes on without this process: a second one of this program keeps the
//! sandbox, and this one says its id.
//!
//! The keeper is a copy of this process. It does all that a run does, and says what fails on the
//! terminal that it shares; once its guest has begun, it says the id on standard output and leaves.
//! This process hands that on, or ends as the keeper did.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use anyhow::bail;
use aril::Resident;
use aril::Split;
use aril::Twin;

use crate::report;

/// The first argument of a process that is the keeper itself: nobody is beside it to say the id.
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

/// Whether this process is there to keep a sandbox.
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

/// Whether a command line of these words starts a sandbox that goes on without its process, most
/// probably: what follows the program is its own, and is told apart only when they are read.
fn look_as_if_one_stays(words: &[&OsStr]) -> bool {
    let words = words.get(1..).unwrap_or_default();
    let is_help = |word: &&OsStr| *word == "-h" || *word == "--help";
    if words.first().is_none_or(|verb| *verb != "run") || words.iter().any(is_help) {
        return false;
    }
    words.iter().any(|word| match word.as_encoded_bytes() {
        [b'-', b'-', long @ ..] => {
            matches!(long, b"detach" | b"tty" | b"name") || long.starts_with(b"name=")
        }
        // Several in one, of which some may have a value.
        [b'-', short @ ..] => short.iter().any(|letter| [b'd', b't'].contains(letter)),
        _ => false,
    })
}

/// A sandbox that is kept for this process.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) keeper: Twin,
}

/// What became of a process that starts a keeper.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is the keeper itself, from here on.
    Keeper,
    /// A keeper beside it keeps the sandbox of this id, which goes on without this process.
    Left(String),
    /// One keeps a sandbox that this process is to show.
    Shown(Own),
    /// There is no keeper any more, and this is the code to end with.
    Ended(ExitCode),
}

/// What a keeper says behind which this process is to show its guest.
const SHOWN: char = '+';

/// What one says that finds that nobody needs it.
const UNNEEDED: &str = "-\n";

/// The sandbox that a keeper keeps which began first in `main`, and that this process is to show.
static BEGUN: Mutex<Option<Own>> = Mutex::new(None);

fn begun() -> MutexGuard<'static, Option<Own>> {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is one.
pub(super) fn has_begun() -> bool {
    begun().is_some()
}

/// Has a keeper begin first in `main`, where the words look as if there is to be one: it does all that
/// they say, and this process has only to hear it. The code to end with, where that is all.
pub(crate) fn split_keeper() -> Option<ExitCode> {
    let keeper = match aril::split_first(look_as_if_one_stays) {
        Split::Alone => return None,
        Split::New => {
            IS_KEEPER.store(true, Relaxed);
            return None;
        }
        Split::Beside(keeper) => keeper,
    };
    match heard(keeper) {
        Ok(None | Some(Begun::Keeper)) => None,
        Ok(Some(Begun::Ended(code))) => Some(code),
        Ok(Some(Begun::Shown(own))) => {
            *begun() = Some(own);
            None
        }
        Ok(Some(Begun::Left(id))) => {
            let said = report::line(format_args!("{id}"));
            Some(said.map_or_else(|error| report::failure(&error), |()| ExitCode::SUCCESS))
        }
        Err(error) => Some(report::failure(&error)),
    }
}

/// Goes on as the keeper, in a process of its own; and beside it, as this one, which hears what that
/// says.
pub(super) fn begin() -> anyhow::Result<Begun> {
    if let Some(own) = begun().take() {
        return Ok(Begun::Shown(own));
    }
    let Some(keeper) = aril::split().context("cannot start a keeper")? else {
        IS_KEEPER.store(true, Relaxed);
        return Ok(Begun::Keeper);
    };
    heard(keeper)?.context("its keeper says that it is not needed; please report this")
}

/// Says what this process keeps to the one that started it, which shows that, or leaves it.
pub(super) fn say(resident: &Resident, shows: bool) -> anyhow::Result<()> {
    let id = &resident.id;
    if shows {
        // That one knows no other way to its name: the sandbox may be gone before it looks.
        let name = resident.name.as_ref().map_or(id.as_str(), |name| name.as_str());
        report::line(format_args!("{SHOWN}{id} {name}"))
    } else {
        report::line(format_args!("{id}"))
    }
}

/// Tells the process that started this one that it is not needed.
pub(super) fn is_not_needed() -> anyhow::Result<ExitCode> {
    report::line(format_args!("{}", UNNEEDED.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// What became of the keeper beside this process. Nothing where it says that it is not needed.
fn heard(mut keeper: Twin) -> anyhow::Result<Option<Begun>> {
    let said = keeper.hear().context("cannot hear the keeper")?;
    if said == UNNEEDED {
        keeper.wait().context("cannot wait for the keeper")?;
        return Ok(None);
    }
    if let Some(id) = said.strip_suffix('\n') {
        let Some(shown) = id.strip_prefix(SHOWN) else {
            // It says no more, once it has left what both share.
            let _end = keeper.hear();
            return Ok(Some(Begun::Left(id.to_owned())));
        };
        let (id, name) = shown.split_once(' ').unwrap_or((shown, shown));
        let (id, name) = (id.to_owned(), name.to_owned());
        return Ok(Some(Begun::Shown(Own { id, name, keeper })));
    }
    let status = keeper.wait().context("cannot wait for the keeper")?;
    if status.code().is_none() {
        bail!("its keeper was killed before the guest had begun ({status})");
    }
    // What failed was said.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(report::FAILED);
    Ok(Some(Begun::Ended(ExitCode::from(code))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_what_stays_are_known_before_they_are_read() {
        let looks = |text: &str| {
            let words: Vec<_> = text.split(' ').map(OsStr::new).collect();
            look_as_if_one_stays(&words)
        };
        for line in [
            "aril run -d app.wasm",
            "aril run -m 64m --detach app.wasm",
            "aril run -it app.wasm",
            "aril run --name web app.wasm",
            "aril run --name=web app.wasm",
            // It is the program's own: that is found out later.
            "aril run app.wasm -d",
        ] {
            assert!(looks(line), "{line}");
        }
        for line in ["aril", "aril ps -d", "aril run app.wasm", "aril run -d --help", "aril run -"]
        {
            assert!(!looks(line), "{line}");
        }
    }

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
