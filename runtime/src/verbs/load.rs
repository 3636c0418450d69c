//! Images from an archive or a layout, into the store.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::content::Lease;
use crate::content::NAME;
use crate::content::Store;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::DOCUMENT_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::INDEX_DEPTH_MAX;
use crate::image::Image;
use crate::image::Index;
use crate::image::Manifest;
use crate::image::Reference;
use crate::image::json_fault;
use crate::image::media;
use crate::platform::files;

use super::bounds::Counted;
use super::bounds::Inflating;
use super::bounds::room_for;
use super::images::Failure;
use super::images::failed;
use super::images::image_of;
use super::images::verify_digest;
use super::refused::no_archive;
use super::refused::not_runnable;
use super::refused::of_store;
use super::refused::unreadable;
use super::runtime::Runtime;

/// The most files of an archive: each image has a handful.
const FILES_MAX: usize = 100_000;

/// The longest path in an archive, in bytes.
const PATH_MAX: usize = 1024;

/// Where docker and containerd write an image's whole name.
const FULL_NAME: &str = "io.containerd.image.name";

/// How much is read of what is behind the last file of an archive.
const REST_MAX: u64 = 16 << 20;

/// How much is read of a blob at a time.
const CHUNK: usize = 128 << 10;

impl Runtime {
    /// Takes the images of an archive into the store: of an OCI archive, or of what `docker save`
    /// wrote, compressed with gzip or not at all. Nothing is named before all of it was found to be
    /// what it should be.
    ///
    /// # Errors
    ///
    /// Fails where the archive is none, holds no image, or an image that is not whole or could not
    /// run here, and where the store cannot be written.
    pub fn load(&self, archive: impl Read, called: &str) -> Result<Vec<Image>, Error> {
        let at = |(kind, source): Failure| failed("load", called, kind, source);
        let store = self.store()?;
        let lease = store.lease().map_err(|error| at(of_store(error)))?;
        let loaded = Archive::read(store, &lease, archive)
            .and_then(|found| found.entries(store, &lease))
            .and_then(|entries| name_all(store, &entries));
        settled(store, lease, loaded).map_err(at)
    }

    /// Takes the images of a folder that is an OCI image layout into the store: all of them, or the
    /// one that is called `name` there.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_layout(&self, folder: &Path, name: Option<&str>) -> Result<Vec<Image>, Error> {
        let at = |(kind, source): Failure| failed("load", folder.display(), kind, source);
        let store = self.store()?;
        let lease = store.lease().map_err(|error| at(of_store(error)))?;
        let layout = Layout { folder };
        let loaded = layout.entries(name).and_then(|entries| {
            let mut copied = BTreeSet::new();
            for (_, entry) in &entries {
                layout.copy(store, &lease, entry, &mut copied, 0)?;
            }
            name_all(store, &entries)
        });
        settled(store, lease, loaded).map_err(at)
    }

    /// An image of a folder that is an OCI image layout: the one that is called `name` there, or the
    /// only one. It is copied into the store, as far as it is not there yet, and gets no name.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); and where there are several images and no name is given.
    pub fn image_of_layout(&self, folder: &Path, name: Option<&str>) -> Result<Image, Error> {
        let at = |(kind, source): Failure| failed("load", folder.display(), kind, source);
        let store = self.store()?;
        let lease = store.lease().map_err(|error| at(of_store(error)))?;
        let layout = Layout { folder };
        let entries = layout.entries(name).map_err(at)?;
        let [(_, entry), others @ ..] = entries.as_slice() else {
            return Err(at(not_runnable("there is no image in it")));
        };
        if others.iter().any(|(_, other)| other.digest != entry.digest) {
            let mut names = layout.index().map_err(at)?.manifests;
            let names = names.iter_mut().filter_map(|entry| entry.annotations.remove(NAME));
            // More would fill the terminal.
            let names: Vec<String> = names.take(20).collect();
            let names = names.join(", ").escape_debug().to_string();
            let reason = format!("it has several images: name one of {names}");
            return Err(at((ErrorKind::InvalidInput, reason.into())));
        }
        layout.copy(store, &lease, entry, &mut BTreeSet::new(), 0).map_err(at)?;
        let images = name_all(store, &[(None, entry.clone())]).map_err(at)?;
        images.into_iter().next().ok_or_else(|| at(not_runnable("there is no image in it")))
    }
}

