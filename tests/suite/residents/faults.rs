//! What becomes of one whose keeper or worker is killed, whose host is started anew, and of which files
//! are damaged or left behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use std::time::Instant;

use aril::Runtime;

use crate::guests::CAT;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::signal;
use crate::support::wait_until;

use super::Den;
use super::TICK;
use super::ending;
use super::groups_of;
use super::is_running;
use super::names_in;

/// How long a worker may outlive its keeper.
const OUTLIVES_MAX: Duration = Duration::from_millis(100);

#[test]
fn a_keeper_that_is_killed_takes_its_guest_along_and_the_next_verb_says_so() {
    let den = Den::new();
    let mut outlived = Vec::new();
    for round in 0..3 {
        let name = format!("one{round}");
        let id = den.start(&format!("--name {name} --restart always"), TICK);
        den.wait_for_log(&id, "tick");
        let (keeper, worker) = (den.keeper(&name), den.worker(&name));
        let killed = Instant::now();
        signal(keeper, "KILL");
        wait_until("the worker to be gone", || !is_running(worker));
        outlived.push(killed.elapsed());

        let listed = den.listed(&name);
        assert!(listed.contains("|exited|Exited (137) "), "{listed}");
        assert!(listed.ends_with("ago: keeper lost|137|keeper lost"), "{listed}");
        assert_eq!(groups_of(keeper).len(), 0, "a control group is left");
        assert_eq!(den.ok(&format!("wait {name}")), "137\n");
        assert!(den.ok(&format!("logs {name}")).starts_with("tick\n"), "its log is kept");
        den.ok(&format!("stop {name}"));
        den.aril(["pause", &name]).expect_code(1).expect_error("it has ended");
        let actions = den.actions(&id);
        assert_eq!(actions, ["create", "start", "die"], "told once, however often it is looked at");
    }
    let least = outlived.iter().min().unwrap();
    assert!(*least < OUTLIVES_MAX, "{outlived:?}");
    den.ok("rm one0");
    let runtime = Runtime::builder(den.bench.cache()).data(&den.data).open().unwrap();
    assert_eq!(runtime.prune_residents().unwrap().len(), 2);
    den.is_empty("all were removed");
}

#[test]
fn one_with_rm_goes_also_where_its_keeper_was_killed() {
    let den = Den::new();
    den.start("--name one --rm", SPIN);
    let keeper = den.keeper("one");
    signal(keeper, "KILL");
    wait_until("the keeper to be gone", || !is_running(keeper));
    assert_eq!(den.ok("ps -aq"), "");
    assert_eq!(groups_of(keeper).len(), 0);
    den.is_empty("it was to be removed at its end");
}

#[test]
fn a_verb_that_looks_at_one_tells_the_truth_without_a_list_before() {
    let den = Den::new();
    den.start("--name one", TICK);
    let keeper = den.keeper("one");
    let waiting = den.command(["wait", "one"]).start();
    let following = den.command(["logs", "-f", "one"]).start();
    let attached = den.command(["attach", "one"]).start();
    wait_until("all to be there", || den.processes().len() == 4);
    following.wait_for_output("tick");
    attached.wait_for_output("tick");
    signal(keeper, "KILL");
    waiting.outcome().expect_code(0).expect_output("137\n");
    following.outcome().expect_code(0);
    attached.outcome().expect_code(125).expect_error("its keeper is gone");
    assert_eq!(den.inspect("one")["State"]["Reason"], "keeper lost");
    den.ok("rm -f one");
    assert_eq!(groups_of(keeper).len(), 0);
    den.is_empty("removed");
}

#[test]
fn a_worker_that_is_killed_is_told_by_its_keeper() {
    let den = Den::new();
    den.start("--name one", SPIN);
    let keeper = den.keeper("one");
    signal(den.worker("one"), "KILL");
    assert_eq!(den.ok("wait one"), "137\n");
    assert!(den.listed("one").ends_with("|137|killed"), "{}", den.listed("one"));
    wait_until("the keeper to be gone", || !is_running(keeper));
    assert_eq!(groups_of(keeper).len(), 0);
}

