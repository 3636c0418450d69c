//! The images of this host's store: found, listed, named and removed.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::content::NAME;
use crate::content::Pruned;
use crate::content::Store;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::error::Cause;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::CONFIG_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::INDEX_DEPTH_MAX;
use crate::image::Image;
use crate::image::MAGIC_SIZE;
use crate::image::NotAnImage;
use crate::image::Reference;
use crate::units::Bytes;

use super::runtime::Runtime;

/// An image of the store, as it is listed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its name; none where another image was given it, or another tool wrote what is no name here.
    pub name: Option<Reference>,
    /// The digest of what the name leads to.
    pub digest: Digest,
    /// What it is, where that can be told.
    pub image: Result<Image, Error>,
}

/// What was removed because nothing uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freed {
    /// How many blobs were removed from the store.
    pub blobs: u64,
    /// How much room they took.
    pub bytes: Bytes,
}

impl From<Pruned> for Freed {
    fn from(pruned: Pruned) -> Self {
        Self { blobs: pruned.blobs, bytes: Bytes::new(pruned.bytes) }
    }
}

/// The failure of a verb at an image.
pub(super) fn failed(
    doing: &'static str,
    what: impl fmt::Display,
    kind: ErrorKind,
    source: impl Into<Cause>,
) -> Error {
    Error::Image { doing, what: what.to_string(), kind, source: source.into() }
}

/// Of what kind a failure of the store is.
pub(super) fn kind_of(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Folder(_) | StoreError::Layout { .. } | StoreError::Names => {
            ErrorKind::Unavailable
        }
        StoreError::File { source, .. } => match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::Exhausted
            }
            _ => ErrorKind::Unavailable,
        },
        // What is there has a name that leads to it: an image that lacks something is broken.
        StoreError::Missing { .. } | StoreError::Broken { .. } => ErrorKind::NotRunnable,
    }
}

/// The failure of the store in a verb.
pub(super) fn at_store(
    doing: &'static str,
    what: impl fmt::Display,
) -> impl Fn(StoreError) -> Error {
    let what = what.to_string();
    move |error| failed(doing, &what, kind_of(&error), error)
}

impl Runtime {
    /// The folder for images and all that is made of them.
    pub(super) fn data(&self) -> Result<&Path, Error> {
        self.inner.settings.data.as_deref().ok_or_else(|| {
            let source = "this runtime was opened without a folder for them";
            failed("look for", "images", ErrorKind::InvalidInput, source)
        })
    }

    /// The store of images.
    pub(super) fn store(&self) -> Result<&Store, Error> {
        if let Some(store) = self.inner.store.get() {
            return Ok(store);
        }
        let data = self.data()?;
        let path = data.join("content");
        let store = Store::open(&path).map_err(at_store("open the store", path.display()))?;
        Ok(self.inner.store.get_or_init(|| store))
    }

    /// The image of the store that has this name.
    ///
    /// # Errors
    ///
    /// Fails where there is none, or it cannot be run here.
    pub fn image(&self, reference: &Reference) -> Result<Image, Error> {
        const DOING: &str = "find the image";
        let store = self.store()?;
        let entry = find(store, reference).ok_or_else(|| {
            failed(DOING, reference, ErrorKind::NotFound, "the store has no such image")
        })?;
        image_of(store, Some(reference.clone()), entry)
            .map_err(|(kind, source)| failed(DOING, reference, kind, source))
    }

