//! What happens at each limit, and how the end says so.
//!
//! ```sh
//! cargo run --example limits
//! ```
//!
//! A limit is enforced or refused, never adjusted in silence. Where one is reached, the exit names
//! it; the record tells by what means each limit was held.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use aril::{Bytes, Fuel, Limit, Limits, Output, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(reach_them())
}

async fn reach_them() -> anyhow::Result<()> {
    let runtime = Runtime::open("target/examples-cache")?;
    let none = Limits::default();
    let cases = [
        ("hog", Limits { memory: Bytes::mib(16).into(), ..none }),
        ("spin", Limits { deadline: Duration::from_millis(200).into(), ..none }),
        ("spin", Limits { cpu_time: Duration::from_millis(200).into(), ..none }),
        ("spin", Limits { fuel: Fuel::new(1_000_000).map_or(Limit::Default, Limit::Of), ..none }),
        ("hello", Limits { output: Bytes::new(5).into(), ..none }),
    ];
    for (name, limits) in cases {
        let artifact = runtime.prepare(format!("examples/guests/{name}.wat")).await?;
        let spec = SandboxSpec::new(name).limits(limits).stdout(Output::Capture);
        let sandbox = runtime.launch(&artifact, spec).await?;
        let record = sandbox.record().await?;
        println!("{name}: {} (code {})", record.exit, record.exit.code());
        for hold in record.holds.iter().filter(|hold| hold.asked) {
            let amount = hold.amount.as_deref().unwrap_or("unlimited");
            println!("    {} {amount}, held by {}", hold.name, hold.rung.word());
        }
    }

    // A limit that makes no sense is an error of the caller, before anything runs.
    let artifact = runtime.prepare("examples/guests/hello.wat").await?;
    let limits = Limits { memory: Bytes::kib(64).into(), ..none };
    match runtime.launch(&artifact, SandboxSpec::new("hello").limits(limits)).await {
        Ok(_) => anyhow::bail!("64 KiB were accepted"),
        Err(error) => println!("refused: {:#}", anyhow::Error::from(error)),
    }
    Ok(())
}
