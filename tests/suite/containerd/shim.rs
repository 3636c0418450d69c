//! What `containerd-shim-aril-v1` promises to containerd, to `ctr` and to kubelet.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::Containerd;
use super::Cri;
use super::KUBERNETES;
use super::Version;
use super::cri::Pod;
use super::cri::number;
use super::images;
use super::room::has_plugins_of_networks;
use crate::guests::HOG;
use crate::residents::TICK;
use crate::residents::ending;
use crate::support::Bench;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::guest;
use crate::support::installed;
use crate::support::root;
use crate::support::skipped;
use crate::support::wait_until;

/// The runtime, as containerd is asked for it.
const ARIL: &str = "io.containerd.aril.v1";

/// The image that [`begin`] runs: a guest that ticks, with one beside it that greets.
const TICKER: &str = "localhost/tick:1";

const GREETING: &str = "Hello from the sandbox.\n";

/// What a guest writes that fails in the end, and how often.
const LINE: &str = "a line of output\n";
const LINES: usize = 40_000;

/// The memory that a container of these tests may have.
const MEMORY: u64 = 64 << 20;

/// The shim, which containerd finds beside our other programs; nothing, said aloud, before it is
/// there.
fn shim() -> Option<PathBuf> {
    let path = aril_path().with_file_name("containerd-shim-aril-v1");
    // Without this line it is required.
    path.is_file().then_some(()).or_else(|| skipped("`containerd-shim-aril-v1` is not built"))?;
    assert!(path.is_file(), "`{}` is missing: run `cargo build` first", path.display());
    Some(path)
}

/// Tries something on each containerd that can be had.
fn on_each(what: impl Fn(&Bench, Containerd)) {
    on(&Version::ALL, what);
}

fn on(versions: &[Version], what: impl Fn(&Bench, Containerd)) {
    if shim().is_none() {
        return;
    }
    for version in versions.iter().copied() {
        let bench = Bench::new();
        if let Some(containerd) = Containerd::start(&bench, version) {
            what(&bench, containerd);
        }
    }
}

/// The text of the guest that greets.
fn greeter() -> Vec<u8> {
    fs::read(root().join("examples/guests/hello.wat")).unwrap()
}

/// A guest that writes [`LINE`], [`LINES`] times, and fails.
fn failing() -> String {
    let (line, size) = (LINE.replace('\n', "\\n"), LINE.len());
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "{line}")
  (func (export "_start") (local $left i32)
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const {size}))
    (local.set $left (i32.const {LINES}))
    (loop $l
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (br_if $l (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    unreachable))"#
    )
}

/// Has containerd take an image of one guest.
fn import(bench: &Bench, containerd: &Containerd, name: &str, guest: &str) {
    let archive = images::wasm(bench, name, &[("guest", guest.as_bytes())]);
    containerd.import(containerd.group(), &archive);
}

/// `ctr run` of a container that is gone when it ends.
fn run(containerd: &Containerd, image: &str) -> Run {
    containerd.ctr(["run", "--rm", "--runtime", ARIL, image, "one"])
}

