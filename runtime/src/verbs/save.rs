//! Images from the store into an archive.

use std::collections::BTreeSet;
use std::io;
use std::io::Read;
use std::io::Write;

use sha2::Digest as _;
use sha2::Sha256;

use crate::content::NAME;
use crate::content::Store;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::error::Error;
use crate::image::Body;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::Image;
use crate::image::Index;
use crate::image::Layer;

use super::images::Failure;
use super::images::failed;
use super::images::kind_of;
use super::runtime::Runtime;

/// Where docker and containerd look for an image's whole name.
const FULL_NAME: &str = "io.containerd.image.name";

/// How docker's older form names an image.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Runtime {
    /// Writes images into an OCI archive, which `docker load`, `podman load`, `ctr image import`
    /// and [`load`](Self::load) read. The same images are always the same bytes.
    ///
    /// # Errors
    ///
    /// Fails where part of an image is missing or broken, and where `out` cannot be written.
    pub fn save(&self, images: &[Image], out: impl Write) -> Result<(), Error> {
        let what = images.iter().map(Image::to_string).collect::<Vec<_>>().join(", ");
        let at = |(kind, source): Failure| failed("save", &what, kind, source);
        write(self.store()?, images, out).map_err(at)
    }
}

fn of_store(error: StoreError) -> Failure {
    (kind_of(&error), error.into())
}

fn unwritten(source: io::Error) -> Failure {
    of_store(StoreError::File { what: "write", path: "the archive".into(), source })
}

fn write(store: &Store, images: &[Image], out: impl Write) -> Result<(), Failure> {
    let mut blobs = BTreeSet::new();
    let mut entries = Vec::new();
    let mut saved = Vec::new();
    for image in images {
        store.reach(&image.named, &mut blobs, 0).map_err(of_store)?;
        entries.push(entry_of(image));
        if let Body::Files(layers) = &image.body {
            let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            saved.push(Saved {
                config: path(&config_for_docker(store, image, layers)),
                repo_tags: image.reference().into_iter().map(ToString::to_string).collect(),
                layers: layers.iter().map(|layer| path(&layer.blob.digest)).collect(),
            });
        }
    }
    let _held = store.hold(blobs.iter().copied()).map_err(of_store)?;
    let mut archive = tar::Builder::new(out);
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|e| unwritten(e.into()));
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", &json(serde_json::to_vec(&Index::new(entries)))?)?;
    // Docker before its containerd store reads this, and takes images of files alone.
    if !saved.is_empty() {
        add(&mut archive, "manifest.json", &json(serde_json::to_vec(&saved))?)?;
    }
    for digest in blobs {
        let blob = store.blob(&digest).map_err(of_store)?;
        let size = blob.metadata().map_err(unwritten)?.len();
        let mut header = header_of(size);
        let path = format!("blobs/sha256/{}", digest.hex());
        let mut hashed = Hashed { inner: blob.take(size), hasher: Sha256::new() };
        archive.append_data(&mut header, path, &mut hashed).map_err(unwritten)?;
        // What rotted here is not handed on.
        if Digest::from_hasher(hashed.hasher) != digest {
            let reason = "its content is not what its name says; pull it again".to_owned();
            return Err(of_store(StoreError::Broken { digest, reason }));
        }
    }
    archive.into_inner().and_then(|mut out| out.flush()).map_err(unwritten)
}

/// The configuration that docker is told of: of several over the same layers, the one for a system
/// that it knows; it loads no other.
fn config_for_docker(store: &Store, image: &Image, layers: &[Layer]) -> Digest {
    let of_index = || {
        let Document::Index(index) = store.document(&image.named.digest).ok()? else { return None };
        let is_it = |entry: &&Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|found| found.os == "linux" && found.architecture == "amd64")
        };
        let entry = index.manifests.iter().find(is_it)?;
        let Document::Manifest(manifest) = store.document(&entry.digest).ok()? else { return None };
        let same = manifest.layers.iter().map(|layer| layer.digest);
        let same = same.eq(layers.iter().map(|layer| layer.blob.digest));
        (same && store.has(&manifest.config.digest)).then_some(manifest.config.digest)
    };
    of_index().unwrap_or(image.config.digest)
}

/// Passes on what it reads, and hashes it.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// How an image is named in an archive: by its tag for those who follow the specification, and
/// whole for those who wrote it otherwise for years.
fn entry_of(image: &Image) -> Descriptor {
    let mut entry = image.named.clone();
    entry.annotations.clear();
    if let Some(name) = image.reference() {
        entry.annotations.insert(FULL_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            entry.annotations.insert(NAME.to_owned(), tag.to_owned());
        }
    }
    entry
}

fn add(archive: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<(), Failure> {
    archive.append_data(&mut header_of(bytes.len() as u64), path, bytes).map_err(unwritten)
}

/// The same for everybody who writes the same: nothing of this host, and no time.
fn header_of(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}
