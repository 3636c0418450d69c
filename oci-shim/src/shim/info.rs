//! What this runtime says of itself before there is a container.

use std::collections::HashMap;

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use containerd_shim_protos::types::introspection::RuntimeVersion;

use super::RUNTIME;

/// How the features of a runtime of the specification are named.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version, as containerd's own shims say it.
pub(super) fn version() -> String {
    format!("containerd-shim-aril-v1:\n  Version:  {VERSION}\n  Runtime:  {RUNTIME}\n")
}

/// What the runtime can do. The runtime's options, which containerd writes to this call's input, make
/// no difference.
pub(super) fn info() -> Result<Vec<u8>, String> {
    let features = serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        // Programs of the host are not run for a guest.
        "hooks": [],
        "mountOptions": ["bind", "rbind", "ro", "rw", "private", "rprivate"],
        "linux": {
            "namespaces": ["mount", "network", "ipc", "uts", "pid", "cgroup"],
            "capabilities": [],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": { "enabled": false },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
        },
    });
    let features = Any {
        type_url: FEATURES.to_owned(),
        value: features.to_string().into_bytes(),
        ..Any::default()
    };
    let version = RuntimeVersion { version: VERSION.to_owned(), ..RuntimeVersion::default() };
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: MessageField::some(version),
        features: MessageField::some(features),
        annotations: HashMap::from([("aril.run/guests".to_owned(), "wasm".to_owned())]),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(|error| format!("cannot answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_tells_its_name_its_version_and_features_that_others_can_read() {
        let info = RuntimeInfo::parse_from_bytes(&info().unwrap()).unwrap();
        assert_eq!((info.name.as_str(), info.version.version.as_str()), (RUNTIME, VERSION));
        let features: oci_spec::runtime::Features =
            serde_json::from_slice(&info.features.value).unwrap();
        assert_eq!(features.oci_version_min(), "1.0.0");
    }
}
