//! When a keeper starts its guest again, and when no more.

use std::time::Duration;

use crate::guests::CAT;
use crate::guests::SPIN;
use crate::support::wait_until;

use super::Den;
use super::ending;

/// The moments of all events of this kind, as seconds of the day.
fn moments(den: &Den, action: &str) -> Vec<f64> {
    let filter = format!("event={action}");
    let said = den.aril(["events", "--format", "{{.time}}", "--filter", &filter]).expect_code(0);
    let moment = |line: &str| {
        let clock = line.split('T').nth(1).unwrap().trim_end_matches('Z');
        clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
    };
    said.stdout.lines().map(moment).collect()
}

#[test]
fn one_that_fails_is_started_again_as_often_as_was_said_with_longer_and_longer_pauses() {
    let den = Den::new();
    den.start("--name one --restart on-failure:2", &ending(7));
    wait_until("its last end", || den.status("one") == "exited");
    let shown = den.inspect("one");
    assert_eq!(shown["RestartCount"], 2, "{shown}");
    assert_eq!(shown["State"]["ExitCode"], 7, "{shown}");
    let (starts, ends) = (moments(&den, "start"), moments(&den, "die"));
    assert_eq!((starts.len(), ends.len()), (3, 3));
    let pauses: Vec<_> = (0..2).map(|at| starts[at + 1] - ends[at]).collect();
    assert!(0.1 <= pauses[0] && 0.2 <= pauses[1] && pauses[0] < pauses[1], "{pauses:?}");
    assert_eq!(moments(&den, "restart").len(), 2);
}

#[test]
fn one_that_succeeds_is_not_started_again_on_failure() {
    let den = Den::new();
    den.start("--name one --restart on-failure", &ending(0));
    assert_eq!(den.ok("wait one"), "0\n");
    wait_until("its end", || den.status("one") == "exited");
    assert_eq!(den.inspect("one")["RestartCount"], 0);
}

#[test]
fn one_is_started_again_always_until_it_is_stopped() {
    let den = Den::new();
    for (policy, verb) in [("always", "stop"), ("unless-stopped", "kill"), ("always", "rm -f")] {
        let outcome = den.starting(&format!("--name one --restart {policy}"), &ending(0)).outcome();
        outcome.expect_code(0).expect_error("as long as this host runs");
        wait_until("two restarts", || {
            den.inspect("one")["RestartCount"].as_u64().is_some_and(|count| 2 <= count)
        });
        den.ok(&format!("{verb} one"));
        if verb != "rm -f" {
            wait_until("its end", || den.status("one") == "exited");
            let ended = den.inspect("one");
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(den.inspect("one"), ended, "it was started again");
            den.ok("rm one");
        }
        den.is_empty(verb);
    }
}

#[test]
fn one_that_is_about_to_be_started_again_is_stopped_killed_and_removed_at_once() {
    let den = Den::new();
    for verb in ["stop", "kill", "rm -f"] {
        den.start("--name one --restart always", &ending(3));
        // By the third time it waits for so long that it is met there.
        wait_until("the third restart", || {
            let shown = den.inspect("one");
            shown["RestartCount"].as_u64().is_some_and(|count| 3 <= count)
                && shown["State"]["Status"] == "restarting"
        });
        let listed = den.listed("one");
        assert!(listed.contains("|restarting|Restarting (3) "), "{listed}");
        let started = std::time::Instant::now();
        den.ok(&format!("{verb} one"));
        assert!(started.elapsed() < super::AT_ONCE, "{verb}: {:?}", started.elapsed());
        if verb != "rm -f" {
            assert_eq!(den.ok("wait one"), "3\n");
            den.ok("rm one");
        }
        den.is_empty(verb);
    }
}

#[test]
fn one_that_is_started_again_has_the_limits_and_the_input_of_now() {
    let den = Den::new();
    den.start("--name one -i --memory 64m --restart always", CAT);
    den.ok("update --memory 32m one");
    den.command(["attach", "one"]).input("first").outcome().expect_code(5).expect_output("first");
    wait_until("its restart", || {
        let shown = den.inspect("one");
        shown["RestartCount"] == 1 && shown["State"]["Status"] == "running"
    });
    let shown = den.inspect("one");
    let memory = shown["Limits"].as_array().unwrap().iter().find(|one| one["Name"] == "memory");
    assert_eq!(memory.unwrap()["Amount"], "32 MiB", "{shown}");
    let again = den.command(["attach", "one"]).input("second").outcome();
    again.expect_code(5).expect_output("second");
    assert_eq!(den.ok("logs one"), "firstsecond");
}

#[test]
fn a_worker_that_somebody_kills_is_started_again() {
    let den = Den::new();
    den.start("--name one --restart on-failure", SPIN);
    let worker = den.worker("one");
    crate::support::signal(worker, "KILL");
    wait_until("another worker", || {
        den.status("one") == "running" && den.inspect("one")["RestartCount"] == 1
    });
    assert_ne!(den.worker("one"), worker);
    assert_eq!(den.inspect("one")["State"]["Reason"], "killed");
}
