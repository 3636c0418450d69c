//! From `aril update --memory` to a guest that has more.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::residents::Residents;
use crate::stats::median;
use crate::stats::quantile;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "update", about: "`aril update --memory`, to its effect in the guest", measure };

/// From the start of the command to the line of a guest that has grown.
const TARGET: Duration = Duration::from_millis(10);

/// What the guest begins with, in MiB; each round gives it one more.
const BEGIN: usize = 4;

/// One who hears what the guest says, and is ended with this.
struct Hearing(Child);

impl Drop for Hearing {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let rounds = if bench.quick { 25 } else { 200 };
    let mut residents = Residents::new(bench, "update", &Bench::own_guest("grow.wat")?)?;
    residents.start(1, &["--memory", &format!("{BEGIN}m")])?;
    let id = residents.ids().first().context("nothing was started")?.clone();
    let mut attach = residents.aril(&["attach", "--no-stdin", &id]);
    let mut hearing = Hearing(attach.stdout(Stdio::piped()).spawn().context("cannot run aril")?);
    let output = hearing.0.stdout.take().context("it can be heard")?;
    let mut heard = BufReader::new(output);
    // By then it hears; what the guest said before is nobody's.
    Residents::settle();
    let mut took = Vec::with_capacity(rounds);
    for round in 1..=rounds + 1 {
        let mut update =
            residents.aril(&["update", "--memory", &format!("{}m", BEGIN + round), &id]);
        let started = Instant::now();
        let mut update = update.stdout(Stdio::null()).spawn().context("cannot run aril")?;
        let mut line = String::new();
        heard.read_line(&mut line)?;
        let elapsed = started.elapsed();
        ensure!(line == "more\n", "the guest said: {line:?}");
        let status = update.wait()?;
        ensure!(status.success(), "`aril update` ended with {status}");
        // The first one is to warm up.
        if 1 < round {
            took.push(elapsed.as_secs_f64());
        }
    }
    let late = quantile(&took, 990);
    let found = format!(
        "{} (median {}, most {}, {rounds} times)",
        Unit::Time.text(late),
        Unit::Time.text(median(&took)),
        Unit::Time.text(quantile(&took, 1000))
    );
    let what =
        "`aril update --memory` to a guest that has it, at p99, with the start of the command";
    Ok(vec![Line::check(what, found, "< 10 ms", late < TARGET.as_secs_f64())])
}
