//! The shortest program: one guest, launched and waited for.
//!
//! ```sh
//! cargo run --example hello
//! ```
//!
//! Wasm is *prepared* once: compiled, in a process of its own, into the folder that the runtime was
//! opened with. What was prepared is *launched* as often as you like, each time into a sandbox of
//! its own, with what the spec grants and nothing else. A sandbox has one *exit*, and it is a value:
//! an `Err` would mean that the host failed, not the guest.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aril::{Bytes, Limits, Output, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles(); // Aril starts this program again to compile: here is where it does that.
    tokio::runtime::Runtime::new()?.block_on(greet())
}

async fn greet() -> anyhow::Result<()> {
    let runtime = Runtime::open("target/examples-cache")?;
    let artifact = runtime.prepare("examples/guests/hello.wat").await?;
    let limits = Limits { memory: Bytes::mib(64).into(), ..Limits::default() };
    let spec = SandboxSpec::new("hello").limits(limits).stdout(Output::Inherit);
    let sandbox = runtime.launch(&artifact, spec).await?;
    println!("{}", sandbox.wait().await?); // exited with 0
    Ok(())
}
