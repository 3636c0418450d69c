//! Programs beside that of a container.

use std::fs;

use serde_json::Value;
use serde_json::json;

use super::Yard;
use crate::residents::TICK;
use crate::residents::ending;
use crate::support::wait_until;

/// A container that ticks, with two programs beside its own: one ends with 3, and one ticks.
fn begin(yard: &Yard) {
    yard.ticking("web");
    for (name, guest) in [("three", ending(3)), ("tick", TICK.to_owned())] {
        let path = yard.path().join(format!("web/rootfs/{name}.wasm"));
        fs::write(path, wat::parse_str(guest).unwrap()).unwrap();
    }
}

#[test]
fn a_program_beside_a_container_ends_with_its_own_code() {
    let Some(yard) = Yard::new() else { return };
    begin(&yard);
    yard.does("exec web /three.wasm").expect_code(3);
    let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/three.wasm"], "cwd": "/" });
    fs::write(yard.path().join("process.json"), process.to_string()).unwrap();
    yard.does("exec --process process.json web").expect_code(3);
    // It ends with its container.
    let beside = yard.oci("exec web /tick.wasm".split(' ')).start();
    beside.wait_for_output("tick");
    let pids: Value = serde_json::from_str(&yard.ok("ps --format json web")).unwrap();
    assert_eq!(pids, json!([yard.pid("web")]));
    yard.ok("kill web KILL");
    let ended = beside.outcome();
    assert_ne!(ended.code, Some(0), "{ended:?}");
    yard.wait_for_end("web");
    yard.does("exec web /three.wasm").expect_code(1).expect_error("container not running");
    yard.ok("delete web");
    yard.assert_nothing_left("web");
}

#[test]
fn a_program_that_is_left_has_a_pid_file_and_ends_when_that_process_does() {
    let Some(yard) = Yard::new() else { return };
    begin(&yard);
    yard.leaving("exec --detach --pid-file beside.pid web /tick.wasm", "beside").expect_code(0);
    yard.wait_for("beside", "tick");
    let pid = yard.pid("beside");
    crate::support::signal(pid, "KILL");
    let length = || yard.said("beside").len();
    let mut before = length();
    // What was on its way still comes.
    wait_until("it says no more", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::mem::replace(&mut before, length()) == length()
    });
    assert_eq!(yard.state("web")["status"], "running");
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}

#[test]
fn what_cannot_be_run_beside_a_container_says_why() {
    let Some(yard) = Yard::new() else { return };
    begin(&yard);
    yard.does("exec web /nowhere.wasm")
        .expect_code(126)
        .expect_error("cannot run `/nowhere.wasm`: there is no such file");
    yard.does("exec --detach --pid-file beside.pid web /nowhere.wasm")
        .expect_code(1)
        .expect_error("cannot run `/nowhere.wasm`: there is no such file");
    assert!(!yard.path().join("beside.pid").exists());
    yard.does("exec web").expect_code(1).expect_error("name a program, or use `--process`");
    yard.does("exec nobody /three.wasm").expect_code(1).expect_error("does not exist");
    fs::write(yard.path().join("process.json"), "{").unwrap();
    yard.does("exec --process process.json web").expect_code(1).expect_error("is no process");
    yard.ok("pause web");
    yard.does("exec web /three.wasm").expect_code(126).expect_error("paused");
    assert_eq!(yard.state("web")["status"], "paused");
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}
