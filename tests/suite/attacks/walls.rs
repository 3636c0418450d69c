//! The walls of the operating system around a guest's process, as others see them.
//!
//! What native code finds that stands in the place of the guest is tried by the tests of
//! `runtime/src/process/jail.rs`, call by call.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use aril::Bytes;
use aril::Exit;
use aril::Isolation;
use aril::Limits;
use aril::MemoryWall;
use aril::Runtime;
use aril::SandboxSpec;

use crate::support::Bench;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::skip;
use crate::support::wait_until;
use crate::support::worker_of;

use super::guest::Guest;
use super::host::Host;

/// Whether this host gives all walls; said aloud where it does not.
fn host_gives_all(host: &Host) -> bool {
    let told = host.bench().aril(["doctor"]).outcome().stdout;
    let missing = told.lines().find(|line| line.contains(" wall: ") && !line.starts_with("ok "));
    if let Some(missing) = missing {
        skip(&format!("this host does not give every wall: {missing}"));
    }
    missing.is_none()
}

/// A run that pauses.
fn pausing(host: &Host, flags: &[&str]) -> Run {
    let wasm = host.bench().file("guest.wat", Guest::new().code(super::PAUSE).wat());
    let flags = flags.iter().map(Into::into);
    host.run(flags.chain(["-i".into(), wasm.into_os_string()]))
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no `{name}` in {status}")).trim().to_owned()
}

#[test]
fn a_guests_process_has_no_power_and_sees_nothing_of_the_host() {
    let host = Host::new();
    if !host_gives_all(&host) {
        return;
    }
    let own: Vec<PathBuf> = ["user", "mnt", "ipc", "uts"]
        .iter()
        .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap())
        .collect();
    let secret = pausing(&host, &["-v", &format!("{}:/data:ro", host.path("grant").display())]);
    super::look(secret.env("SECRET", "do not tell"), |pid| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let status = read("status");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (field(&status, "NoNewPrivs"), field(&status, "Seccomp")),
            ("1".into(), "2".into())
        );
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        for (name, own) in ["user", "mnt", "ipc", "uts"].iter().zip(&own) {
            assert_ne!(link(&format!("ns/{name}")), *own, "it shares the namespace `{name}`");
        }
        let mounts = read("mountinfo");
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        assert!(mounts.contains(" / / ro,nosuid,nodev,noexec"), "{mounts}");
        assert_eq!((link("cwd"), link("root")), ("/".into(), "/".into()));
        // What stood there is overwritten, where it ever did.
        assert_eq!(read("environ").trim_matches('\0'), "");
        assert_eq!(fs::read_dir(format!("/proc/{pid}/root")).unwrap().count(), 0);
        let limits = read("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    });
}

#[test]
fn a_guests_process_has_nothing_open_but_what_it_was_given() {
    let host = Host::new();
    if !host_gives_all(&host) {
        return;
    }
    let run = pausing(&host, &["-v", &format!("{}:/data:ro", host.path("grant").display())]);
    // Whoever starts it left a directory and a file of the host open.
    let left = "exec 7< / 8< /etc/passwd 9>> /dev/null";
    super::look(run.after(left), |pid| {
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let names = folder.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
        let mut names: Vec<String> =
            names.map(|name| name.into_os_string().into_string().unwrap()).collect();
        names.sort_unstable();
        let artifacts = host.bench().cache().join("artifacts");
        let (mut directories, mut pipes) = (0, 0);
        for name in &names {
            match name.split([':', ' ']).next().unwrap() {
                // The grant and the empty root, each for two owners: mounts of their own.
                "/" => directories += 1,
                // The streams, the leash, what ends the input, and where a trapped call is told.
                "pipe" => pipes += 1,
                "socket" | "/memfd" | "/dev/null" | "anon_inode" => {}
                other => assert!(Path::new(other).starts_with(&artifacts), "{names:#?}"),
            }
        }
        assert!(directories <= 4 && pipes <= 6 && names.len() <= 16, "{names:#?}");
        let of = |number: &str| fs::metadata(format!("/proc/{pid}/fd/{number}"));
        let grant = fs::metadata(host.path("grant")).unwrap();
        let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let granted = numbers.filter(|entry| {
            let found = of(entry.file_name().to_str().unwrap()).unwrap();
            (found.dev(), found.ino()) == (grant.dev(), grant.ino())
        });
        assert!(0 < granted.count(), "{names:#?}");
    });
}

