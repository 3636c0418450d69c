//! The life of a container: its states, what may be done in each, and its end.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::Yard;
use crate::guests::HOG;
use crate::guests::SPIN;
use crate::residents::TICK;
use crate::residents::ending;
use crate::support::signal;
use crate::support::wait_until;

const TRAP: &str = r#"(module (func (export "_start") unreachable))"#;

#[test]
fn a_container_is_created_running_paused_and_stopped_and_each_state_allows_what_it_should() {
    let Some(yard) = Yard::new() else { return };
    let bundle = yard.bundle("web", TICK);
    yard.create("web").expect_code(0);
    let pid = yard.pid("web");
    let state = yard.state("web");
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!("web")));
    assert_eq!(state["pid"], pid);
    assert_eq!(state["bundle"], bundle.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(state["annotations"], json!({ "org.example.of": "a test" }));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    yard.does("pause web").expect_code(1).expect_error("created: it has to be running");

    yard.ok("start web");
    yard.wait_for("web", "tick");
    assert_eq!(yard.state("web")["status"], "running");
    yard.does("start web").expect_code(1).expect_error("cannot start a container that is running");
    yard.does("resume web").expect_code(1).expect_error("running: it has to be paused");
    yard.does("delete web").expect_code(1).expect_error("cannot delete container `web`");
    yard.leaving("create --bundle web web", "second").expect_code(1);
    assert_eq!(
        (&yard.state("web")["status"], &yard.state("web")["pid"]),
        (&json!("running"), &json!(pid))
    );

    yard.ok("pause web");
    assert_eq!(yard.state("web")["status"], "paused");
    let before = yard.said("web").len();
    // Many times what lies between two ticks.
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(yard.said("web").len(), before);
    yard.does("start web").expect_code(1).expect_error("paused");
    yard.ok("resume web");
    wait_until("it goes on", || before < yard.said("web").len());

    // Nothing happens by the number that only asks.
    yard.ok("kill web 0");
    yard.does("kill web STOP").expect_code(1).expect_error("pause the container instead");
    yard.does("kill web NONSENSE").expect_code(1).expect_error("there is no signal `NONSENSE`");
    yard.ok("kill web KILL");
    yard.wait_for_end("web");
    assert_eq!(yard.state("web")["pid"], 0);
    for verb in ["kill web", "start web", "pause web", "ps web", "events --stats web"] {
        yard.does(verb).expect_code(1).expect_error("container not running");
    }
    yard.ok("kill --all web KILL");
    let list: Value = serde_json::from_str(&yard.ok("list -f json")).unwrap();
    assert_eq!(list[0]["status"], "stopped", "{list}");
    assert_eq!(yard.ok("list -q"), "web\n");
    yard.ok("delete web");
    for verb in ["state web", "delete web", "kill web", "start web"] {
        yard.does(verb).expect_code(1).expect_error("container `web` does not exist");
    }
    yard.assert_nothing_left("web");
}

#[test]
fn what_is_created_has_run_nothing_and_can_be_deleted() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    yard.create("web").expect_code(0);
    // Its guest is asked what it used once it is ready, which is all that it will do.
    let told: Value = serde_json::from_str(&yard.ok("events --stats web")).unwrap();
    assert_eq!(told["type"], "stats", "{told}");
    yard.ok("delete web");
    assert_eq!(yard.said("web"), "");
    yard.assert_nothing_left("web");
}

#[test]
fn the_end_of_a_guest_is_the_code_of_run() {
    let Some(yard) = Yard::new() else { return };
    let memory = json!({ "memory": { "limit": 16 << 20 } });
    let cases: [(&str, String, Value, Value, i32); 6] = [
        ("zero", ending(0), Value::Null, json!({}), 0),
        ("three", ending(3), Value::Null, json!({}), 3),
        ("trap", TRAP.to_owned(), Value::Null, json!({}), 134),
        ("hog", HOG.to_owned(), memory, json!({}), 137),
        ("late", SPIN.to_owned(), Value::Null, json!({ "aril.run/deadline": "100ms" }), 124),
        ("busy", SPIN.to_owned(), Value::Null, json!({ "aril.run/fuel": "10000" }), 124),
    ];
    for (name, guest, resources, annotations, code) in cases {
        yard.bundle_with(name, &guest, |config| {
            if resources.is_object() {
                config["linux"]["resources"] = resources;
            }
            config["annotations"] = annotations;
        });
        let ended = yard.does(&format!("run --bundle {name} {name}"));
        assert_eq!(ended.code, Some(code), "{name}: {ended:?}");
        yard.assert_nothing_left(name);
    }
}

#[test]
fn a_signal_that_is_sent_is_the_end_that_run_tells_of() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    for (name, code) in [("TERM", 143), ("KILL", 137), ("INT", 130)] {
        let running = yard.oci("run --bundle web web".split(' ')).start();
        running.wait_for_output("tick");
        yard.ok(&format!("kill web {name}"));
        running.outcome().expect_code(code);
        yard.assert_nothing_left("web");
    }
}

#[test]
fn a_run_that_is_ended_ends_its_container() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let running = yard.oci("run --bundle web web".split(' ')).start();
        running.wait_for_output("tick");
        signal(running.pid(), name);
        running.outcome().expect_code(code);
        yard.assert_nothing_left("web");
    }
}

#[test]
fn a_paused_container_is_killed_and_deleted_by_force() {
    let Some(yard) = Yard::new() else { return };
    for last in ["kill web KILL", "kill web TERM", "delete --force web"] {
        yard.ticking("web");
        yard.ok("pause web");
        yard.ok(last);
        if last.starts_with("kill") {
            yard.wait_for_end("web");
            yard.ok("delete web");
        }
        yard.assert_nothing_left("web");
    }
}

#[test]
fn force_deletes_all_there_may_be_and_minds_nothing_that_is_not_there() {
    let Some(yard) = Yard::new() else { return };
    yard.ok("delete --force nobody");
    yard.ticking("running");
    yard.bundle("created", TICK);
    yard.create("created").expect_code(0);
    // One that was killed while it was made, and one that is no longer readable.
    fs::create_dir(yard.states().join("half")).unwrap();
    fs::create_dir(yard.states().join("broken")).unwrap();
    fs::write(yard.states().join("broken/state.json"), "{").unwrap();
    yard.does("state broken").expect_code(1).expect_error("`delete --force` clears it");
    yard.does("delete half").expect_code(1).expect_error("does not exist");
    yard.ok("delete --force running created half broken nobody");
    for id in ["running", "created", "half", "broken"] {
        yard.assert_nothing_left(id);
    }
}

#[test]
fn of_two_starts_at_once_one_is_refused() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    yard.create("web").expect_code(0);
    let starts = [(); 2].map(|()| yard.oci(["start", "web"]).start());
    let mut codes = starts.map(|start| start.outcome().code);
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)]);
    yard.wait_for("web", "tick");
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}

#[test]
fn ten_that_delete_at_once_all_succeed_and_one_clears() {
    let Some(yard) = Yard::new() else { return };
    let count = yard.path().join("deleted");
    let script = format!("cat > /dev/null; echo deleted >> {}", count.display());
    yard.bundle_with("web", TICK, |config| {
        config["hooks"]["poststop"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    });
    yard.create("web").expect_code(0);
    yard.ok("start web");
    let deletes: Vec<_> = (0..10).map(|_| yard.oci(["delete", "--force", "web"]).start()).collect();
    for delete in deletes {
        delete.outcome().expect_code(0);
    }
    assert_eq!(fs::read_to_string(count).unwrap(), "deleted\n");
    yard.assert_nothing_left("web");
}
