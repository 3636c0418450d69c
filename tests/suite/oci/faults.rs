//! What is left where processes are killed that nobody expected to be.

use super::Yard;
use crate::support::signal;
use crate::support::wait_until;
use crate::support::worker_of;

fn is_there(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn a_container_whose_keeper_was_killed_has_stopped_and_can_be_deleted() {
    let Some(yard) = Yard::new() else { return };
    yard.ticking("web");
    let keeper = yard.pid("web");
    let worker = worker_of(keeper);
    signal(keeper, "KILL");
    wait_until("the worker is gone", || !is_there(worker));
    yard.wait_for_end("web");
    assert_eq!(yard.state("web")["pid"], 0);
    for verb in ["kill web KILL", "ps web", "exec web /app.wasm"] {
        yard.does(verb).expect_code(1).expect_error("container not running");
    }
    yard.ok("delete web");
    yard.assert_nothing_left("web");
    // Nothing of the first one is in the way of another of the same name.
    yard.ticking("web");
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}

#[test]
fn a_container_whose_worker_was_killed_has_stopped() {
    let Some(yard) = Yard::new() else { return };
    yard.ticking("web");
    signal(worker_of(yard.pid("web")), "KILL");
    yard.wait_for_end("web");
    yard.ok("delete web");
    yard.assert_nothing_left("web");
}

#[test]
fn a_keeper_that_stands_still_does_not_hold_a_delete_by_force() {
    let Some(yard) = Yard::new() else { return };
    yard.ticking("web");
    signal(yard.pid("web"), "STOP");
    let deleted = yard.does("delete --force web").expect_code(0);
    assert!(deleted.elapsed.as_secs() < 20, "{deleted:?}");
    yard.assert_nothing_left("web");
}
