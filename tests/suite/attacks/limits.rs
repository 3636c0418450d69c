//! Section 4.2: a guest against memory, processors, time and open files.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use aril::Exit;
use aril::Input;
use aril::Invocation;
use aril::Limits;

use super::component;
use super::guest::BUFFER;
use super::guest::BUFFER_SIZE;
use super::guest::DIRECTORY;
use super::guest::Guest;
use super::guest::READ;
use super::guest::RETURNED;
use super::host::Attack;
use super::host::Host;
use super::shared::runtime;
use super::shared::spec;

/// `nametoolong` and `nomem` of preview 1.
const NAMETOOLONG: u32 = 37;
const NOMEM: u32 = 48;

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

/// The deadline of those tests.
const DEADLINE: Duration = Duration::from_millis(200);

/// Runs a guest in the text form with a deadline, and sees to it that it is held.
#[track_caller]
fn deadline_holds_alone(wat: &str, flags: &[&str], arguments: &[&str]) {
    let host = Host::new();
    let record = host.bench().path().join("record.json");
    let guest = host.bench().file("guest.wat", wat);
    let all = ["--deadline", "200ms", "--json", record.to_str().unwrap()];
    let all = all.iter().chain(flags).map(OsString::from).chain([guest.into_os_string()]);
    let watch = host.watch();
    // Its input is a pipe that nobody writes to.
    let run = host.run(all.chain(arguments.iter().map(OsString::from))).silent_input();
    let outcome = run.outcome();
    watch.check(&host, &outcome);
    expect_deadline(Attack { outcome }, &host, DEADLINE);
}

/// The same in a process that it shares with others.
#[track_caller]
fn deadline_holds_shared(wat: &str, invocation: Option<Invocation>) {
    let bench = crate::support::Bench::new();
    let runtime = runtime(&bench, 2);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let record = threads.block_on(async {
        let artifact = runtime.prepare(bench.file("guest.wat", wat)).await.unwrap();
        let limits = Limits { deadline: DEADLINE.into(), ..Limits::default() };
        // Its input is a stream that nobody writes to.
        let mut spec = spec().limits(limits).stdin(Input::Stream);
        if let Some(invocation) = invocation {
            spec = spec.invoke(invocation);
        }
        let sandbox = runtime.launch(&artifact, spec).await.unwrap();
        sandbox.record().await.unwrap()
    });
    assert_eq!(record.exit, Exit::Deadline);
    let elapsed = record.stats.elapsed;
    assert!((DEADLINE..DEADLINE + LATE_MAX).contains(&elapsed), "{elapsed:?}");
    assert_eq!(runtime.alive(), 0);
}

