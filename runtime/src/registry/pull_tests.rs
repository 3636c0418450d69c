//! Fetching from registries that misbehave.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::digest::Digest;
use crate::image::Descriptor;
use crate::image::Manifest;
use crate::image::media;

use super::RegistryErrorKind;
use super::Settings;
use super::Sink;
use super::misbehaving::Registry;
use super::misbehaving::Reply;
use super::misbehaving::client;
use super::misbehaving::hasty;
use super::misbehaving::told;

/// Keeps a blob in memory.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    digest: Digest,
    restarts: u32,
}

impl Kept {
    fn new(descriptor: &Descriptor) -> Self {
        Self { bytes: Vec::new(), digest: descriptor.digest, restarts: 0 }
    }
}

impl Sink for Kept {
    type Error = Infallible;

    fn written(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn restart(&mut self) -> Result<(), Infallible> {
        self.restarts += 1;
        self.bytes.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn is_right(&self) -> bool {
        Digest::of(&self.bytes) == self.digest
    }
}

fn manifest() -> Vec<u8> {
    let manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), Vec::new());
    serde_json::to_vec(&manifest).unwrap()
}

fn served(bytes: &[u8]) -> Reply {
    Reply::new(200).header("content-type", media::MANIFEST).body(bytes)
}

/// A blob with no two parts alike.
fn blob(size: usize) -> (Vec<u8>, Descriptor) {
    let bytes: Vec<u8> =
        (0..size).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect();
    let descriptor = Descriptor::of(media::WASM, &bytes);
    (bytes, descriptor)
}

/// The first byte of a request's range.
fn range_of(heard: &super::misbehaving::Heard) -> Option<usize> {
    let range = heard.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?;
    range.parse().ok()
}

fn part(bytes: &[u8], from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Reply::new(206).header("content-range", range).body(&bytes[from..])
}

#[tokio::test]
async fn a_manifest_is_what_its_name_leads_to() {
    let bytes = manifest();
    let answer = served(&bytes).header("docker-content-digest", Digest::of(&bytes));
    let registry = Registry::start(move |_, _| answer.clone()).await;

    let found = client().manifest(&registry.reference("team/app:1")).await.unwrap();

    assert_eq!(found, (Descriptor::of(media::MANIFEST, &manifest()), manifest()));
    let heard = registry.heard().pop().unwrap();
    assert_eq!(heard.line(), "GET /v2/team/app/manifests/1");
    assert!(heard.header("accept").unwrap().contains(media::INDEX));
}

#[tokio::test]
async fn a_manifest_that_lies_is_refused() {
    let other = Digest::of(b"other");
    let with = |kind: &str| Reply::new(200).header("content-type", kind).body(manifest());
    for (reply, name, said) in [
        (served(&manifest()), format!("a@{other}"), "instead of sha256:"),
        (
            served(&manifest()).header("docker-content-digest", other),
            "a:1".to_owned(),
            "another digest",
        ),
        (
            served(&manifest()).header("docker-content-digest", "md5:00"),
            "a:1".to_owned(),
            "another digest",
        ),
        (with(media::INDEX), "a:1".to_owned(), "under the name of"),
        (with(media::DOCKER_MANIFEST), "a:1".to_owned(), "under the name of"),
        (served(b"<html>"), "a:1".to_owned(), "no document"),
        (served(&manifest()).header("content-encoding", "gzip"), "a:1".to_owned(), "compressed"),
    ] {
        let registry = Registry::start(move |_, _| reply.clone()).await;
        let error = client().manifest(&registry.reference(&name)).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Broken);
        assert!(told(&error).contains(said), "{}", told(&error));
        assert_eq!(registry.lines().len(), 1, "what lies is not asked again");
    }
}

#[tokio::test]
async fn a_manifest_of_100_mib_is_refused_before_it_is_read() {
    let registry = Registry::start(|_, _| Reply::new(200).cut(100 << 20, b"{")).await;

    let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();

    assert!(told(&error).contains("larger than 4194304 bytes"), "{}", told(&error));
}

#[tokio::test]
async fn an_endless_manifest_is_read_up_to_its_bound() {
    let registry = Registry::start(|_, _| Reply::new(200).endless()).await;
    let mut settings = hasty();
    settings.patience.document = Duration::from_secs(20);
    let client = super::Client::new(settings, super::Credentials::default());

    let error = client.manifest(&registry.reference("a:1")).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Broken);
    assert!(told(&error).contains("larger than 4194304 bytes"), "{}", told(&error));
    // What the kernel holds for a connection comes on top.
    assert!(registry.sent.load(Ordering::Relaxed) < 32 << 20);
}

