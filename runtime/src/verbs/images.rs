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

/// What was removed because somebody said so, and what with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Removed {
    /// For each that was to be removed, in order: the name that was taken away, or the digest of what
    /// had none; or why it was not.
    pub names: Vec<Result<String, Error>>,
    /// What nothing leads to any more.
    pub freed: Freed,
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

    /// The image of the store that has this name, or else the one of which the digest begins so: at
    /// least 4 of its digits, with or without `sha256:` before them.
    ///
    /// # Errors
    ///
    /// Fails where there is none, where the digests of several begin so, and where it cannot be run
    /// here.
    pub fn image(&self, reference: &Reference) -> Result<Image, Error> {
        const DOING: &str = "find the image";
        let store = self.store()?;
        let failed = |(kind, source): Failure| failed(DOING, reference, kind, source);
        let (name, entry) = find(&store.index().manifests, reference).map_err(failed)?;
        image_of(store, name, entry).map_err(failed)
    }

    /// All images of the store, by their names.
    ///
    /// # Errors
    ///
    /// Fails where there is no store. An image that is broken is listed as such.
    pub fn images(&self) -> Result<Vec<Listed>, Error> {
        let store = self.store()?;
        let entries = store.index().manifests.into_iter().map(|entry| {
            let name = name_of(&entry);
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

    /// Takes a name away, or what [`image`](Self::image) finds by its digest, and removes what then
    /// nothing leads to.
    ///
    /// # Errors
    ///
    /// Fails where no image has the name, where it is a digest and the image has several names, and
    /// where the store cannot be written.
    pub fn remove_image(&self, reference: &Reference) -> Result<Freed, Error> {
        let removed = self.remove_images(std::slice::from_ref(reference))?;
        removed.names.into_iter().try_for_each(|name| name.map(drop))?;
        Ok(removed.freed)
    }

    /// Does the same with several: what nothing leads to is looked for once.
    ///
    /// # Errors
    ///
    /// Fails where the store cannot be written; then all of it is as it was, or only some of what
    /// nothing leads to is left.
    pub fn remove_images(&self, references: &[Reference]) -> Result<Removed, Error> {
        const DOING: &str = "remove the image";
        let store = self.store()?;
        let mut entries = store.index().manifests;
        let (mut names, mut gone) = (Vec::new(), Vec::new());
        for reference in references {
            names.push(match find_alone(&entries, reference) {
                Ok((name, entry)) => {
                    let own = entry.annotations.get(NAME);
                    // Others may have written the same name twice.
                    gone.extend(entries.extract_if(.., |other| {
                        *other == entry || own.is_some() && other.annotations.get(NAME) == own
                    }));
                    Ok(name.map_or_else(|| entry.digest.to_string(), |name| name.to_string()))
                }
                Err((kind, source)) => Err(failed(DOING, reference, kind, source)),
            });
        }
        let mut freed = Pruned::default();
        if let [first, ..] = references
            && !gone.is_empty()
        {
            let at = at_store(DOING, first);
            freed = store.remove(&gone).and_then(|()| store.prune()).map_err(at)?;
            self.prune_roots()?;
        }
        Ok(Removed { names, freed: freed.into() })
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

/// The entry that a reference leads to, and its name.
fn find(
    entries: &[Descriptor],
    reference: &Reference,
) -> Result<(Option<Reference>, Descriptor), Failure> {
    let name = reference.to_string();
    // Whoever writes to the folder beside us could give a name with a digest to something else.
    let found = entries.iter().rfind(|entry| {
        entry.annotations.get(NAME) == Some(&name) && verify_digest(reference, entry).is_ok()
    });
    // By its digest, an image is the same whatever it is called, and though it has no name.
    let by_digest = || entries.iter().find(|entry| Some(entry.digest) == reference.digest());
    if let Some(found) = found.or_else(by_digest) {
        return Ok((Some(reference.clone()), found.clone()));
    }
    let none = || (ErrorKind::NotFound, "the store has no such image".into());
    let start = reference.id().ok_or_else(none)?;
    let mut begin_so = entries.iter().filter(|entry| entry.digest.hex().starts_with(start));
    let found = begin_so.next().ok_or_else(none)?;
    match begin_so.find(|other| other.digest != found.digest) {
        Some(other) => {
            let reason = format!(
                "the digests of several images begin so, {} and {} among them: write more of the one \
                 that is meant",
                found.digest, other.digest
            );
            Err((ErrorKind::InvalidInput, reason.into()))
        }
        None => Ok((name_of(found), found.clone())),
    }
}

/// The same, of which it is clear that nothing else is meant as well.
fn find_alone(
    entries: &[Descriptor],
    reference: &Reference,
) -> Result<(Option<Reference>, Descriptor), Failure> {
    let (name, found) = find(entries, reference)?;
    if found.annotations.get(NAME) == Some(&reference.to_string()) {
        return Ok((name, found));
    }
    let same = entries.iter().filter(|entry| entry.digest == found.digest);
    let names: Vec<String> = same.filter_map(name_of).map(|name| name.to_string()).collect();
    match names.as_slice() {
        [] | [_] => Ok((name_of(&found), found)),
        names => {
            let reason = format!("it has several names: remove {}", names.join(", "));
            Err((ErrorKind::InvalidInput, reason.into()))
        }
    }
}

/// What an entry is called, if that is a name here.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    entry.annotations.get(NAME)?.parse().ok()
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
