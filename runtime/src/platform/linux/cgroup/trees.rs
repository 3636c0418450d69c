//! Hierarchies of other machines: folders that look like them, and tables that lead there.

use std::path::Path;
use std::time::Duration;

use crate::platform::groups::Bound;
use crate::platform::groups::Controller;
use crate::platform::groups::CpuLimits;
use crate::platform::groups::GroupError;
use crate::platform::groups::GroupRecord;
use crate::platform::groups::Layout;
use crate::platform::groups::MemoryLimits;
use crate::platform::groups::Place;
use crate::units::Bytes;

use super::Cgroups;
use super::Group;
use super::tables::Tables;

/// A tree in a folder that looks like a hierarchy of v2, with these files in it.
fn tree(folder: &Path, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", folder.display())
}

fn looking_at(mounts: &str, seats: &str, parent: Option<&str>) -> Cgroups {
    Cgroups::of(Ok(Tables::parse(mounts.as_bytes(), seats.as_bytes())), parent, false)
}

const ALL_V2: &str = "cpuset cpu io memory pids\n";

#[test]
fn groups_of_v2_are_made_above_the_own_one_where_limits_are_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let mounts = tree(
        folder.path(),
        &[
            ("cgroup.procs", "1\n"),
            ("cgroup.controllers", ALL_V2),
            ("cgroup.subtree_control", "memory pids\n"),
            ("user/cgroup.procs", ""),
            ("user/cgroup.type", "domain\n"),
            ("user/cgroup.controllers", "memory pids\n"),
            ("user/cgroup.subtree_control", "memory pids\n"),
            ("user/own/cgroup.procs", "7\n"),
            ("user/own/cgroup.type", "domain\n"),
            ("user/own/cgroup.controllers", "memory pids\n"),
            ("user/own/cgroup.subtree_control", ""),
        ],
    );
    let cgroups = looking_at(&mounts, "0::/user/own\n", None);
    assert_eq!(cgroups.layout(), Layout::V2);
    // At the top, all controllers are within reach.
    for controller in [Controller::Memory, Controller::Cpu, Controller::Io, Controller::Freezer] {
        cgroups.can(controller).unwrap();
    }
    let group = cgroups.make("x", &[Controller::Memory, Controller::Cpu]).unwrap();
    assert_eq!(group.record().places.len(), 1);
    assert!(folder.path().join("aril-x").is_dir());
    let said = std::fs::read_to_string(folder.path().join("cgroup.subtree_control")).unwrap();
    assert_eq!(said, "+cpu");
    group.remove(Duration::ZERO).unwrap();
    assert!(!folder.path().join("aril-x").exists());
}

#[test]
fn groups_of_v2_are_made_as_near_as_limits_are_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let mounts = tree(
        folder.path(),
        &[
            ("cgroup.procs", "1\n"),
            ("cgroup.type", "domain\n"),
            ("cgroup.controllers", ALL_V2),
            ("cgroup.subtree_control", "memory pids\n"),
            ("app/cgroup.procs", ""),
            ("app/cgroup.type", "domain\n"),
            ("app/cgroup.controllers", "memory pids cpu\n"),
            ("app/cgroup.subtree_control", "memory pids\n"),
            ("app/own/cgroup.procs", "7\n"),
            ("app/own/cgroup.type", "domain\n"),
            ("app/own/cgroup.controllers", "memory pids\n"),
            ("app/own/cgroup.subtree_control", ""),
        ],
    );
    let cgroups = looking_at(&mounts, "0::/app/own\n", None);
    cgroups.can(Controller::Memory).unwrap();
    let missing = cgroups.can(Controller::Cpu).unwrap_err();
    assert!(missing.what.contains("/app` hands `cpu` to no groups"), "{missing}");
    assert!(missing.advice.contains("--cgroup-parent"), "{missing}");
    let missing = cgroups.can(Controller::Io).unwrap_err();
    assert!(missing.what.contains("was not given the controller `io`"), "{missing}");
    let error = cgroups.make("x", &[Controller::Memory, Controller::Cpu]).unwrap_err();
    assert!(matches!(error, GroupError::Missing { controller: Controller::Cpu, .. }), "{error}");
    assert!(!folder.path().join("app/aril-x").exists());

    // What its directory can as well, it can; what would have to be enabled first, it cannot.
    let group = cgroups.make("y", &[Controller::Memory]).unwrap();
    assert!(group.has(Controller::Pids));
    assert!(!group.has(Controller::Cpu) && !group.has(Controller::Io));
    group.remove(Duration::ZERO).unwrap();

    // A group that was named is configured.
    let cgroups = looking_at(&mounts, "0::/app/own\n", Some("/app/"));
    cgroups.make("x", &[Controller::Memory, Controller::Cpu]).unwrap();
    assert!(folder.path().join("app/aril-x").is_dir());
    for (parent, what) in [
        ("/nowhere", "cannot be opened"),
        ("/app/../app", "no path of a control group"),
        ("//", "was not given the controller `none`"),
        ("a\nb//c", "no path of a control group"),
    ] {
        let cgroups = looking_at(&mounts, "0::/app/own\n", Some(parent));
        match cgroups.can(Controller::Memory) {
            Err(missing) => assert!(missing.what.contains(what), "{missing}"),
            Ok(()) => assert_eq!(parent, "//"),
        }
    }
}

