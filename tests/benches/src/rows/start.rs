//! From the start of `aril run` to its end, with the smallest guest that says something.

use std::process::Command;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;
use crate::run::seconds;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "start", about: "`aril run hello.wasm`, warm, from fork to exit", measure };

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let hello = bench.guest("hello.wasm")?;
    let floor = bench.guest("true-static")?;
    let plan = bench.plan(400, 60);
    let mut lines = part("`aril run hello.wasm`, warm, beside `wasmtime run`, cached", || {
        let cache = bench.cache_flag();
        let mut peer = bench.wasmtime_run(&[&cache, &hello])?;
        let mut aril = bench.aril(&["run", &hello]);
        let mut bare = Command::new(&floor);
        let [floor, ours, theirs] = rounds(
            plan,
            [
                Box::new(|| run(&mut bare, 0)),
                Box::new(|| run(&mut aril, 0)),
                Box::new(|| run(&mut peer, 0)),
            ],
        )?;
        let [floor, ours, theirs] = [floor, ours, theirs].map(|costs| seconds(&costs, |c| c.wall));
        Ok(vec![against_floor(&ours, &floor), against_peer(&ours, &theirs)])
    })?;
    if lines.len() < 2 {
        let mut aril = bench.aril(&["run", &hello]);
        let mut bare = Command::new(&floor);
        let [floor, ours] =
            rounds(plan, [Box::new(|| run(&mut bare, 0)), Box::new(|| run(&mut aril, 0))])?;
        let [floor, ours] = [floor, ours].map(|costs| seconds(&costs, |cost| cost.wall));
        lines.insert(0, against_floor(&ours, &floor));
    }
    Ok(lines)
}

fn against_floor(ours: &[f64], floor: &[f64]) -> Line {
    let what =
        "`aril run hello.wasm`, warm, with walls and control group, beside a static native `true`";
    Line::pair_at_most(what, Unit::Time, (ours, floor), 5.5)
}

fn against_peer(ours: &[f64], theirs: &[f64]) -> Line {
    let what = "`aril run hello.wasm`, warm, beside `wasmtime run`, cached";
    Line::pair_at_most(what, Unit::Time, (ours, theirs), 0.4)
}
