//! What an image is: its name, its documents, and what is in it. No bytes are fetched here.

mod config;
mod document;
mod platform;
mod reference;

pub use config::Execution;
pub use document::Descriptor;
pub use platform::Platform;
pub use reference::InvalidReference;
pub use reference::Reference;

pub(crate) use config::CONFIG_SIZE_MAX;
pub(crate) use config::ComponentConfig;
pub(crate) use config::History;
pub(crate) use config::ImageConfig;
pub(crate) use config::Rootfs;
pub(crate) use config::WasmConfig;
pub(crate) use document::DOCUMENT_SIZE_MAX;
pub(crate) use document::Document;
pub(crate) use document::ENTRIES_MAX;
pub(crate) use document::INDEX_DEPTH_MAX;
pub(crate) use document::Index;
pub(crate) use document::InvalidDocument;
pub(crate) use document::Manifest;
pub(crate) use document::json_fault;
pub(crate) use document::media;

use std::fmt;

use crate::digest::Digest;

/// How many bytes of a layer tell what it is.
pub(crate) const MAGIC_SIZE: usize = 512;

/// What an image is for one platform: a program with its files, its environment and its arguments.
///
/// All of it is what the image's author says; nothing of it grants anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(crate) name: Option<Reference>,
    pub(crate) named: Descriptor,
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) platform: Platform,
    pub(crate) created: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) execution: Execution,
    pub(crate) body: Body,
}

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A wasm file, and nothing else.
    Wasm(Descriptor),
    /// Layers of files, the lowest first, and the digests that they should have once they are not
    /// compressed.
    Files(Vec<Layer>),
}

/// A layer of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) blob: Descriptor,
    pub(crate) compression: Compression,
    pub(crate) diff_id: Option<Digest>,
}

/// How a layer is compressed: by its first bytes, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What a layer is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LayerForm {
    Wasm,
    Files(Compression),
    /// Machine code: of a program, or of an engine.
    MachineCode,
    Unknown,
}

impl LayerForm {
    fn of(start: &[u8]) -> Self {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
        const USTAR: &[u8] = b"ustar";
        match start {
            [0, b'a', b's', b'm', ..] => Self::Wasm,
            [0x7f, b'E', b'L', b'F', ..] => Self::MachineCode,
            _ if start.starts_with(GZIP) => Self::Files(Compression::Gzip),
            _ if start.starts_with(ZSTD) => Self::Files(Compression::Zstd),
            _ if start.get(257..262) == Some(USTAR) => Self::Files(Compression::None),
            // The end of an archive without files.
            _ if start.len() == MAGIC_SIZE && start.iter().all(|byte| *byte == 0) => {
                Self::Files(Compression::None)
            }
            _ => Self::Unknown,
        }
    }
}

impl Image {
    /// What a manifest describes. `start_of` gives the first bytes of a layer.
    pub(crate) fn new<E: std::error::Error + Send + Sync + 'static>(
        name: Option<Reference>,
        (named, described): (Descriptor, Descriptor),
        manifest: &Manifest,
        config: &[u8],
        mut start_of: impl FnMut(&Descriptor) -> Result<Vec<u8>, E>,
    ) -> Result<Self, NotAnImage> {
        let parsed = ImageConfig::parse(config)
            .map_err(|error| NotAnImage::Config { reason: json_fault(&error) })?;
        let diff_ids = parsed.diff_ids();
        let mut files = Vec::new();
        let mut wasm = Vec::new();
        for (number, blob) in manifest.layers.iter().enumerate() {
            let start =
                start_of(blob).map_err(|error| NotAnImage::Layer { source: error.into() })?;
            match LayerForm::of(&start) {
                LayerForm::Wasm => wasm.push(blob),
                LayerForm::Files(compression) => {
                    let diff_id = diff_ids.get(number).copied();
                    files.push(Layer { blob: blob.clone(), compression, diff_id });
                }
                LayerForm::MachineCode => return Err(NotAnImage::MachineCode { number }),
                LayerForm::Unknown => {
                    let media_type = blob.media_type.chars().take(100).collect();
                    return Err(NotAnImage::Form { number, media_type });
                }
            }
        }
        let body = match (wasm.as_slice(), files.is_empty()) {
            ([], true) => return Err(NotAnImage::Empty),
            ([], false) if !diff_ids.is_empty() && diff_ids.len() != files.len() => {
                return Err(NotAnImage::Uneven { layers: files.len(), diff_ids: diff_ids.len() });
            }
            ([], false) => Body::Files(files),
            ([one], true) => Body::Wasm((*one).clone()),
            ([_], false) => return Err(NotAnImage::Mixed),
            (several, _) => return Err(NotAnImage::SeveralPrograms { count: several.len() }),
        };
        Ok(Self {
            name,
            named,
            manifest: described,
            config: manifest.config.clone(),
            platform: parsed.platform(),
            created: parsed.created,
            author: parsed.author,
            execution: parsed.config,
            body,
        })
    }

    /// What it was found by; nothing where it was found by its digest alone.
    pub fn reference(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    /// The digest of what its name leads to: a manifest, or an index of several.
    pub fn digest(&self) -> Digest {
        self.named.digest
    }

    /// The digest of the manifest for this platform.
    pub fn manifest_digest(&self) -> Digest {
        self.manifest.digest
    }

    /// The platform that it says it is for.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// When it was made, as it says, in RFC 3339.
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// Who made it, as it says.
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    /// How its program is started.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// The same image with another program of its files, and without its arguments.
    #[must_use]
    pub fn with_entrypoint(mut self, program: &str) -> Self {
        self.execution.entrypoint = vec![program.to_owned()];
        self.execution.cmd = Vec::new();
        self
    }

    /// Its layers, the lowest first. A wasm artifact has one, the program.
    pub fn layers(&self) -> Vec<&Descriptor> {
        match &self.body {
            Body::Wasm(program) => vec![program],
            Body::Files(layers) => layers.iter().map(|layer| &layer.blob).collect(),
        }
    }

    /// The digest of its program, where that is a blob of its own.
    pub(crate) fn program_digest(&self) -> Option<Digest> {
        match &self.body {
            Body::Wasm(program) => Some(program.digest),
            Body::Files(_) => None,
        }
    }

    /// Whether it is a wasm file alone, without files, environment and arguments.
    pub fn is_artifact(&self) -> bool {
        matches!(self.body, Body::Wasm(_))
    }

    /// How many bytes it takes in the store, shared ones included.
    pub fn size(&self) -> u64 {
        let layers = self.layers().into_iter().map(|layer| layer.size);
        let all = layers.chain([self.manifest.size, self.config.size]);
        all.fold(0, u64::saturating_add)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => name.fmt(f),
            None => self.named.digest.fmt(f),
        }
    }
}

