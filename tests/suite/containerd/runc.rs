//! Containers of others run on the containerds of these tests: what fails with ours, and not here,
//! is ours.

use serde_json::json;

use super::Containerd;
use super::Cri;
use super::KUBERNETES;
use super::Version;
use super::cri::number;
use super::images;
use crate::support::Bench;
use crate::support::installed;
use crate::support::wait_until;

#[test]
fn a_native_container_lives_on_each_containerd_and_nothing_of_it_is_left() {
    if installed("runc").is_none() {
        return;
    }
    let bench = Bench::new();
    let Some(archive) = images::busybox(&bench) else { return };
    for version in Version::ALL {
        let Some(containerd) = Containerd::start(&bench, version) else { continue };
        containerd.import(containerd.group(), &archive);
        let run = ["run", "--rm", images::BUSYBOX, "one", "/busybox", "sh", "-c"];
        // `ctr` may lose what is written before it listens.
        let script = "/busybox sleep 0.3; echo hello; echo aside >&2; /busybox sleep 0.3; exit 7";
        let ended = containerd.ctr(run.iter().chain([&script])).outcome().expect_code(7);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("hello\n", "aside\n"));

        containerd.ok(&format!("run -d --null-io {} two /busybox sleep 1000", images::BUSYBOX));
        assert_eq!(containerd.task("two").unwrap().state, "RUNNING");
        assert!(containerd.shim_of("two").is_some());
        // What has to be gone at the end is seen while it is there.
        let left = containerd.left();
        for kind in ["process", "mount", "group", "file"] {
            assert!(left.iter().any(|thing| thing.starts_with(kind)), "{kind}: {left:#?}");
        }
        containerd.ok("tasks metrics two");
        containerd.ok("tasks pause two");
        assert_eq!(containerd.task("two").unwrap().state, "PAUSED");
        containerd.ok("tasks resume two");
        containerd
            .ok("tasks exec --exec-id beside two /busybox echo beside")
            .expect_output("beside\n");
        containerd.ok("tasks kill --signal KILL two");
        containerd.wait_for_task("two", "STOPPED");
        assert_eq!(containerd.delete("two"), 137);
        containerd.assert_nothing_left();
    }
}

#[test]
fn a_native_task_outlives_containerd_and_its_end_is_seen_by_the_next_one() {
    if installed("runc").is_none() {
        return;
    }
    let bench = Bench::new();
    let Some(archive) = images::busybox(&bench) else { return };
    let Some(mut containerd) = Containerd::start(&bench, Version::Sid) else { return };
    containerd.import(containerd.group(), &archive);
    containerd.ok(&format!("run -d --null-io {} on /busybox sleep 1000", images::BUSYBOX));
    let before = containerd.task("on").unwrap();
    containerd.restart();
    assert_eq!(containerd.task("on").unwrap(), before);
    let events = containerd.events();
    containerd.room().signal(before.pid, "KILL");
    events.wait_for_output("/tasks/exit");
    assert_eq!(containerd.delete("on"), 137);
    drop(events);
    containerd.assert_nothing_left();
}

#[test]
fn a_native_pod_lives_as_kubelet_asks_for_it_and_nothing_of_it_is_left() {
    if installed("runc").is_none() {
        return;
    }
    let bench = Bench::new();
    let Some(pause) = images::pause(&bench) else { return };
    let Some(busybox) = images::busybox(&bench) else { return };
    if !super::room::has_plugins_of_networks() {
        return;
    }
    let Some(containerd) = Containerd::start(&bench, Version::Sid) else { return };
    let Some(cri) = Cri::new(&bench, &containerd) else { return };
    for archive in [&pause, &busybox] {
        containerd.import(KUBERNETES, archive);
    }
    cri.wait_for_image(images::PAUSE);
    cri.wait_for_image(images::BUSYBOX);
    assert_eq!(cri.ask("Version", &json!({}))["runtime_name"], "containerd");
    let pod = cri.pod("runc", "native", json!({}));
    let script = "echo hello; echo aside >&2; /busybox hostname; exec /busybox sleep 1000";
    let more = json!({
        "command": ["/busybox", "sh", "-c", script],
        "linux": {"resources": {"memory_limit_in_bytes": (64_u64 << 20).to_string()}},
    });
    let id = cri.start(&pod, "shell", images::BUSYBOX, more);
    let said = cri.exec(&id, &["/busybox", "sh", "-c", "echo in; echo out >&2; exit 3"]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str(), said.code), ("in\n", "out\n", 3));
    let stats = cri.stats(&id);
    assert!((1..64 << 20).contains(&number(&stats["memory"]["working_set_bytes"])), "{stats}");
    for (stream, text) in [("stdout", "hello"), ("stderr", "aside"), ("stdout", "native")] {
        wait_until(text, || cri.log("shell").contains(&(stream.to_owned(), text.to_owned())));
    }
    let limits = json!({"memory_limit_in_bytes": (128_u64 << 20).to_string()});
    let update = json!({"container_id": id, "linux": limits});
    cri.ask("UpdateContainerResources", &update);
    let filter = json!({"filter": {"pod_sandbox_id": pod.id}});
    let listed = cri.ask("ListContainers", &filter);
    assert_eq!(listed["containers"][0]["id"], id, "{listed}");
    cri.stop(&id, 0);
    assert_eq!(cri.wait_for_end(&id), 137);
    cri.remove(&id);
    cri.end(&pod);
    containerd.assert_nothing_left();
}
