//! What a container is held to, and what is told of what it uses.

use std::fs;

use serde_json::Value;
use serde_json::json;

use super::Yard;
use crate::residents::TICK;

const MEMORY: u64 = 64 << 20;

/// What the group says of memory that it may have, and of how many processes.
const LIMIT: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

#[test]
fn what_a_container_uses_is_what_its_group_says() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle_with("web", TICK, |config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": MEMORY } });
    });
    yard.create("web").expect_code(0);
    yard.ok("start web");
    yard.wait_for("web", "tick");
    let told: Value = serde_json::from_str(&yard.ok("events --stats web")).unwrap();
    assert_eq!((&told["type"], &told["id"]), (&json!("stats"), &json!("web")));
    let used = told["data"]["memory"]["usage"]["usage"].as_u64().unwrap();
    let names = ["memory.usage_in_bytes", "memory.current"];
    let counted: u64 = yard.group_says("web", names).parse().unwrap();
    assert!(used.abs_diff(counted) < MEMORY / 8, "{used} is told, and {counted} are counted");
    assert_eq!(told["data"]["memory"]["usage"]["limit"], MEMORY);
    let pids = yard.group_says("web", ["pids.current", "pids.current"]);
    assert_eq!(told["data"]["pids"]["current"].to_string(), pids);
    assert!(0 < told["data"]["cpu"]["usage"]["total"].as_u64().unwrap(), "{told}");
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}

#[test]
fn an_update_reaches_the_group_and_one_that_makes_no_sense_changes_nothing() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle_with("web", TICK, |config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": MEMORY } });
    });
    yard.create("web").expect_code(0);
    let before: u64 = yard.group_says("web", LIMIT).parse().unwrap();
    let update = |resources: &str| {
        yard.oci("update --resources - web".split(' ')).input(resources).outcome()
    };
    update(&json!({ "memory": { "limit": 2 * MEMORY } }).to_string()).expect_code(0);
    let after: u64 = yard.group_says("web", LIMIT).parse().unwrap();
    // The process that runs the guest has its own beside it.
    assert_eq!(after - before, MEMORY, "{before} became {after}");
    fs::write(yard.path().join("resources.json"), json!({ "pids": { "limit": 33 } }).to_string())
        .unwrap();
    yard.ok("update --resources resources.json web");
    assert_eq!(yard.group_says("web", LIMIT), after.to_string(), "what was not said changed");
    for (resources, why) in [
        ("{", "resources that are none"),
        (r#"{"cpu":{"cpus":"0"}}"#, "linux.resources.cpu.cpus"),
        (r#"{"memory":{"disableOOMKiller":true}}"#, "linux.resources.memory.disableOOMKiller"),
    ] {
        update(resources).expect_code(1).expect_error(why);
    }
    let most = " ".repeat(200 << 10);
    update(&format!("{{{most}}}")).expect_code(1);
    yard.does("update --resources absent.json web").expect_code(1).expect_error("cannot read");
    assert_eq!(yard.group_says("web", LIMIT), after.to_string());
    yard.ok("delete --force web");
    yard.assert_nothing_left("web");
}
