//! Images from a registry into the store.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use tracing::Instrument as _;

use crate::content::Lease;
use crate::content::Partial;
use crate::content::Store;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::CONFIG_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::INDEX_DEPTH_MAX;
use crate::image::Image;
use crate::image::Manifest;
use crate::image::NotAnImage;
use crate::image::Reference;
use crate::registry::Client;
use crate::registry::Sink;

use super::images::Failure;
use super::images::at_store;
use super::images::best_of;
use super::images::failed;
use super::images::image_of;
use super::registries::Registries;
use super::registries::at_registry;
use super::runtime::Runtime;
use super::spans;
use super::verify;
use super::verify::Demand;

/// How many of an image's other platforms are looked at.
const OTHERS_MAX: usize = 8;

/// How many blobs are fetched or sent at the same time: as many as docker does.
pub(super) const AT_ONCE: usize = 3;

/// How far a blob is, as it is fetched or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Which blob.
    pub digest: Digest,
    /// How many of its bytes are where they should be.
    pub done: u64,
    /// How many bytes it has.
    pub size: u64,
}

/// Who is told how far a blob is.
pub(super) type Told<'a> = &'a (dyn Fn(Progress) + Sync);

impl Runtime {
    /// Fetches an image from its registry: of several platforms, the one that suits this host best.
    /// What is in the store already is not fetched again, and a download that broke is gone on with.
    /// `told` is told how far each blob is.
    ///
    /// # Errors
    ///
    /// Fails where the registry cannot be reached, does not let this user, has no such image, or sends
    /// what is not what it should be; where the policy does not let the image; and where the store
    /// cannot be written. Nothing is named then that was not named before.
    pub async fn pull(
        &self,
        reference: &Reference,
        registries: &Registries,
        told: impl Fn(Progress) + Sync,
    ) -> Result<Image, Error> {
        let span = spans::pull(reference);
        let pulled = self.pull_told(reference, registries, told).instrument(span.clone()).await;
        spans::noted_image(&span, pulled)
    }

    async fn pull_told(
        &self,
        reference: &Reference,
        registries: &Registries,
        told: impl Fn(Progress) + Sync,
    ) -> Result<Image, Error> {
        const DOING: &str = "pull the image";
        if reference.registry().is_none() {
            let reason = "it names no registry: images are pulled by their whole name, such as \
                          `registry.example/team/app:1`";
            return Err(failed(DOING, reference, ErrorKind::InvalidInput, reason));
        }
        let demand = verify::demand(&registries.policy, reference)?;
        let store = self.store()?;
        let lease = store.lease().map_err(at_store(DOING, reference))?;
        let client = registries.client();
        let fetch = Fetch { store, lease: &lease, client, reference, demand, told: &told };
        let named = fetch.image().await?;
        let image = image_of(store, Some(reference.clone()), named.clone())
            .map_err(|(kind, source): Failure| failed(DOING, reference, kind, source))?;
        store.name(Some(&reference.to_string()), &named).map_err(at_store(DOING, reference))?;
        Ok(image)
    }
}

/// One pull.
struct Fetch<'a> {
    store: &'a Store,
    lease: &'a Lease<'a>,
    client: Client,
    reference: &'a Reference,
    demand: Demand<'a>,
    told: Told<'a>,
}

