//! Signatures, and the policy that asks for them. No bytes are fetched here.
//!
//! A signature is believed for what its key says and for nothing around it: which keys count is
//! said by the policy alone, and what is signed is read once the signature has been checked.

mod bundle;
mod check;
mod encrypted;
mod key;
mod name;
mod payload;
mod policy;

pub(crate) use bundle::BUNDLE;
pub(crate) use bundle::PREDICATE_ANNOTATION;
pub(crate) use bundle::PREDICATE_TYPE;
pub(crate) use check::Evidence;
pub(crate) use check::Fault;
pub use key::InvalidKey;
pub use key::SigningKey;
pub(crate) use payload::Payload;
pub(crate) use payload::SIGNATURE_ANNOTATION;
pub(crate) use payload::SIMPLE_SIGNING;
pub(crate) use policy::Policy;
pub(crate) use policy::Signed;
pub(crate) use policy::Verdict;

/// The largest payload or bundle that is read, in bytes. One of cosign has some hundred; a bundle
/// with entries of a log some thousand.
pub(crate) const EVIDENCE_SIZE_MAX: u64 = 256 << 10;

/// What a manifest that holds signatures calls itself among those that refer to an image. Source:
/// cosign, `pkg/oci/remote`, "oci-1-1" mode.
pub(crate) const SIGNATURES: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
