//! A program beside a guest lives in the guest's own control group, and as the guest does.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::Den;
use super::groups_of;
use super::is_running;
use crate::guests::SPIN;
use crate::support::children_of;
use crate::support::skip;
use crate::support::wait_until;

/// A guest that writes into this many MiB of memory, and waits.
fn holding(mib: u32) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {pages})
  (func (export "_start") (local $at i32)
    (local.set $at (i32.const 4096))
    (loop $l
      (i32.store (local.get $at) (i32.const 7))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $l (i32.lt_u (local.get $at) (i32.const {bytes}))))
    (i32.store (i32.const 24) (i32.const 1)) (i64.store (i32.const 32) (i64.const 10000000))
    (loop $m (drop (call $poll (i32.const 8) (i32.const 200) (i32.const 1) (i32.const 300))) (br $m))))"#,
        pages = mib * 16,
        bytes = u64::from(mib) << 20,
    )
}

impl Den {
    /// Those of its processes that run.
    fn workers(&self, name: &str) -> Vec<u32> {
        let children = children_of(self.keeper(name));
        children.into_iter().filter(|pid| is_running(*pid)).collect()
    }

    /// Has a program run beside it, and returns once it does.
    fn beside(&self, name: &str, guest: &str) -> crate::support::Running {
        self.bench.file("beside.wat", guest);
        // Also what compiles it is a process of the keeper's.
        let count = || self.actions(name).iter().filter(|action| *action == "exec").count();
        let before = count();
        let beside = self.command(["exec", "--wasm", "beside.wat", name]).start();
        wait_until("the program beside it", || count() == before + 1);
        beside
    }

    /// The directories of its control group; none where this host gives none, which is told.
    fn group(&self, name: &str) -> Vec<PathBuf> {
        let groups = groups_of(self.keeper(name));
        if groups.is_empty() {
            skip("no control groups can be made here");
        }
        groups
    }

    /// The file of that name of its control group, where there is one.
    fn file_of_group(&self, name: &str, file: &str) -> Option<String> {
        let mut groups = groups_of(self.keeper(name)).into_iter();
        groups.find_map(|group| fs::read_to_string(group.join(file)).ok())
    }

    fn last_ends_of_programs(&self, name: &str) -> Vec<String> {
        let filter = format!("sandbox={name}");
        let said = self.aril(["events", "--format", "json", "--filter", &filter]).expect_code(0);
        let all = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        let ends = all.filter(|event: &serde_json::Value| event["action"] == "exec_die");
        let told = |event: serde_json::Value| {
            let word = |name: &str| event["attributes"][name].as_str().unwrap().to_owned();
            format!("{} {}", word("exitCode"), word("reason"))
        };
        ends.map(told).collect()
    }
}

fn processes_in(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut all: Vec<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
    all.sort_unstable();
    all
}

#[test]
fn it_is_counted_with_the_guest_and_gone_before_the_guests_end_is_told() {
    let den = Den::new();
    den.start("--name one --pids-limit 64", SPIN);
    let groups = den.group("one");
    let beside = den.beside("one", &holding(40));
    let mut workers = den.workers("one");
    workers.sort_unstable();
    let keeper = den.keeper("one");
    for group in &groups {
        wait_until("both to be in it", || processes_in(group) == workers);
    }
    if !groups.is_empty() {
        assert_eq!(groups_of(keeper), groups, "it has a group of its own");
        wait_until("both to be counted", || {
            let said = den.ok("stats --no-stream --format {{.PIDs}} one");
            said.trim().parse::<u32>().is_ok_and(|count| 2 <= count)
        });
    }
    den.ok("kill one");
    den.ok("wait one");
    for pid in &workers {
        assert!(!is_running(*pid), "{pid} is left");
    }
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    beside.outcome().expect_code(137);
    wait_until("its keeper to be gone", || den.processes().is_empty());
    assert_eq!(den.last_ends_of_programs("one"), ["137 killed"]);
}

