//! Guests that share a process, where one of them could take from the others.

use std::fs;
use std::time::Duration;

use aril::Access;
use aril::Bytes;
use aril::Directory;
use aril::ErrorKind;
use aril::Exit;
use aril::Limits;
use aril::Output;
use aril::Runtime;
use aril::SandboxSpec;

use super::guest::BUFFER;
use super::guest::Guest;
use super::guest::READ;
use super::guest::RETURNED;
use crate::support::Bench;
use crate::support::aril_path;

pub(super) fn runtime(bench: &Bench, sandboxes: u32) -> Runtime {
    let builder = Runtime::builder(bench.cache()).program(aril_path());
    builder.sandboxes_max(sandboxes).open().unwrap()
}

pub(super) fn spec() -> SandboxSpec {
    let limits = Limits { deadline: Duration::from_secs(20).into(), ..Limits::default() };
    SandboxSpec::new("guest").limits(limits)
}

/// How many descriptors this process has.
pub(super) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_used_again_holds_nothing_of_another_tenant() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 1);
    // The first fills all it has, also what it grew and its table, and ends in one of several ways.
    let writer = |marker: u8, end: &str| {
        format!(
            "(module (memory 8 100) (table $t 100 funcref) (elem declare func $f)
              (func $f)
              (func $deep (param i32 i64 i64) (result i64)
                (if (result i64) (local.get 0)
                  (then (i64.add (local.get 2) (call $deep (i32.sub (local.get 0) (i32.const 1))
                    (i64.const 0x7e7e7e7e7e7e7e7e) (i64.const 0x7e7e7e7e7e7e7e7e))))
                  (else (local.get 1))))
              (func (export \"_start\")
                (drop (memory.grow (i32.const 8)))
                (memory.fill (i32.const 0) (i32.const {marker}) (i32.const 1048576))
                (table.fill $t (i32.const 0) (ref.func $f) (i32.const 100))
                (drop (call $deep (i32.const 1000) (i64.const 1) (i64.const 2)))
                {end}))"
        )
    };
    // The second looks at every byte it can reach, and traps where one is not zero.
    let reader = "(module (memory 8 100) (table $t 100 funcref)
      (func $look (param $from i32) (param $to i32)
        (loop $next
          (if (i64.ne (i64.load (local.get $from)) (i64.const 0)) (then unreachable))
          (local.set $from (i32.add (local.get $from) (i32.const 8)))
          (br_if $next (i32.lt_u (local.get $from) (local.get $to)))))
      (func (export \"_start\") (local $i i32)
        (call $look (i32.const 0) (i32.const 524288))
        (drop (memory.grow (i32.const 16)))
        (call $look (i32.const 524288) (i32.const 1572864))
        (loop $next
          (if (i32.eqz (ref.is_null (table.get $t (local.get $i)))) (then unreachable))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $i) (i32.const 100))))))";
    let mut writers = Vec::new();
    let ends = [(0x71, ""), (0x72, "unreachable"), (0x73, "(loop $l (br $l))")];
    for (i, (marker, end)) in ends.into_iter().enumerate() {
        let file = bench.file(&format!("writer-{i}.wat"), writer(marker, end));
        writers.push(runtime.prepare(file).await.unwrap());
    }
    let reader = runtime.prepare(bench.file("reader.wat", reader)).await.unwrap();
    for round in 0..1000 {
        let number = if round % 100 == 99 { 2 } else { round % 2 };
        // Only the last is ended from outside: it must have come to its loop by then.
        let deadline = Duration::from_millis(if number == 2 { 40 } else { 20_000 });
        let limits = Limits { deadline: deadline.into(), ..Limits::default() };
        let spec_of_writer = spec().limits(limits);
        let end = runtime.launch(&writers[number], spec_of_writer).await.unwrap();
        match (number, end.wait().await.unwrap()) {
            (0, Exit::Exited(0)) | (1, Exit::Trapped(_)) | (2, Exit::Deadline) => {}
            (_, end) => panic!("round {round}: {end}"),
        }
        let end = runtime.launch(&reader, spec()).await.unwrap().wait().await.unwrap();
        assert_eq!(end, Exit::Exited(0), "round {round}: something was left of another tenant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_of_ended_guests_are_given_back() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 8);
    fs::create_dir(bench.path().join("grant")).unwrap();
    bench.file("grant/file", "inside");
    let mut guest = Guest::new();
    let path = guest.text("file");
    let open = format!(
        "(drop (call $path_open (i32.const 3) (i32.const 1) {path} (i32.const 0)
          (i64.const {READ}) (i64.const 0) (i32.const 0) (i32.const 8)))"
    );
    let renumber = format!("(drop (call $fd_renumber {RETURNED} (i32.const 0)))");
    let guest = guest.times(50, open).times(1000, renumber);
    // Some end by themselves, and some in the middle of it.
    let ends = [guest.wat(), guest.code("unreachable").wat()];
    let mut artifacts = Vec::new();
    for (i, wat) in ends.iter().enumerate() {
        let file = bench.file(&format!("guest-{i}.wat"), wat);
        artifacts.push(runtime.prepare(file).await.unwrap());
    }
    let before = descriptors();
    for round in 0..100 {
        let grant = Directory::open(bench.path().join("grant"), "/", Access::ReadOnly).unwrap();
        let sandbox = runtime.launch(&artifacts[round % 2], spec().directory(grant)).await.unwrap();
        sandbox.wait().await.unwrap();
    }
    let after = descriptors();
    // Other tests of this process open files too, but not thousands.
    assert!(after < before + 500, "{before} before, {after} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_takes_all_it_can_of_the_host_is_told_no_and_others_go_on() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 8);
    let quiet = bench.file("quiet.wat", "(module (func (export \"_start\")))");
    let quiet = runtime.prepare(quiet).await.unwrap();
    let pread = |size: u32| {
        Guest::new().code(format!(
            "(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const {size}))
            (drop (call $random_get (i32.const 0) (i32.const {size})))"
        ))
    };
    let guests = [
        pread(u32::MAX).wat(),
        Guest::new().call("most", "poll_oneoff", "(i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8)").wat(),
        "(module (memory 1) (func (export \"_start\")
          (loop $l (br_if $l (i32.ne (memory.grow (i32.const 100)) (i32.const -1)))) unreachable))"
            .to_owned(),
        "(module (func $f (export \"_start\") (call $f)))".to_owned(),
        "(module (table $t 1 funcref) (func (export \"_start\")
          (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable))"
            .to_owned(),
    ];
    for (i, wat) in guests.iter().enumerate() {
        let file = bench.file(&format!("greedy-{i}.wat"), wat);
        let greedy = runtime.prepare(file).await.unwrap();
        let limits = Limits {
            memory: Bytes::mib(64).into(),
            deadline: Duration::from_secs(5).into(),
            ..Limits::default()
        };
        let sandbox = runtime.launch(&greedy, spec().limits(limits)).await.unwrap();
        let beside = runtime.launch(&quiet, spec()).await.unwrap();
        assert_eq!(beside.wait().await.unwrap(), Exit::Exited(0));
        let end = sandbox.wait().await.unwrap();
        assert!(!matches!(end, Exit::Deadline), "{i}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_guests_than_there_is_room_for_are_refused_until_there_is_room() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 2);
    let waits =
        bench.file("waits.wat", "(module (memory 1) (func (export \"_start\") (loop $l (br $l))))");
    let waits = runtime.prepare(waits).await.unwrap();
    let one = runtime.launch(&waits, spec()).await.unwrap();
    let two = runtime.launch(&waits, spec()).await.unwrap();
    for _ in 0..20 {
        let refused = match runtime.launch(&waits, spec()).await {
            Err(error) => error.kind(),
            Ok(third) => {
                let end = third.wait().await.unwrap_err();
                assert!(end.to_string().contains("no room"), "{end}");
                ErrorKind::Exhausted
            }
        };
        assert_eq!(refused, ErrorKind::Exhausted);
    }
    one.kill();
    assert_eq!(one.wait().await.unwrap(), Exit::Killed(9));
    let third = runtime.launch(&waits, spec()).await.unwrap();
    third.kill();
    assert_eq!(third.wait().await.unwrap(), Exit::Killed(9));
    two.kill();
    assert_eq!(two.wait().await.unwrap(), Exit::Killed(9));
}

#[test]
fn whoever_waits_for_a_guest_is_told_also_where_its_threads_went_away() {
    let bench = Bench::new();
    let runtime = runtime(&bench, 2);
    let wat = "(module (func (export \"_start\") (loop $l (br $l))))";
    let file = bench.file("guest.wat", wat);
    let threads = || tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let first = threads();
    let sandbox = first.block_on(async {
        let artifact = runtime.prepare(file).await.unwrap();
        runtime.launch(&artifact, spec().stdout(Output::Capture)).await.unwrap()
    });
    first.shutdown_background();
    let waiting = async { tokio::time::timeout(Duration::from_secs(10), sandbox.wait()).await };
    let end = threads().block_on(waiting).expect("nobody waits for ever");
    assert!(matches!(end, Err(_) | Ok(Exit::Deadline | Exit::Killed(_))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_takes_no_signal_from_its_host_but_those_of_traps() {
    let caught = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("SigCgt:")).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    let before = caught();
    let bench = Bench::new();
    let runtime = runtime(&bench, 2);
    let file = bench.file("guest.wat", "(module (func (export \"_start\") unreachable))");
    let artifact = runtime.prepare(file).await.unwrap();
    let sandbox = runtime.launch(&artifact, spec()).await.unwrap();
    // A process can be started while guests run.
    assert!(std::process::Command::new("true").status().unwrap().success());
    assert!(matches!(sandbox.wait().await.unwrap(), Exit::Trapped(_)));
    // Illegal instruction, bus error, arithmetic and segmentation faults.
    let traps = [4, 7, 8, 11].map(|signal: u32| 1_u64 << (signal - 1));
    let traps = traps.into_iter().fold(0, |all, one| all | one);
    assert_eq!(caught() & !before & !traps, 0, "{before:x} before, {:x} after", caught());
}
