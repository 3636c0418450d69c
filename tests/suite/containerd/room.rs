//! A place for other people's daemons: what they start, mount and connect nobody else sees, and it
//! is gone with the place.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::support::Bench;
use crate::support::NOTHING_ELSEWHERE;
use crate::support::Run;
use crate::support::Running;
use crate::support::Tools;
use crate::support::children_of;
use crate::support::installed;
use crate::support::wait_until;

/// Whose network it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Network {
    Own,
    OfThisMachine,
}

/// Processes, mounts and, where wanted, a network of a test's own.
pub(crate) struct Room {
    /// What ends with all that was started in here.
    holder: Option<Running>,
    /// Its first process, which buries those that lost their parents, as others number it.
    first: u32,
    folder: PathBuf,
}

/// A process in a room, by its number there.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) words: Vec<String>,
}

impl Process {
    /// Whether these words stand in its command line, one behind the other.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        self.words.windows(words.len()).any(|found| found == words)
    }
}

impl Room {
    /// Nothing, said aloud, where this user is not root, or has not the programs for it.
    pub(crate) fn new(bench: &Bench, network: Network) -> Option<Self> {
        Tools::new(bench, &["unshare", "nsenter", "setpriv", "busybox"])?;
        let mut command = Command::new("setpriv");
        // Nobody who ends it on the way leaves anything that runs.
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--mount-proc"]);
        command.args(["--fork", "--kill-child"]);
        let mut script = NOTHING_ELSEWHERE.to_owned();
        if network == Network::Own {
            command.arg("--net");
            script.push_str("\nbusybox ip link set lo up");
        }
        script.push_str("\necho ready\nsleep infinity & wait");
        command.args(["sh", "-ec", &script]);
        let holder = Run::of(command).start();
        holder.wait_for_output("ready");
        let first = children_of(holder.pid())[0];
        Some(Self { holder: Some(holder), first, folder: bench.path().to_owned() })
    }

    /// A program that is about to be run in it, and ends with who started it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--pid", "--net", "--"]);
        command.args(["setpriv", "--pdeathsig", "KILL"]).arg(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .current_dir(&self.folder);
        command
    }

    /// What is at a path in it, for who is not.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.first.to_string()).join("root").join(path.trim_matches('/'))
    }

    /// All that runs in it but what holds it.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let folder = self.at("proc");
        let numbers = fs::read_dir(&folder).unwrap().filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.parse::<u32>().ok().filter(|pid| *pid != 1)
        });
        let process = |pid: u32| {
            // One that has ended meanwhile has no files any more.
            let read = |name: &str| fs::read_to_string(folder.join(pid.to_string()).join(name));
            let words = read("cmdline").ok()?;
            let words = words.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
            let name = read("comm").ok()?.trim().to_owned();
            Some(Process { pid, name, words }).filter(|found| !found.says(&["sleep", "infinity"]))
        };
        numbers.filter_map(process).collect()
    }

    /// What is mounted in the test's folder and in `/run`.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.first)).unwrap();
        let folder = self.folder.display().to_string();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        points
            .filter(|point| point.starts_with(&folder) || point.starts_with("/run/"))
            .map(str::to_owned)
            .collect()
    }

    /// Sends a signal to a process in it.
    pub(crate) fn signal(&self, pid: u32, name: &str) {
        let mut command = self.command("kill");
        command.args(["-s", name, &pid.to_string()]);
        Run::of(command).outcome().expect_code(0);
    }

    /// Ends all that is in it.
    pub(crate) fn end(&mut self) {
        if let Some(holder) = self.holder.take() {
            drop(holder);
            let path = Path::new("/proc").join(self.first.to_string());
            wait_until("the end of a room", || !path.exists());
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether there is all that pods need for their network.
pub(crate) fn has_plugins_of_networks() -> bool {
    // Where Debian has them is no part of PATH.
    let found = ["bridge", "host-local", "loopback"]
        .iter()
        .all(|name| Path::new(PLUGINS_OF_NETWORKS).join(name).is_file());
    if !found {
        crate::support::skip("`containernetworking-plugins` is not installed");
    }
    found && installed("busybox").is_some()
}

/// Where Debian has the plugins that make the networks of pods.
pub(crate) const PLUGINS_OF_NETWORKS: &str = "/usr/lib/cni";
