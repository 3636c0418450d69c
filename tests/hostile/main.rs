//! A keeper whose workers have a hole: it runs guests that make system calls natively, and tells how
//! each ended. A library's service otherwise, as `examples/many.rs` is one.
//!
//! `hostile calls` prints what the walls say of each system call. `hostile keep CACHE GUEST READ WRITE
//! [WITHOUT...]` reads scripts from standard input, one a line in hexadecimal digits, each with a
//! deadline in milliseconds before it, and writes a line of JSON for each, in their order. READ and WRITE
//! are directories to grant; what is named after them is left out: `users` (the namespace) or a wall.
#![expect(clippy::print_stdout, reason = "a command that reports")]

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use aril::Access;
use aril::Artifact;
use aril::Directory;
use aril::Isolation;
use aril::Limits;
use aril::Need;
use aril::Output;
use aril::Runtime;
use aril::SandboxSpec;
use aril::Wall;
use aril::Walls;

/// How many guests are alive at once.
const AT_ONCE: usize = 4;

fn main() -> anyhow::Result<()> {
    aril::roles();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["calls"] => {
            for (number, name, said) in aril::hostile::calls() {
                println!("{number} {name} {said}");
            }
            Ok(())
        }
        ["keep", cache, guest, read, write, without @ ..] => {
            let mut walls = Walls::ALL;
            for name in without {
                if *name == "users" {
                    aril::hostile::refuse_user_namespaces();
                } else {
                    walls = walls.with(name.parse::<Wall>()?, Need::LeftOut);
                }
            }
            let keep = keep(cache, guest, [read, write], walls);
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(keep)
        }
        _ => bail!("`hostile calls`, or `hostile keep CACHE GUEST READ WRITE [WITHOUT...]`"),
    }
}

async fn keep(cache: &str, guest: &str, grants: [&str; 2], walls: Walls) -> anyhow::Result<()> {
    let runtime = Runtime::open(cache)?;
    let artifact = runtime.prepare(guest).await?;
    let [read, write] = grants;
    let granted = SandboxSpec::new("hostile")
        .isolation(Isolation::Process)
        .walls(walls)
        .directory(Directory::open(read, "/read", Access::ReadOnly)?)
        .directory(Directory::open(write, "/write", Access::ReadWrite)?);
    let mut running = std::collections::VecDeque::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (deadline, script) = line.split_once(' ').context("a deadline and a script")?;
        let deadline = Duration::from_millis(deadline.parse()?);
        if running.len() == AT_ONCE {
            tell(running.pop_front()).await?;
        }
        let run =
            run(runtime.clone(), artifact.clone(), granted.clone(), deadline, script.to_owned());
        running.push_back(tokio::spawn(run));
    }
    while !running.is_empty() {
        tell(running.pop_front()).await?;
    }
    Ok(())
}

async fn tell(
    running: Option<tokio::task::JoinHandle<anyhow::Result<String>>>,
) -> anyhow::Result<()> {
    println!("{}", running.context("there is one")?.await??);
    Ok(())
}

/// Runs one guest, and says how it ended and what it told.
async fn run(
    runtime: Runtime,
    artifact: Artifact,
    granted: SandboxSpec,
    deadline: Duration,
    script: String,
) -> anyhow::Result<String> {
    let limits = Limits { deadline: deadline.into(), ..Limits::default() };
    let spec = granted.limits(limits).arg(script).stdout(Output::Capture);
    let sandbox = runtime.launch(&artifact, spec).await?;
    let ended = match sandbox.record().await {
        Ok(record) => serde_json::from_str(&record.to_json())?,
        // It said nothing of its end, or nonsense.
        Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
    };
    let told = sandbox.captured().iter().fold(String::new(), |mut told, byte| {
        // Writing to a string does not fail.
        let _written = write!(told, "{byte:02x}");
        told
    });
    Ok(serde_json::json!({ "told": told, "record": ended }).to_string())
}
