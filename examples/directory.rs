//! Granting a directory, and what a guest cannot do with it.
//!
//! ```sh
//! cargo run --example directory
//! ```
//!
//! A grant is a value: a directory that was opened, the path under which the guest sees it, and
//! what the guest may do with it. Whatever happens to the host's names afterwards, the guest sees
//! this directory and nothing outside of it; and each try beyond it is in the record, so that you
//! can tell your user what to grant.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aril::{Access, Directory, Output, Runtime, SandboxSpec};

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(grant())
}

async fn grant() -> anyhow::Result<()> {
    let runtime = Runtime::open("target/examples-cache")?;

    // `data` is granted; `secret.txt` is beside it.
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("report.txt"), "all is well\n")?;
    std::fs::write(folder.path().join("secret.txt"), "nobody's business\n")?;

    for (guest, argument, access) in [
        ("cat", Some("report.txt"), Access::ReadOnly),
        ("cat", Some("../secret.txt"), Access::ReadOnly),
        ("touch", None, Access::ReadOnly),
        ("touch", None, Access::ReadWrite),
    ] {
        let artifact = runtime.prepare(format!("examples/guests/{guest}.wat")).await?;
        let spec = SandboxSpec::new(guest)
            .args(argument)
            .directory(Directory::open(&data, "/data", access)?)
            .stdout(Output::Capture);
        let sandbox = runtime.launch(&artifact, spec).await?;
        let record = sandbox.record().await?;
        let what = [guest].into_iter().chain(argument).collect::<Vec<_>>().join(" ");
        println!("{what} ({access:?}): {}", record.exit);
        print!("{}", String::from_utf8_lossy(&sandbox.captured()));
        for denial in &record.denials {
            println!("    denied: {:?}, {}", denial.path, denial.refusal.word());
        }
    }
    println!("note.txt is there: {}", data.join("note.txt").exists());
    Ok(())
}
