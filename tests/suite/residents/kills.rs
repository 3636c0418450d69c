//! A keeper that is killed at any of its system calls, from its start to its end and while it does what
//! it is asked: afterwards the roster tells the truth, and nothing remains.
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
    calls_of_trace(den)
}

fn calls_of_trace(den: &Den) -> Vec<(String, usize)> {
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

/// Has one that runs do what it is asked by these words, with its keeper under `strace` from then on.
/// Says its keeper and its worker, and whether it was done.
fn asked(den: &Den, before: &[&str], verb: &str, flags: &[&str]) -> ([u32; 2], bool) {
    den.start("--name one --memory 64m", SPIN);
    for line in before {
        den.ok(line);
    }
    let keeper = den.keeper("one");
    let processes = [keeper, den.worker("one")];
    let mut strace = Command::new("strace");
    strace.args(["-o", "trace", "-p", &keeper.to_string()]).args(flags);
    strace.current_dir(den.bench.path());
    let mut tracer = den.command::<&str>([]);
    tracer.command = strace;
    let tracer = tracer.start();
    tracer.wait_for_error("attached");
    let done = den.aril(verb.split(' '));
    assert!(matches!(done.code, Some(0 | 1 | 125)), "{verb}: {done:?}");
    tracer.signal("TERM");
    drop(tracer.outcome());
    (processes, done.code == Some(0))
}

/// Kills a keeper at calls of what it is asked, and looks what is left.
fn killed_while_asked(before: &[&str], verb: &str, alive: &[&str]) {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("`strace` is not installed");
        return;
    }
    let den = Den::new();
    den.bench.file("spin.wat", SPIN);
    let (_, is_done) = asked(&den, before, verb, &[]);
    assert!(is_done, "`{verb}` does nothing");
    let all = calls_of_trace(&den);
    den.ok("rm -f one");
    assert!(5 < all.len(), "{all:?}");
    let step = match std::env::var("ARIL_TEST_CRASH").as_deref() {
        Ok("all") => 1,
        _ => (all.len() / DRAWN).max(1),
    };
    for (name, count) in all.iter().rev().step_by(step) {
        let what = format!("`{verb}`, killed at call {count} of `{name}`");
        let inject = format!("inject={name}:signal=SIGKILL:when={count}");
        let (processes, is_done) = asked(&den, before, verb, &["-e", &inject]);
        let [keeper, worker] = processes;
        let listed = den.ok("ps -a --format {{.Names}}|{{.State}}|{{.ExitCode}}|{{.Reason}}");
        if super::is_running(keeper) {
            // It made fewer calls than the one before, and lives: what was asked is done.
            assert!(is_done, "{what}: {listed}");
            assert!(alive.contains(&&*den.status("one")), "{what}: {listed}");
        } else {
            assert_eq!(listed, "one|exited|137|keeper lost\n", "{what}");
            wait_until("the worker to be gone", || !super::is_running(worker));
            den.ok("prune");
        }
        den.aril(["rm", "-f", "one"]);
        wait_until("no control group to be left", || {
            _ = den.aril(["ps"]);
            groups_of(keeper).is_empty()
        });
        den.is_empty(&what);
    }
}

#[test]
fn a_keeper_may_be_killed_while_it_changes_limits() {
    killed_while_asked(&[], "update --memory 128m --output 1m one", &["running"]);
}

#[test]
fn a_keeper_may_be_killed_while_it_pauses_a_guest() {
    killed_while_asked(&[], "pause one", &["paused"]);
}

#[test]
fn a_keeper_may_be_killed_while_it_resumes_a_guest() {
    killed_while_asked(&["pause one"], "resume one", &["running"]);
}

#[test]
fn a_worker_that_is_killed_at_any_moment_of_what_its_keeper_is_asked_has_ended_and_leaves_nothing()
{
    let den = Den::new();
    for verb in ["update --memory 128m one", "pause one", "stop -t 0 one"] {
        for both in [false, true] {
            den.start("--name one --memory 64m", SPIN);
            let [keeper, worker] = [den.keeper("one"), den.worker("one")];
            let asking = den.command(verb.split(' ')).start();
            for pid in [worker, keeper].into_iter().take(if both { 2 } else { 1 }) {
                // It may have ended by then, as it was asked.
                let mut kill = Command::new("kill");
                _ = kill.args(["-s", "KILL", &pid.to_string()]).output();
            }
            drop(asking.outcome());
            wait_until("its end to be told", || den.status("one") == "exited");
            let listed = den.listed("one");
            let ends = ["|137|killed", "|137|keeper lost", "|143|stopped"];
            let is_true = ends.iter().any(|end| listed.ends_with(end));
            assert!(is_true, "`{verb}`, both {both}: {listed}");
            den.ok("rm -f one");
            wait_until("no control group to be left", || {
                _ = den.aril(["ps"]);
                groups_of(keeper).is_empty()
            });
            den.is_empty(verb);
        }
    }
}
