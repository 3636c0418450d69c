//! Ends in time: by signals, at the deadline wherever the guest is, and with words that say why.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;
use crate::support::Running;
use crate::support::guest;
use crate::support::wait_until;
use crate::support::worker_so_far;

/// Says `ready`, and spins.
const SPIN: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "ready\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (loop $l (br $l))))"#;

/// Says `ready`, and sleeps for an hour.
const SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "ready\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 216) (i32.const 1))
    (i64.store (i32.const 224) (i64.const 3600000000000))
    (drop (call $poll (i32.const 200) (i32.const 304) (i32.const 1) (i32.const 400)))))"#;

/// Says `ready`, and reads standard input.
const READ: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "ready\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))))"#;

/// Waits in `poll_oneoff` until standard input has something.
const POLL_INPUT: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store8 (i32.const 8) (i32.const 1))
    (drop (call $poll (i32.const 0) (i32.const 104) (i32.const 1) (i32.const 200)))))"#;

/// Opens `pipe` in the first granted directory.
const OPEN_PIPE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "pipe")
  (func (export "_start")
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0)))))"#;

/// Copies 256 MiB, again and again: each copy is one instruction.
const COPY: &str = r#"(module (memory 8192)
  (func (export "_start")
    (loop $l
      (memory.copy (i32.const 0x10000000) (i32.const 0) (i32.const 0x10000000)) (br $l))))"#;

/// How late an end may be: a tick of the watchdog and the way to the record.
const LATE_MAX: Duration = Duration::from_millis(10);

/// How often a test of lateness tries before it fails. Other tests keep both processors of a small
/// machine busy, and the kernel may let a thread that wakes wait for its turn: that only ever adds
/// time, so that the promise is held where one try holds it. `tests/soak` measures percentiles.
const TRIES: usize = 5;

fn record_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a guest to its deadline of 100 ms, and fails where it ended late or otherwise.
fn ends_at_its_deadline(bench: &Bench, arrange: impl Fn(Vec<String>) -> Run) {
    let record = bench.path().join("record.json");
    let flags = ["--deadline", "100ms", "--json", record.to_str().unwrap()];
    let deadline = Duration::from_millis(100);
    let mut late = Vec::new();

    for _ in 0..TRIES {
        let outcome = arrange(flags.map(str::to_owned).to_vec()).outcome().expect_code(124);
        let record = record_of(&record);
        assert_eq!(record["reason"], "deadline", "{outcome:#?}");
        let elapsed = Duration::from_nanos(record["stats"]["elapsed_ns"].as_u64().unwrap());
        let Some(after) = elapsed.checked_sub(deadline) else {
            panic!("it ended after {elapsed:?}, before its deadline");
        };
        late.push(after);
        if after <= LATE_MAX {
            return;
        }
    }

    panic!("it ended late in every try: {late:?}");
}

/// `aril run` of a guest whose standard input stays open and silent, with `more` beside the flags.
fn with_guest<'a>(
    bench: &'a Bench,
    text: &str,
    more: &[&str],
) -> impl Fn(Vec<String>) -> Run + use<'a> {
    let guest = bench.file("guest.wat", text).to_str().unwrap().to_owned();
    let more: Vec<String> = more.iter().map(ToString::to_string).chain([guest]).collect();
    move |mut flags| {
        flags.extend(more.iter().cloned());
        bench.run(flags).silent_input()
    }
}

#[test]
fn a_spinning_guest_ends_at_its_deadline() {
    let bench = Bench::new();

    let arrange = with_guest(&bench, SPIN, &[]);

    ends_at_its_deadline(&bench, arrange);
}

#[test]
fn a_sleeping_guest_ends_at_its_deadline() {
    let bench = Bench::new();

    let arrange = with_guest(&bench, SLEEP, &[]);

    ends_at_its_deadline(&bench, arrange);
}

#[test]
fn a_guest_that_waits_for_input_ends_at_its_deadline() {
    let bench = Bench::new();

    for text in [READ, POLL_INPUT] {
        let arrange = with_guest(&bench, text, &["-i"]);
        ends_at_its_deadline(&bench, arrange);
    }
}

#[test]
fn a_guest_that_opens_a_pipe_without_a_writer_ends_at_its_deadline() {
    let bench = Bench::new();
    let folder = bench.path().join("dir");
    std::fs::create_dir(&folder).unwrap();
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());

    let grant = format!("{}:/data", folder.display());
    let arrange = with_guest(&bench, OPEN_PIPE, &["-v", &grant]);

    ends_at_its_deadline(&bench, arrange);
}

