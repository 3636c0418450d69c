//! What a process of a container is: a guest of the library's, or a native process that `runc` made. Each
//! can be asked for the same.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use std::time::SystemTime;

use aril::Exit;
use aril::Frame;
use aril::PauseError;
use aril::Record;
use aril::Sandbox;
use aril::WindowSize;

use crate::native::Native;
use crate::native::NativeError;
use crate::native::Process;

use crate::signals;
use crate::signals::Deed;
use crate::signals::KILL;

use super::failure::Failure;
use super::whole;

/// The code of what the host failed at: no code of a guest's own, and no signal.
const HOST_FAILED: u32 = 255;

/// The number of the signal that asks to stop.
const TERM: i32 = 15;

/// A process of a container.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A guest.
    Guest(Rc<Sandbox>),
    /// The first process of a native container.
    Native(Rc<Native>),
    /// A process that runs beside that.
    Beside(Rc<Process>),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: u32,
    pub(super) at: SystemTime,
    /// How, where more than the code is known: for containerd's log, and whether the host failed.
    pub(super) said: Option<(String, bool)>,
    /// Why, where that is to be in the container's log.
    pub(super) last_line: Option<String>,
}

impl Body {
    /// The number of the process: 0 where it is not known.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Guest(sandbox) => sandbox.process_id().unwrap_or(0),
            Self::Native(native) => native.pid(),
            Self::Beside(process) => process.pid(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Guest(sandbox) => sandbox.has_ended(),
            Self::Native(native) => native.process().ended().is_some(),
            Self::Beside(process) => process.ended().is_some(),
        }
    }

    /// Has what was made begin.
    pub(super) async fn start(&self) -> Result<(), Failure> {
        match self {
            Self::Guest(sandbox) => sandbox.start().map_err(|error| {
                // Nothing comes of it any more.
                sandbox.kill();
                Failure::other(format!("cannot start the guest: {}", whole(&error)))
            }),
            Self::Native(native) => Ok(native.start().await?),
            Self::Beside(_) => Ok(()),
        }
    }

    /// Sends a signal, by its number, and has a guest do what that does to a program that says nothing
    /// about it; one that waits for its start has no grace.
    pub(super) async fn signal(
        &self,
        signal: u32,
        to_all: bool,
        grace: Duration,
    ) -> Result<(), Failure> {
        let deed = signals::deed(signal);
        let number = signal.cast_signed();
        let sent = match (self, deed) {
            (Self::Native(native), _) if signal != 0 => native.kill(number, to_all).await,
            (Self::Beside(process), _) if signal != 0 => process.signal(number),
            (Self::Guest(sandbox), deed) => {
                match deed? {
                    Deed::Nothing => {}
                    Deed::End(signal) => sandbox.kill_as(signal),
                    Deed::Stop if grace.is_zero() => sandbox.kill_as(TERM),
                    Deed::Stop => {
                        let sandbox = Rc::clone(sandbox);
                        tokio::task::spawn_local(async move {
                            // How it ended is told by who waits for that.
                            let _end = sandbox.stop(grace).await;
                        });
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        };
        match sent {
            Err(NativeError::NotRunning { .. }) => {
                Err(Failure::not_found("the process has finished already"))
            }
            sent => Ok(sent?),
        }
    }

    /// Ends it now.
    pub(super) fn kill(&self) {
        match self {
            Self::Guest(sandbox) => sandbox.kill(),
            // One that has ended needs nobody to end it.
            Self::Native(native) => drop(native.process().signal(KILL)),
            Self::Beside(process) => drop(process.signal(KILL)),
        }
    }

    /// Gives its terminal another size.
    pub(super) fn resize(&self, size: WindowSize) -> Result<(), Failure> {
        let resized = match self {
            Self::Guest(sandbox) => sandbox.resize(size).map_err(|error| error.to_string()),
            Self::Native(native) => {
                let resized = native.process().resize(size.columns, size.rows);
                resized.map_err(|error| whole(&error))
            }
            Self::Beside(process) => {
                process.resize(size.columns, size.rows).map_err(|error| whole(&error))
            }
        };
        match resized {
            Err(_) if self.has_ended() => Ok(()),
            Err(error) => Err(Failure::other(format!("cannot resize the terminal: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Ends its input, where that is not handed on here.
    pub(super) fn close_input(&self) {
        match self {
            Self::Guest(_) => {}
            Self::Native(native) => native.process().close_stdin(),
            Self::Beside(process) => process.close_stdin(),
        }
    }

    /// Has it stand still: what is beside a native one does so with it.
    pub(super) async fn pause(&self) -> Result<(), Failure> {
        match self {
            Self::Guest(sandbox) => sandbox.pause().await.map_err(|error| not_paused(&error)),
            Self::Native(native) => Ok(native.pause().await?),
            Self::Beside(_) => Ok(()),
        }
    }

    /// Has it go on.
    pub(super) async fn resume(&self) -> Result<(), Failure> {
        match self {
            Self::Guest(sandbox) => sandbox.resume().map_err(|error| not_paused(&error)),
            Self::Native(native) => Ok(native.resume().await?),
            Self::Beside(_) => Ok(()),
        }
    }

    /// Waits for its end. `out_of_memory` is told each time when something was killed because there was
    /// none, or a guest ended of that.
    pub(super) async fn end(&self, out_of_memory: impl Fn(), is_terminal: bool) -> Ended {
        match self {
            Self::Guest(sandbox) => {
                let record = sandbox.record().await;
                let at = SystemTime::now();
                match record {
                    Ok(record) => {
                        if matches!(record.exit, Exit::OutOfMemory(_)) {
                            out_of_memory();
                        }
                        Ended {
                            code: u32::from(record.exit.code()),
                            at,
                            said: Some((record.exit.to_string(), false)),
                            last_line: last_line(&record, is_terminal),
                        }
                    }
                    Err(error) => {
                        let said = format!("the host failed: {}", whole(&error));
                        let said = Some((said, true));
                        Ended { code: HOST_FAILED, at, said, last_line: None }
                    }
                }
            }
            Self::Native(native) => {
                let told = Cell::new(0);
                let ended = loop {
                    tokio::select! {
                        biased;
                        kills = native.out_of_memory() => {
                            told.set(kills);
                            out_of_memory();
                        }
                        ended = native.wait() => break ended,
                    }
                };
                if told.get() < ended.memory_kills {
                    out_of_memory();
                }
                Ended { code: ended.status, at: ended.at, said: None, last_line: None }
            }
            Self::Beside(process) => {
                let ended = process.wait().await;
                Ended { code: ended.status, at: ended.at, said: None, last_line: None }
            }
        }
    }

    /// Removes what is left of one that has ended.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        match self {
            Self::Guest(_) => Ok(()),
            Self::Native(native) => match native.delete().await {
                // Somebody else did it.
                Err(NativeError::Gone { .. }) => Ok(()),
                deleted => Ok(deleted?),
            },
            Self::Beside(process) => {
                process.close().await;
                Ok(())
            }
        }
    }
}

fn not_paused(error: &PauseError) -> Failure {
    match error {
        PauseError::System { .. } | PauseError::TooLong => Failure::other(error.to_string()),
        _ => Failure::precondition(error.to_string()),
    }
}

/// What is said in the log of a container whose guest neither ended by itself nor was ended by whoever
/// asked for that: why.
fn last_line(record: &Record, is_terminal: bool) -> Option<String> {
    /// How many calls of the guest are told, innermost first.
    const CALLS_MAX: usize = 16;
    let calls = match &record.exit {
        Exit::Exited(_) | Exit::Stopped | Exit::Killed(_) => return None,
        Exit::Trapped(trap) => &trap.backtrace[..trap.backtrace.len().min(CALLS_MAX)],
        _ => &[],
    };
    let end = if is_terminal { "\r\n" } else { "\n" };
    let beginning = if record.mid_line { end } else { "" };
    let first = format!("{beginning}aril: {}{end}", aril::printable(&record.exit.to_string()));
    let call = |call: &Frame| format!("aril:   at {}{end}", aril::printable(&call.function));
    Some(std::iter::once(first).chain(calls.iter().map(call)).collect())
}
