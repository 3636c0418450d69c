//! Registries that lie, and such that do nothing but keep us busy: each ends in time and with a
//! reason, and nothing of it gets into the store.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aril::Digest;
use serde_json::Value;
use serde_json::json;

use crate::hostile::Heard;
use crate::hostile::Hostile;
use crate::hostile::Reply;
use crate::layouts::CONFIG;
use crate::layouts::INDEX;
use crate::layouts::Layout;
use crate::layouts::MANIFEST;
use crate::layouts::WASM;
use crate::layouts::WASM_CONFIG;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::wait_until;

/// The most memory that a pull may take while it is attacked, in bytes.
const MEMORY_MAX: u64 = 64 << 20;

/// The most that an attack may leave on the disk, in bytes: what was whole and asked for.
const LEFT_MAX: u64 = 8 << 20;

/// A bench whose `aril` waits a second for a registry, and tries everything twice.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("config/registries.toml", "timeout = \"1s\"\nattempts = 2\n");
    bench
}

/// `aril pull` of what a registry has.
fn pull(bench: &Bench, registry: &Hostile) -> Outcome {
    let name = format!("{}/app:1", registry.address);
    let run = bench.aril(["pull", "-q", &name]);
    let (outcome, peak) =
        run.env("ARIL_CONFIG_DIR", bench.path().join("config")).start().outcome_and_peak();
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    outcome
}

/// Fails unless a pull fails with this code, says this, and leaves the store without an image.
#[track_caller]
fn refuses(registry: &Hostile, code: i32, said: &str) -> (Bench, Outcome) {
    let bench = bench();
    let refused = pull(&bench, registry).expect_code(code).expect_error(said);
    assert!(refused.stderr.starts_with("aril: cannot pull the image"), "{refused:#?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:#?}");
    bench.aril(["images", "-q"]).outcome().expect_code(0).expect_output("");
    let left = size_of(&bench.data());
    assert!(left < LEFT_MAX, "{left} bytes are left");
    (bench, refused)
}

fn size_of(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| size_of(&entry.unwrap().path())).sum()
    } else {
        metadata.len()
    }
}

fn hello() -> Vec<u8> {
    wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap()
}

/// What a registry has: documents and blobs by digest, and the digest of what `app:1` is.
#[derive(Clone, Default)]
struct Shelf {
    blobs: BTreeMap<String, Vec<u8>>,
    named: String,
}

impl Shelf {
    fn of(make: impl FnOnce(&mut Layout) -> Value) -> Self {
        let mut layout = Layout::default();
        let named = make(&mut layout)["digest"].as_str().unwrap().to_owned();
        let blobs = layout.blobs.into_iter();
        let blobs = blobs.map(|(hex, bytes)| (format!("sha256:{hex}"), bytes)).collect();
        Self { blobs, named }
    }

    /// With one artifact, of one program.
    fn good() -> Self {
        Self::of(|layout| layout.artifact(&[&hello()]))
    }

    /// What an honest registry answers.
    fn honest(&self, heard: &Heard) -> Reply {
        let name = heard.line.rsplit('/').next().unwrap();
        let digest = if name == "1" { &self.named } else { name };
        match self.blobs.get(digest) {
            Some(bytes) if heard.line.contains("/manifests/") => {
                let index = String::from_utf8_lossy(bytes).contains("\"manifests\":[");
                Reply::document(if index { INDEX } else { MANIFEST }, bytes.clone())
            }
            Some(bytes) => Reply::new(200).body(bytes.clone()),
            None if heard.line == "GET /v2/" => Reply::new(200),
            None => Reply::new(404),
        }
    }

    /// The digest of its program.
    fn program() -> String {
        Digest::of(&hello()).to_string()
    }

    fn serve(self) -> Hostile {
        Hostile::start(move |heard, _| self.honest(heard))
    }

