//! Keys: public ones, which policies name, and private ones, which sign.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use webpki::RawPublicKeyEntity;

use super::encrypted;

/// The largest file of a key, in bytes.
const KEY_SIZE_MAX: usize = 64 << 10;

/// How signatures are checked: with the hash that cosign and skopeo use, which is SHA-256 for every
/// curve, and the one that newer ones use for P-384.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 5] = [
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
];

/// How we sign. P-384 is not among them: others would look for another hash than we can make.
const SCHEMES: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// A public key of a kind that can be checked with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey(SubjectPublicKeyInfoDer<'static>);

impl PublicKey {
    /// Reads one in PEM: a `PUBLIC KEY`, as `cosign.pub` and `openssl pkey -pubout` have it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, InvalidKey> {
        if KEY_SIZE_MAX < text.len() {
            return Err(InvalidKey::TooLarge);
        }
        let mut found = SubjectPublicKeyInfoDer::pem_slice_iter(text);
        let key = found.next().ok_or(InvalidKey::NoPublicKey)?.map_err(|_| InvalidKey::Pem)?;
        if found.next().is_some() {
            return Err(InvalidKey::Several);
        }
        let key = Self(key.into_owned());
        if key.kinds()?.next().is_none() {
            return Err(InvalidKey::Kind);
        }
        Ok(key)
    }

    /// The algorithms that are of the kind of this key.
    fn kinds(
        &self,
    ) -> Result<impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm>, InvalidKey> {
        let key = RawPublicKeyEntity::try_from(&self.0).map_err(|_| InvalidKey::PublicKey)?;
        let is_of_its_kind = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            !matches!(
                key.verify_signature(*algorithm, b"", b""),
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_))
            )
        };
        let kinds: Vec<_> = ALGORITHMS.into_iter().filter(is_of_its_kind).collect();
        Ok(kinds.into_iter())
    }

    /// Whether its private half signed a message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        RawPublicKeyEntity::try_from(&self.0).is_ok_and(|key| {
            let mut ways = ALGORITHMS.into_iter();
            ways.any(|way| key.verify_signature(way, message, signature).is_ok())
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", crate::digest::Digest::of(self.0.as_ref()))
    }
}

/// A private key, by which images are signed as they are pushed. It is shown nowhere.
#[derive(Clone)]
pub struct SigningKey {
    key: Arc<dyn rustls::sign::SigningKey>,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a private key in PEM, of ECDSA over P-256 (as cosign makes them), of Ed25519, or of RSA:
    /// a `PRIVATE KEY` (PKCS #8), an `EC PRIVATE KEY` or `RSA PRIVATE KEY`; and an
    /// `ENCRYPTED SIGSTORE PRIVATE KEY` or `ENCRYPTED COSIGN PRIVATE KEY`, as `cosign
    /// generate-key-pair` and `skopeo generate-sigstore-key` write it, for which a passphrase is
    /// needed.
    ///
    /// # Errors
    ///
    /// Fails where the text is no such key, or the passphrase is another.
    pub fn parse(text: &[u8], passphrase: Option<&[u8]>) -> Result<Self, InvalidKey> {
        if KEY_SIZE_MAX < text.len() {
            return Err(InvalidKey::TooLarge);
        }
        let der = match encrypted::find(text) {
            Some(sealed) => {
                let opened = encrypted::open(sealed, passphrase.ok_or(InvalidKey::Passphrase)?)?;
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(opened))
            }
            None => PrivateKeyDer::from_pem_slice(text).map_err(|_| InvalidKey::NoPrivateKey)?,
        };
        let key = any_supported_type(&der).map_err(|_| InvalidKey::PrivateKey)?;
        if key.choose_scheme(&SCHEMES).is_none() {
            return Err(InvalidKey::SigningKind);
        }
        let public = key.public_key().ok_or(InvalidKey::PrivateKey)?.into_owned();
        Ok(Self { key, public: PublicKey(public) })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, InvalidKey> {
        let signer = self.key.choose_scheme(&SCHEMES).ok_or(InvalidKey::SigningKind)?;
        signer.sign(message).map_err(|_| InvalidKey::PrivateKey)
    }

