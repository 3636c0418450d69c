//! The artifact cache: a file's present content is what runs, compiled once, from entries that
//! nobody else could have changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aril::Runtime;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::OwnMounts;
use crate::support::Run;
use crate::support::Running;
use crate::support::aril_path;
use crate::support::signal;
use crate::support::skip;
use crate::support::wait_until;

/// A guest that ends with this code of one digit: all such texts have one size.
fn ends_with(code: u8) -> String {
    format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

/// A guest that takes a compiler about a second, and ends well. Each `salt` makes another one.
fn takes_long_to_compile(salt: u32) -> String {
    let mut text = format!("(module (memory 1) (global i32 (i32.const {salt}))\n");
    for i in 0..1500 {
        text.push_str("(func (param i32 i32) (result i32)\n");
        for j in 0..40 {
            let offset = i * 40 + j;
            writeln!(
                text,
                "(if (i32.gt_s (local.get 0) (i32.const {offset})) (then (local.set 1 (i32.mul \
                 (i32.load offset={offset} (local.get 1)) (local.get 0)))))"
            )
            .unwrap();
        }
        text.push_str("local.get 1)\n");
    }
    text.push_str("(func (export \"_start\")))");
    text
}

fn run(bench: &Bench, guest: &Path) -> i32 {
    bench.run([guest]).outcome().code.unwrap()
}

/// The entries of a folder of the cache.
fn entries(bench: &Bench, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.cache().join(folder)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The only artifact of the cache.
fn artifact(bench: &Bench) -> PathBuf {
    let artifacts = entries(bench, "artifacts");
    assert_eq!(artifacts.len(), 1, "{artifacts:?}");
    artifacts.into_iter().next().unwrap()
}

/// The index's entry for a file, once it has one: it is trusted from then on.
fn index_entry(bench: &Bench, file: &Path) -> Option<PathBuf> {
    let inode = format!("-{:x}-", fs::metadata(file).unwrap().ino());
    entries(bench, "index").into_iter().find(|path| path.to_str().unwrap().contains(&inode))
}

/// Runs the guest until its file has not changed for long enough to be known by its identity.
fn settle(bench: &Bench, guest: &Path, code: i32) {
    wait_until("the file to be trusted", || {
        assert_eq!(run(bench, guest), code);
        index_entry(bench, guest).is_some()
    });
}

fn touch(file: &Path, reference: &Path) {
    let status = Command::new("touch").arg("-r").arg(reference).arg(file).status().unwrap();
    assert!(status.success());
    let times = [file, reference].map(|path| fs::metadata(path).unwrap().modified().unwrap());
    assert_eq!(times[0], times[1]);
}

#[test]
fn a_file_that_is_rewritten_within_a_tick_of_the_clock_runs_as_what_it_is_now() {
    let bench = Bench::new();

    for round in 0..10 {
        for code in [1, 2] {
            let guest = bench.file("guest.wat", ends_with(code));
            assert_eq!(run(&bench, &guest), i32::from(code), "round {round}");
        }
    }

    assert_eq!(index_entry(&bench, &bench.path().join("guest.wat")), None, "too young to trust");
}

#[test]
fn a_known_file_that_is_rewritten_under_its_old_time_runs_as_what_it_is_now() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(1));
    let reference = bench.file("reference", "");
    touch(&reference, &guest);
    settle(&bench, &guest, 1);

    bench.file("guest.wat", ends_with(2));
    touch(&guest, &reference);

    assert_eq!(run(&bench, &guest), 2);
}

#[test]
fn a_known_file_that_another_takes_the_name_of_runs_as_the_other() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(1));
    settle(&bench, &guest, 1);

    let other = bench.file("other.wat", ends_with(2));
    touch(&other, &guest);
    fs::rename(&other, &guest).unwrap();

    assert_eq!(run(&bench, &guest), 2);
}

#[test]
fn a_known_file_that_is_rewritten_under_another_name_runs_as_what_it_is_now() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(1));
    let reference = bench.file("reference", "");
    touch(&reference, &guest);
    let twin = bench.path().join("twin.wat");
    fs::hard_link(&guest, &twin).unwrap();
    settle(&bench, &guest, 1);

    fs::write(&twin, ends_with(2)).unwrap();
    touch(&twin, &reference);

    assert_eq!(run(&bench, &guest), 2);
    assert_eq!(run(&bench, &twin), 2);
}

