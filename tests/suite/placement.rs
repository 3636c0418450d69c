//! A guest's process is where its host wants it: held until it is started, in a group at a place of its
//! own, as another user, at files that are open.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use aril::Access;
use aril::Artifact;
use aril::Bytes;
use aril::Directory;
use aril::Exit;
use aril::Input;
use aril::Isolation;
use aril::Limits;
use aril::MemoryWall;
use aril::Output;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use aril::User;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::guests::ASK_FOR_FILE;
use crate::guests::CAT;
use crate::guests::HOG;
use crate::guests::SLEEP;
use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::skip;

struct Service {
    bench: Bench,
    runtime: Runtime,
}

impl Service {
    fn new() -> Self {
        let bench = Bench::with_shared_cache();
        let runtime = Runtime::builder(bench.cache()).program(aril_path()).open().unwrap();
        Self { bench, runtime }
    }

    async fn prepare(&self, text: &str) -> Artifact {
        let guest: PathBuf = self.bench.file("guest.wat", text);
        self.runtime.prepare(guest).await.unwrap()
    }

    async fn launch(&self, text: &str, spec: SandboxSpec) -> Sandbox {
        let artifact = self.prepare(text).await;
        self.runtime.launch(&artifact, spec).await.unwrap()
    }
}

fn apart() -> SandboxSpec {
    SandboxSpec::new("guest").isolation(Isolation::Process)
}

/// A place for a group that no other test has.
fn place(name: &str) -> String {
    format!("/aril-test-{}/{name}", std::process::id())
}

/// Where the group at this place is, in each hierarchy that has it.
fn folders(place: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points = mounts.filter_map(|line| line.split(' ').nth(4));
    let paths = points.map(|point| PathBuf::from(format!("{point}{place}")));
    paths.filter(|path| path.is_dir()).collect()
}

fn may_make_groups() -> bool {
    let may = rustix::process::geteuid().is_root()
        && fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup");
    if !may {
        skip("control groups at the top of their hierarchies, which takes root");
    }
    may
}

