//! Images from the store to a registry.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;

use crate::content::Store;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::Image;
use crate::image::Reference;
use crate::registry::Client;

use super::images::at_store;
use super::images::failed;
use super::pull::AT_ONCE;
use super::pull::Progress;
use super::pull::Told;
use super::registries::Registries;
use super::registries::at_registry;
use super::runtime::Runtime;

/// How deep indexes may be nested.
const DEPTH_MAX: usize = 4;

impl Runtime {
    /// Sends an image to a registry under a name: all its platforms, as far as they are in the store.
    /// What the registry has already is not sent. `told` is told of each blob that is there.
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
        const DOING: &str = "push the image";
        if to.registry().is_none() {
            let reason = "it names no registry: give it a whole name with `aril tag`, such as \
                          `registry.example/team/app:1`";
            return Err(failed(DOING, to, ErrorKind::InvalidInput, reason));
        }
        let store = self.store()?;
        let _held = store.hold([image.named.digest]).map_err(at_store(DOING, to))?;
        let send = Send { store, client: registries.client(), to, told: &told };
        send.document(&image.named, true, 0).await
    }
}

/// One push.
struct Send<'a> {
    store: &'a Store,
    client: Client,
    to: &'a Reference,
    told: Told<'a>,
}

impl Send<'_> {
    /// Sends a manifest or an index, and all that it leads to before it.
    async fn document(&self, entry: &Descriptor, named: bool, depth: usize) -> Result<(), Error> {
        const DOING: &str = "push the image";
        if DEPTH_MAX < depth {
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
        let to = if named { self.to.clone() } else { self.to.with_digest(entry.digest) };
        let taken = self.client.push_manifest(&to, document.media_type(), &bytes).await;
        taken.map(|_| ()).map_err(|error| at_registry(DOING, self.to, error))
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let (store, digest) = (self.store.clone(), blob.digest);
        let open = move || {
            let file = store.blob(&digest).map_err(std::io::Error::other)?;
            Ok(tokio::fs::File::from_std(file))
        };
        let sent = self.client.push_blob(self.to, blob, None, open).await;
        sent.map_err(|error| at_registry("push the image", self.to, error))?;
        (self.told)(Progress { digest: blob.digest, done: blob.size, size: blob.size });
        Ok(())
    }
}
