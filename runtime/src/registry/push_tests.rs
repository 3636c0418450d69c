//! Sending to registries of several kinds, and asking what refers to an image.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use crate::digest::Digest;
use crate::image::Descriptor;
use crate::image::Index;
use crate::image::Reference;
use crate::image::media;

use super::Client;
use super::Credentials;
use super::Login;
use super::RegistryErrorKind;
use super::Secret;
use super::misbehaving::Registry;
use super::misbehaving::Reply;
use super::misbehaving::client;
use super::misbehaving::hasty;
use super::misbehaving::told;
use super::push::Sent;

const BLOB: &[u8] = b"some bytes of a blob";

fn blob() -> Descriptor {
    Descriptor::of(media::WASM, BLOB)
}

/// Answers a request for an upload with this place.
fn uploading(location: impl Fn() -> String + Send + Sync, method: &str) -> Reply {
    match method {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", location()),
        _ => Reply::new(201),
    }
}

#[tokio::test]
async fn a_blob_is_uploaded_to_where_the_registry_says() {
    for location in ["/v2/a/blobs/uploads/42?state=x", "42?state=x"] {
        let registry =
            Registry::start(move |heard, _| uploading(|| location.to_owned(), &heard.method)).await;

        let reference = registry.reference("a:1");
        let sent = client().push_blob(&reference, &blob(), None, || Ok(BLOB)).await.unwrap();

        assert_eq!(sent, Sent::Uploaded);
        let put = registry.heard().pop().unwrap();
        let digest = blob().digest.to_string().replace(':', "%3A");
        assert_eq!(put.path, format!("/v2/a/blobs/uploads/42?state=x&digest={digest}"));
        assert_eq!((put.body.as_slice(), put.method.as_str()), (BLOB, "PUT"));
    }
}

#[tokio::test]
async fn an_upload_elsewhere_takes_no_login_along() {
    let store = Registry::start(|_, _| Reply::new(201)).await;
    let to = store.url("/up?signature=x");
    let registry = Registry::start(move |heard, _| match heard.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => uploading(|| to.clone(), &heard.method),
    })
    .await;
    let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
    let credentials = Credentials::default().with(&registry.address.to_string(), login);

    let client = Client::new(hasty(), credentials);
    client.push_blob(&registry.reference("a:1"), &blob(), None, || Ok(BLOB)).await.unwrap();

    assert_eq!(store.heard()[0].header("authorization"), None);
    assert_eq!(store.heard()[0].body, BLOB);
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent_and_one_nearby_is_mounted() {
    let registry = Registry::start(|_, _| Reply::new(200)).await;
    let reference = registry.reference("a:1");
    let sent = client().push_blob(&reference, &blob(), None, || Ok(BLOB)).await.unwrap();
    assert_eq!((sent, registry.lines().len()), (Sent::Present, 1));

    let registry = Registry::start(|heard, _| match heard.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(201),
    })
    .await;
    let (reference, near) = (registry.reference("a:1"), registry.reference("b/c:2"));
    let sent = client().push_blob(&reference, &blob(), Some(&near), || Ok(BLOB)).await.unwrap();
    assert_eq!(sent, Sent::Mounted);
    let post = registry.heard().pop().unwrap();
    let digest = blob().digest.to_string().replace(':', "%3A");
    assert_eq!(post.path, format!("/v2/a/blobs/uploads/?mount={digest}&from=b%2Fc"));

    // A registry that will not, or cannot, has the upload begin instead.
    let registry = Registry::start(|heard, _| uploading(|| "/up".to_owned(), &heard.method)).await;
    let (reference, near) = (registry.reference("a:1"), registry.reference("b/c:2"));
    let sent = client().push_blob(&reference, &blob(), Some(&near), || Ok(BLOB)).await.unwrap();
    assert_eq!(sent, Sent::Uploaded);
}

#[tokio::test]
async fn a_repository_that_may_not_be_read_is_done_without() {
    for status in [400, 401, 403, 404] {
        let registry = Registry::start(move |heard, _| match heard.method.as_str() {
            "POST" if heard.path.contains("from=") => Reply::new(status),
            method => uploading(|| "/up".to_owned(), method),
        })
        .await;
        let (reference, near) = (registry.reference("a:1"), registry.reference("b/c:2"));
        let sent = client().push_blob(&reference, &blob(), Some(&near), || Ok(BLOB)).await;
        assert_eq!(sent.unwrap(), Sent::Uploaded, "{status}");
    }
}

#[tokio::test]
async fn a_repository_of_another_registry_is_not_told_of() {
    let registry = Registry::start(|heard, _| uploading(|| "/up".to_owned(), &heard.method)).await;
    let reference = registry.reference("a:1");
    let far: Reference = "other.example/secret/app:1".parse().unwrap();

    let sent = client().push_blob(&reference, &blob(), Some(&far), || Ok(BLOB)).await.unwrap();

    assert_eq!(sent, Sent::Uploaded);
    assert!(registry.heard().iter().all(|heard| !heard.path.contains("secret")));
}

