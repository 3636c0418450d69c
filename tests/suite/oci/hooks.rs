//! Hooks: programs of the host at the turns of a container's life.

use std::fs;

use serde_json::Value;
use serde_json::json;

use super::Yard;
use crate::residents::TICK;

/// A hook that runs this script.
fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

#[test]
fn hooks_run_in_their_order_with_the_state_at_their_input() {
    let Some(yard) = Yard::new() else { return };
    let turns =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let bundle = yard.bundle_with("web", TICK, |config| {
        for turn in turns {
            let line = |word: &str| hook(&format!("(echo {turn}-{word}; cat; echo) >> hooks"));
            config["hooks"][turn] = json!([line("first"), line("second")]);
        }
    });
    let told = || fs::read_to_string(bundle.join("hooks")).unwrap_or_default();
    yard.create("web").expect_code(0);
    assert_eq!(told().lines().count(), 12, "{}", told());
    yard.ok("start web");
    yard.wait_for("web", "tick");
    assert_eq!(told().lines().count(), 20, "{}", told());
    let pid = yard.pid("web");
    yard.ok("kill web KILL");
    yard.wait_for_end("web");
    yard.ok("delete web");

    let states = ["creating", "creating", "creating", "created", "running", "stopped"];
    let told = told();
    let mut lines = told.lines();
    for (turn, status) in turns.iter().zip(states) {
        for word in ["first", "second"] {
            assert_eq!(lines.next(), Some(format!("{turn}-{word}").as_str()), "{told}");
            let state: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            assert_eq!((&state["id"], &state["status"]), (&json!("web"), &json!(status)), "{turn}");
            let expected = if status == "stopped" { 0 } else { pid };
            assert_eq!(state["pid"], expected, "{turn}");
            assert_eq!(state["annotations"]["org.example.of"], "a test", "{turn}");
        }
    }
    assert_eq!(lines.next(), None, "{told}");
    yard.assert_nothing_left("web");
}

#[test]
fn a_hook_that_fails_before_there_is_a_container_leaves_none() {
    let Some(yard) = Yard::new() else { return };
    for turn in ["prestart", "createRuntime", "createContainer"] {
        yard.bundle_with("web", TICK, |config| {
            config["hooks"][turn] = json!([hook("echo no room >&2; exit 3"), hook("echo x > ran")]);
        });
        let refused = yard.create("web").expect_code(1);
        let expected = format!("the {turn} hook `/bin/sh` failed (exit status: 3): no room");
        assert!(refused.stderr.contains(&expected), "{refused:?}");
        assert!(!yard.path().join("web/ran").exists(), "the hook behind it ran");
        assert!(!yard.path().join("web.pid").exists(), "there is a pid file");
        yard.assert_nothing_left("web");
    }
}

#[test]
fn a_hook_that_fails_as_a_container_starts_stops_it() {
    let Some(yard) = Yard::new() else { return };
    for turn in ["startContainer", "poststart"] {
        yard.bundle_with("web", TICK, |config| {
            config["hooks"][turn] = json!([hook("exit 4")]);
        });
        yard.create("web").expect_code(0);
        let refused = yard.does("start web").expect_code(1);
        let expected = format!("the {turn} hook `/bin/sh` failed (exit status: 4)");
        assert!(refused.stderr.contains(&expected), "{refused:?}");
        yard.wait_for_end("web");
        if turn == "startContainer" {
            assert_eq!(yard.said("web"), "", "the guest ran");
        }
        yard.ok("delete web");
        yard.assert_nothing_left("web");
    }
}

#[test]
fn a_hook_that_fails_behind_the_end_is_warned_of_and_keeps_nothing() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle_with("web", TICK, |config| {
        config["hooks"]["poststop"] = json!([hook("exit 5"), hook("echo x > ran")]);
    });
    yard.create("web").expect_code(0);
    yard.does("--log log --log-format json delete web")
        .expect_code(0)
        .expect_error("the poststop hook `/bin/sh` failed (exit status: 5)");
    let logged = fs::read_to_string(yard.path().join("log")).unwrap();
    assert!(logged.contains(r#""level":"warning""#), "{logged}");
    assert!(yard.path().join("web/ran").exists(), "the hook behind it did not run");
    yard.assert_nothing_left("web");
}

#[test]
fn a_hook_that_takes_longer_than_it_may_is_ended() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle_with("web", TICK, |config| {
        config["hooks"]["createRuntime"] = json!([
            { "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 },
        ]);
    });
    yard.create("web").expect_code(1).expect_error("took longer than 1 s");
    yard.assert_nothing_left("web");
}
