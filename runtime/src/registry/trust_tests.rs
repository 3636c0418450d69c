//! Who is told a login, and where an answer may lead.

use std::sync::Arc;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::image::Descriptor;
use crate::image::Manifest;
use crate::image::media;

use super::Client;
use super::Credentials;
use super::Login;
use super::RegistryErrorKind;
use super::Secret;
use super::Settings;
use super::misbehaving::Heard;
use super::misbehaving::Registry;
use super::misbehaving::Reply;
use super::misbehaving::client;
use super::misbehaving::hasty;
use super::misbehaving::told;

fn served() -> Reply {
    let manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), Vec::new());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    Reply::new(200).header("content-type", media::MANIFEST).body(bytes)
}

/// Somebody whom registries know.
fn known(registry: &Registry) -> Client {
    known_with(registry, hasty())
}

fn known_with(registry: &Registry, settings: Settings) -> Client {
    let login = Login::Password { user: "me".to_owned(), password: Secret::new("hunter2") };
    Client::new(settings, Credentials::default().with(&registry.address.to_string(), login))
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode("me:hunter2"))
}

/// A text that a handler reads, and that is known once the servers are.
type Later = Arc<Mutex<String>>;

/// A registry that asks for a token from the realm, and one that gives tokens.
async fn with_tokens(realm: Later) -> Registry {
    Registry::start(move |heard, _| {
        if heard.path.starts_with("/token") {
            return Reply::new(200).body(br#"{"token":"good","expires_in":300}"#);
        }
        if let Some("Bearer good") = heard.header("authorization") {
            served()
        } else {
            let realm = realm.lock().unwrap();
            let asked = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"x\"");
            Reply::new(401).header("www-authenticate", asked).body(b"{}")
        }
    })
    .await
}

#[tokio::test]
async fn a_name_and_a_password_are_sent_once_they_are_asked_for() {
    let registry = Registry::start(|heard, _| match heard.header("authorization") {
        Some(value) if value == basic() => served(),
        _ => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let client = known(&registry);

    client.manifest(&registry.reference("a:1")).await.unwrap();
    client.manifest(&registry.reference("a:2")).await.unwrap();

    let sent: Vec<_> =
        registry.heard().iter().map(|heard| heard.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_for_what_it_allows() {
    let realm = Later::default();
    let registry = with_tokens(Arc::clone(&realm)).await;
    *realm.lock().unwrap() = registry.url("/token?x=1");
    let client = known(&registry);

    for name in ["team/app:1", "team/app:2"] {
        client.manifest(&registry.reference(name)).await.unwrap();
    }

    let heard = registry.heard();
    assert_eq!(heard.len(), 4);
    let scope = "scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(heard[1].path, format!("/token?x=1&service=reg&{scope}&account=me"));
    assert_eq!(heard[1].header("authorization"), Some(basic().as_str()));
    assert_eq!(heard[3].header("authorization"), Some("Bearer good"));
}

#[tokio::test]
async fn nobody_in_particular_gets_a_token_too() {
    let realm = Later::default();
    let registry = with_tokens(Arc::clone(&realm)).await;
    *realm.lock().unwrap() = registry.url("/token");

    client().manifest(&registry.reference("a:1")).await.unwrap();

    assert_eq!(registry.heard()[1].header("authorization"), None);
}

#[tokio::test]
async fn an_identity_is_traded_for_a_token() {
    let realm = Later::default();
    let registry = with_tokens(Arc::clone(&realm)).await;
    *realm.lock().unwrap() = registry.url("/token");
    let login = Login::Identity(Secret::new("re&fresh"));
    let credentials = Credentials::default().with(&registry.address.to_string(), login);

    let client = Client::new(hasty(), credentials);
    client.manifest(&registry.reference("a:1")).await.unwrap();

    let asked = registry.heard()[1].clone();
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None));
    let form = String::from_utf8(asked.body).unwrap();
    assert!(form.contains("grant_type=refresh_token"), "{form}");
    assert!(form.contains("refresh_token=re%26fresh"), "{form}");
}

#[tokio::test]
async fn a_login_is_not_sent_to_a_token_server_of_somebody_else() {
    let stranger = with_tokens(Later::default()).await;
    let realm = Later::default();
    let registry = with_tokens(Arc::clone(&realm)).await;
    *realm.lock().unwrap() = format!("http://localhost:{}/token", stranger.address.port());

    let error = known(&registry).manifest(&registry.reference("a:1")).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Refused);
    let told = told(&error);
    assert!(told.contains("token_hosts = [\"localhost:"), "{told}");
    assert!(stranger.heard().is_empty(), "it was asked");
    assert!(!told.contains("hunter2"));

    // Without a login there is nothing to lose, and with the owner's word it is meant.
    client().manifest(&registry.reference("a:1")).await.unwrap();
    assert_eq!(stranger.heard()[0].header("authorization"), None);
    let text = format!(
        "[registry.\"{}\"]\ntoken_hosts = [\"localhost:{}\"]",
        registry.address,
        stranger.address.port()
    );
    let mut settings = Settings::parse(&text, &mut |_| unreachable!()).unwrap();
    settings.patience = hasty().patience;
    known_with(&registry, settings).manifest(&registry.reference("a:1")).await.unwrap();
    assert_eq!(stranger.heard()[1].header("authorization"), Some(basic().as_str()));
}

#[tokio::test]
async fn a_token_server_must_be_encrypted_or_here() {
    for realm in ["http://auth.example/token", "ftp://127.0.0.1/", "/token", ""] {
        let later = Later::default();
        let registry = with_tokens(Arc::clone(&later)).await;
        realm.clone_into(&mut later.lock().unwrap());
        let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Refused, "{realm}: {}", told(&error));
    }
}

