//! Containerds of the tests' own, as `ctr` and kubelet speak with them: that of this machine, and
//! those that `tests/setup` fetches from other Debians. Debian 12 has 1.6.

mod cri;
mod images;
mod room;
mod runc;
mod shim;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

pub(crate) use cri::Cri;
pub(crate) use room::Network;
pub(crate) use room::Process;
pub(crate) use room::Room;

use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;
use crate::support::Running;
use crate::support::aril_path;
use crate::support::children_of;
use crate::support::guest;
use crate::support::installed;
use crate::support::signal;
use crate::support::wait_until;

/// How long something is given to go away that nobody needs any more.
const LEAVING: Duration = Duration::from_secs(10);

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// What the groups of these tests begin with, before the number of the test's process.
const GROUP: &str = "containerd-test-";

/// The namespace of containerd that kubelet's containers are in.
pub(crate) const KUBERNETES: &str = "k8s.io";

/// Which containerd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    /// The one of this machine: 1.6 on Debian 12.
    Installed,
    /// The one of Debian 13: 1.7.
    Trixie,
    /// The one of the next Debian: 2.
    Sid,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::Installed, Self::Trixie, Self::Sid];

    /// The folder with its programs; nothing, said aloud, where it cannot be had.
    fn programs(self) -> Option<PathBuf> {
        let suite = match self {
            Self::Installed => return installed("containerd"),
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        };
        let program = guest(&format!("containerd/{suite}/containerd"))?;
        // `ctr` runs in another folder.
        let program = fs::canonicalize(program).unwrap();
        program.parent().map(Path::to_owned)
    }
}

/// A containerd that nobody else sees, with what it started.
pub(crate) struct Containerd {
    version: Version,
    programs: PathBuf,
    folder: PathBuf,
    /// Of containerd, and the name of the control group that its groups are in.
    namespace: String,
    room: Room,
    daemon: Option<Daemon>,
    /// What Aril has to itself, where containerd starts it.
    variables: [(&'static str, PathBuf); 2],
}

/// The process of containerd.
struct Daemon {
    /// What brought it into its room, and ends with it.
    child: Child,
    /// Its own number, outside of the room.
    pid: u32,
}

/// What `ctr` says of a task.
#[derive(Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    /// Such as `RUNNING`.
    pub(crate) state: String,
}

impl Containerd {
    /// Starts it; nothing, said aloud, where this machine cannot.
    pub(crate) fn start(bench: &Bench, version: Version) -> Option<Self> {
        Self::start_with(bench, version, Network::Own, None)
    }

    /// Starts it where it reaches a registry on this machine.
    pub(crate) fn start_beside(bench: &Bench, version: Version, registry: &str) -> Option<Self> {
        Self::start_with(bench, version, Network::OfThisMachine, Some(registry))
    }

    fn start_with(
        bench: &Bench,
        version: Version,
        network: Network,
        registry: Option<&str>,
    ) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let programs = version.programs()?;
        let room = Room::new(bench, network)?;
        remove_groups_of_the_dead();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = bench.path().join(format!("containerd-{number}"));
        write_settings(&folder, registry);
        let namespace = format!("{GROUP}{}-{number}", std::process::id());
        let variables =
            [("ARIL_CACHE_DIR", bench.cache().to_owned()), ("ARIL_DATA_DIR", bench.data())];
        let mut containerd =
            Self { version, programs, folder, namespace, room, daemon: None, variables };
        containerd.start_daemon();
        Some(containerd)
    }

    fn start_daemon(&mut self) {
        let mut command = self.room.command(self.programs.join("containerd"));
        // Shims are found by their names, those of ours beside our other programs.
        let built = aril_path().parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [built, self.programs.clone()].into_iter().chain(std::env::split_paths(&path));
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs(self.variables.clone())
            .arg("--config")
            .arg(self.folder.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        wait_until("containerd listens", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended: {}", self.said());
            self.ctr(["version"]).outcome().code == Some(0)
        });
        let pid = children_of(child.id())[0];
        self.daemon = Some(Daemon { child, pid });
    }

