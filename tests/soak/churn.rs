//! Many sandboxes that come and go, round after round: nothing of them may be left anywhere.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use aril::Artifact;
use aril::Exit;
use aril::Isolation;
use aril::Output;
use aril::Runtime;
use aril::SandboxSpec;

use super::process::Figures;

/// How many rounds there are, after one before the first figure is taken.
const ROUNDS: u32 = 10;

/// How many guests with a process of their own are alive at once.
const PROCESSES: u32 = 50;

/// How many keepers are alive at once.
const KEEPERS: u32 = 20;

/// What the process may grow by over all rounds, in KiB.
const GROWTH_MAX_KIB: u64 = 8_192;

/// How long what was ended may take to be gone.
const GOING_MAX: Duration = Duration::from_secs(30);

/// What this host holds of sandboxes, beside this process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Files and directories.
    files: usize,
    bytes: u64,
    groups: usize,
    processes: usize,
    mounts: usize,
}

impl Left {
    fn beneath(folder: &Path, own: u32) -> anyhow::Result<Self> {
        let mut left = Self { processes: children_of(own)?, ..Self::default() };
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        left.mounts = mounts.lines().count();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.metadata()?;
                left.files += 1;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else {
                    left.bytes += kind.len();
                }
            }
        }
        Ok(left)
    }

    /// The same, with the control groups of keepers for which this holds.
    fn with_groups(mut self, is_ours: impl Fn(&str) -> bool) -> Self {
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            // Others make and remove groups meanwhile.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // `aril-NAMESPACE-PROCESS-STARTED-COUNT`
                    let keeper = name.strip_prefix("aril-").and_then(|rest| rest.split('-').nth(1));
                    self.groups += usize::from(keeper.is_some_and(&is_ours));
                    folders.push(entry.path());
                }
            }
        }
        self
    }
}

fn children_of(parent: u32) -> anyhow::Result<usize> {
    let mut count = 0;
    for task in fs::read_dir(format!("/proc/{parent}/task"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        count += children.split_whitespace().count();
    }
    Ok(count)
}

/// Churns guests of the library, in this process and in processes of their own.
pub(crate) async fn library(
    runtime: &Runtime,
    hello: &Artifact,
    folder: &Path,
    count: u32,
) -> anyhow::Result<()> {
    for (way, at_once) in [(Isolation::Shared, count), (Isolation::Process, PROCESSES)] {
        let own = std::process::id();
        let left = || -> anyhow::Result<Left> {
            let is_ours = |keeper: &str| keeper == own.to_string();
            Ok(Left::beneath(folder, own)?.with_groups(is_ours))
        };
        // What is made once is made before the first figure is taken.
        round(runtime, hello, way, (count, at_once)).await?;
        let (before, left_before, started) = (Figures::now()?, left()?, Instant::now());
        for _ in 0..ROUNDS {
            round(runtime, hello, way, (count, at_once)).await?;
        }
        let elapsed = started.elapsed();
        let (after, left_after) = (Figures::now()?, left()?);
        println!(
            "{ROUNDS} times {count} sandboxes ({way:?}) in {elapsed:?}: {before} before, {after} \
             after; left: {left_after:?}"
        );
        ensure!(after.resident_kib <= before.resident_kib + GROWTH_MAX_KIB, "memory grows");
        ensure!(after.descriptors <= before.descriptors, "descriptors are left behind");
        ensure!(after.mappings <= before.mappings + 64, "mappings are left behind");
        ensure!(left_after == left_before, "left before: {left_before:?}");
        ensure!(
            left_after.groups == 0 && left_after.processes == 0,
            "groups or processes are left"
        );
        ensure!(runtime.alive() == 0, "some are still alive");
    }
    Ok(())
}

async fn round(
    runtime: &Runtime,
    hello: &Artifact,
    way: Isolation,
    (count, at_once): (u32, u32),
) -> anyhow::Result<()> {
    let mut begun = 0;
    while begun < count {
        let mut alive = Vec::new();
        for _ in 0..at_once.min(count - begun) {
            let spec = SandboxSpec::new("hello").isolation(way).stdout(Output::Capture);
            alive.push(runtime.launch(hello, spec).await?);
            begun += 1;
        }
        for sandbox in alive {
            let exit = sandbox.wait().await?;
            ensure!(exit == Exit::Exited(0), "it ended as: {exit}");
            ensure!(sandbox.captured() == b"hello\n", "its output is lost");
        }
    }
    Ok(())
}

/// Waits until somebody ends it, an hour at a time.
const WAITS: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 24) (i32.const 1)) (i64.store (i32.const 32) (i64.const 3600000000000))
    (loop $on (drop (call $poll (i32.const 8) (i32.const 200) (i32.const 1) (i32.const 300))) (br $on))))"#;