#[test]
fn threaded_groups_hold_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mounts = tree(
        folder.path(),
        &[
            ("cgroup.procs", ""),
            ("cgroup.type", "threaded\n"),
            ("cgroup.controllers", ALL_V2),
            ("cgroup.subtree_control", "cpu pids\n"),
        ],
    );
    let missing = looking_at(&mounts, "0::/\n", None).can(Controller::Pids).unwrap_err();
    assert!(missing.what.contains("hands `pids` to no groups"), "{missing}");
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let none = looking_at("", "", None).can(Controller::Memory).unwrap_err();
    assert_eq!(
        none.to_string(),
        "no control groups are mounted here; have them mounted at /sys/fs/cgroup"
    );
    let folder = tempfile::tempdir().unwrap();
    let mount = |kind: &str| format!("1 0 0:1 / {} rw - {kind}\n", folder.path().display());
    let v1 = looking_at(&mount("cgroup cgroup rw,memory"), "4:memory:/own\n", None);
    assert_eq!(v1.layout(), Layout::V1);
    let missing = v1.can(Controller::Pids).unwrap_err();
    assert!(missing.advice.contains("cgroup_enable=pids"), "{missing}");
    let missing = v1.can(Controller::Memory).unwrap_err();
    assert!(missing.what.contains("/own` cannot be opened"), "{missing}");
    // What is mounted there is no hierarchy.
    let tables = Tables::parse(mount("cgroup2 cgroup2 rw").as_bytes(), b"0::/\n");
    let hidden = Cgroups::of(Ok(tables), None, true).can(Controller::Freezer).unwrap_err();
    assert!(hidden.what.contains("something is mounted over it"), "{hidden}");
    let unread = Cgroups::of(Err("not there".to_owned()), None, true);
    assert_eq!(unread.layout(), Layout::None);
    assert!(unread.can(Controller::Cpu).unwrap_err().what.contains("not there"));
}

/// A group of v2 with these files.
fn group_v2(folder: &Path, files: &[(&str, &str)], controllers: &[Controller]) -> Group {
    let files: Vec<_> =
        files.iter().map(|(name, text)| (format!("aril-x/{name}"), *text)).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    tree(folder, &files);
    let place = Place {
        mount: folder.to_str().unwrap().to_owned(),
        path: "aril-x".to_owned(),
        unified: true,
        controllers: controllers.to_owned(),
    };
    Group::open_in(&GroupRecord { places: vec![place] }, false).unwrap()
}

#[test]
fn what_a_group_of_v2_uses_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("memory.current", "8192\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 4096\nfile 2048\ninactive_file 1024\n"),
        ("memory.swap.current", "0\n"),
        ("memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n"),
        (
            "cpu.stat",
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 8\n\
            throttled_usec 7\n",
        ),
        ("pids.current", "6\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ];
    let group = group_v2(folder.path(), &files, &Controller::ALL);
    let usage = group.usage().unwrap();
    let memory = usage.memory.unwrap();
    assert_eq!((memory.current, memory.peak), (Bytes::new(8192), None));
    assert_eq!((memory.limit, memory.swap), (Bound::Unlimited, Some(Bytes::new(0))));
    assert_eq!((memory.anon, memory.cache), (Bytes::new(4096), Bytes::new(2048)));
    assert_eq!(memory.inactive_file, Bytes::new(1024));
    let cpu = usage.cpu.unwrap();
    assert_eq!([cpu.total, cpu.user, cpu.system].map(|time| time.as_micros()), [5, 3, 2]);
    let held = usage.throttling.unwrap();
    assert_eq!((held.periods, held.throttled_periods, held.throttled.as_micros()), (9, 8, 7));
    assert_eq!(usage.pids, Some(6));
    let io = usage.io.unwrap();
    assert_eq!((io.read, io.written, io.reads, io.writes), (Bytes::new(1), Bytes::new(2), 3, 4));
    assert_eq!(group.oom_kills().unwrap(), 3);

    let long = "1".repeat(2 << 20);
    for garbage in ["", "x\n", "-5", "18446744073709551616\n", "\0", &long] {
        for (name, _) in files.iter().filter(|(name, _)| *name != "io.stat") {
            let path = folder.path().join("aril-x").join(name);
            let text = std::fs::read(&path).unwrap();
            std::fs::write(&path, garbage).unwrap();
            let error = match *name {
                "memory.events" => group.oom_kills().unwrap_err(),
                _ => group.usage().unwrap_err(),
            };
            let is_told = match &error {
                GroupError::Garbled { file, .. } => file.ends_with(name) && garbage != long,
                GroupError::Read { file, .. } => file.ends_with(name) && garbage == long,
                _ => false,
            };
            assert!(is_told, "{name}: {error}");
            std::fs::write(&path, text).unwrap();
        }
    }
}