#[test]
fn a_known_file_behind_a_link_that_is_turned_elsewhere_runs_as_the_other() {
    let bench = Bench::new();
    let one = bench.file("one.wat", ends_with(1));
    let two = bench.file("two.wat", ends_with(2));
    let link = bench.path().join("guest.wat");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    settle(&bench, &link, 1);

    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();

    assert_eq!(run(&bench, &link), 2);
}

#[test]
fn an_entry_of_the_index_that_others_may_write_to_is_not_believed() {
    let bench = Bench::new();
    let one = bench.file("one.wat", ends_with(1));
    let two = bench.file("two.wat", ends_with(2));
    settle(&bench, &one, 1);
    settle(&bench, &two, 2);

    let entry = index_entry(&bench, &one).unwrap();
    let lie = fs::read(index_entry(&bench, &two).unwrap()).unwrap();
    fs::write(&entry, lie).unwrap();
    fs::set_permissions(&entry, Permissions::from_mode(0o660)).unwrap();

    assert_eq!(run(&bench, &one), 1);
}

/// Damages the artifact of a guest, and fails unless the next run makes a new one and uses that.
fn is_made_anew(damage: impl FnOnce(&Bench, &Path)) {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(7));
    assert_eq!(run(&bench, &guest), 7);
    let path = artifact(&bench);
    // Held open, so that its number is not given to another file.
    let before = fs::File::open(&path).unwrap();

    damage(&bench, &path);

    assert_eq!(run(&bench, &guest), 7);
    let after = fs::symlink_metadata(&path).unwrap();
    assert!(after.is_file(), "it is still what it was made into");
    assert_ne!(after.ino(), before.metadata().unwrap().ino(), "it was loaded");
    assert_eq!(after.permissions().mode() & 0o777, 0o600);
    // And the new one is good.
    assert_eq!(run(&bench, &guest), 7);
    assert_eq!(fs::metadata(&path).unwrap().ino(), after.ino(), "it was made once more");
}

#[test]
fn a_good_entry_is_used_again() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(7));
    assert_eq!(run(&bench, &guest), 7);
    let before = fs::metadata(artifact(&bench)).unwrap();

    assert_eq!(run(&bench, &guest), 7);

    let after = fs::metadata(artifact(&bench)).unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
}

#[test]
fn a_truncated_entry_is_made_anew() {
    for kept in [0.0, 0.5, 0.999] {
        is_made_anew(|_, path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a part of a small file"
            )]
            file.set_len((file.metadata().unwrap().len() as f64 * kept) as u64).unwrap();
        });
    }
}

#[test]
fn an_entry_with_something_behind_it_is_made_anew() {
    is_made_anew(|_, path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
    });
}

#[test]
fn an_entry_that_its_group_may_write_to_is_made_anew() {
    is_made_anew(|_, path| fs::set_permissions(path, Permissions::from_mode(0o620)).unwrap());
}

#[test]
fn an_entry_that_all_may_write_to_is_made_anew() {
    is_made_anew(|_, path| fs::set_permissions(path, Permissions::from_mode(0o602)).unwrap());
}

#[test]
fn an_entry_behind_a_link_is_made_anew() {
    is_made_anew(|bench, path| {
        let elsewhere = bench.path().join("elsewhere");
        fs::rename(path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, path).unwrap();
    });
}

#[test]
fn an_entry_with_a_second_name_is_made_anew() {
    is_made_anew(|bench, path| fs::hard_link(path, bench.path().join("twin")).unwrap());
}