/// Churns guests that go on alone: `run -d --rm`, and `stop`.
pub(crate) fn command(program: &Path, folder: &Path, count: u32) -> anyhow::Result<()> {
    let data = folder.join("data");
    fs::write(folder.join("waits.wat"), WAITS)?;
    let aril = |args: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null());
        command.env("ARIL_CACHE_DIR", folder.join("cache")).env("ARIL_DATA_DIR", &data);
        let said = command.output().context("cannot start `aril`")?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "`aril {}`: {}: {error}", args.join(" "), said.status);
        Ok(String::from_utf8(said.stdout)?.trim().to_owned())
    };
    let churn = |rounds: u32| -> anyhow::Result<()> {
        for at in (0..rounds * count).step_by(KEEPERS as usize) {
            let names: Vec<_> = (at..at + KEEPERS).map(|number| format!("soak-{number}")).collect();
            for name in &names {
                aril(&["run", "-d", "--rm", "--name", name, "waits.wat"])?;
            }
            let stop: Vec<_> =
                ["stop", "-t", "0"].into_iter().chain(names.iter().map(String::as_str)).collect();
            aril(&stop)?;
        }
        Ok(())
    };
    // Groups of keepers that others left are not for this to count.
    let is_gone = |keeper: &str| !Path::new("/proc").join(keeper).exists();
    let others = Left::default().with_groups(is_gone).groups;
    churn(1)?;
    let before = gone(&data)?;
    let started = Instant::now();
    churn(ROUNDS)?;
    let elapsed = started.elapsed();
    let after = gone(&data)?;
    println!(
        "{ROUNDS} times {count} times `run -d --rm` and `stop` in {elapsed:?}: left: {after:?}"
    );
    ensure!(aril(&["ps", "-aq"])?.is_empty(), "some are still listed");
    ensure!(after.groups <= others && after.processes == 0, "groups or keepers are left");
    // What happened is written down, in two files that are bounded: the second one comes when the first
    // is full.
    let files_max = before.files + 1;
    ensure!(after.files <= files_max && after.mounts <= before.mounts, "before: {before:?}");
    ensure!(after.bytes <= before.bytes + EVENTS_MAX, "before: {before:?}");
    Ok(())
}

/// The most that the events of a roster may take on disk.
const EVENTS_MAX: u64 = 32 << 20;

/// What is left of keepers once they had time to end.
fn gone(data: &Path) -> anyhow::Result<Left> {
    let started = Instant::now();
    loop {
        let keepers = keepers_of(data)?;
        if keepers.is_empty() || GOING_MAX < started.elapsed() {
            // A group whose keeper is no more is one that is left.
            let is_left = |keeper: &str| {
                !Path::new("/proc").join(keeper).exists() || keepers.iter().any(|own| own == keeper)
            };
            let left = Left::beneath(data, std::process::id())?.with_groups(is_left);
            return Ok(Left { processes: keepers.len(), ..left });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn keepers_of(data: &Path) -> anyhow::Result<Vec<String>> {
    let own = format!("ARIL_DATA_DIR={}", data.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes()) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}
