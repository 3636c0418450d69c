//! A terminal of the guest's own: its size, and what is typed at it.
//!
//! A guest hears no signals, and the system sends none for what is typed: the terminal is nobody's
//! controlling one. What would interrupt a program is therefore found on its way to the terminal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncWrite;

use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::platform::terminal::Terminal;

use super::exit::Exit;
use super::guest::LaunchError;
use super::spec::SandboxSpec;
use super::vitals::Vitals;

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters of a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for WindowSize {
    /// 80 columns and 24 rows, as the terminals had that all others imitate.
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// Refuses a terminal that the guest cannot have, or would have in vain.
pub(super) fn check(spec: &SandboxSpec, has_process: bool) -> Result<(), LaunchError> {
    if spec.terminal.is_none() {
        return Ok(());
    }
    if !has_process {
        let reason = "a terminal is for a guest with a process that is kept by another one; launch it \
                      as `Isolation::Process`";
        return Err(LaunchError::Isolation { reason: reason.to_owned() });
    }
    let granted = &spec.capabilities;
    if granted.stdin != Input::Stream && ![granted.stdout, granted.stderr].contains(&Output::Stream)
    {
        let reason = "a terminal is one for the streams that are `Stream`, and none is";
        return Err(LaunchError::Invocation { reason: reason.to_owned() });
    }
    Ok(())
}

/// The characters by which a new terminal interrupts, quits, and takes the next one as it is: Ctrl-C,
/// Ctrl-\\ and Ctrl-V. No guest can set others: its process may only ask terminals.
const INTERRUPT: u8 = 0x03;
const QUIT: u8 = 0x1c;
const LITERAL_NEXT: u8 = 0x16;

/// What is typed ends a guest by this signal, if it does. `is_literal` says whether the first byte is
/// to be taken as it is, and afterwards that of the next bytes.
fn ends_by(typed: &[u8], is_literal: &mut bool) -> Option<i32> {
    /// The numbers of the signals, on every system that numbers them.
    const SIGINT: i32 = 2;
    const SIGQUIT: i32 = 3;
    let mut ends = None;
    for byte in typed {
        let was_literal = std::mem::replace(is_literal, false);
        match *byte {
            _ if was_literal => {}
            LITERAL_NEXT => *is_literal = true,
            INTERRUPT => ends = ends.or(Some(SIGINT)),
            QUIT => ends = ends.or(Some(SIGQUIT)),
            _ => {}
        }
    }
    ends
}

/// Types at a guest's terminal. What interrupts ends the guest, as it ends a program that does nothing
/// about it.
pub(super) struct Typed {
    terminal: Terminal,
    vitals: Arc<Vitals>,
    is_literal: bool,
}

impl Typed {
    pub(super) fn new(terminal: Terminal, vitals: Arc<Vitals>) -> Self {
        Self { terminal, vitals, is_literal: false }
    }
}

impl AsyncWrite for Typed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Before there is room: a guest that does not read what is typed can be interrupted too.
        if let Some(signal) = ends_by(bytes, &mut self.is_literal.clone()) {
            self.vitals.order(Exit::Killed(signal));
        }
        let count = ready!(Pin::new(&mut self.terminal).poll_write(cx, bytes))?;
        let _ordered = ends_by(&bytes[..count], &mut self.is_literal);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.terminal).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.terminal).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_interrupts_unless_it_is_to_be_taken_as_it_is() {
        for (typed, expected) in [
            (&b"print(1)\n"[..], None),
            (b"a\x03", Some(2)),
            (b"\x1c\x03", Some(3)),
            (b"\x16\x03", None),
            (b"\x16\x16\x03", Some(2)),
            (b"\x04", None),
        ] {
            let mut is_literal = false;
            assert_eq!(ends_by(typed, &mut is_literal), expected, "{typed:?}");
        }
        let mut is_literal = false;
        assert_eq!(ends_by(b"\x16", &mut is_literal), None);
        assert_eq!(ends_by(b"\x03", &mut is_literal), None, "the pieces are one text");
        assert_eq!(ends_by(b"\x03", &mut is_literal), Some(2));
    }
}