    /// A registry that is honest but for what it answers about one thing.
    fn but(
        self,
        about: &'static str,
        reply: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Hostile {
        Hostile::start(move |heard, number| {
            if heard.line.contains(about) { reply(heard, number) } else { self.honest(heard) }
        })
    }

    /// The same, about its program.
    fn but_for_program(
        self,
        reply: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Hostile {
        let program = Self::program();
        Hostile::start(move |heard, number| {
            if heard.line.ends_with(&program) { reply(heard, number) } else { self.honest(heard) }
        })
    }
}

#[test]
fn an_honest_registry_is_pulled_from() {
    let bench = bench();
    let registry = Shelf::good().serve();
    pull(&bench, &registry).expect_code(0);
    let name = format!("{}/app:1", registry.address);
    bench.run(["--pull", "never", &name]).outcome().expect_code(0);
}

#[test]
fn a_manifest_without_end_is_refused_at_its_bound() {
    let document = || Reply::new(200).header("content-type", MANIFEST);
    for make in [
        &(|| document().endless_of(100 << 20)) as &(dyn Fn() -> Reply + Send + Sync),
        &|| document().endless_of(4 << 30),
        &|| document().endless(),
    ] {
        let reply = make();
        let registry = Shelf::good().but("/manifests/", move |_, _| reply.clone());
        refuses(&registry, 126, "it is larger than 4194304 bytes");
        // What is not read of it fills the connection at most, of which kernels keep 36 MiB by default.
        assert!(registry.sent() < 64 << 20, "{} bytes were taken", registry.sent());
        assert_eq!(registry.asked_for("/manifests/"), 1);
    }
}

#[test]
fn a_blob_of_another_size_or_content_than_it_should_have_is_refused() {
    let size = hello().len() as u64;
    let other = || vec![b'x'; hello().len()];
    let cases: [(Reply, i32, &str); 7] = [
        (Reply::new(200).body(other()), 126, "bytes with another digest"),
        (Reply::new(200).body(&hello()[1..]), 126, "bytes instead of"),
        (Reply::new(200).body([hello(), vec![0]].concat()), 126, "more than the"),
        (Reply::new(200).endless_of(size + 1), 126, "more than the"),
        (Reply::new(200).endless(), 126, "more than the"),
        (Reply::new(200).cut(size, &hello()[..20]), 125, "broke"),
        (Reply::new(206).header("content-range", "bytes 0-9/99").body(other()), 125, "206"),
    ];
    for (reply, code, said) in cases {
        let registry = Shelf::good().but_for_program(move |_, _| reply.clone());
        let (bench, _) = refuses(&registry, code, said);
        let program = Shelf::program().replace("sha256:", "");
        let blob = bench.data().join("content/blobs/sha256").join(program);
        assert!(!blob.exists(), "{said}: what is broken is in the store");
        assert!(registry.sent() < 64 << 20, "{} bytes were taken", registry.sent());
    }
}

#[test]
fn a_digest_that_is_none_is_refused_wherever_a_registry_says_it() {
    let long = format!("sha512:{}", "a".repeat(128));
    let upper = format!("sha256:{}", "A".repeat(64));
    for digest in ["sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "", "x", &long, &upper]
    {
        let (manifest, digest) = (MANIFEST, digest.to_owned());
        let shelf = Shelf::of(|layout| {
            let config = layout.blob(WASM_CONFIG, "{}");
            let layer = json!({"mediaType": WASM, "digest": digest, "size": 8});
            layout.manifest(&config, &[layer])
        });
        refuses(&shelf.serve(), 126, "no document of an image");
        let shelf = Shelf::good();
        let bytes = shelf.blobs[&shelf.named].clone();
        let registry = shelf.but("/manifests/", move |_, _| {
            Reply::document(manifest, bytes.clone()).header("docker-content-digest", &digest)
        });
        refuses(&registry, 126, "it says another digest");
    }
}

#[test]
fn a_document_under_the_name_of_another_is_refused() {
    let good = Shelf::good();
    let manifest = good.blobs[&good.named].clone();
    let both = json!({
        "schemaVersion": 2, "config": {"mediaType": CONFIG, "digest": Shelf::program(), "size": 2},
        "layers": [], "manifests": [],
    });
    for (media_type, body, said) in [
        (INDEX, manifest.clone(), "a document under the name of"),
        (MANIFEST, both.to_string().into_bytes(), "no document of an image"),
        (MANIFEST, b"{}".to_vec(), "no document of an image"),
        (MANIFEST, b"<html>nothing</html>".to_vec(), "no document of an image"),
        (MANIFEST, [&b"{\"a\":".repeat(100_000)[..], b"1"].concat(), "no document of an image"),
    ] {
        let reply = Reply::document(media_type, body);
        let registry = good.clone().but("/manifests/", move |_, _| reply.clone());
        refuses(&registry, 126, said);
    }
}

#[test]
fn indexes_in_indexes_end_somewhere() {
    let deep = Shelf::of(|layout| {
        let image = layout.artifact(&[&hello()]);
        (0..1000).fold(image, |inner, _| layout.nested(&[inner]))
    });
    let registry = deep.serve();
    refuses(&registry, 126, "its indexes are nested too deep");
    assert!(registry.asked_for("GET") < 10, "{:#?}", registry.heard());

    // Only whoever lies about digests can have a document lead to itself.
    let inner = format!("sha256:{}", "a".repeat(64));
    let circle = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{"mediaType": INDEX, "digest": inner, "size": 200}],
    });
    let circle = circle.to_string();
    let registry =
        Shelf::default().but("/manifests/", move |_, _| Reply::document(INDEX, circle.clone()));
    refuses(&registry, 126, "instead of");
}

