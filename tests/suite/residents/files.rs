//! The files of an image, under a guest that goes on alone: started again, and with others beside it.

use std::fs;

use serde_json::Value;

use crate::disk::FILLS;
use crate::disk::is_mounted_in;
use crate::disk::users;
use crate::disk::with_images;
use crate::guests::CAT;
use crate::support::Bench;
use crate::support::Run;
use crate::support::becoming;
use crate::support::signal;
use crate::support::wait_until;
use crate::support::worker_of;

use super::Den;

/// Appends a letter to `/file`, and ends with 7, or with the error that it got.
const APPENDS: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 100) "filex")
  (func (export "_start") (local $error i32)
    (i32.store (i32.const 0) (i32.const 104)) (i32.store (i32.const 4) (i32.const 1))
    (local.set $error (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4)
      (i32.const 0) (i64.const 64) (i64.const 0) (i32.const 1) (i32.const 48)))
    (if (local.get $error) (then (call $exit (local.get $error))))
    (drop (call $write (i32.load (i32.const 48)) (i32.const 0) (i32.const 1) (i32.const 52)))
    (call $exit (i32.const 7))))"#;

/// A den, and who lives there.
struct Theirs {
    den: Den,
    user: u32,
}

impl Theirs {
    fn new(bench: Bench, user: u32) -> Self {
        if user != 0 {
            let _as_them = bench.give_to(user);
        }
        Self { den: Den::on(bench), user }
    }

    fn run(&self, line: &str) -> Run {
        let run = self.den.command(line.split(' '));
        if self.user == 0 { run } else { run.within(becoming(self.user)) }
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let outcome = self.run(line).outcome();
        assert_eq!(outcome.code, Some(0), "`{line}`: {outcome:#?}");
        outcome.stdout
    }

    #[track_caller]
    fn inspect(&self) -> Value {
        serde_json::from_str(&self.ok("inspect --type sandbox --format json one")).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, status: &str) {
        wait_until(status, || self.inspect()["State"]["Status"] == status);
    }

    /// Waits until it has ended for good, which is to be with this code, after so many restarts.
    #[track_caller]
    fn ended(&self, code: u8, restarts: u64) {
        self.wait_for("exited");
        let shown = self.inspect();
        assert_eq!(shown["State"]["ExitCode"], code, "{shown}");
        assert_eq!(shown["RestartCount"], restarts, "{shown}");
    }
}

#[test]
fn a_guest_with_single_files_over_its_images_files_is_started_again_and_has_others_beside_it() {
    for user in users() {
        for image in ["small", "large"] {
            let Some(bench) = with_images(APPENDS) else { return };
            bench.file("conf", "");
            bench.file("appends.wat", APPENDS);
            bench.file("cat.wat", CAT);
            let theirs = Theirs::new(bench, *user);
            for flags in ["", "--read-only ", "--disk 1m "] {
                let flags = format!("run -d --name one -v ./conf:/file {flags}");
                theirs.ok(&format!("{flags}--restart on-failure:2 {image}"));
                theirs.ended(7, 2);
                theirs.ok("rm one");
            }
            let conf = || fs::read_to_string(theirs.den.bench.path().join("conf")).unwrap();
            assert_eq!(conf(), "x".repeat(9), "{user} {image}");

            theirs.ok("build -q cat.wat --copy ./large:/ -t cat");
            for flags in ["", "--disk 1m "] {
                theirs.ok(&format!("run -d -i --name one -v ./conf:/file {flags}cat"));
                for _ in 0..2 {
                    theirs.run("exec --wasm appends.wat one").outcome().expect_code(7);
                }
                theirs.ok("stop -t 0 one");
                theirs.ok("rm one");
            }
            assert_eq!(conf().len(), 13, "{user} {image}");
            assert!(!is_mounted_in(&theirs.den.bench));
        }
    }
}

#[test]
fn a_limit_on_disk_bytes_outlives_a_restart_and_changes_while_the_guest_runs() {
    for user in users() {
        let Some(bench) = with_images(FILLS) else { return };
        bench.file("cat.wat", CAT);
        bench.file("fills.wat", FILLS);
        let theirs = Theirs::new(bench, *user);
        theirs.ok("build -q cat.wat --copy ./large:/ -t cat");
        theirs.ok("run -d --name one --disk 64k --restart on-failure:1 large");
        // What was written first is there for the second, which finds no room and ends well.
        theirs.ended(0, 1);
        theirs.ok("rm one");

        theirs.ok("run -d -i --name one --disk 64k cat");
        let fills = |pages| theirs.run("exec --wasm fills.wat one").outcome().expect_code(pages);
        let used = || theirs.ok("stats --no-stream --format {{.DiskBytes}} one");
        fills(16);
        assert_eq!(used(), "65536\n");
        theirs.ok("update --disk 80k one");
        fills(4);
        let refused = theirs.run("update --disk 64k one").outcome().expect_code(1);
        refused.expect_error("`disk`").expect_error("81920 bytes of it are in use");
        fills(0);
        theirs.ok("update --disk unlimited one");
        fills(100);
        let least = theirs.run("update --disk 80k one").outcome().expect_code(1);
        least.expect_error("are in use");
        theirs.ok("rm -f one");

        theirs.ok("run -d -i --name one cat");
        let refused = theirs.run("update --disk 64k one").outcome().expect_code(1);
        refused.expect_error("`disk`").expect_error("launched without");
        theirs.ok("rm -f one");
    }
}

#[test]
fn of_a_keeper_that_is_killed_nothing_is_left_but_what_the_next_one_removes() {
    for user in users() {
        let Some(bench) = with_images(CAT) else { return };
        bench.file("conf", "");
        let theirs = Theirs::new(bench, *user);
        let run = "run -d -i --name one --disk 1m -v ./conf:/file large";
        theirs.ok(run);
        let keeper = u32::try_from(theirs.inspect()["State"]["Pid"].as_u64().unwrap()).unwrap();
        let worker = worker_of(keeper);
        signal(keeper, "KILL");
        wait_until("its worker's end", || !fs::exists(format!("/proc/{worker}")).unwrap());
        assert!(!is_mounted_in(&theirs.den.bench));
        theirs.wait_for("exited");
        theirs.ok("rm one");
        theirs.ok(run);
        theirs.ok("rm -f one");
        let left = fs::read_dir(theirs.den.bench.data().join("writable")).unwrap().count();
        assert_eq!(left, 0, "{user}");
    }
}
