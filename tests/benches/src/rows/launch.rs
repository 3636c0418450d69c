//! The library: from launch to exit with everything on, beside the same loop in the bare engine.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::worker::Worker;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "launch", about: "library: launch to exit, everything on", measure };

/// Launches in one round: long enough to outweigh the telling.
const LAUNCHES: &str = "200";

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guests = [
        ("a `.wat` that returns", Bench::own_guest("say.wat")),
        ("a C hello", bench.guest("hello.wasm")),
    ];
    let mut lines = Vec::new();
    for (name, guest) in guests {
        let what = format!("library, launch to exit, everything on, beside bare wasmtime: {name}");
        lines.extend(part(&what, || one(bench, &what, &guest?))?);
    }
    Ok(lines)
}

fn one(bench: &Bench, what: &str, guest: &str) -> anyhow::Result<Vec<Line>> {
    let (cache, granted) = (bench.aril_cache().display().to_string(), bench.folder("granted")?);
    let code = bench.bare_code(guest)?;
    let library = |how| Worker::start("library-launch", &[&cache, guest, &granted, LAUNCHES, how]);
    let (mut held, mut anew) = (library("held")?, library("anew")?);
    let mut bare = Worker::start("bare-launch", &[&code, &granted, LAUNCHES])?;
    let [held, anew, theirs] = rounds(
        bench.plan(200, 20),
        [Box::new(|| held.figure()), Box::new(|| anew.figure()), Box::new(|| bare.figure())],
    )?;
    let and_open = format!("{what}, with `Directory::open` before each");
    Ok(vec![
        Line::pair_at_most(what, Unit::Time, (&held, &theirs), 1.25),
        Line::pair(&and_open, Unit::Time, &anew, &theirs),
    ])
}
