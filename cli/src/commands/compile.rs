//! `aril compile`: machine code before it is needed.

use std::path::PathBuf;
use std::process::ExitCode;

use aril::Limit;
use aril::Limits;
use clap::Args;

use super::Common;
use crate::report;

/// Compile programs, so that their first run starts at once
#[derive(Args, Debug)]
pub(super) struct Compile {
    /// The programs
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// For runs with `--cpus` below 1
    #[arg(long)]
    for_cpus: bool,

    /// For runs with `--fuel`
    #[arg(long)]
    for_fuel: bool,

    #[command(flatten)]
    common: Common,
}

impl Compile {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let mut limits = Limits::default();
        if self.for_cpus {
            limits.cpus = Limit::Of(aril::Cpus::MIN);
        }
        if self.for_fuel {
            limits.fuel = aril::Fuel::new(1).map_or(Limit::Default, Limit::Of);
        }
        for file in &self.files {
            let mut progress = report::Progress::new(file);
            let prepared =
                runtime.prepare_alone(file, &limits, |elapsed| progress.compiling(elapsed));
            progress.done();
            report::line(format_args!("{}  {}", prepared?.digest(), file.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
