//! Images are signed at push, and held to a policy at pull: with a real registry, and with openssl
//! for whoever else signs and checks.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::docker_registry::Registry;
use crate::registry::aril;
use crate::registry::bench_with;
use crate::registry::plain;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::skip;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A key of this test alone, which guards nothing: of `cosign generate-key-pair`, and its passphrase
/// is `test`.
const COSIGN_KEY: &str = "\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJ3bC93d3phTE5FNVdiNFV1cWFRSkRCRHJuMXprTzVE
QVJpdGxHUjczTjBVPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJESlVWTjRGUUNBQWQ2Sm50ZUMwNEE3TEgzdG51UGRMNiJ9LCJj
aXBoZXJ0ZXh0IjoiY0tRRnJxVmQ0LzlvUW1OQVF1VW1ScjdDZmZ0dG5aaHFEMW5t
WUhoVVpRNkl2ZTFIOTl6Yi9hUk1BVmI1MFR5Ri9YQzlUaUdyZjgyeWpWcVQ1Z1hx
QXphdzRwMmdlN0Foa1ordTR0MTVaOFhxVW05cjNlSG9nWkhqNVJrbzVmUWJjYnhr
M3pBbmRwUnFPV1kreWxsUEpReGYyMGxHZnByMTZadmpBT0h2bC85QzkvcHdJRTNJ
L3FubzhvT0RwUGpET0hhdkp1dEhiakZOVFE9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
";

/// A registry, a folder with an image that is named there, and openssl.
struct Scene {
    own: Bench,
    registry: Registry,
    // Dropped last: the registry writes into it.
    folder: Bench,
}

