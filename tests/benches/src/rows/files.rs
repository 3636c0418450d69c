//! Files of a granted directory: one large, and many small.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Cost;
use crate::run::run;
use crate::run::seconds;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "files", about: "files through a granted directory", measure };

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guest = bench.guest("files.wasm")?;
    let code = bench.precompiled(&guest)?;
    let folder = bench.folder("files")?;
    let works = [
        ("256 MiB in blocks of 64 KiB", ["big", "/data/big", "256"]),
        ("20,000 small files", ["small", "/data", "20000"]),
    ];
    let mut lines = Vec::new();
    for (name, arguments) in works {
        let mut aril = bench.aril(&["run", "-v", &format!("{folder}:/data"), &guest]);
        aril.args(arguments);
        let directory = format!("--dir={folder}::/data");
        let mut peer = bench.wasmtime_run(&["--allow-precompiled", &directory, &code])?;
        peer.args(arguments);
        let [ours, theirs] = rounds(
            bench.plan(30, 60),
            [Box::new(|| run(&mut aril, 0)), Box::new(|| run(&mut peer, 0))],
        )?;
        let [wall, peer_wall] = [&ours, &theirs].map(|costs| seconds(costs, |cost| cost.wall));
        let what = format!("{name}, beside `wasmtime run`");
        lines.push(Line::pair_at_most(&what, Unit::Time, (&wall, &peer_wall), 1.0));
        let [cpu, peer_cpu] = [&ours, &theirs].map(|costs| seconds(costs, Cost::cpu));
        lines.push(Line::pair(&format!("{name}: CPU"), Unit::Time, &cpu, &peer_cpu));
    }
    Ok(lines)
}