#[test]
fn both_may_be_killed() {
    let den = Den::new();
    den.start("--name one", SPIN);
    let (keeper, worker) = (den.keeper("one"), den.worker("one"));
    signal(keeper, "STOP");
    signal(worker, "KILL");
    signal(keeper, "KILL");
    wait_until("both to be gone", || !is_running(keeper) && !is_running(worker));
    assert!(den.listed("one").ends_with("|137|keeper lost"), "{}", den.listed("one"));
    assert_eq!(groups_of(keeper).len(), 0);
    den.ok("rm one");
    den.is_empty("removed");
}

#[test]
fn a_keeper_that_is_asked_to_end_ends_its_guest_first() {
    let den = Den::new();
    for (word, flags, guest, code) in [
        ("TERM", "-i", CAT, "5\n"),
        ("TERM", "--stop-timeout 50ms", SPIN, "143\n"),
        ("INT", "", SPIN, "130\n"),
    ] {
        let id = den.start(&format!("--restart always {flags}"), guest);
        signal(den.keeper(&id), word);
        assert_eq!(den.ok(&format!("wait {id}")), code, "{word}");
        wait_until("its end", || den.status(&id) == "exited");
    }
}

#[test]
fn a_start_of_the_host_in_between_is_told() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let keeper = den.keeper("one");
    signal(keeper, "KILL");
    wait_until("the keeper to be gone", || !is_running(keeper));
    let entry = den.place(&id).join("entry");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&entry).unwrap()).unwrap();
    assert_eq!(value["life"], "running", "{value}");
    value["boot"] = "another start of the host".into();
    fs::write(&entry, value.to_string()).unwrap();
    let listed = den.listed("one");
    assert!(listed.ends_with("ago: host restarted|137|host restarted"), "{listed}");
    let told = den.ok("events --filter event=die");
    assert!(told.contains("reason=host restarted"), "{told}");
}

#[test]
fn one_of_which_nothing_can_be_read_is_told_and_hides_no_other() {
    let den = Den::new();
    den.start("--name good", SPIN);
    let id = den.start("--name bad", &ending(0));
    den.ok("wait bad");
    let entry = den.place(&id).join("entry");
    let whole = fs::read_to_string(&entry).unwrap();
    let newer = whole.replacen("\"version\":1", "\"version\":99", 1);
    let cut = &whole[..whole.len() / 2];
    for text in ["", "{", "\0\0\0", "null", "[]", cut, &newer] {
        fs::write(&entry, text).unwrap();
        let outcome = den.aril(["ps", "-a", "--format", "{{.Names}}"]).expect_code(0);
        assert_eq!(outcome.stdout, "good\n", "{text:?}");
        let said = format!("damaged; remove it with `aril rm -f {}`", &id[..12]);
        assert!(outcome.stderr.contains(&said), "{text:?}: {outcome:#?}");
        den.aril(["inspect", "--type", "sandbox", "bad"]).expect_code(1).expect_error("damaged");
        den.aril(["wait", "bad"]).expect_code(1).expect_error("damaged");
        // Its keeper may take a moment to leave, and until then it runs as far as anybody can tell.
        wait_until("its keeper left", || {
            !den.aril(["rm", "bad"]).expect_code(1).stderr.contains("it is running")
        });
        den.aril(["rm", "bad"]).expect_code(1).expect_error("remove it with force");
    }
    fs::remove_file(&entry).unwrap();
    den.aril(["rm", "bad"]).expect_code(1).expect_error("remove it with force");
    assert_eq!(den.ok(&format!("rm -f {}", &id[..12])), format!("{}\n", &id[..12]));
    assert_eq!(den.ids().len(), 1);

    // One that runs, too.
    let id = den.start("--name runs", SPIN);
    let worker = den.worker("runs");
    fs::write(den.place(&id).join("entry"), "garbage").unwrap();
    den.ok("rm -f runs");
    assert!(!is_running(worker));
    den.ok("rm -f good");
    den.is_empty("removed by force");
}

