//! What failed between a registry and us, and why.

use std::io;
use std::time::Duration;

use crate::digest::Digest;
use crate::image::InvalidDocument;

use super::address::InvalidAddress;

/// The most characters that are shown of what a registry says.
const SAID_MAX: usize = 300;

/// What could not be done with a registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("cannot sign in to `{registry}`")]
    SignIn { registry: String, source: Reason },
    #[error("cannot fetch the manifest of `{reference}`")]
    Manifest { reference: String, source: Reason },
    #[error("cannot fetch blob {digest} of `{repository}`")]
    Blob { repository: String, digest: Digest, source: Reason },
    #[error("cannot send blob {digest} to `{repository}`")]
    PushBlob { repository: String, digest: Digest, source: Reason },
    #[error("cannot send the manifest of `{reference}`")]
    PushManifest { reference: String, source: Reason },
    #[error("cannot ask `{repository}` what refers to {digest}")]
    Referrers { repository: String, digest: Digest, source: Reason },
}

/// Of what kind a failure is, to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistryErrorKind {
    /// The registry has no such thing.
    NotFound,
    /// The registry wants another login, or a login.
    Unauthorized,
    /// The registry cannot be reached, or does not answer as it should; later it may.
    Unavailable,
    /// What the registry sent is not what it should be.
    Broken,
    /// It is not done, since it would not be safe, or since it makes no sense.
    Refused,
    /// Bytes could not be kept, or read, on this side.
    Own,
}

impl RegistryError {
    pub(crate) fn kind(&self) -> RegistryErrorKind {
        self.reason().kind()
    }

    fn reason(&self) -> &Reason {
        match self {
            Self::SignIn { source, .. }
            | Self::Manifest { source, .. }
            | Self::Blob { source, .. }
            | Self::PushBlob { source, .. }
            | Self::PushManifest { source, .. }
            | Self::Referrers { source, .. } => source,
        }
    }
}

/// Why something could not be done with a registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("cannot connect to {host}")]
    Connect { host: String, source: io::Error },
    #[error("no encrypted connection to {host}: {reason}")]
    Encryption { host: String, reason: String },
    #[error("the connection to {host} broke: {reason}")]
    Cut { host: String, reason: String },
    #[error("{host} does not {what} within {}", humantime::format_duration(*span))]
    Slow { host: String, what: &'static str, span: Duration },
    #[error("{host} has none{said}")]
    Missing { host: String, said: String },
    #[error("{host} does not allow it{said} (`aril login` gives it a login)")]
    Forbidden { host: String, said: String },
    #[error("{host} has more to do than it can, answer {status}{said}")]
    Busy { host: String, status: u16, said: String, after: Option<Duration> },
    #[error("{host} refuses, answer {status}{said}")]
    Answer { host: String, status: u16, said: String },
    #[error("{host} sends what is wrong: {reason}")]
    Broken { host: String, reason: String },
    #[error("{host} sends no document of an image")]
    Document { host: String, source: InvalidDocument },
    #[error("{host} leads to nowhere")]
    Lost { host: String, source: InvalidAddress },
    #[error("{0}")]
    Refused(String),
    #[error("cannot find the login for {host}: {reason}")]
    Login { host: String, reason: String },
    #[error("cannot keep or read the bytes on this side")]
    Own { source: Box<dyn std::error::Error + Send + Sync> },
}

impl Reason {
    pub(super) fn kind(&self) -> RegistryErrorKind {
        match self {
            Self::Connect { .. }
            | Self::Encryption { .. }
            | Self::Cut { .. }
            | Self::Slow { .. }
            | Self::Busy { .. } => RegistryErrorKind::Unavailable,
            Self::Missing { .. } => RegistryErrorKind::NotFound,
            Self::Forbidden { .. } | Self::Login { .. } => RegistryErrorKind::Unauthorized,
            Self::Broken { .. } | Self::Document { .. } => RegistryErrorKind::Broken,
            Self::Answer { .. } | Self::Lost { .. } | Self::Refused(_) => {
                RegistryErrorKind::Refused
            }
            Self::Own { .. } => RegistryErrorKind::Own,
        }
    }

    /// Whether the same may well succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Cut { .. } | Self::Slow { .. } | Self::Busy { .. }
        )
    }

    /// How often it is worth a try, at most.
    pub(super) fn attempts_max(&self) -> u32 {
        match self {
            // Most often a name or a port is wrong. Who is just starting is given one more chance.
            Self::Connect { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
                ) =>
            {
                2
            }
            _ => u32::MAX,
        }
    }

    /// How long to wait, where the registry says so.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }

    pub(super) fn own(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Own { source: Box::new(error) }
    }
}

#[derive(serde::Deserialize)]
struct Errors {
    errors: Vec<One>,
}

#[derive(serde::Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// What an answer that is a refusal says, for people: cut, and with nothing that acts on a
/// terminal. Source: OCI distribution specification 1.1.1, "Error Codes".
pub(super) fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) => {
            let words = errors.into_iter().take(3).map(|one| match one.message {
                Some(message) if !message.is_empty() => format!("{} ({message})", one.code),
                _ => one.code,
            });
            words.collect::<Vec<_>>().join(", ")
        }
        // A page of a proxy is of no use here.
        Err(_) => String::new(),
    };
    let shown: String = text.chars().take(SAID_MAX).collect();
    if shown.is_empty() { String::new() } else { format!(": {}", shown.escape_debug()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_cut_and_escaped() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no \u001b[2Jway","detail":{}}]}"#;
        assert_eq!(said(body), ": DENIED (no \\u{1b}[2Jway)");
        let long = format!(r#"{{"errors":[{{"code":"A","message":"{}"}}]}}"#, "x".repeat(5000));
        assert!(said(long.as_bytes()).len() < 400);
        for body in [&b"<html>"[..], b"", b"{}", b"\xff"] {
            assert_eq!(said(body), "");
        }
    }
}