impl Scene {
    /// Nothing, said aloud, where the machine lacks something.
    fn new() -> Option<Self> {
        let folder = Bench::new();
        let registry = plain(&folder)?;
        let made = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            skip("`openssl` is not installed");
            return None;
        }
        let own = bench_with(&format!("{}/team/app:1", registry.address));
        Some(Self { own, registry, folder })
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.address)
    }

    fn aril(&self, line: &str) -> Outcome {
        aril(&self.own, line)
    }

    /// Pushes the image under a name of the registry, and says what the name leads to.
    fn push(&self, rest: &str, flags: &str) -> String {
        let name = self.name(rest);
        self.aril(&format!("tag {} {name}", self.name("team/app:1"))).expect_code(0);
        let flags = if flags.is_empty() { String::new() } else { format!(" {flags}") };
        let pushed = self.aril(&format!("push -q {name}{flags}")).expect_code(0);
        pushed.stdout.trim().to_owned()
    }

    /// A pull into a store where nothing is.
    fn pull(&self, rest: &str) -> Outcome {
        let data = tempfile::tempdir().unwrap();
        let name = self.name(rest);
        let config = self.own.path().join("config");
        let line = |args: &[&str]| {
            let run = self.own.aril(args).env("ARIL_CONFIG_DIR", &config);
            run.env("ARIL_DATA_DIR", data.path()).outcome()
        };
        let pulled = line(&["pull", "-q", &name]);
        let listed = line(&["images", "-q"]).expect_code(0).stdout;
        assert_eq!(listed.is_empty(), pulled.code != Some(0), "{listed}: {pulled:#?}");
        pulled
    }

    /// Fails unless a pull is refused for this reason.
    #[track_caller]
    fn refused(&self, rest: &str, reason: &str) {
        self.pull(rest).expect_code(125).expect_error("cannot pull the image").expect_error(reason);
    }

    /// Makes a pair of keys, `NAME.pem` and `NAME.pub`.
    fn keys(&self, name: &str) -> PathBuf {
        let private = self.own.path().join(format!("{name}.pem"));
        let public = private.with_extension("pub");
        let (private_text, public_text) = (private.to_str().unwrap(), public.to_str().unwrap());
        let curve = "ec_paramgen_curve:P-256";
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", private_text], b"");
        openssl(&["pkey", "-in", private_text, "-pubout", "-out", public_text], b"");
        private
    }

    /// Asks for a signature by one of these keys, and for nothing else.
    fn policy(&self, keys: &[&str], identity: Option<&str>) {
        let path = |key: &&str| self.own.path().join(format!("{key}.pub"));
        let paths: Vec<_> = keys.iter().map(path).collect();
        let mut rule = json!({ "type": "sigstoreSigned", "keyPaths": paths });
        if let Some(identity) = identity {
            rule["signedIdentity"] = json!({ "type": identity });
        }
        let scope = json!({ &self.registry.address: [rule] });
        let policy = json!({
            "default": [{ "type": "reject" }],
            "transports": { "docker": scope },
        });
        self.own.file("config/policy.json", policy.to_string());
    }

    fn no_policy(&self) {
        let _was_there = fs::remove_file(self.own.path().join("config/policy.json"));
    }

    /// A signature by a key of this test, in base64.
    fn signature(&self, key: &str, message: &[u8]) -> String {
        let key = self.own.path().join(format!("{key}.pem"));
        let raw = openssl(&["dgst", "-sha256", "-sign", key.to_str().unwrap()], message);
        String::from_utf8(openssl(&["base64", "-A"], &raw)).unwrap()
    }

    /// A request, and what is answered: the code, the place that it leads to, and the body.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.registry.address).unwrap();
        let path = path.trim_start_matches("http://").trim_start_matches(&self.registry.address);
        let host = &self.registry.address;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {MANIFEST}, {INDEX}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let location = head.lines().find_map(|line| line.strip_prefix("Location: "));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, location.unwrap_or_default().to_owned(), answer[end + 4..].to_vec())
    }

    /// Whether somebody fetched a blob of the registry.
    fn gave_blobs(&self) -> bool {
        let log = fs::read_to_string(self.folder.path().join("registry.log")).unwrap();
        assert!(log.contains("\"GET /v2/team/app/manifests/"), "{log}");
        log.contains("\"GET /v2/team/app/blobs/")
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let (code, _, body) = self.ask("GET", path, "", b"");
        assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    fn document(&self, repository: &str, name: &str) -> Value {
        let bytes = self.get(&format!("/v2/{repository}/manifests/{name}"));
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Sends a blob, and describes it.
    fn send_blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let (code, at, _) = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        assert_eq!(code, 202);
        let digest = digest(bytes);
        let sep = if at.contains('?') { '&' } else { '?' };
        let (code, _, said) = self.ask("PUT", &format!("{at}{sep}digest={digest}"), "", bytes);
        assert_eq!(code, 201, "{}", String::from_utf8_lossy(&said));
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// Sends a manifest or an index, and describes it.
    fn send(&self, repository: &str, name: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let kind = document["mediaType"].as_str().unwrap();
        let name = if name.is_empty() { digest(&bytes) } else { name.to_owned() };
        let path = format!("/v2/{repository}/manifests/{name}");
        let (code, _, said) = self.ask("PUT", &path, kind, &bytes);
        assert_eq!(code, 201, "{}", String::from_utf8_lossy(&said));
        json!({ "mediaType": kind, "digest": digest(&bytes), "size": bytes.len() })
    }

    /// A manifest of these layers.
    fn manifest(&self, repository: &str, layers: &[Value]) -> Value {
        let config = self.send_blob(repository, "application/vnd.oci.empty.v1+json", b"{}");
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
    }

    /// Signs a digest as cosign did before its third version: under a tag, and without an image's tag.
    fn sign_as_cosign(&self, repository: &str, digest: &str, key: &str) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": self.name(repository) },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let mut layer = self.send_blob(repository, SIMPLE, &payload);
        layer["annotations"] = json!({ SIGNATURE: self.signature(key, &payload) });
        self.send(repository, &tag_of(digest), &self.manifest(repository, &[layer]));
    }
}

/// Where cosign keeps signatures of a digest.
fn tag_of(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// What openssl says.
fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output.stdout
}

