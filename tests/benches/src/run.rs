//! A run of a program: what it took, from its start to its end.

use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// The most memory that was resident at any moment, in bytes.
    pub(crate) peak: u64,
}

impl Cost {
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// One part of the costs of many runs, in seconds.
pub(crate) fn seconds(costs: &[Cost], part: impl Fn(&Cost) -> Duration) -> Vec<f64> {
    costs.iter().map(|cost| part(cost).as_secs_f64()).collect()
}

/// The variable by which the programs on both sides would take a backtrace at each of their errors,
/// and the end of a guest is one to the engine.
pub(crate) const BACKTRACE: &str = "RUST_BACKTRACE";

/// Runs a program to its end, which must be `code`.
pub(crate) fn run(command: &mut Command, code: i32) -> anyhow::Result<Cost> {
    command.stdout(Stdio::null()).stderr(Stdio::null()).env_remove(BACKTRACE);
    let started = Instant::now();
    let ended = command.spawn().and_then(wait4::Wait4::wait4);
    let wall = started.elapsed();
    let ended = ended.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(ended.status.code() == Some(code), "{command:?} ended with {}", ended.status);
    let peak = ended.rusage.maxrss;
    Ok(Cost { wall, user: ended.rusage.utime, system: ended.rusage.stime, peak })
}

/// Forgets how much memory this process once had: a program that it starts begins with that as its
/// most, since for a moment it is this process.
pub(crate) fn forget_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("cannot reset the most of memory")
}

/// Memory of a process that is alive, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// Its share of the pages it uses: each counts one part for each process that has it.
    pub(crate) proportional: f64,
    /// Pages that nobody else has.
    pub(crate) private: f64,
    /// The most that was resident at any moment.
    pub(crate) peak: f64,
}

/// The memory of process `id`, which may be `self`.
pub(crate) fn footprint(id: &str) -> anyhow::Result<Footprint> {
    let read = |file: &str| {
        let path = format!("/proc/{id}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (rollup, status) = (read("smaps_rollup")?, read("status")?);
    Ok(Footprint {
        proportional: kilobytes(&rollup, "Pss:")?,
        private: kilobytes(&rollup, "Private_Clean:")? + kilobytes(&rollup, "Private_Dirty:")?,
        peak: kilobytes(&status, "VmHWM:")?,
    })
}

fn kilobytes(text: &str, name: &str) -> anyhow::Result<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let amount = lines.next().and_then(|line| line.split_whitespace().next());
    let amount: f64 = amount.with_context(|| format!("there is no {name}"))?.parse()?;
    Ok(amount * 1024.0)
}
