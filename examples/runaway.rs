//! Ending guests that do not end: by a deadline, by a kill, and by letting go.
//!
//! ```sh
//! cargo run --example runaway
//! ```
//!
//! The guest loops for ever and never calls the host. It cannot refuse to end, and until it does,
//! other guests and the host go on: it gives way every millisecond.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use aril::{Limits, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(end_them())
}

async fn end_them() -> anyhow::Result<()> {
    let runtime = Runtime::open("target/examples-cache")?;
    let artifact = runtime.prepare("examples/guests/spin.wat").await?;

    // The deadline holds over everything that the guest does or waits for.
    let limits = Limits { deadline: Duration::from_millis(300).into(), ..Limits::default() };
    let sandbox = runtime.launch(&artifact, SandboxSpec::new("spin").limits(limits)).await?;
    println!("left alone: {}", sandbox.wait().await?);

    // `stop` asks first, by the end of its input. This one reads none, and is ended after 100 ms.
    let sandbox = runtime.launch(&artifact, SandboxSpec::new("spin")).await?;
    println!("asked to stop: {}", sandbox.stop(Duration::from_millis(100)).await?);

    // `kill` does not ask.
    let sandbox = runtime.launch(&artifact, SandboxSpec::new("spin")).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    sandbox.kill();
    println!("killed: {}", sandbox.wait().await?);

    // Nothing runs that nobody holds: a request that goes away takes its guest along.
    drop(runtime.launch(&artifact, SandboxSpec::new("spin")).await?);
    while runtime.alive() != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("let go of: {} alive", runtime.alive());
    Ok(())
}
