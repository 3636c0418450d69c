//! `aril run` with a name or a terminal: a keeper of its own keeps the sandbox, as with `-d`, and this
//! process shows it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use aril::Notices;
use aril::Runtime;

use super::detached::Own;
use super::show::OnAsk;
use super::show::Show;
use super::show::Shown;
use super::terminal::DetachKeys;
use crate::report;

/// The numbers of signals, on every system that numbers them.
const HANG_UP: i32 = 1;
const TERMINATE: i32 = 15;

/// Shows the guest of the keeper that this process started, which has a terminal or not, until it ends or
/// is left.
pub(super) fn show(
    runtime: &Runtime,
    (own, has_terminal): (Own, bool),
    input: bool,
    terminal: Option<DetachKeys>,
) -> anyhow::Result<ExitCode> {
    // Until here a signal ends this process and its keeper.
    let notices = Notices::take_over();
    let Own { id, name, keeper } = own;
    let attachment = keeper.attach(has_terminal).context("cannot hear the keeper")?;
    let on_ask = hand_on(runtime.clone(), id, terminal.is_some());
    let show = Show { input, terminal, notices: Some((notices, on_ask)) };
    Ok(match show.run(attachment)? {
        Shown::Ended(_, Some(record)) => {
            ExitCode::from(report::ended(Ok(&record), report::RecordFile::None))
        }
        Shown::Ended(code, None) => {
            report::say(format_args!("the host failed at it: `aril inspect {name}` says why"));
            ExitCode::from(code)
        }
        Shown::Left => {
            left(&name);
            ExitCode::SUCCESS
        }
        Shown::Asked(signal) => {
            left(&name);
            ExitCode::from(code_of(signal))
        }
    })
}

/// Says how to come back.
pub(super) fn left(name: &str) {
    let name = aril::printable(name);
    report::say(format_args!("it goes on; come back with `aril attach {name}`"));
}

/// The code of a process that ended by a signal.
pub(super) fn code_of(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(0).saturating_add(128)
}

/// What asks this process to end asks the guest to, as it does where one process keeps it. A terminal
/// that is gone leaves the guest running.
fn hand_on(runtime: Runtime, id: String, has_terminal: bool) -> OnAsk {
    let mut was_asked = false;
    Box::new(move |signal| {
        if has_terminal && signal == HANG_UP {
            return true;
        }
        let is_asked_again = std::mem::replace(&mut was_asked, true);
        let done = if is_asked_again && [HANG_UP, TERMINATE].contains(&signal) {
            runtime.stop_resident(&id, Some(Duration::ZERO)).map(drop)
        } else {
            runtime.kill_resident(&id, signal)
        };
        // Where nobody does it, this process at least is to end.
        done.is_err()
    })
}
