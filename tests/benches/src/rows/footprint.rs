//! Memory of a process that runs one small guest, which waits for input.

use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Footprint;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "footprint", about: "memory of a process with one small guest", measure };

/// How long a guest is given to come to its first read.
const SETTLE: Duration = Duration::from_millis(50);

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guest = bench.guest("cat-stdin.wasm")?;
    let code = bench.precompiled(&guest)?;
    let [ours, theirs] = rounds(
        bench.plan(20, 20),
        [
            Box::new(|| waiting(bench.aril(&["run", "-i", &guest]))),
            Box::new(|| waiting(bench.wasmtime_run(&["--allow-precompiled", &code])?)),
        ],
    )?;
    let line = |what: &str, part: fn(&Footprint) -> f64| {
        let [ours, theirs] =
            [&ours, &theirs].map(|found| found.iter().map(part).collect::<Vec<f64>>());
        let what = format!("one small guest, beside `wasmtime run` precompiled: {what}");
        Line::pair(&what, Unit::Memory, &ours, &theirs)
    };
    Ok(vec![
        line("most resident", |found| found.peak),
        line("its share of all pages", |found| found.proportional),
        line("pages of its own", |found| found.private),
    ])
}

/// The memory of a program once its guest waits for input.
fn waiting(mut command: Command) -> anyhow::Result<Footprint> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot run a program")?;
    std::thread::sleep(SETTLE);
    let found = crate::run::footprint(&child.id().to_string());
    // Its input ends, and so does it.
    child.stdin.take();
    child.wait()?;
    found
}
