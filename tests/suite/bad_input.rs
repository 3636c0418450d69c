//! Input that makes no sense: one clear error and the right code, in bounded time.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::aril_path;

/// The longest that an answer may take. Compiling a megabyte takes about one second here.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

const NOTHING: &str = "(module (func (export \"_start\")))";

/// Says `hello`, and ends with the error that writing had.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "hello\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 6))
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))))"#;

fn run(bench: &Bench, args: &[&OsStr]) -> Outcome {
    bench.run(args).outcome()
}

/// Runs a file, and fails unless it is refused with one line of error that holds `text`.
#[track_caller]
fn is_not_runnable(bench: &Bench, file: &Path, text: &str) {
    let outcome = run(bench, &[file.as_os_str()]).expect_code(126).expect_error(text);

    let errors = outcome.stderr.lines().filter(|line| line.starts_with("aril: cannot")).count();
    assert_eq!(errors, 1, "{outcome:#?}");
    assert!(outcome.elapsed < ANSWER_TIME_MAX, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    // Nothing unfinished is left, and nothing that is no program.
    assert_eq!(fs::read_dir(bench.cache().join("artifacts")).unwrap().count(), 0);
}

/// A module of one section, whose length is told truthfully.
fn module_with(section: u8, content: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.push(section);
    module.extend(leb(content.len() as u64));
    module.extend_from_slice(content);
    module
}

/// A number as wasm writes it.
fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

// --- Files.

#[test]
fn a_file_that_is_not_wasm_is_refused_as_what_it_is() {
    let bench = Bench::new();

    for (content, text) in [
        (&b""[..], "it is empty"),
        (b"#!/bin/sh\necho hello\n", "it is neither wasm nor its text form"),
        (b"\x7fELF\x02\x01\x01", "it is a native program"),
        (b"\x1f\x8b\x08\x00", "it is neither wasm nor its text form"),
        (b"(module (func", "it is not valid text of a module"),
        (b"\0asm\x07\0\0\0", "version"),
        (b"\0asm\xff\xff\xff\xff", "version"),
    ] {
        let file = bench.file("guest.wasm", content);
        is_not_runnable(&bench, &file, text);
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let bench = Bench::new();
    let whole = wat::parse_str(HELLO).unwrap();

    for end in [1, 4, 7, 9, whole.len() / 2, whole.len() - 1] {
        let file = bench.file("guest.wasm", &whole[..end]);
        is_not_runnable(&bench, &file, "");
    }
}

#[test]
fn a_missing_import_is_named_and_nothing_runs() {
    let bench = Bench::new();
    let file = bench.file(
        "guest.wat",
        "(module (import \"env\" \"launch_missiles\" (func)) (func (export \"_start\")))",
    );

    let outcome = run(&bench, &[file.as_os_str()]).expect_code(126);

    outcome.expect_error("`launch_missiles` from `env`").expect_error("--trap-unknown-imports");
}

#[test]
fn a_memory_of_100_gib_is_denied_with_both_figures() {
    let bench = Bench::new();
    let file = bench.file("guest.wat", "(module (memory i64 1638400) (func (export \"_start\")))");

    let outcome = run(&bench, &[file.as_os_str()]).expect_code(126);

    // 100 GiB, and the MiB that the host holds for a guest.
    outcome.expect_error("102401 MiB").expect_error("1 GiB");
}

#[test]
fn a_memory_of_100_gib_is_refused_where_there_is_no_limit_either() {
    let bench = Bench::new();
    let file = bench.file(
        "guest.wat",
        "(module (memory i64 1638400) (func (export \"_start\") (i64.store (i64.const 0) (i64.const 1))))",
    );

    let args = ["--memory", "unlimited", "--deadline", "10s"].map(OsStr::new);
    let outcome = run(&bench, &[&args[..], &[file.as_os_str()]].concat());

    // Memory that is never touched costs nothing: a host may grant it, or say why not.
    let said = outcome.stderr.lines().count();
    match outcome.code {
        Some(0) => assert_eq!(said, 0, "{outcome:#?}"),
        Some(125 | 126) => assert_eq!(said, 1, "{outcome:#?}"),
        _ => panic!("{outcome:#?}"),
    }
}

#[test]
fn a_memory_of_more_pages_than_there_can_be_is_not_valid() {
    let bench = Bench::new();
    // 1,638,400 pages, in a memory of 32 bits.
    let content = [&[1, 0][..], &leb(1_638_400)].concat();

    let file = bench.file("guest.wasm", module_with(5, &content));

    is_not_runnable(&bench, &file, "memory");
}

#[test]
fn ten_million_functions_are_not_valid() {
    const COUNT: usize = 10_000_000;
    let bench = Bench::new();
    let mut module = module_with(1, &[1, 0x60, 0, 0]);
    let functions = [leb(COUNT as u64), vec![0; COUNT]].concat();
    module.extend_from_slice(&module_with(3, &functions)[8..]);
    let bodies = [leb(COUNT as u64), [2, 0, 0x0b].repeat(COUNT)].concat();
    module.extend_from_slice(&module_with(10, &bodies)[8..]);

    let file = bench.file("guest.wasm", module);

    is_not_runnable(&bench, &file, "functions");
}

#[test]
fn a_data_segment_of_2_gib_is_refused_before_it_is_read() {
    let bench = Bench::new();
    // What is not written costs no disk.
    let path = bench.file("guest.wasm", b"\0asm\x01\0\0\0\x0b\x88\x80\x80\x80\x08\x01\0\x41\0\x0b");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((2 << 30) + 100).unwrap();

    is_not_runnable(&bench, &path, "512 MiB");
}

#[test]
fn a_data_segment_that_claims_2_gib_and_is_not_there_is_not_valid() {
    let bench = Bench::new();
    let content = [&[1, 0, 0x41, 0, 0x0b][..], &leb(2 << 30)].concat();

    let file = bench.file("guest.wasm", module_with(11, &content));

    is_not_runnable(&bench, &file, "unexpected end");
}

#[test]
fn text_that_is_nested_without_end_is_refused() {
    let bench = Bench::new();

    let file = bench.file("guest.wat", "(module ".to_owned() + &"(".repeat(5_000_000));

    is_not_runnable(&bench, &file, "");
}

#[test]
fn what_is_no_regular_file_is_refused_without_being_read() {
    let bench = Bench::new();
    let pipe = bench.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = bench.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

    is_not_runnable(&bench, bench.path(), "it is a directory");
    is_not_runnable(&bench, &pipe, "it is not a regular file");
    is_not_runnable(&bench, Path::new("/dev/zero"), "it is not a regular file");
    is_not_runnable(&bench, Path::new("/dev/null"), "it is not a regular file");
    is_not_runnable(&bench, &socket, "");
}

#[test]
fn a_file_that_is_not_there_is_not_found() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("nowhere", bench.path().join("link.wasm")).unwrap();

    for path in ["absent.wasm", "absent/guest.wasm", "link.wasm", ""] {
        let outcome = run(&bench, &[OsStr::new(path)]).expect_code(127);
        let outcome = outcome.expect_error(path);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

// --- Grants.

#[test]
fn a_grant_that_cannot_be_made_is_one_clear_error() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);
    fs::create_dir(bench.path().join("dir")).unwrap();

    for (grants, text) in [
        (&["./absent:/data"][..], "`./absent`"),
        (&["./dir:/data", "./dir:/data:ro"], "`/data` is granted twice"),
        (&["./dir:/data", "./dir:/data/"], "`/data` is granted twice"),
        (&["./dir:/a/../../b"], "`.` and `..` lead elsewhere"),
        (&["./dir:/.."], "`.` and `..` lead elsewhere"),
        (&["./dir:data"], "it must be absolute"),
        (&["./dir"], "HOST:GUEST"),
        (&["./dir:"], "HOST:GUEST"),
        (&[":/data"], "HOST:GUEST"),
        (&[""], "HOST:GUEST"),
        (&["no name:/data"], "./no name"),
        (&["./dir:/data:rx"], "it must be absolute"),
    ] {
        let flags = grants.iter().flat_map(|grant| ["-v", grant].map(OsStr::new));
        let args: Vec<&OsStr> = flags.chain([guest.as_os_str()]).collect();
        let outcome = run(&bench, &args).expect_code(125).expect_error(text);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn a_grant_that_is_not_to_be_made_has_the_code_of_one_that_cannot() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);

    for (host, text) in [("./absent", "`./absent`"), (".", "holds the folder for machine code")] {
        let grant = format!("{host}:/data");
        let outcome = run(&bench, &["-v".as_ref(), grant.as_ref(), guest.as_os_str()]);
        outcome.expect_code(125).expect_error(text);
    }
}

// --- Limits.

#[test]
fn a_limit_that_makes_no_sense_is_refused_with_what_would() {
    const SIZES: &[&str] =
        &["0", "-1", "10XB", "1.5g", "1e9", "18446744073709551616", "8192t0", "", "m", "9999999t"];
    const SPANS: &[&str] =
        &["0", "0s", "-1s", "5 fortnights", "1e30", "18446744073709551616s", "", "0.1ms"];
    const COUNTS: &[&str] = &["0", "-1", "4294967296", "1.5", "ten", ""];
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);

    for (flag, amounts) in [
        ("--memory", SIZES),
        ("--output", SIZES),
        ("--stack", SIZES),
        ("--cpus", &["0", "-1", "0.0001", "1025", "1e2", "nan", "inf", "half", ""]),
        ("--deadline", SPANS),
        ("--cpu-time", SPANS),
        ("--stop-timeout", SPANS),
        ("--fuel", &["0", "-1", "9223372036854775808", "1k", "1.5", ""]),
        ("--open-files", COUNTS),
        ("--table-elements", COUNTS),
        ("--instances", COUNTS),
    ] {
        for amount in amounts {
            let args = [format!("{flag}={amount}").into(), guest.clone().into_os_string()];
            let outcome = bench.run(args).outcome().expect_code(125);
            let outcome = outcome.expect_output("").expect_error(flag);
            assert_eq!(outcome.stderr.matches("error:").count(), 1, "{flag} {amount}: {outcome:?}");
        }
    }
}

