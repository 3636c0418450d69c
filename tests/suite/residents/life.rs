//! A life as docker's users know it: from `run -d` to `rm`.

use std::time::Duration;
use std::time::Instant;

use crate::guests::CAT;
use crate::guests::HOG;
use crate::guests::SPIN;

use super::AT_ONCE;
use super::Den;
use super::TICK;
use super::ending;
use super::is_running;

#[test]
fn it_is_told_by_its_id_and_goes_on_without_who_started_it() {
    let den = Den::new();
    let id = den.start("--name web -l tier=front", TICK);
    den.wait_for_log(&id, "tick");

    let listed = den.listed("web");
    assert!(listed.starts_with(&format!("web|{id}|running|Up ")), "{listed}");
    assert_eq!(den.ok("ps -q"), format!("{}\n", &id[..12]));
    assert_eq!(den.ok("ps -q --no-trunc"), format!("{id}\n"));
    let table = den.ok("ps");
    assert!(table.starts_with("SANDBOX ID "), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(is_running(den.worker("web")));
}

#[test]
fn those_that_ended_are_listed_where_they_are_asked_for() {
    let den = Den::new();
    let ended = den.start("--name ended -l a=1 -l b", &ending(7));
    den.wait_for_status("ended", "exited");
    let runs = den.start("--name runs -l a=2", SPIN);

    let names = |flags: &str| {
        let words = ["ps", "--format", "{{.Names}}"].into_iter().chain(flags.split(' '));
        let said = den.aril(words.filter(|word| !word.is_empty())).expect_code(0).stdout;
        said.lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(""), "runs");
    assert_eq!(names("-a"), "runs ended");
    assert_eq!(names("-l"), "runs");
    assert_eq!(names("-n 5"), "runs ended");
    assert_eq!(names("-n 0"), "");
    assert_eq!(names("-a --filter exited=7"), "ended");
    assert_eq!(names("--filter exited=7"), "ended");
    assert_eq!(names("--filter exited=8"), "");
    assert_eq!(names("--filter status=running"), "runs");
    assert_eq!(names("--filter status=running --filter status=exited"), "runs ended");
    assert_eq!(names("-a --filter label=a"), "runs ended");
    assert_eq!(names("-a --filter label=a=1"), "ended");
    assert_eq!(names("-a --filter label=a --filter label=b"), "ended");
    assert_eq!(names("-a --filter name=un"), "runs");
    assert_eq!(names(&format!("-a --filter id={}", &ended[..20])), "ended");
    assert_eq!(names("-a --filter ancestor=nothing"), "");
    assert_eq!(den.ok("ps -aq --no-trunc"), format!("{runs}\n{ended}\n"));
    let json = den.ok("ps -a --json");
    let rows = json.lines().map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<serde_json::Value> = rows.collect();
    assert_eq!(rows[1]["ExitCode"], 7, "{json}");
    assert_eq!(rows[1]["Labels"], "a=1,b=", "{json}");
    assert_eq!(rows[0]["State"], "running", "{json}");
    for (filter, said) in [("status=asleep", "there is no status"), ("colour=red", "no filter")] {
        den.aril(["ps", "--filter", filter]).expect_code(125).expect_error(said);
    }
}

#[test]
fn one_that_is_stopped_is_ended_when_its_grace_is_over() {
    let den = Den::new();
    den.start("--name one --stop-timeout 300ms", SPIN);
    let started = Instant::now();
    assert_eq!(den.ok("stop one"), "one\n");
    let took = started.elapsed();
    assert!(Duration::from_millis(300) <= took && took < AT_ONCE, "{took:?}");
    let listed = den.listed("one");
    assert!(listed.contains("|exited|Exited (143) ") && listed.ends_with("|143|stopped"));
    // One that has ended is no failure, as docker has it.
    assert_eq!(den.ok("stop one"), "one\n");

    den.start("--name other", SPIN);
    let started = Instant::now();
    assert_eq!(den.ok("stop -t 0 other"), "other\n");
    assert!(started.elapsed() < AT_ONCE);
    assert!(den.listed("other").ends_with("|143|stopped"));
    den.start("--name third", SPIN);
    let started = Instant::now();
    assert_eq!(den.ok("stop --time 200ms third"), "third\n");
    assert!(Duration::from_millis(200) <= started.elapsed());
}

#[test]
fn one_that_ends_with_its_input_ends_by_itself_when_it_is_stopped() {
    let den = Den::new();
    den.start("--name cat -i", CAT);
    let started = Instant::now();
    den.ok("stop cat");
    assert!(started.elapsed() < AT_ONCE, "it was not told that its input ended");
    assert!(den.listed("cat").ends_with("|5|exited"), "{}", den.listed("cat"));

    // Without `-i` there is no input from the beginning.
    den.start("--name closed", CAT);
    assert_eq!(den.ok("wait closed"), "5\n");
}

#[test]
fn one_that_is_killed_ends_at_once_with_the_signals_code() {
    let den = Den::new();
    for (flags, code) in [("", "137"), ("-s INT ", "130"), ("--signal SIGQUIT ", "131")] {
        let id = den.start("", SPIN);
        assert_eq!(den.ok(&format!("kill {flags}{id}")), format!("{id}\n"));
        assert_eq!(den.ok(&format!("wait {id}")), format!("{code}\n"));
    }
    den.start("--name soft --stop-timeout 50ms", SPIN);
    den.ok("kill -s TERM soft");
    assert_eq!(den.ok("wait soft"), "143\n");
    den.start("--name deaf", SPIN);
    den.aril(["kill", "-s", "USR1", "deaf"]).expect_code(1).expect_error("a guest has no signals");
    assert_eq!(den.status("deaf"), "running");
    den.aril(["kill", "soft"]).expect_code(1).expect_error("it has ended");
}

#[test]
fn its_code_is_waited_for_and_known_afterwards() {
    let den = Den::new();
    den.start("--name later", TICK);
    let waiting = den.command(["wait", "later"]).start();
    den.ok("kill later");
    waiting.outcome().expect_code(0).expect_output("137\n");

    den.start("--name seven", &ending(7));
    assert_eq!(den.ok("wait seven"), "7\n");
    assert_eq!(den.ok("wait seven later"), "7\n137\n");
    den.start("--name hog --memory 2m", HOG);
    assert_eq!(den.ok("wait hog"), "137\n");
    assert!(den.listed("hog").ends_with("|137|out_of_memory"), "{}", den.listed("hog"));
    assert!(den.actions("hog").contains(&"oom".to_owned()));
}

#[test]
fn one_that_runs_is_removed_by_force_alone() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let keeper = den.keeper("one");
    let worker = den.worker("one");
    den.aril(["rm", "one"]).expect_code(1).expect_error("it is running; stop it first");
    assert_eq!(den.status("one"), "running");

    assert_eq!(den.ok("rm -f one"), "one\n");

    assert!(!is_running(worker));
    assert!(!den.place(&id).exists());
    den.aril(["inspect", "--type", "sandbox", "one"])
        .expect_code(1)
        .expect_error("there is no such sandbox");
    den.aril(["rm", "one"]).expect_code(1).expect_error("there is no such sandbox");
    den.aril(["rm", "-f", "one"]).expect_code(0).expect_error("there is no sandbox `one`");
    assert!(super::groups_of(keeper).is_empty());
    den.is_empty("removed by force");

    den.start("--name gone", &ending(0));
    den.ok("wait gone");
    assert_eq!(den.ok("rm gone"), "gone\n");
    den.is_empty("removed");
}

