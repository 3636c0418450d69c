//! The OCI runtime `aril-oci`, as engines call it, with bundles of the tests' own.

mod entry;
mod exec;
mod faults;
mod hooks;
mod life;
mod limits;
mod streams;

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::skip;
use crate::support::wait_until;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// The program of bundles.
const PROGRAM: &str = "/app.wasm";

/// `aril-oci`, which was built beside our other programs.
pub(crate) fn program() -> PathBuf {
    let path = aril_path().with_file_name("aril-oci");
    assert!(path.is_file(), "`{}` is missing: run `cargo build` first", path.display());
    path
}

/// Containers of a test's own. What is left of them ends with the test.
pub(crate) struct Yard {
    bench: Bench,
    /// The name of their control groups, before a number.
    group: String,
}

impl Yard {
    /// Nothing, said aloud, where this user is not root: engines are, and control groups are root's.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            skip("this user is not root, as who container engines are run");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("/oci-test-{}-{number}", std::process::id());
        Some(Self { bench: Bench::with_shared_cache(), group })
    }

    pub(crate) fn path(&self) -> &Path {
        self.bench.path()
    }

    fn states(&self) -> PathBuf {
        self.path().join("states")
    }

    /// `aril-oci ARGS...` with its own folder of states.
    pub(crate) fn oci<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        let mut command = Command::new(program());
        command
            .arg("--root")
            .arg(self.states())
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ARIL_CACHE_DIR", self.bench.cache())
            .current_dir(self.path());
        Run::of(command)
    }

    /// The same with words that have no spaces in them, to its end.
    #[track_caller]
    fn does(&self, line: &str) -> Outcome {
        self.oci(line.split(' ')).outcome()
    }

    /// The same, which is to succeed; says what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        self.does(line).expect_code(0).stdout
    }

    /// A bundle with this guest, and with its configuration changed.
    pub(crate) fn bundle_with(
        &self,
        name: &str,
        guest: &str,
        change: impl FnOnce(&mut Value),
    ) -> PathBuf {
        let wasm = wat::parse_str(guest).unwrap();
        self.bench.file(&format!("{name}/rootfs{PROGRAM}"), wasm);
        let mut config = json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "user": { "uid": 0, "gid": 0 }, "args": [PROGRAM], "cwd": "/" },
            "annotations": { "org.example.of": "a test" },
            "linux": { "cgroupsPath": format!("{}-{name}", self.group) },
        });
        change(&mut config);
        self.bench.file(&format!("{name}/config.json"), config.to_string());
        self.path().join(name)
    }

    fn bundle(&self, name: &str, guest: &str) -> PathBuf {
        self.bundle_with(name, guest, |_| {})
    }

    /// Runs a verb that leaves something which goes on, whose output goes to a file.
    fn leaving(&self, line: &str, output: &str) -> Outcome {
        let Run { mut command, .. } = self.oci(line.split(' '));
        let [stdout, stderr] =
            ["out", "err"].map(|end| self.path().join(format!("{output}.{end}")));
        let started = Instant::now();
        let status = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .status();
        let said = |path| fs::read_to_string(path).unwrap();
        Outcome {
            code: status.unwrap().code(),
            stdout: said(stdout),
            stderr: said(stderr),
            elapsed: started.elapsed(),
        }
    }

    /// Creates a container of a bundle of the same name.
    fn create(&self, id: &str) -> Outcome {
        self.leaving(&format!("create --bundle {id} --pid-file {id}.pid {id}"), id)
    }

    /// Creates and starts one that ticks, and waits until it does.
    fn ticking(&self, id: &str) {
        self.bundle(id, crate::residents::TICK);
        self.create(id).expect_code(0);
        self.ok(&format!("start {id}"));
        self.wait_for(id, "tick");
    }

    /// What a container wrote until now.
    fn said(&self, id: &str) -> String {
        fs::read_to_string(self.path().join(format!("{id}.out"))).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, id: &str, text: &str) {
        wait_until(text, || self.said(id).contains(text));
    }

    /// The number in the pid file of a container.
    fn pid(&self, id: &str) -> u32 {
        fs::read_to_string(self.path().join(format!("{id}.pid"))).unwrap().parse().unwrap()
    }

    /// What `state` says.
    #[track_caller]
    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("state {id}"))).unwrap()
    }

    #[track_caller]
    fn wait_for_end(&self, id: &str) {
        wait_until("it stops", || self.state(id)["status"] == "stopped");
    }

    /// The folders of a container's control group.
    fn groups(&self, id: &str) -> Vec<PathBuf> {
        let trees = fs::read_dir(GROUPS).into_iter().flatten();
        let trees = trees.filter_map(|tree| Some(tree.ok()?.path()));
        let name = format!("{}-{id}", self.group);
        let found = trees.chain([PathBuf::from(GROUPS)]).map(|tree| tree.join(&name[1..]));
        found.filter(|path| path.is_dir()).collect()
    }

    /// What a file of a container's control group says, by its names in both versions of these.
    fn group_says(&self, id: &str, names: [&str; 2]) -> String {
        let groups = self.groups(id);
        let mut files = groups.iter().flat_map(|group| names.map(|name| group.join(name)));
        let text = files.find_map(|path| fs::read_to_string(path).ok());
        text.unwrap_or_else(|| panic!("none of {names:?} in {groups:?}")).trim().to_owned()
    }

    /// The processes that name this yard's folder: keepers, and verbs about them.
    fn processes(&self) -> Vec<String> {
        let own = self.path().to_str().unwrap();
        let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(own)).collect()
    }

    /// Fails where anything is left of a container.
    #[track_caller]
    fn assert_nothing_left(&self, id: &str) {
        let folder = self.states().join(id);
        assert!(!folder.exists(), "`{}` is left", folder.display());
        wait_until("its processes are gone", || self.processes().is_empty());
        let mut left = Vec::new();
        wait_until("its groups are gone", || {
            left = self.groups(id);
            left.is_empty()
        });
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.path().to_str().unwrap()), "{mounts}");
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        let entries = fs::read_dir(self.states()).into_iter().flatten();
        for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
            let words = [OsStr::new("delete"), OsStr::new("--force"), &name];
            _ = self.oci(words).command.stderr(Stdio::null()).status();
        }
    }
}