#[test]
fn a_tag_that_moves_is_read_once_and_a_digest_is_what_was_asked_for() {
    // Another image each time that the tag is asked for.
    let made = |number: usize| {
        Shelf::of(|layout| {
            let image = layout.artifact(&[format!("\0asm\x01\0\0\0\0\x02\x01{number}").as_bytes()]);
            layout.nested(&[image])
        })
    };
    let registry = Hostile::start(move |heard, number| {
        if heard.line.ends_with("/manifests/1") {
            return made(number % 10).honest(heard);
        }
        let replies = (0..10).map(|number| made(number).honest(heard));
        let is_there = |reply: &Reply| format!("{reply:?}").contains(" 200 ");
        replies.into_iter().find(is_there).unwrap_or(Reply::new(404))
    });
    let bench = bench();
    let pulled = pull(&bench, &registry);
    assert_eq!(registry.asked_for("/manifests/1"), 1, "{pulled:#?}");

    let shelf = Shelf::of(|layout| {
        let image = layout.artifact(&[&hello()]);
        layout.nested(&[image])
    });
    let other = Shelf::of(|layout| layout.artifact(&[b"\0asm\x01\0\0\0"]));
    let bytes = other.blobs[&other.named].clone();
    let registry =
        shelf.but("/manifests/sha256:", move |_, _| Reply::document(MANIFEST, bytes.clone()));
    refuses(&registry, 126, "instead of sha256:");
}

#[test]
fn an_address_in_a_layer_is_never_asked() {
    let elsewhere = Hostile::start_at("127.0.0.2", |_, _| Reply::new(200).body(hello()));
    let urls = [
        format!("http://{}/x", elsewhere.address),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
    ];
    let shelf = Shelf::of(|layout| {
        let config = layout.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
        let mut layer = layout.blob(WASM, hello());
        layer["urls"] = json!(urls);
        layout.manifest(&config, &[layer])
    });
    let registry = shelf.clone().but_for_program(|_, _| Reply::new(404));
    refuses(&registry, 127, "cannot fetch blob");
    pull(&bench(), &shelf.serve()).expect_code(0);
    assert!(elsewhere.heard().is_empty(), "{:#?}", elsewhere.heard());
}

