//! What never becomes a container: one clear error, and nothing left.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use serde_json::json;

use super::Yard;
use crate::residents::TICK;

#[test]
fn what_is_no_id_is_refused() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    for id in ["", ".", "..", "../web", "a/b", "a b", "ä", &"x".repeat(256)] {
        for verb in [&["create", "--bundle", "web"][..], &["state"], &["delete", "--force"]] {
            let words = verb.iter().copied().chain([id]);
            let refused = yard.oci(words).outcome().expect_code(1);
            assert!(refused.stderr.contains("is no id of a container"), "{refused:?}");
        }
    }
    assert!(!yard.states().exists(), "something was made");
}

/// Tries to create a container of this bundle, and says why it is not.
#[track_caller]
fn refusal(yard: &Yard, name: &str) -> String {
    let refused = yard.create(name).expect_code(1);
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert!(!yard.path().join(format!("{name}.pid")).exists(), "{name}: there is a pid file");
    yard.assert_nothing_left(name);
    refused.stderr
}

#[test]
fn a_bundle_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let Some(yard) = Yard::new() else { return };
    let config = |name: &str| yard.path().join(name).join("config.json");
    yard.bundle("missing", TICK);
    fs::remove_file(config("missing")).unwrap();
    yard.bundle("cut", TICK);
    let text = fs::read_to_string(config("cut")).unwrap();
    fs::write(config("cut"), &text[..text.len() / 2]).unwrap();
    yard.bundle("huge", TICK);
    fs::write(config("huge"), " ".repeat((8 << 20) + 1)).unwrap();
    yard.bundle("folder", TICK);
    fs::remove_file(config("folder")).unwrap();
    fs::create_dir(config("folder")).unwrap();
    yard.bundle_with("process", TICK, |config| config["process"] = Value::Null);
    yard.bundle_with("root", TICK, |config| config["root"] = Value::Null);
    yard.bundle_with("version", TICK, |config| config["ociVersion"] = json!("2.0.0"));
    yard.bundle_with("cwd", TICK, |config| config["process"]["cwd"] = json!("here"));
    yard.bundle_with("namespaces", TICK, |config| {
        config["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "pid" }]);
    });
    yard.bundle_with("terminal", TICK, |config| config["process"]["terminal"] = json!(true));
    yard.bundle_with("annotation", TICK, |config| {
        config["annotations"] = json!({ "aril.run/deadlin": "1s" });
    });
    yard.bundle_with("group", TICK, |config| config["linux"]["cgroupsPath"] = json!("/a/../b"));
    yard.bundle_with("source", TICK, |config| {
        config["mounts"] = json!([{
            "destination": "/data", "type": "bind", "source": "/nowhere", "options": ["bind"],
        }]);
    });
    for (name, why) in [
        ("missing", "config.json` cannot be read: No such file"),
        ("cut", "is no configuration of the OCI runtime specification"),
        ("huge", "is larger than 8 MiB"),
        ("folder", "is no regular file"),
        ("process", "there is nothing to run"),
        ("root", "there are no files"),
        ("version", "`2.0.0` is no version 1"),
        ("cwd", "`here` is no absolute path"),
        ("namespaces", "it is there twice"),
        ("terminal", "`--console-socket` is missing"),
        ("annotation", "there is no such setting"),
        ("group", "it leads elsewhere than it says"),
        ("source", "cannot mount `/nowhere` at `/data`"),
    ] {
        let said = refusal(&yard, name);
        assert!(said.contains(why), "{name}: {said}");
    }
    yard.does("create --bundle absent web").expect_code(1).expect_error("cannot find the bundle");
    yard.assert_nothing_left("web");
}

#[test]
fn a_program_that_cannot_be_run_is_refused_and_leaves_nothing() {
    let Some(yard) = Yard::new() else { return };
    let bundle = |name: &str, program: &str| {
        yard.bundle_with(name, TICK, |config| config["process"]["args"] = json!([program]))
    };
    bundle("missing", "/nowhere.wasm");
    let script = bundle("script", "/script").join("rootfs/script");
    fs::write(script, "#!/bin/sh\n").unwrap();
    let folder = bundle("folder", "/folder").join("rootfs/folder");
    fs::create_dir(folder).unwrap();
    // A guest's files end at its root, whatever is written in them.
    let outside = bundle("outside", "/link.wasm");
    symlink(outside.join("rootfs/../../guest.wasm"), outside.join("rootfs/link.wasm")).unwrap();
    fs::write(yard.path().join("guest.wasm"), wat::parse_str(TICK).unwrap()).unwrap();
    let cut = bundle("cut", "/cut.wasm").join("rootfs/cut.wasm");
    fs::write(cut, b"\0asm\x01\0\0\0\x01\x09").unwrap();
    for (name, why) in [
        ("missing", "cannot run `/nowhere.wasm`: there is no such file"),
        ("script", "cannot run `/script`: it is no wasm"),
        ("folder", "cannot run `/folder`: it is a directory"),
        ("outside", "cannot run `/link.wasm`: there is no such file"),
        ("cut", "unexpected end"),
    ] {
        let said = refusal(&yard, name);
        assert!(said.contains(why), "{name}: {said}");
    }
}

#[test]
fn descriptors_that_no_guest_can_have_are_refused() {
    let Some(yard) = Yard::new() else { return };
    yard.bundle("web", TICK);
    for line in ["create --preserve-fds 1 --bundle web web", "exec --preserve-fds 1 web /app.wasm"]
    {
        yard.does(line).expect_code(1).expect_error("no guest takes descriptors of the host");
    }
    yard.assert_nothing_left("web");
}

#[test]
fn what_went_wrong_is_a_line_of_the_log_that_engines_read() {
    let Some(yard) = Yard::new() else { return };
    yard.does("--log log.json --log-format json state nobody").expect_code(1);
    yard.does("--log log.json --log-format=json start nobody").expect_code(1);
    let text = fs::read_to_string(yard.path().join("log.json")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in lines {
        assert_eq!(line["level"], "error");
        assert_eq!(line["msg"], "container `nobody` does not exist");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
