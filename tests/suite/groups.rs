//! What a control group alone holds: asked for, it is what the group says, and elsewhere refused.

use std::fs;
use std::path::PathBuf;

use aril::Bytes;
use aril::Isolation;
use aril::Limit;
use aril::LimitError;
use aril::Limits;
use aril::Runtime;
use aril::Sandbox;
use aril::SandboxSpec;
use aril::Standing;

use crate::guests::SPIN;
use crate::support::Bench;
use crate::support::aril_path;
use crate::support::skip;
use crate::support::worker_of;

/// Asks for a limit.
type Ask = fn(&mut Limits);

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

    /// Whether this host holds all of these, as it says itself.
    fn holds(&self, names: &[&str]) -> bool {
        let findings = self.runtime.doctor();
        let stands = |name: &&str| {
            let subject = format!("limit: {name}");
            let found = findings.iter().find(|finding| finding.subject == subject);
            found.expect("a line for each limit").standing == Standing::Good
        };
        let holds = names.iter().all(stands);
        if !holds {
            skip("no control groups can be made here for this");
        }
        holds
    }

    async fn launch(&self, limits: Limits, isolation: Isolation) -> Result<Sandbox, LimitError> {
        let artifact = self.runtime.prepare(self.bench.file("guest.wat", SPIN)).await.unwrap();
        let spec = SandboxSpec::new("guest").limits(limits).isolation(isolation);
        self.runtime.launch(&artifact, spec).await.map_err(|error| match error {
            aril::Error::Launch { source: aril::LaunchError::Limit(limit), .. } => limit,
            other => panic!("{other:?}"),
        })
    }

    async fn launch_apart(&self, limits: Limits) -> Sandbox {
        self.launch(limits, Isolation::Process).await.unwrap()
    }
}

/// The group of this process's worker: where it is for a controller of v1, or for all of v2.
struct Seen {
    groups: String,
}

impl Seen {
    fn worker() -> Self {
        let worker = worker_of(std::process::id());
        Self { groups: fs::read_to_string(format!("/proc/{worker}/cgroup")).unwrap() }
    }

    /// The first of these files that is there, without white space around it.
    fn says(&self, controller: &str, names: [&str; 2]) -> String {
        let mut tried = Vec::new();
        for line in self.groups.lines() {
            let [_, has, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!() };
            let top = if has.is_empty() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/" };
            if has.is_empty() || has.split(',').any(|word| word == controller) {
                let folder = PathBuf::from(format!("{top}{has}{path}"));
                tried.extend(names.map(|name| folder.join(name)));
            }
        }
        let text = tried.iter().find_map(|path| fs::read_to_string(path).ok());
        text.unwrap_or_else(|| panic!("none of {tried:?}")).trim().to_owned()
    }

    /// The file of v1 of this name, or `io.max` of v2.
    fn says_of_io(&self, v1: &str) -> String {
        self.says("blkio", [v1, "io.max"])
    }

    fn pids(&self) -> String {
        self.says("pids", ["pids.max", "pids.max"])
    }

    /// Its weight, in shares of v1 or weights of v2.
    fn weight(&self) -> String {
        self.says("cpu", ["cpu.shares", "cpu.weight"])
    }

    fn reservation(&self) -> String {
        self.says("memory", ["memory.soft_limit_in_bytes", "memory.high"])
    }

    /// What it may swap: in v1, memory and swap together.
    fn swap(&self) -> String {
        self.says("memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"])
    }
}

