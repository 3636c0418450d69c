//! From an artifact to a guest in a process of its own, which this process does nothing but keep.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::platform::Ask;
use crate::platform::process;
use crate::platform::signals::Asks;
use crate::sandbox::Exit;
use crate::sandbox::Isolation;
use crate::sandbox::LaunchError;
use crate::sandbox::Occupation;
use crate::sandbox::Record;
use crate::sandbox::Sandbox;
use crate::sandbox::SandboxSpec;
use crate::sandbox::check_not_held;

use super::prepare::Artifact;
use super::runtime::Runtime;

/// How long a report may take where somebody waits for an end in time.
const REPORT_TIME_MAX: Duration = Duration::from_millis(60);

impl Runtime {
    /// Runs a guest in a process of its own, and waits for its end. What is asked of this process
    /// meanwhile is asked of the guest: to stop, which it has its grace for, or to end at once.
    ///
    /// The process must have no other work, and one thread: its signals are taken over. `report` is
    /// told how the guest ended, and says the code that the process is to end with, which this
    /// returns. Where the guest did not end by itself, the process ends with that code after 60 ms,
    /// also where `report` still waits for somebody to listen; where it did and has a deadline, not
    /// later than 60 ms after that.
    ///
    /// # Errors
    ///
    /// Fails where the guest cannot be launched, and where the host, and not the guest, is what
    /// failed.
    pub fn keep(
        &self,
        artifact: &Artifact,
        spec: SandboxSpec,
        occupation: Occupation,
        report: impl FnOnce(&Record) -> u8,
    ) -> Result<u8, Error> {
        let deadline = spec.limits.deadline.or(None);
        // What is asked from here on waits until somebody listens.
        let asks = Asks::block();
        let record = self.kept(artifact, spec, occupation, &asks)?;
        let code = record.exit.code();
        if !record.exit.was_ordered() {
            // From here on a signal ends this process, as it ends others.
            asks.release();
        }
        let left = match deadline {
            _ if record.exit.was_ordered() => Some(Duration::ZERO),
            Some(deadline) => Some(deadline.saturating_sub(record.stats.elapsed)),
            None => None,
        };
        if let Some(left) = left {
            let hurry = std::thread::Builder::new().spawn(move || {
                std::thread::sleep(left.saturating_add(REPORT_TIME_MAX));
                process::exit_now(code)
            });
            // Without a thread, the report takes as long as it takes.
            drop(hurry);
        }
        Ok(report(&record))
    }

    fn kept(
        &self,
        artifact: &Artifact,
        spec: SandboxSpec,
        occupation: Occupation,
        asks: &Asks,
    ) -> Result<Record, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        let unkept = |error: std::io::Error| {
            failed(LaunchError::Exhausted { reason: format!("it cannot be kept: {error}") })
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        runtime.map_err(unkept)?.block_on(async {
            let mut listening = asks.listen().map_err(unkept)?;
            let mut spec = spec.isolation(Isolation::Process);
            // This is the main thread, and the worker's parent until this process ends.
            spec.ends_with_thread = true;
            check_not_held(&spec).map_err(failed)?;
            let mut launching = std::pin::pin!(self.launch(artifact, spec));
            let mut asked = None;
            let sandbox = loop {
                tokio::select! {
                    sandbox = &mut launching => break sandbox?,
                    ask = listening.next() => match ask.map_err(unkept)? {
                        // It has its grace once it runs.
                        ask @ Ask::Soon(_) if asked.is_none() => asked = Some(ask),
                        // Nothing ran, and this process has nothing else to do.
                        Ask::Now(signal) | Ask::Soon(signal) => {
                            process::exit_now(Exit::Killed(signal).code())
                        }
                    },
                }
            };
            let mut record = std::pin::pin!(sandbox.record());
            let mut stop_at = None;
            if let Some(ask) = asked {
                answer(&sandbox, ask, occupation.grace, &mut stop_at);
            }
            loop {
                tokio::select! {
                    record = &mut record => return record.map_err(failed),
                    ask = listening.next() => {
                        answer(&sandbox, ask.map_err(unkept)?, occupation.grace, &mut stop_at);
                    }
                    () = until(stop_at) => {
                        sandbox.end_as_stopped();
                        stop_at = None;
                    }
                }
            }
        })
    }
}

/// Does what was asked: the first request to stop begins the grace, a second one ends it.
fn answer(sandbox: &Sandbox, ask: Ask, grace: Duration, stop_at: &mut Option<Instant>) {
    match ask {
        Ask::Now(signal) => sandbox.kill_as(signal),
        Ask::Soon(_) if stop_at.is_some() => sandbox.end_as_stopped(),
        Ask::Soon(_) => {
            sandbox.begin_to_stop();
            *stop_at = Some(after(grace));
        }
    }
}

/// The moment when a span is over; for what is longer than clocks tell, a hundred years from now.
pub(super) fn after(span: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(span).unwrap_or_else(|| now + Duration::from_hours(100 * 365 * 24))
}

/// Waits until a moment, or for ever.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
