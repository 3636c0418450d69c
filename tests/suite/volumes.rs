//! Volumes: by name, kept from run to run, and removed when nobody uses them.

use serde_json::Value;
use serde_json::json;

use crate::image_files::python;
use crate::image_files::run;
use crate::image_files::says;
use crate::image_files::with_image;
use crate::support::Bench;

fn aril(bench: &Bench, line: &str) -> String {
    bench.aril(line.split(' ')).outcome().expect_code(0).stdout
}

#[test]
fn what_is_written_to_a_volume_is_there_in_the_next_run_and_for_other_images() {
    let Some(bench) = with_image(&python()) else { return };
    let flags = ["-v", "state:/state"];
    says(&bench, &flags, "open('/state/f', 'w').write('kept'); print('state')", "state\n");
    says(&bench, &flags, "print(open('/state/f').read())", "kept\n");
    let read_only = "try: open('/state/f', 'a')
except OSError as error: print('refused')
print(open('/state/f').read())";
    says(&bench, &["-v", "state:/elsewhere"], "print(open('/elsewhere/f').read())", "kept\n");
    says(&bench, &["-v", "state:/state:ro"], read_only, "refused\nkept\n");
    assert_eq!(aril(&bench, "volume ls -q"), "state\n");
}

#[test]
fn an_empty_volume_begins_with_what_the_image_has_there() {
    let Some(bench) = with_image(&python()) else { return };
    let script = "import os
print(sorted(os.listdir('/data')), open('/data/kept').read(), end='')
open('/data/mine', 'a').write('x')";
    says(&bench, &["-v", "new:/data"], script, "['changed', 'kept'] kept\n");
    says(&bench, &["-v", "new:/data"], script, "['changed', 'kept', 'mine'] kept\n");
    aril(&bench, "volume create made");
    says(&bench, &["-v", "made:/data"], script, "['changed', 'kept'] kept\n");
}

#[test]
fn volumes_are_listed_inspected_and_removed_as_dockers_are() {
    let bench = Bench::new();
    assert_eq!(aril(&bench, "volume create one"), "one\n");
    assert_eq!(aril(&bench, "volume create one"), "one\n", "it is there already");
    aril(&bench, "volume create two");
    let listed = aril(&bench, "volume ls");
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.starts_with("VOLUME NAME"), "{listed}");
    assert_eq!(aril(&bench, "volume ls --format {{.Name}}"), "one\ntwo\n");
    let told: Value = serde_json::from_str(&aril(&bench, "volume inspect one")).unwrap();
    let path = told[0]["Mountpoint"].as_str().unwrap();
    assert!(std::path::Path::new(path).is_dir(), "{told}");
    assert_eq!(aril(&bench, "volume rm one two"), "one\ntwo\n");
    assert_eq!(aril(&bench, "volume ls -q"), "");
    let missing = bench.aril(["volume", "rm", "one"]).outcome();
    missing.expect_code(1).expect_error("there is no such volume");
    aril(&bench, "volume rm -f one");
    for name in ["../x", "a/b", "x", "-x", ""] {
        let outcome = bench.aril(["volume", "create", "--", name]).outcome();
        outcome.expect_code(125).expect_error("cannot be a volume's name");
    }
}

#[test]
fn a_volume_that_a_program_uses_is_not_removed() {
    let Some(bench) = with_image(&python()) else { return };
    let script = "import sys; print('ready', flush=True); sys.stdin.read(); print(open('/state/f', 'w').write('x'))";
    let running = bench.run(["-i", "-v", "state:/state", "files:1", "-c", script]);
    let running = running.silent_input().start();
    running.wait_for_output("ready");
    let refused = bench.aril(["volume", "rm", "state"]).outcome();
    refused.expect_code(1).expect_error("a program that runs uses it");
    running.signal("TERM");
    running.outcome();
    aril(&bench, "volume rm state");
}

#[test]
fn a_volume_of_the_image_is_there_and_is_written_to_also_where_the_image_is_only_read() {
    let mut config = python();
    config["Volumes"] = json!({"/data": {}, "/made/deep/": {}});
    let Some(bench) = with_image(&config) else { return };
    let script = "import os
print(sorted(os.listdir('/data')), os.listdir('/made/deep'), sorted(os.listdir('/made')))
open('/data/mine', 'w').write('x'); open('/made/deep/mine', 'w').write('x')
try: open('/old/mine', 'w'); print('written')
except OSError: print('refused')";
    let expected = "['changed', 'kept'] [] ['deep']\n";
    for _ in 0..2 {
        says(&bench, &["--read-only"], script, &format!("{expected}refused\n"));
        says(&bench, &[], script, &format!("{expected}written\n"));
    }
    says(
        &bench,
        &["--read-only", "-v", "kept:/data"],
        "open('/data/mine', 'a').write('x'); print(open('/data/mine').read())",
        "x\n",
    );
    assert_eq!(aril(&bench, "volume ls -q"), "kept\n", "the image's own go with the run");
    let left = std::fs::read_dir(bench.data().join("writable")).into_iter().flatten().count();
    assert!(left <= 1, "{left} left");
}

#[test]
fn places_are_seen_also_in_files_that_may_only_be_read() {
    let Some(bench) = with_image(&python()) else { return };
    bench.file("host/mine", "host\n");
    let script = "import os
print('place' in os.listdir('/'), os.listdir('/place'))
try: os.mkdir('/new'); print('made')
except OSError: print('refused')";
    let flags = ["--read-only", "-v", "./host:/place:ro"];
    says(&bench, &flags, script, "True ['mine']\nrefused\n");
    run(&bench, &["--read-only", "-v", "./host:/data/kept/x", "files:1", "-c", "1"])
        .expect_code(125)
        .expect_error("cannot make `/data/kept/x` a place to mount at");
}

#[test]
fn without_an_image_a_volume_is_granted_all_the_same() {
    let bench = Bench::new();
    bench.file("empty.wat", "(module (func (export \"_start\")))");
    bench.run(["-v", "data:/data", "empty.wat"]).outcome().expect_code(0);
    assert_eq!(aril(&bench, "volume ls -q"), "data\n");
    let refused = bench.run(["-v", "data:data", "empty.wat"]).outcome();
    refused.expect_code(125).expect_error("it must be absolute");
}

#[test]
fn a_guest_is_not_granted_writing_to_where_images_and_volumes_are() {
    let bench = Bench::new();
    bench.file("empty.wat", "(module (func (export \"_start\")))");
    let data = bench.data();
    let data = data.display();
    let above = bench.path().display().to_string();
    // Also where it is not there yet.
    let refused = bench.run([format!("-v{above}:/x").as_str(), "empty.wat"]).outcome();
    refused.expect_code(125).expect_error("holds the folder for");
    aril(&bench, "volume create other");
    for place in [format!("{data}"), format!("{data}/volumes"), format!("{data}/volumes/other")] {
        let refused = bench.run([format!("-v{place}:/x").as_str(), "empty.wat"]).outcome();
        refused.expect_code(125).expect_error("holds the folder for images");
        bench.run([format!("-v{place}:/x:ro").as_str(), "empty.wat"]).outcome().expect_code(0);
    }
    // A link in the place of a volume is none.
    bench.file("elsewhere/_data/secret", "secret");
    std::os::unix::fs::symlink(bench.path().join("elsewhere"), bench.data().join("volumes/linked"))
        .unwrap();
    bench.run(["-v", "linked:/x", "empty.wat"]).outcome().expect_code(125);
}