#[test]
fn a_limit_that_cannot_be_held_is_refused_and_not_clamped() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);

    for (flag, text) in [
        ("--memory=1m", "1 MiB"),
        ("--memory=1", "1 bytes"),
        ("--stack=4k", "from 64 KiB to 8 MiB"),
        ("--stack=1g", "from 64 KiB to 8 MiB"),
        ("--stack=unlimited", "cannot be unlimited"),
    ] {
        let outcome = run(&bench, &[OsStr::new(flag), guest.as_os_str()]);
        let outcome = outcome.expect_code(125).expect_error(text);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn every_limit_takes_unlimited_as_a_spoken_word_but_the_stack() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);
    let limits = [
        "memory",
        "cpus",
        "deadline",
        "cpu-time",
        "fuel",
        "output",
        "open-files",
        "table-elements",
        "instances",
    ];

    let flags = limits.iter().map(|limit| format!("--{limit}=unlimited").into());
    let args: Vec<OsString> = flags.chain([guest.into()]).collect();

    bench.run(args).outcome().expect_code(0);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_as_ours() {
    let bench = Bench::new();

    for args in [
        &[][..],
        &["run"],
        &["fly"],
        &["run", "--bogus", "guest.wat"],
        &["run", "--memory"],
        &["run", "--deadline", "1s", "--deadline", "2s", "guest.wat"],
        &["compile"],
        &["--aril-role"],
        &["--aril-role", "chef", "1", "1", "1"],
    ] {
        let outcome = bench.aril(args).outcome().expect_code(125).expect_output("");
        assert_ne!(outcome.stderr, "", "{args:?}");
    }
}

