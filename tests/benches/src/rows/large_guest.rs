//! What a guest costs for being large: 26 MB of wasm that hardly run, beside a small guest.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;
use crate::stats::ratio;
use crate::worker::Worker;

use super::Row;

pub(super) const ROW: Row = Row {
    name: "large-guest",
    about: "CPython `--version`, warm, less hello, beside bare `deserialize_file` of it",
    measure,
};

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let (python, hello) = (bench.guest("cpython.wasm")?, bench.guest("hello.wasm")?);
    let code = bench.bare_code(&python)?;
    let mut large = bench.aril(&["run", &python, "--version"]);
    let mut small = bench.aril(&["run", &hello]);
    let [large, small, load, once] = rounds(
        bench.plan(200, 30),
        [
            Box::new(|| run(&mut large, 0).map(|cost| cost.wall.as_secs_f64())),
            Box::new(|| run(&mut small, 0).map(|cost| cost.wall.as_secs_f64())),
            // A process each, so that nothing is mapped before.
            Box::new(|| Worker::start("bare-load", &[&code])?.figure()),
            Box::new(|| Worker::start("bare-once", &[&code, "python", "--version"])?.figure()),
        ],
    )?;
    // Round by round: what slowed one of the two runs down slowed the other as well.
    let more: Vec<f64> = large.iter().zip(&small).map(|(large, small)| large - small).collect();
    let ratio = ratio(&more, &load);
    let line = Line::figure(ROW.about, ratio, 1.1).with_sides(Unit::Time, &more, &load);
    let what =
        "the same less hello, beside bare wasmtime that loads it, links it and runs it to its end";
    Ok(vec![
        line,
        Line::pair(what, Unit::Time, &more, &once),
        Line::pair("the same two whole", Unit::Time, &large, &small),
    ])
}
