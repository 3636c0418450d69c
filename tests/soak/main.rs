//! Large counts: what must stay flat, and who must not be hurt by whom. Not part of the gate.
//!
//! `cargo run --release -p aril-tests --bin soak [-- COUNT [CHURNED]]`, with an `aril` built beside it:
//! COUNT sandboxes one after the other, and CHURNED at a time that come and go ten times.
#![expect(clippy::print_stdout, reason = "a command that reports")]

mod churn;
mod guests;
mod process;

use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use aril::Artifact;
use aril::Exit;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Runtime;
use aril::SandboxSpec;

use process::Figures;

/// How many sandboxes run one after the other, if nobody says otherwise.
const SEQUENTIAL_DEFAULT: u32 = 100_000;

/// How many are alive at the same moment in the mixed company.
const COMPANY: u32 = 1_000;

/// How many come and go at a time, if nobody says otherwise.
const CHURNED_DEFAULT: u32 = 1_000;

/// What a process may grow by over the whole sequence, in KiB: less than a byte a sandbox.
const GROWTH_MAX_KIB: u64 = 4_096;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let churned = std::env::args().nth(2).map(|text| text.parse()).transpose()?;
    let churned = churned.unwrap_or(CHURNED_DEFAULT);
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?.with_file_name("aril");
    ensure!(program.is_file(), "`{}` is missing: build it first", program.display());
    let runtime = Runtime::builder(folder.path().join("cache"))
        .program(&program)
        .sandboxes_max(COMPANY.max(churned))
        .open()?;
    let guests = guests::Guests::prepare(&runtime, folder.path()).await?;

    sequence(&runtime, &guests.hello, count.unwrap_or(SEQUENTIAL_DEFAULT)).await?;
    company(&runtime, &guests).await?;
    churn::library(&runtime, &guests.hello, folder.path(), churned).await?;
    churn::command(&program, folder.path(), churned)?;
    println!("all promises held");
    Ok(())
}

/// Runs one sandbox after the other: nothing may be left of any.
async fn sequence(runtime: &Runtime, hello: &Artifact, count: u32) -> anyhow::Result<()> {
    // What is made once is made before the first figure is taken.
    for _ in 0..count.min(1_000) {
        run(runtime, hello, SandboxSpec::new("hello")).await?;
    }
    let (before, started) = (Figures::now()?, Instant::now());
    for i in 0..count {
        let exit = run(runtime, hello, SandboxSpec::new("hello")).await?;
        ensure!(exit == Exit::Exited(0), "sandbox {i} ended as: {exit}");
    }
    let each = started.elapsed() / count.max(1);
    let after = Figures::now()?;
    println!("{count} sandboxes in sequence, {each:?} each: {before} before, {after} after");
    ensure!(after.resident_kib <= before.resident_kib + GROWTH_MAX_KIB, "memory grows");
    ensure!(after.descriptors <= before.descriptors, "descriptors are left behind");
    ensure!(after.mappings <= before.mappings + 64, "mappings are left behind");
    Ok(())
}

async fn run(runtime: &Runtime, guest: &Artifact, spec: SandboxSpec) -> anyhow::Result<Exit> {
    let sandbox = runtime.launch(guest, spec.stdout(Output::Capture)).await?;
    Ok(sandbox.wait().await?)
}

/// Runs good and bad guests at the same time: each must get the end that it deserves.
async fn company(runtime: &Runtime, guests: &guests::Guests) -> anyhow::Result<()> {
    let small = Limits { memory: aril::Bytes::mib(8).into(), ..Limits::default() };
    let mut company = Vec::new();
    let started = Instant::now();
    for i in 0..COMPANY {
        let (guest, limits) = match i % 10 {
            0 => (&guests.crash, small),
            1 => (&guests.hog, small),
            2 => (&guests.spin, Limits { deadline: Duration::from_millis(200).into(), ..small }),
            3 => (&guests.greedy, Limits { open_files: 4.into(), ..small }),
            _ => (&guests.hello, small),
        };
        let spec = SandboxSpec::new("guest").limits(limits).stdout(Output::Capture);
        company.push((i, runtime.launch(guest, spec).await?));
    }
    for (i, sandbox) in company {
        let exit = sandbox.wait().await.with_context(|| format!("sandbox {i}"))?;
        let deserved = match i % 10 {
            0 => matches!(exit, Exit::Trapped(_)),
            1 => exit == Exit::OutOfMemory(MemoryWall::Meter),
            2 => exit == Exit::Deadline,
            3 => exit == Exit::Exited(0),
            _ => exit == Exit::Exited(0) && sandbox.captured() == b"hello\n",
        };
        ensure!(deserved, "sandbox {i} ended as: {exit}");
    }
    println!("{COMPANY} sandboxes in mixed company: all as deserved, in {:?}", started.elapsed());
    ensure!(runtime.alive() == 0, "some are still alive");
    Ok(())
}