fn digest(bytes: &[u8]) -> String {
    aril::Digest::of(bytes).to_string()
}

#[test]
fn what_is_signed_at_push_is_pulled_under_a_policy_and_openssl_finds_it_right() {
    let Some(scene) = Scene::new() else { return };
    let key = scene.keys("key");
    let flags = format!("--sign-by-sigstore-private-key {}", key.display());
    let digest = scene.push("team/app:1", &flags);
    scene.policy(&["key"], None);
    scene.pull("team/app:1").expect_code(0);
    scene.pull(&format!("team/app@{digest}")).expect_code(0);

    // As whoever else looks for it: under the tag, and in the list of what refers to the image.
    let signatures = scene.document("team/app", &tag_of(&digest));
    let layers = signatures["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1, "{signatures}");
    assert_eq!(layers[0]["mediaType"], SIMPLE);
    assert_eq!(signatures["subject"]["digest"], digest);
    let listed = scene.document("team/app", &digest.replace(':', "-"));
    let entries = listed["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{listed}");
    assert_eq!(entries[0]["artifactType"], "application/vnd.dev.cosign.artifact.sig.v1+json");
    let payload =
        scene.get(&format!("/v2/team/app/blobs/{}", layers[0]["digest"].as_str().unwrap()));
    let text = layers[0]["annotations"][SIGNATURE].as_str().unwrap();
    let signature = openssl(&["base64", "-A", "-d"], text.as_bytes());
    let signature = scene.own.file("signature", signature);
    let public = key.with_extension("pub");
    let (public, signature) = (public.to_str().unwrap(), signature.to_str().unwrap());
    let verify = ["dgst", "-sha256", "-verify", public, "-signature", signature];
    assert_eq!(openssl(&verify, &payload), b"Verified OK\n");
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["critical"]["image"]["docker-manifest-digest"], digest);
    assert_eq!(said["critical"]["identity"]["docker-reference"], scene.name("team/app:1"));

    // podman and skopeo look at the manifest of each platform.
    let index = scene.document("team/app", &digest);
    for entry in index["manifests"].as_array().unwrap() {
        scene.document("team/app", &tag_of(entry["digest"].as_str().unwrap()));
    }
}

#[test]
fn signing_keeps_the_signatures_that_are_there_and_adds_none_twice() {
    let Some(scene) = Scene::new() else { return };
    let (one, two) = (scene.keys("one"), scene.keys("two"));
    let flag = "--sign-by-sigstore-private-key";
    let digest = scene.push("team/app:1", "");
    scene.sign_as_cosign("team/app", &digest, "one");
    let count = || scene.document("team/app", &tag_of(&digest))["layers"].as_array().unwrap().len();
    for (key, expected) in [(&two, 2), (&two, 2), (&one, 3)] {
        scene.push("team/app:1", &format!("{flag} {}", key.display()));
        assert_eq!(count(), expected);
    }
    let listed = scene.document("team/app", &digest.replace(':', "-"));
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 1, "what was replaced is listed");
    scene.policy(&["two"], None);
    scene.pull("team/app:1").expect_code(0);
    scene.policy(&["one"], Some("matchRepository"));
    scene.pull("team/app:1").expect_code(0);
}

