//! Images for the benches: what is in them, where they are kept, and the registry that has them.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use aril::Digest;
use serde_json::Value;
use serde_json::json;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::run::run;

/// How long a registry may take to listen.
const REGISTRY_START_MAX: Duration = Duration::from_secs(10);

/// Fails where a program is not installed.
pub(crate) fn need(program: &str) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(Missing::new(format!("`{program}` cannot be started: {error}")).into()),
    }
}

/// `aril` that keeps images in this folder.
pub(crate) fn aril(bench: &Bench, data: &Path, args: &[&str]) -> Command {
    let mut command = bench.aril(args);
    command.env("ARIL_DATA_DIR", data);
    command
}

/// Writes that many files of that size, a hundred in a directory: three quarters of each look like
/// noise, one like text, and all are always the same.
pub(crate) fn write_files(folder: &Path, count: usize, size: usize) -> anyhow::Result<()> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for number in 0..count {
        let directory = folder.join(format!("d{:03}", number / 100));
        fs::create_dir_all(&directory)?;
        let mut content = Vec::with_capacity(size + 8);
        while content.len() < size / 4 * 3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        while content.len() < size {
            writeln!(content, "line {} of file {number}", content.len())?;
        }
        content.truncate(size);
        fs::write(directory.join(format!("f{number:05}")), content)?;
    }
    Ok(())
}

/// An OCI image layout that GNU tar and gzip make of folders, a layer of each.
pub(crate) fn write_layout(
    layout: &Path,
    folders: &[PathBuf],
    entrypoint: &str,
) -> anyhow::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let add = |media_type: &str, bytes: &[u8]| -> anyhow::Result<Value> {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()}))
    };
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for folder in folders {
        let archive = layout.join("layer.tar");
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf"]);
        run(tar.arg(&archive).arg("-C").arg(folder).arg("."), 0)?;
        diff_ids.push(Digest::of(&fs::read(&archive)?).to_string());
        run(Command::new("gzip").arg("-nf").arg(&archive), 0)?;
        let packed = layout.join("layer.tar.gz");
        layers.push(add("application/vnd.oci.image.layer.v1.tar+gzip", &fs::read(&packed)?)?);
        fs::remove_file(packed)?;
    }
    // `umoci unpack` takes no image for a system that it does not know.
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": [entrypoint]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = add("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    let mut entry = add(media_type, manifest.to_string().as_bytes())?;
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "bench"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// A registry on loopback, which ends with this value.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
}

impl Registry {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        need("docker-registry")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.join("registry.yml");
        let storage = folder.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: '{address}' }}\n",
            storage.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry = Self { child: command.spawn()?, address };
        let started = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            if let Some(status) = registry.child.try_wait()? {
                bail!("the registry ended with {status}");
            }
            ensure!(started.elapsed() < REGISTRY_START_MAX, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// The name of an image in it.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// An empty folder in place of whatever was there.
pub(crate) fn emptied(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(path)?;
    Ok(())
}