#[test]
fn what_others_left_in_the_middle_of_their_work_is_cleared() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let (ids, names) = (den.roster().join("ids"), den.roster().join("names"));
    let absent = "0123456789abcdef0123456789abcdef";
    let leave = || {
        for part in [".part-1-0", &format!(".part-{absent}")] {
            fs::create_dir_all(ids.join(part)).unwrap();
            fs::write(ids.join(part).join("keeper"), "").unwrap();
            fs::write(ids.join(part).join("log"), "left").unwrap();
        }
        for (name, target) in [("lost", absent), ("nowhere", "../../.."), ("loop", "loop")] {
            symlink(target, names.join(name)).unwrap();
        }
    };
    leave();
    den.ok("ps");
    assert_eq!(names_in(&ids), std::slice::from_ref(&id));
    assert_eq!(names_in(&names), ["one"]);

    // Names that lead nowhere are free also where nobody has cleared, and at once.
    leave();
    for name in ["lost", "nowhere", "loop"] {
        den.aril(["logs", name]).expect_code(1).expect_error("no such sandbox");
        den.start(&format!("--name {name}"), &ending(0));
    }
    den.ok("ps");
    assert_eq!(names_in(&ids).len(), 4);
    assert_eq!(names_in(&names).len(), 4);
    assert_eq!(den.inspect("one")["Id"], id.as_str());
}

#[test]
fn what_is_no_sandbox_and_lies_where_they_are_is_removed_and_leads_nowhere() {
    let den = Den::new();
    let id = den.start("--name one", SPIN);
    let ids = den.roster().join("ids");
    let kept = den.bench.file("kept/entry", "of somebody else");
    let elsewhere = kept.parent().unwrap();
    let absent = |digit: &str| digit.repeat(32);
    let leave = || {
        symlink(elsewhere, ids.join(absent("a"))).unwrap();
        symlink("nowhere", ids.join(absent("b"))).unwrap();
        symlink(&id, ids.join(absent("c"))).unwrap();
        symlink(elsewhere, ids.join(format!(".part-{}", absent("d")))).unwrap();
        symlink(elsewhere, ids.join("odd name\n")).unwrap();
        fs::write(ids.join(absent("e")), "no directory").unwrap();
    };
    for verb in ["ps -a", "prune"] {
        leave();
        // It is none, under whichever name one asks for it.
        for digit in ["a", "b", "c", "e"] {
            let name = absent(digit);
            den.aril(["logs", &name]).expect_code(1).expect_error("no such sandbox");
            den.aril(["rm", &name]).expect_code(1).expect_error("no such sandbox");
        }
        den.ok(verb);
        assert_eq!(names_in(&ids), [id.as_str()], "{verb}");
    }
    leave();
    for digit in ["a", "b", "c", "e"] {
        let name = absent(digit);
        assert_eq!(den.ok(&format!("rm -f {name}")), format!("{name}\n"));
        assert!(fs::symlink_metadata(ids.join(name)).is_err());
    }
    assert_eq!(fs::read_to_string(kept).unwrap(), "of somebody else");
    assert_eq!(den.status("one"), "running");
}

#[test]
fn a_folder_of_any_length_will_do() {
    let bench = Bench::with_shared_cache();
    let data = bench.path().join("a-long-name".repeat(20)).join("and-another".repeat(20));
    let den = Den { bench, data };
    den.start("--name one -i", CAT);
    den.command(["attach", "one"]).input("hello").outcome().expect_code(5).expect_output("hello");
    assert_eq!(den.ok("wait one"), "5\n");
    den.ok("rm one");
    den.is_empty("removed");
}