#[test]
fn an_image_that_is_not_signed_as_the_policy_asks_is_refused_and_gets_no_name() {
    let Some(scene) = Scene::new() else { return };
    let (key, other) = (scene.keys("key"), scene.keys("other"));
    let flag = "--sign-by-sigstore-private-key";
    let digest = scene.push("team/app:1", "");
    scene.policy(&["key"], None);
    scene.refused("team/app:1", "and it has none");
    assert!(!scene.gave_blobs(), "blobs were fetched before the policy was asked");

    scene.push("team/app:1", &format!("{flag} {}", other.display()));
    scene.refused("team/app:1", "is by none of the keys that the policy names");

    // The right signature among others.
    scene.push("team/app:1", &format!("{flag} {}", key.display()));
    scene.pull("team/app:1").expect_code(0);
    assert!(scene.gave_blobs());

    // The same image under a name that nobody signed.
    scene.no_policy();
    scene.push("team/app:2", "");
    scene.policy(&["key"], None);
    scene.refused("team/app:2", "/team/app:1`, where the policy asks for `");

    // Another image, with the signature of the first.
    scene.no_policy();
    scene.aril("build hello.wat -t other:1 --env A=B -q").expect_code(0);
    let name = scene.name("team/app:3");
    scene.aril(&format!("tag other:1 {name}")).expect_code(0);
    let swapped = scene.aril(&format!("push -q {name}")).expect_code(0).stdout.trim().to_owned();
    let signatures = scene.document("team/app", &tag_of(&digest));
    scene.send("team/app", &tag_of(&swapped), &signatures);
    scene.policy(&["key"], Some("matchRepository"));
    scene.refused("team/app:3", &format!("for another image: {digest}"));

    // The signature of a payload that was changed.
    let payload = scene.get(&format!(
        "/v2/team/app/blobs/{}",
        signatures["layers"][1]["digest"].as_str().unwrap()
    ));
    let changed = String::from_utf8(payload).unwrap().replace(&digest, &swapped);
    let mut layer = scene.send_blob("team/app", SIMPLE, changed.as_bytes());
    layer["annotations"] = signatures["layers"][1]["annotations"].clone();
    scene.send("team/app", &tag_of(&swapped), &scene.manifest("team/app", &[layer]));
    scene.refused("team/app:3", "is by none of the keys that the policy names");

    // What the policy says nothing of, and what it does not let in at all.
    scene.own.file("config/policy.json", r#"{"default":[{"type":"reject"}]}"#);
    scene.refused("team/app:1", "the policy rejects it, by `default`");
    scene.no_policy();
    scene.pull("team/app:1").expect_code(0);
}

#[test]
fn a_signature_of_the_manifest_for_this_platform_does_as_well_as_one_of_the_index() {
    let Some(scene) = Scene::new() else { return };
    scene.keys("key");
    let index = scene.push("team/app:1", "");
    let document = scene.document("team/app", &index);
    let entries = document["manifests"].as_array().unwrap();
    let of = |os: &str| {
        let found = entries.iter().find(|entry| entry["platform"]["os"] == os).unwrap();
        found["digest"].as_str().unwrap().to_owned()
    };
    scene.policy(&["key"], Some("matchRepository"));
    // That of another platform does not count.
    scene.sign_as_cosign("team/app", &of("linux"), "key");
    scene.refused("team/app:1", "and it has none");
    scene.sign_as_cosign("team/app", &of("wasi"), "key");
    scene.pull("team/app:1").expect_code(0);

    // cosign signs repositories: a policy that asks for tags says what to do.
    scene.policy(&["key"], None);
    scene.refused("team/app:1", "\"signedIdentity\": {\"type\": \"matchRepository\"}");
}

#[test]
fn a_bundle_of_cosign_3_is_found_by_what_refers_to_the_image() {
    let Some(scene) = Scene::new() else { return };
    scene.keys("key");
    let image = scene.push("team/app:1", "");
    let statement = |predicate: &str| {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": &image["sha256:".len()..] } }],
            "predicateType": predicate,
            "predicate": {},
        })
        .to_string()
    };
    let bundle = |statement: &str| {
        let size = statement.len();
        let message = format!("DSSEv1 {} {STATEMENT} {size} {statement}", STATEMENT.len());
        let sig = scene.signature("key", message.as_bytes());
        let payload = String::from_utf8(openssl(&["base64", "-A"], statement.as_bytes())).unwrap();
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "" } },
            "dsseEnvelope": {
                "payload": payload, "payloadType": STATEMENT, "signatures": [{ "sig": sig }],
            },
        })
        .to_string()
    };
    // As cosign 3.1.1 lists it where a registry keeps no lists.
    let refer = |bundle: &str| {
        let layer = scene.send_blob("team/app", BUNDLE, bundle.as_bytes());
        let mut manifest = scene.manifest("team/app", &[layer]);
        manifest["artifactType"] = json!(BUNDLE);
        manifest["subject"] = json!({ "mediaType": INDEX, "digest": image, "size": 1 });
        let mut entry = scene.send("team/app", "", &manifest);
        entry["artifactType"] = json!("application/vnd.oci.empty.v1+json");
        let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        scene.send("team/app", &image.replace(':', "-"), &list);
    };

    refer(&bundle(&statement("https://sigstore.dev/cosign/sign/v1")));
    scene.policy(&["key"], None);
    scene.refused("team/app:1", "names no image");
    scene.policy(&["key"], Some("matchDigest"));
    scene.pull("team/app:1").expect_code(0);
    // What is stated of an image by a key that counts does not let it in.
    refer(&bundle(&statement("https://cyclonedx.org/bom")));
    scene.refused("team/app:1", "`https://cyclonedx.org/bom`, and signs nothing");
}