#[test]
fn one_with_rm_goes_by_itself() {
    let den = Den::new();
    let id = den.start("--rm --name one -i", CAT);
    den.ok("stop one");
    den.is_empty("it was to be removed at its end");
    assert!(!den.place(&id).exists());
    assert_eq!(den.actions("one"), ["create", "start", "stop", "die", "destroy"]);
}

#[test]
fn a_new_name_is_its_name_from_then_on_and_the_old_one_is_free() {
    let den = Den::new();
    let id = den.start("--name old", TICK);
    den.ok("rename old new");
    assert_eq!(den.inspect("new")["Id"], id.as_str());
    den.aril(["logs", "old"]).expect_code(1).expect_error("there is no such sandbox");
    den.start("--name old", &ending(0));
    den.aril(["rename", "new", "old"]).expect_code(125).expect_error("the name is taken");
    den.ok("rename new new");
    den.ok("kill new");
    den.ok("wait new");
    // One that has ended too.
    den.ok("rename new newer");
    assert_eq!(den.inspect("newer")["Id"], id.as_str());
    let said = den.ok("events --json --filter event=die");
    assert!(said.contains(r#""name":"new""#), "what happens is told by the new name: {said}");
}

#[test]
fn what_happens_is_told_in_its_order() {
    let den = Den::new();
    den.start("--name one", TICK);
    for line in ["pause one", "resume one", "update --memory 64m one", "rename one two"] {
        den.ok(line);
    }
    den.ok("stop -t 0 two");
    den.ok("rm two");
    let all = den.ok("events --format {{.action}}");
    let all: Vec<_> = all.lines().collect();
    let expected =
        ["create", "start", "pause", "unpause", "update", "rename", "stop", "die", "destroy"];
    assert_eq!(all, expected);
    let json = den.ok("events --json --filter event=die");
    let die: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(die["attributes"]["exitCode"], "143", "{die}");
    assert_eq!(die["attributes"]["reason"], "stopped", "{die}");
    let last = den.ok("events --json --filter event=destroy");
    assert!(last.contains(r#""name":"two""#), "{last}");
    assert_eq!(den.ok("events --since 1h --format {{.action}}").lines().count(), 9);
    assert_eq!(den.ok("events --until 1h"), "");
    den.aril(["events", "--filter", "colour=red"]).expect_code(125).expect_error("is no filter");
}

#[test]
fn who_follows_events_is_told_as_they_happen() {
    let den = Den::new();
    den.start("--name one", TICK);
    let following = den.command(["events", "-f"]).start();
    following.wait_for_output(" start ");
    den.ok("kill one");
    following.wait_for_output(" die ");
}

#[test]
fn one_that_is_paused_stands_still_until_it_is_resumed() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    den.wait_for_log(&id, "tick");
    den.ok("pause one");

    let listed = den.listed("one");
    assert!(listed.contains("|paused|Up ") && listed.contains("(Paused)"), "{listed}");
    // What it had written is on its way for a moment.
    let lines = || den.ok("logs one").lines().count();
    let mut before = lines();
    crate::support::wait_until("its log to stand still", || {
        std::thread::sleep(Duration::from_millis(20));
        let was = std::mem::replace(&mut before, lines());
        was == before
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(lines(), before, "it went on");
    den.aril(["pause", "one"]).expect_code(1).expect_error("paused");
    assert_eq!(den.ok("ps -q --filter status=paused"), format!("{}\n", &id[..12]));

    den.ok("resume one");
    crate::support::wait_until("it to go on", || before < lines());
    den.aril(["resume", "one"]).expect_code(1).expect_error("not paused");
    den.ok("pause one");
    den.ok("stop -t 0 one");
    assert!(den.listed("one").ends_with("|143|stopped"));
}

/// A guest that asks for 4 MiB again and again, and says each time that it got them.
const GROWS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "grown\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 6))
    (loop $l
      (br_if $l (i32.eq (memory.grow (i32.const 64)) (i32.const -1)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (br $l))))"#;

#[test]
#[expect(clippy::print_stdout, reason = "how long it takes is worth knowing")]
fn more_memory_is_there_without_a_restart_and_soon() {
    /// What a change may take, the command with all: it is a few milliseconds where nothing else
    /// runs.
    const SOON: Duration = Duration::from_millis(250);
    let den = Den::new();
    let id = den.start("--name one --memory 2m", GROWS);
    let worker = den.worker("one");
    let grown = || den.ok("logs one").lines().count();
    assert_eq!(grown(), 0);
    let mut took = Vec::new();
    for times in 1..=9 {
        let before = std::time::SystemTime::now();
        den.ok(&format!("update --memory {}m one", 2 + 4 * times));
        crate::support::wait_until("it to grow", || grown() == times);
        let log = std::fs::read_to_string(den.place(&id).join("log")).unwrap();
        let at = log.lines().last().unwrap().split(' ').next().unwrap().to_owned();
        took.push(moment(&at).duration_since(before).unwrap_or_default());
    }
    took.sort();
    println!("from `aril update` to a guest that got it: {took:?}");
    assert!(took[4] < SOON, "{took:?}");
    assert_eq!(den.worker("one"), worker, "it was started again");
    let inspected = den.inspect("one");
    let memory = inspected["Limits"].as_array().unwrap().iter().find(|one| one["Name"] == "memory");
    assert_eq!(memory.unwrap()["Amount"], "38 MiB", "{inspected}");
    den.aril(["update", "one"]).expect_code(125).expect_error("nothing is to be changed");
    den.aril(["update", "--fuel", "5", "one"]).expect_code(1).expect_error("fuel");
    den.ok("kill one");
    den.ok("wait one");
    den.aril(["update", "--memory", "1g", "one"]).expect_code(1).expect_error("it has ended");
}

#[test]
fn every_limit_that_can_change_is_changed_by_update_and_said() {
    let den = Den::new();
    let told = den.aril(["doctor"]).stdout;
    let has = |what: &str| {
        let wanted = format!("control group: {what} ");
        told.lines().any(|line| line.starts_with("ok ") && line.contains(&wanted))
    };
    if !has("pids") || !has("cpu") {
        return crate::support::skip("no control group holds processes and processors here");
    }
    den.start("--name one --pids-limit 32 --cpu-weight 50 --cpus 0.5", TICK);
    den.ok("update --pids-limit 64 --cpu-weight 200 --cpus 1 --output 1m --open-files 9 one");
    let inspected = den.inspect("one");
    let amount = |name: &str| {
        let limits = inspected["Limits"].as_array().unwrap();
        let found = limits.iter().find(|one| one["Name"] == name).unwrap();
        found["Amount"].as_str().unwrap_or_default().to_owned()
    };
    let names = ["pids", "cpu_weight", "cpus", "output", "open_files"];
    assert_eq!(names.map(amount), ["64", "200", "1", "1 MiB", "9"], "{inspected}");
}

#[test]
fn a_group_joins_what_it_was_made_without_where_it_is_to_be_held_to_that() {
    let den = Den::new();
    let told = den.aril(["doctor"]).stdout;
    let has = |what: &str| {
        let wanted = format!("control group: {what} ");
        told.lines().any(|line| line.starts_with("ok ") && line.contains(&wanted))
    };
    if !["memory", "pids", "cpu"].into_iter().all(has) {
        return crate::support::skip(
            "no control group holds memory, processes and processors here",
        );
    }
    den.start("--name one", SPIN);
    let keeper = den.keeper("one");
    let worker = den.worker("one").to_string();
    let of_group = |file: &str| {
        let groups = super::groups_of(keeper);
        let found = groups.iter().find_map(|group| std::fs::read_to_string(group.join(file)).ok());
        found.map(|text| text.trim().to_owned())
    };
    let quota = || of_group("cpu.cfs_quota_us").or_else(|| of_group("cpu.max"));
    let held = |name: &str| {
        let inspected = den.inspect("one");
        let limits = inspected["Limits"].as_array().unwrap().clone();
        limits.into_iter().find(|one| one["Name"] == name).unwrap()
    };

    den.ok("update --cpus 0.2 --pids-limit 64 --cpu-weight 50 one");
    assert_eq!((&held("cpus")["Amount"], &held("cpus")["Rung"]), (&"0.2".into(), &"cgroup".into()));
    assert_eq!(held("pids")["Amount"], "64");
    assert!(["20000", "20000 100000"].contains(&quota().unwrap().as_str()), "{:?}", quota());
    assert_eq!(of_group("pids.max").as_deref(), Some("64"));
    for group in super::groups_of(keeper) {
        let there = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert_eq!(there.trim(), worker, "{}", group.display());
    }
    // It holds what it says.
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        let rest = stat.rsplit(')').next().unwrap().to_owned();
        rest.split_whitespace().nth(11).unwrap().parse::<f64>().unwrap() / 100.0
    };
    let (before, started) = (used(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let share = (used() - before) / started.elapsed().as_secs_f64();
    assert!(share < 0.35, "{share} of a processor");

    // Whatever runs beside it is in all of it, and all of it is gone with the guest.
    den.bench.file("beside.wat", TICK);
    let beside = den.command(["exec", "--wasm", "beside.wat", "one"]).start();
    beside.wait_for_output("tick");
    for group in super::groups_of(keeper) {
        let there = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert_eq!(there.lines().count(), 2, "{}", group.display());
    }
    den.ok("update --cpus unlimited --pids-limit unlimited one");
    assert!(["-1", "max 100000"].contains(&quota().unwrap().as_str()), "{:?}", quota());
    assert_eq!(of_group("pids.max").as_deref(), Some("max"));
    assert_eq!(held("cpus")["Amount"], serde_json::Value::Null, "{}", held("cpus"));
    den.ok("kill one");
    den.ok("wait one");
    beside.outcome().expect_code(137);
    assert_eq!(super::groups_of(keeper).len(), 0);
}

/// A moment as logs have it, in UTC, of today.
fn moment(text: &str) -> std::time::SystemTime {
    let output = std::process::Command::new("date").args(["-d", text, "+%s.%N"]).output().unwrap();
    let seconds: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    std::time::UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

#[test]
fn what_is_known_of_it_is_shown_with_dockers_names() {
    let den = Den::new();
    let id = den.start("--name one --memory 64m -l tier=front --stop-timeout 3s", &ending(7));
    den.ok("wait one");
    let shown = den.inspect("one");
    assert_eq!(shown["Id"], id.as_str(), "{shown}");
    assert_eq!(shown["Name"], "one", "{shown}");
    assert_eq!(shown["State"]["Status"], "exited", "{shown}");
    assert_eq!(shown["State"]["ExitCode"], 7, "{shown}");
    assert_eq!(shown["State"]["Running"], false, "{shown}");
    assert_eq!(shown["State"]["OOMKilled"], false, "{shown}");
    assert_eq!(shown["Config"]["Labels"]["tier"], "front", "{shown}");
    assert_eq!(shown["HostConfig"]["RestartPolicy"], "no", "{shown}");
    let (began, ended) = (&shown["State"]["StartedAt"], &shown["State"]["FinishedAt"]);
    assert!(shown["Created"].as_str() < began.as_str() && began.as_str() < ended.as_str());
    assert_eq!(shown["Record"]["code"], 7, "{shown}");
    assert_eq!(den.ok(&format!("inspect --format {{{{.State.ExitCode}}}} {id}")), "7\n");
}

#[test]
fn what_it_uses_is_shown_as_it_runs() {
    let den = Den::new();
    den.start("--name one --memory 64m", SPIN);
    let said = den.ok("stats --no-stream --format json one");
    let row: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(row["Name"], "one", "{row}");
    assert!(row["MemUsage"].as_str().unwrap().ends_with("/ 64 MiB"), "{row}");
    let share = row["CPUPerc"].as_str().unwrap().trim_end_matches('%').parse::<f64>().unwrap();
    assert!(5.0 < share && share < 150.0, "{row}");
    den.ok("kill one");
    den.ok("wait one");
    den.aril(["stats", "--no-stream", "one"]).expect_code(125).expect_error("it has ended");
}

#[test]
fn what_fails_at_its_start_is_said_here_with_the_code_of_a_run_in_the_foreground() {
    let den = Den::new();
    den.bench.file("garbage.wasm", "no wasm");
    den.bench
        .file("much.wat", r#"(module (memory (export "memory") 1000) (func (export "_start")))"#);
    den.bench.file("spin.wat", SPIN);
    for (line, code, said) in [
        ("run -d --name one ./absent.wasm", 127, "absent.wasm"),
        ("run -d --name one garbage.wasm", 126, "garbage.wasm"),
        ("run -d --name one -v ./absent:/x spin.wat", 125, "absent"),
        ("run -d --name one --memory 1 spin.wat", 125, "memory"),
        ("run -d --name one --json - spin.wat", 125, "`--json` is for the foreground"),
        ("run -d --name one --rm --restart always spin.wat", 125, "cannot be used with"),
        ("run -d --name one --log-opt max-size=banana spin.wat", 125, "max-size"),
        ("run -d --name one --restart sometimes spin.wat", 125, "is no policy"),
    ] {
        let outcome = den.aril(line.split(' '));
        assert_eq!(outcome.code, Some(code), "{line}: {outcome:#?}");
        assert!(outcome.stderr.contains(said), "{line}: {outcome:#?}");
        assert_eq!(outcome.stdout, "", "{line}");
        den.is_empty(line);
    }
    let empty = den.starting("--name much --memory 1m", "").outcome();
    assert_eq!(empty.code, Some(126), "{empty:#?}");
    den.is_empty("an empty file");
}

#[test]
fn what_is_refused_when_its_instance_is_made_was_never_started() {
    const MUCH: &str = r#"(module (memory (export "memory") 100) (func (export "_start")))"#;
    let den = Den::new();
    den.bench.file("much.wat", MUCH);
    den.bench.file("spin.wat", SPIN);
    let no_room = "ulimit -v 3000000";
    for (flags, before, code, said) in [
        ("--memory 2m", ":", 126, "the guest was denied at its start: it declares so much memory"),
        ("--memory 64m", no_room, 125, "there is no room for another sandbox"),
    ] {
        let run = |words: &str| {
            let line = format!("run {words}{flags} much.wat");
            den.command(line.split(' ')).after(before).outcome()
        };
        run("").expect_code(code);
        for words in
            ["-d ", "-d --rm ", "-d --restart always --name one ", "--name one ", "-t --rm "]
        {
            let outcome = run(words).expect_code(code).expect_error(said);
            assert_eq!(outcome.stdout, "", "{words}: {outcome:#?}");
            den.is_empty(words);
        }
    }
    // What its own code does is its end, also where that runs as the instance is made.
    let traps = r#"(module (func $start unreachable) (start $start) (func (export "_start")))"#;
    den.start("--name traps", traps);
    assert_eq!(den.ok("wait traps"), "134\n");
    let spins =
        r#"(module (func $start (loop $l (br $l))) (start $start) (func (export "_start")))"#;
    den.start("--name spins", spins);
    assert_eq!(den.status("spins"), "running");
    den.ok("stop -t 0 spins");
}

#[test]
fn what_was_killed_is_found_ended_by_whoever_removes_it_next() {
    let den = Den::new();
    for _ in 0..8 {
        den.start("--name one", SPIN);
        den.ok("kill one");
        den.ok("rm one");
    }
    let none = den.aril(["rm", "-f", "one"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "it was not removed: {none:#?}");
}
