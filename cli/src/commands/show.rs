//! The streams of a guest of another process, shown on those of this one.

use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::OnceLock;

use anyhow::Context as _;
use aril::AttachedInput;
use aril::Attachment;
use aril::Notice;
use aril::Notices;
use aril::Piece;
use aril::Record;

use super::terminal;
use super::terminal::DetachKeys;
use super::terminal::Raw;
use crate::report;

/// How a guest's streams are shown.
#[derive(Default)]
pub(super) struct Show {
    /// Whether what is read here is handed on.
    pub(super) input: bool,
    /// This terminal is the guest's, and these keys leave it.
    pub(super) terminal: Option<DetachKeys>,
    /// What is sent to this process, and what is done when that asks to end: where it says so, the
    /// guest is left.
    pub(super) notices: Option<(Notices, OnAsk)>,
}

/// What is done about a signal. Says whether the guest is to be left.
pub(super) type OnAsk = Box<dyn FnMut(i32) -> bool + Send>;

/// How it came to an end.
#[derive(Debug)]
pub(super) enum Shown {
    /// With the guest, by this code.
    Ended(u8, Option<Box<Record>>),
    /// By the keys.
    Left,
    /// By a signal of this number.
    Asked(i32),
}

/// Why a guest was left, once it was.
type Leaving = Arc<OnceLock<Leave>>;

#[derive(Debug)]
enum Leave {
    Keys,
    Signal(i32),
}

/// How a guest ended.
type Ended = (u8, Option<Box<Record>>);

impl Show {
    /// Shows the streams until the guest ends, or is left. The terminal is as it was when this returns.
    pub(super) fn run(self, mut attachment: Attachment) -> anyhow::Result<Shown> {
        let leaving = Leaving::default();
        let is_raw = self.terminal.is_some();
        let raw = self.terminal.is_some().then(Raw::enter).transpose()?;
        if is_raw {
            // A keeper that is gone is found out below.
            let _gone = attachment.input().resize(terminal::size());
        }
        // Both end with this process.
        if let Some((notices, on_ask)) = self.notices {
            let (input, leaving) = (attachment.input(), Arc::clone(&leaving));
            let heed = move || heed(&notices, on_ask, input, is_raw, &leaving);
            std::thread::Builder::new().spawn(heed).context("cannot wait for signals")?;
        }
        if self.input {
            let (input, leaving) = (attachment.input(), Arc::clone(&leaving));
            let hand_in = move || hand_in(input, self.terminal, &leaving);
            std::thread::Builder::new().spawn(hand_in).context("cannot read standard input")?;
        }
        let mut is_mid_line = false;
        let is_cooked = !is_raw && attachment.has_terminal() && io::stdout().is_terminal();
        let mut lines = is_cooked.then(Lines::default);
        let shown = print(&mut attachment, is_raw, &mut lines, &mut is_mid_line);
        drop(raw);
        if lines.is_some_and(|lines| lines.held) {
            let _unseen = io::stdout().write_all(b"\r");
        }
        // What is said next stands in a line of its own.
        if is_raw && is_mid_line && !matches!(shown, Ok(Some((0, _)))) {
            let _unseen = io::stdout().write_all(b"\n");
        }
        match (shown?, leaving.get()) {
            (Some((code, record)), _) => Ok(Shown::Ended(code, record)),
            (None, Some(Leave::Keys)) => Ok(Shown::Left),
            (None, Some(Leave::Signal(signal))) => Ok(Shown::Asked(*signal)),
            (None, None) => anyhow::bail!("its keeper is gone"),
        }
    }
}