#[test]
fn a_guests_memory_is_not_for_others_of_the_same_user() {
    let host = Host::new().free("grant");
    let Some(nobody) = host.nobody() else { return };
    if !host_gives_all(&host) {
        return;
    }
    // What stands for the other sandbox: a process of the same user, which may look into others.
    let look = |pid: u32| {
        let script =
            format!("cat /proc/{pid}/environ || exit 3; head -c 1 /proc/{pid}/mem || exit 4");
        let mut other = Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", &script]);
        other.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
    };
    // The test can fail: a process without walls is looked into.
    let mut sleeper = Command::new("setpriv");
    sleeper.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sleep", "60"]);
    let mut sleeper = sleeper.spawn().unwrap();
    wait_until("it to be another user's", || look(sleeper.id()) == Some(4));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();

    let run = nobody.runs(pausing(&host, &[]));
    super::look(run, |pid| assert_eq!(look(pid), Some(3)));
}

#[test]
fn a_guest_whose_memory_the_kernel_takes_away_is_told_to_be_out_of_memory() {
    let Some(parent) = Parent::new("memory", "memory.limit_in_bytes", "50331648") else { return };
    let bench = Bench::with_shared_cache();
    let runtime = Runtime::builder(bench.cache()).program(aril_path());
    let runtime = runtime.cgroup_parent(parent.name.clone()).open().unwrap();
    // Takes 256 MiB, which it may, and touches them, which the group above does not have.
    let guest = bench.file(
        "guest.wat",
        r#"(module (memory (export "memory") 1) (func (export "_start")
          (if (i32.eq (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable))
          (memory.fill (i32.const 65536) (i32.const 1) (i32.const 268435456))))"#,
    );
    let limits = Limits { memory: Bytes::mib(512).into(), ..Limits::default() };
    let spec = SandboxSpec::new("guest").isolation(Isolation::Process).limits(limits);

    let tokio = tokio::runtime::Runtime::new().unwrap();
    let record = tokio.block_on(async {
        let artifact = runtime.prepare(guest).await.unwrap();
        let sandbox = runtime.launch(&artifact, spec.require_cgroup()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(50), sandbox.record()).await.unwrap().unwrap()
    });

    assert_eq!(record.exit, Exit::OutOfMemory(MemoryWall::Cgroup), "{record:?}");
    assert_eq!(record.exit.code(), 137);
    assert_eq!(record.holds[0].rung.word(), "cgroup");
    assert_eq!(parent.groups(), Vec::<String>::new(), "nothing is left");
}

#[test]
fn what_a_killed_keeper_left_is_cleared_by_the_next_run() {
    let Some(parent) = Parent::new("memory", "memory.limit_in_bytes", "1073741824") else { return };
    let host = Host::new();
    let spin =
        host.bench().file("spin.wat", "(module (func (export \"_start\") (loop $l (br $l))))");
    // The keeper is in the group of its own that it makes others beneath.
    let here = format!("echo $$ > {}/cgroup.procs", parent.folder.display());
    let running = host.bench().run([&spin]).after(&here).start();
    wait_until("the group of its worker", || parent.groups().len() == 1);
    worker_of(running.pid());

    running.signal("KILL");
    drop(running.outcome());
    assert_eq!(parent.groups().len(), 1, "nobody was there to remove it");

    let hello = host.bench().file("hello.wat", "(module (func (export \"_start\")))");
    // A worker takes a moment to be gone from its group.
    wait_until("the next run to clear it", || {
        host.bench().run([&hello]).after(&here).outcome().expect_code(0);
        parent.groups().is_empty()
    });
}

