//! Signatures in bundles of sigstore, as cosign writes them since its third version.
//!
//! Source: sigstore/protobuf-specs, `sigstore_bundle.proto`; cosign, `specs/BUNDLE_SPEC.md`; DSSE
//! 1.0; in-toto statements 1. What a bundle has of certificates and logs is not read: the key
//! counts, and it is the policy's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::digest::Digest;

/// What a bundle is called, up to its version.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// Where a manifest that holds a bundle says what the bundle states.
pub(crate) const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

/// What a statement is that signs an image. Statements of other types tell something of an image,
/// such as what is in it, and say nothing for it.
pub(crate) const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

const STATEMENTS: [&str; 2] =
    ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// What a bundle has signed: the bytes that are under the signatures, and what they state.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) message: Vec<u8>,
    pub(super) signatures: Vec<Vec<u8>>,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stated {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

impl Statement {
    /// Reads a bundle, and nothing of what is signed in it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let bundle: Bundle = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !bundle.media_type.starts_with(BUNDLE) {
            return Err("it is no bundle of sigstore".to_owned());
        }
        let envelope = bundle.dsse_envelope.ok_or("its bundle has no DSSE envelope")?;
        if envelope.payload_type != STATEMENT_TYPE {
            return Err("its bundle has no in-toto statement".to_owned());
        }
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| "it is not base64".to_owned());
        let payload = decoded(&envelope.payload)?;
        // One is what a bundle has; more are only work.
        let [signature] = envelope.signatures.as_slice() else {
            return Err("its bundle has not one signature".to_owned());
        };
        let begin = format!("DSSEv1 {} {STATEMENT_TYPE} {} ", STATEMENT_TYPE.len(), payload.len());
        let message = [begin.as_bytes(), &payload].concat();
        Ok(Self { message, signatures: vec![decoded(&signature.sig)?], payload })
    }

    /// Whether it signs this digest; what else it is where it does not.
    pub(super) fn signs(&self, digest: Digest) -> Result<bool, String> {
        let stated: Stated =
            serde_json::from_slice(&self.payload).map_err(|error| error.to_string())?;
        if !STATEMENTS.contains(&stated.kind.as_str()) {
            return Err("it is no statement of in-toto".to_owned());
        }
        if stated.predicate_type != PREDICATE_TYPE {
            let kind = super::payload::shown(&stated.predicate_type);
            return Err(format!("it is a statement of `{kind}`, and signs nothing"));
        }
        let hex = digest.hex();
        Ok(stated.subject.iter().any(|subject| subject.digest.sha256.as_ref() == Some(&hex)))
    }
}
