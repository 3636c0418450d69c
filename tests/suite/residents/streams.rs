//! The streams of one that goes on alone, and programs beside it, in other hands.

use std::fs;

use crate::guests::CAT;
use crate::guests::FLOOD;
use crate::guests::SPIN;
use crate::support::wait_until;

use super::Den;
use super::TICK;
use super::ending;
use super::writing;

#[test]
fn who_is_attached_reads_and_writes_and_ends_with_its_code() {
    let den = Den::new();
    den.start("--name cat -i", CAT);
    let outcome = den.command(["attach", "cat"]).input("hello\n").outcome();
    // The input ended with what was written, and the guest with that.
    outcome.expect_code(5).expect_output("hello\n");
    assert_eq!(den.ok("logs cat"), "hello\n");
    assert_eq!(den.ok("wait cat"), "5\n");
    den.aril(["attach", "cat"]).expect_code(125).expect_error("it has ended");
    den.aril(["attach", "nothing"]).expect_code(1).expect_error("no such sandbox");
}

#[test]
fn who_leaves_leaves_it_running() {
    let den = Den::new();
    den.start("--name one -i", TICK);
    let attached = den.command(["attach", "one"]).silent_input().start();
    attached.wait_for_output("tick\n");
    attached.signal("INT");
    assert_eq!(attached.outcome().code, None);
    assert_eq!(den.status("one"), "running");
    let again = den.command(["attach", "--no-stdin", "one"]).start();
    again.wait_for_output("tick\n");
    den.ok("stop -t 0 one");
    again.outcome().expect_code(143);
}

#[test]
fn several_are_attached_at_once_and_each_sees_all_to_the_end() {
    let den = Den::new();
    den.start("--name cat -i", CAT);
    let others: Vec<_> =
        (0..3).map(|_| den.command(["attach", "--no-stdin", "cat"]).start()).collect();
    let writer = den.command(["attach", "cat"]).silent_input().start();
    // All of them are there before anything is written.
    wait_until("all to be attached", || {
        let keeper = den.keeper("cat");
        let all = fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().flatten();
        let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count() >= 6
    });
    let text = "x".repeat(200_000);
    den.command(["attach", "cat"]).input(text.as_str()).outcome().expect_code(5);
    for one in others {
        let one = one.outcome().expect_code(5);
        assert!(one.stdout == text || one.stderr.contains("are lost"), "{}", one.stdout.len());
    }
    writer.outcome().expect_code(5);
}

#[test]
fn who_is_attached_and_does_not_read_holds_nobody_up() {
    let den = Den::new();
    den.start("--name flood --log-opt max-size=64k --log-opt max-file=2", FLOOD);
    let attached = den.command(["attach", "flood"]).start();
    attached.wait_for_output("\0");
    attached.signal("STOP");
    let keeper = den.keeper("flood");
    let written = || {
        let told = fs::read_to_string(format!("/proc/{keeper}/io")).unwrap();
        let count = told.lines().find_map(|line| line.strip_prefix("wchar: "));
        count.unwrap().parse::<u64>().unwrap()
    };
    // Much more than what waits for one who is attached.
    let enough = written() + (32 << 20);
    wait_until("the guest to go on", || enough < written());
    let started = std::time::Instant::now();
    den.ok("stop -t 0 flood");
    assert!(started.elapsed() < super::AT_ONCE, "{:?}", started.elapsed());
    attached.signal("CONT");
    attached.outcome().expect_code(143).expect_error("came too fast and are lost");
}

/// Reads `/data/a.txt` by its second directory, which is the one granted, and says it.
const READS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "a.txt")
  (func (export "_start") (local $error i32)
    (local.set $error (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 5)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 48)))
    (if (local.get $error) (then (call $exit (local.get $error))))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1000))
    (drop (call $read (i32.load (i32.const 48)) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 4) (i32.load (i32.const 52)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (call $exit (i32.const 3))))"#;

#[test]
fn another_program_runs_beside_it_with_the_same_files() {
    let den = Den::new();
    den.bench.file("granted/a.txt", "from the grant\n");
    den.bench.file("reads.wat", READS);
    den.bench.file("cat.wat", CAT);
    den.bench.file("oops.wat", writing(&[(2, "oops\\0a")]));
    den.start("--name one -v ./granted:/data:ro", SPIN);
    let reads = den.aril(["exec", "--wasm", "reads.wat", "one"]);
    reads.expect_code(3).expect_output("from the grant\n");
    let cat = den.command(["exec", "-i", "--wasm", "cat.wat", "one"]).input("typed").outcome();
    cat.expect_code(5).expect_output("typed");
    den.aril(["exec", "--wasm", "oops.wat", "one"]).expect_code(0).expect_error("oops\n");
    assert_eq!(den.status("one"), "running");
    assert!(den.actions("one").contains(&"exec".to_owned()));

    den.aril(["exec", "--wasm", "absent.wat", "one"]).expect_code(125).expect_error("absent.wat");
    den.aril(["exec", "one"]).expect_code(125).expect_error("name the program");
    den.aril(["exec", "one", "sh"]).expect_code(125).expect_error("`--wasm`");
    assert_eq!(den.ok("logs one"), "", "what others write is not its own");
}

#[test]
fn a_program_beside_it_ends_with_it_and_with_who_asked() {
    let den = Den::new();
    den.start("--name one", SPIN);
    den.bench.file("spin.wat", SPIN);
    let keeper = den.keeper("one");
    let children = || crate::support::children_of(keeper);
    let workers = || children().into_iter().filter(|pid| super::is_running(*pid)).count();
    let beside = den.command(["exec", "--wasm", "spin.wat", "one"]).start();
    wait_until("the program beside it", || workers() == 2);
    beside.signal("KILL");
    drop(beside.outcome());
    wait_until("it to be gone", || workers() == 1);

    let beside = den.command(["exec", "--wasm", "spin.wat", "one"]).start();
    wait_until("the program beside it", || den.actions("one").len() == 5 && workers() == 2);
    den.ok("kill one");
    beside.outcome().expect_code(137);
    den.ok("wait one");
    wait_until("its processes to be gone", || den.processes().is_empty());
    assert!(super::groups_of(keeper).is_empty());
    den.start("--name ended", &ending(0));
    den.ok("wait ended");
    den.aril(["exec", "--wasm", "spin.wat", "ended"]).expect_code(125).expect_error("it has ended");
}