#[test]
fn a_share_of_processors_and_memory_are_what_the_group_says() {
    let host = Host::new();
    let told = host.bench().aril(["doctor"]).outcome().stdout;
    if !told.lines().any(|line| line.starts_with("ok ") && line.contains("control group: cpu ")) {
        return skip("no control group holds a share of processors here");
    }
    super::look(pausing(&host, &["--cpus", "0.25", "--memory", "64m"]), |pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let of = |controller: &str| {
            let line = groups.lines().find(|line| line.contains(&format!(":{controller}:")));
            line.map(|line| {
                let path = line.rsplit(':').next().unwrap();
                PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}"))
            })
        };
        let (Some(cpu), Some(memory)) = (of("cpu"), of("memory")) else {
            return skip("the groups are of the second version");
        };
        let number = |path: &Path| fs::read_to_string(path).unwrap().trim().parse::<u64>().unwrap();
        let period = number(&cpu.join("cpu.cfs_period_us"));
        assert_eq!(number(&cpu.join("cpu.cfs_quota_us")) * 4, period);
        // What the runner takes beside the guest is a constant that SPECIFICATION.md states.
        assert_eq!(number(&memory.join("memory.limit_in_bytes")), (64 + 8) << 20);
    });
}

#[test]
fn a_wall_that_is_required_and_missing_is_an_error_and_otherwise_it_is_told() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("strace is not there");
    }
    let host = Host::new();
    if !host_gives_all(&host) {
        return;
    }
    let hello = host.bench().file("hello.wat", "(module (func (export \"_start\")))");
    let run = |flags: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        strace.args(["-e", "inject=landlock_create_ruleset:error=ENOSYS"]);
        let hello = hello.to_str().unwrap();
        let args = flags.iter().copied().chain(["--json", "-", hello]);
        host.bench().run(args.map(std::ffi::OsString::from)).within(strace).outcome()
    };

    let told = run(&[]).expect_code(0).stdout;
    let record: serde_json::Value = serde_json::from_str(&told).unwrap();
    let walls = record["walls"].as_array().unwrap();
    let landlock = walls.iter().find(|wall| wall["name"] == "landlock").unwrap();
    assert_eq!(landlock["standing"], "missing", "{landlock}");
    assert!(landlock["remedy"].as_str().is_some_and(|remedy| 10 < remedy.len()), "{landlock}");
    let seccomp = walls.iter().find(|wall| wall["name"] == "seccomp").unwrap();
    assert_eq!(seccomp["standing"], "held", "{seccomp}");

    let refused = run(&["--require", "seccomp,landlock"]).expect_code(125);
    refused.expect_error("the wall `landlock` is required and missing");
    let unknown = run(&["--require", "moat"]).expect_code(125);
    unknown.expect_error("there is no wall `moat`");
    let none = run(&["--walls", "none", "--require", "no_new_privs"]).expect_code(0).stdout;
    let record: serde_json::Value = serde_json::from_str(&none).unwrap();
    let standing = |name: &str| {
        let walls = record["walls"].as_array().unwrap();
        walls.iter().find(|wall| wall["name"] == name).unwrap()["standing"].clone()
    };
    assert_eq!((standing("no_new_privs"), standing("seccomp")), ("held".into(), "left_out".into()));
}

/// A control group of the first version that a test makes, and removes.
struct Parent {
    /// As the top of each hierarchy shows it.
    name: String,
    folder: PathBuf,
}

impl Parent {
    /// Nothing, said aloud, where there is no such hierarchy, or this user may not make groups.
    fn new(controller: &str, file: &str, amount: &str) -> Option<Self> {
        use std::sync::atomic::AtomicU32;
        use std::sync::atomic::Ordering::Relaxed;

        static COUNT: AtomicU32 = AtomicU32::new(0);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find(|line| line.contains(&format!(":{controller}:")));
        let made = own.and_then(|line| {
            let own = line.rsplit(':').next()?.trim_end_matches('/');
            let name = format!("{own}/test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            let folder = PathBuf::from(format!("/sys/fs/cgroup/{controller}{name}"));
            fs::create_dir(&folder).ok()?;
            fs::write(folder.join(file), amount).ok()?;
            Some(Self { name, folder })
        });
        if made.is_none() {
            skip(&format!("no group with `{controller}` of the first version can be made here"));
        }
        made
    }

    /// The groups beneath it.
    fn groups(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap().map(Result::unwrap);
        let names = entries.filter(|entry| entry.path().is_dir());
        names.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for group in self.groups() {
            let _gone = fs::remove_dir(self.folder.join(group));
        }
        let _gone = fs::remove_dir(&self.folder);
    }
}
