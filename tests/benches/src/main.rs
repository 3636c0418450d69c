//! The benches: every row of the target table, measured beside its peers in one run.

mod bare;
mod bench;
mod containerd;
mod images;
mod line;
mod peers;
mod residents;
mod rounds;
mod rows;
mod run;
mod specification;
mod stats;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use bench::Bench;
use bench::Missing;
use line::Line;
use rows::ROWS;
use rows::Row;

/// Measure what Aril promises, beside its peers.
#[derive(Debug, Parser)]
#[command(name = "aril-benches", max_term_width = 100)]
struct Benches {
    /// The rows to measure; all when none is named
    #[arg(value_parser = ROWS.iter().map(|row| row.name).collect::<Vec<_>>())]
    rows: Vec<String>,

    /// Fewer runs, for a first look
    #[arg(long)]
    quick: bool,

    /// Write what was measured into SPECIFICATION.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,

    /// The peer; without it `$WASMTIME`, or the `wasmtime` on the path
    #[arg(long, value_name = "FILE")]
    wasmtime: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Started to compile, this process never comes back from here.
    aril::roles();
    let args: Vec<String> = std::env::args().collect();
    let result = match args.get(1).map(String::as_str) {
        Some(worker::WORD) => worker::serve(&args[2..]),
        _ => Benches::parse().measure(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("aril-benches: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever watches how far it is.
fn say(text: &str) {
    // Where nobody can be told, nobody is told.
    let _unheard = writeln!(std::io::stderr(), "{text}");
}

impl Benches {
    fn measure(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let bench = Bench::new(self.quick, self.wasmtime.as_deref())?;
        let chosen = |row: &&Row| self.rows.is_empty() || self.rows.iter().any(|n| n == row.name);
        let mut lines = Vec::new();
        for row in ROWS.iter().filter(chosen) {
            say(&format!("{:4} s  {}: {}", started.elapsed().as_secs(), row.name, row.about));
            lines.extend(measure(row, &bench));
        }
        let seconds = started.elapsed().as_secs();
        let table = line::table(&lines);
        writeln!(std::io::stdout(), "{}\n\n{table}\n{seconds} s in all.", bench.machine())?;
        if self.write {
            specification::write(&lines, &bench)?;
        }
        Ok(())
    }
}

/// The lines of one row; where it cannot be measured, a line that says so.
fn measure(row: &Row, bench: &Bench) -> Vec<Line> {
    let lines = (row.measure)(bench).unwrap_or_else(|error| {
        let reason = format!("{error:#}");
        vec![match error.downcast_ref::<Missing>() {
            Some(_) => Line::skipped(row.about, &reason),
            None => Line::failed(row.about, &reason),
        }]
    });
    lines.into_iter().map(|line| line.of(row.name)).inspect(|line| say(&line.text())).collect()
}
