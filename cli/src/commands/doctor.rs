//! `aril doctor`: what this host can enforce.

use std::process::ExitCode;

use aril::Finding;
use aril::Standing;
use clap::Args;

use super::Common;
use crate::report;

/// Show what this host can enforce, and what to do where it cannot
#[derive(Args, Debug)]
pub(super) struct Doctor {
    #[command(flatten)]
    common: Common,
}

impl Doctor {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let findings = self.common.runtime()?.doctor();
        let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
        for Finding { subject, standing, found, advice } in &findings {
            let word = match standing {
                Standing::Good => "ok  ",
                Standing::Weak => "weak",
                Standing::Missing => "no  ",
            };
            report::line(format_args!("{word}  {subject:width$}  {found}"))?;
            if let Some(advice) = advice {
                report::line(format_args!("      {:width$}  -> {advice}", ""))?;
            }
        }
        let missing = findings.iter().any(|finding| finding.standing == Standing::Missing);
        Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
