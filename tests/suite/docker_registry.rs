//! A real registry on loopback: Debian's `docker-registry`, plain, with logins, or encrypted.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::IsCa;
use rcgen::KeyPair;
use serde_json::Value;
use serde_json::json;

use crate::support::Bench;
use crate::support::skip;
use crate::support::wait_until;

/// `open sesame`, as the registry keeps it for `ali`.
const HTPASSWD: &str = "ali:$2b$05$L.F8K3iPsVov57m50qba6eEzxyFCtwdav8kjj3CknySHXHq6uIEni\n";

/// How a registry is made.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// Whether it wants a login: `ali`, and `open sesame`.
    pub(crate) with_logins: bool,
    /// For whom its certificate is, and the year in which that ends.
    pub(crate) encrypted: Option<(&'static str, i32)>,
}

/// A registry that ends with its test.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    log: PathBuf,
    /// The authority that vouches for it, where it is encrypted.
    pub(crate) authority: PathBuf,
}

impl Registry {
    /// Starts one in the test's folder; nothing, said aloud, where the machine has none.
    pub(crate) fn start(bench: &Bench, manner: &Manner) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let folder = bench.path().join("registry");
        let authority = bench.path().join("ca.pem");
        let mut config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http:\n  addr: '{address}'\n",
            folder.display()
        );
        if let Some((name, year)) = manner.encrypted {
            let (ca, chain, key) = certificates(name, year);
            fs::write(&authority, ca).unwrap();
            let chain = bench.file("chain.pem", chain);
            let key = bench.file("key.pem", key);
            let (chain, key) = (chain.display(), key.display());
            config = format!("{config}  tls: {{ certificate: {chain}, key: {key} }}\n");
        }
        if manner.with_logins {
            let logins = bench.file("htpasswd", HTPASSWD);
            let path = logins.display();
            config = format!("{config}auth: {{ htpasswd: {{ realm: test, path: {path} }} }}\n");
        }
        let config = bench.file("registry.yml", config);
        let log = bench.path().join("registry.log");
        let into = fs::File::create(&log).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null());
        let Ok(child) = command.stdout(into.try_clone().unwrap()).stderr(into).spawn() else {
            skip("`docker-registry` is not installed");
            return None;
        };
        let registry = Self { child, address, log, authority };
        wait_until("the registry listens", || TcpStream::connect(&registry.address).is_ok());
        Some(registry)
    }

    /// Puts a blob into a repository, as any tool does, and says what leads to it.
    pub(crate) fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = aril::Digest::of(bytes).to_string();
        let begun = self.ask(&format!("POST /v2/{repository}/blobs/uploads/"), "", b"");
        let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let (_, path) = location.trim().split_once(&self.address).unwrap();
        let put = format!("PUT {path}&digest={digest}");
        let answer = self.ask(&put, "application/octet-stream", bytes);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts a manifest into a repository.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, text: &str) {
        let put = format!("PUT /v2/{repository}/manifests/{tag}");
        let answer = self.ask(&put, media_type, text.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// Asks it for something, and returns all of the answer.
    fn ask(&self, line: &str, media_type: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, size) = (&self.address, body.len());
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: {media_type}\r\nContent-Length: {size}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// All that it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The requests of a method that it answered, as its log has them.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let log = self.log();
        let found = log.lines().filter(|line| line.contains(&format!("\"{method} /v2/")));
        found.map(str::to_owned).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// An authority of the test's own, and the certificate and the key of a server that it vouches
/// for under a name until a year: all as PEM.
fn certificates(name: &str, year: i32) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    (issuer.as_ref().pem(), leaf.pem(), key.serialize_pem())
}
