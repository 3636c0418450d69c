//! Sections 4.4 and 4.8, as far as they exist: what is compiled, and what is kept of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use aril::Bytes;
use aril::ErrorKind;
use aril::Runtime;

use super::guest::Guest;
use super::host::Host;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::guest as real_guest;

/// The machine code in a cache, by path.
fn artifacts(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.bench().cache().join("artifacts")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn says(word: &str) -> String {
    Guest::new().say(word, "(i32.const 1)").wat()
}

#[test]
fn machine_code_is_never_taken_for_a_program() {
    let host = Host::new();
    host.attack_wat([] as [&str; 0], says("ran"), |run| run).expect_code(0);
    let code = fs::read(&artifacts(&host)[0]).unwrap();
    assert!(code.starts_with(b"\x7fELF"), "what the engine makes is an ELF file");
    for name in ["code.cwasm", "code.wasm", "code"] {
        let copy = host.bench().file(name, &code);
        let outcome = host.run([copy]).outcome().expect_code(126);
        outcome.expect_error("a native program or an artifact").expect_output("");
    }
    host.run([aril_path()]).outcome().expect_code(126).expect_error("a native program");
    // Wasm with machine code behind it is not wasm.
    let wasm = wat::parse_str("(module)").unwrap();
    let both = host.bench().file("both.wasm", [wasm, code].concat());
    host.run([both]).outcome().expect_code(126);
}

#[test]
fn what_is_no_wasm_is_refused_and_nothing_of_it_is_kept() {
    let host = Host::new();
    let whole = wat::parse_str(says("ran")).unwrap();
    for size in [0, 1, 4, 7, 9, 20, whole.len() / 2, whole.len() - 1] {
        let attack = host.attack_wat([] as [&str; 0], &whole[..size], |run| run).expect_code(126);
        assert_eq!(attack.outcome.stdout, "", "{size}");
    }
    let huge = host.bench().file("huge.wasm", "");
    fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 30).unwrap();
    let outcome = host.run([huge]).outcome().expect_code(126);
    assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
    assert_eq!(artifacts(&host), Vec::<PathBuf>::new());
}

#[test]
fn parentheses_without_end_do_not_break_the_compiler() {
    let host = Host::new();
    for text in ["(".repeat(1 << 20), format!("(module (func {}", "(block ".repeat(200_000))] {
        let attack = host.attack_wat([] as [&str; 0], text, |run| run).expect_code(126);
        assert!(attack.outcome.elapsed < Duration::from_secs(10), "{:?}", attack.outcome.elapsed);
        assert!(attack.outcome.stderr.len() < 10_000, "{}", attack.outcome.stderr.len());
    }
}

fn runtime(bench: &Bench) -> aril::RuntimeBuilder {
    Runtime::builder(bench.cache()).program(aril_path())
}