    /// Ends it at once, as the kernel does, and starts it again. What it started goes on.
    pub(crate) fn restart(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        signal(daemon.pid, "KILL");
        wait_until("containerd ends", || daemon.child.try_wait().unwrap().is_some());
        self.start_daemon();
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// A folder of its own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// The control group that the groups of its containers are in, below each controller.
    pub(crate) fn group(&self) -> &str {
        &self.namespace
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// `ctr ARGS...` in its own namespace.
    pub(crate) fn ctr<I: AsRef<str>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        self.ctr_in(&self.namespace, args)
    }

    /// `ctr ARGS...` in another namespace.
    pub(crate) fn ctr_in<I: AsRef<str>>(
        &self,
        namespace: &str,
        args: impl IntoIterator<Item = I>,
    ) -> Run {
        let mut command = self.room.command(self.programs.join("ctr"));
        command.arg("--address").arg(self.socket()).args(["--namespace", namespace]);
        for word in args {
            command.arg(word.as_ref());
        }
        Run::of(command)
    }

    /// `ctr` with words that have no spaces in them, which is to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> Outcome {
        self.ctr(line.split(' ')).outcome().expect_code(0)
    }

    /// Takes the images of an archive.
    #[track_caller]
    pub(crate) fn import(&self, namespace: &str, archive: &Path) {
        let words = ["images", "import", "--snapshotter", SNAPSHOTTER, archive.to_str().unwrap()];
        self.ctr_in(namespace, words).outcome().expect_code(0);
    }

    /// What `ctr tasks ls` says of a container's task.
    pub(crate) fn task(&self, id: &str) -> Option<Task> {
        let said = self.ok("tasks ls").stdout;
        said.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|name| *name == id)?;
            Some(Task { pid: words.next()?.parse().ok()?, state: words.next()?.to_owned() })
        })
    }

    /// Waits until a container's task is in a state, such as `STOPPED`, and says its process.
    #[track_caller]
    pub(crate) fn wait_for_task(&self, id: &str, state: &str) -> u32 {
        let mut found = None;
        wait_until(&format!("`{id}` is {state}"), || {
            found = self.task(id).filter(|task| task.state == state);
            found.is_some()
        });
        found.unwrap().pid
    }

    /// Deletes a container and its task, which has ended, and says how that ended.
    #[track_caller]
    pub(crate) fn delete(&self, id: &str) -> i32 {
        // The code of `ctr` is its own.
        let said = self.ok(&format!("tasks delete {id}")).stderr;
        self.ok(&format!("containers delete {id}"));
        let code = said.split("non-zero exit code ").nth(1);
        code.map_or(0, |rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.unwrap().parse().unwrap()
        })
    }

    /// `ctr events`, from now on.
    pub(crate) fn events(&self) -> Running {
        let events = self.ctr(["events"]).start();
        // It says nothing before something happens: something does.
        let label = format!("containerd.io/test-{}", self.namespace);
        wait_until("events are told", || {
            self.ok(&format!("namespaces label {} {label}=1", self.namespace));
            events.said().contains(&label)
        });
        events
    }

    /// The shim of a container.
    pub(crate) fn shim_of(&self, id: &str) -> Option<Process> {
        let all = self.room.processes().into_iter();
        all.into_iter().find(|found| found.says(&["-id", id]))
    }

    /// Fails where anything is left of the containers that it had.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let started = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            let is_late = LEAVING < started.elapsed();
            assert!(!is_late, "left by {:?}: {left:#?}\n{}", self.version, self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is left of containers.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for process in self.room.processes() {
            // The one that all others would be children of.
            if process.name != "containerd" {
                left.push(format!("process {process:?}"));
            }
        }
        left.extend(self.room.mounts().into_iter().map(|path| format!("mount {path}")));
        left.extend(self.groups().into_iter().map(|path| format!("group {}", path.display())));
        let bundles = self.folder.join("state/io.containerd.runtime.v2.task");
        for namespace in [self.namespace.as_str(), KUBERNETES] {
            left.extend(files_in(&bundles.join(namespace)));
        }
        // What shims listen on, and what they write to.
        left.extend(files_in(&self.room.at("/run/containerd/s")));
        left.extend(files_in(&self.room.at("/run/containerd/fifo")));
        left
    }

    /// The control groups of its containers.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let parents = self.parents().into_iter();
        parents.flat_map(|parent| folders_below(&parent)).collect()
    }

    /// The group that those are in, in each tree.
    fn parents(&self) -> Vec<PathBuf> {
        let all = trees().into_iter().map(|tree| tree.join(&self.namespace));
        all.filter(|parent| parent.is_dir()).collect()
    }
}