/// Keeps a login for a registry.
fn log_in(bench: &Bench, registry: &Hostile) {
    // `ali:open sesame` in base64.
    let login = json!({"auths": {registry.address.to_string(): {"auth": "YWxpOm9wZW4gc2VzYW1l"}}});
    let file = bench.file("config/auth.json", login.to_string());
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Fails where a login is in what was said.
#[track_caller]
fn is_silent(outcome: &Outcome) {
    for secret in ["sesame", "YWxpOm9wZW4gc2VzYW1l", "hush"] {
        assert!(!format!("{outcome:?}").contains(secret), "{outcome:#?}");
    }
}

#[test]
fn a_login_is_not_sent_to_a_token_server_of_somebody_else() {
    let thief = Hostile::start_at("127.0.0.2", |_, _| Reply::new(200).body(r#"{"token":"hush"}"#));
    for realm in ["token", "token?account=x"] {
        let challenge = format!("Bearer realm=\"http://{}/{realm}\",service=\"x\"", thief.address);
        let registry =
            Hostile::start(move |_, _| Reply::new(401).header("www-authenticate", &challenge));
        let bench = bench();
        log_in(&bench, &registry);
        let refused = pull(&bench, &registry).expect_code(125);
        is_silent(&refused);
        refused.expect_error("127.0.0.2");
    }
    assert!(thief.heard().is_empty(), "{:#?}", thief.heard());
}

#[test]
fn a_redirection_takes_no_login_along_and_leads_nowhere_it_should_not() {
    let store = Hostile::start_at("127.0.0.2", |_, _| Reply::new(200).body(hello()));
    let asks = |shelf: Shelf, to: String| {
        let program = Shelf::program();
        Hostile::start(move |heard, _| match heard.header("authorization") {
            None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
            Some(_) if heard.line.ends_with(&program) => Reply::new(307).header("location", &to),
            Some(_) => shelf.honest(heard),
        })
    };
    let to = format!("http://{}/blob?signature=hush", store.address);
    let registry = asks(Shelf::good(), to);
    let own = bench();
    log_in(&own, &registry);
    is_silent(&pull(&own, &registry).expect_code(0));
    assert_eq!(store.heard().len(), 1);
    for heard in store.heard() {
        assert!(heard.header("authorization").is_none() && heard.header("cookie").is_none());
    }

    let round = Hostile::start_at("127.0.0.2", |_, _| Reply::new(302).header("location", "/again"));
    let again = format!("http://{}/again", round.address);
    for (to, said) in [
        ("http://169.254.169.254/latest/meta-data", "which is not encrypted"),
        ("https://169.254.169.254/latest/meta-data", "may not send us"),
        ("file:///etc/passwd", "is no address to go to"),
        ("http://ali:hush@127.0.0.2/", "is no address to go to"),
        (&again, "leads from one place to the next"),
    ] {
        let registry = asks(Shelf::good(), to.to_owned());
        let bench = bench();
        log_in(&bench, &registry);
        let refused = pull(&bench, &registry).expect_code(125);
        is_silent(&refused);
        refused.expect_error(said);
    }
    assert_eq!(round.heard().len(), 5);
}

#[test]
fn a_registry_that_has_too_much_to_do_is_waited_for_and_one_that_fails_is_given_up() {
    let shelf = Shelf::good();
    let busy = Hostile::start(move |heard, number| match number {
        // The first is a connection to find out about encryption, which is not heard.
        0 => Reply::new(429).header("retry-after", 1),
        _ => shelf.honest(heard),
    });
    let pulled = pull(&bench(), &busy).expect_code(0);
    assert!(Duration::from_secs(1) <= pulled.elapsed, "{pulled:#?}");

    for status in [429, 500, 503] {
        let registry = Hostile::start(move |_, _| Reply::new(status).header("retry-after", 0));
        let (_, refused) = refuses(&registry, 125, &format!("answer {status}"));
        assert!(refused.elapsed < Duration::from_secs(20), "{refused:#?}");
        assert_eq!(registry.asked_for("/manifests/1"), 2);
    }
}

#[test]
fn a_registry_that_is_slow_is_given_up() {
    let size = hello().len() as u64;
    let document = || Reply::new(200).header("content-type", MANIFEST);
    let manifests =
        [(document().drip(1000), "does not send"), (Reply::silence(), "does not answer within 1s")];
    for (reply, said) in manifests {
        let registry = Shelf::good().but("/manifests/", move |_, _| reply.clone());
        let (_, refused) = refuses(&registry, 125, said);
        assert!(refused.elapsed < Duration::from_secs(20), "{refused:#?}");
    }
    let registry = Shelf::good().but_for_program(move |_, _| Reply::new(200).drip(size));
    let (_, refused) = refuses(&registry, 125, "does not send enough within 1s");
    assert!(refused.elapsed < Duration::from_secs(20), "{refused:#?}");
}

#[test]
fn what_is_no_program_is_not_named_though_its_blobs_are_right() {
    let wasm = hello();
    let none = Shelf::of(|layout| layout.artifact(&[]));
    let two = Shelf::of(|layout| layout.artifact(&[&wasm, b"\0asm\x01\0\0\0"]));
    let no_json = Shelf::of(|layout| {
        let config = layout.blob(CONFIG, "<html>");
        let layer = layout.blob(WASM, wasm.clone());
        layout.manifest(&config, &[layer])
    });
    let huge = Shelf::of(|layout| {
        let config = json!({"mediaType": CONFIG, "digest": Shelf::program(), "size": 100 << 20});
        let layer = layout.blob(WASM, wasm.clone());
        layout.manifest(&config, &[layer])
    });
    let lie = Shelf::of(|layout| {
        let config = layout.blob(WASM_CONFIG, "{}");
        let layer = layout.blob(WASM, b"\x7fELF is no wasm".to_vec());
        layout.manifest(&config, &[layer])
    });
    for (shelf, said) in [
        (none, "layer"),
        (two, "it has 2 programs, and one is expected"),
        (no_json, "configuration"),
        (huge, "its configuration would have 104857600 bytes"),
        (lie, "wasm"),
    ] {
        refuses(&shelf.serve(), 126, said);
    }
}

#[test]
fn a_layer_that_says_it_is_enormous_takes_no_room() {
    let shelf = Shelf::of(|layout| {
        let config = layout.blob(WASM_CONFIG, "{}");
        let mut layer = layout.blob(WASM, hello());
        layer["size"] = json!(1_u64 << 60);
        layout.manifest(&config, &[layer])
    });
    refuses(&shelf.serve(), 126, "bytes instead of 1152921504606846976");
}

/// Whether a blob is in the store of a bench.
fn has(bench: &Bench, digest: &str) -> bool {
    let hex = digest.trim_start_matches("sha256:");
    bench.data().join("content/blobs/sha256").join(hex).exists()
}

#[test]
fn what_a_pull_has_fetched_is_not_removed_before_it_has_its_name() {
    let shelf = Shelf::good();
    let others: Vec<String> =
        shelf.blobs.keys().filter(|digest| **digest != Shelf::program()).cloned().collect();
    assert_eq!(others.len(), 2, "a manifest and a configuration");
    // It holds the program back until it is told to go on.
    let is_over = Arc::new(AtomicBool::new(false));
    let go_on = Arc::clone(&is_over);
    let honest = shelf.clone();
    let registry = Hostile::start(move |heard, _| {
        if heard.line.ends_with(&Shelf::program()) {
            wait_until("the end of the others", || go_on.load(Ordering::Relaxed));
        }
        honest.honest(heard)
    });
    let bench = Bench::new();
    let name = format!("{}/app:1", registry.address);
    let pull = bench.aril(["pull", "-q", &name]).start();
    wait_until("all but the program", || others.iter().all(|digest| has(&bench, digest)));

    // Neither who removes what has no name, nor who takes out what came with a broken archive.
    bench.aril(["prune"]).outcome().expect_code(0);
    assert!(others.iter().all(|digest| has(&bench, digest)), "it was pruned");
    let mut broken = Layout::default();
    for (digest, bytes) in &shelf.blobs {
        if *digest != Shelf::program() {
            broken.blobs.insert(digest.replace("sha256:", ""), bytes.clone());
        }
    }
    broken.index = Some(b"{}".to_vec());
    bench.file("broken.tar", broken.archive());
    bench.aril(["load", "-i", "broken.tar"]).outcome().expect_code(126);
    assert!(others.iter().all(|digest| has(&bench, digest)), "it was taken out");
    assert!(!has(&bench, &Shelf::program()), "the program was not held back");
    is_over.store(true, Ordering::Relaxed);

    pull.outcome().expect_code(0);
    bench.run(["--pull", "never", &name]).outcome().expect_code(0);
}

#[test]
fn what_a_pull_leaves_that_broke_is_used_by_the_next_and_removed_by_a_prune() {
    let size = hello().len() as u64;
    let honest = Shelf::good();
    let registry = Shelf::good().but_for_program(move |heard, _| {
        // It breaks until it is asked for the rest.
        match heard.header("range") {
            None => Reply::new(200).cut(size, &hello()[..20]),
            Some("bytes=20-") => Reply::new(206)
                .header("content-range", format!("bytes 20-{}/{size}", size - 1))
                .body(&hello()[20..]),
            Some(_) => honest.honest(heard),
        }
    });
    let count = |bench: &Bench, folder: &str| {
        fs::read_dir(bench.data().join("content").join(folder)).unwrap().count()
    };
    for is_pruned in [false, true] {
        let bench = bench();
        bench.file("config/registries.toml", "timeout = \"1s\"\nattempts = 1\n");
        pull(&bench, &registry).expect_code(125).expect_error("broke");
        // The manifest and the beginning of the program at least, and nobody holds them.
        assert!(0 < count(&bench, "blobs/sha256") && 0 < count(&bench, ".aril/partial"));
        assert_eq!(count(&bench, ".aril/leases"), 0);
        bench.aril(["images", "-q"]).outcome().expect_code(0).expect_output("");
        if is_pruned {
            bench.aril(["prune"]).outcome().expect_code(0);
            let left = ["blobs/sha256", ".aril/partial"].map(|folder| count(&bench, folder));
            assert_eq!(left, [0, 0], "what a prune leaves of it");
        } else {
            pull(&bench, &registry).expect_code(0);
            let asked =
                registry.heard().into_iter().rfind(|it| it.line.ends_with(&Shelf::program()));
            assert_eq!(asked.unwrap().header("range"), Some("bytes=20-"));
            assert_eq!(count(&bench, ".aril/partial"), 0);
        }
    }
}
