//! What configurations become: each of `pairs/`, and what is refused.

use serde_json::Value;
use serde_json::json;

use super::*;

/// The least that is a container.
fn least() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/app.wasm"], "cwd": "/" },
        "root": { "path": "rootfs" },
    })
}

/// The least with one setting more, by its path.
fn with(path: &str, value: Value) -> Value {
    let mut config = least();
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = &mut config;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = &mut place[parent];
    }
    place[name] = value;
    config
}

fn container(config: Value) -> Result<Container, Refusal> {
    Container::from_spec(&serde_json::from_value(config).unwrap())
}

#[test]
fn configurations_that_engines_write_become_what_stands_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bundle/pairs");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let spec = read_spec(&path).unwrap();
        let becomes = format!("{:#?}\n", Container::from_spec(&spec).unwrap());
        let beside = path.with_extension("txt");
        if std::env::var_os("ARIL_WRITE_PAIRS").is_some() {
            std::fs::write(&beside, &becomes).unwrap();
        }
        assert_eq!(becomes, std::fs::read_to_string(&beside).unwrap(), "{}", path.display());
        compared += 1;
    }
    assert!(3 <= compared, "{compared} pairs");
}

/// Each of these is refused, by the name of its setting.
fn refused(cases: impl IntoIterator<Item = (Value, &'static str)>) {
    for (config, setting) in cases {
        let refusal = container(config.clone()).expect_err(setting);
        assert_eq!(refusal.setting(), setting, "{config}");
    }
}

#[test]
fn a_process_that_cannot_be_or_that_nothing_holds_is_refused_by_the_name_of_its_setting() {
    let swapped = json!([{ "type": "RLIMIT_NOFILE", "hard": 1, "soft": 2 }]);
    refused([
        (with("ociVersion", json!("2.0.0")), "ociVersion"),
        (with("ociVersion", json!("1")), "ociVersion"),
        (with("process", Value::Null), "process"),
        (with("root", Value::Null), "root"),
        (with("root.path", json!("")), "root.path"),
        (with("process.args", json!([])), "process.args"),
        (with("process.args", json!([""])), "process.args"),
        (with("process.args", json!(["/a", "b\0c"])), "process.args"),
        (with("process.env", json!(["NOTHING"])), "process.env"),
        (with("process.env", json!(["=x"])), "process.env"),
        (with("process.cwd", json!("data")), "process.cwd"),
        (with("process.user.uid", json!(u32::MAX)), "process.user.uid"),
        (with("process.user.umask", json!(0o1777)), "process.user.umask"),
        (with("process.user.username", json!("web")), "process.user.username"),
        (with("process.oomScoreAdj", json!(1001)), "process.oomScoreAdj"),
        (with("process.rlimits", swapped), "process.rlimits[RLIMIT_NOFILE]"),
        (with("process.scheduler", json!({ "policy": "SCHED_FIFO" })), "process.scheduler"),
        (with("annotations", json!({ "aril.run/deadlin": "1s" })), "annotations[aril.run/deadlin]"),
        (with("annotations", json!({ "aril.run/fuel": "much" })), "annotations[aril.run/fuel]"),
        (
            with("annotations", json!({ "aril.run/network": "host" })),
            "annotations[aril.run/network]",
        ),
        (with("annotations", json!({ "run.oci.handler": "krun" })), "annotations[run.oci.handler]"),
    ]);
}

#[test]
fn what_of_linux_a_guest_cannot_have_is_refused_by_the_name_of_its_setting() {
    let device = json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]);
    let ids = json!([{ "containerID": 1, "hostID": 100_000, "size": 9 }]);
    let joined = json!([{ "type": "mount", "path": "/proc/1/ns/mnt" }]);
    let relative = json!([{ "type": "network", "path": "ns/net" }]);
    let cases = [
        (json!({ "devices": device }), "linux.devices"),
        (json!({ "timeOffsets": { "boottime": { "secs": 1 } } }), "linux.timeOffsets"),
        (json!({ "cgroupsPath": "/a/../b" }), "linux.cgroupsPath"),
        (json!({ "cgroupsPath": "///" }), "linux.cgroupsPath"),
        (json!({ "cgroupsPath": "web:cri:1" }), "linux.cgroupsPath"),
        (json!({ "namespaces": joined }), "linux.namespaces[mnt]"),
        (json!({ "namespaces": relative }), "linux.namespaces[net]"),
        (json!({ "namespaces": [{ "type": "ipc" }, { "type": "ipc" }] }), "linux.namespaces[ipc]"),
        (json!({ "uidMappings": ids }), "process.user.uid"),
    ];
    refused(cases.map(|(linux, setting)| (with("linux", linux), setting)));
    let resources = [
        (json!({ "memory": { "disableOOMKiller": true } }), "memory.disableOOMKiller"),
        (json!({ "cpu": { "cpus": "0-1" } }), "cpu.cpus"),
        (json!({ "cpu": { "quota": 1, "period": 1_000_000 } }), "cpu.quota"),
        (json!({ "pids": { "limit": 1_u64 << 40 } }), "pids.limit"),
        (json!({ "blockIO": { "weight": 10 } }), "blockIO.weight"),
        (json!({ "unified": { "cpu.idle": "1" } }), "unified[cpu.idle]"),
    ];
    for (asked, name) in resources {
        let config = with("linux", json!({ "resources": asked }));
        let refusal = container(config).expect_err(name);
        assert_eq!(refusal.setting(), format!("linux.resources.{name}"));
    }
}

