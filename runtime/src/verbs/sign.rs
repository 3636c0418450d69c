//! A signature for an image that is pushed.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::ENTRIES_MAX;
use crate::image::Index;
use crate::image::Manifest;
use crate::image::Reference;
use crate::image::media;
use crate::registry::Client;
use crate::registry::RegistryError;
use crate::registry::referrers_tag;
use crate::trust::Payload;
use crate::trust::SIGNATURE_ANNOTATION;
use crate::trust::SIGNATURES;
use crate::trust::SIMPLE_SIGNING;
use crate::trust::SigningKey;

use super::images::failed;
use super::registries::at_registry;
use super::verify::signatures_tag;

const DOING: &str = "sign the image";

/// Says, by a key, that `signed` is what `to` names, and keeps that with it.
///
/// It is one manifest for all readers: cosign, podman and skopeo look for it under a tag, others in
/// the list of what refers to the image. The signatures that are there stay in it. Two that sign at
/// the same moment may lose one of both: a registry has no way to change a tag only if
/// it is what it was.
pub(super) async fn sign(
    client: &Client,
    to: &Reference,
    signed: &Descriptor,
    key: &SigningKey,
) -> Result<(), Error> {
    let broken = |error: RegistryError| at_registry(DOING, to, error);
    let refused = |reason: String| failed(DOING, to, ErrorKind::NotRunnable, reason);
    let tag = signatures_tag(signed.digest);
    let (old, mut layers) = match client.tagged(to, &tag).await.map_err(broken)? {
        None => (None, Vec::new()),
        Some((old, Document::Manifest(manifest))) => (Some(old), manifest.layers),
        Some((_, Document::Index(_))) => {
            let reason = format!("its registry has something else than signatures under `{tag}`");
            return Err(refused(reason));
        }
    };
    let payload = Payload::bytes(to, signed.digest);
    let mut layer = Descriptor::of(SIMPLE_SIGNING, &payload);
    let is_there = |layer: &&Descriptor| {
        let known = layer.annotations.get(SIGNATURE_ANNOTATION);
        let known = known.and_then(|signature| STANDARD.decode(signature).ok());
        known.is_some_and(|signature| key.has_signed(&payload, &signature))
    };
    if layers.iter().filter(|old| old.digest == layer.digest).any(|old| is_there(&old)) {
        return Ok(());
    }
    if ENTRIES_MAX <= layers.len() {
        return Err(refused(format!("it has {} signatures already", layers.len())));
    }
    let signature = key.sign(&payload);
    let signature = signature.map_err(|error| failed(DOING, to, ErrorKind::Internal, error))?;
    layer.annotations.insert(SIGNATURE_ANNOTATION.to_owned(), STANDARD.encode(signature));
    layers.push(layer.clone());

    // As others write it, and read it before they add to it.
    let contents: Vec<_> = layers.iter().map(|layer| layer.digest).collect();
    let config = serde_json::json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": { "type": "layers", "diff_ids": contents },
    });
    let config = config.to_string().into_bytes();
    let described = Descriptor::of(media::CONFIG, &config);
    let mut manifest = Manifest::new(described.clone(), layers);
    manifest.artifact_type = Some(SIGNATURES.to_owned());
    manifest.subject = Some(signed.clone());
    for (descriptor, bytes) in [(&layer, payload), (&described, config)] {
        let open = || Ok(Cursor::new(bytes.clone()));
        client.push_blob(to, descriptor, None, open).await.map_err(broken)?;
    }
    let bytes = json(&manifest, to)?;
    let Some(at) = to.with_tag(&tag) else { return Err(refused(format!("`{tag}` is no tag"))) };
    let taken = client.push_manifest(&at, media::MANIFEST, &bytes).await.map_err(broken)?;
    if taken.knows_subject {
        return Ok(());
    }
    let mut entry = Descriptor::of(media::MANIFEST, &bytes);
    entry.artifact_type = Some(SIGNATURES.to_owned());
    list(client, to, signed, entry, old).await
}

/// Adds to the list of what refers to an image, where its registry keeps none itself, in the place of
/// what it replaces. Source: OCI distribution specification 1.1.1, "Referrers Tag Schema".
async fn list(
    client: &Client,
    to: &Reference,
    signed: &Descriptor,
    entry: Descriptor,
    old: Option<Descriptor>,
) -> Result<(), Error> {
    let broken = |error: RegistryError| at_registry(DOING, to, error);
    let refused = |reason: String| failed(DOING, to, ErrorKind::NotRunnable, reason);
    let tag = referrers_tag(&signed.digest);
    let mut entries = match client.tagged(to, &tag).await.map_err(broken)? {
        None => Vec::new(),
        Some((_, Document::Index(index))) => index.manifests,
        Some((_, Document::Manifest(_))) => {
            return Err(refused(format!(
                "its registry has something else than a list under `{tag}`"
            )));
        }
    };
    entries.retain(|known| known.digest != entry.digest);
    entries.retain(|known| old.as_ref().is_none_or(|old| known.digest != old.digest));
    if ENTRIES_MAX <= entries.len() {
        return Err(refused(format!("{} things refer to it already", entries.len())));
    }
    entries.push(entry);
    let bytes = json(&Index::new(entries), to)?;
    let Some(at) = to.with_tag(&tag) else { return Err(refused(format!("`{tag}` is no tag"))) };
    client.push_manifest(&at, media::INDEX, &bytes).await.map(|_| ()).map_err(broken)
}

fn json(document: &impl serde::Serialize, to: &Reference) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|error| failed(DOING, to, ErrorKind::Internal, error))
}