impl Drop for Containerd {
    #[expect(clippy::print_stderr, reason = "what a failed test says is shown to who runs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            let is_news = |line: &&str| !line.contains(" plugin");
            let last = said.lines().filter(is_news).rev().take(20).collect::<Vec<_>>();
            eprintln!("{:?} said, newest first:\n{}", self.version, last.join("\n"));
        }
        // It keeps nothing that anybody needs, so that it is not asked.
        self.room.end();
        if let Some(mut daemon) = self.daemon.take() {
            let _status = daemon.child.wait();
        }
        // What held these is gone, which the kernel may see a little later.
        let started = Instant::now();
        while started.elapsed() < LEAVING && !self.parents().is_empty() {
            for group in self.groups().into_iter().rev().chain(self.parents()) {
                let _busy = fs::remove_dir(group);
            }
        }
    }
}

/// What keeps the files of images: what containerd has by default.
pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// Writes its settings, in the second form of them, which all versions read.
fn write_settings(folder: &Path, registry: Option<&str>) {
    let networks = folder.join("networks");
    fs::create_dir_all(&networks).unwrap();
    // A bridge that is gone with the room.
    let network = r#"{
        "cniVersion": "0.4.0", "name": "test",
        "plugins": [{
            "type": "bridge", "bridge": "test0", "isGateway": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}
        }]
    }"#;
    fs::write(networks.join("test.conflist"), network).unwrap();
    if let Some(address) = registry {
        let hosts = folder.join("registries").join(address);
        fs::create_dir_all(&hosts).unwrap();
        fs::write(hosts.join("hosts.toml"), format!("server = \"http://{address}\"\n")).unwrap();
    }
    let plugins = room::PLUGINS_OF_NETWORKS;
    let pause = images::PAUSE;
    let folder_name = folder.display();
    let settings = format!(
        r#"version = 2
root = "{folder_name}/root"
state = "{folder_name}/state"
[grpc]
address = "{folder_name}/socket"
[ttrpc]
address = "{folder_name}/socket.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
disable_apparmor = true
# A process may not be made harder to end than its parent is.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{folder_name}/registries"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder_name}/networks"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{SNAPSHOTTER}"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.aril]
runtime_type = "io.containerd.aril.v1"
pod_annotations = ["aril.run/*"]
container_annotations = ["aril.run/*"]
"#
    );
    fs::write(folder.join("config.toml"), settings).unwrap();
}

/// The places of control groups: each tree of them, and the one of all where there is one.
fn trees() -> Vec<PathBuf> {
    let trees = fs::read_dir(GROUPS).into_iter().flatten();
    let trees = trees.filter_map(|tree| Some(tree.ok()?.path()));
    trees.chain([PathBuf::from(GROUPS)]).filter(|path| path.is_dir()).collect()
}

/// Removes the groups of tests that were killed, which are empty: all that ran in them is gone.
fn remove_groups_of_the_dead() {
    for path in trees().iter().flat_map(|tree| fs::read_dir(tree).into_iter().flatten()) {
        let Ok(path) = path.map(|entry| entry.path()) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owner = name.strip_prefix(GROUP).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            for group in folders_below(&path).into_iter().rev().chain([path]) {
                let _busy = fs::remove_dir(group);
            }
        }
    }
}

/// The files of a folder, if there is one.
fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(format!("file {}", entry.ok()?.path().display()))).collect()
}

/// All folders below one, each before those that it has.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    folders.flat_map(|path| [vec![path.clone()], folders_below(&path)].concat()).collect()
}