/// What is no image that can run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnImage {
    #[error("its configuration is not one: {reason}")]
    Config { reason: String },
    #[error("one of its layers cannot be read")]
    Layer { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("it has no layers, and so no program")]
    Empty,
    #[error("it has {count} programs, and one is expected")]
    SeveralPrograms { count: usize },
    #[error("it has a program beside layers of files, and so it is not told which is meant")]
    Mixed,
    #[error("it has {layers} layers, and {diff_ids} digests of what is in them")]
    Uneven { layers: usize, diff_ids: usize },
    #[error(
        "its layer {number} is machine code, which is made on this host and never taken from an image; \
         the image must bring wasm"
    )]
    MachineCode { number: usize },
    #[error(
        "its layer {number} is neither wasm nor an archive of files, whatever `{}` may be",
        media_type.escape_debug()
    )]
    Form { number: usize, media_type: String },
    #[error("none of its {count} platforms can run here")]
    Platform { count: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(layers: &[&[u8]], config: &str) -> Result<Image, NotAnImage> {
        let blobs: Vec<_> = layers.iter().map(|bytes| Descriptor::of("a/lie", bytes)).collect();
        let manifest = Manifest::new(Descriptor::of(media::CONFIG, config.as_bytes()), blobs);
        let described = Descriptor::of(media::MANIFEST, b"manifest");
        let named = (described.clone(), described);
        Image::new(None, named, &manifest, config.as_bytes(), |blob| {
            let found = layers.iter().find(|bytes| Digest::of(bytes) == blob.digest);
            Ok::<_, std::io::Error>(found.map(|bytes| bytes.to_vec()).unwrap_or_default())
        })
    }

    const WASM: &[u8] = b"\0asm\x01\0\0\0";
    const GZIP: &[u8] = &[0x1f, 0x8b, 8];

    #[test]
    fn what_a_layer_is_is_decided_by_its_content() {
        assert!(of(&[WASM], "{}").expect("an artifact").is_artifact());
        let files = of(&[GZIP, &[0x28, 0xb5, 0x2f, 0xfd, 0]], "{}").expect("files");
        assert_eq!(files.layers().len(), 2);
        let mut tar = vec![b'x'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(matches!(of(&[&tar], "{}").expect("files").body, Body::Files(_)));
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let said = |layers: &[&[u8]], config| of(layers, config).expect_err("no image").to_string();
        for (layers, config, expected) in [
            (&[][..], "{}", "no layers"),
            (&[WASM, b"\0asm\x0d\0\x01\0"], "{}", "2 programs"),
            (&[GZIP, WASM], "{}", "beside layers of files"),
            (&[b"\x7fELF\x02"], "{}", "machine code"),
            (&[b"hello"], "{}", "neither wasm nor an archive"),
            (&[WASM], "no json", "its configuration is not one"),
            (&[WASM], r#"{"config":{"Entrypoint":"a string"}}"#, "its configuration is not one"),
            (
                &[GZIP],
                r#"{"rootfs":{"type":"layers","diff_ids":[
                "sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#,
                "1 layers, and 2 digests",
            ),
        ] {
            let said = said(layers, config);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn null_is_taken_where_other_tools_write_it() {
        let config = r#"{"architecture":"wasm","os":"wasi","config":{"Env":null,"Cmd":null,
            "Entrypoint":["/app.wasm"],"Volumes":null,"Labels":null,"ExposedPorts":{"80/tcp":{}},
            "OnBuild":null},"history":null}"#;
        let image = of(&[GZIP], config).expect("an image");
        assert_eq!(image.execution().entrypoint, ["/app.wasm"]);
        assert_eq!(image.platform().to_string(), "wasi/wasm");
    }

    #[test]
    fn a_document_that_could_be_taken_for_another_is_refused() {
        let config = r#"{"mediaType":"a","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":0}"#;
        for (text, expected) in [
            (r#"{"schemaVersion":2}"#.to_owned(), "neither"),
            (
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
                "both",
            ),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "first version"),
            (r#"{"schemaVersion":3,"layers":[]}"#.to_owned(), "`schemaVersion` is 3"),
            (
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#,
                    media::INDEX
                ),
                "calls itself",
            ),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), "missing field `config`"),
            ("[".repeat(100_000), "is not what"),
        ] {
            let error = Document::parse(text.as_bytes()).expect_err("no document").to_string();
            assert!(error.contains(expected), "{error}");
        }
        let index = Index::new(vec![Descriptor::of(media::MANIFEST, b"x")]);
        let bytes = serde_json::to_vec(&index).expect("json");
        assert_eq!(Document::parse(&bytes), Ok(Document::Index(index)));
    }
}