fn rung_of<'a>(record: &'a aril::Record, name: &str) -> (&'static str, Option<&'a str>) {
    let hold = record.holds.iter().find(|hold| hold.name == name).unwrap();
    (hold.rung.word(), hold.amount.as_deref())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_processes_are_limited_and_the_limit_is_moved() {
    let service = Service::new();
    if !service.holds(&["pids"]) {
        return;
    }
    let limits = Limits { pids: 7.into(), ..Limits::default() };
    let sandbox = service.launch_apart(limits).await;
    let group = Seen::worker();
    assert_eq!(group.pids(), "7");
    for count in [9, 3] {
        sandbox.update(|limits| limits.pids = count.into()).unwrap();
        assert_eq!(group.pids(), count.to_string());
    }
    sandbox.update(|limits| limits.pids = Limit::Unlimited).unwrap();
    assert_eq!(group.pids(), "max");
    sandbox.update(|limits| limits.pids = 5.into()).unwrap();
    assert_eq!(group.pids(), "5");
    sandbox.kill();
    let record = sandbox.record().await.unwrap();
    assert_eq!(rung_of(&record, "pids"), ("cgroup", Some("5")));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_weight_is_what_was_asked_and_the_share_beside_it_can_change() {
    let service = Service::new();
    if !service.holds(&["cpu_weight"]) {
        return;
    }
    let limits = Limits { cpu_weight: 50.into(), ..Limits::default() };
    let sandbox = service.launch_apart(limits).await;
    let group = Seen::worker();
    let said = |weight: &str, shares: &str| [weight, shares].contains(&group.weight().as_str());
    assert!(said("50", "512"), "{}", group.weight());
    sandbox.update(|limits| limits.cpu_weight = 200.into()).unwrap();
    assert!(said("200", "2048"), "{}", group.weight());
    // A group that was made for its weight can be held to a share as well.
    sandbox.update(|limits| limits.cpus = "0.5".parse::<aril::Cpus>().unwrap().into()).unwrap();
    let quota = group.says("cpu", ["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    sandbox.update(|limits| limits.cpu_weight = Limit::Default).unwrap();
    assert!(said("100", "1024"), "{}", group.weight());
    sandbox.kill();
    let record = sandbox.record().await.unwrap();
    assert_eq!(rung_of(&record, "cpus"), ("cgroup", Some("0.5")));
    assert_eq!(rung_of(&record, "cpu_weight"), ("none", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_swap_and_reservation_are_what_was_asked_and_move_with_its_memory() {
    let service = Service::new();
    if !service.holds(&["memory_swap", "memory_reservation"]) {
        return;
    }
    let limits = Limits {
        memory: Bytes::mib(64).into(),
        memory_swap: Bytes::mib(80).into(),
        memory_reservation: Bytes::mib(32).into(),
        ..Limits::default()
    };
    let sandbox = service.launch_apart(limits).await;
    let group = Seen::worker();
    let mib = |count: u32| Bytes::mib(count).get().to_string();
    let is_v1 = group.says("memory", ["memory.limit_in_bytes", "memory.max"]) == mib(72)
        && group.groups.contains(":memory:");
    // Beside the limit is what the runner takes, 8 MiB.
    let swap =
        |beside: u32, memory: u32| if is_v1 { mib(memory + 8 + beside) } else { mib(beside) };
    assert_eq!(group.swap(), swap(16, 64));
    assert_eq!(group.reservation(), mib(32));

    sandbox.update(|limits| limits.memory = Bytes::mib(70).into()).unwrap();
    assert_eq!(group.swap(), swap(10, 70));
    sandbox
        .update(|limits| {
            limits.memory_swap = Bytes::mib(70).into();
            limits.memory_reservation = Bytes::mib(40).into();
        })
        .unwrap();
    assert_eq!(group.swap(), swap(0, 70));
    assert_eq!(group.reservation(), mib(40));
    let refused = sandbox.update(|limits| limits.memory = Bytes::mib(71).into());
    assert!(
        matches!(refused, Err(LimitError::OutOfRange { name: "memory_swap", .. })),
        "{refused:?}"
    );
    assert_eq!(group.swap(), swap(0, 70), "what was refused changed nothing");
    sandbox.kill();
    let record = sandbox.record().await.unwrap();
    assert_eq!(rung_of(&record, "memory_swap"), ("cgroup", Some("70 MiB")));
    assert_eq!(rung_of(&record, "memory_reservation"), ("cgroup", Some("40 MiB")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_group_holds_is_refused_of_a_guest_that_shares_its_process() {
    let service = Service::new();
    let asked: [(&str, Ask); 4] = [
        ("pids", |limits| limits.pids = 5.into()),
        ("cpu_weight", |limits| limits.cpu_weight = 5.into()),
        ("memory_swap", |limits| limits.memory_swap = Bytes::mib(2048).into()),
        ("memory_reservation", |limits| limits.memory_reservation = Bytes::mib(5).into()),
    ];
    let running = service.launch(Limits::default(), Isolation::Shared).await.unwrap();
    for (expected, ask) in asked {
        let mut limits = Limits::default();
        ask(&mut limits);
        let launched = service.launch(limits, Isolation::Shared).await.map(drop);
        for refused in [launched, running.update(ask)] {
            let Err(LimitError::NoRung { name, missing }) = refused else {
                panic!("{expected}: {refused:?}");
            };
            assert_eq!(name, expected);
            assert!(missing.contains("Isolation::Process"), "{missing}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_group_can_be_made_for_is_refused_with_what_is_missing() {
    let bench = Bench::with_shared_cache();
    let builder = Runtime::builder(bench.cache()).program(aril_path());
    let runtime = builder.cgroup_parent("/there/is/no/such/group").open().unwrap();
    let service = Service { bench, runtime };
    let limits = Limits { pids: 5.into(), ..Limits::default() };
    let refused = service.launch(limits, Isolation::Process).await.map(drop);
    let Err(LimitError::NoRung { name: "pids", missing }) = refused else { panic!("{refused:?}") };
    assert!(missing.contains("; "), "what to do is not said: {missing}");
    // One that runs without a group is told the same.
    let sandbox = service.launch_apart(Limits::default()).await;
    let refused = sandbox.update(|limits| limits.pids = 5.into());
    assert!(matches!(refused, Err(LimitError::NoRung { name: "pids", .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_group_counts_is_told_while_it_runs_and_at_its_end() {
    let service = Service::new();
    if !service.holds(&["pids", "cpu_weight", "memory_reservation"]) {
        return;
    }
    let limits = Limits {
        memory: Bytes::mib(64).into(),
        cpus: "0.2".parse::<aril::Cpus>().unwrap().into(),
        pids: 20.into(),
        ..Limits::default()
    };
    let sandbox = service.launch_apart(limits).await;
    let group = || sandbox.stats().group.unwrap();
    // Of a fifth of a processor, one that spins uses all.
    crate::support::wait_until("it to be throttled", || group().throttled_periods.unwrap() > 1);
    let running = group();
    assert!((1..20).contains(&running.pids.unwrap()), "{running:?}");
    assert!(running.periods >= running.throttled_periods, "{running:?}");
    assert!(running.memory.unwrap() <= Bytes::mib(72), "{running:?}");
    assert!(Bytes::new(0) < running.memory.unwrap(), "{running:?}");
    if let (Some(user), Some(system)) = (running.cpu_user, running.cpu_system) {
        assert!(running.throttled.unwrap() > user + system, "{running:?}");
    }

    sandbox.kill();
    let ended = sandbox.record().await.unwrap().stats.group.unwrap();
    assert_eq!(sandbox.stats().group, Some(ended), "it is told the same as long as it is asked");
    assert_eq!(ended.pids, Some(0));
    assert!(running.throttled <= ended.throttled, "{ended:?}");
    assert!(running.memory <= ended.memory_peak || ended.memory_peak.is_none(), "{ended:?}");

    let shared = service.launch(Limits::default(), Isolation::Shared).await.unwrap();
    assert_eq!(shared.stats().group, None);
}

#[test]
fn the_flags_are_dockers_and_the_record_says_what_holds_them() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("ends.wat", r#"(module (func (export "_start")))"#);
    let service = Service::new();
    if !service.holds(&["pids", "cpu_weight", "memory_swap", "memory_reservation"]) {
        return;
    }
    let flags = [
        "--json=-",
        "--memory=64m",
        "--pids-limit=20",
        "--cpu-weight=300",
        "--memory-swap=64m",
        "--memory-reservation=32m",
    ];
    let args = flags.map(std::ffi::OsStr::new).into_iter().chain([guest.as_os_str()]);
    let outcome = bench.run(args).outcome().expect_code(0);
    let record: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let counted = &record["stats"]["group"];
    assert!(counted["memory_bytes"].is_u64() && counted["pids"] == 0, "{counted}");
    let limits = record["limits"].as_array().unwrap();
    for (name, amount) in [
        ("pids", "20"),
        ("cpu_weight", "300"),
        ("memory_swap", "64 MiB"),
        ("memory_reservation", "32 MiB"),
    ] {
        let limit = limits.iter().find(|limit| limit["name"] == name).unwrap();
        assert_eq!(limit["rung"], "cgroup", "{limit}");
        assert_eq!(limit["amount"], amount, "{limit}");
        assert_eq!(limit["asked"], true, "{limit}");
    }
    for unlimited in ["--pids-limit=-1", "--memory-swap=-1"] {
        bench.run([unlimited.as_ref(), guest.as_os_str()]).outcome().expect_code(0);
    }
    for beyond in ["--cpu-weight=0", "--cpu-weight=10001"] {
        let outcome = bench.run([beyond.as_ref(), guest.as_os_str()]).outcome();
        outcome.expect_code(125).expect_error("is not a whole number from 1 to 10000");
    }
}

/// A whole device of this host, and its path.
fn any_device() -> Option<(aril::Device, PathBuf)> {
    let names = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut paths = names.map(|entry| PathBuf::from("/dev").join(entry.file_name()));
    paths.find_map(|path| Some((aril::Device::find(&path).ok()?, path)))
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_held_to_what_was_asked_and_the_rates_change() {
    let service = Service::new();
    if !service.holds(&["device_read_bps", "device_write_iops"]) {
        return;
    }
    let Some((device, _)) = any_device() else {
        skip("this host has no block device");
        return;
    };
    let limits = Limits {
        device_read_bps: aril::Rates::default().with(device, Bytes::mib(3)).into(),
        device_write_iops: aril::Rates::default().with(device, 300).into(),
        ..Limits::default()
    };
    let sandbox = service.launch_apart(limits).await;
    let group = Seen::worker();
    let files = ["read_bps", "write_bps", "read_iops", "write_iops"];
    let keys = ["rbps", "wbps", "riops", "wiops"];
    let rate_of = |at: usize| {
        let v1 = format!("blkio.throttle.{}_device", files[at]);
        let text = group.says_of_io(&v1);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{device} ")));
        let said = line.map(|line| match line.split_once(&format!("{}=", keys[at])) {
            Some((_, rest)) => rest.split(' ').next().unwrap().to_owned(),
            None => line.to_owned(),
        });
        said.filter(|said| said != "max")
    };
    let all = || [0, 1, 2, 3].map(rate_of);
    let expected = |read: Option<&str>, write: Option<&str>, writes: Option<&str>| {
        [read, write, None, writes].map(|rate| rate.map(str::to_owned))
    };
    assert_eq!(all(), expected(Some("3145728"), None, Some("300")));

    let other = aril::Rates::default().with(device, Bytes::mib(1));
    let changes = Limits {
        device_write_bps: other.into(),
        device_read_bps: aril::Rates::default().without(device).into(),
        ..Limits::default()
    };
    sandbox.update(|limits| *limits = limits.changed_by(changes)).unwrap();
    assert_eq!(all(), expected(None, Some("1048576"), Some("300")));
    sandbox.update(|limits| limits.device_write_iops = Limit::Unlimited).unwrap();
    assert_eq!(all(), expected(None, Some("1048576"), None));
    sandbox.kill();
    let record = sandbox.record().await.unwrap();
    let amount = format!("{device} 1 MiB");
    assert_eq!(rung_of(&record, "device_write_bps"), ("cgroup", Some(amount.as_str())));
    assert_eq!(rung_of(&record, "device_read_bps"), ("none", None));

    // What is no device of this host is told by the kernel, and nothing runs.
    let nothing = aril::Device::of_numbers(4095, 1_000_000);
    let limits = Limits {
        device_read_bps: aril::Rates::default().with(nothing, Bytes::mib(1)).into(),
        ..Limits::default()
    };
    let refused = service.launch(limits, Isolation::Process).await.map(drop);
    let is_told = matches!(refused, Err(LimitError::NoRung { name: "device_read_bps", .. }));
    assert!(is_told, "{refused:?}");
    let refused = service.launch(limits, Isolation::Shared).await.map(drop);
    let is_told = matches!(refused, Err(LimitError::NoRung { name: "device_read_bps", .. }));
    assert!(is_told, "{refused:?}");
}

#[test]
fn rates_of_devices_are_dockers_flags_and_what_is_no_device_is_told() {
    let bench = Bench::with_shared_cache();
    let guest = bench.file("ends.wat", r#"(module (func (export "_start")))"#);
    for (flag, said) in [
        ("--device-read-bps=/dev/null:1m", "`/dev/null` is no block device; name one"),
        ("--device-read-bps=/dev/absent:1m", "cannot find the device `/dev/absent`"),
        ("--device-write-bps=1m", "write them as PATH:RATE"),
        ("--device-read-iops=/dev/null:0", "is not a whole number from 1 to"),
        ("--device-write-bps=/dev/null:0", "a size from 1 byte"),
    ] {
        let outcome = bench.run([flag.as_ref(), guest.as_os_str()]).outcome();
        outcome.expect_code(125).expect_error(said);
    }
    let service = Service::new();
    let Some((device, path)) = any_device().filter(|_| service.holds(&["device_read_bps"])) else {
        return;
    };
    let flags = [
        "--json=-".to_owned(),
        format!("--device-read-bps={}:2mb", path.display()),
        format!("--device-read-iops={}:100", path.display()),
    ];
    let args = flags.iter().map(std::ffi::OsStr::new).chain([guest.as_os_str()]);
    let outcome = bench.run(args).outcome().expect_code(0);
    let record: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let limits = record["limits"].as_array().unwrap();
    for (name, amount) in [("device_read_bps", "2 MiB"), ("device_read_iops", "100")] {
        let limit = limits.iter().find(|limit| limit["name"] == name).unwrap();
        assert_eq!(limit["rung"], "cgroup", "{limit}");
        assert_eq!(limit["amount"], format!("{device} {amount}"), "{limit}");
    }
}