#[test]
fn both_together_take_no_more_memory_than_the_guest_may_and_who_was_ended_is_told() {
    let den = Den::new();
    den.start("--name one --memory 64m", &holding(24));
    if den.group("one").is_empty() {
        return;
    }
    let is_v1 = den.file_of_group("one", "memory.limit_in_bytes").is_some();
    den.bench.file("big.wat", holding(60));
    den.aril(["exec", "--wasm", "big.wat", "one"]).expect_code(137);
    wait_until("its end to be told", || !den.last_ends_of_programs("one").is_empty());
    assert_eq!(den.last_ends_of_programs("one"), ["137 out_of_memory"]);
    assert!(den.actions("one").contains(&"oom".to_owned()));
    if is_v1 {
        // The kernel ended the one that took the most, and nothing else.
        assert_eq!(den.status("one"), "running");
        den.ok("kill one");
        den.ok("wait one");
        let told = den.listed("one");
        assert!(told.ends_with("|137|killed"), "its own end was no other's: {told}");
    } else {
        den.ok("wait one");
        let told = den.listed("one");
        assert!(told.ends_with("|137|out_of_memory"), "{told}");
    }
}

#[test]
fn it_stands_still_with_the_guest_and_none_begins_meanwhile() {
    let den = Den::new();
    den.start("--name one", SPIN);
    let beside = den.beside("one", SPIN);
    let workers = den.workers("one");
    let used = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let rest = stat.rsplit(')').next().unwrap().to_owned();
        let words: Vec<_> = rest.split_whitespace().collect();
        words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
    };
    let all = || workers.iter().map(used).collect::<Vec<_>>();
    wait_until("both to run", || all().iter().all(|used| 0 < *used));
    den.ok("pause one");
    let before = all();
    den.bench.file("late.wat", SPIN);
    let late = den.aril(["exec", "--wasm", "late.wat", "one"]);
    late.expect_code(125).expect_error("it is paused").expect_error("aril resume");
    assert_eq!(all(), before, "one of them ran on");
    den.ok("resume one");
    wait_until("both to go on", || all().iter().zip(&before).all(|(now, before)| before < now));
    den.ok("pause one");
    den.ok("kill one");
    beside.outcome().expect_code(137);
}

#[test]
fn what_is_changed_of_the_guests_limits_holds_for_it() {
    let den = Den::new();
    den.start("--name one", SPIN);
    let beside = den.beside("one", super::TICK);
    den.ok("update --output 64 one");
    beside.outcome().expect_code(153);
    assert_eq!(den.status("one"), "running");
    wait_until("its end to be told", || !den.last_ends_of_programs("one").is_empty());
    assert_eq!(den.last_ends_of_programs("one"), ["153 output"]);
}

#[test]
fn it_is_one_of_the_processes_that_the_guest_may_have() {
    let den = Den::new();
    den.start("--name one --pids-limit 64", SPIN);
    if den.group("one").is_empty() {
        return;
    }
    let count = den.file_of_group("one", "pids.current").expect("it is counted");
    den.ok(&format!("update --pids-limit {} one", count.trim()));
    den.bench.file("more.wat", SPIN);
    let more = den.aril(["exec", "--wasm", "more.wat", "one"]);
    more.expect_code(125).expect_error("`pids` limit").expect_error("aril update --pids-limit");
    den.ok("update --pids-limit 64 one");
    drop(den.beside("one", SPIN));
}

#[test]
fn one_that_comes_as_the_guest_ends_is_told_that_it_has_ended() {
    let den = Den::new();
    den.bench.file("beside.wat", super::ending(0));
    // It is compiled once.
    den.start("--name first", SPIN);
    den.aril(["exec", "--wasm", "beside.wat", "first"]).expect_code(0);
    for round in 0..24 {
        let id = den.start("--rm", SPIN);
        let all: Vec<_> =
            (0..4).map(|_| den.command(["exec", "--wasm", "beside.wat", &id]).start()).collect();
        // At another moment of their beginnings each time.
        std::thread::sleep(std::time::Duration::from_millis(round));
        den.ok(&format!("kill {id}"));
        for beside in all {
            let outcome = beside.outcome();
            if outcome.code == Some(125) || outcome.code == Some(127) || outcome.code == Some(1) {
                let known = [
                    "it has ended",
                    "it is not running",
                    "no such sandbox",
                    "it is no more",
                    "its keeper is gone",
                ];
                assert!(known.iter().any(|text| outcome.stderr.contains(text)), "{outcome:#?}");
            }
            assert!(!outcome.stderr.contains("control group"), "{outcome:#?}");
        }
    }
}
