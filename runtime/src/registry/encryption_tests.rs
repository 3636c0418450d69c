//! Encrypted connections: who is taken for whom.

use std::sync::Arc;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::image::Descriptor;
use crate::image::Manifest;
use crate::image::media;

use super::Client;
use super::Credentials;
use super::RegistryErrorKind;
use super::Settings;
use super::misbehaving::Registry;
use super::misbehaving::Reply;
use super::misbehaving::hasty;
use super::misbehaving::told;

/// An authority of the test's own, as PEM, and a server that it vouches for as `name`, in a year.
fn authority(name: &str, year: i32) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let leaf = params.signed_by(&key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (issuer.as_ref().pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn registry(acceptor: TlsAcceptor) -> Registry {
    let manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), Vec::new());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    Registry::start_encrypted(acceptor, move |_, _| {
        Reply::new(200).header("content-type", media::MANIFEST).body(&bytes)
    })
    .await
}

/// What becomes of a pull, with an authority that is trusted for all, or for one host.
async fn pulled(registry: &Registry, text: &str, authority: &str) -> Result<(), (String, bool)> {
    let mut settings = Settings::parse(text, &mut |_| Ok(authority.as_bytes().to_vec())).unwrap();
    settings.patience = hasty().patience;
    let client = Client::new(settings, Credentials::default());
    match client.manifest(&registry.reference("a:1")).await {
        Ok(_) => Ok(()),
        Err(error) => Err((told(&error), error.kind() == RegistryErrorKind::Unavailable)),
    }
}

#[tokio::test]
async fn an_authority_is_trusted_for_those_it_was_named_for() {
    let (pem, acceptor) = authority("127.0.0.1", 4000);
    let registry = registry(acceptor).await;
    let of = |name: &str| format!("[registry.\"{name}\"]\nca = [\"ca.pem\"]");

    pulled(&registry, "ca = [\"ca.pem\"]", &pem).await.unwrap();
    pulled(&registry, &of(&registry.address.to_string()), &pem).await.unwrap();
    for text in ["", &of("other.example")] {
        let (told, is_unavailable) = pulled(&registry, text, &pem).await.unwrap_err();
        assert!(is_unavailable && told.contains("no encrypted connection"), "{told}");
    }
}

#[tokio::test]
async fn a_registry_that_is_vouched_for_as_another_or_not_any_more_is_refused() {
    for (name, year, said) in
        [("other.example", 4000, "not valid for name"), ("127.0.0.1", 2020, "expired")]
    {
        let (pem, acceptor) = authority(name, year);
        let registry = registry(acceptor).await;

        let (told, _) = pulled(&registry, "ca = [\"ca.pem\"]", &pem).await.unwrap_err();

        assert!(told.contains(said), "{told}");
        assert!(registry.heard().is_empty(), "it was asked all the same");
    }
}
