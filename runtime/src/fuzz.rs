//! What fuzz targets call: parsers of a stranger's bytes that are not public.
//!
//! This module exists under `cfg(fuzzing)` alone, and promises nothing.

use crate::capabilities::check_guest_path;
use crate::digest::Digest;
use crate::engine::Job;
use crate::engine::Report;
use crate::engine::compile as compile_job;
use crate::process::Call;

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
