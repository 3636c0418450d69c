//! Manifests and indexes, as registries and layouts hold them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;

use super::platform::Platform;

/// The largest manifest or index, in bytes: as much as registries must take.
pub(crate) const DOCUMENT_SIZE_MAX: u64 = 4 << 20;

/// The most entries of a manifest or an index.
pub(crate) const ENTRIES_MAX: usize = 4096;

/// How deep indexes may be nested: in practice one is in another at most.
pub(crate) const INDEX_DEPTH_MAX: usize = 4;

/// What things are called in descriptors. What a layer is is decided by its content all the same.
pub(crate) mod media {
    pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub(crate) const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub(crate) const DOCKER_LIST: &str =
        "application/vnd.docker.distribution.manifest.list.v2+json";
    pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    pub(crate) const WASM: &str = "application/wasm";
}

/// Says where some bytes are: what they are called, what their digest is, and how many they are.
///
/// Source: OCI image specification 1.1.1, `descriptor.md`. `urls` and `data` are not read: bytes
/// come from the registry or the store, and from nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are called. It may lie.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
    /// For what platform an entry of an index is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What else is told of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What an entry of an index is, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// The descriptor of these bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }
}

/// What an image is made of. Source: OCI image specification 1.1.1, `manifest.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    pub(crate) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// Images for several platforms. Source: OCI image specification 1.1.1, `image-index.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
        }
    }
}

/// A manifest or an index: whichever it is by what it holds.
#[expect(clippy::large_enum_variant, reason = "there are a handful of them at a time")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// What decides which of both a document is.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document. It is what it holds; where it calls itself something else, it is refused,
    /// since others may have taken it for that.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        let not_json = |error: serde_json::Error| InvalidDocument::Syntax(json_fault(&error));
        if DOCUMENT_SIZE_MAX < bytes.len() as u64 {
            return Err(InvalidDocument::TooLarge);
        }
        let shape: Shape = serde_json::from_slice(bytes).map_err(not_json)?;
        if shape.schema_version == 1 || shape.fs_layers.is_some() {
            return Err(InvalidDocument::Version1);
        }
        if shape.schema_version != 2 {
            return Err(InvalidDocument::Version(shape.schema_version));
        }
        let called = |names: [&str; 2]| match &shape.media_type {
            Some(name) if !names.contains(&name.as_str()) => {
                Err(InvalidDocument::Called { name: name.chars().take(100).collect() })
            }
            _ => Ok(()),
        };
        let bounded = |count: usize| {
            if count <= ENTRIES_MAX { Ok(()) } else { Err(InvalidDocument::Entries { count }) }
        };
        match (shape.layers, shape.manifests) {
            (Some(_), Some(_)) => Err(InvalidDocument::Both),
            (None, None) => Err(InvalidDocument::Neither),
            (Some(_), None) => {
                called([media::MANIFEST, media::DOCKER_MANIFEST])?;
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(not_json)?;
                bounded(manifest.layers.len())?;
                Ok(Self::Manifest(manifest))
            }
            (None, Some(_)) => {
                called([media::INDEX, media::DOCKER_LIST])?;
                let index: Index = serde_json::from_slice(bytes).map_err(not_json)?;
                bounded(index.manifests.len())?;
                Ok(Self::Index(index))
            }
        }
    }

    /// What it calls itself, or else what it is.
    pub(crate) fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(media::MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media::INDEX),
        }
    }
}

/// What is wrong with JSON of strangers, which may quote some of it: not more than a line of it.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    /// What a person reads at a glance.
    const LENGTH_MAX: usize = 200;
    let told = error.to_string();
    if told.len() <= LENGTH_MAX {
        return told;
    }
    let (line, column) = (error.line(), error.column());
    format!("what ends at line {line} column {column} is not what belongs there")
}

/// A text that is no manifest and no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidDocument {
    #[error("it is larger than {} MiB", DOCUMENT_SIZE_MAX >> 20)]
    TooLarge,
    #[error("it is not what a manifest or an index should be: {0}")]
    Syntax(String),
    #[error("it is of the first version of Docker's format, which nobody writes any more")]
    Version1,
    #[error("its `schemaVersion` is {0}, and 2 is expected")]
    Version(u32),
    #[error("it has both `layers` and `manifests`, and so may be taken for either")]
    Both,
    #[error("it has neither `layers` nor `manifests`")]
    Neither,
    #[error("it calls itself `{}`, and is something else", name.escape_debug())]
    Called { name: String },
    #[error("it has {count} entries, more than {ENTRIES_MAX}")]
    Entries { count: usize },
}

/// Some tools write `null` where they have nothing.
pub(super) fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