/// Takes out again what came with something that is refused: it would only take room.
fn settled<T>(store: &Store, lease: Lease<'_>, loaded: Result<T, Failure>) -> Result<T, Failure> {
    if loaded.is_err() {
        // What cannot be removed now is of no name, and goes when the store is pruned.
        let _left_behind = store.withdraw(lease);
    }
    loaded
}

/// Finds out that each is a whole image, and only then gives them their names.
fn name_all(
    store: &Store,
    entries: &[(Option<Reference>, Descriptor)],
) -> Result<Vec<Image>, Failure> {
    for (name, entry) in entries {
        name.iter().try_for_each(|name| verify_digest(name, entry))?;
    }
    let images = entries.iter().map(|(name, entry)| image_of(store, name.clone(), entry.clone()));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    let named =
        entries.iter().map(|(name, entry)| (name.as_ref().map(Reference::to_string), entry));
    store.name_all(&named.collect::<Vec<_>>()).map_err(of_store)?;
    Ok(images)
}

/// The names of the images of a layout, as its `index.json` tells them.
fn entries_of(index: Index) -> Result<Vec<(Option<Reference>, Descriptor)>, Failure> {
    let named = index.manifests.into_iter().map(|mut entry| {
        let name = entry.annotations.get(FULL_NAME).or_else(|| entry.annotations.get(NAME));
        let name = name.map(|name| name.parse::<Reference>()).transpose().map_err(not_runnable)?;
        entry.annotations.clear();
        Ok((name, entry))
    });
    let entries = named.collect::<Result<Vec<_>, Failure>>()?;
    if entries.is_empty() {
        return Err(not_runnable("there is no image in it"));
    }
    Ok(entries)
}

/// A folder that somebody else wrote.
struct Layout<'a> {
    folder: &'a Path,
}

impl Layout<'_> {
    fn index(&self) -> Result<Index, Failure> {
        let bytes = read_small(&self.folder.join("index.json"))?;
        match Document::parse(&bytes).map_err(not_runnable)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(_) => Err(not_runnable("its `index.json` is not an index")),
        }
    }

    fn entries(&self, name: Option<&str>) -> Result<Vec<(Option<Reference>, Descriptor)>, Failure> {
        let mut index = self.index()?;
        if let Some(name) = name {
            index.manifests.retain(|entry| {
                [NAME, FULL_NAME]
                    .iter()
                    .any(|key| entry.annotations.get(*key).is_some_and(|found| found == name))
            });
            if index.manifests.is_empty() {
                let reason = format!("it has no image that is called `{}`", name.escape_debug());
                return Err((ErrorKind::NotFound, reason.into()));
            }
        }
        entries_of(index)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn blob(&self, digest: &Digest) -> Result<File, Failure> {
        files::open(&self.blob_path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_runnable(format!("it has no blob {digest}")),
            _ => unreadable(error),
        })
    }

    /// Copies all that an entry leads to, as far as it is there.
    fn copy(
        &self,
        store: &Store,
        lease: &Lease<'_>,
        entry: &Descriptor,
        copied: &mut BTreeSet<Digest>,
        depth: usize,
    ) -> Result<(), Failure> {
        if INDEX_DEPTH_MAX < depth {
            return Err(not_runnable("its indexes are nested too deep"));
        }
        if !copied.insert(entry.digest) {
            return Ok(());
        }
        let bytes = bounded(self.blob(&entry.digest)?, "a document of it")?;
        if Digest::of(&bytes) != entry.digest {
            let reason = format!("its document {} is not what its name says", entry.digest);
            return Err(not_runnable(reason));
        }
        match Document::parse(&bytes).map_err(not_runnable)? {
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let file = self.blob(&blob.digest)?;
                    ingest(store, lease, &blob.digest, blob.size, file)?;
                }
            }
            Document::Index(index) => {
                for inner in &index.manifests {
                    if self.blob_path(&inner.digest).exists() {
                        self.copy(store, lease, inner, copied, depth + 1)?;
                    }
                }
            }
        }
        store.add(lease, &bytes).map_err(of_store)?;
        Ok(())
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = files::open(path).map_err(|error| {
        let kind = unreadable(io::Error::from(error.kind())).0;
        (kind, format!("cannot read `{}`: {error}", path.display()).into())
    })?;
    bounded(file, "a document of it")
}

