//! Section 4.2: a guest against memory, processors, time and open files.

use std::fs;
use std::time::Duration;

use super::guest::BUFFER;
use super::guest::BUFFER_SIZE;
use super::guest::Guest;
use super::guest::READ;
use super::guest::RETURNED;
use super::host::Attack;
use super::host::Host;

/// How late an end by the deadline may be on a busy machine. The promise is 10 ms; the benches
/// measure it.
const LATE_MAX: Duration = Duration::from_millis(250);

/// Fails where the guest was not ended by its deadline, or was ended late.
#[track_caller]
fn expect_deadline(attack: Attack, host: &Host, deadline: Duration) {
    let attack = attack.expect_code(124).expect_error("reached its deadline");
    let record = fs::read_to_string(host.bench().path().join("record.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["reason"], "deadline", "{attack:#?}");
    let elapsed = Duration::from_nanos(record["stats"]["elapsed_ns"].as_u64().unwrap());
    assert!((deadline..deadline + LATE_MAX).contains(&elapsed), "{elapsed:?}");
}

/// Runs a guest in the text form with a deadline, and sees to it that it is held.
#[track_caller]
fn deadline_holds(wat: &str, flags: &[&str]) {
    let host = Host::new();
    let record = host.bench().path().join("record.json");
    let all = ["--deadline", "200ms", "--json", record.to_str().unwrap()];
    let all = all.iter().chain(flags).map(|flag| (*flag).to_owned());
    // Its input is a pipe that nobody writes to.
    let attack = host.attack_wat(all, wat, crate::support::Run::silent_input);
    expect_deadline(attack, &host, Duration::from_millis(200));
}

#[test]
fn memory_that_grows_is_refused_at_the_limit_and_the_host_has_no_more_than_that() {
    let host = Host::new();
    let guest = Guest::new().code(
        "(loop $more
          (local.set $a (memory.grow (i32.const 1)))
          (if (i32.ne (local.get $a) (i32.const -1)) (then
            (memory.fill (i32.shl (local.get $a) (i32.const 16)) (i32.const 1) (i32.const 65536))
            (br $more))))",
    );
    let guest = guest.say("pages", "(memory.size)");
    let attack = host.attack(["--memory", "64m"], &guest).expect_code(0);
    assert_eq!(attack.number("pages"), 63 * 16, "64 MiB less the one that the host holds");
    let guest = host.bench().file("guest.wat", guest.code(super::PAUSE).wat());
    let run = host.run(["--memory".into(), "64m".into(), "-i".into(), guest.into_os_string()]);
    let peak = super::look(run, super::peak_memory);
    assert!(peak < 96 << 20, "{peak} bytes");
}

#[test]
fn a_guest_that_declares_more_memory_than_it_may_have_is_denied_with_both_figures() {
    let host = Host::new();
    let attack = host.attack(["--memory", "8m"], &Guest::new().pages(1024)).expect_code(126);
    attack.expect_error("65 MiB").expect_error("its limit is 8 MiB");
}

#[test]
fn a_growth_that_fails_elsewhere_gives_no_memory_back() {
    // The engine reports the failure of a table that would be larger than any, and never asked.
    let guest = "(module (memory 1) (table $t i64 1 funcref)
      (func (export \"_start\") (local $i i32)
        (loop $more
          (drop (memory.grow (i32.const 4)))
          (drop (table.grow $t (ref.null func) (i64.const -1)))
          (br_if $more (i32.lt_u
            (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
        (if (i32.ne (memory.size) (i32.const 237)) (then unreachable))))";
    // 16 MiB less the one that the host holds, in steps of 4 pages from 1.
    let host = Host::new();
    host.attack_wat(["--memory", "16m"], guest, |run| run).expect_code(0);
}

#[test]
fn what_the_host_holds_for_instances_is_charged_to_the_guest() {
    let denied = |wat: &str| {
        let host = Host::new();
        let attack = host.attack_wat(["--memory", "2m"], wat, |run| run).expect_code(126);
        attack.expect_error("its limit is 2 MiB");
    };
    let kept = "$f ".repeat(100_000);
    denied(&format!("(module (func $f) (elem func {kept}) (func (export \"_start\")))"));
    let globals = "(global i32 (i32.const 0))".repeat(5_000);
    let component = |instances: usize| {
        let instances = "(core instance (instantiate $m))".repeat(instances);
        format!(
            "(component
              (core module $m {globals})
              {instances}
              (core module $main (func (export \"run\") (result i32) (i32.const 0)))
              (core instance $main (instantiate $main))
              (func $run (result (result)) (canon lift (core func $main \"run\")))
              (instance $cli (export \"run\" (func $run)))
              (export \"wasi:cli/run@0.2.0\" (instance $cli)))"
        )
    };
    denied(&component(20));
    let host = Host::new();
    host.attack_wat(["--memory", "2m"], component(2), |run| run).expect_code(0);
}

#[test]
fn open_files_that_the_host_does_not_allow_are_refused_and_as_many_as_asked_for_can_be_opened() {
    let host = Host::new();
    fs::write(host.folder("grant").join("a.txt"), "a").unwrap();
    let mut guest = Guest::new();
    let path = guest.text("a.txt");
    let guest = guest
        .code(format!(
            "(loop $more
              (local.set $b (call $path_open (i32.const 3) (i32.const 0) {path} (i32.const 0)
                (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)))
              (if (i32.eqz (local.get $b)) (then
                (local.set $a (i32.add (local.get $a) (i32.const 1))) (br $more))))"
        ))
        .say("files", "(local.get $a)");
    let grant = host.grant("grant", "/");
    for count in [5, 5000] {
        let limit = ["--open-files".into(), count.to_string().into()];
        let attack = host.attack(grant.iter().cloned().chain(limit), &guest).expect_code(0);
        assert_eq!(attack.number("files"), count);
    }
    let file = host.bench().file("few.wat", guest.wat());
    let aril = |words: &str| {
        let script = format!("ulimit -n 200; exec \"$0\" {words}");
        let mut run = host.run([""; 0]);
        let program = run.command.get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).arg(program).arg(&file);
        for (name, value) in run.command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        run.command = shell;
        run.outcome()
    };
    aril("run --open-files 1000 \"$1\"").expect_code(125).expect_error("ulimit -Hn");
    aril("run \"$1\"").expect_code(0);
    // 64 are this process's own. What is the default here is what `doctor` shows.
    aril("run --open-files 136 \"$1\"").expect_code(0);
    let doctor = aril("doctor").expect_code(0);
    assert!(doctor.stdout.contains("held by count (default: 136)"), "{doctor:?}");
}

#[test]
fn modules_of_absurd_size_are_refused_within_the_bounds() {
    let refused = |wat: &str, code: i32, text: &str| {
        let host = Host::new();
        let attack = host.attack_wat([] as [&str; 0], wat, |run| run);
        attack.expect_code(code).expect_error(text);
    };
    let start = "(func (export \"_start\"))";
    let memories = "(memory 1) ".repeat(101);
    refused(&format!("(module {memories} {start})"), 126, "");
    refused(&format!("(module (memory i64 0x1000000000000) {start})"), 126, "");
    refused(&format!("(module (memory i64 0x100000) {start})"), 126, "its limit is 1 GiB");
    // CVE-2026-44216.
    refused(&format!("(module (table 4294967295 funcref) {start})"), 126, "");
    refused(&format!("(module (table i64 0xffffffffffffffff funcref) {start})"), 126, "");
    refused(&format!("(module (table 2000000 externref) {start})"), 126, "");
    // A million functions, globals and types and one more.
    for (section, item) in [(1_u8, &b"\x60\0\0"[..]), (3, b"\0"), (6, b"\x7f\0\x41\0\x0b")] {
        let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
        if section == 1 {
            wasm.truncate(8);
        }
        let mut body = leb(1_000_001);
        body.extend(item.repeat(1_000_001));
        wasm.push(section);
        wasm.extend(leb(body.len()));
        wasm.extend(body);
        let host = Host::new();
        let attack = host.attack_wat([] as [&str; 0], wasm, |run| run);
        assert!(attack.outcome.elapsed < Duration::from_secs(10), "{:?}", attack.outcome.elapsed);
        attack.expect_code(126).expect_error("cannot prepare");
    }
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

#[test]
fn a_loop_without_end_is_ended_at_the_deadline_wherever_it_is() {
    let forever = "(loop $forever (br $forever))";
    deadline_holds(&format!("(module (func (export \"_start\") {forever}))"), &[]);
    deadline_holds(
        &format!("(module (func $s {forever}) (start $s) (func (export \"_start\")))"),
        &[],
    );
    // Where it shares processors, the guest's code has checks compiled in.
    deadline_holds(&format!("(module (func (export \"_start\") {forever}))"), &["--cpus", "0.5"]);
}

#[test]
fn a_loop_in_what_serves_a_component_is_ended_at_the_deadline() {
    let component = |realloc: &str, post_return: &str| {
        format!(
            "(component
              (core module $m
                (memory (export \"memory\") 1)
                (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) {realloc} (i32.const 8))
                (func (export \"f\") (param i32 i32) (result i32) (i32.const 0))
                (func (export \"post\") (param i32) {post_return}))
              (core instance $i (instantiate $m))
              (func (export \"f\") (param \"text\" string) (result string)
                (canon lift (core func $i \"f\") (memory (core memory $i \"memory\"))
                  (realloc (core func $i \"realloc\")) (post-return (core func $i \"post\")))))"
        )
    };
    let forever = "(loop $forever (br $forever))";
    for wat in [component(forever, ""), component("", forever)] {
        let host = Host::new();
        let record = host.bench().path().join("record.json");
        let guest = host.bench().file("guest.wat", wat);
        let flags = ["--deadline", "200ms", "--invoke", "f", "--json", record.to_str().unwrap()];
        let flags = flags.map(Into::into).into_iter();
        let watch = host.watch();
        let run = host.run(flags.chain([guest.into_os_string(), "\"text\"".into()]));
        let outcome = run.outcome();
        watch.check(&host, &outcome);
        expect_deadline(Attack { outcome }, &host, Duration::from_millis(200));
    }
}

#[test]
fn bulk_work_does_not_outlast_the_deadline() {
    deadline_holds(
        "(module (memory 8000)
          (func (export \"_start\") (loop $again
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 524000000))
            (memory.copy (i32.const 1) (i32.const 0) (i32.const 523000000))
            (br $again))))",
        &[],
    );
}

#[test]
fn a_guest_that_waits_in_the_host_is_ended_at_the_deadline() {
    // For input that never comes.
    let read = Guest::new()
        .code(format!("(i32.store (i32.const 32) (i32.const {BUFFER}))"))
        .code("(i32.store (i32.const 36) (i32.const 64))")
        .call("read", "fd_read", "(i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)");
    deadline_holds(&read.wat(), &["-i"]);
    // For a clock, a billion seconds; in preview 1 and in WASI 0.2.
    let subscription = format!(
        "(i32.store8 offset=8 (i32.const {BUFFER}) (i32.const 0))
        (i32.store offset=16 (i32.const {BUFFER}) (i32.const 1))
        (i64.store offset=24 (i32.const {BUFFER}) (i64.const 1000000000000000000))"
    );
    let wait = format!("(i32.const {BUFFER}) (i32.const 4096) (i32.const 1) (i32.const 8)");
    deadline_holds(&Guest::new().code(subscription).call("wait", "poll_oneoff", wait).wat(), &[]);
    deadline_holds(
        &sleeper("(call $block (call $subscribe (i64.const 1000000000000000000)))"),
        &[],
    );
}

/// A component of WASI 0.2 that can wait for the clock.
fn sleeper(code: &str) -> String {
    format!(
        "(component
          (import \"wasi:io/poll@0.2.0\" (instance $poll
            (export \"pollable\" (type $p (sub resource)))
            (export \"[method]pollable.block\" (func (param \"self\" (borrow $p))))))
          (alias export $poll \"pollable\" (type $pollable))
          (import \"wasi:clocks/monotonic-clock@0.2.0\" (instance $clock
            (alias outer 1 $pollable (type $p1))
            (export \"pollable\" (type $p (eq $p1)))
            (export \"subscribe-duration\" (func (param \"when\" u64) (result (own $p))))))
          (core func $subscribe (canon lower (func $clock \"subscribe-duration\")))
          (core func $block (canon lower (func $poll \"[method]pollable.block\")))
          (core module $m
            (import \"\" \"subscribe\" (func $subscribe (param i64) (result i32)))
            (import \"\" \"block\" (func $block (param i32)))
            (func (export \"run\") (result i32) {code} (i32.const 0)))
          (core instance $i (instantiate $m (with \"\" (instance
            (export \"subscribe\" (func $subscribe)) (export \"block\" (func $block))))))
          (func $run (result (result)) (canon lift (core func $i \"run\")))
          (instance $command (export \"run\" (func $run)))
          (export \"wasi:cli/run@0.2.0\" (instance $command)))"
    )
}

#[test]
fn endless_recursion_is_a_trap_that_is_told() {
    let host = Host::new();
    let wat = "(module (func $f (export \"_start\") (call $f)))";
    for stack in ["64k", "1m", "8m"] {
        let attack = host.attack_wat(["--stack", stack], wat, |run| run).expect_code(134);
        attack.expect_error("stack");
    }
    // Deep in its stack, the guest still reaches the host.
    let wat = "(module
      (import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))
      (memory (export \"memory\") 1)
      (func $f (export \"_start\") (drop (call $random (i32.const 0) (i32.const 64))) (call $f)))";
    host.attack_wat(["--stack", "64k"], wat, |run| run).expect_code(134).expect_error("stack");
}

#[test]
fn a_poll_with_absurdly_many_subscriptions_is_refused_and_costs_little() {
    let host = Host::new();
    let poll =
        |count: &str| format!("(i32.const 0) (i32.const 0) (i32.const {count}) (i32.const 8)");
    let guest = Guest::new().call("none", "poll_oneoff", poll("0"));
    host.attack(["--memory", "64m"], &guest).expect(&[("none", "inval")]);
    // 48 MiB of subscriptions, each for the clock, that are due at once.
    let many = Guest::new().pages(900).call("many", "poll_oneoff", poll("1048576"));
    let attack = host.attack(["--memory", "64m"], &many);
    assert!([Some(0), Some(134)].contains(&attack.outcome.code), "{attack:#?}");
    assert!(attack.outcome.elapsed < Duration::from_secs(5), "{:?}", attack.outcome.elapsed);
    let most = Guest::new().call("most", "poll_oneoff", poll("-1"));
    let attack = host.attack(["--memory", "64m"], &most);
    assert!([Some(0), Some(134)].contains(&attack.outcome.code), "{attack:#?}");
    assert!(attack.said().iter().all(|(_, errno)| *errno != "ok"), "{attack:#?}");
}

#[test]
fn random_bytes_without_end_are_refused() {
    let host = Host::new();
    let guest =
        Guest::new().call("some", "random_get", format!("(i32.const {BUFFER}) (i32.const 65536)"));
    host.attack([] as [&str; 0], &guest).expect(&[("some", "ok")]);
    let guest = Guest::new().call("all", "random_get", "(i32.const 0) (i32.const -1)");
    host.attack([] as [&str; 0], &guest).expect_code(134);
}

#[test]
fn a_million_buffers_of_one_write_are_a_short_write_and_nothing_is_read_beside_memory() {
    let host = Host::new();
    // A million buffers of 64 KiB, all at the same place: 64 GiB in sum.
    let guest = Guest::new()
        .pages(200)
        .times(
            1 << 20,
            format!(
                "(i32.store offset=0 (i32.add (i32.const {BUFFER}) (i32.shl (local.get $i) (i32.const 3))) (i32.const 4096))
                (i32.store offset=4 (i32.add (i32.const {BUFFER}) (i32.shl (local.get $i) (i32.const 3))) (i32.const 65536))"
            ),
        )
        .call("many", "fd_write", format!("(i32.const 2) (i32.const {BUFFER}) (i32.const {}) (i32.const 8)", 1 << 20))
        .say("written", RETURNED)
        .call("most", "fd_write", format!("(i32.const 2) (i32.const {BUFFER}) (i32.const -1) (i32.const 8)"));
    let attack = host.attack([] as [&str; 0], &guest).expect_code(0);
    assert!(attack.number("written") <= 65536, "{}", attack.number("written"));
    assert_eq!((attack.number("many"), attack.number("most")), (0, 0));
    // Buffers, and lists of buffers, that lie outside of memory.
    for list in ["(i32.const 32) (i32.const 1)", "(i32.const -8) (i32.const 1)"] {
        let guest = Guest::new()
            .code("(i32.store (i32.const 32) (i32.const -16)) (i32.store (i32.const 36) (i32.const 64))")
            .call("beyond", "fd_write", format!("(i32.const 2) {list} (i32.const 8)"));
        let attack = host.attack([] as [&str; 0], &guest).expect_code(134);
        attack.expect_error("out of bounds");
    }
}

#[test]
fn a_large_buffer_before_a_small_one_is_not_copied() {
    let host = Host::new();
    // The memory was never written to, so that only a copy of it would take room.
    let guest = Guest::new()
        .pages(4096)
        .code(format!(
            "(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 200000000))
            (i32.store (i32.const 40) (i32.const {BUFFER})) (i32.store (i32.const 44) (i32.const 10))
            (drop (call $fd_write (i32.const 2) (i32.const 32) (i32.const 2) (i32.const 8)))"
        ))
        .code(super::PAUSE);
    let guest = host.bench().file("guest.wat", guest.wat());
    let mut run = host.run(["-i".into(), guest.into_os_string()]);
    run.command.stderr(std::process::Stdio::null());
    let peak = super::look(run, super::peak_memory);
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn a_read_of_everything_takes_a_small_buffer_of_the_host() {
    let watched = Host::new();
    fs::File::create(watched.path("grant/sparse")).unwrap().set_len(1 << 34).unwrap();
    let guest = Guest::new()
        .pages(4096)
        .open(3, "sparse", 0, READ)
        .code(format!("(i32.store (i32.const 32) (i32.const {BUFFER})) (i32.store (i32.const 36) (i32.const 200000000))"))
        .call("pread", "fd_pread", format!("{RETURNED} (i32.const 32) (i32.const 1) (i64.const 0) (i32.const 40)"))
        .say("read", "(i32.load (i32.const 40))")
        .code(super::PAUSE);
    let guest = watched.bench().file("guest.wat", guest.wat());
    let flags =
        watched.grant("grant", "/").into_iter().chain(["-i".into(), guest.into_os_string()]);
    let peak = super::look(watched.run(flags), super::peak_memory);
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn a_guest_that_opens_files_for_ever_is_told_no_at_its_limit() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let mut guest = Guest::new();
    let path = guest.text("file");
    let guest = guest
        .times(
            5000,
            format!(
                "(local.set $b (call $path_open (i32.const 3) (i32.const 1) {path} (i32.const 0)
                   (i64.const {READ}) (i64.const 0) (i32.const 0) (i32.const 8)))
                (if (i32.eqz (local.get $b)) (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))"
            ),
        )
        .say("opened", "(local.get $n)")
        .say("last", "(local.get $b)");
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    assert_eq!((attack.number("opened"), attack.said().last().unwrap().1), (1024, "mfile"));
    let guest = guest.code(super::PAUSE);
    let wasm = host.bench().file("guest.wat", guest.wat());
    let flags = ["--open-files".into(), "100".into(), "-i".into()];
    let flags = flags.into_iter().chain(host.grant("grant", "/")).chain([wasm.into_os_string()]);
    let open = super::look(host.run(flags), |pid| {
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    });
    assert!((100..130).contains(&open), "{open} descriptors of the host");
    let attack = host.attack(host.grant("grant", "/"), &guest.fail()).expect_code(1);
    attack.expect_error("--open-files");
}

#[test]
fn resources_of_a_component_end_at_their_limit() {
    let host = Host::new();
    let wat = sleeper("(loop $more (drop (call $subscribe (i64.const 1000000000))) (br $more))");
    let attack = host.attack_wat(["--deadline", "20s"], wat, |run| run).expect_code(134);
    assert!(attack.outcome.elapsed < Duration::from_secs(10), "{:?}", attack.outcome.elapsed);
}

#[test]
fn times_that_no_clock_can_show_are_refused() {
    let host = Host::new().free("grant");
    host.file("grant/file", "inside");
    let mut guest =
        Guest::new().open(3, "file", 0, READ).code(format!("(local.set $a {RETURNED})"));
    for time in ["-1", "0x7fffffffffffffff", "0x8000000000000000", "999999999999999999"] {
        let text = guest.text("file");
        guest = guest
            .call("fd", "fd_filestat_set_times", format!("(local.get $a) (i64.const {time}) (i64.const {time}) (i32.const 5)"))
            .call("path", "path_filestat_set_times", format!("(i32.const 3) (i32.const 1) {text} (i64.const {time}) (i64.const {time}) (i32.const 5)"));
    }
    let guest = guest.call(
        "both",
        "fd_filestat_set_times",
        "(local.get $a) (i64.const 0) (i64.const 0) (i32.const 15)",
    );
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    for (what, errno) in &attack.said()[1..] {
        assert!(["ok", "overflow", "inval", "badf", "perm"].contains(errno), "{what}: {errno}");
    }
    assert_eq!(attack.said().last(), Some(&("both", "inval")), "{attack:#?}");
}

#[test]
fn every_end_has_the_code_that_is_documented() {
    let exit = |code: u32| Guest::new().code(format!("(call $proc_exit (i32.const {code}))")).wat();
    let run = |wat: String, flags: &[&str]| {
        let host = Host::new();
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        host.attack_wat(flags, wat, |run| run).outcome.code
    };
    for (code, seen) in [(0, 0), (1, 1), (125, 125), (126, 126), (127, 127), (255, 255), (256, 0)] {
        assert_eq!(run(exit(code), &[]), Some(seen), "{code}");
    }
    let start = |code: &str| format!("(module (memory 1) (func (export \"_start\") {code}))");
    let forever = "(loop $forever (br $forever))";
    assert_eq!(run(start("unreachable"), &[]), Some(134));
    assert_eq!(run(start(forever), &["--deadline", "50ms"]), Some(124));
    assert_eq!(run(start(forever), &["--cpu-time", "50ms"]), Some(124));
    assert_eq!(run(start(forever), &["--fuel", "10000"]), Some(124));
    assert_eq!(
        run(start("(drop (memory.grow (i32.const 9999))) unreachable"), &["-m", "8m"]),
        Some(137)
    );
    assert_eq!(
        run("(module (memory 9999) (func (export \"_start\")))".into(), &["-m", "8m"]),
        Some(126)
    );
    assert_eq!(run("(module)".into(), &[]), Some(126));
    assert_eq!(run("not wasm".into(), &[]), Some(126));
    let flood = Guest::new()
        .code("(loop $more (call $print (i32.const 4096) (i32.const 4096)) (br $more))");
    assert_eq!(run(flood.wat(), &["--output", "1m"]), Some(153));
    assert_eq!(Host::new().run(["no-such-file.wasm"]).outcome().code, Some(127));
    assert_eq!(Host::new().run(["--no-such-flag"]).outcome().code, Some(125));
}

#[test]
fn a_guest_cannot_start_threads() {
    let host = Host::new();
    let wat = "(module
      (import \"wasi\" \"thread-spawn\" (func $spawn (param i32) (result i32)))
      (func (export \"_start\") (loop $again (drop (call $spawn (i32.const 0))) (br $again))))";
    let attack = host.attack_wat([] as [&str; 0], wat, |run| run).expect_code(126);
    attack.expect_error("thread-spawn");
    host.attack_wat(["--trap-unknown-imports"], wat, |run| run).expect_code(134);
    let shared = "(module (memory 1 2 shared) (func (export \"_start\")))";
    host.attack_wat([] as [&str; 0], shared, |run| run).expect_code(126);
}

#[test]
fn all_that_a_guest_can_ask_for_tells_nothing_of_the_host() {
    let host = Host::new();
    let size = BUFFER_SIZE / 2;
    let guest = Guest::new()
        .call("args", "args_sizes_get", "(i32.const 8) (i32.const 12)")
        .say("count", RETURNED)
        .call("args", "args_get", format!("(i32.const {BUFFER}) (i32.const {})", BUFFER + size))
        .print(BUFFER + size, "(i32.load (i32.const 12))")
        .call("environ", "environ_sizes_get", "(i32.const 8) (i32.const 12)")
        .say("variables", RETURNED)
        .call(
            "environ",
            "environ_get",
            format!("(i32.const {BUFFER}) (i32.const {})", BUFFER + size),
        )
        .print(BUFFER + size, "(i32.load (i32.const 12))")
        .call("realtime", "clock_time_get", "(i32.const 0) (i64.const 0) (i32.const 8)")
        .call("process time", "clock_time_get", "(i32.const 2) (i64.const 0) (i32.const 8)")
        .call("thread time", "clock_time_get", "(i32.const 3) (i64.const 0) (i32.const 8)");
    let attack = host.attack_wat(["-e", "DECLARED=yes"], guest.wat(), |run| {
        run.env("HOME", "/home/somebody").env("HOST_SECRET", "told")
    });
    let said = &attack.outcome.stdout;
    for untold in
        ["somebody", "told", "HOST_SECRET", "PATH=", host.bench().path().to_str().unwrap()]
    {
        assert!(!said.contains(untold), "`{untold}`: {attack:#?}");
    }
    assert!(said.contains("guest.wat\0") && said.contains("DECLARED=yes\0"), "{attack:#?}");
    assert_eq!((attack.number("count"), attack.number("variables")), (1, 1));
    let said = attack.said();
    assert_eq!(
        said[said.len() - 3..],
        [("realtime", "ok"), ("process time", "badf"), ("thread time", "badf")],
        "no clock tells what others of this process did: {attack:#?}"
    );
}

#[test]
fn a_garbage_collected_heap_counts_as_memory() {
    let host = Host::new();
    let wat = "(module
      (type $node (struct (field (ref null $node)) (field i64) (field i64)))
      (func (export \"_start\") (local $list (ref null $node))
        (loop $more
          (local.set $list (struct.new $node (local.get $list) (i64.const 1) (i64.const 2)))
          (br $more))))";
    let attack = host.attack_wat(["-m", "16m", "--deadline", "20s"], wat, |run| run);
    attack.expect_code(137).expect_error("ran out of memory");
}
