//! A keeper that is killed at any of its system calls, from its start to its end: afterwards the roster
//! tells the truth, and nothing remains.
//!
//! `ARIL_TEST_CRASH=all` tries every one of them; without it, some are drawn, always the same.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::guests::SPIN;
use crate::support::Running;
use crate::support::children_of;
use crate::support::skip;
use crate::support::wait_until;

use super::Den;
use super::groups_of;

/// How many calls are tried, unless all are.
const DRAWN: usize = 16;

/// Starts a keeper under `strace`, with these flags.
fn traced(den: &Den, flags: &[&str]) -> Running {
    let mut strace = Command::new("strace");
    strace.args(["-o", "trace"]).args(flags).arg("--");
    den.command(["--aril-keeper", "run", "-d", "--name", "one", "spin.wat"]).within(strace).start()
}

/// Has one stop that may have begun, and waits until its keeper is gone. Says its number.
fn to_its_end(den: &Den, tracer: Running) -> Option<u32> {
    let started = Instant::now();
    let mut keeper = None;
    while keeper.is_none() && started.elapsed() < Duration::from_secs(2) {
        if !super::is_running(tracer.pid()) {
            break;
        }
        keeper = children_of(tracer.pid()).first().copied();
    }
    // It has begun, or it is killed.
    wait_until("it to begin or to be killed", || {
        let is_there = den.aril(["inspect", "--format", "{{.State.Status}}", "one"]);
        is_there.stdout == "running\n" || !super::is_running(tracer.pid())
    });
    // It is killed meanwhile, mostly.
    _ = den.aril(["stop", "-t", "0", "one"]);
    // The tracer ends as the keeper did.
    _ = tracer.outcome();
    keeper
}

/// The calls of a life in their order, each with which one of its name it is.
fn calls(den: &Den) -> Vec<(String, usize)> {
    to_its_end(den, traced(den, &[]));
    assert!(den.listed("one").ends_with("|143|stopped"), "{}", den.listed("one"));
    den.ok("rm one");
    let text = fs::read_to_string(den.bench.path().join("trace")).unwrap();
    let mut counts = BTreeMap::new();
    let name = |line: &str| {
        let name = line.split('(').next().unwrap();
        let is_call = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_call && line.contains('(')).then(|| name.to_owned())
    };
    text.lines()
        .filter_map(name)
        .map(|name| {
            let count = counts.entry(name.clone()).or_insert(0);
            *count += 1;
            (name, *count)
        })
        .collect()
}

#[test]
fn a_keeper_may_be_killed_at_any_call_and_the_roster_tells_the_truth() {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("`strace` is not installed");
        return;
    }
    let den = Den::new();
    den.bench.file("spin.wat", SPIN);
    // It is compiled beforehand, or every try would wait for that.
    den.ok("compile spin.wat");
    let all = calls(&den);
    assert!(100 < all.len(), "{all:?}");
    let step = match std::env::var("ARIL_TEST_CRASH").as_deref() {
        Ok("all") => 1,
        _ => all.len() / DRAWN,
    };
    // From the end, where more is at stake.
    for (name, count) in all.iter().rev().step_by(step) {
        let what = format!("killed at call {count} of `{name}`");
        let inject = format!("inject={name}:signal=SIGKILL:when={count}");
        let keeper = to_its_end(&den, traced(&den, &["-e", &inject]));

        let listed = den.ok("ps -a --format {{.Names}}|{{.State}}|{{.ExitCode}}|{{.Reason}}");
        let is_true =
            ["", "one|exited|137|keeper lost\n", "one|exited|143|stopped\n"].contains(&&*listed);
        assert!(is_true, "{what}: {listed}");
        if let Some(keeper) = keeper {
            wait_until("no control group to be left", || {
                _ = den.aril(["ps"]);
                groups_of(keeper).is_empty()
            });
        }
        let is_there = usize::from(!listed.is_empty());
        assert_eq!(den.ids().len(), is_there, "{what}: {:?}", den.ids());
        assert_eq!(super::names_in(&den.roster().join("names")).len(), is_there, "{what}");
        den.ok("rm -f one");
        den.is_empty(&what);
    }
}

#[test]
fn who_starts_one_is_told_where_its_keeper_is_killed_before_it_has_begun() {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("`strace` is not installed");
        return;
    }
    let den = Den::new();
    den.bench.file("spin.wat", SPIN);
    den.ok("compile spin.wat");
    // The only link that is made is its name, by the keeper.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "trace", "-e", "inject=symlinkat:signal=SIGKILL:when=1", "--"]);
    let run = den.command(["run", "-d", "--name", "one", "spin.wat"]).within(strace);
    run.outcome()
        .expect_code(125)
        .expect_output("")
        .expect_error("its keeper was killed before the guest had begun");
    assert_eq!(den.ok("ps -aq"), "");
    den.is_empty("killed before it had begun");
}
