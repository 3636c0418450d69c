//! A child in a role: started, listened to, waited for, and ended when its time is over.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use crate::platform::process;

use super::role::Call;

/// The longest report that is read from a child. What it says is a claim, and bounded.
const REPORT_SIZE_MAX: u64 = 64 << 10;

/// How often one who has reported is looked after, until it has ended.
const LEAVING: Duration = Duration::from_micros(200);

/// What can go wrong with a child, beside what it reports.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start `{}`", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("it took longer than {}", humantime::format_duration(*limit))]
    TooLong { limit: Duration },
    #[error("it was ended by signal {signal}{}", hint(*signal))]
    Signal { signal: i32 },
    #[error("it ended with status {status} and no report")]
    NoReport { status: String },
}

/// What the signal means for a child with bounds.
fn hint(signal: i32) -> &'static str {
    match signal {
        6 => ", as a process does that needs more memory than it may have",
        9 | 24 => ", as the system does when processor time or memory run out",
        _ => "",
    }
}

/// Runs `program` in the role of `call`, with `input` and `output` as its standard streams, and
/// returns what it reports. `waiting` is called every `beat` until then.
pub(crate) fn run(
    program: &Path,
    call: &Call,
    input: File,
    output: File,
    limit: Duration,
    beat: Duration,
    mut waiting: impl FnMut(),
) -> Result<Vec<u8>, ChildError> {
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(call.to_args())
        .env_clear()
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ChildError::Start { program: program.to_owned(), source })?;
    let reports = listen(&mut child);
    let report = loop {
        match reports.recv_timeout(beat) {
            Ok(report) => break report,
            Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() < limit => {
                waiting();
            }
            Err(_) => {
                // It may have ended at this very moment, which is as good.
                let _ended = child.kill();
                let _status = child.wait();
                return Err(ChildError::TooLong { limit });
            }
        }
    };
    let status = loop {
        let ended = child.try_wait();
        match ended.map_err(|source| ChildError::Start { program: program.to_owned(), source })? {
            Some(status) => break status,
            None if started.elapsed() < limit => std::thread::sleep(LEAVING),
            // It has said all, and does not leave.
            None => {
                let _ended = child.kill();
                let _status = child.wait();
                return Err(ChildError::TooLong { limit });
            }
        }
    };
    match process::ending_signal(status) {
        Some(signal) => Err(ChildError::Signal { signal }),
        None if report.is_empty() => Err(ChildError::NoReport { status: status.to_string() }),
        None => Ok(report),
    }
}

/// Reads the child's report to its end on a thread of its own.
fn listen(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    let (send, reports) = mpsc::channel();
    let stderr = child.stderr.take();
    std::thread::spawn(move || {
        let mut report = Vec::new();
        if let Some(stderr) = stderr {
            // An unreadable report is an empty one.
            let _unread = stderr.take(REPORT_SIZE_MAX).read_to_end(&mut report);
        }
        let _gone = send.send(report);
    });
    reports
}
