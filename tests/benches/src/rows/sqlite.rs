//! A database in a granted directory, beside the peer and beside its native twin.

use std::process::Command;
use std::time::Duration;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Cost;
use crate::run::run;
use crate::run::seconds;
use crate::stats::median;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "sqlite", about: "SQLite on a file in a granted directory", measure };

/// Rows and transactions: locking, done by making and removing a directory, is most of the work.
const WORK: [&str; 2] = ["20000", "500"];

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guest = bench.guest("sqlite-bench.wasm")?;
    let native = bench.guest("native/sqlite-bench")?;
    let code = bench.precompiled(&guest)?;
    let folder = bench.folder("sqlite")?;
    let mut aril = bench.aril(&["run", "-v", &format!("{folder}:/data"), &guest]);
    let directory = format!("--dir={folder}::/data");
    let mut peer = bench.wasmtime_run(&["--allow-precompiled", &directory, &code])?;
    for command in [&mut aril, &mut peer] {
        command.args(["file", "/data/db"]).args(WORK);
    }
    let mut twin = Command::new(native);
    twin.args(["file", &format!("{folder}/db")]).args(WORK);
    let [ours, theirs, twin] = rounds(
        bench.plan(30, 90),
        [
            Box::new(|| run(&mut aril, 0)),
            Box::new(|| run(&mut peer, 0)),
            Box::new(|| run(&mut twin, 0)),
        ],
    )?;
    let part = |costs: &[Cost], part: fn(&Cost) -> Duration| seconds(costs, part);
    let wall = |costs| part(costs, |cost| cost.wall);
    let what = "SQLite on a file in a granted directory, beside";
    let peer = format!("{what} `wasmtime run`");
    Ok(vec![
        Line::pair_at_most(&peer, Unit::Time, (&wall(&ours), &wall(&theirs)), 0.9),
        Line::pair(
            &format!("{peer}: CPU"),
            Unit::Time,
            &part(&ours, Cost::cpu),
            &part(&theirs, Cost::cpu),
        ),
        Line::pair(&format!("{what} its native twin"), Unit::Time, &wall(&ours), &wall(&twin)),
        Line::note("what the distance is", distance(&ours, &theirs, &twin)),
    ])
}

/// What of the distance to the native twin is whose.
fn distance(ours: &[Cost], theirs: &[Cost], twin: &[Cost]) -> String {
    let middle = |costs, part: fn(&Cost) -> Duration| median(&seconds(costs, part));
    let more = |costs, part| Unit::Time.text(middle(costs, part) - middle(twin, part));
    format!(
        "beyond the twin's {}, aril takes {} more in user mode and {} in the kernel, wasmtime {} \
         and {}; what both have is the engine's code and WASI's way to a path, the rest is ours",
        Unit::Time.text(middle(twin, Cost::cpu)),
        more(ours, |cost| cost.user),
        more(ours, |cost| cost.system),
        more(theirs, |cost| cost.user),
        more(theirs, |cost| cost.system),
    )
}