#[test]
fn an_entry_that_became_a_pipe_is_made_anew() {
    is_made_anew(|_, path| {
        fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
}

#[test]
fn an_entry_of_another_user_is_made_anew() {
    let owner = fs::metadata(tempfile::tempdir().unwrap().path()).unwrap().uid();
    if owner != 0 {
        skip("only root can give a file away");
        return;
    }
    is_made_anew(|_, path| std::os::unix::fs::chown(path, Some(1), None).unwrap());
}

#[test]
fn entries_that_changed_places_are_made_anew() {
    let bench = Bench::new();
    let guests = [3, 4].map(|code| bench.file(&format!("{code}.wat"), ends_with(code)));
    assert_eq!(run(&bench, &guests[0]), 3);
    let one = artifact(&bench);
    assert_eq!(run(&bench, &guests[1]), 4);
    let two = entries(&bench, "artifacts").into_iter().find(|path| *path != one).unwrap();

    let aside = bench.path().join("aside");
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();

    assert_eq!((run(&bench, &guests[0]), run(&bench, &guests[1])), (3, 4));
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    for folder in ["", "artifacts", "index", "locks", "empty"] {
        let bench = Bench::new();
        let guest = bench.file("guest.wat", ends_with(0));
        assert_eq!(run(&bench, &guest), 0);

        fs::set_permissions(bench.cache().join(folder), Permissions::from_mode(0o777)).unwrap();

        let outcome = bench.run([&guest]).outcome();
        let outcome = outcome.expect_code(125).expect_error("others may write to it");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn a_cache_behind_a_link_is_refused() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(0));
    fs::create_dir(bench.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", bench.cache()).unwrap();

    let outcome = bench.run([&guest]).outcome();

    outcome.expect_code(125).expect_error("it is a symbolic link");
}

#[test]
fn a_cache_is_its_owners_alone() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(0));

    assert_eq!(run(&bench, &guest), 0);

    for folder in ["", "artifacts", "index", "locks", "empty"] {
        let mode = fs::metadata(bench.cache().join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "`{folder}`");
    }
    let artifact = fs::metadata(artifact(&bench)).unwrap();
    assert_eq!(artifact.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_was_compiled_ahead_is_not_compiled_again() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(5));
    let warmed = bench.aril(["compile".as_ref(), guest.as_os_str()]).outcome().expect_code(0);
    assert!(warmed.stdout.starts_with("sha256:"), "{warmed:#?}");
    let before = fs::metadata(artifact(&bench)).unwrap();

    assert_eq!(run(&bench, &guest), 5);

    let after = fs::metadata(artifact(&bench)).unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
}

#[test]
fn what_was_compiled_ahead_for_a_kind_of_run_serves_that_kind() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(5));
    let args = ["compile", "--for-cpus", "--for-fuel", guest.to_str().unwrap()];
    bench.aril(args).outcome().expect_code(0);
    let before = artifact(&bench);

    let args = ["--cpus", "0.5", "--fuel", "1000", guest.to_str().unwrap()];
    bench.run(args).outcome().expect_code(5);

    assert_eq!(artifact(&bench), before);
}

/// The compilers that work on the wasm with this digest.
fn compilers_of(digest: &str) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| is_compiler_of(*pid, digest)).collect()
}

fn is_compiler_of(pid: u32, digest: &str) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words.contains(&&b"--aril-role"[..]) && words.contains(&digest.as_bytes())
}

/// What a file is called by its content.
fn digest_of(file: &Path) -> String {
    let sum = Command::new("sha256sum").arg(file).output().unwrap();
    format!("sha256:{}", String::from_utf8(sum.stdout).unwrap().split_whitespace().next().unwrap())
}