#[test]
fn a_verb_of_another_tool_is_told_what_to_write_instead() {
    let bench = Bench::new();

    for (line, text) in [
        ("restart web", "`aril stop NAME`, `aril rm NAME`, and `aril run -d --name NAME`"),
        ("start web", "is not started again: `aril rm NAME`"),
        ("create app", "`aril run -d` makes a sandbox and starts it"),
        ("container ls -a", "tip: `aril ps`\n"),
        ("container stop web", "the verbs stand alone: `aril ps`, `aril stop NAME`"),
        ("image ls", "tip: `aril images`\n"),
        ("image pull app", "the verbs stand alone: `aril images`"),
        ("version", "tip: `aril --version`\n"),
        ("info", "`aril doctor`"),
        ("system prune -af", "tip: `aril prune`\n"),
        ("volume prune", "`aril volume rm NAME`"),
        ("app.wasm", "tip: `aril run app.wasm`\n"),
    ] {
        let outcome = bench.aril(line.split(' ')).outcome().expect_code(125).expect_output("");
        let outcome = outcome.expect_error("unrecognized subcommand").expect_error(text);
        assert_eq!(outcome.stderr.matches("tip:").count(), 1, "{outcome:#?}");
    }
    // What is like one of ours is told as before.
    bench
        .aril(["stp"])
        .outcome()
        .expect_code(125)
        .expect_error("a similar subcommand exists: 'stop'");
}