/// What the kernel says of a process, in the line of this name.
fn status(process: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_guest_begins_when_it_is_started_and_its_time_with_it() {
    let service = Service::new();
    let limits = Limits { deadline: Duration::from_millis(400).into(), ..Limits::default() };
    let sandbox = service.launch(SLEEP, apart().arg("x").limits(limits).held()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!sandbox.has_ended(), "its deadline has not begun");
    assert_eq!(sandbox.stats().first_instruction, None);
    sandbox.start().unwrap();
    let again = sandbox.start().unwrap_err();
    assert!(again.to_string().contains("started already"), "{again}");
    let record = sandbox.record().await.unwrap();
    assert_eq!(record.exit, Exit::Exited(0));
    assert!(record.stats.elapsed < Duration::from_millis(400), "{:?}", record.stats);
    assert!(record.stats.first_instruction.unwrap() < record.stats.elapsed);

    let sandbox = service.launch(SPIN, apart().limits(limits).held()).await;
    sandbox.start().unwrap();
    assert_eq!(sandbox.wait().await.unwrap(), Exit::Deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_guest_can_be_ended_before_it_began() {
    let service = Service::new();
    let sandbox = service.launch(SPIN, apart().held()).await;
    sandbox.kill_as(15);
    let record = sandbox.record().await.unwrap();
    assert_eq!(record.exit, Exit::Killed(15));
    assert_eq!(record.stats.first_instruction, None);
    let gone = sandbox.start().unwrap_err();
    assert!(gone.to_string().contains("ended before it was started"), "{gone}");

    let shared = SandboxSpec::new("guest").held();
    let artifact = service.prepare(SPIN).await;
    let error = service.runtime.launch(&artifact, shared).await.unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("launch it as `Isolation::Process`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reads_and_writes_the_very_files_that_it_is_handed() {
    let service = Service::new();
    let input = service.bench.file("input", "all of it");
    let output = service.bench.file("output", "");
    let opened = |path: &PathBuf| fs::File::options().read(true).write(true).open(path).unwrap();
    let spec = apart().stdin_from(opened(&input)).stdout_to(opened(&output));
    let record = service.launch(CAT, spec).await.record().await.unwrap();
    assert_eq!(record.exit, Exit::Exited(5));
    assert_eq!((record.stats.bytes_in, record.stats.bytes_out), (9, 9));
    assert_eq!(fs::read_to_string(output).unwrap(), "all of it");

    // A pipe is the guest's: once the writer lets go, its input has ended.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (far, mut near) = std::io::pipe().unwrap();
    let spec = apart()
        .stdin_from(std::os::fd::OwnedFd::from(far).into())
        .stdout_to(std::os::fd::OwnedFd::from(writer).into());
    let sandbox = service.launch(CAT, spec).await;
    near.write_all(b"piped").unwrap();
    drop(near);
    assert_eq!(sandbox.wait().await.unwrap(), Exit::Exited(5));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "piped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_where_it_was_asked_for_holds_what_was_said_and_goes_with_its_process() {
    if !may_make_groups() {
        return;
    }
    let service = Service::new();
    let place = place("exact");
    let limits = Limits { memory: Bytes::mib(64).into(), pids: 9.into(), ..Limits::default() };
    let spec = || apart().limits(limits).control_group(&place).unwrap();
    let sandbox = service.launch(SLEEP, spec().arg("x".repeat(600)).held()).await;
    let worker = sandbox.process_id().unwrap();
    let all = folders(&place);
    let is_in = |folder: &PathBuf| {
        let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        inside.lines().any(|line| line == worker.to_string())
    };
    assert!(!all.is_empty() && all.iter().all(is_in), "{all:?}");
    let says = |names: [&str; 2]| {
        let mut tried = all.iter().flat_map(|folder| names.map(|name| folder.join(name)));
        tried.find_map(|file| fs::read_to_string(file).ok())
    };
    if let Some(most) = says(["memory.limit_in_bytes", "memory.max"]) {
        assert_eq!(most.trim(), (64 << 20).to_string());
        // Its process is to have room beside it.
        sandbox.update(|limits| limits.memory = Bytes::mib(32).into()).unwrap();
        let most = says(["memory.limit_in_bytes", "memory.max"]).unwrap();
        assert_eq!(most.trim(), (32 << 20).to_string());
    }
    assert_eq!(says(["pids.max", "pids.max"]).as_deref().map(str::trim), Some("9"));
    assert!(sandbox.stats().group.unwrap().cpu_user.is_some());
    // Nobody takes a group over that is in use.
    let artifact = service.prepare(SPIN).await;
    let error = service.runtime.launch(&artifact, spec()).await.unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("cannot make the control group"), "{reason}");
    sandbox.kill();
    sandbox.wait().await.unwrap();
    drop(sandbox);
    assert_eq!(folders(&place), Vec::<PathBuf>::new());

    let hog = service.launch(HOG, spec()).await.record().await.unwrap();
    assert_eq!(hog.exit, Exit::OutOfMemory(MemoryWall::Meter));
    assert_eq!(hog.stats.memory_peak, Bytes::mib(56), "8 MiB are its process's");
    let above = place.rsplit_once('/').unwrap().0;
    assert_eq!(folders(above), Vec::<PathBuf>::new(), "what was made above it is gone as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_a_killed_keeper_left_is_cleared_by_its_place() {
    if !may_make_groups() {
        return;
    }
    let place = place("left");
    let group = std::process::Command::new("sleep").arg("600").spawn();
    let mut sleeper = group.unwrap();
    let top = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line =
        top.lines().find(|line| line.contains(" - cgroup") && line.contains("pids")).unwrap();
    let folder = format!("{}{place}", line.split(' ').nth(4).unwrap());
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/cgroup.procs"), sleeper.id().to_string()).unwrap();
    aril::clear_control_group(&place).unwrap();
    assert!(!sleeper.wait().unwrap().success());
    assert!(!PathBuf::from(&folder).exists());
    // Once more: there is nothing to clear.
    aril::clear_control_group(&place).unwrap();
    let _others = fs::remove_dir(PathBuf::from(&folder).parent().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_acts_on_files_as_the_user_that_was_said() {
    if !rustix::process::geteuid().is_root() {
        return skip("root, which can become another user");
    }
    let service = Service::new();
    let folder = service.bench.path().join("files");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.txt"), "x").unwrap();
    let own = || Directory::open(&folder, "/", Access::ReadOnly).unwrap();
    let user = User { uid: 1234, gid: 2345, groups: vec![7, 8], umask: Some(0o027) };
    let spec = apart().directory(own()).user(user).stdin(Input::Stream).stdout(Output::Stream);
    let sandbox = service.launch(ASK_FOR_FILE, spec).await;
    let worker = sandbox.process_id().unwrap();
    assert_eq!(status(worker, "Uid:"), "1234 1234 1234 1234");
    assert_eq!(status(worker, "Gid:"), "2345 2345 2345 2345");
    assert_eq!(status(worker, "Groups:"), "7 8");
    assert_eq!(status(worker, "Umask:"), "0027");
    assert_eq!(status(worker, "CapEff:"), "0000000000000000");
    let (mut ask, mut answer) = (sandbox.stdin().unwrap(), sandbox.stdout().unwrap());
    let mut said = [0; 1];
    for (mode, expected) in [(0o644, b"y"), (0o600, b"n")] {
        fs::set_permissions(folder.join("a.txt"), fs::Permissions::from_mode(mode)).unwrap();
        ask.write_all(b"?").await.unwrap();
        answer.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, expected, "{mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_told_whom_to_end_first_when_memory_is_short() {
    let service = Service::new();
    let spec = apart().oom_score_adj(777).unwrap().held();
    let sandbox = service.launch(SPIN, spec).await;
    let worker = sandbox.process_id().unwrap();
    let score = fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "777");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_beside_a_guest_is_in_its_group_and_ends_with_it() {
    if !may_make_groups() {
        return;
    }
    let service = Service::new();
    let place = place("beside");
    let spec = apart().arg("x".repeat(600)).control_group(&place).unwrap();
    let first = service.launch(SLEEP, spec).await;
    let artifact = service.prepare(SPIN).await;
    let second = service.runtime.launch_beside(&artifact, apart(), &first).await.unwrap();
    let inside = fs::read_to_string(folders(&place)[0].join("cgroup.procs")).unwrap();
    assert_eq!(inside.lines().count(), 2, "{inside}");
    second.kill();
    assert_eq!(second.wait().await.unwrap(), Exit::Killed(9));
    assert!(!first.has_ended());
    let third = service.runtime.launch_beside(&artifact, apart(), &first).await.unwrap();
    first.kill();
    first.wait().await.unwrap();
    assert_eq!(third.wait().await.unwrap(), Exit::Killed(9));
    assert_eq!(folders(&place), Vec::<PathBuf>::new());
}