#[tokio::test]
async fn a_login_that_is_not_taken_is_not_tried_again_nor_shown() {
    let registry = Registry::start(|_, _| {
        Reply::new(401)
            .header("www-authenticate", "Basic realm=\"x\"")
            .body(br#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#)
    })
    .await;

    let client = known(&registry);
    let error = client.manifest(&registry.reference("a:1")).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unauthorized);
    assert_eq!(registry.lines().len(), 2);
    let shown = format!("{error:?} {} {client:?}", told(&error));
    assert!(shown.contains("UNAUTHORIZED") && !shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains(&STANDARD.encode("me:hunter2")), "{shown}");
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_login_along() {
    let store = Registry::start(|_, _| served()).await;
    let to = store.url("/blob?signature=secret");
    let registry = Registry::start(move |heard, _| match heard.header("authorization") {
        Some(_) => Reply::new(307).header("location", &to),
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;

    known(&registry).manifest(&registry.reference("a:1")).await.unwrap();

    let heard = store.heard();
    assert_eq!(heard[0].path, "/blob?signature=secret");
    assert_eq!(heard[0].header("authorization"), None);
}

#[tokio::test]
async fn a_host_that_was_led_to_cannot_ask_for_a_login() {
    let thief =
        Registry::start(|_, _| Reply::new(401).header("www-authenticate", "Basic realm=\"x\""))
            .await;
    let to = thief.url("/blob");
    let registry = Registry::start(move |_, _| Reply::new(302).header("location", &to)).await;

    let error = known(&registry).manifest(&registry.reference("a:1")).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unauthorized);
    assert_eq!(thief.heard().len(), 1);
    assert_eq!(thief.heard()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_it_should_not() {
    for (location, said) in [
        ("/v2/a/manifests/1", "more than 5 times"),
        ("http://169.254.169.254/latest/meta-data", "not encrypted"),
        ("https://169.254.169.254/latest/meta-data", "may not send us"),
        ("file:///etc/passwd", "leads to nowhere"),
        ("https://user:hunter2@x.example/", "leads to nowhere"),
        ("", "leads to nowhere"),
    ] {
        let registry =
            Registry::start(move |_, _| Reply::new(302).header("location", location)).await;
        let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();
        assert_eq!(error.kind(), RegistryErrorKind::Refused, "{}", told(&error));
        assert!(told(&error).contains(said), "{location}: {}", told(&error));
        assert!(registry.lines().len() <= 6);
    }
    let registry = Registry::start(|_, _| Reply::new(302)).await;
    let error = client().manifest(&registry.reference("a:1")).await.unwrap_err();
    assert!(told(&error).contains("but not where"), "{}", told(&error));
}

#[tokio::test]
async fn a_registry_elsewhere_is_not_spoken_to_without_encryption() {
    // This address is this host's own, and not called so.
    let registry = Registry::start(|_, _| served()).await;
    let text = format!("[registry.\"{}\"]\ninsecure = false", registry.address);
    let mut settings = Settings::parse(&text, &mut |_| unreachable!()).unwrap();
    settings.patience = hasty().patience;
    let client = Client::new(settings, Credentials::default());

    let error = client.manifest(&registry.reference("a:1")).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unavailable);
    assert!(told(&error).contains("https://"), "{}", told(&error));
    assert!(registry.heard().iter().all(|heard: &Heard| !heard.path.starts_with("/v2")));
}

#[tokio::test]
async fn signing_in_tells_a_good_login_from_a_bad_one() {
    let registry = Registry::start(|heard, _| match heard.header("authorization") {
        Some(value) if value == basic() => Reply::new(200),
        _ => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let name = registry.address.to_string();

    known(&registry).sign_in(&name).await.unwrap();
    let error = client().sign_in(&name).await.unwrap_err();

    assert_eq!(error.kind(), RegistryErrorKind::Unauthorized);
    assert_eq!(registry.heard()[0].path, "/v2/");
}
