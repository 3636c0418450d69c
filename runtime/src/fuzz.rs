//! What fuzz targets call: parsers of a stranger's bytes that are not public.
//!
//! This module exists under `cfg(fuzzing)` alone, and promises nothing.

use std::path::Path;

use crate::capabilities::check_guest_path;
use crate::digest::Digest;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::Ignore;
use crate::dockerfile::Met;
use crate::dockerfile::Names;
use crate::dockerfile::Words;
use crate::engine::Job;
use crate::engine::Report;
use crate::engine::compile as compile_job;
use crate::image::Compression;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::Image;
use crate::image::Layer;
use crate::image::Reference;
use crate::process::Call;
use crate::registry::Challenge;
use crate::registry::Credentials;
use crate::registry::Settings;
use crate::rootfs::Bounds;
use crate::rootfs::unpack_within;
use crate::trust::Evidence;
use crate::trust::Policy;
use crate::trust::Verdict;

/// The one form of a guest path.
pub fn guest_path(text: &str) -> Result<String, String> {
    check_guest_path(text).map_err(|error| error.to_string())
}

/// Compiles, and returns the reason where that is refused.
pub fn compile(bytes: &[u8]) -> Option<String> {
    let job = Job { digest: Digest::of(bytes), kind: crate::engine::Kind::default() };
    match compile_job(&job, bytes, std::io::sink()) {
        Report::Compiled { .. } => None,
        Report::Invalid { reason } => Some(reason),
        other => Some(format!("{other:?}")),
    }
}

/// Reads what a compiler process says.
pub fn report(bytes: &[u8]) {
    let _claim: Result<Report, _> = serde_json::from_slice(bytes);
}

/// Reads the arguments that call a role.
pub fn call<'a>(words: impl Iterator<Item = &'a str>) {
    let args: Vec<std::ffi::OsString> = words.map(Into::into).collect();
    let _call = Call::from_args(&args);
}

/// Reads an entry of the stat index.
pub fn index_entry(text: &str) {
    let _known = crate::engine::read_entry(text);
}

/// Reads a document of an image, and, where it is a manifest, what it describes.
pub fn image(document: &[u8], config: &[u8], start: &[u8]) {
    let entry = || Descriptor::of("", document);
    if let Ok(Document::Manifest(manifest)) = Document::parse(document) {
        let start_of = |_: &Descriptor| Ok::<_, std::io::Error>(start.to_vec());
        if let Ok(image) = Image::new(None, (entry(), entry()), &manifest, config, start_of) {
            let _words = image.execution().command_line(&["x".to_owned()]);
            assert!(!image.to_string().is_empty());
        }
    }
}

/// Unpacks a layer into a directory, whatever it is compressed with, and says whether that could be
/// done.
pub fn layer(bytes: &[u8], into: &Path) -> bool {
    let compression = match bytes {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let layer = Layer { blob: Descriptor::of("", bytes), compression, diff_id: None };
    let bounds = Bounds { bytes: 1 << 20, bytes_free: 1 << 20, ratio: 100, entries: 200 };
    unpack_within(&[layer], |_| Ok(bytes), into, bounds).is_ok()
}

/// Reads a Dockerfile, and finds out what its words stand for.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(file) = Dockerfile::parse(bytes) else { return };
    assert!(!file.stages.is_empty());
    let value_of = |name: &str| (name.len() % 2 == 0).then(|| name.to_ascii_lowercase());
    let words = Words { escape: file.escape, value_of };
    let texts = file.stages.iter().map(|stage| &stage.base);
    for text in texts.chain(file.arguments.iter().filter_map(|(_, (_, value))| value.as_ref())) {
        let _word = words.expand(text);
    }
}

/// Holds a path against a file of what is left out, and says whether it is.
pub fn is_left_out(file: &[u8], path: &str) -> Option<bool> {
    let ignore = Ignore::parse(file).ok()?;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let met = ends.fold(Met::default(), |above, end| ignore.look(&above, &path[..end]));
    Some(ignore.leaves_out(&met))
}

/// Whether a pattern of `COPY` means a name.
pub fn means(pattern: &str, name: &str) -> Option<bool> {
    Some(Names::parse(pattern).ok()?.matches(name))
}

/// Reads what a registry asks for.
pub fn challenge(headers: &[u8]) {
    if let Some(Challenge::Bearer { realm, .. }) =
        Challenge::choose(headers.split(|byte| *byte == b'\n'))
    {
        assert!(realm.is_ascii());
    }
}

/// Reads a policy, and holds a signature against it, which cannot be right.
pub fn policy(text: &str, evidence: &[u8]) {
    // The one of the specification of Ed25519, of which nobody here has the private half.
    const KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let Ok(policy) = Policy::parse(text, &mut |_| Ok(KEY.to_vec())) else { return };
    let Ok(reference) = "registry.example/team/app:1".parse::<Reference>() else { return };
    if let Verdict::Signed(_, wanted) = policy.verdict(&reference) {
        for signed in wanted {
            let digest = Digest::of(evidence);
            assert!(signed.check(Evidence::Bundle(evidence), digest, &reference).is_err());
            let signature = std::str::from_utf8(evidence).unwrap_or_default();
            let simple = Evidence::Simple { payload: evidence, signature };
            assert!(signed.check(simple, digest, &reference).is_err());
        }
    }
}

/// Reads settings of registries, and logins.
pub fn settings(text: &str) {
    let _settings = Settings::parse(text, &mut |_| Err(std::io::ErrorKind::NotFound.into()));
    let _logins = Credentials::default().and_file(text);
}
