//! Groups are made, held, killed and removed in the hierarchies of this machine.

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::platform::groups::Bound;
use crate::platform::groups::Controller;
use crate::platform::groups::CpuLimits;
use crate::platform::groups::GroupError;
use crate::platform::groups::IoLimits;
use crate::platform::groups::MemoryLimits;
use crate::units::Bytes;

use super::Cgroups;
use super::Group;
use super::tables::Tables;

/// Long enough for a machine with much to do.
const LIMIT: Duration = Duration::from_secs(20);

/// Says aloud that a test was skipped, or fails where nothing may be.
#[expect(clippy::print_stdout, reason = "what a test says is shown to who runs it")]
#[expect(clippy::disallowed_methods, reason = "who runs the tests says what may be missing")]
pub(super) fn skip(reason: &str) {
    let required = std::env::var("ARIL_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "required, and missing: {reason}");
    println!("SKIPPED: {reason}");
}

/// The control groups of this machine, where they can do what a test needs.
fn machine(controllers: &[Controller]) -> Option<Cgroups> {
    usable(Cgroups::find(None), controllers)
}

/// The same without the tree of v2 that is beside those of v1.
fn machine_v1(controllers: &[Controller]) -> Option<Cgroups> {
    let mut tables = Tables::read().unwrap();
    tables.mounts.retain(|mount| !mount.unified);
    usable(Cgroups::of(Ok(tables), None, true), controllers)
}

fn usable(cgroups: Cgroups, controllers: &[Controller]) -> Option<Cgroups> {
    for controller in controllers {
        if let Err(missing) = cgroups.can(*controller) {
            skip(&format!("control groups for `{controller}`: {missing}"));
            return None;
        }
    }
    Some(cgroups)
}

fn name(test: &str) -> String {
    format!("test-{}-{test}", std::process::id())
}

/// A group that is gone when its test ends, however that ends.
struct Made(Group);

impl Made {
    fn new(cgroups: &Cgroups, test: &str, controllers: &[Controller]) -> Self {
        Self(cgroups.make(&name(test), controllers).unwrap())
    }

    /// A process in the group that runs a line of the shell's when it is let go.
    fn start(&self, line: &str) -> Held {
        let held = Held::new(line);
        self.0.add(held.0.id()).unwrap();
        held
    }

    fn paths(&self) -> Vec<String> {
        self.0.seats.iter().map(|seat| seat.folder.path.clone()).collect()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _goes_on = self.0.thaw(LIMIT);
        let _killed = self.0.kill(LIMIT);
        let _removed = self.0.remove(LIMIT);
    }
}

/// A process that waits until it may begin.
struct Held(Child);

impl Held {
    fn new(line: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("read word; {line}")]).stdin(Stdio::piped());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn begin(&mut self) {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    /// The signal that ended it, or its code.
    fn end(&mut self) -> Result<i32, Option<i32>> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.0.wait().unwrap();
        status.code().ok_or(status.signal())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        // One that stands still in v1 does not end before its group is thawed.
        let started = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && started.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "not so within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn max(mib: u32) -> MemoryLimits {
    MemoryLimits { max: Some(Bound::At(Bytes::mib(mib))), ..MemoryLimits::default() }
}

#[test]
fn who_takes_more_memory_than_the_group_may_have_is_killed_and_counted() {
    let Some(cgroups) = machine(&[Controller::Memory]) else { return };
    let group = Made::new(&cgroups, "oom", &[Controller::Memory]);
    group.0.set_memory(&max(16)).unwrap();
    let mut hog = group.start("exec tail /dev/zero");
    assert_eq!(group.0.oom_kills().unwrap(), 0);

    hog.begin();

    assert_eq!(hog.end(), Err(Some(9)));
    assert!((1..=2).contains(&group.0.oom_kills().unwrap()));
    let memory = group.0.usage().unwrap().memory.unwrap();
    assert_eq!(memory.limit, Bound::At(Bytes::mib(16)));
    assert!(memory.peak.is_none_or(|peak| peak > Bytes::mib(15)), "{memory:?}");
    assert!(memory.current <= Bytes::mib(16), "{memory:?}");
}

#[test]
fn limits_of_memory_are_raised_and_lowered_with_those_of_swap() {
    let Some(cgroups) = machine(&[Controller::Memory]) else { return };
    let group = Made::new(&cgroups, "memory", &[Controller::Memory]);
    let limit = || group.0.usage().unwrap().memory.unwrap().limit;
    let set = |max, swap| MemoryLimits { max: Some(max), swap, high: None };
    let none = Bound::At(Bytes::new(0));
    for mib in [64, 16, 128, 8] {
        let max = Bound::At(Bytes::mib(mib));
        match group.0.set_memory(&set(max, Some(none))) {
            Err(GroupError::Missing { source, .. }) => return skip(&source.to_string()),
            done => done.unwrap(),
        }
        assert_eq!(limit(), max);
    }
    let max = Bound::At(Bytes::mib(32));
    group.0.set_memory(&set(max, Some(Bound::At(Bytes::mib(32))))).unwrap();
    group.0.set_memory(&set(Bound::At(Bytes::mib(96)), None)).unwrap();
    let seat = group.0.seat(Controller::Memory).unwrap();
    if !seat.place.unified {
        let both = seat.folder.read("memory.memsw.limit_in_bytes").unwrap();
        assert_eq!(both.trim(), (128_u64 << 20).to_string());
    }
    group.0.set_memory(&set(Bound::Unlimited, Some(Bound::Unlimited))).unwrap();
    assert_eq!(limit(), Bound::Unlimited);
    let high = MemoryLimits { high: Some(Bound::At(Bytes::mib(4))), ..MemoryLimits::default() };
    group.0.set_memory(&high).unwrap();
}

#[test]
fn a_limit_below_what_is_used_is_an_error_of_v1() {
    let Some(cgroups) = machine_v1(&[Controller::Memory]) else { return };
    let group = Made::new(&cgroups, "used", &[Controller::Memory]);
    let mut keeper = group.start("exec sh -c 'head -c 50000000 /dev/zero | tail | sleep 60'");
    keeper.begin();
    let current = || group.0.usage().unwrap().memory.unwrap().current;
    until("memory is used", || current() > Bytes::mib(40));

    let error = group.0.set_memory(&max(4)).unwrap_err();

    let GroupError::Write { file, source, .. } = &error else { panic!("{error}") };
    assert!(file.ends_with("memory.limit_in_bytes"), "{error}");
    assert_eq!(source.kind(), std::io::ErrorKind::ResourceBusy, "{error}");
}

#[test]
fn a_value_that_the_kernel_changes_is_an_error() {
    let Some(cgroups) = machine_v1(&[Controller::Memory]) else { return };
    let group = Made::new(&cgroups, "changed", &[Controller::Memory]);
    let folder = &group.0.seat(Controller::Memory).unwrap().folder;
    let error = folder.write_exactly("memory.limit_in_bytes", "500000").unwrap_err();
    let GroupError::Differs { wanted, found, .. } = &error else { panic!("{error}") };
    assert_eq!((wanted.as_str(), found.as_str()), ("500000", "499712"));
}

#[test]
fn a_group_that_may_have_no_more_processes_starts_none() {
    let Some(cgroups) = machine(&[Controller::Pids]) else { return };
    let group = Made::new(&cgroups, "pids", &[Controller::Pids]);
    group.0.set_pids(Bound::At(1)).unwrap();
    let mut first = group.start("(true) && exit 7; exit 8");
    let mut second = Held::new("(true) && exit 7; exit 8");
    assert_eq!(group.0.usage().unwrap().pids, Some(1));

    first.begin();
    second.begin();

    // A shell that cannot fork ends with 2, or goes on.
    assert_ne!(first.end(), Ok(7));
    assert_eq!(second.end(), Ok(7));
    group.0.set_pids(Bound::Unlimited).unwrap();
    let mut third = group.start("(true) && exit 7; exit 8");
    third.begin();
    assert_eq!(third.end(), Ok(7));
}

#[test]
fn a_quarter_of_a_processor_is_a_quarter_of_the_time() {
    let needed = [Controller::Cpu, Controller::CpuTime];
    let Some(cgroups) = machine(&needed) else { return };
    let group = Made::new(&cgroups, "cpu", &needed);
    let quota =
        |text: &str| CpuLimits { quota: Some(Bound::At(text.parse().unwrap())), weight: Some(50) };
    // Each period and back.
    for share in ["2", "0.005", "0.25"] {
        group.0.set_cpu(&quota(share)).unwrap();
    }
    let mut spinner = group.start("while :; do :; done");
    spinner.begin();
    let started = Instant::now();
    let usage = || group.0.usage().unwrap();
    until("it was stopped in ten periods", || usage().throttling.unwrap().throttled_periods >= 10);

    let (usage, elapsed) = (usage(), started.elapsed());
    let total = usage.cpu.unwrap().total;
    // A period more than has passed may have begun.
    assert!(total < elapsed / 4 + Duration::from_millis(60), "{total:?} in {elapsed:?}");
    assert!(usage.throttling.unwrap().throttled > Duration::ZERO, "{usage:?}");
    group.0.set_cpu(&CpuLimits { quota: Some(Bound::Unlimited), weight: None }).unwrap();
}

#[test]
fn weights_out_of_range_and_limits_of_nothing_are_refused() {
    let needed = [Controller::Cpu, Controller::Io];
    let Some(cgroups) = machine(&needed) else { return };
    let group = Made::new(&cgroups, "refused", &needed);
    for weight in [0, 10_001, u32::MAX] {
        let error = group.0.set_cpu(&CpuLimits { quota: None, weight: Some(weight) }).unwrap_err();
        assert!(matches!(error, GroupError::Limit { controller: Controller::Cpu, .. }), "{error}");
    }
    let limits = IoLimits {
        device: (254, 0),
        read: Some(Bound::At(Bytes::new(0))),
        write: None,
        reads: None,
        writes: None,
    };
    let error = group.0.set_io(&limits).unwrap_err();
    assert!(matches!(error, GroupError::Limit { controller: Controller::Io, .. }), "{error}");
    let error = group.0.set_memory(&max(1)).unwrap_err();
    assert!(matches!(error, GroupError::NotJoined { controller: Controller::Memory }), "{error}");
}

/// The numbers of a disk of this machine.
fn disk() -> Option<(u32, u32)> {
    let mut disks = std::fs::read_dir("/sys/block").ok()?.flatten();
    disks.find_map(|disk| {
        let is_backed = disk.path().join("device").exists();
        let numbers = std::fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        is_backed.then(|| Some((major.parse().ok()?, minor.parse().ok()?)))?
    })
}

#[test]
fn limits_of_a_device_are_set_read_back_and_lifted() {
    let Some(cgroups) = machine(&[Controller::Io]) else { return };
    let Some(device) = disk() else { return skip("a disk") };
    let group = Made::new(&cgroups, "io", &[Controller::Io]);
    let limits = |read, write, reads, writes| IoLimits { device, read, write, reads, writes };
    let bytes = |mib| Some(Bound::At(Bytes::mib(mib)));
    let times = |count| Some(Bound::At(count));
    group.0.set_io(&limits(bytes(1), bytes(2), times(300), times(400))).unwrap();
    group.0.set_io(&limits(bytes(5), None, None, times(10))).unwrap();
    let (none, never) = (Some(Bound::Unlimited), Some(Bound::Unlimited));
    group.0.set_io(&limits(none, none, never, never)).unwrap();
    let io = group.0.usage().unwrap().io.unwrap();
    assert_eq!((io.read, io.reads), (Bytes::new(0), 0));

    let nothing = IoLimits { device: (4095, 1_000_000), ..limits(bytes(1), None, None, None) };
    let error = group.0.set_io(&nothing).unwrap_err();
    assert!(matches!(error, GroupError::Write { .. }), "{error}");
}

/// A group stands still while it is frozen, and can be killed then.
fn is_frozen_thawed_and_killed(cgroups: &Cgroups, test: &str) {
    let mut group = Made::new(cgroups, test, &[Controller::Memory, Controller::CpuTime]);
    let mut spinner = group.start("(while :; do :; done) & while :; do :; done");
    spinner.begin();
    let total = |group: &Made| group.0.usage().unwrap().cpu.unwrap().total;
    until("both run", || group.0.processes().unwrap().len() == 2);
    // A group of v2 need not be made for it.
    match group.0.freeze(LIMIT) {
        Ok(()) => group.0.thaw(LIMIT).unwrap(),
        Err(error) => assert!(matches!(error, GroupError::NotJoined { .. }), "{error}"),
    }
    group.0.join(cgroups, Controller::Freezer).unwrap();
    group.0.join(cgroups, Controller::Freezer).unwrap();

    group.0.freeze(LIMIT).unwrap();
    let still = total(&group);
    std::thread::sleep(Duration::from_millis(100));
    // What ran until it stood is counted a little later.
    let ran = total(&group).checked_sub(still).unwrap();
    assert!(ran < Duration::from_millis(20), "{ran:?}");
    group.0.thaw(LIMIT).unwrap();
    until("they run again", || total(&group) > still);
    group.0.freeze(LIMIT).unwrap();
    group.0.kill(LIMIT).unwrap();

    assert_eq!(spinner.end(), Err(Some(9)));
    assert!(group.0.processes().unwrap().is_empty());
    let paths = group.paths();
    group.0.remove(LIMIT).unwrap();
    for path in paths {
        assert!(!Path::new(&path).exists(), "{path}");
    }
}

#[test]
fn a_group_is_frozen_thawed_and_killed() {
    let needed = [Controller::Memory, Controller::CpuTime, Controller::Freezer];
    let Some(cgroups) = machine(&needed) else { return };
    is_frozen_thawed_and_killed(&cgroups, "freeze");
}

#[test]
fn a_group_of_v1_is_frozen_thawed_and_killed() {
    let needed = [Controller::Memory, Controller::CpuTime, Controller::Freezer];
    let Some(cgroups) = machine_v1(&needed) else { return };
    is_frozen_thawed_and_killed(&cgroups, "freeze-v1");
}

#[test]
fn a_group_of_v1_whose_processes_run_away_is_killed() {
    let needed = [Controller::Memory, Controller::Pids];
    let Some(cgroups) = machine_v1(&needed) else { return };
    let group = Made::new(&cgroups, "away", &needed);
    // Each starts another one, and ends.
    let mut first = group.start("f() { (f) & }; f; f; f; f; exit 4");
    first.begin();
    assert_eq!(first.end(), Ok(4));
    assert!(!group.0.processes().unwrap().is_empty());
    group.0.kill(LIMIT).unwrap();
    assert!(group.0.processes().unwrap().is_empty());
    group.0.remove(LIMIT).unwrap();
}

#[test]
fn another_process_finds_a_group_by_its_record_until_it_is_removed() {
    let needed = [Controller::Memory, Controller::Pids];
    let Some(cgroups) = machine(&needed) else { return };
    let group = Made::new(&cgroups, "record", &needed);
    let mut held = group.start("exit 3");
    let text = serde_json::to_string(&group.0.record()).unwrap();

    let found = Group::open(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(found.record(), group.0.record());
    assert_eq!(found.processes().unwrap(), [held.0.id()]);
    found.set_pids(Bound::At(5)).unwrap();
    let error = found.remove(Duration::ZERO).unwrap_err();
    let GroupError::Remove { holders, .. } = &error else { panic!("{error}") };
    assert_eq!(*holders, format!(": it holds processes ({}; 1 in all)", held.0.id()));
    // Its end is waited for.
    held.begin();
    let waiting = std::thread::spawn(move || held.end());
    found.remove(LIMIT).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(3));
    found.remove(LIMIT).unwrap();

    let error = Group::open(&group.0.record()).unwrap_err();
    assert!(matches!(error, GroupError::Gone { .. }), "{error}");
    let error = group.0.usage().unwrap_err();
    assert!(matches!(error, GroupError::Read { .. }), "{error}");
}

#[test]
fn groups_that_are_made_and_removed_at_once_are_in_nobodys_way() {
    let needed = [Controller::Memory, Controller::Pids, Controller::Cpu];
    if machine(&needed).is_none() {
        return;
    }
    let threads = (0..4).map(|thread| {
        std::thread::spawn(move || {
            let cgroups = Cgroups::find(None);
            for round in 0..50 {
                let group = Made::new(&cgroups, &format!("race-{thread}-{round}"), &needed);
                group.0.set_memory(&max(16)).unwrap();
                group.0.remove(LIMIT).unwrap();
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[test]
fn a_name_is_taken_once_and_nothing_is_left_of_what_fails() {
    let Some(cgroups) = machine(&[Controller::Memory, Controller::Pids]) else { return };
    let first = Made::new(&cgroups, "twice", &[Controller::Pids]);
    let error = cgroups.make(&name("twice"), &[Controller::Memory, Controller::Pids]).unwrap_err();
    let GroupError::Make { group, source } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
    assert!(group.ends_with("-twice"), "{error}");
    let record = first.0.record();
    if let [place] = record.places.as_slice()
        && !place.unified
    {
        let other = cgroups.make(&name("twice"), &[Controller::Memory]).unwrap();
        other.remove(LIMIT).unwrap();
    }
    for bad in ["", "a/b", "..", "a b", "\u{e4}", "a\0", &"x".repeat(201)] {
        let made = cgroups.make(bad, &[Controller::Memory]);
        match bad {
            // With the prefix, it is a name like others.
            ".." => made.unwrap().remove(LIMIT).unwrap(),
            _ => assert!(matches!(made, Err(GroupError::Name { .. })), "{bad:?}"),
        }
    }
}
