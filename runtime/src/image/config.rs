//! What an image says of the program in it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;

use super::document::or_empty;
use super::platform::Platform;

/// The largest configuration, in bytes.
pub(crate) const CONFIG_SIZE_MAX: u64 = 4 << 20;

/// The configuration of an image of layers. Source: OCI image specification 1.1.1, `config.md`.
///
/// It is what the image says to the guest, and nothing that the host acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) config: Execution,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<Rootfs>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub(crate) history: Vec<History>,
}

impl ImageConfig {
    /// Reads a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    /// The digests of the layers once they are no longer compressed.
    pub(crate) fn diff_ids(&self) -> &[Digest] {
        self.rootfs.as_ref().map_or(&[], |rootfs| &rootfs.diff_ids)
    }
}

/// How the program in an image is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// As whom; only shown.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_empty")]
    pub user: String,
    /// The ports that it serves, such as `8080/tcp`; only shown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub exposed_ports: BTreeSet<String>,
    /// Its variables, as `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub env: Vec<String>,
    /// The program, and arguments that are always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments unless others are given; without an entrypoint, the program first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub cmd: Vec<String>,
    /// Directories for data that outlives the sandbox.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub volumes: BTreeSet<String>,
    /// The directory in which it starts.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_empty")]
    pub working_dir: String,
    /// What else is told of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end; only shown.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_empty")]
    pub stop_signal: String,
}

impl Execution {
    /// The program: the first word of the entrypoint, or else of the command.
    pub fn program(&self) -> Option<&str> {
        self.entrypoint.first().or(self.cmd.first()).map(String::as_str)
    }

    /// The program and its arguments, where those that are `given` replace the image's own; without
    /// an entrypoint, the program is the first of them, as docker has it.
    pub fn command_line(&self, given: &[String]) -> Vec<String> {
        let arguments = if given.is_empty() { &self.cmd } else { given };
        [&self.entrypoint, arguments].concat()
    }
}

/// A set, as Go writes it: a map of its members to nothing.
mod set {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::IgnoredAny;

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|name| (name, serde_json::json!({}))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        #[expect(clippy::zero_sized_map_values, reason = "what is under the names says nothing")]
        let names = Option::<BTreeMap<String, IgnoredAny>>::deserialize(deserializer)?;
        Ok(names.unwrap_or_default().into_keys().collect())
    }
}

/// What an image's files are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rootfs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// How a layer came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_layer: bool,
}

/// The configuration of a wasm artifact. Source: CNCF `wasm-oci-artifact`, config v0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WasmConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) layer_digests: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) component: Option<ComponentConfig>,
}

/// What a component takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ComponentConfig {
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) exports: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) imports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
}