#[test]
fn a_guest_in_one_huge_copy_ends_at_its_deadline() {
    let bench = Bench::new();

    let arrange = with_guest(&bench, COPY, &[]);

    ends_at_its_deadline(&bench, arrange);
}

#[test]
fn a_start_function_that_loops_ends_at_the_deadline() {
    let bench = Bench::new();

    let arrange = with_guest(
        &bench,
        "(module (func $i (loop $l (br $l))) (start $i) (func (export \"_start\")))",
        &[],
    );

    ends_at_its_deadline(&bench, arrange);
}

/// A guest that runs, and said so.
fn started(bench: &Bench, text: &str, flags: &[&str]) -> Running {
    let guest = bench.file("guest.wat", text);
    let args = flags.iter().copied().map(Into::into).chain([guest.into_os_string()]);
    let running = bench.run(args.collect::<Vec<_>>()).silent_input().start();
    running.wait_for_output("ready\n");
    running
}

/// Sends the signal to a guest, and says how long it took to end.
fn end_by(running: Running, name: &str) -> (Outcome, Duration) {
    let at = Instant::now();
    running.signal(name);
    let outcome = running.outcome();
    (outcome, at.elapsed())
}

#[test]
fn an_interrupt_ends_a_guest_within_100_ms_whatever_it_does() {
    let bench = Bench::new();

    for (text, flags) in [(SPIN, &[][..]), (SLEEP, &[]), (READ, &["-i"])] {
        let mut took = Vec::new();
        while !took.iter().any(|took| *took <= Duration::from_millis(100)) {
            assert!(took.len() < TRIES, "an interrupted guest ended after {took:?}");
            let (outcome, after) = end_by(started(&bench, text, flags), "INT");
            outcome.expect_code(130).expect_error("ended by signal 2");
            took.push(after);
        }
    }
}

#[test]
fn a_guest_that_is_asked_to_stop_and_does_not_is_stopped_after_its_grace() {
    let bench = Bench::new();
    let running = started(&bench, SPIN, &["--stop-timeout", "200ms"]);

    let (outcome, after) = end_by(running, "TERM");

    outcome.expect_code(143).expect_error("the guest was stopped: its grace was over");
    assert!(Duration::from_millis(200) <= after, "it was stopped after {after:?}");
    // Less than the default grace of 10 s, by far: the flag was heard.
    assert!(after < Duration::from_secs(3), "it was stopped after {after:?}");
}

