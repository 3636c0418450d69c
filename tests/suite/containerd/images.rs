//! Images for the tests of containerd: of guests, as `aril build` and `aril save` write them, and of
//! programs of this machine.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::layouts::CONFIG;
use crate::layouts::Layout;
use crate::support::Bench;
use crate::support::guest;
use crate::support::installed;

/// What keeps the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// A shell with its tools.
pub(super) const BUSYBOX: &str = "localhost/busybox:1";

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The archive of [`PAUSE`]; nothing, said aloud, where it was not made.
pub(super) fn pause(bench: &Bench) -> Option<PathBuf> {
    Some(native(bench, PAUSE, &guest("pause")?))
}

/// The archive of [`BUSYBOX`]; nothing, said aloud, where this machine has none.
pub(super) fn busybox(bench: &Bench) -> Option<PathBuf> {
    Some(native(bench, BUSYBOX, &installed("busybox")?.join("busybox")))
}

/// The archive of an image with one program of this machine, which is at `/` by its own name.
fn native(bench: &Bench, name: &str, program: &Path) -> PathBuf {
    let file = program.file_name().unwrap().to_str().unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let bytes = fs::read(program).unwrap();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    layer.append_data(&mut header, file, &bytes[..]).unwrap();
    let layer = layer.into_inner().unwrap();
    let mut layout = Layout::default();
    let layer = layout.blob(LAYER, layer);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": [format!("/{file}")], "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = layout.blob(CONFIG, config.to_string());
    let mut entry = layout.manifest(&config, &[layer]);
    // By which containerd calls what it imports.
    entry["annotations"] = json!({"io.containerd.image.name": name});
    layout.entries.push(entry);
    bench.file(&format!("{}.tar", name.replace(['/', ':'], "-")), layout.archive())
}

/// The archive of an image of guests: the first one is its program, and all are at `/NAME.wasm`.
pub(super) fn wasm(bench: &Bench, name: &str, guests: &[(&str, &[u8])]) -> PathBuf {
    let folder = name.replace(['/', ':'], "-");
    let mut line = vec!["build".to_owned()];
    for (number, (name, wasm)) in guests.iter().enumerate() {
        let is_text = !wasm.starts_with(b"\0asm");
        let ending = if is_text && number == 0 { "wat" } else { "wasm" };
        let content = if is_text && number != 0 { compiled(wasm) } else { wasm.to_vec() };
        let path = bench.file(&format!("{folder}/{name}.{ending}"), content);
        if number == 0 {
            line.push(path.display().to_string());
        } else {
            line.extend(["--copy".to_owned(), format!("{folder}/{name}.wasm:/")]);
        }
    }
    line.extend(["-q", "-t", name].map(str::to_owned));
    bench.aril(line).outcome().expect_code(0);
    let archive = bench.path().join(format!("{folder}.tar"));
    bench.aril(["save", "-o", archive.to_str().unwrap(), name]).outcome().expect_code(0);
    archive
}

/// The text of a guest as the guest that it is.
fn compiled(text: &[u8]) -> Vec<u8> {
    wat::parse_bytes(text).unwrap().into_owned()
}