#[tokio::test]
async fn a_slow_answer_is_given_up() {
    let drip = Duration::from_millis(20);
    let registry = Registry::start(move |_, _| Reply::new(200).drip(drip)).await;
    let (begun, (_, blob)) = (Instant::now(), blob(1 << 20));
    let client = client();

    let error = client.manifest(&registry.reference("a:1")).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(told(&error).contains("does not send"), "{}", told(&error));
    let mut sink = Kept::new(&blob);
    let error = client.blob(&registry.reference("a:1"), &blob, &mut sink).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let client = super::Client::new(hasty().insecure(&name), super::Credentials::default());

    let error = client.manifest(&format!("{name}/a:1").parse().unwrap()).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(told(&error).contains("does not answer within 400ms"), "{}", told(&error));
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_where_it_was() {
    let (bytes, descriptor) = blob(300_000);
    let registry = Registry::start(move |heard, _| match range_of(heard) {
        None => Reply::new(200).cut(bytes.len(), &bytes[..100_000]),
        Some(from) if from < 200_000 => {
            let range = format!("bytes {from}-299999/300000");
            let rest = &bytes[from..200_000];
            Reply::new(206).header("content-range", range).cut(bytes.len() - from, rest)
        }
        Some(from) => part(&bytes, from),
    })
    .await;
    let mut sink = Kept::new(&descriptor);

    client().blob(&registry.reference("a:1"), &descriptor, &mut sink).await.unwrap();

    assert!(sink.is_right());
    assert_eq!((sink.restarts, registry.lines().len()), (0, 3));
}

#[tokio::test]
async fn a_blob_goes_on_from_what_the_sink_has() {
    let (bytes, descriptor) = blob(5000);
    let all = bytes.clone();
    let registry = Registry::start(move |heard, _| part(&all, range_of(heard).unwrap())).await;
    let mut sink = Kept::new(&descriptor);
    sink.bytes = bytes[..1234].to_vec();

    client().blob(&registry.reference("a:1"), &descriptor, &mut sink).await.unwrap();

    assert!(sink.is_right());
    assert_eq!(registry.heard()[0].header("range"), Some("bytes=1234-"));
}

#[tokio::test]
async fn a_registry_that_knows_no_parts_begins_the_blob_again() {
    let (bytes, descriptor) = blob(5000);
    let all = bytes.clone();
    let registry = Registry::start(move |_, _| Reply::new(200).body(&all)).await;
    let mut sink = Kept::new(&descriptor);
    sink.bytes = bytes[..1234].to_vec();

    client().blob(&registry.reference("a:1"), &descriptor, &mut sink).await.unwrap();

    assert!(sink.is_right() && sink.restarts == 1);
}

#[tokio::test]
async fn bad_bytes_of_another_time_are_fetched_again() {
    let (bytes, descriptor) = blob(5000);
    let registry = Registry::start(move |heard, _| match range_of(heard) {
        None => Reply::new(200).body(&bytes),
        Some(from) => part(&bytes, from),
    })
    .await;
    let mut sink = Kept::new(&descriptor);
    sink.bytes = vec![0; 100];

    client().blob(&registry.reference("a:1"), &descriptor, &mut sink).await.unwrap();

    assert!(sink.is_right() && sink.restarts == 1);
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    for range in ["bytes 0-4999/5000", "bytes 100-4999/6000", "bytes 100-6000/*", "", "x"] {
        let (bytes, descriptor) = blob(5000);
        let registry = Registry::start(move |_, _| {
            Reply::new(206).header("content-range", range).body(&bytes[100..])
        })
        .await;
        let mut sink = Kept::new(&descriptor);
        sink.bytes = vec![0; 100];

        let reference = registry.reference("a:1");
        let error = client().blob(&reference, &descriptor, &mut sink).await.unwrap_err();

        assert!(told(&error).contains("another part"), "{}", told(&error));
        assert_eq!(sink.bytes.len(), 100);
    }
}

#[tokio::test]
async fn a_blob_of_another_length_or_digest_is_refused() {
    let (bytes, descriptor) = blob(5000);
    let (longer, shorter) = ([&bytes[..], b"x"].concat(), bytes[..4999].to_vec());
    let wrong = [&bytes[..4999], b"!"].concat();
    for (body, said) in [
        (longer, "more than the 5000 bytes"),
        (shorter, "4999 bytes instead of 5000"),
        (wrong, "another digest"),
    ] {
        let registry = Registry::start(move |_, _| Reply::new(200).body(&body)).await;
        let mut sink = Kept::new(&descriptor);
        let reference = registry.reference("a:1");
        let error = client().blob(&reference, &descriptor, &mut sink).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Broken);
        assert!(told(&error).contains(said), "{}", told(&error));
        assert_eq!(registry.lines().len(), 1);
    }
}