impl Fetch<'_> {
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, Error> {
        result.map_err(at_store("pull the image", self.reference))
    }

    fn not_runnable(&self, reason: impl Into<crate::error::Cause>) -> Error {
        failed("pull the image", self.reference, ErrorKind::NotRunnable, reason)
    }

    /// Fetches all that is needed of the image, and says what its name leads to.
    async fn image(&self) -> Result<Descriptor, Error> {
        let (named, bytes) = self.document(self.reference).await?;
        let (mut digest, mut bytes) = (named.digest, bytes);
        let mut chain = vec![digest];
        let mut documents = vec![named];
        let mut others = Vec::new();
        for _ in 0..=INDEX_DEPTH_MAX {
            let document = Document::parse(&bytes).map_err(|error| self.not_runnable(error))?;
            match document {
                Document::Manifest(manifest) => {
                    let signed =
                        verify::verify(&self.client, self.reference, &self.demand, &chain).await?;
                    self.blobs(&manifest).await?;
                    // Of an index that nobody signed, neither the name nor what it lists is kept.
                    if signed + 1 < chain.len() {
                        self.others(&others, &manifest).await?;
                    }
                    return Ok(documents.swap_remove(signed));
                }
                Document::Index(index) => {
                    let count = index.manifests.len();
                    let best = best_of(index.manifests.iter().cloned());
                    let none = || self.not_runnable(NotAnImage::Platform { count });
                    let best = best.ok_or_else(none)?;
                    others = if is_for_wasm(&best) { index.manifests } else { Vec::new() };
                    digest = match best.digest {
                        inner if inner == digest => {
                            return Err(self.not_runnable("it leads to itself"));
                        }
                        inner => inner,
                    };
                    chain.push(digest);
                    let (document, inner) =
                        self.document(&self.reference.with_digest(digest)).await?;
                    documents.push(document);
                    bytes = inner;
                }
            }
        }
        Err(self.not_runnable("its indexes are nested too deep"))
    }

    /// Keeps what the index has for other platforms, as far as it is made of the same layers, as in
    /// the images that are built here: so the image is whole for others who read the store, and can
    /// be sent on. What of it cannot be had is not needed here.
    async fn others(&self, others: &[Descriptor], chosen: &Manifest) -> Result<(), Error> {
        let has = |layer: &Descriptor| chosen.layers.iter().any(|own| own.digest == layer.digest);
        let others = others.iter().filter(|entry| entry.artifact_type.is_none());
        for entry in others.take(OTHERS_MAX) {
            let kept = self.store.read(&entry.digest, crate::image::DOCUMENT_SIZE_MAX);
            let bytes = if let Ok(bytes) = kept {
                bytes
            } else {
                let reference = self.reference.with_digest(entry.digest);
                let Ok((_, bytes)) = self.client.manifest(&reference).await else { continue };
                bytes
            };
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else { continue };
            let config = &manifest.config;
            if !manifest.layers.iter().all(has) || CONFIG_SIZE_MAX < config.size {
                continue;
            }
            self.stored(self.lease.keep([config.digest]))?;
            if self.blob(config).await.is_ok() {
                self.stored(self.store.add(self.lease, &bytes))?;
            }
        }
        Ok(())
    }

    /// Fetches a manifest or an index, and keeps it.
    async fn document(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), Error> {
        if let Some(digest) = reference.digest()
            && let Ok(bytes) = self.store.read(&digest, crate::image::DOCUMENT_SIZE_MAX)
            && let Ok(document) = Document::parse(&bytes)
        {
            // It is known by its digest, and so cannot have changed.
            self.stored(self.lease.keep([digest]))?;
            let size = bytes.len() as u64;
            return Ok((Descriptor::new(document.media_type(), digest, size), bytes));
        }
        let found = self.client.manifest(reference).await;
        let (descriptor, bytes) =
            found.map_err(|error| at_registry("pull the image", self.reference, error))?;
        self.stored(self.store.add(self.lease, &bytes))?;
        Ok((descriptor, bytes))
    }

    /// Fetches the blobs of a manifest.
    async fn blobs(&self, manifest: &Manifest) -> Result<(), Error> {
        if CONFIG_SIZE_MAX < manifest.config.size {
            let size = manifest.config.size;
            return Err(self.not_runnable(format!("its configuration would have {size} bytes")));
        }
        let all: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
        self.stored(self.lease.keep(all.iter().map(|blob| blob.digest)))?;
        stream::iter(all)
            .map(|blob| self.blob(blob))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let done = |done| (self.told)(Progress { digest: blob.digest, done, size: blob.size });
        let (store, digest, size) = (self.store.clone(), blob.digest, blob.size);
        // Somebody else may be fetching the same.
        let partial = apart(move || store.fetch(&digest, size)).await;
        let Some(partial) = self.stored(partial)? else {
            done(size);
            return Ok(());
        };
        done(partial.written());
        let mut arriving = Arriving { partial, done: &done };
        let fetched = self.client.blob(self.reference, blob, &mut arriving).await;
        fetched.map_err(|error| at_registry("pull the image", self.reference, error))?;
        let partial = arriving.partial;
        self.stored(apart(move || partial.finish()).await)
    }
}

/// Whether an entry of an index is for a platform that is wasm.
fn is_for_wasm(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(|platform| platform.architecture.starts_with("wasm"))
}

/// Does what waits for the disk on a thread that may.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// A blob that arrives.
struct Arriving<'a> {
    partial: Partial,
    done: &'a (dyn Fn(u64) + Sync),
}

impl Sink for Arriving<'_> {
    type Error = StoreError;

    fn written(&self) -> u64 {
        self.partial.written()
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        self.partial.restart()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.partial.write(bytes)?;
        (self.done)(self.partial.written());
        Ok(())
    }

    fn is_right(&self) -> bool {
        self.partial.is_right()
    }
}