#[test]
fn a_program_that_reads_to_the_end_of_its_input_ends_by_itself_when_asked_to_stop() {
    let Some(cat) = guest("cat-stdin.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let args: [PathBuf; 4] = ["-i".into(), "--stop-timeout".into(), "50s".into(), cat];
    let running = bench.run(args).silent_input().start();
    wait_until("the watchdog", || is_watched(running.pid()));

    let (outcome, after) = end_by(running, "TERM");

    outcome.expect_code(0).expect_error("0 bytes");
    assert!(after < Duration::from_secs(10), "it ended after {after:?}");
}

/// Whether the process's guest is about to run, or runs: signals are heard from then on.
fn is_watched(pid: u32) -> bool {
    if worker_so_far(pid).is_some() {
        return true;
    }
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.any(|name| name.is_ok_and(|name| name.trim() == "watchdog"))
}

/// Whether a signal was sent to the process and nobody took it yet.
fn is_pending(pid: u32, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(pending.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
}

#[test]
fn a_second_request_to_stop_ends_the_guest_at_once() {
    let bench = Bench::new();
    let running = started(&bench, SPIN, &["--stop-timeout", "50s"]);
    running.signal("TERM");
    // Two signals that nobody took yet are one.
    wait_until("the first signal", || !is_pending(running.pid(), 15));

    let (outcome, after) = end_by(running, "TERM");

    outcome.expect_code(143);
    assert!(after < Duration::from_secs(5), "it ended after {after:?}");
}

#[test]
fn an_interrupt_during_the_grace_ends_the_guest_at_once() {
    let bench = Bench::new();
    let running = started(&bench, SPIN, &["--stop-timeout", "50s"]);
    running.signal("TERM");
    wait_until("the first signal", || !is_pending(running.pid(), 15));

    let (outcome, after) = end_by(running, "INT");

    outcome.expect_code(130);
    assert!(after < Duration::from_secs(5), "it ended after {after:?}");
}

#[test]
fn a_guest_that_was_asked_to_stop_still_has_its_deadline() {
    let bench = Bench::new();
    let running = started(&bench, SPIN, &["--stop-timeout", "50s", "--deadline", "300ms"]);

    let (outcome, _) = end_by(running, "TERM");

    outcome.expect_code(124).expect_error("deadline (300ms)");
}

#[test]
fn a_killed_process_ends_as_by_the_signal() {
    use std::os::unix::process::ExitStatusExt as _;

    let bench = Bench::new();
    let guest = bench.file("guest.wat", SPIN);
    let mut command = bench.run([guest]).command;
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // One byte of output: the guest runs.
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();

    crate::support::signal(child.id(), "KILL");
    let status = child.wait().unwrap();

    // What a shell calls 137.
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn a_trap_prints_a_backtrace_with_the_names_of_functions() {
    let bench = Bench::new();
    let guest = bench.file(
        "guest.wat",
        "(module (func $deepest unreachable) (func $middle (call $deepest))
           (func $outer (export \"_start\") (call $middle)))",
    );

    let outcome = bench.run([guest]).outcome();

    let outcome = outcome.expect_code(134).expect_error("the guest trapped: ");
    let lines: Vec<&str> = outcome.stderr.lines().skip(1).collect();
    let names = ["0: deepest @ 0x", "1: middle @ 0x", "2: outer @ 0x"];
    assert_eq!(lines.len(), names.len(), "{outcome:#?}");
    for (line, name) in lines.iter().zip(names) {
        assert!(line.contains(name), "{outcome:#?}");
    }
}

#[test]
fn names_in_a_backtrace_cannot_write_to_the_terminal() {
    let bench = Bench::new();
    let guest = bench.file(
        "guest.wat",
        r#"(module (func $f (@name "evil\1b[2J\0aname") (export "_start") unreachable))"#,
    );

    let outcome = bench.run([guest]).outcome().expect_code(134);

    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:#?}");
}

#[test]
fn a_real_program_that_takes_memory_until_it_is_refused_ends_with_137() {
    let Some(hog) = guest("hog.wasm") else { return };
    let bench = Bench::with_shared_cache();
    let record = bench.path().join("record.json");
    let flags = ["--memory", "64m", "--deadline", "20s", "--json", record.to_str().unwrap()];

    let args = flags.iter().map(PathBuf::from).chain([hog]);
    let outcome = bench.run(args.collect::<Vec<_>>()).outcome();

    outcome.expect_code(137).expect_error("ran out of memory").expect_error("`--memory`");
    let record = record_of(&record);
    assert_eq!((&record["reason"], &record["wall"]), (&"out_of_memory".into(), &"meter".into()));
    let peak = record["stats"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((60 << 20..=64 << 20).contains(&peak), "the peak was {peak}");
}

#[test]
fn a_real_program_that_never_ends_ends_with_124() {
    let Some(spin) = guest("spin.wasm") else { return };
    let bench = Bench::with_shared_cache();

    let args: [PathBuf; 3] = ["--deadline".into(), "200ms".into(), spin];
    let outcome = bench.run(args).outcome();

    outcome.expect_code(124).expect_error("the guest reached its deadline (200ms)");
}

#[test]
fn every_limit_that_ends_a_guest_names_itself_and_its_amount() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", SPIN);

    for (flag, amount, code, words) in [
        ("--deadline", "50ms", 124, "the guest reached its deadline (50ms)"),
        ("--cpu-time", "50ms", 124, "the guest used up its processor time (50ms)"),
        ("--fuel", "5000", 124, "the guest used up its fuel (5000)"),
        ("--output", "3", 153, "the guest wrote more than its output limit (3 bytes)"),
    ] {
        let args = [flag.into(), amount.into(), guest.clone()];
        bench.run(args).outcome().expect_code(code).expect_error(words);
    }
}

#[test]
fn a_share_of_a_processor_is_held_in_a_process_of_its_own() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", SPIN);
    let record = bench.path().join("record.json");
    let flags = ["--cpus", "0.2", "--deadline", "1s", "--json", record.to_str().unwrap()];

    let args = flags.iter().map(PathBuf::from).chain([guest]);
    bench.run(args.collect::<Vec<_>>()).outcome().expect_code(124);

    let used = record_of(&record)["stats"]["cpu_time_ns"].as_u64().unwrap();
    // A fifth of a second, and one bucket of a fifth of 100 ms that is full at the start. Less
    // where other tests take the processor.
    assert!(used < 300_000_000, "it used {used} ns of processor time in a second");
}