#[tokio::test]
async fn an_upload_that_fails_is_begun_anew_with_the_bytes_opened_again() {
    let puts = AtomicU32::new(0);
    let registry = Registry::start(move |heard, _| match heard.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(503),
        method => uploading(|| "/up".to_owned(), method),
    })
    .await;
    let opened = AtomicU32::new(0);

    let open = || {
        opened.fetch_add(1, Ordering::Relaxed);
        Ok(BLOB)
    };
    client().push_blob(&registry.reference("a:1"), &blob(), None, open).await.unwrap();

    assert_eq!(opened.load(Ordering::Relaxed), 2);
    assert_eq!(registry.heard().pop().unwrap().body, BLOB);
}

#[tokio::test]
async fn a_source_that_fails_or_is_too_short_is_told_as_ours() {
    let registry = Registry::start(|heard, _| uploading(|| "/up".to_owned(), &heard.method)).await;
    let reference = registry.reference("a:1");

    let short = client().push_blob(&reference, &blob(), None, || Ok(&BLOB[1..])).await;
    let open = || Err::<&[u8], _>(io::Error::from(io::ErrorKind::NotFound));
    let absent = client().push_blob(&reference, &blob(), None, open).await;

    for error in [short.unwrap_err(), absent.unwrap_err()] {
        assert_eq!(error.kind(), RegistryErrorKind::Own, "{}", told(&error));
    }
}

#[tokio::test]
async fn a_registry_that_takes_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/up", listener.local_addr().unwrap());
    let registry =
        Registry::start(move |heard, _| uploading(|| location.clone(), &heard.method)).await;
    let big = Descriptor::new(media::WASM, Digest::of(b""), 1 << 30);

    let open = || Ok(tokio::io::repeat(0));
    let error = client().push_blob(&registry.reference("a:1"), &big, None, open).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(told(&error).contains("take what is sent"), "{}", told(&error));
}

#[tokio::test]
async fn a_manifest_is_sent_under_its_tag_and_its_digest_is_agreed_on() {
    let bytes = b"{}";
    let digest = Digest::of(bytes);
    for (said, agreed) in [(digest, true), (Digest::of(b"other"), false)] {
        let registry = Registry::start(move |_, _| {
            Reply::new(201).header("docker-content-digest", said).header("oci-subject", said)
        })
        .await;
        let reference = registry.reference("a:1");

        let taken = client().push_manifest(&reference, media::MANIFEST, bytes).await;

        assert_eq!(taken.is_ok_and(|taken| taken.knows_subject && taken.digest == digest), agreed);
        let put = registry.heard().pop().unwrap();
        assert_eq!(put.line(), "PUT /v2/a/manifests/1");
        assert_eq!(put.header("content-type"), Some(media::MANIFEST));
        assert_eq!(put.body, bytes);
        let other = reference.with_digest(Digest::of(b"other"));
        let error = client().push_manifest(&other, media::MANIFEST, bytes).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Refused);
    }
}

#[tokio::test]
async fn what_refers_to_an_image_is_found_by_list_by_tag_or_not_at_all() {
    let signature = Descriptor::of(media::MANIFEST, b"signature");
    let more = Descriptor::of(media::MANIFEST, b"more");
    let list = |entry: &Descriptor| {
        let bytes = serde_json::to_vec(&Index::new(vec![entry.clone()])).unwrap();
        Reply::new(200).header("content-type", media::INDEX).body(bytes)
    };
    let (first, second) = (list(&signature), list(&more));
    let digest = Digest::of(b"image");

    let pages = first.clone().header("link", "</v2/a/referrers/x?page=2>; rel=\"next\"");
    let last = second.clone();
    let registry = Registry::start(move |_, number| match number {
        0 => pages.clone(),
        _ => last.clone(),
    })
    .await;
    let found = client().referrers(&registry.reference("a:1"), &digest).await.unwrap();
    assert_eq!(found.manifests, [signature.clone(), more]);

    let tag = format!("GET /v2/a/manifests/sha256-{}", digest.hex());
    let by_tag = first.clone();
    let expected = tag.clone();
    let registry =
        Registry::start(
            move |heard, _| if heard.line() == expected { by_tag.clone() } else { Reply::new(404) },
        )
        .await;
    let found = client().referrers(&registry.reference("a:1"), &digest).await.unwrap();
    assert_eq!(found.manifests, [signature]);

    let registry = Registry::start(|_, _| Reply::new(404)).await;
    let found = client().referrers(&registry.reference("a:1"), &digest).await.unwrap();
    assert!(found.manifests.is_empty());
    assert_eq!(registry.lines()[1], tag);

    let page = first.header("link", "</v2/a/referrers/x?page=2>; rel=\"next\"");
    let registry = Registry::start(move |_, _| page.clone()).await;
    let error = client().referrers(&registry.reference("a:1"), &digest).await.unwrap_err();
    assert!(told(&error).contains("too long"), "{}", told(&error));
}