#[test]
fn two_hundred_runs_of_one_new_file_compile_it_once() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", takes_long_to_compile(1));
    let digest = digest_of(&guest);
    let (mut compilers, mut artifacts) = (BTreeSet::new(), BTreeSet::new());

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A compiler works for much longer than it takes to look for it.
        scope.spawn(|| {
            while !done.load(Relaxed) {
                compilers.extend(compilers_of(&digest));
                let found = entries(&bench, "artifacts");
                let whole = found.iter().filter(|path| !path.to_str().unwrap().contains("draft"));
                artifacts.extend(whole.filter_map(|path| Some(fs::metadata(path).ok()?.ino())));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let runs: Vec<Running> = (0..200).map(|_| bench.run([&guest]).start()).collect();
        for run in runs {
            run.outcome().expect_code(0);
        }
        done.store(true, Relaxed);
    });

    assert_eq!(compilers.len(), 1, "{compilers:?}");
    assert_eq!(artifacts.len(), 1, "{artifacts:?}");
    // Nothing is left of those who waited.
    artifact(&bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guests_of_a_service_compile_a_new_file_once() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(0));
    let log = bench.path().join("log");
    // A compiler that says that it was called, and then is `aril`.
    let aril = aril_path();
    let program = bench.file(
        "compiler",
        format!("#!/bin/sh\necho called >>'{}'\nexec '{}' \"$@\"\n", log.display(), aril.display()),
    );
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();

    let mut preparing = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (cache, program, guest) = (bench.cache().to_owned(), program.clone(), guest.clone());
        preparing.spawn(async move {
            let runtime = Runtime::builder(cache).program(program).open().unwrap();
            runtime.prepare(guest).await.unwrap().digest()
        });
    }
    let digests: BTreeSet<String> =
        preparing.join_all().await.iter().map(ToString::to_string).collect();

    assert_eq!(digests.into_iter().collect::<Vec<_>>(), [digest_of(&guest)]);
    assert_eq!(fs::read_to_string(log).unwrap(), "called\n");
}

/// Starts as many runs of one new guest, and waits until one of them compiles it.
fn runs_that_wait(bench: &Bench, count: usize, salt: u32) -> (Vec<Running>, String, u32) {
    let guest = bench.file("guest.wat", takes_long_to_compile(salt));
    let digest = digest_of(&guest);
    let runs: Vec<Running> = (0..count).map(|_| bench.run([&guest]).start()).collect();
    let mut compiler = None;
    wait_until("a compiler", || {
        compiler = compilers_of(&digest).into_iter().next();
        compiler.is_some()
    });
    (runs, digest, compiler.unwrap())
}

// --- What is said while one waits.

#[test]
fn a_quick_compile_says_nothing() {
    let bench = Bench::new();
    bench.file("guest.wat", ends_with(3));
    bench.file("other.wat", ends_with(4));

    let piped = bench.run(["guest.wat"]).outcome().expect_code(3);
    let Some(shown) = bench.run_on_a_terminal("other.wat") else { return };
    let shown = shown.outcome().expect_code(4);

    assert_eq!((piped.stderr, shown.stdout), (String::new(), String::new()));
}

/// Keeps the compiler of a run from working until the run has said `said`.
fn held_until_said(bench: &Bench, run: Run, said: impl Fn(&Running)) -> Outcome {
    let digest = digest_of(&bench.path().join("guest.wat"));
    let running = run.start();
    let mut compiler = None;
    wait_until("a compiler", || {
        compiler = compilers_of(&digest).into_iter().next();
        compiler.is_some()
    });
    signal(compiler.unwrap(), "STOP");
    said(&running);
    signal(compiler.unwrap(), "CONT");
    running.outcome()
}

#[test]
fn a_long_compile_is_said_once_where_nobody_looks_on() {
    let bench = Bench::new();
    bench.file("guest.wat", takes_long_to_compile(5));

    let outcome = held_until_said(&bench, bench.run(["guest.wat"]), |running| {
        running.wait_for_error("compiling");
        // Three beats later it is not said again.
        std::thread::sleep(Duration::from_millis(1500));
    });

    assert_eq!(outcome.expect_code(0).stderr, "aril: compiling `guest.wat`, once\n");
}

#[test]
fn a_long_compile_is_counted_on_a_terminal_and_leaves_no_trace_there() {
    let bench = Bench::new();
    bench.file("guest.wat", takes_long_to_compile(6));

    let Some(run) = bench.run_on_a_terminal("guest.wat") else { return };
    let outcome = held_until_said(&bench, run, |running| {
        running.wait_for_output("\raril: compiling `guest.wat` (0.5 s)");
        running.wait_for_output("\raril: compiling `guest.wat` (1.0 s)");
    });

    let outcome = outcome.expect_code(0);
    // Back to the beginning of the line, and the line emptied.
    assert!(outcome.stdout.ends_with("s)\r\u{1b}[2K"), "{outcome:#?}");
    assert!(!outcome.stdout.contains('\n'), "{outcome:#?}");
}

