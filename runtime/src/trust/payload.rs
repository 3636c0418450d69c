//! What is signed of an image in the form of simple signing.
//!
//! Source: cosign, `specs/SIGNATURE_SPEC.md`; containers/image, `containers-signature.5.md`.

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::image::Reference;

use super::name::Name;

/// What a layer that holds such a payload is called.
pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Under what a layer has the signature of its payload, in base64.
pub(crate) const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

const TYPE: &str = "cosign container image signature";

/// What is signed. Nothing beside these fields may be there: others may read it otherwise. In
/// `optional` is what a signer likes to say, and no policy asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    critical: Critical,
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Payload {
    /// What says that this digest has this name, in the bytes that are signed.
    pub(crate) fn bytes(reference: &Reference, digest: Digest) -> Vec<u8> {
        let payload = serde_json::json!({
            "critical": {
                "identity": { "docker-reference": Name::of(reference).to_string() },
                "image": { "docker-manifest-digest": digest.to_string() },
                "type": TYPE,
            },
            "optional": { "creator": concat!("aril ", env!("CARGO_PKG_VERSION")) },
        });
        payload.to_string().into_bytes()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let payload: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if payload.critical.kind != TYPE {
            return Err(format!("its type is `{}`", shown(&payload.critical.kind)));
        }
        Ok(payload)
    }

    pub(super) fn reference(&self) -> &str {
        &self.critical.identity.reference
    }

    pub(super) fn digest(&self) -> &str {
        &self.critical.image.digest
    }
}

/// As much as is shown of what somebody else wrote.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(300).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read_as_it_was_meant() {
        let reference: Reference = "r.example/app:1".parse().expect("a name");
        let bytes = Payload::bytes(&reference, Digest::of(b"x"));
        let payload = Payload::parse(&bytes).expect("a payload");
        assert_eq!(payload.reference(), "r.example/app:1");
        assert_eq!(payload.digest(), Digest::of(b"x").to_string());
        // As cosign writes it.
        let text = r#"{"critical":{"identity":{"docker-reference":"a"},
            "image":{"docker-manifest-digest":"b"},"type":"cosign container image signature"},
            "optional":null}"#;
        assert_eq!(Payload::parse(text.as_bytes()).expect("a payload").digest(), "b");
    }

    #[test]
    fn what_others_could_read_otherwise_is_refused() {
        let image = r#""image":{"docker-manifest-digest":"b"}"#;
        let identity = r#""identity":{"docker-reference":"a"}"#;
        let kind = r#""type":"cosign container image signature""#;
        for (critical, said) in [
            (format!("{image},{identity},{kind},{image}"), "duplicate field `image`"),
            (format!("{image},{identity},{kind},\"more\":1"), "unknown field `more`"),
            (format!("{image},{kind}"), "missing field `identity`"),
            (format!("{image},{identity},\"type\":\"atomic\\u001b\""), "`atomic\\u{1b}`"),
        ] {
            let text = format!("{{\"critical\":{{{critical}}},\"optional\":null}}");
            let error = Payload::parse(text.as_bytes()).expect_err(&text);
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Payload::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
