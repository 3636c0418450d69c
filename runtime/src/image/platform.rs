//! For what an image is made, and which of several is taken.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// For what system and processor an image is made. Both may lie: what runs is decided by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The system, such as `wasi`, `wasip1`, `wasip2` or `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor, such as `wasm` or `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// A variant of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    pub(crate) fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// How well an image for this platform suits: the smallest number is taken, and one without a
    /// number never.
    pub(crate) fn rank(&self) -> Option<u32> {
        let is_wasm = matches!(self.architecture.as_str(), "wasm" | "wasm32" | "wasm64");
        let is_wasi = self.os.starts_with("wasi") || self.os == "js";
        let is_own = self.architecture == own_architecture();
        match (self.os.as_str(), self.architecture.as_str()) {
            // Attestations, as docker's builder puts them beside images.
            ("unknown", _) | (_, "unknown") => None,
            // The newest world first: `wasip2` before `wasip1`.
            ("wasip2" | "wasip3", _) if is_wasm => Some(0),
            _ if is_wasi && is_wasm => Some(1),
            _ if is_wasm => Some(2),
            ("linux", _) if is_own => Some(3),
            ("linux", "amd64") => Some(4),
            ("linux", _) => Some(5),
            _ => Some(6),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// This host's processor, as images name it.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasm_comes_before_this_processor_and_this_processor_before_others() {
        let ranks = [
            ("wasip2", "wasm"),
            ("wasi", "wasm"),
            ("linux", "wasm"),
            ("linux", own_architecture()),
            ("linux", "s390x"),
            ("windows", "amd64"),
        ];
        let ranks = ranks.map(|(os, architecture)| Platform::new(os, architecture).rank());
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(Platform::new("wasip1", "wasm").rank(), Platform::new("wasi", "wasm32").rank());
        assert_eq!(Platform::new("unknown", "unknown").rank(), None);
    }
}
