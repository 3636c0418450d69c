//! Images from the store to a registry.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use tracing::Instrument as _;

use crate::content::NAME;
use crate::content::Store;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::INDEX_DEPTH_MAX;
use crate::image::Image;
use crate::image::Reference;
use crate::registry::Client;
use crate::trust::SigningKey;

use super::images::at_store;
use super::images::failed;
use super::pull::AT_ONCE;
use super::pull::Progress;
use super::pull::Told;
use super::registries::Registries;
use super::registries::at_registry;
use super::runtime::Runtime;
use super::sign::sign;
use super::spans;

/// The most names of the store that are looked through for blobs that the registry may have: the
/// latest ones.
const NEARBY_MAX: usize = 64;

impl Runtime {
    /// Sends an image to a registry under a name: all its platforms, as far as they are in the store.
    /// What the registry has already is not sent: neither what is in the repository, nor what is in
    /// another one of it under a name that the store has as well. `told` is told of each blob that is there.
    ///
    /// Where there is a key to sign by, signatures are there before the name leads to the image: of what
    /// it leads to, and of the manifest for each platform, under this name. They are kept as cosign,
    /// podman and skopeo look for them, and beside those that are there.
    ///
    /// # Errors
    ///
    /// Fails where part of the image is missing here, and where the registry cannot be reached or does
    /// not let this user.
    pub async fn push(
        &self,
        image: &Image,
        to: &Reference,
        registries: &Registries,
        told: impl Fn(Progress) + Sync,
    ) -> Result<(), Error> {
        let span = spans::push(image, to);
        let pushed = self.push_told(image, to, registries, told).instrument(span.clone()).await;
        spans::noted(&span, pushed)
    }

    async fn push_told(
        &self,
        image: &Image,
        to: &Reference,
        registries: &Registries,
        told: impl Fn(Progress) + Sync,
    ) -> Result<(), Error> {
        const DOING: &str = "push the image";
        if to.registry().is_none() {
            let reason = "it names no registry: give it a whole name with `aril tag`, such as \
                          `registry.example/team/app:1`";
            return Err(failed(DOING, to, ErrorKind::InvalidInput, reason));
        }
        let store = self.store()?;
        let _held = store.hold([image.named.digest]).map_err(at_store(DOING, to))?;
        let nearby = nearby(store, to);
        let (client, signing) = (registries.client(), registries.signing.as_ref());
        let send = Send { store, client, to, nearby, signing, told: &told };
        send.document(&image.named, true, 0).await
    }
}

/// One push.
struct Send<'a> {
    store: &'a Store,
    client: Client,
    to: &'a Reference,
    /// In which other repository of the registry a blob may be.
    nearby: BTreeMap<Digest, Reference>,
    signing: Option<&'a SigningKey>,
    told: Told<'a>,
}

/// The blobs that may be in other repositories of the registry, as far as the names of the store
/// tell. Whether one is there only the registry knows, and it is asked no more often for it.
fn nearby(store: &Store, to: &Reference) -> BTreeMap<Digest, Reference> {
    let entries = store.index().manifests.into_iter().rev();
    let named = entries.filter_map(|entry| {
        let name: Reference = entry.annotations.get(NAME)?.parse().ok()?;
        let is_near = name.registry() == to.registry() && name.repository() != to.repository();
        is_near.then_some((name, entry))
    });
    let mut nearby = BTreeMap::new();
    for (name, entry) in named.take(NEARBY_MAX) {
        let mut reached = BTreeSet::new();
        // Of an image that is broken here, what can be reached may be there all the same.
        let _broken = store.reach(&entry, &mut reached, 0);
        for digest in reached {
            nearby.entry(digest).or_insert_with(|| name.clone());
        }
    }
    nearby
}

impl Send<'_> {
    /// Sends a manifest or an index, and all that it leads to before it.
    async fn document(&self, entry: &Descriptor, named: bool, depth: usize) -> Result<(), Error> {
        const DOING: &str = "push the image";
        if INDEX_DEPTH_MAX < depth {
            let reason = "its indexes are nested too deep";
            return Err(failed(DOING, self.to, ErrorKind::NotRunnable, reason));
        }
        let bytes = self.store.read(&entry.digest, crate::image::DOCUMENT_SIZE_MAX);
        let bytes = bytes.map_err(at_store(DOING, self.to))?;
        let document = Document::parse(&bytes)
            .map_err(|error| failed(DOING, self.to, ErrorKind::NotRunnable, error))?;
        match &document {
            Document::Manifest(manifest) => {
                stream::iter(manifest.layers.iter().chain([&manifest.config]))
                    .map(|blob| self.blob(blob))
                    .buffer_unordered(AT_ONCE)
                    .try_collect::<()>()
                    .await?;
            }
            Document::Index(index) => {
                for inner in &index.manifests {
                    if !self.store.has(&inner.digest) {
                        // A registry takes no index that leads to what it does not have.
                        let reason = format!(
                            "its image for another platform, {}, is not in the store",
                            inner.digest
                        );
                        return Err(failed(DOING, self.to, ErrorKind::NotFound, reason));
                    }
                    Box::pin(self.document(inner, false, depth + 1)).await?;
                }
            }
        }
        let by_digest = self.to.with_digest(entry.digest);
        if self.signing.is_some() || !named {
            self.manifest(&by_digest, document.media_type(), &bytes).await?;
        }
        if let Some(key) = self.signing {
            // Those of each platform too: podman and skopeo look at them, and not at the index.
            let signed = Descriptor::new(document.media_type(), entry.digest, bytes.len() as u64);
            sign(&self.client, self.to, &signed, key).await?;
        }
        if named {
            self.manifest(self.to, document.media_type(), &bytes).await?;
        }
        Ok(())
    }

    async fn manifest(&self, to: &Reference, kind: &str, bytes: &[u8]) -> Result<(), Error> {
        let taken = self.client.push_manifest(to, kind, bytes).await;
        taken.map(|_| ()).map_err(|error| at_registry("push the image", self.to, error))
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let (store, digest) = (self.store.clone(), blob.digest);
        let open = move || {
            let file = store.blob(&digest).map_err(std::io::Error::other)?;
            Ok(tokio::fs::File::from_std(file))
        };
        let sent = self.client.push_blob(self.to, blob, self.nearby.get(&digest), open).await;
        sent.map_err(|error| at_registry("push the image", self.to, error))?;
        (self.told)(Progress { digest: blob.digest, done: blob.size, size: blob.size });
        Ok(())
    }
}
