//! The forms in which an image is written: files in layers, for those who know no wasm as well, and
//! the wasm file alone.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;

use crate::content::Lease;
use crate::content::Store;
use crate::digest::Digest;
use crate::engine::WASM_SIZE_MAX;
use crate::engine::describe;
use crate::error::ErrorKind;
use crate::image::CONFIG_SIZE_MAX;
use crate::image::ComponentConfig;
use crate::image::Descriptor;
use crate::image::ImageConfig;
use crate::image::Index;
use crate::image::Manifest;
use crate::image::Platform;
use crate::image::Rootfs;
use crate::image::WasmConfig;
use crate::image::media;
use crate::platform::files;
use crate::units::Bytes;

use super::assets::invalid;
use super::assets::of_store;
use super::assets::unwritten;
use super::images::Failure;

/// For what an image of files says it is made. The files are the same for each; what runs them is
/// decided by content. Who knows no wasm finds an entry for its own processor, and so unpacks the
/// files, which it does not for a system that it does not know.
pub(super) const PLATFORMS: [(&str, &str); 3] =
    [("wasi", "wasm"), ("linux", "amd64"), ("linux", "arm64")];

/// What podman hands on to its runtime, and crun and youki take for a reason to run wasm: else they
/// would need to be told for each container. Others leave it alone.
const VARIANT: (&str, &str) = ("module.wasm.image/variant", "compat");

/// A layer of an image in the making, and the digest of what is in it.
pub(super) type Layered = (Descriptor, Digest);

/// Adds a document.
pub(super) fn add<T: serde::Serialize>(
    store: &Store,
    lease: &Lease<'_>,
    media_type: &str,
    document: &T,
) -> Result<Descriptor, Failure> {
    let bytes = serde_json::to_vec(document)
        .map_err(|error| -> Failure { (ErrorKind::Internal, error.into()) })?;
    // Nobody would read it, we included.
    if CONFIG_SIZE_MAX < bytes.len() as u64 {
        let reason = "what the image says of itself is larger than 4 MiB";
        return Err(invalid(reason));
    }
    store.add(lease, &bytes).map_err(of_store)?;
    Ok(Descriptor::of(media_type, &bytes))
}

/// Adds the image of these layers, and beside it the artifact, if there is one. Who looks for an image
/// passes by what says that it is an artifact.
pub(super) fn add_image(
    store: &Store,
    lease: &Lease<'_>,
    layers: &[Layered],
    mut config: ImageConfig,
    artifact: Option<Descriptor>,
) -> Result<Descriptor, Failure> {
    let diff_ids = layers.iter().map(|(_, diff_id)| *diff_id).collect();
    config.rootfs = Some(Rootfs { kind: "layers".to_owned(), diff_ids });
    let layers: Vec<Descriptor> = layers.iter().map(|(blob, _)| blob.clone()).collect();
    let mut manifests = Vec::new();
    for (os, architecture) in PLATFORMS {
        os.clone_into(&mut config.os);
        architecture.clone_into(&mut config.architecture);
        let told = add(store, lease, media::CONFIG, &config)?;
        let mut manifest = Manifest::new(told, layers.clone());
        manifest.annotations.insert(VARIANT.0.to_owned(), VARIANT.1.to_owned());
        let mut entry = add(store, lease, media::MANIFEST, &manifest)?;
        entry.platform = Some(Platform::new(os, architecture));
        manifests.push(entry);
    }
    manifests.extend(artifact);
    add(store, lease, media::INDEX, &Index::new(manifests))
}

/// Adds the artifact of a wasm file, as an entry of an index has it.
pub(super) fn add_artifact(
    store: &Store,
    lease: &Lease<'_>,
    bytes: &[u8],
    (created, author): (Option<String>, Option<String>),
) -> Result<Descriptor, Failure> {
    let described = describe(bytes).map_err(|reason| (ErrorKind::NotRunnable, reason.into()))?;
    let mut draft = store.draft().map_err(of_store)?;
    draft.write_all(bytes).map_err(|source| unwritten(store, source))?;
    let (digest, size) = draft.finish(lease).map_err(of_store)?;
    let program = Descriptor::new(media::WASM, digest, size);
    let component = described.component.map(|world| ComponentConfig {
        target: world.target(),
        exports: world.exports,
        imports: world.imports,
    });
    let os = if component.is_some() { "wasip2" } else { "wasip1" };
    let config = WasmConfig {
        created,
        author,
        architecture: "wasm".to_owned(),
        os: os.to_owned(),
        layer_digests: vec![digest],
        component,
    };
    let config = add(store, lease, media::WASM_CONFIG, &config)?;
    let mut entry = add(store, lease, media::MANIFEST, &Manifest::new(config, vec![program]))?;
    entry.platform = Some(Platform::new(os, "wasm"));
    entry.artifact_type = Some(media::WASM_CONFIG.to_owned());
    Ok(entry)
}

/// The bytes of a wasm file. Text is made into what it stands for.
pub(super) fn read_wasm(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = files::open(path).map_err(unreadable)?;
    read_wasm_of(file)
}

/// The bytes of a wasm file that is open.
pub(super) fn read_wasm_of(file: File) -> Result<Vec<u8>, Failure> {
    let not_wasm = |reason: String| -> Failure { (ErrorKind::NotRunnable, reason.into()) };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(not_wasm("it is not a regular file".to_owned()));
    }
    if WASM_SIZE_MAX < metadata.len() {
        return Err(not_wasm(format!("it is larger than {}", Bytes::new(WASM_SIZE_MAX))));
    }
    let mut bytes = Vec::new();
    file.take(WASM_SIZE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() {
        return Err(not_wasm("it is empty".to_owned()));
    }
    if bytes.starts_with(b"\0asm") {
        return Ok(bytes);
    }
    wat::parse_bytes(&bytes)
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| not_wasm(format!("it is neither wasm nor its text: {error}")))
}

fn unreadable(error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::NotRunnable,
    };
    (kind, error.into())
}