#[test]
fn a_flag_is_called_as_it_was_typed() {
    let bench = Bench::new();

    for (line, flag) in [
        ("logs --tail abc web", "--tail <LINES>"),
        ("logs --tail=abc web", "--tail <LINES>"),
        ("logs --lines abc web", "--lines <LINES>"),
        ("run --timeout abc guest.wat", "--timeout <TIME>"),
    ] {
        let outcome = bench.aril(line.split(' ')).outcome().expect_code(125);
        outcome.expect_error(&format!("invalid value 'abc' for '{flag}'"));
    }
}

#[test]
fn a_login_without_what_it_needs_says_all_of_it() {
    let bench = Bench::new();

    let outcome = bench.aril(["login"]).outcome().expect_code(125).expect_error("<REGISTRY>");
    let outcome = outcome.expect_error("--username <USERNAME>");
    outcome.expect_error("aril login [OPTIONS] -u USERNAME --password-stdin REGISTRY");
    let nothing = bench.aril(["login", "registry.example", "-u", "ali"]).outcome();
    nothing.expect_code(125).expect_error("a password is expected on standard input");
}

// --- Texts.

#[test]
fn a_text_that_is_not_utf_8_is_refused_by_its_place() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);
    bench.file("vars", b"GOOD=1\nBAD=\xff\n");
    let bad = OsStr::from_bytes(b"A=\xff");
    let grant = OsStr::from_bytes(b"./\xff:/data");

    for (args, text) in [
        (&[guest.as_os_str(), OsStr::new("good"), bad][..], "argument 2 is not UTF-8"),
        (&[OsStr::new("-e"), bad, guest.as_os_str()], "`-e A=\u{fffd}` is not UTF-8"),
        (&[OsStr::new("-e"), OsStr::new("BAD"), guest.as_os_str()], "variable `BAD` is not UTF-8"),
        (&[OsStr::new("-v"), grant, guest.as_os_str()], "HOST:GUEST"),
        (&[OsStr::new("--env-file"), OsStr::new("vars"), guest.as_os_str()], "`vars`"),
    ] {
        let outcome = bench.run(args).env("BAD", OsStr::from_bytes(b"\xff")).outcome();
        let outcome = outcome.expect_code(125).expect_error(text);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn what_is_not_passed_on_may_be_anything() {
    let bench = Bench::new();
    let name = OsStr::from_bytes(b"guest-\xff.wat");
    let guest = bench.path().join(name);
    fs::write(&guest, NOTHING).unwrap();

    let outcome = bench.run([name]).env("BAD", OsStr::from_bytes(b"\xff\xfe")).outcome();

    outcome.expect_code(0);
}

#[test]
fn a_variable_that_cannot_be_one_is_refused() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", NOTHING);

    for (args, text) in [
        (["-e", "=value"], "it has no name"),
        (["--env-file", "absent"], "`absent`"),
        (["--env-file", "/dev/zero"], "larger than 2 MiB"),
        (["--env-file", "."], "`.`"),
    ] {
        let args = args.map(OsStr::new);
        let outcome = run(&bench, &[args[0], args[1], guest.as_os_str()]).expect_code(125);
        assert_eq!(outcome.expect_error(text).stderr.lines().count(), 1);
    }
}

// --- Streams.

/// `aril run` by a shell that was told what to do with the streams.
fn in_a_shell(bench: &Bench, guest: &str, flags: &str, redirection: &str) -> Output {
    let guest: PathBuf = bench.file("guest.wat", guest);
    shell(bench, &format!("\"$ARIL\" run {flags} \"{}\" {redirection}", guest.display()))
}

/// Runs a script in a test's folder, with the program as `$ARIL`.
fn shell(bench: &Bench, script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script])
        .env("ARIL", aril_path())
        .env("ARIL_CACHE_DIR", bench.cache())
        .current_dir(bench.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn streams_that_are_closed_from_the_start_do_no_harm() {
    let bench = Bench::new();
    let data = bench.file("dir/a.txt", "what was there");

    for redirection in [">&-", "2>&-", "<&-", "<&- >&- 2>&-"] {
        let output = in_a_shell(&bench, HELLO, "-i -v ./dir:/data", redirection);
        assert_eq!(output.status.code(), Some(0), "{redirection}: {output:?}");
    }

    // A file that was opened in the place of a stream would hold what was written to it.
    assert_eq!(fs::read_to_string(data).unwrap(), "what was there");
    let artifacts = fs::read_dir(bench.cache().join("artifacts")).unwrap();
    assert_eq!(artifacts.count(), 1);
}

#[test]
fn a_full_disk_under_standard_output_is_the_guests_to_handle() {
    let bench = Bench::new();

    let output = in_a_shell(&bench, HELLO, "", ">/dev/full");

    // ENOSPC of WASI.
    assert_eq!(output.status.code(), Some(51), "{output:?}");
}

#[test]
fn a_record_that_the_disk_does_not_take_is_told() {
    let bench = Bench::new();

    let output = in_a_shell(&bench, NOTHING, "--json /dev/full", "");

    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("cannot write the record"), "{told}");
}

