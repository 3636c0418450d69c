//! Section 4.8: many guests at once, and one after the other.

use std::fs;
use std::time::Duration;

use aril::Bytes;
use aril::Exit;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;

use super::guest::Guest;
use super::shared::descriptors;
use super::shared::runtime;
use super::shared::spec;
use crate::support::Bench;
use crate::support::root;

/// How many guests at once.
const MANY: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guests_at_once_end_as_they_should_whatever_the_others_do() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 1000);
    let wats = [
        Guest::new().say("healthy", "(i32.const 7)").wat(),
        "(module (func (export \"_start\") unreachable))".to_owned(),
        "(module (memory 1) (func (export \"_start\")
          (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable))"
            .to_owned(),
        "(module (func (export \"_start\") (loop $l (br $l))))".to_owned(),
    ];
    let mut artifacts = Vec::new();
    for (i, wat) in wats.iter().enumerate() {
        let file = bench.file(&format!("guest-{i}.wat"), wat);
        artifacts.push(runtime.prepare(file).await.unwrap());
    }
    let kind = |i: usize| match i % 10 {
        0 => 1,
        1 => 2,
        2 => 3,
        _ => 0,
    };
    let mut sandboxes = Vec::new();
    for i in 0..MANY {
        let kind = kind(i);
        let deadline = Duration::from_millis(if kind == 3 { 50 } else { 30_000 });
        let limits =
            Limits { memory: Bytes::mib(8).into(), deadline: deadline.into(), ..Limits::default() };
        let spec = spec().limits(limits).stdout(Output::Capture);
        let sandbox = runtime.launch(&artifacts[kind], spec).await.unwrap();
        sandboxes.push((kind, sandbox));
    }
    for (kind, sandbox) in sandboxes {
        let end = sandbox.wait().await.unwrap();
        match kind {
            0 => {
                assert_eq!(end, Exit::Exited(0));
                assert_eq!(sandbox.captured(), b"healthy 7\n");
            }
            1 => assert!(matches!(end, Exit::Trapped(_)), "{end}"),
            2 => assert_eq!(end, Exit::OutOfMemory(MemoryWall::Meter)),
            _ => assert_eq!(end, Exit::Deadline),
        }
    }
    assert_eq!(runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_one_after_the_other_leave_nothing_behind() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 16);
    let file = bench.file("guest.wat", Guest::new().say("ran", "(i32.const 1)").wat());
    let artifact = runtime.prepare(file).await.unwrap();
    let rounds = |count: usize| {
        let (runtime, artifact) = (runtime.clone(), artifact.clone());
        async move {
            for _ in 0..count {
                let spec = spec().stdout(Output::Capture);
                let end = runtime.launch(&artifact, spec).await.unwrap().wait().await.unwrap();
                assert_eq!(end, Exit::Exited(0));
            }
        }
    };
    rounds(500).await;
    let (memory, open) = (resident(), descriptors());
    rounds(5000).await;
    let (memory_after, open_after) = (resident(), descriptors());
    // A kilobyte a guest would be 5 MiB; other tests of this process take some as well.
    assert!(memory_after < memory + (64 << 20), "{memory} bytes before, {memory_after} after");
    assert!(open_after < open + 500, "{open} descriptors before, {open_after} after");
    assert_eq!(runtime.alive(), 0);
}

/// The memory that this process has, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() << 12
}

#[test]
fn no_process_is_ended_by_its_number() {
    // A number may be another process's by then; a child that was not waited for keeps its own.
    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    for folder in ["runtime/src", "cli/src", "oci-shim/src"] {
        sources(&root().join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // There, a child of which no descriptor could be had: it was not waited for either.
        let is_start = file.ends_with("platform/linux/child.rs");
        let text = if is_start { text.replacen("kill_process(pid", "", 1) } else { text };
        for word in ["libc::kill(", "kill_process(", "kill_process_group(", "new(\"kill\")"] {
            assert!(!text.contains(word), "`{}` says `{word}`", file.display());
        }
    }
}