#[test]
fn mounts_that_a_guest_would_miss_are_refused_by_their_destination() {
    let cases = [
        (json!({ "destination": "data", "source": "/d", "options": ["bind"] }), "absolute"),
        (json!({ "destination": "/d", "options": ["bind"] }), "no source"),
        (
            json!({ "destination": "/d", "source": "/d", "options": ["bind", "rshared"] }),
            "rprivate",
        ),
        (json!({ "destination": "/d", "source": "/d", "options": ["bind", "rslave"] }), "rprivate"),
        (json!({ "destination": "/d", "source": "/d", "options": ["bind", "idmap"] }), "mapped"),
        (json!({ "destination": "/d", "source": "/d", "options": ["bind", "frob"] }), "`frob`"),
        (json!({ "destination": "/d", "type": "nfs", "source": "h:/d" }), "`nfs`"),
        (json!({ "destination": "/d" }), "no type"),
        (json!({ "destination": "/d", "type": "tmpfs", "options": ["size=50%"] }), "size=50%"),
        (json!({ "destination": "/d", "type": "tmpfs", "options": ["ro"] }), "nothing in it"),
    ];
    for (mount, said) in cases {
        let refusal = container(with("mounts", json!([mount]))).expect_err(said);
        assert!(refusal.setting().starts_with("mounts["), "{refusal}");
        assert!(refusal.to_string().contains(said), "{refusal}");
    }
}

#[test]
fn users_are_whom_the_maps_of_a_user_namespace_say() {
    let mut config = with(
        "linux",
        json!({
            "uidMappings": [{ "containerID": 0, "hostID": 100_000, "size": 1000 }],
            "gidMappings": [{ "containerID": 0, "hostID": 200_000, "size": 1000 }],
        }),
    );
    config["process"]["user"] = json!({ "uid": 33, "gid": 999, "additionalGids": [7] });
    let user = container(config).unwrap().user;
    assert_eq!((user.uid, user.gid, user.groups), (100_033, 200_999, vec![200_007]));
}

#[test]
fn rates_of_devices_are_limits_by_their_numbers() {
    let rates = |list: Value| {
        let resources = json!({ "blockIO": { "throttleReadBpsDevice": list } });
        container(with("linux", json!({ "resources": resources })))
    };
    let limits = rates(json!([
        { "major": 8, "minor": 0, "rate": 1024 },
        { "major": 8, "minor": 16, "rate": 0 },
    ]));
    let limits = limits.unwrap().limits;
    let aril::Limit::Of(held) = limits.device_read_bps else { panic!("{limits:?}") };
    let held: Vec<_> = held.iter().collect();
    assert_eq!(held, [(aril::Device::of_numbers(8, 0), aril::Bytes::new(1024))]);
    assert_eq!(limits.device_write_bps, aril::Limit::Default);
    let many: Vec<Value> =
        (0..9).map(|minor| json!({ "major": 8, "minor": minor, "rate": 1 })).collect();
    for list in [json!([{ "major": -1, "minor": 0, "rate": 1 }]), Value::from(many)] {
        let refusal = rates(list).unwrap_err();
        assert_eq!(refusal.setting(), "linux.resources.blockIO.throttleReadBpsDevice");
    }
}

#[test]
fn a_variable_that_is_there_twice_has_the_value_that_comes_last() {
    let env = container(with("process.env", json!(["A=1", "B=2", "A=3="]))).unwrap().env;
    let expected =
        [("A", "3="), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(env, expected);
}

#[test]
fn a_configuration_that_is_cut_huge_or_no_file_is_refused_and_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    assert!(matches!(read(folder.path()), Err(BundleError::Read { .. })));
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(read(folder.path()), Err(BundleError::NotAFile { .. })));
    std::fs::remove_dir(&path).unwrap();
    let whole = least().to_string();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(read(folder.path()), Err(BundleError::Form { .. })));
    std::fs::write(&path, b"{\"ociVersion\": \"1.0.2\", \"hostname\": \"\xff\"}").unwrap();
    assert!(matches!(read(folder.path()), Err(BundleError::Form { .. })));
    std::fs::write(&path, r#"{"ociVersion": "1.0.2", "ociVersion": "1.0.3"}"#).unwrap();
    assert!(matches!(read(folder.path()), Err(BundleError::Form { .. })));
    // Sparse: as large as it says, and read no further than it may be.
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(read(folder.path()), Err(BundleError::TooLarge { .. })));
    std::fs::write(&path, whole).unwrap();
    assert_eq!(read(folder.path()).unwrap().args, ["/app.wasm"]);
}

#[test]
fn no_cut_and_no_changed_byte_of_a_configuration_makes_reading_panic() {
    let text = include_bytes!("pairs/cri.json");
    for end in 0..text.len() {
        if let Ok(spec) = serde_json::from_slice::<Spec>(&text[..end]) {
            let _refused = Container::from_spec(&spec);
        }
    }
    for at in 0..text.len() {
        let mut changed = text.to_vec();
        changed[at] = changed[at].wrapping_add(1);
        if let Ok(spec) = serde_json::from_slice::<Spec>(&changed) {
            let _refused = Container::from_spec(&spec);
        }
    }
}
