//! Guests that compute in a shared process, beside the bare engine without interruption.

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::worker::Worker;

use super::Row;
use super::compute::GUESTS;
use super::compute::mean;
use super::part;

pub(super) const ROW: Row =
    Row { name: "shared-compute", about: "CPU-bound guests in a shared process", measure };

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let cache = bench.aril_cache().display().to_string();
    let mut lines = Vec::new();
    let mut pairs = Vec::new();
    for (name, arguments) in GUESTS {
        let what = format!("CPU in a shared process beside bare wasmtime: {name}");
        lines.extend(part(&what, || {
            let guest = bench.guest(name)?;
            let code = bench.bare_code(&guest)?;
            let mut library =
                Worker::start("library-work", &[&[&cache, guest.as_str()], arguments].concat())?;
            let mut bare = Worker::start("bare-work", &[&[code.as_str()], arguments].concat())?;
            let sides = rounds(
                bench.plan(30, 40),
                [Box::new(|| library.figure()), Box::new(|| bare.figure())],
            )?;
            let line = Line::pair(&what, Unit::Time, &sides[0], &sides[1]);
            pairs.push(sides);
            Ok(vec![line])
        })?);
    }
    lines.extend(mean("CPU in a shared process: geometric mean", &pairs, 1.12));
    Ok(lines)
}
