//! What one that goes on alone wrote, as it is read.

use std::fs;
use std::time::Duration;

use crate::guests::FLOOD;

use super::Den;
use super::TICK;
use super::names_in;
use super::writing;

#[test]
fn both_streams_are_kept_apart_byte_for_byte() {
    let den = Den::new();
    let guest = writing(&[
        (1, "one\\0a"),
        (2, "oops\\0a"),
        (1, "\\ff\\00\\fe bytes\\0d\\0a"),
        (1, "no end"),
        (2, "\\80"),
    ]);
    den.start("--name one", &guest);
    den.ok("wait one");
    let output = den.command(["logs", "one"]).command.output().unwrap();
    assert_eq!(output.stdout, b"one\n\xff\0\xfe bytes\r\nno end");
    assert_eq!(output.stderr, b"oops\n\x80");
    assert!(output.status.success());
}

#[test]
fn the_last_lines_and_those_of_a_time_can_be_asked_for() {
    let den = Den::new();
    let lines: Vec<_> = (0..20).map(|number| (1, format!("line {number}\\0a"))).collect();
    let lines: Vec<_> = lines.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
    den.start("--name one", &writing(&lines));
    den.ok("wait one");

    assert_eq!(den.ok("logs one").lines().count(), 20);
    assert_eq!(den.ok("logs -n 2 one"), "line 18\nline 19\n");
    assert_eq!(den.ok("logs --tail all one").lines().count(), 20);
    assert_eq!(den.ok("logs -n 0 one"), "");
    assert_eq!(den.ok("logs --since 1h one").lines().count(), 20);
    assert_eq!(den.ok("logs --since 2100-01-01T00:00:00Z one"), "");
    assert_eq!(den.ok("logs --until 1h one"), "");
    let stamped = den.ok("logs -t -n 1 one");
    let (time, rest) = stamped.split_once(' ').unwrap();
    assert_eq!(rest, "line 19\n");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 30, "{time}");
    // From the time of a line on, with that line.
    let since = den.ok(&format!("logs --since {time} one"));
    assert!(since.ends_with("line 19\n"), "{since}");
    den.aril(["logs", "--since", "yesterday", "one"]).expect_code(125).expect_error("neither a");
}

#[test]
fn who_follows_sees_what_comes_until_the_guest_ends() {
    let den = Den::new();
    let id = den.start("--name one", TICK);
    let following = den.command(["logs", "-f", "one"]).start();
    following.wait_for_output("tick\ntick\n");
    den.ok("stop -t 0 one");
    let followed = following.outcome().expect_code(0).stdout;
    assert_eq!(followed, den.ok("logs one"), "who follows misses nothing");
    // One that has ended is followed to its end at once.
    let again = den.aril(["logs", "-f", "-n", "1", &id]).expect_code(0);
    assert_eq!(again.stdout, "tick\n");
}

#[test]
fn a_log_stays_within_its_bounds_and_has_the_newest() {
    let den = Den::new();
    let sizes = |id: &str| {
        let names = names_in(&den.place(id)).into_iter().filter(|name| name.starts_with("log"));
        // It may be rotated away just now.
        let size = |name: String| fs::metadata(den.place(id).join(name)).map_or(0, |it| it.len());
        names.map(size).collect::<Vec<_>>()
    };
    for (options, most, files) in [
        ("--log-opt max-size=2k --log-opt max-file=3", 2 << 10, 3),
        ("--log-opt max-size=100k --log-opt max-file=1", 100 << 10, 1),
    ] {
        for guest in [FLOOD, NEWLINES] {
            let id = den.start(options, guest);
            crate::support::wait_until("its log to be full", || {
                let found = sizes(&id);
                assert!(found.iter().all(|size| *size <= most), "{options}: {found:?}");
                assert!(found.len() <= files, "{options}: {found:?}");
                den.inspect(&id)["LogLostBytes"].as_u64() == Some(0)
                    && sizes(&id).iter().sum::<u64>() > most * (files as u64 - 1) + most / 2
            });
            den.ok(&format!("kill {id}"));
            den.ok(&format!("wait {id}"));
            let found = sizes(&id);
            assert!(found.len() <= files && found.iter().all(|size| *size <= most), "{found:?}");
            let read = den.command(["logs", &id]).command.output().unwrap();
            assert!(read.status.success() && !read.stdout.is_empty(), "{options}");
        }
    }
    for (option, said) in [
        ("max-size=0", "max-size"),
        ("max-file=0", "max-file"),
        ("max-size=-1", "max-size"),
        ("colour=red", "neither"),
    ] {
        let outcome = den.starting(&format!("--log-opt {option}"), TICK).outcome();
        assert_eq!(outcome.code, Some(125), "{option}: {outcome:#?}");
        assert!(outcome.stderr.contains(said), "{option}: {outcome:#?}");
    }
}

/// A guest that ends lines, and writes nothing else: in a log each is a line with its time.
const NEWLINES: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
    (memory.fill (i32.const 1024) (i32.const 10) (i32.const 65536))
    (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52))) (br $l))))"#;

#[test]
fn a_log_that_is_removed_ends_who_follows_it() {
    let den = Den::new();
    den.start("--name one", TICK);
    let following = den.command(["logs", "-f", "one"]).start();
    following.wait_for_output("tick\n");
    den.ok("rm -f one");
    let outcome = following.outcome().expect_code(0);
    assert!(outcome.elapsed < Duration::from_secs(30), "{outcome:?}");
}
