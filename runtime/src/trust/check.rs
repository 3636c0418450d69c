//! Whether a signature is what a policy asks for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::Digest;
use crate::image::Reference;

use super::bundle::Statement;
use super::name::Name;
use super::payload::Payload;
use super::payload::shown;
use super::policy::Identity;
use super::policy::Signed;

/// A signature as a registry has it: a claim.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Evidence<'a> {
    /// A payload, and its signature in base64.
    Simple { payload: &'a [u8], signature: &'a str },
    /// A bundle of sigstore.
    Bundle(&'a [u8]),
}

/// Why a signature is not what is asked for. The greater it is, the nearer the signature came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is by none of the keys that the policy names")]
    Key,
    #[error("is by a key of the policy, and cannot be understood: {0}")]
    Statement(String),
    #[error("is by a key of the policy, for another image: {0}")]
    Digest(String),
    #[error(
        "is by a key of the policy, and names no image, as those of cosign 3: where the digest is \
         enough, the policy can say `\"signedIdentity\": {{\"type\": \"matchDigest\"}}`"
    )]
    Nameless,
    #[error(
        "is by a key of the policy, under the name `{signed}`, where the policy asks for {asked}{}",
        if *bare {
            "; cosign signs no tags, for which the policy can say \
             `\"signedIdentity\": {\"type\": \"matchRepository\"}`"
        } else { "" }
    )]
    Name { signed: String, asked: String, bare: bool },
}

impl Signed {
    /// Whether this is a signature, by one of the keys, that says that `digest` is what is called
    /// `reference`. What is signed is read only after the signature was found right.
    pub(crate) fn check(
        &self,
        evidence: Evidence<'_>,
        digest: Digest,
        reference: &Reference,
    ) -> Result<(), Fault> {
        match evidence {
            Evidence::Simple { payload, signature } => {
                let signature = STANDARD.decode(signature);
                let signature =
                    signature.map_err(|_| Fault::Unreadable("it is not base64".to_owned()))?;
                if !self.keys.iter().any(|key| key.has_signed(payload, &signature)) {
                    return Err(Fault::Key);
                }
                let payload = Payload::parse(payload).map_err(Fault::Statement)?;
                if payload.digest() != digest.to_string() {
                    return Err(Fault::Digest(shown(payload.digest())));
                }
                self.identity.check(payload.reference(), reference)
            }
            Evidence::Bundle(bytes) => {
                let statement = Statement::parse(bytes).map_err(Fault::Unreadable)?;
                let mut keys = self.keys.iter();
                let has_signed = |key: &super::key::PublicKey| {
                    let mut signatures = statement.signatures.iter();
                    signatures.any(|signature| key.has_signed(&statement.message, signature))
                };
                if !keys.any(has_signed) {
                    return Err(Fault::Key);
                }
                if !statement.signs(digest).map_err(Fault::Statement)? {
                    return Err(Fault::Digest("its statement names others".to_owned()));
                }
                match self.identity {
                    Identity::Digest => Ok(()),
                    _ => Err(Fault::Nameless),
                }
            }
        }
    }
}

impl Identity {
    /// Whether what is signed is under the name that it should be under.
    fn check(&self, signed: &str, reference: &Reference) -> Result<(), Fault> {
        let intended = Name::of(reference);
        let name = Name::parse(signed).ok();
        let is_bare = name.as_ref().is_some_and(Name::is_bare);
        let exactly =
            |asked: &Name| (!is_bare && name.as_ref() == Some(asked), format!("`{asked}`"));
        let by_repository = |asked: &Name| {
            let repository = asked.repository();
            let is_same = name.as_ref().is_some_and(|name| name.repository() == repository);
            (is_same, format!("any of `{repository}`"))
        };
        let (is_so, asked) = match self {
            Self::Digest => return Ok(()),
            // A digest says already which image is meant.
            Self::RepositoryDigestOrExact if intended.has_digest() => {
                let (is_same, asked) = by_repository(&intended);
                (is_same && !is_bare, asked)
            }
            Self::Exact | Self::RepositoryDigestOrExact => exactly(&intended),
            Self::Repository => by_repository(&intended),
            Self::ExactReference(name) => exactly(name),
            Self::ExactRepository(name) => by_repository(name),
        };
        if is_so {
            return Ok(());
        }
        Err(Fault::Name { signed: shown(signed), asked, bare: is_bare && self.asks_for_tags() })
    }