#[test]
fn one_who_waits_for_anothers_compiler_says_so_too() {
    let bench = Bench::new();
    let guest = bench.file("guest.wat", ends_with(3));
    assert_eq!(run(&bench, &guest), 3);
    fs::remove_file(artifact(&bench)).unwrap();
    // As if another process compiled it.
    let locks = entries(&bench, "locks");
    let other = fs::OpenOptions::new().write(true).open(&locks[0]).unwrap();
    other.lock().unwrap();

    let piped = bench.run(["guest.wat"]).start();
    let shown = bench.run_on_a_terminal("guest.wat").map(Run::start);
    piped.wait_for_error("aril: compiling `guest.wat`, once\n");
    if let Some(shown) = &shown {
        shown.wait_for_output("\raril: compiling `guest.wat` (0.5 s)");
    }
    drop(other);

    piped.outcome().expect_code(3);
    if let Some(shown) = shown {
        let shown = shown.outcome().expect_code(3);
        assert!(shown.stdout.ends_with("\r\u{1b}[2K"), "{shown:#?}");
    }
}

#[test]
fn a_compiler_that_is_killed_fails_one_run_and_the_others_take_over() {
    let bench = Bench::new();
    let (runs, _, compiler) = runs_that_wait(&bench, 4, 2);

    signal(compiler, "KILL");

    let mut outcomes: Vec<_> = runs.into_iter().map(Running::outcome).collect();
    outcomes.sort_by_key(|outcome| outcome.code);
    let failed = outcomes.pop().unwrap();
    let failed = failed.expect_code(125).expect_error("ended by signal 9");
    assert_eq!(failed.stderr.lines().last().unwrap().matches("aril:").count(), 1, "{failed:#?}");
    for outcome in outcomes {
        outcome.expect_code(0);
    }
    artifact(&bench);
}

#[test]
fn a_run_that_is_killed_takes_its_compiler_along_and_the_others_take_over() {
    let bench = Bench::new();
    let (mut runs, digest, compiler) = runs_that_wait(&bench, 4, 3);
    let status = fs::read_to_string(format!("/proc/{compiler}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let parent: u32 = parent.trim().parse().unwrap();

    signal(parent, "KILL");

    let killed = runs.iter().position(|run| run.pid() == parent).unwrap();
    assert_eq!(runs.remove(killed).outcome().code, None);
    wait_until("the compiler's end", || !compilers_of(&digest).contains(&compiler));
    for run in runs {
        run.outcome().expect_code(0);
    }
}

#[test]
fn a_full_disk_under_the_cache_is_one_clear_error_and_passes_with_it() {
    // A disk of its own, in a namespace that ends with the script.
    const SCRIPT: &str = r#"
        set -e
        mkdir disk; mount -t tmpfs -o size=1m none disk; mkdir -m 700 disk/cache
        ARIL_CACHE_DIR=$PWD/disk/cache; export ARIL_CACHE_DIR
        # As when the first run finds a cache that an earlier one made.
        "$ARIL" run small.wat
        dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null || true
        set +e
        "$ARIL" run large.wat 2>full; echo "full: $?"
        ls -A disk/cache/artifacts | wc -l
        "$ARIL" run small.wat; echo "known: $?"
        rm disk/filler; mount -o remount,size=64m disk
        "$ARIL" run large.wat 2>/dev/null; echo "room: $?"
        "#;
    let bench = Bench::new();
    bench.file("small.wat", ends_with(0));
    bench.file("large.wat", takes_long_to_compile(4));

    let Some(mounts) = OwnMounts::new() else { return };
    let output = mounts
        .command()
        .args(["sh", "-c", SCRIPT])
        .current_dir(bench.path())
        .env("ARIL", aril_path())
        .output()
        .unwrap();

    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, "full: 125\n1\nknown: 0\nroom: 0\n", "{output:?}");
    let full = fs::read_to_string(bench.path().join("full")).unwrap();
    let error = full.lines().last().unwrap();
    assert!(error.contains("No space left on device"), "{full}");
    assert!(error.contains("disk/cache"), "{full}");
}