fn bounded(source: impl Read, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source.take(DOCUMENT_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if DOCUMENT_SIZE_MAX < bytes.len() as u64 {
        return Err(not_runnable(format!("{what} is larger than {} MiB", DOCUMENT_SIZE_MAX >> 20)));
    }
    Ok(bytes)
}

/// Puts a blob into the store, unless it is there.
fn ingest(
    store: &Store,
    lease: &Lease<'_>,
    digest: &Digest,
    size: u64,
    mut source: impl Read,
) -> Result<(), Failure> {
    lease.keep([*digest]).map_err(of_store)?;
    let Some(mut partial) = store.fetch(digest, size).map_err(of_store)? else { return Ok(()) };
    partial.restart().map_err(of_store)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = source.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        partial.write(&buffer[..count]).map_err(of_store)?;
    }
    partial.finish().map_err(of_store)
}

/// Puts a blob into the store of which the digest is not known.
fn keep_unknown(
    store: &Store,
    lease: &Lease<'_>,
    mut source: impl Read,
) -> Result<(Digest, u64), Failure> {
    let mut draft = store.draft().map_err(of_store)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = source.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return draft.finish(lease).map_err(of_store);
        }
        io::Write::write_all(&mut draft, &buffer[..count]).map_err(|source| {
            of_store(StoreError::File { what: "write", path: store.path().to_owned(), source })
        })?;
    }
}

/// What was in an archive.
#[derive(Default)]
struct Archive {
    /// The small files that say what the others are.
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// Files of docker's older form, by their paths.
    files: BTreeMap<String, (Digest, u64)>,
    /// Paths that lead to other paths.
    links: BTreeMap<String, String>,
}

