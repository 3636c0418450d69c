//! A thousand sandboxes, one after the other.

use std::process::Command;
use std::time::Duration;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "churn", about: "1,000 sandboxes started, run and reaped, both walls", measure };

const COUNT: usize = 1000;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let hello = bench.guest("hello.wasm")?;
    let floor = bench.guest("true-static")?;
    let count = if bench.quick { COUNT / 10 } else { COUNT };
    let mut aril = bench.aril(&["run", &hello]);
    let mut bare = Command::new(&floor);
    // One that fails ends the row.
    let [ours, theirs] = rounds(
        bench.plan(20, 100),
        [Box::new(|| all_of(count, &mut aril)), Box::new(|| all_of(count, &mut bare))],
    )?;
    let what =
        format!("{count} runs one after the other, none failed, beside as many static `true`");
    Ok(vec![Line::pair_at_most(&what, Unit::Time, (&ours, &theirs), 6.0)])
}

/// Runs a program that many times; seconds for all of them.
fn all_of(count: usize, command: &mut Command) -> anyhow::Result<f64> {
    let mut total = Duration::ZERO;
    for _ in 0..count {
        total += run(command, 0)?.wall;
    }
    Ok(total.as_secs_f64())
}
