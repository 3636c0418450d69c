//! A language with its library: the second run, without flags.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;
use crate::run::seconds;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "python", about: "`aril run cpython.wasm -c 'print(1)'`, second run", measure };

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let python = bench.guest("cpython.wasm")?;
    let (code, cache) = (bench.precompiled(&python)?, bench.cache_flag());
    let program = ["-c", "print(1)"];
    let mut aril = bench.aril(&["run", &python]);
    let mut ahead = bench.wasmtime_run(&["--allow-precompiled", &code])?;
    let mut cached = bench.wasmtime_run(&[&cache, &python])?;
    for command in [&mut aril, &mut ahead, &mut cached] {
        command.args(program);
    }
    let [ours, ahead, cached] = rounds(
        bench.plan(60, 60),
        [
            Box::new(|| run(&mut aril, 0)),
            Box::new(|| run(&mut ahead, 0)),
            Box::new(|| run(&mut cached, 0)),
        ],
    )?;
    let [ours, ahead, cached] = [ours, ahead, cached].map(|costs| seconds(&costs, |c| c.wall));
    let line = |beside: &str, theirs: &[f64], target| {
        let what = format!("CPython `print(1)`, second run, beside `wasmtime run` {beside}");
        Line::pair_at_most(&what, Unit::Time, (&ours, theirs), target)
    };
    Ok(vec![line("of it precompiled", &ahead, 1.0), line("with its cache", &cached, 0.4)])
}
