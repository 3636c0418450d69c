//! Several who want the same at once, and many one after the other.

use std::fs;
use std::os::unix::fs::symlink;

use crate::guests::SPIN;
use crate::support::Outcome;
use crate::support::Running;
use crate::support::wait_until;

use super::Den;
use super::TICK;
use super::groups_of;

/// Runs the same line several times at once.
fn at_once(den: &Den, lines: &[&str]) -> Vec<Outcome> {
    let all: Vec<Running> = lines.iter().map(|line| den.command(line.split(' ')).start()).collect();
    all.into_iter().map(Running::outcome).collect()
}

#[test]
fn of_many_who_want_a_name_exactly_one_gets_it() {
    let den = Den::new();
    den.bench.file("spin.wat", SPIN);
    for round in 0..5 {
        if round % 2 == 1 {
            // One that leads nowhere must be given to one as well.
            let absent = "0123456789abcdef0123456789abcdef";
            fs::create_dir_all(den.roster().join("names")).unwrap();
            symlink(absent, den.roster().join("names/same")).unwrap();
        }
        let outcomes = at_once(&den, &["run -d --name same spin.wat"; 8]);
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|outcome| outcome.code == Some(0));
        assert_eq!(won.len(), 1, "{won:#?}");
        for outcome in lost {
            assert_eq!(outcome.stdout, "");
            outcome.expect_code(125).expect_error("the name is taken by the sandbox");
        }
        assert_eq!(den.inspect("same")["Id"], won[0].stdout.trim());
        assert_eq!(den.ok("ps -aq --no-trunc"), won[0].stdout);
        den.ok("rm -f same");
        den.is_empty("one of many");
    }
}

#[test]
fn two_who_want_the_same_of_one_at_once_both_get_an_answer() {
    let den = Den::new();
    for _ in 0..5 {
        den.start("--name one", TICK);
        for outcome in at_once(&den, &["update --memory 64m one", "update --memory 32m one"]) {
            outcome.expect_code(0);
        }
        let both = at_once(&den, &["rename one a", "rename one b"]);
        assert!(both.iter().any(|outcome| outcome.code == Some(0)), "{both:#?}");
        for outcome in both.into_iter().filter(|outcome| outcome.code != Some(0)) {
            outcome.expect_code(1).expect_error("no such sandbox");
        }
        let names = super::names_in(&den.roster().join("names"));
        assert_eq!(names.len(), 1, "it has one name: {names:?}");
        let name = &names[0];
        let outcomes = at_once(&den, &[&format!("stop -t 0 {name}"), &format!("stop {name}")]);
        for outcome in outcomes {
            outcome.expect_code(0).expect_output(&format!("{name}\n"));
        }
        assert!(den.listed(name).ends_with("|143|stopped"));
        let line = format!("rm {name}");
        let both = at_once(&den, &[&line, &line]);
        assert!(both.iter().any(|outcome| outcome.code == Some(0)), "{both:#?}");
        for outcome in both.into_iter().filter(|outcome| outcome.code != Some(0)) {
            outcome.expect_code(1).expect_error("no such sandbox");
        }
        den.is_empty("removed by two");

        den.start("--name one", TICK);
        for outcome in at_once(&den, &["rm -f one"; 3]) {
            outcome.expect_code(0);
        }
        den.is_empty("removed by force by three");
    }
}

#[test]
fn a_second_request_to_stop_does_not_cut_the_grace_of_the_first() {
    let den = Den::new();
    den.start("--name one --stop-timeout 700ms", SPIN);
    let first = den.command(["stop", "one"]).start();
    wait_until("it to be asked", || den.actions("one").contains(&"stop".to_owned()));
    den.ok("stop -t 100 one");
    let first = first.outcome().expect_code(0);
    assert!(std::time::Duration::from_millis(700) <= first.elapsed, "{first:?}");
    // A shorter one does.
    den.start("--name two", SPIN);
    let first = den.command(["stop", "two"]).start();
    wait_until("it to be asked", || den.actions("two").contains(&"stop".to_owned()));
    den.ok("stop -t 0 two");
    assert!(first.outcome().expect_code(0).elapsed < super::AT_ONCE);
}

#[test]
fn many_that_come_and_go_leave_nothing() {
    const AT_ONCE: usize = 20;
    const ROUNDS: usize = 5;
    let den = Den::new();
    den.bench.file("tick.wat", TICK);
    for round in 0..ROUNDS {
        let outcomes = at_once(&den, &["run -d tick.wat"; AT_ONCE]);
        let ids: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.expect_code(0).stdout.trim().to_owned())
            .collect();
        let keepers: Vec<_> = ids.iter().map(|id| den.keeper(id)).collect();
        assert_eq!(den.ok("ps -q").lines().count(), AT_ONCE);
        let verb = ["rm -f", "kill", "stop -t 0"][round % 3];
        let words = verb.split(' ').chain(ids.iter().map(String::as_str));
        den.aril(words).expect_code(0);
        if verb != "rm -f" {
            let words = ["rm", "-f"].into_iter().chain(ids.iter().map(String::as_str));
            den.aril(words).expect_code(0);
        }
        den.is_empty(verb);
        for keeper in keepers {
            assert_eq!(groups_of(keeper).len(), 0, "{verb}: a control group is left");
        }
    }
    let mut left = super::names_in(&den.roster());
    left.retain(|name| !name.starts_with("events"));
    left.sort();
    assert_eq!(left, ["ids", "names", "removing-names"]);
}
