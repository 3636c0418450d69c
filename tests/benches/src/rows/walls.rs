//! What the walls cost a guest that computes, and one that works on files.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Cost;
use crate::run::run;
use crate::run::seconds;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "walls", about: "a guest behind the walls, beside `--walls none`", measure };

/// With as much work as outweighs a start by far.
const GUESTS: [(&str, &str, &[&str]); 3] = [
    ("fannkuch.wasm", "computes", &["10", "1"]),
    ("files.wasm", "256 MiB in blocks of 64 KiB", &["big", "/data/big", "256"]),
    ("files.wasm", "20,000 small files", &["small", "/data", "20000"]),
];

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (name, about, arguments) in GUESTS {
        let what = format!("walls on, beside `--walls none`: {name}, {about}");
        lines.extend(part(&what, || {
            let guest = bench.guest(name)?;
            let granted = format!("{}:/data", bench.folder("walls")?);
            let mut walled = bench.aril(&["run", "-v", &granted, &guest]);
            walled.args(arguments);
            let mut open = bench.aril(&["run", "--walls", "none", "-v", &granted, &guest]);
            open.args(arguments);
            let [ours, theirs] = rounds(
                bench.plan(40, 40),
                [Box::new(|| run(&mut walled, 0)), Box::new(|| run(&mut open, 0))],
            )?;
            let [wall, open_wall] = [&ours, &theirs].map(|costs| seconds(costs, |cost| cost.wall));
            let [cpu, open_cpu] = [&ours, &theirs].map(|costs| seconds(costs, Cost::cpu));
            Ok(vec![
                Line::pair_at_most(&what, Unit::Time, (&wall, &open_wall), 1.02),
                Line::pair(&format!("{what}: CPU"), Unit::Time, &cpu, &open_cpu),
            ])
        })?);
    }
    Ok(lines)
}
