//! Images made by hand, whole and broken, as other tools and attackers make them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use aril::Digest;
use serde_json::Value;
use serde_json::json;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const WASM: &str = "application/wasm";
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// An OCI image layout in the making. Nothing of it needs to be right.
#[derive(Clone, Default)]
pub(crate) struct Layout {
    /// By the names of their files, which are digests unless a test lies.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) entries: Vec<Value>,
    /// What `index.json` holds instead of the entries.
    pub(crate) index: Option<Vec<u8>>,
}

impl Layout {
    /// Adds a blob, and returns what leads to it.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let descriptor = json!({
            "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len(),
        });
        self.blobs.insert(digest.hex(), bytes);
        descriptor
    }

    /// Adds a manifest of these parts.
    pub(crate) fn manifest(&mut self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string())
    }

    /// Adds an index of these documents.
    pub(crate) fn nested(&mut self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.blob(INDEX, index.to_string())
    }

    /// Adds a wasm artifact, which has these layers.
    pub(crate) fn artifact(&mut self, layers: &[&[u8]]) -> Value {
        let config = self.blob(WASM_CONFIG, r#"{"architecture":"wasm","os":"wasip1"}"#);
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob(WASM, layer.to_vec())).collect();
        self.manifest(&config, &layers)
    }

    /// Gives a document a name.
    pub(crate) fn name(&mut self, name: &str, mut entry: Value) {
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.entries.push(entry);
    }

    /// A layout with one image, which is called `made:1`.
    pub(crate) fn of(make: impl FnOnce(&mut Self) -> Value) -> Self {
        let mut layout = Self::default();
        let entry = make(&mut layout);
        layout.name("made:1", entry);
        layout
    }

    /// What is in which file of it.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries});
        let index = self.index.clone().unwrap_or_else(|| index.to_string().into());
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index),
        ];
        let blobs = self.blobs.iter();
        files.extend(blobs.map(|(hex, bytes)| (format!("blobs/sha256/{hex}"), bytes.clone())));
        files
    }

    /// It as an OCI archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        archive(&self.files())
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        for (path, content) in self.files() {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

/// A tar archive of files.
pub(crate) fn archive<P: AsRef<str>>(files: &[(P, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path.as_ref(), &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Compresses as `gzip` does.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-n", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}
