//! `aril doctor`: what this host can enforce, and whether what is kept is whole.

use std::process::ExitCode;

use anyhow::Context as _;
use aril::Finding;
use aril::Runtime;
use aril::Standing;
use clap::Args;

use super::Common;
use crate::report;

/// What the line of the place for machine code is about.
const CACHE: &str = "artifact cache";

/// Show what this host can enforce, and what to do where it cannot
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Read all images and all machine code instead, and tell what is broken; nothing is changed
    #[arg(long)]
    store: bool,

    #[command(flatten)]
    common: Common,
}

impl Doctor {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        if self.store {
            return check(&self.common.runtime()?);
        }
        let opened = self.common.builder().and_then(|builder| Ok(builder.open()?));
        let (findings, broken) = match opened {
            Ok(runtime) => (runtime.doctor(), None),
            // All else is told as well, as if there were a place for machine code.
            Err(error) => {
                let elsewhere = tempfile::tempdir().context("there is no room for anything")?;
                let findings = Runtime::open(elsewhere.path())?.doctor();
                (findings, Some(format!("{error:#}")))
            }
        };
        let findings = findings.into_iter().map(|finding| match (&broken, finding) {
            (Some(error), finding) if finding.subject == CACHE => Finding {
                standing: Standing::Missing,
                found: error.clone(),
                advice: Some("name a folder of your own with `--cache` or $ARIL_CACHE_DIR".into()),
                ..finding
            },
            (_, finding) => finding,
        });
        show(&findings.collect::<Vec<_>>())
    }
}

/// Checks all that is kept.
fn check(runtime: &Runtime) -> anyhow::Result<ExitCode> {
    let mut progress = report::Reading::new();
    let report = runtime.check_store(|reading| progress.tell(reading));
    progress.done();
    let aril::StoreReport { whole, faults, left, .. } = report?;
    show(&[whole, left, faults].concat())
}

/// Shows findings, and says whether something does not work.
fn show(findings: &[Finding]) -> anyhow::Result<ExitCode> {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    for Finding { subject, standing, found, advice } in findings {
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