#[test]
fn a_registry_cannot_keep_a_pull_busy_with_signatures() {
    let Some(scene) = Scene::new() else { return };
    scene.keys("key");
    let image = scene.push("team/app:1", "");
    scene.policy(&["key"], None);
    let started = Instant::now();
    let mut layer = scene.send_blob("team/app", SIMPLE, b"x");
    layer["annotations"] = json!({ SIGNATURE: "AAAA" });
    let tag = tag_of(&image);

    let many = scene.manifest("team/app", &vec![layer.clone(); 1000]);
    scene.send("team/app", &tag, &many);
    scene.refused("team/app:1", "there is more than is looked at: 64 signatures");
    let mut huge = layer.clone();
    huge["size"] = json!(1_000_000_000);
    scene.send("team/app", &tag, &scene.manifest("team/app", &[huge]));
    scene.refused("team/app:1", "it would have 1000000000 bytes");
    layer["annotations"] = json!({ SIGNATURE: "no base64!" });
    scene.send("team/app", &tag, &scene.manifest("team/app", &[layer]));
    scene.refused("team/app:1", "cannot be read: it is not base64");

    let entry = scene.send("team/app", "", &scene.manifest("team/app", &[]));
    let list = |count| {
        let entries = vec![entry.clone(); count];
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
    };
    scene.send("team/app", &image.replace(':', "-"), &list(100));
    scene.refused("team/app:1", "there is more than is looked at: 64 signatures");
    scene.send("team/app", &image.replace(':', "-"), &list(5000));
    scene.refused("team/app:1", "it has 5000 entries");
    assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
}

#[test]
fn a_key_that_does_not_open_signs_nothing_and_nothing_is_sent() {
    let Some(scene) = Scene::new() else { return };
    let key = scene.own.file("cosign.key", COSIGN_KEY);
    let wrong = scene.own.file("wrong", "toast\n");
    let right = scene.own.file("right", "test\n");
    let name = scene.name("team/app:1");
    let push = format!("push -q {name} --sign-by-sigstore-private-key");
    for (line, said) in [
        (
            format!("{push} {}", key.display()),
            "use `--sign-passphrase-file`, or set COSIGN_PASSWORD",
        ),
        (
            format!("{push} {} --sign-passphrase-file {}", key.display(), wrong.display()),
            "the passphrase is not the one",
        ),
        (format!("{push} {}", right.display()), "there is no private key in it"),
        (format!("{push} none.key"), "cannot read `none.key`"),
    ] {
        scene.aril(&line).expect_code(125).expect_error(said);
    }
    let (code, ..) = scene.ask("GET", "/v2/team/app/tags/list", "", b"");
    assert_eq!(code, 404, "something was sent");

    let line = format!("{push} {} --sign-passphrase-file {}", key.display(), right.display());
    scene.aril(&line).expect_code(0);
    let line = format!("{push} {}", key.display());
    let config = scene.own.path().join("config");
    let run = scene.own.aril(line.split(' ')).env("ARIL_CONFIG_DIR", config);
    run.env("COSIGN_PASSWORD", "test").outcome().expect_code(0);
}

