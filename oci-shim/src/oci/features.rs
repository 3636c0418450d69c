//! What this runtime can do, for engines that ask before they use it.
//!
//! Source: `features.md` of the runtime specification.

use super::failure::Failure;
use super::state::VERSION;
use super::verbs::print;

/// Prints it.
pub(super) fn print_all() -> Result<(), Failure> {
    print(&format!("{:#}\n", features()))
}

fn features() -> serde_json::Value {
    serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
        ],
        "mountOptions": ["bind", "rbind", "ro", "rw", "size"],
        "linux": {
            "namespaces": [],
            "capabilities": [],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": { "enabled": false },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
        },
        "annotations": {
            "run.aril.version": env!("CARGO_PKG_VERSION"),
            "run.oci.crun.wasm": "true",
        },
        "potentiallyUnsafeConfigAnnotations": [],
    })
}