/// An image in docker's older form.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    fn read(store: &Store, lease: &Lease<'_>, archive: impl Read) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut archive = io::BufReader::with_capacity(CHUNK, archive);
        let is_gzip = io::BufRead::fill_buf(&mut archive).map_err(unreadable)?;
        let is_gzip = is_gzip.starts_with(&[0x1f, 0x8b]);
        let taken = Cell::new(0);
        let plain: Box<dyn Read + '_> = if is_gzip {
            let packed = io::BufReader::with_capacity(CHUNK, Counted::new(archive, &taken));
            Box::new(Inflating::new(flate2::bufread::MultiGzDecoder::new(packed), &taken))
        } else {
            Box::new(archive)
        };
        let mut archive = tar::Archive::new(plain);
        let mut count = 0;
        for entry in archive.entries().map_err(unreadable)? {
            let entry = entry.map_err(|error| no_archive(&error, count))?;
            count += 1;
            if FILES_MAX < count {
                return Err(not_runnable(format!("it holds more than {FILES_MAX} files")));
            }
            found.take(store, lease, entry)?;
        }
        // Behind the last file there is filling, and the end of what is compressed, which tells
        // whether all of it came. Whoever writes into a pipe is heard out.
        let rest = &mut archive.into_inner().take(REST_MAX);
        io::copy(rest, &mut io::sink()).map_err(|error| no_archive(&error, count))?;
        Ok(found)
    }

    fn take(
        &mut self,
        store: &Store,
        lease: &Lease<'_>,
        entry: tar::Entry<'_, impl Read>,
    ) -> Result<(), Failure> {
        let text = |bytes: &[u8]| match str::from_utf8(bytes) {
            Ok(text) if text.len() <= PATH_MAX => Ok(text.trim_start_matches("./").to_owned()),
            _ => Err(not_runnable("it has a path that is too long, or not UTF-8")),
        };
        let path = text(&entry.path_bytes())?;
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = text(&target)?;
            let target = if kind.is_symlink() { beside(&path, &target) } else { Some(target) };
            self.links.extend(target.map(|target| (path, target)));
            return Ok(());
        }
        if !kind.is_file() {
            return Ok(());
        }
        let size = entry.size();
        room_for(store.path(), size).map_err(|reason| (ErrorKind::Exhausted, reason.into()))?;
        match path.as_str() {
            "index.json" => self.index = Some(bounded(entry, "its `index.json`")?),
            "manifest.json" => self.manifest = Some(bounded(entry, "its `manifest.json`")?),
            "oci-layout" | "repositories" => {}
            _ => {
                let found = if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                    let digest = format!("sha256:{hex}").parse().map_err(not_runnable)?;
                    ingest(store, lease, &digest, size, entry)?;
                    (digest, size)
                } else {
                    keep_unknown(store, lease, entry)?
                };
                self.files.insert(path, found);
            }
        }
        Ok(())
    }

    /// The images in it.
    fn entries(
        self,
        store: &Store,
        lease: &Lease<'_>,
    ) -> Result<Vec<(Option<Reference>, Descriptor)>, Failure> {
        if let Some(index) = &self.index {
            return match Document::parse(index).map_err(not_runnable)? {
                Document::Index(index) => entries_of(index),
                Document::Manifest(_) => Err(not_runnable("its `index.json` is not an index")),
            };
        }
        let Some(text) = &self.manifest else {
            return Err(not_runnable(
                "it is neither an OCI archive (it has no `index.json`) nor what `docker save` writes \
                 (it has no `manifest.json`)",
            ));
        };
        let saved: Vec<Saved> = serde_json::from_slice(text).map_err(|error| {
            not_runnable(format!("its `manifest.json` is none: {}", json_fault(&error)))
        })?;
        let mut entries = Vec::new();
        for image in saved {
            let blob = |path: &str, media_type| {
                let (digest, size) = self.find(path).ok_or_else(|| {
                    not_runnable(format!("it has no `{}`, which is named", path.escape_debug()))
                })?;
                Ok::<_, Failure>(Descriptor::new(media_type, digest, size))
            };
            let config = blob(&image.config, media::CONFIG)?;
            let layers = image.layers.iter().map(|path| blob(path, media::LAYER_TAR));
            let manifest = Manifest::new(config, layers.collect::<Result<_, _>>()?);
            let bytes = serde_json::to_vec(&manifest).map_err(not_runnable)?;
            let digest = store.add(lease, &bytes).map_err(of_store)?;
            let entry = Descriptor::new(media::MANIFEST, digest, bytes.len() as u64);
            let names = image.repo_tags.unwrap_or_default();
            let names: BTreeSet<Reference> = names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()
                .map_err(not_runnable)?;
            if names.is_empty() {
                entries.push((None, entry));
            } else {
                entries.extend(names.into_iter().map(|name| (Some(name), entry.clone())));
            }
        }
        if entries.is_empty() {
            return Err(not_runnable("there is no image in it"));
        }
        Ok(entries)
    }

    /// The file at a path, or where a link at it leads to.
    fn find(&self, path: &str) -> Option<(Digest, u64)> {
        const LINKS_MAX: usize = 8;
        let mut path = path;
        for _ in 0..LINKS_MAX {
            if let Some(found) = self.files.get(path) {
                return Some(*found);
            }
            path = self.links.get(path)?;
        }
        None
    }
}

/// Where a symbolic link at `path` to `target` leads to; nothing where it leads out.
fn beside(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
