//! The rows of the target table, in its order, one a file.

mod build;
mod churn;
mod compute;
mod containerd;
mod crowd;
mod detached;
mod files;
mod footprint;
mod idle_cpu;
mod idle_memory;
mod image_start;
mod kinds;
mod large_guest;
mod launch;
mod overrun;
mod pull;
mod python;
mod shared_compute;
mod shares;
mod sqlite;
mod start;
mod unpack;
mod update;
mod walls;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::line::Line;

/// One row: what is promised, and how it is measured.
pub(crate) struct Row {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is about, where nothing was measured.
    pub(crate) about: &'static str,
    pub(crate) measure: fn(&Bench) -> anyhow::Result<Vec<Line>>,
}

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    start::ROW,
    churn::ROW,
    detached::ROW,
    idle_memory::ROW,
    idle_cpu::ROW,
    update::ROW,
    containerd::RUN,
    containerd::MEMORY,
    walls::ROW,
    python::ROW,
    large_guest::ROW,
    launch::ROW,
    crowd::ROW,
    compute::ROW,
    shared_compute::ROW,
    files::ROW,
    sqlite::ROW,
    shares::ROW,
    overrun::ROW,
    footprint::ROW,
    image_start::ROW,
    pull::ROW,
    unpack::ROW,
    build::ROW,
    kinds::ROW,
];

/// The lines of one part of a row; where something is missing for it, a line that says so, so that
/// the row's other parts are measured all the same.
fn part(
    what: &str,
    measure: impl FnOnce() -> anyhow::Result<Vec<Line>>,
) -> anyhow::Result<Vec<Line>> {
    match measure() {
        Err(error) if error.is::<Missing>() => Ok(vec![Line::skipped(what, &error.to_string())]),
        other => other,
    }
}