/// Has a container tick that goes on alone, and says where it writes that.
fn begin(bench: &Bench, containerd: &Containerd, id: &str) -> PathBuf {
    let guests = [("tick", TICK.as_bytes()), ("hello", &greeter())];
    let archive = images::wasm(bench, TICKER, &guests);
    containerd.import(containerd.group(), &archive);
    let log = containerd.folder().join(format!("{id}.log"));
    let uri = format!("file://{}", log.display());
    containerd.ok(&format!("run -d --runtime {ARIL} --log-uri {uri} {TICKER} {id}"));
    goes_on(&log);
    log
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Waits until more is written to a file.
#[track_caller]
fn goes_on(log: &Path) {
    let before = size(log);
    wait_until("a guest writes on", || before < size(log));
}

/// A figure of `ctr tasks metrics`.
fn figure(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn what_a_guest_prints_and_its_code_come_to_ctr_on_each_containerd() {
    on_each(|bench, containerd| {
        import(bench, &containerd, "localhost/hello:1", &String::from_utf8(greeter()).unwrap());
        import(bench, &containerd, "localhost/seven:1", &ending(7));
        run(&containerd, "localhost/hello:1").outcome().expect_code(0).expect_output(GREETING);
        run(&containerd, "localhost/seven:1").outcome().expect_code(7);
        // All that one wrote before it failed comes through.
        import(bench, &containerd, "localhost/failing:1", &failing());
        let ended = run(&containerd, "localhost/failing:1").outcome().expect_code(134);
        assert!(ended.stdout == LINE.repeat(LINES), "{} bytes came", ended.stdout.len());
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_task_is_listed_measured_paused_resumed_entered_killed_and_deleted_on_each_containerd() {
    on_each(|bench, containerd| {
        let log = begin(bench, &containerd, "on");
        let task = containerd.task("on").unwrap();
        assert_eq!(task.state, "RUNNING");
        assert!(containerd.room().processes().iter().any(|process| process.pid == task.pid));
        let said = containerd.ok("tasks metrics on").stdout;
        let used = figure(&said, "memory.usage_in_bytes").or(figure(&said, "memory.usage"));
        // A worker and a small guest.
        assert!((1 << 10..MEMORY).contains(&used.unwrap()), "{said}");

        containerd.ok("tasks pause on");
        assert_eq!(containerd.task("on").unwrap().state, "PAUSED");
        let before = size(&log);
        // Many times what lies between two ticks.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(size(&log), before);
        containerd.ok("tasks resume on");
        assert_eq!(containerd.task("on").unwrap().state, "RUNNING");
        goes_on(&log);

        containerd.ok("tasks exec --exec-id beside on /hello.wasm").expect_output(GREETING);
        containerd.ok("tasks kill --signal KILL on");
        containerd.wait_for_task("on", "STOPPED");
        assert_eq!(containerd.delete("on"), 137);

        // One that is asked to end does, and its code says so.
        begin(bench, &containerd, "asked");
        containerd.ok("tasks kill --signal TERM asked");
        containerd.wait_for_task("asked", "STOPPED");
        assert_eq!(containerd.delete("asked"), 143);
        containerd.assert_nothing_left();
    });
}

#[test]
fn after_a_shim_was_killed_containerd_clears_all_that_it_had() {
    on_each(|bench, containerd| {
        begin(bench, &containerd, "on");
        let events = containerd.events();
        let shim = containerd.shim_of("on").unwrap();
        containerd.room().signal(shim.pid, "KILL");
        events.wait_for_output("/tasks/exit");
        events.wait_for_output("/tasks/delete");
        assert!(events.said().contains("137"), "{}", events.said());
        drop(events);
        wait_until("the task is forgotten", || {
            containerd.task("on").is_none_or(|task| task.state == "STOPPED")
        });
        // Later versions forget the task by themselves.
        if containerd.task("on").is_some() {
            assert_eq!(containerd.delete("on"), 137);
        } else {
            containerd.ok("containers delete on");
        }
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_task_outlives_containerd_and_its_end_is_seen_by_the_next_one() {
    on_each(|bench, mut containerd| {
        let log = begin(bench, &containerd, "on");
        let before = containerd.task("on").unwrap();
        containerd.restart();
        assert_eq!(containerd.task("on").unwrap(), before);
        goes_on(&log);
        let events = containerd.events();
        containerd.ok("tasks kill --signal KILL on");
        events.wait_for_output("/tasks/exit");
        containerd.wait_for_task("on", "STOPPED");
        assert_eq!(containerd.delete("on"), 137);
        drop(events);
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_guest_that_is_out_of_memory_ends_with_137_and_an_event_says_why() {
    on_each(|bench, containerd| {
        import(bench, &containerd, "localhost/hog:1", HOG);
        let events = containerd.events();
        containerd.ok(&format!(
            "run -d --null-io --runtime {ARIL} --memory-limit {MEMORY} localhost/hog:1 hog"
        ));
        events.wait_for_output("/tasks/oom");
        containerd.wait_for_task("hog", "STOPPED");
        assert_eq!(containerd.delete("hog"), 137);
        events.wait_for_output("/tasks/delete");
        let said = events.said();
        let places = ["create", "start", "exit", "delete"]
            .map(|word| said.find(&format!("/tasks/{word}")).unwrap());
        assert!(places.is_sorted(), "{said}");
        drop(events);
        containerd.assert_nothing_left();
    });
}

/// Tries something with pods on some containerds, where there is all that pods need.
fn with_pods(versions: &[Version], what: impl Fn(&Bench, &Containerd, &Cri)) {
    if shim().is_none() || installed("runc").is_none() || !has_plugins_of_networks() {
        return;
    }
    on(versions, |bench, containerd| {
        let Some(pause) = images::pause(bench) else { return };
        let Some(busybox) = images::busybox(bench) else { return };
        let Some(open) = guest("open.wasm") else { return };
        let Some(cri) = Cri::new(bench, &containerd) else { return };
        let tick = [("tick", TICK.as_bytes()), ("hello", &greeter())];
        let tick = images::wasm(bench, TICKER, &tick);
        let open = images::wasm(bench, OPENER, &[("open", &fs::read(open).unwrap())]);
        for archive in [pause, busybox, tick, open] {
            containerd.import(KUBERNETES, &archive);
        }
        for name in [images::PAUSE, images::BUSYBOX, TICKER, OPENER] {
            cri.wait_for_image(name);
        }
        what(bench, &containerd, &cri);
        containerd.assert_nothing_left();
    });
}

/// The image of a guest that opens what its arguments name.
const OPENER: &str = "localhost/open:1";

/// A folder as kubelet makes it of a map of settings, or of a secret: links lead to what there is now.
fn volume(bench: &Bench, name: &str, content: &str) -> PathBuf {
    let folder = bench.path().join(name);
    bench.file(&format!("{name}/..2026/text"), content);
    symlink("..2026", folder.join("..data")).unwrap();
    symlink("..data/text", folder.join("text")).unwrap();
    folder
}

/// Lets a guest open what these words say, in a container with those volumes, and says its code.
fn open(cri: &Cri, pod: &Pod, name: &str, words: &[&str], volumes: &[(&str, &Path)]) -> i64 {
    let mount = |(at, path): &(&str, &Path)| json!({"container_path": at, "host_path": path, "readonly": true});
    let mounts: Vec<_> = volumes.iter().map(mount).collect();
    let id = cri.start(pod, name, OPENER, json!({"args": words, "mounts": mounts}));
    let code = cri.wait_for_end(&id);
    cri.remove(&id);
    code
}

#[test]
fn a_guest_in_a_pod_reads_its_volumes_and_kubelet_reads_what_it_says() {
    with_pods(&[Version::Sid], |bench, containerd, cri| {
        let (config, secret) =
            (volume(bench, "config", "a greeting\n"), volume(bench, "secret", "a word\n"));
        let volumes = [("/etc/config", config.as_path()), ("/etc/secret", secret.as_path())];
        let pod = cri.pod("aril", "volumes", json!({}));
        for (name, path, text) in
            [("config", "/etc/config/text", "a greeting"), ("secret", "/etc/secret/text", "a word")]
        {
            assert_eq!(open(cri, &pod, name, &[path], &volumes), 0, "{:?}", cri.log(name));
            assert_eq!(cri.log(name), [("stdout".to_owned(), text.to_owned())]);
        }
        // They are read, and nothing more; and nothing else of the host is there.
        let write = ["-w", "/etc/config/new", "text"];
        assert_eq!(open(cri, &pod, "writes", &write, &volumes), 1);
        assert!(!config.join("new").exists());
        assert_eq!(cri.log("writes")[0].0, "stderr");
        assert_eq!(open(cri, &pod, "looks", &["/etc/passwd"], &volumes), 1);
        cri.end(&pod);
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_guest_in_a_pod_is_measured_changed_entered_stopped_and_removed() {
    with_pods(&Version::ALL, |bench, containerd, cri| {
        let pod = cri.pod("aril", "life", json!({}));
        let limits = |bytes: u64| json!({"memory_limit_in_bytes": bytes.to_string()});
        let more = json!({"linux": {"resources": limits(MEMORY)}});
        let id = cri.start(&pod, "tick", TICKER, more);
        assert_eq!(cri.status(&id)["state"], "CONTAINER_RUNNING");
        let log = bench.path().join("logs/tick.log");
        goes_on(&log);
        assert_eq!(cri.log("tick")[0], ("stdout".to_owned(), "tick".to_owned()));

        let stats = cri.stats(&id);
        assert!((1 << 10..MEMORY).contains(&number(&stats["memory"]["working_set_bytes"])));
        let cpu = number(&stats["cpu"]["usage_core_nano_seconds"]);
        // More than nothing, and no more than two processors do in a minute.
        assert!((1..120_000_000_000).contains(&cpu), "{stats}");
        let update = json!({"container_id": id, "linux": limits(2 * MEMORY)});
        cri.ask("UpdateContainerResources", &update);

        // What rotates logs moves one away, and asks for a new one.
        let old = log.with_extension("old");
        fs::rename(&log, &old).unwrap();
        cri.ask("ReopenContainerLog", &json!({"container_id": id}));
        goes_on(&log);

        let said = cri.exec(&id, &["/hello.wasm"]);
        assert_eq!((said.stdout.as_str(), said.code), (GREETING, 0));
        cri.stop(&id, 1);
        let code = cri.wait_for_end(&id);
        assert!([137, 143].contains(&code), "{code}");
        cri.remove(&id);
        cri.end(&pod);
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_guest_and_a_native_container_share_a_pod_and_a_shim() {
    with_pods(&[Version::Sid], |bench, containerd, cri| {
        let pod = cri.pod("aril", "mixed", json!({}));
        let guest = cri.start(&pod, "tick", TICKER, json!({}));
        let command = json!({"command": ["/busybox", "sleep", "1000"]});
        let native = cri.start(&pod, "native", images::BUSYBOX, command);
        goes_on(&bench.path().join("logs/tick.log"));
        let said = cri.exec(&native, &["/busybox", "hostname"]);
        assert_eq!((said.stdout.as_str(), said.code), ("mixed\n", 0));
        let processes = containerd.room().processes();
        let shims = processes.iter().filter(|process| process.says(&["-id", &pod.id]));
        assert_eq!(shims.count(), 1, "{processes:#?}");
        assert!(containerd.shim_of(&guest).is_none() && containerd.shim_of(&native).is_none());
        for id in [&guest, &native] {
            cri.stop(id, 0);
            assert_eq!(cri.wait_for_end(id), 137);
            cri.remove(id);
        }
        cri.end(&pod);
        containerd.assert_nothing_left();
    });
}

#[test]
fn a_guest_in_a_pod_that_is_out_of_memory_is_told_as_that() {
    with_pods(&[Version::Sid], |bench, containerd, cri| {
        let hog = images::wasm(bench, "localhost/hog:1", &[("hog", HOG.as_bytes())]);
        containerd.import(KUBERNETES, &hog);
        cri.wait_for_image("localhost/hog:1");
        let pod = cri.pod("aril", "hungry", json!({}));
        let limits = json!({"memory_limit_in_bytes": MEMORY.to_string()});
        let more = json!({"linux": {"resources": limits}});
        let id = cri.start(&pod, "hog", "localhost/hog:1", more);
        assert_eq!(cri.wait_for_end(&id), 137);
        assert_eq!(cri.status(&id)["reason"], "OOMKilled");
        cri.end(&pod);
        containerd.assert_nothing_left();
    });
}
