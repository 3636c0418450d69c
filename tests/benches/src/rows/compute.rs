//! Guests that compute: `aril run` with its limits on, beside the peer without interruption.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Cost;
use crate::run::run;
use crate::run::seconds;
use crate::stats::estimate;
use crate::stats::median;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "compute", about: "CPU-bound guests under `aril run`, limits on", measure };

/// The guests, with as much work as takes some tenths of a second.
pub(super) const GUESTS: [(&str, &[&str]); 7] = [
    ("fannkuch.wasm", &["10", "1"]),
    ("sieve.wasm", &["8000000", "14"]),
    ("spectral.wasm", &["2200"]),
    ("bzip2-bench.wasm", &["2"]),
    ("sqlite-bench.wasm", &["memory", "60000", "30"]),
    ("regex.wasm", &["512", "200"]),
    ("markdown.wasm", &["512", "50"]),
];

/// Every limit but fuel, none of them near.
const LIMITS: [&str; 10] = [
    "--memory",
    "1g",
    "--deadline",
    "1h",
    "--cpu-time",
    "1h",
    "--output",
    "1g",
    "--open-files",
    "100",
];

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut pairs = Vec::new();
    for (name, arguments) in GUESTS {
        let what = format!("CPU of `aril run` beside `wasmtime run` precompiled: {name}");
        lines.extend(part(&what, || {
            let guest = bench.guest(name)?;
            let code = bench.precompiled(&guest)?;
            let mut aril = bench.aril(&["run"]);
            aril.args(LIMITS).arg(&guest).args(arguments);
            let mut peer = bench.wasmtime_run(&["--allow-precompiled", &code])?;
            peer.args(arguments);
            let sides = rounds(
                bench.plan(30, 40),
                [Box::new(|| run(&mut aril, 0)), Box::new(|| run(&mut peer, 0))],
            )?;
            let sides = sides.map(|costs| seconds(&costs, Cost::cpu));
            let line = Line::pair(&what, Unit::Time, &sides[0], &sides[1]);
            pairs.push(sides);
            Ok(vec![line])
        })?);
    }
    lines.extend(mean("CPU of `aril run`, all limits but fuel: geometric mean", &pairs, 1.02));
    Ok(lines)
}

/// The geometric mean of the ratios of all pairs, where there are any.
pub(super) fn mean(what: &str, pairs: &[[Vec<f64>; 2]], target: f64) -> Option<Line> {
    let columns: Vec<&[f64]> = pairs.iter().flatten().map(Vec::as_slice).collect();
    let count = f64::from(u32::try_from(pairs.len()).ok().filter(|count| *count != 0)?);
    let figure = estimate(&columns, |columns| {
        let logs = columns.chunks(2).map(|pair| (median(&pair[0]) / median(&pair[1])).ln());
        (logs.sum::<f64>() / count).exp()
    });
    Some(Line::figure(what, figure, target))
}
