//! What an image is called.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The longest name with its registry, in bytes: what registries and other tools take.
const NAME_MAX: usize = 255;

/// The longest tag, in bytes.
const TAG_MAX: usize = 128;

/// The tag that is meant where neither a tag nor a digest is spoken.
const TAG_DEFAULT: &str = "latest";

/// How many digits of a digest are enough to tell an image by. Fewer are also words that people call
/// an image by which is not there.
const ID_MIN: usize = 4;

/// What an image is called: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`.
///
/// The grammar is that of the OCI distribution specification 1.1.1, with the registry in front as
/// everybody writes it. The first part of a name is a registry where it has a `.` or a `:` in it, or
/// is `localhost`; a name without one is *short*: it names an image of this host's store, and
/// is never looked for elsewhere. Where neither a tag nor a digest is spoken, the tag is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    // Invariant: each part is what the grammar says.
    registry: Option<String>,
    repository: String,
    // Invariant: there is a tag, or a digest, or both.
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry, as it was written: `host` or `host:port`. A short name has none.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The repository in its registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, which then decides alone what the image is.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The registry and the repository, without tag and digest.
    pub fn name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// What a digest begins with, in hex digits, if this may be meant for that rather than for a name.
    pub(crate) fn id(&self) -> Option<&str> {
        let told = match (&self.registry, self.tag.as_deref(), self.digest) {
            (None, Some(TAG_DEFAULT), None) => self.repository.as_str(),
            (None, Some(tag), None) if self.repository == "sha256" => tag,
            _ => return None,
        };
        let is_hex = told.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && ID_MIN <= told.len()).then_some(told)
    }

    /// The same repository's image with this digest, whatever its tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same repository's image with this tag; nothing where it is none.
    pub(crate) fn with_tag(&self, tag: &str) -> Option<Self> {
        is_tag(tag).then(|| Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidReference { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    invalid("after `@`, `sha256:` and 64 lowercase hex digits are expected")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_spoken_registry(first) => {
                if !is_registry(first) {
                    return Err(invalid("its registry is not a host, or a host and a port"));
                }
                (Some(first.to_ascii_lowercase()), rest)
            }
            _ => (None, rest),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((_, tag)) if !is_tag(tag) => {
                return Err(invalid(
                    "a tag is up to 128 letters, digits, `_`, `.` and `-`, and begins with none of \
                     the last two",
                ));
            }
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !repository.split('/').all(is_component) {
            return Err(invalid(
                "a repository is made of lowercase letters and digits, with single `.`, `_`, `__` or \
                 any number of `-` between them, in parts separated by `/`",
            ));
        }
        let tag = match (tag, digest) {
            (None, None) => Some(TAG_DEFAULT.to_owned()),
            (tag, _) => tag,
        };
        let reference = Self { registry, repository: repository.to_owned(), tag, digest };
        if NAME_MAX < reference.name().len() {
            return Err(invalid("its name is longer than 255 bytes"));
        }
        Ok(reference)
    }
}

/// Whether the first part of a name is meant as a registry.
fn is_spoken_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

/// A host name or address, and a port if there is one.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, port.strip_prefix(':').or(port.is_empty().then_some("1")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), Some("1")),
        },
    };
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let host_is_one = host.is_none_or(|host| host.split('.').all(is_label));
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port_is_one =
        port.is_some_and(|port| is_number(port) && port.parse::<u16>().is_ok_and(|port| port > 0));
    host_is_one && port_is_one
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if !ends.is_some_and(|(first, last)| is_word(*first) && is_word(*last)) {
        return false;
    }
    bytes.split(|byte| is_word(*byte)).all(|between| {
        matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    inner && text.len() <= TAG_MAX && text.bytes().next().is_some_and(is_word)
}

/// A text that names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot name an image: {reason}", text.escape_debug())]
pub struct InvalidReference {
    text: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Reference {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_name_has_a_registry_where_its_first_part_looks_like_one() {
        for (text, registry, repository, tag) in [
            ("app", None, "app", "latest"),
            ("app:1", None, "app", "1"),
            ("team/app:1", None, "team/app", "1"),
            ("localhost/app", Some("localhost"), "app", "latest"),
            ("localhost:5000/app:V1_x", Some("localhost:5000"), "app", "V1_x"),
            ("127.0.0.1:5000/a/b/c", Some("127.0.0.1:5000"), "a/b/c", "latest"),
            ("[::1]:5000/app", Some("[::1]:5000"), "app", "latest"),
            (
                "Registry.Example/acme/app-1__x.y:2",
                Some("registry.example"),
                "acme/app-1__x.y",
                "2",
            ),
        ] {
            let reference = parsed(text);
            assert_eq!(reference.registry(), registry, "{text}");
            assert_eq!(
                (reference.repository(), reference.tag()),
                (repository, Some(tag)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_reference_survives_printing_and_parsing() {
        let digest = Digest::of(b"manifest");
        for text in
            ["app:1".to_owned(), format!("r.example:1/a/b@{digest}"), format!("a:1@{digest}")]
        {
            assert_eq!(parsed(&text).to_string(), text);
        }
        assert_eq!(parsed("app").to_string(), "app:latest");
        assert_eq!(parsed("app:1").with_digest(digest).to_string(), format!("app@{digest}"));
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused() {
        let long = "a".repeat(256);
        let long_tag = format!("app:{}", "1".repeat(129));
        for text in [
            "",
            ":",
            ":tag",
            "@",
            "app:",
            "app:-x",
            "app:.x",
            "App",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a._b",
            "a___b",
            "a b",
            "a\n",
            "../x",
            "a/../b",
            "ünïcode",
            "app:tag:more",
            "app:tag@sha256",
            "app@md5:00",
            "host:0/app",
            "host:65536/app",
            "host:/app",
            "host:+1/app",
            "[::1/app",
            "[x]/app",
            "[::1]x/app",
            "-h.example/app",
            "h..example/app",
            "h_.x/app",
            "x.example:5000/",
            "http://x.example/app",
            &long,
            &long_tag,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was taken");
        }
        let shouted = format!("app@sha256:{}", Digest::of(b"").hex().to_uppercase());
        assert!(shouted.parse::<Reference>().is_err());
    }

    #[test]
    fn what_acts_on_a_terminal_is_not_repeated_raw() {
        let error = "a\u{1b}[2J".parse::<Reference>().expect_err("no such name");
        assert!(error.to_string().contains("`a\\u{1b}[2J`"), "{error}");
    }
}
