//! What is said of several sandboxes, of which not all are there, and of those that have ended.

use std::fs;

use super::Den;
use super::TICK;
use super::ending;
use crate::support::OwnMounts;

#[test]
fn where_there_is_no_such_sandbox_every_verb_ends_with_1() {
    let den = Den::new();
    for line in [
        "attach no",
        "cp no:/x .",
        "cp . no:/x",
        "exec no x",
        "generate systemd no",
        "inspect --type sandbox no",
        "kill no",
        "logs no",
        "pause no",
        "rename no other",
        "resume no",
        "rm no",
        "stats --no-stream no",
        "stop no",
        "update -m 64m no",
        "wait no",
    ] {
        let outcome = den.aril(line.split(' '));
        assert_eq!(outcome.code, Some(1), "`{line}`: {outcome:#?}");
        let outcome = outcome.expect_error("there is no such sandbox");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
    den.aril(["rm", "-f", "no"]).expect_code(0).expect_error("there is no sandbox `no`");
}

#[test]
fn of_several_names_those_that_are_there_are_told_and_the_others_are_an_error() {
    let den = Den::new();
    den.start("--name one", &ending(3));
    assert_eq!(den.ok("wait one"), "3\n");
    let waited = den.aril(["wait", "no", "one", "neither"]).expect_code(1).expect_output("3\n");
    waited.expect_error("wait for `no`").expect_error("wait for `neither`");

    let shown = den.aril(["inspect", "no", "one"]).expect_code(1).expect_error("`no`");
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["Name"], "one", "{shown}");
    let format = ["inspect", "-f", "{{.Name}}", "no", "one"];
    den.aril(format).expect_code(1).expect_error("`no`").expect_output("one\n");

    den.ok("volume create here");
    let volumes = den.aril(["volume", "inspect", "gone", "here"]).expect_code(1);
    let volumes = volumes.expect_error("there is no volume `gone`");
    assert!(volumes.stdout.contains("\"Name\": \"here\""), "{volumes:#?}");
    let removed = den.aril(["volume", "rm", "gone", "here"]).expect_code(1);
    removed.expect_error("there is no such volume").expect_output("here\n");
    assert_eq!(den.ok("volume ls -q"), "");
}

#[test]
fn what_is_copied_of_one_that_has_ended_is_told_to_be_gone_and_what_is_left() {
    let den = Den::new();
    den.start("--name one", &ending(0));
    den.ok("wait one");
    den.bench.file("x", "");
    for line in ["cp one:/x .", "cp x one:/x"] {
        let outcome = den.aril(line.split(' ')).expect_code(125).expect_error("it has ended");
        outcome.expect_error("gone with it").expect_error("copy while it runs");
    }
}

#[test]
fn amounts_are_for_people_in_the_table_and_exact_in_formats() {
    let den = Den::new();
    let id = den.start("--name one --memory 64m", TICK);
    den.wait_for_log(&id, "tick");
    let table = den.ok("stats --no-stream");
    let row = table.lines().find(|line| line.contains("one")).expect("its row");
    // The guest has a page of 64 KiB, and a MiB beside it.
    assert!(row.contains(" 1.06MiB / 64MiB "), "{table}");
    assert!(row.contains(" 0B / ") && !row.contains("bytes"), "{table}");
    let exact = den.ok("stats --no-stream --format {{.MemUsage}}");
    assert_eq!(exact, "1088 KiB / 64 MiB\n");
}

#[test]
fn what_needs_no_machine_code_needs_no_place_for_it() {
    let den = Den::new();
    den.start("--name one", &ending(0));
    den.ok("wait one");
    let file = den.bench.file("file", "");
    for line in [
        "ps -a",
        "logs one",
        "inspect one",
        "events",
        "images",
        "volume ls",
        "metrics --once",
        "wait one",
        "complete -- rm ",
        "rm one",
        "prune",
    ] {
        let outcome = den.command(line.split(' ')).env("ARIL_CACHE_DIR", &file).outcome();
        let outcome = outcome.expect_code(0);
        assert_eq!(outcome.stderr, "", "`{line}`: {outcome:#?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"", "nothing is put in its place");

    den.bench.file("guest.wat", ending(0));
    for line in ["run guest.wat", "compile guest.wat", "import guest.wat app:1"] {
        let outcome = den.command(line.split(' ')).env("ARIL_CACHE_DIR", &file).outcome();
        let outcome = outcome.expect_code(125).expect_error("it is not a directory");
        outcome.expect_error("name another folder with `--cache`, or by ARIL_CACHE_DIR");
    }
}

#[test]
fn a_disk_that_takes_no_machine_code_is_told_with_what_to_do() {
    let den = Den::new();
    let Some(mounts) = OwnMounts::new() else { return };
    den.bench.file("known.wat", ending(0));
    den.bench.file("new.wat", ending(7));
    fs::create_dir(den.bench.path().join("disk")).unwrap();
    let full = "mount -t tmpfs none disk; \"$0\" compile --cache disk/cache known.wat > compiled; \
                mount -o remount,ro disk";
    let run = |guest| mounts.runs(den.command(["run", "--cache", "disk/cache", guest]), full);
    run("known.wat").outcome().expect_code(0);
    let new = run("new.wat").outcome().expect_code(125).expect_error("name another folder");
    new.expect_error("(`--cache`, ARIL_CACHE_DIR)");
}