/// Both.
#[track_caller]
fn deadline_holds(wat: &str, flags: &[&str]) {
    deadline_holds_alone(wat, flags, &[]);
    deadline_holds_shared(wat, None);
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
fn an_endless_path_is_refused_before_anything_is_made_of_it() {
    // Half of the default limit: a copy or two of it would be more than the process may have.
    const SIZE: u32 = 500_000_000;
    let path = format!("(i32.const {BUFFER}) (i32.const {SIZE})");
    let long = format!("(i32.const 3) {path}");
    let host = Host::new();
    let guest = Guest::new()
        .pages(8000)
        .code(format!("(memory.fill (i32.const {BUFFER}) (i32.const 97) (i32.const {SIZE}))"))
        .call(
            "open",
            "path_open",
            format!(
                "(i32.const 3) (i32.const 0) {path} (i32.const 0) (i64.const 0) (i64.const 0) \
                 (i32.const 0) (i32.const 8)"
            ),
        )
        .call("mkdir", "path_create_directory", &long)
        .call("rmdir", "path_remove_directory", &long)
        .call("unlink", "path_unlink_file", &long)
        .call("rename", "path_rename", format!("{long} {long}"))
        .call("symlink", "path_symlink", format!("{path} {long}"))
        .call("link", "path_link", format!("(i32.const 3) (i32.const 0) {path} {long}"))
        .call(
            "readlink",
            "path_readlink",
            format!("{long} (i32.const 0) (i32.const 0) (i32.const 8)"),
        )
        .call(
            "stat",
            "path_filestat_get",
            format!("(i32.const 3) (i32.const 0) {path} (i32.const 0)"),
        );
    let attack = host.attack(host.grant("grant", "/"), &guest).expect_code(0);
    for call in
        ["open", "mkdir", "rmdir", "unlink", "rename", "symlink", "link", "readlink", "stat"]
    {
        assert_eq!(attack.number(call), NAMETOOLONG, "{call}");
    }
}

#[test]
fn a_directory_with_more_names_than_a_guest_has_memory_for_is_not_listed() {
    let host = Host::new();
    let folder = host.folder("grant/many");
    for number in 0..5000 {
        fs::write(folder.join(number.to_string()), "").unwrap();
    }
    let list = |guest: Guest, fd: &str| {
        let buffer = format!("(i32.const {BUFFER}) (i32.const 4096) (i64.const 0) (i32.const 8)");
        guest.call("list", "fd_readdir", format!("{fd} {buffer}"))
    };
    let open = |guest: Guest| guest.open(3, "many", DIRECTORY, 0);
    let limits = |memory: &str| [OsString::from("--memory"), memory.into()];
    let grant = host.grant("grant", "/");
    for (memory, errno) in [("3m", NOMEM), ("16m", 0)] {
        let guest = list(open(Guest::new()), RETURNED);
        let flags = limits(memory).into_iter().chain(grant.iter().cloned());
        assert_eq!(host.attack(flags, &guest).expect_code(0).number("list"), errno, "{memory}");
    }
    // One that was moved is found by what is open.
    let mut guest = open(Guest::new()).code("(local.set $n (i32.load (i32.const 8)))");
    let (from, to) = (guest.text("many"), guest.text("moved"));
    let operands = format!("(i32.const 3) {from} (i32.const 3) {to}");
    let guest = list(guest.call("move", "path_rename", operands), "(local.get $n)");
    let guest = host.bench().file("move.wat", guest.wat());
    let args = limits("3m").into_iter().chain(grant).chain([guest.into_os_string()]);
    let attack = Attack { outcome: host.run(args).outcome() }.expect_code(0);
    assert_eq!((attack.number("move"), attack.number("list")), (0, NOMEM));
}

#[test]
fn a_file_that_grows_too_large_for_the_host_is_an_error_of_the_guests_write() {
    let Some(python) = crate::support::guest("cpython.wasm") else { return };
    let host = Host::new();
    let script = "import os\nf = os.open('/d/large', os.O_WRONLY | os.O_CREAT)\n\
                  os.lseek(f, 1 << 30, 0)\ntry: os.write(f, b'x')\n\
                  except OSError as error: print(error.errno)";
    let [flag, grant] = host.grant("grant", "/d");
    host.folder("grant");
    let mut run = host.run([""; 0]);
    let program = run.command.get_program().to_owned();
    let shared = crate::support::Bench::with_shared_cache();
    let mut shell = std::process::Command::new("sh");
    // Half a megabyte: too little for machine code, which is made before.
    let compile = [std::ffi::OsStr::new("compile"), python.as_os_str()];
    shared.aril(compile).outcome().expect_code(0);
    shell.args(["-c", "ulimit -f 1024; exec \"$0\" run \"$3\" \"$4\" \"$1\" -c \"$2\""]);
    shell.arg(program).arg(python).arg(script).args([flag, grant]);
    for (name, value) in run.command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("ARIL_CACHE_DIR", shared.cache());
    run.command = shell;
    // 22 is EFBIG of preview 1.
    run.outcome().expect_code(0).expect_output("22\n");

    // Machine code that is too large is told by the compiler, and not by its death.
    let cold = crate::support::Bench::new();
    let mut shell = std::process::Command::new("sh");
    let guest = cold.file(
        "large.wat",
        format!("(module {})", "(func (result i32) (i32.const 7))".repeat(20_000)),
    );
    shell
        .args(["-c", "ulimit -f 64; exec \"$0\" compile \"$1\""])
        .arg(crate::support::aril_path())
        .arg(guest);
    let output = shell.env_clear().env("ARIL_CACHE_DIR", cold.cache()).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the machine code cannot be written"), "{told}");
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
fn modules_of_absurd_size_are_refused_and_the_largest_that_may_be_run() {
    let run = |wat: &str| {
        let host = Host::new();
        host.attack_wat([] as [&str; 0], wat, |run| run)
    };
    let start = "(func (export \"_start\"))";
    let refused = |what: &str, text: &str| {
        let attack = run(&format!("(module {what} {start})")).expect_code(126);
        attack.expect_error(text);
    };
    let runs = |what: &str| drop(run(&format!("(module {what} {start})")).expect_code(0));
    // The engine's own bounds, found before anything is compiled.
    refused(&"(memory 1)".repeat(101), "memories count exceeds limit of 100");
    refused(&"(table 1 funcref)".repeat(101), "tables count exceeds limit of 100");
    refused("(memory i64 0x1000000000001)", "memory size must be at most 0x1000000000000");
    // Ours, found at the start. The last of these is one page more than fits.
    for memory in ["i64 0x1000000000000", "i64 0x100000", "i64 0x3ff1", "0x3ff1"] {
        refused(&format!("(memory {memory})"), "its limit is 1 GiB");
    }
    refused(&"(memory 164)".repeat(100), "its limit is 1 GiB");
    // CVE-2026-44216.
    for (table, elements) in [
        ("4294967295 funcref", "4294967295"),
        ("i64 0xffffffffffffffff funcref", "18446744073709551615"),
        ("i64 0x100000000 funcref", "4294967296"),
        ("1000001 externref", "1000001"),
    ] {
        let text = format!("table minimum size of {elements} elements exceeds table limits");
        refused(&format!("(table {table})"), &text);
    }
    runs(&"(memory 163)".repeat(100));
    runs(&"(table 10000 funcref)".repeat(100));
    for most in ["(memory i64 0x3ff0)", "(memory 0x3ff0)"] {
        runs(most);
    }
    for most in ["(table 1000000 externref)", "(table i64 1000000 funcref)"] {
        runs(most);
    }
}

#[test]
fn a_million_types_are_the_most_and_one_more_is_refused_at_once() {
    most_is(TYPES, "types", 1_000_000);
}

#[test]
fn a_million_globals_are_the_most_and_one_more_is_refused_at_once() {
    most_is(GLOBALS, "globals", 1_000_000);
}

#[test]
fn more_than_a_million_functions_are_refused_at_once_and_many_run() {
    // A million of them take the compiler more memory than it may have, which is a bound as well.
    most_is(FUNCTIONS, "functions", 50_000);
}

/// Fails where so many parts of a kind do not run, or a million and one are not refused at once.
#[track_caller]
fn most_is(section: u8, name: &str, most: usize) {
    let host = Host::new();
    let run = |count: usize| host.attack_wat([] as [&str; 0], module_of(section, count), |run| run);
    let attack = run(1_000_001).expect_code(126);
    assert!(attack.outcome.elapsed < Duration::from_secs(5), "{:?}", attack.outcome.elapsed);
    attack.expect_error(&format!("{name} count exceeds limit of 1000000"));
    run(most).expect_code(0);
}

/// Sections of a module.
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// A module that does nothing, with so many parts in one of its sections.
fn module_of(section: u8, count: usize) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    let mut add = |id: u8, count: usize, item: &[u8]| {
        let mut body = leb(count);
        body.extend(item.repeat(count));
        wasm.push(id);
        wasm.extend(leb(body.len()));
        wasm.extend(body);
    };
    let of = |id| if id == section { count } else { 1 };
    add(TYPES, of(TYPES), b"\x60\0\0");
    add(FUNCTIONS, of(FUNCTIONS), b"\0");
    add(GLOBALS, of(GLOBALS), b"\x7f\0\x41\0\x0b");
    add(EXPORTS, 1, b"\x06_start\0\0");
    add(CODE, of(FUNCTIONS), b"\x02\0\x0b");
    wasm
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

const FOREVER: &str = "(loop $forever (br $forever))";

#[test]
fn a_loop_without_end_is_ended_at_the_deadline_wherever_it_is() {
    let start = format!("(module (func (export \"_start\") {FOREVER}))");
    deadline_holds(&start, &[]);
    // Where it shares processors, the guest's code has checks compiled in.
    deadline_holds_alone(&start, &["--cpus", "0.5"], &[]);
    deadline_holds(
        &format!("(module (func $s {FOREVER}) (start $s) (func (export \"_start\")))"),
        &[],
    );
}

#[test]
fn a_loop_without_end_in_a_component_is_ended_at_the_deadline() {
    let component = |start: &str, run: &str, version: &str, kind: &str| {
        format!(
            "(component
              (core module $m (func $s {start}) (start $s)
                (func (export \"run\") (result i32) {run} (i32.const 0)))
              (core instance $i (instantiate $m))
              (func $run {kind} (result (result)) (canon lift (core func $i \"run\")))
              (instance $command (export \"run\" (func $run)))
              (export \"wasi:cli/run@{version}\" (instance $command)))"
        )
    };
    for (version, kind) in [("0.2.0", ""), ("0.3.0", "async")] {
        deadline_holds(&component("", FOREVER, version, kind), &[]);
        deadline_holds(&component(FOREVER, "", version, kind), &[]);
    }
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
    for wat in [component(FOREVER, ""), component("", FOREVER)] {
        deadline_holds_alone(&wat, &["--invoke", "f"], &["\"text\""]);
        let (function, arguments) = ("f".to_owned(), vec!["\"text\"".to_owned()]);
        deadline_holds_shared(&wat, Some(Invocation { function, arguments }));
    }
}

#[test]
fn bulk_work_does_not_outlast_the_deadline() {
    // In a shared process one such instruction is not interrupted, as SECURITY.md says.
    deadline_holds_alone(
        "(module (memory 8000)
          (func (export \"_start\") (loop $again
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 524000000))
            (memory.copy (i32.const 1) (i32.const 0) (i32.const 523000000))
            (br $again))))",
        &[],
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
    // For a clock, a billion seconds.
    let subscription = format!(
        "(i32.store8 offset=8 (i32.const {BUFFER}) (i32.const 0))
        (i32.store offset=16 (i32.const {BUFFER}) (i32.const 1))
        (i64.store offset=24 (i32.const {BUFFER}) (i64.const 1000000000000000000))"
    );
    let wait = format!("(i32.const {BUFFER}) (i32.const 4096) (i32.const 1) (i32.const 8)");
    deadline_holds(&Guest::new().code(subscription).call("wait", "poll_oneoff", wait).wat(), &[]);
}

#[test]
fn a_component_that_waits_in_the_host_is_ended_at_the_deadline() {
    for code in [
        "(call $block (call $subscribe (i64.const 1000000000000000000)))",
        "(call $block (call $subscribe (i64.const -1)))",
        "(call $block (call $subscribe-read (call $stdin)))",
        "(call $blocking-read (call $stdin) (i64.const 1) (i32.const 64))",
    ] {
        deadline_holds(&component::of_wasi_2(code), &["-i"]);
    }
    let wait_of_wasi_3 = "(component
      (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance $clock
        (export \"wait-for\" (func async (param \"how-long\" u64)))))
      (core func $wait (canon lower (func $clock \"wait-for\")))
      (core module $m (import \"\" \"wait\" (func $wait (param i64)))
        (func (export \"run\") (result i32) (call $wait (i64.const -1)) (i32.const 0)))
      (core instance $i (instantiate $m (with \"\" (instance (export \"wait\" (func $wait))))))
      (func $run async (result (result)) (canon lift (core func $i \"run\")))
      (instance $command (export \"run\" (func $run)))
      (export \"wasi:cli/run@0.3.0\" (instance $command)))";
    deadline_holds(wait_of_wasi_3, &[]);
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
    let guest = Guest::new()
        .call("none", "poll_oneoff", poll("0"))
        // What the host would hold is more than the guest has left of its memory.
        .call("a million", "poll_oneoff", poll("1048576"))
        .call("most", "poll_oneoff", poll("-1"));
    let attack = host.attack(["--memory", "64m"], &guest);
    attack.expect(&[("none", "inval"), ("a million", "nomem"), ("most", "nomem")]);
    // Where it has enough: 48 MiB of subscriptions, each for the clock and due at once, of which
    // the host keeps as many as it keeps resources.
    let peak = |count: &str| {
        let guest = Guest::new()
            .pages(900)
            .code(format!("(drop (call $poll_oneoff {}))", poll(count)))
            .code("unreachable");
        trapped(&host, &[], &guest.wat())
    };
    let (few, outcome) = peak("1");
    outcome.expect_error("unreachable");
    let (many, outcome) = peak("1048576");
    outcome.expect_error("resource table has no free keys");
    assert!(many < few + (32 << 20), "{few} bytes for one, {many} for a million");
    let (most, outcome) = peak("-1");
    outcome.expect_error("unreachable");
    assert!(most < few + (32 << 20), "{few} bytes for one, {most} for four thousand million");
}

/// The most memory that the process of a guest had that trapped, and what was said of it.
#[track_caller]
fn trapped(host: &Host, flags: &[&str], wat: &str) -> (u64, crate::support::Outcome) {
    let guest = host.bench().file("guest.wat", wat);
    let flags = ["--json", "-"].iter().chain(flags).map(Into::into);
    // Compiled before: what is looked at is the run.
    let compile = host.bench().aril(["compile".as_ref(), guest.as_os_str()]);
    compile.outcome().expect_code(0);
    let watch = host.watch();
    let run = host.run(flags.chain([guest.into_os_string()]));
    let (peak, outcome) = super::look_at_end(run, super::peak_memory);
    watch.check(host, &outcome);
    (peak, outcome.expect_code(134))
}

#[test]
fn random_bytes_beyond_a_mebibyte_a_call_are_refused() {
    let host = Host::new();
    let random = |count: i64| {
        let operands = format!("(i32.const {BUFFER}) (i32.const {count})");
        Guest::new().call("got", "random_get", operands)
    };
    host.attack([] as [&str; 0], &random(1 << 20)).expect(&[("got", "ok")]);
    for (count, asked) in [((1 << 20) + 1, "1048577"), (-1, "4294967295")] {
        let attack = host.attack([] as [&str; 0], &random(count)).expect_code(134);
        attack.expect_error(&format!("requested len {asked} exceeds limit 1048576"));
    }
    let random = |count: &str| {
        component::of_wasi_2(&format!("(call $random (i64.const {count}) (i32.const 0))"))
    };
    host.attack_wat([] as [&str; 0], random("0x100000"), |run| run).expect_code(0);
    for (count, asked) in [("0x100001", "1048577"), ("-1", "18446744073709551615")] {
        let attack = host.attack_wat([] as [&str; 0], random(count), |run| run).expect_code(134);
        attack.expect_error(&format!("requested len {asked} exceeds limit 1048576"));
    }
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
    // The first buffer, and of the others what fits the host's; never their sum, nor its low bits.
    assert_eq!(attack.number("written"), 65536);
    assert_eq!((attack.number("many"), attack.number("most")), (0, 0));
    assert_eq!(attack.outcome.stderr.len(), 2 * 65536, "what was said to be written was");
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
fn a_component_that_reads_and_writes_all_there_could_be_takes_a_small_buffer_of_the_host() {
    let host = Host::new().free("grant");
    fs::File::create(host.path("grant/file")).unwrap().set_len(1 << 34).unwrap();
    let grant = host.grant("grant", "/").map(|word| word.into_string().unwrap());
    let grant = [grant[0].as_str(), grant[1].as_str()];
    let peak = |code: &str, text: &str| {
        let wat = component::of_wasi_2(&format!("{code} unreachable"));
        let (peak, outcome) = trapped(&host, &grant, &wat);
        drop(outcome.expect_error(text));
        peak
    };
    let input = "(call $read-via-stream (call $file) (i64.const 0) (i32.const 64))
      (local.set $a (i32.load (i32.const 68)))";
    let output = "(call $write-via-stream (call $file) (i64.const 0) (i32.const 64))
      (local.set $b (i32.load (i32.const 68)))";
    // The result at 128 is an error: another trap than the one at the end.
    let ok = "(if (i32.load8_u (i32.const 128)) (then (drop (i32.load (i32.const -1)))))";
    let wait = "(call $block (call $subscribe-read (local.get $a)))";
    let read = "(call $read (local.get $a) (i64.const -1) (i32.const 128))";
    let skip = "(call $skip (local.get $a) (i64.const -1) (i32.const 128))";
    let nothing = peak("", "unreachable");
    let end = "unreachable";
    let too_many = "cannot write more zeroes than `check_write` allows";
    for (code, text) in [
        ("(call $blocking-read (local.get $a) (i64.const -1) (i32.const 128))", end),
        (&format!("{read} {wait} {read}"), end),
        ("(call $read-file (call $file) (i64.const -1) (i64.const 0) (i32.const 128))", end),
        (&format!("{skip} {wait} {skip}"), end),
        ("(call $splice (call $stdout) (local.get $a) (i64.const -1) (i32.const 128))", end),
        ("(call $write-zeroes (call $stdout) (i64.const -1) (i32.const 128))", too_many),
        ("(call $write-zeroes (local.get $b) (i64.const -1) (i32.const 128))", too_many),
        (
            "(call $blocking-write-zeroes (call $stdout) (i64.const -1) (i32.const 128))",
            "Buffer too large for blocking-write-zeroes-and-flush",
        ),
    ] {
        let peak = peak(&format!("{input} {output} {code} {ok}"), text);
        // What they return lies in the guest's memory as well.
        assert!(peak < nothing + (4 << 20), "{code}: {nothing} bytes before, {peak} with it");
    }
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
fn what_the_host_keeps_for_a_component_ends_at_its_limit() {
    let host = Host::new();
    host.file("grant/file", "inside");
    let file = "(local.set $a (call $file))";
    // Where it lends something of its own to the call, the count of its handles is full first.
    let (kept, held) = ("resource table has no free keys", "store handle limit exceeded");
    for (prepare, code, text) in [
        ("", "(drop (call $subscribe (i64.const 1000000000)))", kept),
        ("", "(drop (call $stdin))", kept),
        ("", "(drop (call $stdout))", kept),
        ("", "(call $directories (i32.const 64))", kept),
        ("(local.set $a (call $stdin))", "(drop (call $subscribe-read (local.get $a)))", held),
        ("(local.set $a (call $stdout))", "(drop (call $subscribe-write (local.get $a)))", held),
        (file, "(call $read-via-stream (local.get $a) (i64.const 0) (i32.const 64))", held),
        (file, "(call $write-via-stream (local.get $a) (i64.const 0) (i32.const 64))", held),
    ] {
        let flags = ["--json".into(), "-".into(), "--deadline".into(), "20s".into()];
        let flags = flags.into_iter().chain(host.grant("grant", "/"));
        let wat = component::of_wasi_2(&format!("{prepare} (loop $more {code} (br $more))"));
        let attack = host.attack_wat(flags, wat, |run| run).expect_code(134).expect_error(text);
        let record: serde_json::Value = serde_json::from_str(&attack.outcome.stdout).unwrap();
        let calls = record["stats"]["host_calls"].as_u64().unwrap();
        // A clock takes two of 4096, and everything else one.
        assert!((2000..=4100).contains(&calls), "{code}: {calls} calls");
    }
}

#[test]
fn handles_of_a_component_end_at_their_limit() {
    let host = Host::new();
    // Resources of its own, of which the host keeps nothing.
    let make = |count: u32| {
        format!(
            "(component
              (type $r (resource (rep i32)))
              (core func $new (canon resource.new $r))
              (core module $m (import \"\" \"new\" (func $new (param i32) (result i32)))
                (func (export \"run\") (result i32) (local $i i32)
                  (loop $more
                    (drop (call $new (i32.const 1)))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $i) (i32.const {count}))))
                  (i32.const 0)))
              (core instance $i (instantiate $m (with \"\" (instance (export \"new\" (func $new))))))
              (func $run (result (result)) (canon lift (core func $i \"run\")))
              (instance $command (export \"run\" (func $run)))
              (export \"wasi:cli/run@0.2.0\" (instance $command)))"
        )
    };
    host.attack_wat([] as [&str; 0], make(4096), |run| run).expect_code(0);
    let attack = host.attack_wat([] as [&str; 0], make(4097), |run| run).expect_code(134);
    attack.expect_error("store handle limit exceeded");
}

#[test]
fn times_that_no_clock_can_show_are_refused() {
    let host = Host::new().free("grant");
    host.file("grant/file", "inside");
    let mut guest =
        Guest::new().open(3, "file", 0, READ).code(format!("(local.set $a {RETURNED})"));
    // All that preview 1 can say are times: 64 bits of nanoseconds end in the year 2554.
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
    let said = attack.said();
    assert_eq!(said.len(), 10, "{attack:#?}");
    assert!(said[..9].iter().all(|(_, errno)| *errno == "ok"), "{attack:#?}");
    assert_eq!(said[9], ("both", "inval"), "{attack:#?}");
}

#[test]
fn times_of_a_component_that_no_clock_can_show_are_refused() {
    let host = Host::new().free("grant");
    let file = host.file("grant/file", "inside");
    let set = "(func (export \"set\") (param $at i32) (param $s i64) (param $ns i32) (result i32)
        (if (local.get $at)
          (then (call $set-times-at (call $first) (i32.const 1) (i32.const 4100) (i32.const 4)
            (i32.const 2) (local.get $s) (local.get $ns)
            (i32.const 2) (local.get $s) (local.get $ns) (i32.const 64)))
          (else (call $set-times (call $file) (i32.const 2) (local.get $s) (local.get $ns)
            (i32.const 2) (local.get $s) (local.get $ns) (i32.const 64))))
        (if (result i32) (i32.load8_u (i32.const 64))
          (then (i32.load8_u (i32.const 65))) (else (i32.const 99))))";
    let lifted = "(func (export \"set\") (param \"at\" u32) (param \"s\" u64) (param \"ns\" u32)
        (result u32) (canon lift (core func $i \"set\")))";
    let guest = host.bench().file("set.wat", component::of_wasi_2_with(set, lifted));
    let largest = i64::MAX.cast_unsigned();
    // WASI's own codes: 30 is `overflow`; 99 stands for none.
    for (seconds, nanoseconds, code, shown) in [
        (u64::MAX, 0, "30", None),
        (u64::MAX, u32::MAX, "30", None),
        (largest + 1, 0, "30", None),
        (largest, 1_000_000_000, "30", None),
        (largest - 3, u32::MAX, "30", None),
        (1, 1_000_000_000, "99", Some((2, 0))),
        (1, u32::MAX, "99", Some((5, 294_967_295))),
        (7, 999_999_999, "99", Some((7, 999_999_999))),
        // A file system keeps what it can of this one.
        (largest, 0, "99", None),
    ] {
        for at in ["0", "1"] {
            let (s, ns) = (seconds.to_string(), nanoseconds.to_string());
            let flags = host.grant("grant", "/").into_iter();
            let flags = flags.chain(["--invoke".into(), "set".into(), guest.clone().into()]);
            let outcome = host.run(flags.chain([at, &s, &ns].map(Into::into))).outcome();
            let outcome = outcome.expect_code(0).expect_output(&format!("{code}\n"));
            assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
            if let Some((seconds, nanoseconds)) = shown {
                let metadata = fs::metadata(&file).unwrap();
                assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (seconds, nanoseconds));
            }
        }
    }
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
        .call("since", "clock_time_get", "(i32.const 1) (i64.const 0) (i32.const 8)")
        .say(
            "minutes",
            "(i32.wrap_i64 (i64.div_u (i64.load (i32.const 8)) (i64.const 60000000000)))",
        )
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
    // The clock that only goes forward begins with the guest, and not with the host.
    assert_eq!(attack.number("minutes"), 0);
    let said = attack.said();
    assert_eq!(
        said[said.len() - 3..],
        [("realtime", "ok"), ("process time", "badf"), ("thread time", "badf")],
        "no clock tells what others of this process did: {attack:#?}"
    );
}

#[test]
fn all_that_a_component_can_ask_for_tells_nothing_of_the_host() {
    for (version, instant, clock, cwd) in [
        ("0.2.0", "u64", "wall-clock", "initial-cwd"),
        ("0.3.0", "s64", "system-clock", "get-initial-cwd"),
    ] {
        let wat = tells(version, instant, clock, cwd);
        let host = Host::new();
        let guest = host.bench().file("guest.wat", wat);
        let ask = |function: &str| {
            let flags = ["-e", "DECLARED=yes", "--invoke", function].map(OsString::from);
            let flags = flags.into_iter().chain(host.grant("grant", "/data"));
            let run = host.run(flags.chain([guest.clone().into_os_string()]));
            let run = run.env("HOME", "/home/somebody").env("HOSTNAME", "told").env("USER", "me");
            run.outcome().expect_code(0)
        };
        ask("environment").expect_output("[(\"DECLARED\", \"yes\")]\n");
        ask("arguments").expect_output("[\"guest.wat\"]\n");
        ask("cwd").expect_output("none\n");
        ask("directories").expect_output("[\"/data\", \"/\"]\n");
        // The clock that only goes forward begins with the guest, and not with the host.
        let now: u64 = ask("now").stdout.trim().parse().unwrap();
        assert!(now < 60_000_000_000, "{now}");
    }
}

/// A component that asks a version of WASI for all that has words.
fn tells(version: &str, seconds: &str, clock: &str, cwd: &str) -> String {
    let libc = component::LIBC;
    format!(
        r#"(component {libc}
          (import "wasi:cli/environment@{version}" (instance $cli
            (export "get-environment" (func (result (list (tuple string string)))))
            (export "get-arguments" (func (result (list string))))
            (export "{cwd}" (func (result (option string))))))
          (import "wasi:clocks/{clock}@{version}" (instance $wall
            (type $time1 (record (field "seconds" {seconds}) (field "nanoseconds" u32)))
            (export "{record}" (type $time (eq $time1)))
            (export "now" (func (result $time)))))
          (import "wasi:clocks/monotonic-clock@{version}" (instance $clock
            (export "now" (func (result u64)))))
          (import "wasi:filesystem/types@{version}" (instance $files
            (export "descriptor" (type (sub resource)))))
          (alias export $files "descriptor" (type $descriptor))
          (import "wasi:filesystem/preopens@{version}" (instance $preopens
            (alias outer 1 $descriptor (type $d1)) (export "descriptor" (type $d (eq $d1)))
            (export "get-directories" (func (result (list (tuple (own $d) string)))))))
          (core func $environment (canon lower (func $cli "get-environment")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core func $arguments (canon lower (func $cli "get-arguments")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core func $cwd (canon lower (func $cli "{cwd}")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core func $directories (canon lower (func $preopens "get-directories")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core func $now (canon lower (func $clock "now")))
          (core module $m
            (import "libc" "memory" (memory 1))
            (import "" "environment" (func $environment (param i32)))
            (import "" "arguments" (func $arguments (param i32)))
            (import "" "cwd" (func $cwd (param i32)))
            (import "" "directories" (func $directories (param i32)))
            (import "" "now" (func $now (result i64)))
            (func (export "environment") (result i32)
              (call $environment (i32.const 64)) (i32.const 64))
            (func (export "arguments") (result i32)
              (call $arguments (i32.const 64)) (i32.const 64))
            (func (export "cwd") (result i32) (call $cwd (i32.const 64)) (i32.const 64))
            (func (export "now") (result i64) (call $now))
            ;; Their names alone, from descriptor, place and size to place and size.
            (func (export "directories") (result i32) (local $from i32) (local $i i32)
              (call $directories (i32.const 64))
              (local.set $from (i32.load (i32.const 64)))
              (i32.store (i32.const 64) (i32.const 128))
              (loop $more
                (i64.store (i32.add (i32.const 128) (i32.shl (local.get $i) (i32.const 3)))
                  (i64.load offset=4
                    (i32.add (local.get $from) (i32.mul (local.get $i) (i32.const 12)))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $i) (i32.load (i32.const 68)))))
              (i32.const 64)))
          (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
            (export "environment" (func $environment)) (export "arguments" (func $arguments))
            (export "cwd" (func $cwd)) (export "directories" (func $directories))
            (export "now" (func $now))))))
          (func (export "environment") (result (list (tuple string string)))
            (canon lift (core func $i "environment") (memory (core memory $libc "memory"))))
          (func (export "arguments") (result (list string))
            (canon lift (core func $i "arguments") (memory (core memory $libc "memory"))))
          (func (export "cwd") (result (option string))
            (canon lift (core func $i "cwd") (memory (core memory $libc "memory"))))
          (func (export "directories") (result (list string))
            (canon lift (core func $i "directories") (memory (core memory $libc "memory"))))
          (func (export "now") (result u64) (canon lift (core func $i "now"))))"#,
        record = if clock == "wall-clock" { "datetime" } else { "instant" },
    )
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