    fn asks_for_tags(&self) -> bool {
        matches!(self, Self::Exact | Self::RepositoryDigestOrExact | Self::ExactReference(_))
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::PublicKey;
    use super::super::key::SigningKey;
    use super::*;

    fn pair() -> (SigningKey, PublicKey) {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let key = SigningKey::parse(pair.serialize_pem().as_bytes(), None).expect("a key");
        (key, PublicKey::parse(pair.public_key_pem().as_bytes()).expect("a key"))
    }

    fn asked(keys: &[&PublicKey], identity: Identity) -> Signed {
        Signed { keys: keys.iter().map(|key| (*key).clone()).collect(), identity }
    }

    fn name(text: &str) -> Reference {
        text.parse().expect("a name")
    }

    fn signed(key: &SigningKey, payload: &[u8]) -> String {
        STANDARD.encode(key.sign(payload).expect("a signature"))
    }

    #[test]
    fn a_signature_does_by_one_of_the_keys_for_this_digest_under_this_name() {
        let ((key, public), (_, other)) = (pair(), pair());
        let (app, digest) = (name("r.example/app:1"), Digest::of(b"x"));
        let payload = Payload::bytes(&app, digest);
        let signature = signed(&key, &payload);
        let evidence = Evidence::Simple { payload: &payload, signature: &signature };
        let both = asked(&[&other, &public], Identity::RepositoryDigestOrExact);
        assert_eq!(both.check(evidence, digest, &app), Ok(()));

        let fault = |asked: &Signed, evidence, digest, reference: &Reference| {
            asked.check(evidence, digest, reference).expect_err("it is not right")
        };
        let none = asked(&[&other], Identity::Digest);
        assert_eq!(fault(&none, evidence, digest, &app), Fault::Key);
        let another = Digest::of(b"y");
        assert_eq!(fault(&both, evidence, another, &app), Fault::Digest(digest.to_string()));
        let renamed = fault(&both, evidence, digest, &name("r.example/evil:1")).to_string();
        assert!(renamed.contains("`r.example/app:1`") && renamed.contains("r.example/evil:1"));
        let raw = Evidence::Simple { payload: &payload, signature: "no base64!" };
        assert!(matches!(fault(&both, raw, digest, &app), Fault::Unreadable(_)));
        // What is signed is not read before it is known who signed it.
        let foreign = Evidence::Simple { payload: b"no payload", signature: &signature };
        assert_eq!(fault(&both, foreign, digest, &app), Fault::Key);
        let signature = signed(&key, b"no payload");
        let own = Evidence::Simple { payload: b"no payload", signature: &signature };
        assert!(matches!(fault(&both, own, digest, &app), Fault::Statement(_)));
    }

    #[test]
    fn each_identity_takes_the_names_that_it_says() {
        use Identity as I;
        let exact = |text| I::ExactReference(Name::parse(text).expect("a name"));
        let repository = |text| I::ExactRepository(Name::parse(text).expect("a name"));
        let by_digest = format!("r.example/app@{}", Digest::of(b"x"));
        for (identity, signed, pulled, expected) in [
            (I::RepositoryDigestOrExact, "r.example/app:1", "r.example/app:1", true),
            (I::RepositoryDigestOrExact, "r.example/app:2", "r.example/app:1", false),
            (I::RepositoryDigestOrExact, "r.example/app:2", &by_digest, true),
            (I::RepositoryDigestOrExact, "r.example/app", &by_digest, false),
            (I::RepositoryDigestOrExact, "r.example/app", "r.example/app:1", false),
            (I::RepositoryDigestOrExact, "r.example/app", "r.example/app", false),
            (I::Exact, "r.example/app:2", &by_digest, false),
            (I::Exact, &by_digest, &by_digest, true),
            (I::Repository, "r.example/app", "r.example/app:1", true),
            (I::Repository, "r.example/app:2", "r.example/app:1", true),
            (I::Repository, "r.example/application", "r.example/app:1", false),
            (I::Repository, "index.docker.io/library/app", "docker.io/app:1", true),
            (exact("r.example/app:2"), "r.example/app:2", "mirror.example/app:1", true),
            (exact("r.example/app:2"), "r.example/app:1", "r.example/app:1", false),
            (repository("r.example/app"), "r.example/app:2", "mirror.example/app:1", true),
            (repository("r.example/app"), "mirror.example/app:1", "mirror.example/app:1", false),
            (I::Repository, "no name!", "r.example/app:1", false),
            (I::Digest, "no name!", "r.example/app:1", true),
        ] {
            let found = identity.check(signed, &name(pulled));
            assert_eq!(found.is_ok(), expected, "{identity:?}: {signed} for {pulled}: {found:?}");
        }
        let fault = I::RepositoryDigestOrExact.check("r.example/app", &name("r.example/app:1"));
        let fault = fault.expect_err("no tag").to_string();
        assert!(fault.contains("\"matchRepository\""), "{fault}");
    }

    /// A bundle with this statement, signed by this key.
    fn bundle(key: &SigningKey, kind: &str, statement: &str) -> String {
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let (sig, payload) = (signed(key, message.as_bytes()), STANDARD.encode(statement));
        serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": { "publicKey": { "hint": "x" } },
            "dsseEnvelope": { "payload": payload, "payloadType": kind, "signatures": [{ "sig": sig }] },
        })
        .to_string()
    }

    fn statement(predicate: &str, digest: Digest) -> String {
        serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest.hex() } }],
            "predicateType": predicate,
            "predicate": {},
        })
        .to_string()
    }

    #[test]
    fn a_bundle_signs_a_digest_and_no_name() {
        const KIND: &str = "application/vnd.in-toto+json";
        let ((key, public), (_, other)) = (pair(), pair());
        let (app, digest) = (name("r.example/app:1"), Digest::of(b"x"));
        let right = bundle(&key, KIND, &statement(super::super::PREDICATE_TYPE, digest));
        let any_name = asked(&[&public], Identity::Digest);
        let check = |asked: &Signed, bundle: &str, digest| {
            asked.check(Evidence::Bundle(bundle.as_bytes()), digest, &app)
        };
        assert_eq!(check(&any_name, &right, digest), Ok(()));
        let named = asked(&[&public], Identity::Repository);
        assert_eq!(check(&named, &right, digest), Err(Fault::Nameless));
        let unknown = asked(&[&other], Identity::Digest);
        assert_eq!(check(&unknown, &right, digest), Err(Fault::Key));
        let another = check(&any_name, &right, Digest::of(b"y"));
        assert!(matches!(another, Err(Fault::Digest(_))), "{another:?}");

        // Who says what is in an image does not say that it may run.
        let bill = bundle(&key, KIND, &statement("https://cyclonedx.org/bom", digest));
        let bill = check(&any_name, &bill, digest).expect_err("no signature").to_string();
        assert!(bill.contains("`https://cyclonedx.org/bom`, and signs nothing"), "{bill}");
        let text = bundle(&key, "text/plain", &statement(super::super::PREDICATE_TYPE, digest));
        let two = right.replace("[{\"sig\"", "[{\"sig\":\"AA==\"},{\"sig\"");
        let garbled = right.replace("\"sig\":\"", "\"sig\":\"!");
        for (broken, said) in [
            (text.as_str(), "no in-toto statement"),
            (two.as_str(), "not one signature"),
            (garbled.as_str(), "not base64"),
            ("{\"mediaType\":\"a\"}", "no bundle of sigstore"),
            ("[", "EOF"),
        ] {
            let fault = check(&any_name, broken, digest).expect_err(broken);
            assert!(matches!(&fault, Fault::Unreadable(why) if why.contains(said)), "{fault}");
        }
    }
}
