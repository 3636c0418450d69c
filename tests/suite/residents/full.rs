//! A disk without room for what a guest writes.

use std::process::Command;

use crate::guests::FLOOD;
use crate::support::OwnMounts;
use crate::support::aril_path;

use super::Den;

#[test]
fn a_full_disk_loses_output_and_counts_it_and_the_guest_goes_on_to_a_true_end() {
    let Some(mounts) = OwnMounts::new() else { return };
    let den = Den::new();
    den.bench.file("flood.wat", FLOOD);
    std::fs::create_dir_all(&den.data).unwrap();
    let script = r#"
        mount -t tmpfs -o size=600k,mode=700 none "$ARIL_DATA_DIR"
        trap '"$ARIL" rm -f one > /dev/null 2>&1' EXIT
        "$ARIL" run -d --name one flood.wat
        until [ "$(df --output=avail "$ARIL_DATA_DIR" | tail -n 1)" -lt 20 ]; do sleep 0.02; done
        "$ARIL" stats --no-stream --format '{{.BytesOut}}' one
        "$ARIL" stats --no-stream --format '{{.BytesOut}}' one
        "$ARIL" stop -t 0 one
        "$ARIL" inspect --format '{{.State.ExitCode}} {{.State.Reason}} {{.LogLostBytes}}' one
        "$ARIL" logs -n 1 one > /dev/null 2> said
        "$ARIL" rm one
        ls "$ARIL_DATA_DIR"/sandboxes/ids "$ARIL_DATA_DIR"/sandboxes/names
    "#;
    let mut command: Command = mounts.command();
    command.args(["sh", "-ec", script]).current_dir(den.bench.path());
    command.env("ARIL", aril_path()).env("ARIL_DATA_DIR", &den.data);
    command.env("ARIL_CACHE_DIR", den.bench.cache());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = said.lines().collect();
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert!(number(lines[1]) < number(lines[2]), "the guest stands still: {said}");
    assert_eq!(lines[3], "one", "{said}");
    let end: Vec<_> = lines[4].split(' ').collect();
    assert_eq!(end[..2], ["143", "stopped"], "{said}");
    assert!(1 << 20 < number(end[2]), "{said}");
    assert_eq!(lines[5], "one", "{said}");
    let warned = std::fs::read_to_string(den.bench.path().join("said")).unwrap();
    assert!(warned.contains("could not be written and are lost"), "{warned}");
    let left: Vec<_> = lines[6..].iter().filter(|line| !line.is_empty()).collect();
    assert!(left.iter().all(|line| line.ends_with(':')), "{said}");
}
