//! Sandboxes that go on alone: `aril run -d`, and every verb that finds one again.

mod beside;
mod completions;
mod control;
mod faults;
mod files;
mod full;
mod kills;
mod life;
mod logs;
mod names;
mod races;
mod restarts;
mod spoken;
mod streams;
mod terminals;
mod users;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;
use crate::support::signal;
use crate::support::wait_until;
use crate::support::worker_of;

/// How long something may take that is over at once, on a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A guest that says `tick` every ten milliseconds.
pub(crate) const TICK: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "tick\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
    (i32.store (i32.const 24) (i32.const 1)) (i64.store (i32.const 32) (i64.const 10000000))
    (loop $l
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (drop (call $poll (i32.const 8) (i32.const 200) (i32.const 1) (i32.const 300)))
      (br $l))))"#;

/// A guest that ends at once, with this code.
pub(crate) fn ending(code: u8) -> String {
    format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

/// A guest that writes these to the stream of that number, one after the other, and ends.
fn writing(pieces: &[(u32, &str)]) -> String {
    let mut data = String::new();
    let mut calls = String::new();
    let mut at = 1024;
    for (stream, text) in pieces {
        // As the text form writes bytes: `\ff` is one.
        let length = text.len() - 2 * text.matches('\\').count();
        write!(data, "(data (i32.const {at}) \"{text}\")").unwrap();
        write!(
            calls,
            "(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {length}))
             (drop (call $write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 52)))"
        )
        .unwrap();
        at += length;
    }
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) {data} (func (export "_start") {calls}))"#
    )
}

/// A roster of a test's own. What goes on in it ends with the test.
struct Den {
    bench: Bench,
    data: PathBuf,
}

impl Den {
    fn new() -> Self {
        Self::on(Bench::with_shared_cache())
    }

    fn on(bench: Bench) -> Self {
        let data = bench.data();
        Self { bench, data }
    }

    fn roster(&self) -> PathBuf {
        self.data.join("sandboxes")
    }

    /// Where what is known of a sandbox is.
    fn place(&self, id: &str) -> PathBuf {
        self.roster().join("ids").join(id)
    }

    fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        self.bench.aril(args).env("ARIL_DATA_DIR", &self.data)
    }

    fn aril<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Outcome {
        self.command(args).outcome()
    }

    /// Runs `aril` with these words, which must succeed, and says what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let outcome = self.aril(line.split(' '));
        assert_eq!(outcome.code, Some(0), "`{line}`: {outcome:#?}");
        outcome.stdout
    }

    /// What starts a guest in the background.
    fn starting(&self, flags: &str, guest: &str) -> Run {
        // Files of different texts have different names, also of tests that run at once.
        let name = format!("{:016x}.wat", fnv(guest));
        self.bench.file(&name, guest);
        let words = ["run", "-d"].into_iter().chain(flags.split_whitespace());
        self.command(words.chain([name.as_str()]))
    }

    /// Starts a guest in the background, and says its id.
    #[track_caller]
    fn start(&self, flags: &str, guest: &str) -> String {
        let outcome = self.starting(flags, guest).outcome().expect_code(0);
        let id = outcome.stdout.strip_suffix('\n').expect("a line").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        id
    }

    /// What `inspect` says.
    #[track_caller]
    fn inspect(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("inspect --type sandbox --format json {name}")))
            .unwrap()
    }

    #[track_caller]
    fn status(&self, name: &str) -> String {
        self.inspect(name)["State"]["Status"].as_str().unwrap().to_owned()
    }

    /// The line of `ps -a` of a sandbox.
    #[track_caller]
    fn listed(&self, name: &str) -> String {
        let format = "{{.Names}}|{{.ID}}|{{.State}}|{{.Status}}|{{.ExitCode}}|{{.Reason}}";
        let all = self.aril(["ps", "-a", "--no-trunc", "--format", format]).expect_code(0).stdout;
        let line = all.lines().find(|line| line.split('|').take(2).any(|cell| cell == name));
        line.unwrap_or_else(|| panic!("`{name}` is not in:\n{all}")).to_owned()
    }

    #[track_caller]
    fn keeper(&self, name: &str) -> u32 {
        let keeper = self.inspect(name)["State"]["Pid"].as_u64().expect("a keeper");
        u32::try_from(keeper).unwrap()
    }

    #[track_caller]
    fn worker(&self, name: &str) -> u32 {
        worker_of(self.keeper(name))
    }

    /// Waits until this is in the log.
    #[track_caller]
    fn wait_for_log(&self, id: &str, text: &str) {
        let log = self.place(id).join("log");
        wait_until(text, || fs::read_to_string(&log).is_ok_and(|log| log.contains(text)));
    }

    #[track_caller]
    fn wait_for_status(&self, name: &str, status: &str) {
        wait_until(status, || self.status(name) == status);
    }

    /// Actions of events of a sandbox, in their order.
    fn actions(&self, name: &str) -> Vec<String> {
        let filter = format!("sandbox={name}");
        let said = self.aril(["events", "--format", "{{.action}}", "--filter", &filter]);
        said.expect_code(0).stdout.lines().map(str::to_owned).collect()
    }

    /// The keepers of this roster, and processes that start one.
    fn processes(&self) -> Vec<u32> {
        let own = format!("ARIL_DATA_DIR={}", self.data.display());
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(is_ours).collect()
    }

    /// The ids for which there is a directory.
    fn ids(&self) -> Vec<String> {
        names_in(&self.roster().join("ids"))
    }

    /// Fails unless the roster is empty: no process, directory or name is left.
    #[track_caller]
    fn is_empty(&self, what: &str) {
        wait_until("no keeper to be left", || self.processes().is_empty());
        assert_eq!(self.ids(), [""; 0], "{what}: a directory is left");
        assert_eq!(names_in(&self.roster().join("names")), [""; 0], "{what}: a name is left");
    }
}

/// Nothing goes on when a test is over, also where it failed.
impl Drop for Den {
    fn drop(&mut self) {
        for id in self.ids() {
            // A test that paused or damaged something may have left anything.
            _ = self.command(["rm", "-f", &id]).command.output();
        }
        for pid in self.processes() {
            signal(pid, "KILL");
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A number for a text.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether a process runs: one that has ended, and that nobody has waited for yet, does not.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The control groups that a keeper made.
fn groups_of(keeper: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            // `aril-NAMESPACE-PROCESS-STARTED-COUNT`
            let mut words = name.split('-');
            if words.next() == Some("aril") && words.nth(1) == Some(&keeper.to_string()) {
                found.push(entry.path());
            } else {
                folders.push(entry.path());
            }
        }
    }
    found
}