#[test]
fn a_policy_that_asks_for_what_is_not_checked_here_stops_every_pull() {
    let Some(scene) = Scene::new() else { return };
    scene.push("team/app:1", "");
    let rule = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/key.gpg"}"#;
    scene.own.file("config/policy.json", format!(r#"{{"default":[{rule}]}}"#));
    scene.aril(&format!("rmi {}", scene.name("team/app:1"))).expect_code(0);
    for verb in ["pull", "run"] {
        let outcome = scene.aril(&format!("{verb} {}", scene.name("team/app:1"))).expect_code(125);
        outcome
            .expect_error("policy.json` cannot be used")
            .expect_error("`default[0]`: `signedBy`");
    }
}

#[test]
fn a_run_that_pulls_is_held_to_the_policy() {
    let Some(scene) = Scene::new() else { return };
    scene.keys("key");
    let name = scene.name("team/app:1");
    scene.push("team/app:1", "");
    scene.aril(&format!("rmi {name}")).expect_code(0);
    scene.policy(&["key"], None);
    let refused = scene.aril(&format!("run {name}")).expect_code(125);
    refused.expect_error("and it has none").expect_output("");
    // What is in the store was let in when it came.
    scene.no_policy();
    scene.aril(&format!("pull -q {name}")).expect_code(0);
    scene.policy(&["key"], None);
    scene.aril(&format!("run {name}")).expect_code(0).expect_output("hello\n");
    scene.aril(&format!("run --pull always {name}")).expect_code(125).expect_error("it has none");
}

#[test]
fn all_signatures_that_a_policy_asks_for_are_needed() {
    let Some(scene) = Scene::new() else { return };
    let (one, other) = (scene.keys("one"), scene.keys("other"));
    let rule = |key: &str| {
        let path = scene.own.path().join(format!("{key}.pub"));
        json!({ "type": "sigstoreSigned", "keyPath": path })
    };
    let scope = json!({ &scene.registry.address: [rule("one"), rule("other")] });
    let policy = json!({ "default": [{ "type": "reject" }], "transports": { "docker": scope } });
    let sign = |key: &Path| format!("--sign-by-sigstore-private-key {}", key.display());
    scene.push("team/both:1", &sign(&one));
    scene.own.file("config/policy.json", policy.to_string());
    scene.refused("team/both:1", "by");
    scene.push("team/both:1", &sign(&other));
    scene.pull("team/both:1").expect_code(0);
}

#[test]
fn a_name_leads_to_what_was_signed_and_to_nothing_that_was_put_around_it() {
    let Some(scene) = Scene::new() else { return };
    let key = scene.keys("key");
    let sign = format!("--sign-by-sigstore-private-key {}", key.display());
    scene.push("team/app:1", &sign);
    // Somebody who has no key lays an index of their own around one manifest that was signed.
    let index = scene.document("team/app", "1");
    let inner = index["manifests"][0].clone();
    let other = index["manifests"][1].clone();
    let around = json!({
        "schemaVersion": 2, "mediaType": index["mediaType"], "manifests": [other, inner],
    });
    scene.send("team/app", "around", &around);
    let name = scene.name("team/app:around");
    scene.policy(&["key"], Some("matchRepository"));
    scene.aril(&format!("rmi {}", scene.name("team/app:1"))).expect_code(0);
    scene.aril("prune").expect_code(0);
    scene.aril(&format!("pull -q {name}")).expect_code(0);
    let kept = scene.aril("images -q --digests").expect_code(0).stdout;
    assert_eq!(kept.trim(), inner["digest"].as_str().unwrap(), "what was signed, and no more");
}