#[test]
fn limits_of_v2_are_written_as_the_kernel_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "memory.max",
        "memory.high",
        "memory.swap.max",
        "memory.oom.group",
        "cpu.max",
        "cpu.weight",
        "pids.max",
    ];
    let group = group_v2(folder.path(), &names.map(|name| (name, "max\n")), &Controller::ALL);
    let says =
        |name: &str| std::fs::read_to_string(folder.path().join("aril-x").join(name)).unwrap();
    let limits = MemoryLimits {
        max: Some(Bound::At(Bytes::new(10_000))),
        high: Some(Bound::Unlimited),
        swap: Some(Bound::At(Bytes::new(0))),
    };
    group.set_memory(&limits).unwrap();
    let page = rustix::param::page_size() as u64;
    assert_eq!(says("memory.max"), (10_000 - 10_000 % page).to_string());
    assert_eq!(says("memory.high"), "max");
    assert_eq!(says("memory.swap.max"), "0");
    assert_eq!(says("memory.oom.group"), "1");
    let quota = Some(Bound::At("1.5".parse().unwrap()));
    group.set_cpu(&CpuLimits { quota, weight: Some(200) }).unwrap();
    assert_eq!((says("cpu.max").as_str(), says("cpu.weight").as_str()), ("150000 100000", "200"));
    group.set_cpu(&CpuLimits { quota: Some(Bound::Unlimited), weight: None }).unwrap();
    assert_eq!(says("cpu.max"), "max 100000");
    group.set_pids(Bound::At(64)).unwrap();
    assert_eq!(says("pids.max"), "64");

    std::fs::remove_file(folder.path().join("aril-x/memory.swap.max")).unwrap();
    let error = group.set_memory(&limits).unwrap_err();
    let GroupError::Missing { source, .. } = &error else { panic!("{error}") };
    assert!(source.advice.contains("swapaccount=1"), "{source}");
}

#[test]
fn a_group_that_does_not_stand_still_in_time_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("cgroup.freeze", "0\n"), ("cgroup.events", "populated 1\nfrozen 0\n")];
    let group = group_v2(folder.path(), &files, &[Controller::Freezer]);
    let error = group.freeze(Duration::from_millis(5)).unwrap_err();
    assert!(matches!(error, GroupError::TooLong { state: "frozen", .. }), "{error}");
    let said = std::fs::read_to_string(folder.path().join("aril-x/cgroup.freeze")).unwrap();
    assert_eq!(said, "0");
}

#[test]
fn a_group_of_v2_stands_still_without_being_made_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("cgroup.freeze", "0\n"), ("cgroup.events", "populated 1\nfrozen 1\n")];
    let group = group_v2(folder.path(), &files, &[Controller::Memory]);
    assert!(group.can_be_frozen_and_killed());
    assert!(group.freeze_once().unwrap());
    let says = || std::fs::read_to_string(folder.path().join("aril-x/cgroup.freeze")).unwrap();
    assert_eq!(says(), "1");
    group.let_go().unwrap();
    assert_eq!(says(), "0");

    let folder = tempfile::tempdir().unwrap();
    let group = group_v2(folder.path(), &[("memory.max", "max\n")], &[Controller::Memory]);
    assert!(!group.can_be_frozen_and_killed());
    let error = group.freeze_once().unwrap_err();
    assert!(matches!(error, GroupError::NotJoined { controller: Controller::Freezer }), "{error}");
}

#[test]
fn records_that_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    std::fs::create_dir_all(folder.path().join("a/aril-x")).unwrap();
    std::fs::create_dir_all(folder.path().join("outside/aril-x")).unwrap();
    std::os::unix::fs::symlink("outside", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("outside/aril-x", folder.path().join("aril-y")).unwrap();
    let record = |path: &str| {
        let place = Place {
            mount: root.to_owned(),
            path: path.to_owned(),
            unified: true,
            controllers: Vec::new(),
        };
        GroupRecord { places: vec![place] }
    };
    Group::open_in(&record("a/aril-x"), false).unwrap();
    for path in ["link/aril-x", "a/../a/aril-x", "aril-y"] {
        let error = Group::open_in(&record(path), false).unwrap_err();
        assert!(matches!(error, GroupError::Open { .. }), "{path}: {error}");
    }
    for path in ["a", "", "a/aril-", "a/aril-x/..", "a/aril-\n"] {
        let error = Group::open_in(&record(path), false).unwrap_err();
        assert!(matches!(error, GroupError::Name { .. }), "{path}: {error}");
    }
    // No file system of control groups.
    let error = Group::open(&record("a/aril-x")).unwrap_err();
    assert!(matches!(error, GroupError::Open { .. }), "{error}");
}