    /// All images of the store, by their names.
    ///
    /// # Errors
    ///
    /// Fails where there is no store. An image that is broken is listed as such.
    pub fn images(&self) -> Result<Vec<Listed>, Error> {
        let store = self.store()?;
        let entries = store.index().manifests.into_iter().map(|entry| {
            let text = entry.annotations.get(NAME);
            let name: Option<Reference> = text.and_then(|name| name.parse().ok());
            let digest = entry.digest;
            let image = image_of(store, name.clone(), entry)
                .map_err(|(kind, source)| failed("read the image", digest, kind, source));
            Listed { name, digest, image }
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Gives an image one more name. Where another image has it, it loses it.
    ///
    /// # Errors
    ///
    /// Fails where part of the image is missing, or the store cannot be written.
    pub fn tag(&self, image: &Image, reference: &Reference) -> Result<(), Error> {
        verify_digest(reference, &image.named)
            .map_err(|(kind, source)| failed("give the name", reference, kind, source))?;
        let named = self.store()?.name(Some(&reference.to_string()), &image.named);
        named.map_err(at_store("give the name", reference))
    }

    /// Takes a name away, and removes what then nothing leads to.
    ///
    /// # Errors
    ///
    /// Fails where no image has the name, or the store cannot be written.
    pub fn remove_image(&self, reference: &Reference) -> Result<Freed, Error> {
        const DOING: &str = "remove the image";
        let store = self.store()?;
        if !store.unname(&reference.to_string()).map_err(at_store(DOING, reference))? {
            let reason = "the store has no such image";
            return Err(failed(DOING, reference, ErrorKind::NotFound, reason));
        }
        let freed = store.prune().map_err(at_store(DOING, reference))?;
        self.prune_roots()?;
        Ok(freed.into())
    }

    /// Removes what no name leads to: images whose names others were given, and what was left
    /// behind by downloads. What is being pulled or loaded at the moment stays.
    ///
    /// # Errors
    ///
    /// Fails where the store cannot be written.
    pub fn prune_images(&self) -> Result<Freed, Error> {
        let store = self.store()?;
        let pruned = store.forget_nameless().and_then(|()| store.prune());
        let freed = pruned.map_err(at_store("prune the store", store.path().display()))?;
        self.prune_roots()?;
        Ok(freed.into())
    }
}

/// Refuses a name with a digest for what has another one.
pub(super) fn verify_digest(name: &Reference, entry: &Descriptor) -> Result<(), Failure> {
    match name.digest() {
        Some(digest) if digest != entry.digest => {
            let reason =
                format!("its digest is {}, and not the one in the name `{name}`", entry.digest);
            Err((ErrorKind::InvalidInput, reason.into()))
        }
        _ => Ok(()),
    }
}

/// The entry that a reference leads to.
fn find(store: &Store, reference: &Reference) -> Option<Descriptor> {
    let entries = store.index().manifests;
    let name = reference.to_string();
    // Whoever writes to the folder beside us could give a name with a digest to something else.
    let found = entries.iter().rfind(|entry| {
        entry.annotations.get(NAME) == Some(&name) && verify_digest(reference, entry).is_ok()
    });
    if let Some(found) = found {
        return Some(found.clone());
    }
    // By its digest, an image is the same whatever it is called, and though it has no name.
    let digest = reference.digest()?;
    entries.into_iter().find(|entry| entry.digest == digest)
}

pub(super) type Failure = (ErrorKind, Cause);

/// The image that an entry leads to: of several platforms, the one that suits best.
pub(super) fn image_of(
    store: &Store,
    name: Option<Reference>,
    named: Descriptor,
) -> Result<Image, Failure> {
    let of_store = |error: StoreError| (kind_of(&error), error.into());
    let not_runnable = |error: NotAnImage| (ErrorKind::NotRunnable, error.into());
    let mut described = named.clone();
    for _ in 0..=INDEX_DEPTH_MAX {
        sized(store, &described).map_err(of_store)?;
        match store.document(&described.digest).map_err(of_store)? {
            Document::Manifest(manifest) => {
                sized(store, &manifest.config).map_err(of_store)?;
                let config = store.read(&manifest.config.digest, CONFIG_SIZE_MAX);
                let config = config.map_err(of_store)?;
                return Image::new(name, (named, described), &manifest, &config, |layer| {
                    start_of(store, layer)
                })
                .map_err(not_runnable);
            }
            Document::Index(index) => {
                let count = index.manifests.len();
                let here = index.manifests.into_iter().filter(|entry| store.has(&entry.digest));
                let none = || not_runnable(NotAnImage::Platform { count });
                described = best_of(here).ok_or_else(none)?;
            }
        }
    }
    Err((ErrorKind::NotRunnable, "its indexes are nested too deep".into()))
}

/// Which of the entries of an index suits this host best.
pub(super) fn best_of(entries: impl Iterator<Item = Descriptor>) -> Option<Descriptor> {
    let images = entries.filter(|entry| entry.artifact_type.is_none());
    let ranked = images.filter_map(|entry| match &entry.platform {
        Some(platform) => Some((platform.rank()?, entry)),
        None => Some((u32::MAX, entry)),
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

/// Fails unless a blob has the size that it is said to have.
fn sized(store: &Store, blob: &Descriptor) -> Result<(), StoreError> {
    let (digest, said) = (blob.digest, blob.size);
    let path = store.blob_path(&digest);
    let metadata = store.blob(&digest)?.metadata();
    let size = metadata.map_err(|source| StoreError::File { what: "read", path, source })?.len();
    if size != said {
        let reason = format!("it has {size} bytes, and {said} bytes are expected");
        return Err(StoreError::Broken { digest, reason });
    }
    Ok(())
}

/// The first bytes of a layer.
fn start_of(store: &Store, layer: &Descriptor) -> Result<Vec<u8>, StoreError> {
    sized(store, layer)?;
    let mut start = Vec::with_capacity(MAGIC_SIZE);
    let file = store.blob(&layer.digest)?;
    file.take(MAGIC_SIZE as u64).read_to_end(&mut start).map_err(|source| StoreError::File {
        what: "read",
        path: store.blob_path(&layer.digest),
        source,
    })?;
    Ok(start)
}
