//! The signatures of an image that is pulled: looked for, and held against the policy.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::Manifest;
use crate::image::Reference;
use crate::image::media;
use crate::registry::Client;
use crate::registry::RegistryError;
use crate::registry::RegistryErrorKind;
use crate::registry::Sink;
use crate::trust::BUNDLE;
use crate::trust::EVIDENCE_SIZE_MAX;
use crate::trust::Evidence;
use crate::trust::Fault;
use crate::trust::PREDICATE_ANNOTATION;
use crate::trust::PREDICATE_TYPE;
use crate::trust::Policy;
use crate::trust::SIGNATURE_ANNOTATION;
use crate::trust::SIGNATURES;
use crate::trust::SIMPLE_SIGNING;
use crate::trust::Signed;
use crate::trust::Verdict;

use super::images::failed;

const DOING: &str = "pull the image";

/// The most signatures of an image that are tried, and the most manifests that may hold some, the
/// newest of each list first. So many more can only be there to keep us busy.
const TRIED_MAX: usize = 64;

/// How long all signatures of an image may take to be found and fetched.
const TIME_MAX: Duration = Duration::from_mins(2);

/// What is asked of an image before it is taken.
#[derive(Debug)]
pub(super) struct Demand<'a> {
    /// The part of the policy that asks.
    place: String,
    /// All of these.
    signed: Vec<&'a Signed>,
}

/// What a policy asks of an image; an error where it is not let in at all.
pub(super) fn demand<'a>(policy: &'a Policy, name: &Reference) -> Result<Demand<'a>, Error> {
    match policy.verdict(name) {
        Verdict::Accepted => Ok(Demand { place: String::new(), signed: Vec::new() }),
        Verdict::Signed(place, signed) => Ok(Demand { place, signed }),
        Verdict::Rejected(place) => {
            let reason = format!("the policy rejects it, by `{place}`");
            Err(failed(DOING, name, ErrorKind::Denied, reason))
        }
    }
}