/// Prints what the guest writes until it ends; nothing where its keeper is heard no more.
fn print(
    attachment: &mut Attachment,
    is_raw: bool,
    lines: &mut Option<Lines>,
    is_mid_line: &mut bool,
) -> anyhow::Result<Option<Ended>> {
    let mut record = None;
    loop {
        let written = match attachment.next_piece().context("its keeper does not answer")? {
            Some(Piece::Output(bytes)) => {
                let bytes = match lines {
                    Some(lines) => lines.unreturned(&bytes),
                    None => bytes,
                };
                *is_mid_line = bytes.last().is_some_and(|last| *last != b'\n');
                let mut out = io::stdout();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Some(Piece::Error(bytes)) => io::stderr().write_all(&bytes),
            Some(Piece::Lost(count)) => {
                // A raw terminal goes to the beginning of a line where it is told to.
                let end = if is_raw { "\r" } else { "" };
                report::say(format_args!(
                    "{count} pieces of output came too fast and are lost{end}"
                ));
                Ok(())
            }
            Some(Piece::Record(told)) => {
                record = Some(told);
                Ok(())
            }
            Some(Piece::Ended(code)) => return Ok(Some((code, record))),
            Some(_) => Ok(()),
            None => return Ok(None),
        };
        written.map_err(report::unprinted)?;
    }
}

/// Lines that the guest's terminal ended, for one that ends them itself.
#[derive(Debug, Default)]
struct Lines {
    /// The last byte was a `\r`, of which nobody knows yet whether it ends a line.
    held: bool,
}

impl Lines {
    /// The bytes with `\n` for each `\r\n`. A `\r` at their end comes with the next ones: it shows
    /// nothing.
    fn unreturned(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if std::mem::take(&mut self.held) && byte != b'\n' {
                passed.push(b'\r');
            }
            if byte == b'\r' {
                self.held = true;
            } else {
                passed.push(byte);
            }
        }
        passed
    }
}

/// Hands in what is read here, until that ends or the keys are typed.
fn hand_in(mut input: AttachedInput, mut keys: Option<DetachKeys>, leaving: &Leaving) {
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = match io::stdin().read(&mut chunk) {
            Ok(count @ 1..) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => break,
        };
        let Some(keys) = &mut keys else {
            if input.write_all(&chunk[..count]).is_err() {
                break;
            }
            continue;
        };
        let (typed, is_over) = keys.sift(&chunk[..count]);
        let is_gone = input.write_all(&typed).is_err();
        if is_over {
            let _first = leaving.set(Leave::Keys);
            return input.leave();
        }
        if is_gone {
            return;
        }
    }
    if keys.is_some() {
        // A terminal that is gone is no end of the guest's input.
        let _first = leaving.set(Leave::Keys);
        return input.leave();
    }
    // Where the keeper is gone, the input has ended.
    let _ended = input.end();
}

/// Does what this process is asked to, for as long as it is there.
fn heed(
    notices: &Notices,
    mut on_ask: OnAsk,
    mut input: AttachedInput,
    is_raw: bool,
    leaving: &Leaving,
) {
    loop {
        match notices.wait() {
            Notice::StandStill => {
                Raw::suspend();
                notices.stand_still();
            }
            notice @ (Notice::Resized | Notice::GoesOn) if is_raw => {
                if notice == Notice::GoesOn {
                    Raw::resume();
                }
                // A keeper that is gone is found out by who reads.
                let _gone = input.resize(terminal::size());
            }
            Notice::Ask(signal) if on_ask(signal) => {
                let _first = leaving.set(Leave::Signal(signal));
                return input.leave();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_ended_once_wherever_its_end_is_torn() {
        for (pieces, expected) in [
            (&["one\r\ntwo\r\n"][..], "one\ntwo\n"),
            (&["one\r", "\ntwo"], "one\ntwo"),
            (&["50%\r100%\r\n"], "50%\r100%\n"),
            (&["50%\r", "100%"], "50%\r100%"),
            (&["a\r\r", "\r\n"], "a\r\r\n"),
            (&["a\nb"], "a\nb"),
        ] {
            let mut lines = Lines::default();
            let shown: Vec<u8> =
                pieces.iter().flat_map(|piece| lines.unreturned(piece.as_bytes())).collect();
            assert_eq!(String::from_utf8_lossy(&shown), expected, "{pieces:?}");
        }
    }
}