#[test]
fn what_a_function_returned_and_nobody_could_be_told_is_a_failure() {
    let bench = Bench::new();
    let guest = r#"(module (func (export "f") (result i32) (i32.const 7)))"#;

    let output = in_a_shell(&bench, guest, "--invoke f", ">/dev/full");

    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("cannot print what the function returned"), "{told}");
}

#[test]
fn the_code_is_that_of_the_record_also_where_nobody_reads_what_is_told() {
    let bench = Bench::new();
    let guest = bench.file("trap.wat", r#"(module (func (export "_start") unreachable))"#);
    bench.aril([OsStr::new("compile"), guest.as_os_str()]).outcome().expect_code(0);
    // A pipe that is full, and never read: telling why the guest trapped waits until the deadline.
    let script = "mkfifo full; exec 3<>full; \
                  dd if=/dev/zero of=/dev/fd/3 bs=4096 count=1000 oflag=nonblock status=none 2>errors; \
                  exec \"$ARIL\" run --deadline 300ms --json record.json trap.wat 2>&3 3>&-";
    let output = shell(&bench, script);
    let record = fs::read_to_string(bench.path().join("record.json")).unwrap();
    assert!(record.contains(r#""code":134"#), "{record}");
    assert_eq!(output.status.code(), Some(134), "{output:?}");
}

#[test]
fn a_component_whose_start_is_of_another_world_is_not_runnable_and_did_not_trap() {
    let bench = Bench::new();
    for (version, result) in [("9.9.9", "(result)"), ("0.2.0-rc-1", "(result)"), ("0.2.0", "u32")] {
        let value = if result == "u32" { "u32" } else { "(result)" };
        let guest = format!(
            r#"(component
                (core module $m (func (export "run") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (func $run (result {value}) (canon lift (core func $i "run")))
                (instance $cli (export "run" (func $run)))
                (export "wasi:cli/run@{version}" (instance $cli)))"#
        );
        let guest = bench.file("guest.wat", guest);
        let outcome = bench.aril([OsStr::new("run"), guest.as_os_str()]).outcome();
        let outcome =
            outcome.expect_code(126).expect_error("is not the start of a program of WASI");
        assert!(!outcome.stderr.contains("trapped"), "{outcome:#?}");
    }
}

#[test]
fn doctor_tells_all_else_where_there_is_no_place_for_machine_code() {
    let bench = Bench::new();
    let file = bench.file("file", "");

    let outcome =
        bench.aril([OsStr::new("doctor"), "--cache".as_ref(), file.as_os_str()]).outcome();

    let outcome = outcome.expect_code(1);
    let line = outcome.stdout.lines().find(|line| line.contains("artifact cache")).unwrap();
    assert!(line.starts_with("no ") && line.contains("is not a directory"), "{outcome:#?}");
    assert!(outcome.stdout.contains("limit: memory"), "{outcome:#?}");
}

#[test]
fn a_verb_that_cannot_print_says_so_and_does_not_panic() {
    let bench = Bench::new();

    for verb in [&["doctor"][..], &["completions", "bash"]] {
        let mut child =
            bench.aril(verb).command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("panicked"), "{told}");
        // One who is quick has printed it all before the reader went away.
        assert!(matches!(output.status.code(), Some(0 | 141)), "{output:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bench.aril(verb).command.stdout(full).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.starts_with("aril: cannot print"), "{told}");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_never_leaves_the_cache_unsound() {
    let bench = Bench::new();
    let path = bench.file("guest.wat", NOTHING);
    let ends_with = |code: u8| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
        )
    };

    let runs: Vec<_> = (0..20)
        .map(|i| {
            let mut file = fs::File::create(&path).unwrap();
            file.write_all(ends_with(1 + i % 2).as_bytes()).unwrap();
            bench.run([&path]).start()
        })
        .collect();
    for run in runs {
        let outcome = run.outcome();
        // One of both, or an error that says that it was caught in between.
        assert!(matches!(outcome.code, Some(1 | 2 | 125 | 126)), "{outcome:#?}");
    }

    for code in [1, 2] {
        fs::write(&path, ends_with(code)).unwrap();
        run(&bench, &[path.as_os_str()]).expect_code(i32::from(code));
    }
}