/// The name of the tag under which cosign keeps signatures of a digest.
pub(super) fn signatures_tag(digest: Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Fails unless an image has the signatures that are asked for: of any of the digests of `chain`,
/// each of which leads to the next, so that who signs one signs what follows. Says which of them is
/// signed by all: what is before it is nobody's word but the registry's.
pub(super) async fn verify(
    client: &Client,
    reference: &Reference,
    demand: &Demand<'_>,
    chain: &[Digest],
) -> Result<usize, Error> {
    if demand.signed.is_empty() {
        return Ok(0);
    }
    let mut search = Search {
        client,
        reference,
        open: demand.signed.clone(),
        fetched: HashMap::new(),
        tried: 0,
        asked: 0,
        cut: false,
        fault: None,
        broken: None,
    };
    let mut level = 0;
    let found = async {
        for (i, digest) in chain.iter().enumerate() {
            let before = search.open.len();
            search.of(*digest).await;
            if search.open.len() < before {
                level = i;
            }
            if search.is_over() {
                break;
            }
        }
    };
    if tokio::time::timeout(TIME_MAX, found).await.is_err() {
        let span = humantime::format_duration(TIME_MAX);
        let reason = format!("its registry does not tell its signatures within {span}");
        return Err(failed(DOING, reference, ErrorKind::Unavailable, reason));
    }
    if search.open.is_empty() {
        return Ok(level);
    }
    match search.broken {
        // What could not be asked for may be what is missing.
        Some(error) if !search.fault.as_ref().is_some_and(is_near) => {
            let kind = match error.kind() {
                RegistryErrorKind::Unavailable => ErrorKind::Unavailable,
                _ => ErrorKind::Denied,
            };
            Err(failed(DOING, reference, kind, error))
        }
        _ => {
            let unsigned = Unsigned {
                place: demand.place.clone(),
                tried: search.tried,
                cut: search.cut,
                fault: search.fault,
            };
            Err(failed(DOING, reference, ErrorKind::Denied, unsigned))
        }
    }
}

/// Whether a fault is that of a signature by a key that counts.
fn is_near(fault: &Fault) -> bool {
    Fault::Key < *fault
}

/// Why an image is not let in.
#[derive(Debug)]
struct Unsigned {
    place: String,
    tried: usize,
    cut: bool,
    fault: Option<Fault>,
}

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, tried, cut, fault } = self;
        write!(f, "the policy asks for a signature, by `{place}`, and ")?;
        match (tried, fault) {
            (0, None) => write!(f, "it has none"),
            (0 | 1, Some(fault)) => write!(f, "its signature {fault}"),
            (_, Some(Fault::Key)) => {
                write!(f, "each of its {tried} signatures {}", Fault::Key)
            }
            (_, Some(fault)) => write!(f, "of its {tried} signatures, the nearest {fault}"),
            (_, None) => write!(f, "it has not all that are asked for"),
        }?;
        if *cut {
            write!(f, " (there is more than is looked at: {TRIED_MAX} signatures)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsigned {}

/// The search for the signatures of an image.
struct Search<'a> {
    client: &'a Client,
    reference: &'a Reference,
    /// What has not been found yet.
    open: Vec<&'a Signed>,
    /// Many signatures may be of the same bytes.
    fetched: HashMap<Digest, Vec<u8>>,
    tried: usize,
    /// How many manifests were asked for.
    asked: usize,
    /// Whether there were more than are tried.
    cut: bool,
    /// What is wrong with the signature that came nearest.
    fault: Option<Fault>,
    /// What could not be asked for.
    broken: Option<RegistryError>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.open.is_empty() || self.cut
    }

    /// Tries the signatures of a digest: those under cosign's tag, then those that refer to it.
    async fn of(&mut self, digest: Digest) {
        let tagged = self.reference.with_tag(&signatures_tag(digest));
        let mut seen = None;
        if let Some(tagged) = tagged {
            seen = self.of_manifest(&tagged, digest).await;
        }
        if self.is_over() {
            return;
        }
        let listed = match self.client.referrers(self.reference, &digest).await {
            Ok(listed) => listed.manifests,
            Err(error) => return self.broke(error),
        };
        for entry in listed.iter().rev().filter(|entry| may_hold_signatures(entry)) {
            if seen != Some(entry.digest) {
                self.of_manifest(&self.reference.with_digest(entry.digest), digest).await;
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Tries the signatures of a manifest, and says which one it was.
    async fn of_manifest(&mut self, at: &Reference, digest: Digest) -> Option<Digest> {
        self.asked += 1;
        if TRIED_MAX < self.asked {
            self.cut = true;
            return None;
        }
        let (descriptor, bytes) = match self.client.manifest(at).await {
            Ok(found) => found,
            Err(error) => {
                if error.kind() != RegistryErrorKind::NotFound {
                    self.broke(error);
                }
                return None;
            }
        };
        match Document::parse(&bytes) {
            Ok(Document::Manifest(manifest)) if !may_sign(&manifest.annotations) => {}
            Ok(Document::Manifest(manifest)) => self.of_layers(&manifest, digest).await,
            _ => self.fault(Fault::Unreadable("it is no manifest".to_owned())),
        }
        Some(descriptor.digest)
    }

    async fn of_layers(&mut self, manifest: &Manifest, digest: Digest) {
        for layer in manifest.layers.iter().rev() {
            if self.is_over() {
                return;
            }
            let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
            let is_bundle = layer.media_type.starts_with(BUNDLE);
            let is_simple = layer.media_type == SIMPLE_SIGNING && signature.is_some();
            if !(is_bundle || is_simple) || !self.counts() {
                continue;
            }
            self.tried += 1;
            let Some(bytes) = self.fetch(layer).await else { continue };
            let evidence = match signature {
                Some(signature) if is_simple => Evidence::Simple { payload: &bytes, signature },
                _ => Evidence::Bundle(&bytes),
            };
            let mut faults = Vec::new();
            let reference = self.reference;
            self.open.retain(|signed| match signed.check(evidence, digest, reference) {
                Ok(()) => false,
                Err(fault) => {
                    faults.push(fault);
                    true
                }
            });
            for fault in faults {
                self.fault(fault);
            }
        }
    }

    /// Whether one more may be tried.
    fn counts(&mut self) -> bool {
        self.cut = TRIED_MAX <= self.tried;
        !self.cut
    }

    async fn fetch(&mut self, blob: &Descriptor) -> Option<Vec<u8>> {
        if let Some(bytes) = self.fetched.get(&blob.digest) {
            return Some(bytes.clone());
        }
        if EVIDENCE_SIZE_MAX < blob.size {
            self.fault(Fault::Unreadable(format!("it would have {} bytes", blob.size)));
            return None;
        }
        let mut held = Held { digest: blob.digest, bytes: Vec::new() };
        match self.client.blob(self.reference, blob, &mut held).await {
            Ok(()) => {
                self.fetched.insert(blob.digest, held.bytes.clone());
                Some(held.bytes)
            }
            Err(error) => {
                self.broke(error);
                None
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.fault.as_ref().is_none_or(|nearest| *nearest < fault) {
            self.fault = Some(fault);
        }
    }

    fn broke(&mut self, error: RegistryError) {
        self.broken.get_or_insert(error);
    }
}

/// Whether what refers to an image may hold signatures of it. Lists are written by clients too, and
/// those of cosign say no more of what they list than that its configuration is empty.
fn may_hold_signatures(entry: &Descriptor) -> bool {
    let is_empty = |kind: &str| kind == media::EMPTY;
    let is_right = |kind: &str| kind == SIGNATURES || kind.starts_with(BUNDLE) || is_empty(kind);
    entry.artifact_type.as_deref().is_none_or(is_right) && may_sign(&entry.annotations)
}

/// Whether what has these annotations signs, and does not tell something of an image.
fn may_sign(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(PREDICATE_ANNOTATION).is_none_or(|kind| kind == PREDICATE_TYPE)
}

/// A small blob, in memory.
struct Held {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Sink for Held {
    type Error = std::convert::Infallible;

    fn written(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn restart(&mut self) -> Result<(), Self::Error> {
        self.bytes.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn is_right(&self) -> bool {
        Digest::of(&self.bytes) == self.digest
    }
}