#[tokio::test]
async fn an_endless_blob_is_stopped_at_its_size() {
    let registry = Registry::start(|_, _| Reply::new(200).endless()).await;
    let (_, descriptor) = blob(1 << 20);
    let mut sink = Kept::new(&descriptor);

    let reference = registry.reference("a:1");
    let error = client().blob(&reference, &descriptor, &mut sink).await.unwrap_err();

    assert!(told(&error).contains("more than the 1048576 bytes"), "{}", told(&error));
    assert!(sink.bytes.len() <= 1 << 20);
    assert!(registry.sent.load(Ordering::Relaxed) < 24 << 20);
}

#[tokio::test]
async fn a_registry_that_breaks_at_the_same_place_each_time_is_given_up() {
    let (bytes, descriptor) = blob(5 << 20);
    let registry =
        Registry::start(move |_, _| Reply::new(200).cut(bytes.len(), &bytes[..2 << 20])).await;
    let mut sink = Kept::new(&descriptor);

    let reference = registry.reference("a:1");
    let error = client().blob(&reference, &descriptor, &mut sink).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(registry.lines().len() <= 6, "{}", registry.lines().len());
}

#[tokio::test]
async fn too_many_requests_pass_and_failures_are_counted() {
    let registry = Registry::start(|_, number| match number {
        0 => Reply::new(429).header("retry-after", 0).body(b"{}"),
        1 => Reply::new(503),
        _ => served(&manifest()),
    })
    .await;
    client().manifest(&registry.reference("a:1")).await.unwrap();
    assert_eq!(registry.lines().len(), 3);

    let registry = Registry::start(|_, _| {
        Reply::new(500).body(br#"{"errors":[{"code":"UNKNOWN","message":"no\u001b way"}]}"#)
    })
    .await;
    let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(told(&error).contains("500: UNKNOWN (no\\u{1b} way)"), "{}", told(&error));
    assert_eq!(registry.lines().len(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once() {
    let registry = Registry::start(|_, _| Reply::new(404)).await;
    let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::NotFound);
    assert_eq!(registry.lines().len(), 1);
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_at_last() {
    let empty = Registry::start(|_, _| Reply::new(404)).await;
    let (bytes, descriptor) = blob(5000);
    let full = Registry::start(move |heard, _| {
        if heard.path.contains("manifests") {
            served(&manifest())
        } else {
            Reply::new(200).body(&bytes)
        }
    })
    .await;
    let home = Registry::start(|_, _| served(&manifest())).await;
    let text = format!(
        "[registry.\"{}\"]\nmirrors = [\"{}\", \"{}\"]",
        home.address,
        empty.url(""),
        full.url("/hub"),
    );
    let mut settings = Settings::parse(&text, &mut |_| unreachable!()).unwrap();
    settings.patience = hasty().patience;
    let client = super::Client::new(settings, super::Credentials::default());
    let reference = home.reference("team/app:1");

    client.manifest(&reference).await.unwrap();
    let mut sink = Kept::new(&descriptor);
    client.blob(&reference, &descriptor, &mut sink).await.unwrap();

    assert!(sink.is_right());
    let path =
        format!("/v2/hub/team/app/manifests/1?ns={}", home.address.to_string().replace(':', "%3A"));
    assert_eq!(full.heard()[0].path, path);
    assert_eq!(empty.lines()[0], "GET /v2/team/app/manifests/1");
    assert!(home.lines().is_empty(), "{:?}", home.lines());
}

#[tokio::test]
async fn a_name_without_a_registry_is_asked_of_nobody() {
    let error = client().manifest(&"app:1".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), RegistryErrorKind::Refused);
}
