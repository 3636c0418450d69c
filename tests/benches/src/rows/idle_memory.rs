//! Memory of sandboxes that do nothing, and go on alone: their keepers, and their workers.

use std::path::Path;

use anyhow::ensure;

use crate::bench::Bench;
use crate::containerd::Containerd;
use crate::containerd::Keeper;
use crate::line::Line;
use crate::line::Unit;
use crate::peers::Container;
use crate::residents::Residents;
use crate::stats::Estimate;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "idle-memory", about: "memory of an idle detached sandbox", measure };

const COUNT: usize = 100;

/// Of the peer: each takes a tenth of a second to start and to remove.
const PEERS: usize = 50;

/// What a shim of containerd 2.1.9 has, one of fifty, in KiB: as measured once on a machine of this
/// kind, since what Debian 12 has is 1.6.
const NEWER_SHIM: f64 = 4733.0;

/// With its program, in KiB.
const NEWER_PROGRAM: f64 = 78.0;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut residents = Residents::new(bench, "idle-memory", &Bench::own_guest("rest.wat")?)?;
    residents.start(COUNT, &[])?;
    Residents::settle();
    let found = residents.memory()?;
    ensure!(found.len() == 2 * COUNT, "{} processes are there", found.len());
    residents.remove()?;
    let each = |found: &[f64], count: u32| found.iter().sum::<f64>() / f64::from(count);
    let ours = each(&found, 100);
    let sure = |value: f64| Estimate { low: value, value, high: value };
    let newer = (NEWER_SHIM + NEWER_PROGRAM) * 1024.0;
    let what = "an idle sandbox, one of 100, keeper and worker, share of all pages, beside a shim of \
                containerd 2.1.9 and its container, one of 50 (not in this run)";
    let mut lines = vec![Line::figure(what, sure(ours / newer), 0.1).with_sides(
        Unit::Memory,
        &[ours],
        &[newer],
    )];
    let what =
        "the same, beside a shim of the containerd of this host and its container, one of 50";
    lines.extend(part(what, || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/rest.c");
        let container = Container::new(bench, "memory", &source)?;
        let folder = bench.folder("containerd")?;
        let root = container.root();
        let images = [("rest", root.as_path(), "/program")];
        let mut containerd = Containerd::start(Path::new(&folder), &images, &bench.aril_cache())?;
        containerd.run(Keeper::Runc, "rest", PEERS)?;
        Residents::settle();
        let found = containerd.memory(Keeper::Runc)?;
        ensure!(found.len() == 2 * PEERS, "{} processes are there", found.len());
        let theirs = each(&found, 50);
        let line = Line::figure(what, sure(ours / theirs), 0.1);
        Ok(vec![line.with_sides(Unit::Memory, &[ours], &[theirs])])
    })?);
    Ok(lines)
}