    /// Whether it signed a message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.has_signed(message, signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

/// What is no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The file is too large for one.
    #[error("it is larger than {} KiB", KEY_SIZE_MAX >> 10)]
    TooLarge,
    /// It is not PEM.
    #[error("what is between its `BEGIN` and its `END` is not base64")]
    Pem,
    /// There is no public key in it.
    #[error("there is no public key in it: `-----BEGIN PUBLIC KEY-----` is expected")]
    NoPublicKey,
    /// There are several keys in it.
    #[error("there are several keys in it: give each a file of its own, and name them all")]
    Several,
    /// The public key is not well formed.
    #[error("what should be a public key is not one")]
    PublicKey,
    /// The public key is of another kind.
    #[error(
        "it is not of a kind that is known here: ECDSA over P-256 or P-384, Ed25519, or RSA of 2048 \
         bits and more"
    )]
    Kind,
    /// There is no private key in it.
    #[error(
        "there is no private key in it: `-----BEGIN PRIVATE KEY-----` or one of cosign is expected; one \
         that openssl encrypted is decrypted by `openssl pkey -in FILE -out FILE`"
    )]
    NoPrivateKey,
    /// The private key is not well formed, or of another kind.
    #[error(
        "it is no private key of ECDSA over P-256, of Ed25519, or of RSA of 2048 bits and more"
    )]
    PrivateKey,
    /// The private key is of a kind that does not sign here.
    #[error("keys of this kind do not sign here: take ECDSA over P-256, Ed25519, or RSA")]
    SigningKind,
    /// It is encrypted, and there is no passphrase.
    #[error("it is encrypted, and there is no passphrase for it")]
    Passphrase,
    /// It is encrypted with another passphrase.
    #[error("the passphrase is not the one that it was encrypted with, or the file was changed")]
    WrongPassphrase,
    /// It is encrypted in a way that is not known, or that would take too much to undo.
    #[error("it is not encrypted as cosign and skopeo do: {0}")]
    Encryption(String),
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::encrypted::samples;
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_and_no_other_finds_right() {
        let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519];
        for kind in kinds {
            let made = rcgen::KeyPair::generate_for(kind).expect("a key");
            let other = rcgen::KeyPair::generate_for(kind).expect("a key");
            let public = |key: &rcgen::KeyPair| {
                PublicKey::parse(key.public_key_pem().as_bytes()).expect("a public key")
            };
            let key = SigningKey::parse(made.serialize_pem().as_bytes(), None).expect("a key");

            let signature = key.sign(b"message").expect("a signature");

            assert!(public(&made).has_signed(b"message", &signature), "{kind:?}");
            assert!(key.has_signed(b"message", &signature), "{kind:?}");
            assert!(!public(&made).has_signed(b"massage", &signature), "{kind:?}");
            assert!(!public(&other).has_signed(b"message", &signature), "{kind:?}");
            assert!(!public(&made).has_signed(b"message", &signature[1..]), "{kind:?}");
        }
    }

    #[test]
    fn a_signature_of_openssl_by_an_rsa_key_is_found_right() {
        let key = PublicKey::parse(samples::RSA_PUBLIC.as_bytes()).expect("a key");
        let signature = STANDARD.decode(samples::RSA_SIGNATURE).expect("base64");
        assert!(key.has_signed(b"message\n", &signature));
        assert!(!key.has_signed(b"message", &signature));
    }

    #[test]
    fn what_is_no_key_says_why() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let (public, private) = (pair.public_key_pem(), pair.serialize_pem());
        assert!(PublicKey::parse(public.as_bytes()).is_ok());
        for (text, expected) in [
            ("", InvalidKey::NoPublicKey),
            (&private, InvalidKey::NoPublicKey),
            (&format!("{public}{public}"), InvalidKey::Several),
            ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", InvalidKey::Pem),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", InvalidKey::PublicKey),
            (&"x".repeat(KEY_SIZE_MAX + 1), InvalidKey::TooLarge),
            // X25519, which signs nothing.
            (
                "-----BEGIN PUBLIC KEY-----\n\
                 MCowBQYDK2VuAyEAmgz0GsyM3AAvs1WVv9fvdIQ6SFBCPoXWA2CUdN8R3U4=\n\
                 -----END PUBLIC KEY-----\n",
                InvalidKey::Kind,
            ),
        ] {
            assert_eq!(PublicKey::parse(text.as_bytes()), Err(expected), "{text}");
        }
        for (text, expected) in [
            ("", InvalidKey::NoPrivateKey),
            (&public, InvalidKey::NoPrivateKey),
            (&private, InvalidKey::SigningKind),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                InvalidKey::PrivateKey,
            ),
        ] {
            let error = SigningKey::parse(text.as_bytes(), None).expect_err("no key");
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn a_private_key_does_not_show() {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let key = SigningKey::parse(pair.serialize_pem().as_bytes(), None).expect("a key");
        assert!(format!("{key:?}").starts_with("SigningKey(PublicKey(sha256:"), "{key:?}");
    }
}