#[tokio::test(flavor = "multi_thread")]
async fn compiling_ends_at_its_limit_on_time() {
    let Some(guest) = real_guest("cpython.wasm") else { return };
    let bench = Bench::new();
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let runtime = runtime(&bench).compile_time_max(limit).open().unwrap();
    let error = runtime.prepare(&guest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRunnable, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(fs::read_dir(bench.cache().join("artifacts")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn compiling_ends_at_its_limit_on_memory() {
    let Some(guest) = real_guest("cpython.wasm") else { return };
    let bench = Bench::new();
    let runtime = runtime(&bench).compile_memory_max(Bytes::mib(48)).open().unwrap();
    let error = runtime.prepare(&guest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRunnable, "{error:?}");
    assert_eq!(fs::read_dir(bench.cache().join("artifacts")).unwrap().count(), 0);
    // Small ones still compile within it.
    let small = bench.file("small.wat", says("ran"));
    runtime.prepare(small).await.unwrap();
}

/// Writes a program. Another process does it: one that this process writes to cannot be started
/// as long as a child of another test has inherited it.
fn program(bench: &Bench, script: &str) -> PathBuf {
    let path = bench.path().join("compiler");
    let text = bench.file("script", format!("#!/bin/sh\n{script}\n"));
    let status = Command::new("install").args(["-m", "755"]).arg(text).arg(&path).status();
    assert!(status.unwrap().success());
    path
}

/// Runs a compiler that a stranger took over.
async fn taken_over(script: &str) -> (aril::Error, Duration) {
    let bench = Bench::new();
    let program = program(&bench, script);
    let limit = Duration::from_millis(700);
    let builder = Runtime::builder(bench.cache()).program(program).compile_time_max(limit);
    let wasm = bench.file("guest.wat", says("ran"));
    let started = Instant::now();
    let error = builder.open().unwrap().prepare(wasm).await.unwrap_err();
    assert_eq!(fs::read_dir(bench.cache().join("artifacts")).unwrap().count(), 0, "{script}");
    (error, started.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_lies_or_stays_is_not_believed_and_not_waited_for() {
    for script in [
        "exec 2>&-; exec sleep 60",
        "echo >&2 '{\"result\":\"compiled\",\"form\":\"module\"}'; exec 2>&-; exec sleep 60",
        "exec sleep 60",
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done",
        "echo >&2 '{\"result\":\"compiled\",\"form\":\"kernel\"}'",
        "echo >&2 '{\"result\":\"invalid\",\"reason\":\"\\u001b[2J\"}'; exit 1",
        "printf '\\033[2J' >&2",
        "kill -9 $$",
        "exit 0",
    ] {
        let (error, elapsed) = taken_over(script).await;
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(elapsed < Duration::from_secs(5), "{script}: {elapsed:?}");
        assert!(!text.contains('\u{1b}'), "{script}: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_code_that_is_none_does_not_run() {
    // A compiler that was taken over decides over its own guest only; what is no machine code is
    // not even loaded.
    let bench = Bench::new();
    let report = "{\"result\":\"compiled\",\"form\":\"module\",\"held\":0}";
    let script = format!("printf 'not machine code'; printf '{report}' >&2");
    let program = program(&bench, &script);
    let runtime = Runtime::builder(bench.cache()).program(program).open().unwrap();
    let wasm = bench.file("guest.wat", says("ran"));
    let artifact = runtime.prepare(wasm).await.unwrap();
    let error = runtime.launch(&artifact, aril::SandboxSpec::new("guest")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
}

/// Spoils the machine code of a guest in one way, and sees to it that it is made anew.
fn spoiled(what: &str, spoil: impl FnOnce(&Host, &std::path::Path)) {
    let host = Host::new();
    host.attack_wat([] as [&str; 0], says("ran"), |run| run).expect_code(0);
    let path = artifacts(&host).remove(0);
    let before = fs::metadata(&path).unwrap().ino();
    // Somebody keeps the file, so that its number cannot come back.
    let _kept = fs::File::open(&path).unwrap();
    spoil(&host, &path);
    let attack = host.attack_wat([] as [&str; 0], says("ran"), |run| run);
    attack.expect(&[("ran", "other")]);
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.is_file() && metadata.nlink() == 1, "{what}");
    assert_ne!(metadata.ino(), before, "{what}: it was compiled again");
    assert_eq!(metadata.mode() & 0o777, 0o600, "{what}");
}

#[test]
fn machine_code_that_was_tampered_with_is_made_anew() {
    let flip = |at: fn(usize) -> usize| {
        move |_: &Host, path: &std::path::Path| {
            let mut code = fs::read(path).unwrap();
            let at = at(code.len());
            code[at] ^= 1;
            fs::write(path, code).unwrap();
        }
    };
    spoiled("a bit of the footer's magic", flip(|size| size - 56));
    spoiled("a bit of the footer's key", flip(|size| size - 20));
    spoiled("a bit of the footer's length", flip(|size| size - 1));
    spoiled("a bit of the engine's header", flip(|_| 0));
    spoiled("truncated", |_, path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
    spoiled("emptied", |_, path| fs::write(path, "").unwrap());
    spoiled("with more behind it", |_, path| {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
    });
    spoiled("that others may write to", |_, path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).unwrap();
    });
    spoiled("with a second name", |host, path| {
        fs::hard_link(path, host.bench().path().join("twin")).unwrap();
    });
    spoiled("behind a symbolic link", |host, path| {
        let moved = host.bench().path().join("moved");
        fs::rename(path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, path).unwrap();
    });
    if rustix::process::geteuid().is_root() {
        spoiled("of another owner", |_, path| {
            std::os::unix::fs::chown(path, Some(1), None).unwrap();
        });
    }
}

#[test]
fn machine_code_of_two_programs_cannot_be_swapped() {
    let host = Host::new();
    let run = |word: &str| {
        let attack = host.attack_wat([] as [&str; 0], says(word), |run| run).expect_code(0);
        assert_eq!(attack.number(word), 1);
    };
    run("first");
    run("second");
    let [one, other] = &artifacts(&host)[..] else { panic!("two artifacts") };
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        one,
        rustix::fs::CWD,
        other,
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .unwrap();
    run("first");
    run("second");
}

#[test]
fn twenty_starts_at_once_compile_once() {
    let host = Host::new();
    let guest = host.bench().file("guest.wat", says("ran"));
    let running: Vec<_> = (0..20).map(|_| host.run([guest.clone()]).start()).collect();
    for run in running {
        let outcome = run.outcome().expect_code(0).expect_output("ran 1\n");
        assert_eq!(outcome.stderr, "");
    }
    assert_eq!(artifacts(&host).len(), 1);
    super::host::nothing_is_left(&host);
}
