//! Changing a limit of a guest while it runs.
//!
//! ```sh
//! cargo run --example resize
//! ```
//!
//! The guest wants 32 MiB and may have 16. It is told no, as the standard has it (`memory.grow`
//! gives -1), says so and asks again; then the limit is raised, without a restart, and the same
//! guest goes on.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use aril::{Bytes, Limits, Output, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(resize())
}

async fn resize() -> anyhow::Result<()> {
    let runtime = Runtime::open("target/examples-cache")?;
    let artifact = runtime.prepare("examples/guests/patient.wat").await?;
    let limits = Limits {
        memory: Bytes::mib(16).into(),
        deadline: Duration::from_secs(10).into(),
        ..Limits::default()
    };
    let spec = SandboxSpec::new("patient").limits(limits).stdout(Output::Capture);
    let sandbox = runtime.launch(&artifact, spec).await?;
    while sandbox.stats().memory_refusals == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("the guest has {} of 16 MiB", sandbox.stats().memory);

    sandbox.update(|limits| limits.memory = Bytes::mib(64).into())?;
    println!("the guest may have 64 MiB now");

    let exit = sandbox.wait().await?;
    print!("{}", String::from_utf8_lossy(&sandbox.captured()));
    println!("{exit}, with {} at its peak", sandbox.stats().memory_peak);

    // What is fixed at launch is refused by name.
    match sandbox.update(|limits| limits.stack = Bytes::mib(2).into()) {
        Ok(()) => anyhow::bail!("a stack was changed"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}
