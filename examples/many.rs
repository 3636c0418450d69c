//! A hundred sandboxes in one process, each with its own limits and figures.
//!
//! ```sh
//! cargo run --example many
//! ```
//!
//! Four kinds of guest run side by side: those that work, those that want all memory, those that
//! spin, and those that wait for something that never comes. None is in the way of another, and
//! each gets the end that is its own.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use aril::{Bytes, Limits, Output, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(launch_them())
}

async fn launch_them() -> anyhow::Result<()> {
    let runtime = Runtime::builder("target/examples-cache").sandboxes_max(100).open()?;

    // Prepared once, launched often.
    let mut guests = Vec::new();
    for name in ["hello", "hog", "spin", "patient"] {
        guests.push((name, runtime.prepare(format!("examples/guests/{name}.wat")).await?));
    }

    let mut sandboxes = Vec::new();
    for (i, (name, artifact)) in guests.iter().cycle().take(100).enumerate() {
        let limits = Limits {
            memory: Bytes::mib(2 + u32::try_from(i)? / 10).into(),
            deadline: Duration::from_secs(2).into(),
            // All spinners together get half a processor.
            cpus: "0.02".parse::<aril::Cpus>()?.into(),
            ..Limits::default()
        };
        let spec = SandboxSpec::new(*name).limits(limits).stdout(Output::Capture);
        sandboxes.push((name, runtime.launch(artifact, spec).await?));
    }
    println!("{} launched", sandboxes.len());

    let mut ends = BTreeMap::new();
    for (name, sandbox) in &sandboxes {
        let record = sandbox.record().await?;
        let (count, peak) = ends.entry((name, record.exit.reason())).or_insert((0, Bytes::new(0)));
        *count += 1;
        *peak = record.stats.memory_peak.max(*peak);
        anyhow::ensure!(record.stats.memory_peak <= Bytes::mib(12), "a limit did not hold");
    }
    for ((name, reason), (count, peak)) in ends {
        println!("{count} x {name:8} {reason:14} at most {peak} each");
    }
    Ok(())
}
