//! Names as signatures and policies write them, and which of them name the same image.

use std::fmt;

use crate::digest::Digest;
use crate::image::InvalidReference;
use crate::image::Reference;

/// The registry that is meant where others write none, by its name in policies.
const HUB: &str = "docker.io";

/// What else it is called.
pub(super) const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// What an image is called, in full: with its registry, and with a tag only where one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Name {
    /// Reads a name as docker and podman do: `app` is `docker.io/library/app`.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidReference> {
        let reference: Reference = text.parse()?;
        let without_digest = text.split('@').next().unwrap_or_default();
        let last = without_digest.rsplit('/').next().unwrap_or_default();
        let name = Self::of(&reference);
        Ok(Self { tag: name.tag.filter(|_| last.contains(':')), ..name })
    }

    /// What a reference names.
    pub(super) fn of(reference: &Reference) -> Self {
        let registry = match reference.registry() {
            Some(registry) if !HUB_ALIASES.contains(&registry) => registry,
            _ => HUB,
        };
        let repository = reference.repository();
        let library = if registry == HUB && !repository.contains('/') { "library/" } else { "" };
        Self {
            repository: format!("{registry}/{library}{repository}"),
            tag: reference.tag().map(str::to_owned),
            digest: reference.digest(),
        }
    }

    /// Whether it names a repository alone.
    pub(super) fn is_bare(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    pub(super) fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// What policies may call it, the most exact first: itself, where a digest stands above a tag,
    /// its repository, the folders of that, its registry, and the domains that is in. Source:
    /// containers-policy.json(5), `docker:`.
    pub(super) fn scopes(&self) -> Vec<String> {
        let exact = match (&self.digest, &self.tag) {
            (Some(digest), _) => Some(format!("{}@{digest}", self.repository)),
            (None, Some(tag)) => Some(format!("{}:{tag}", self.repository)),
            (None, None) => None,
        };
        let mut scopes: Vec<String> = exact.into_iter().collect();
        let mut rest = self.repository.as_str();
        scopes.push(rest.to_owned());
        while let Some((folder, _)) = rest.rsplit_once('/') {
            rest = folder;
            scopes.push(rest.to_owned());
        }
        let mut domain = rest.split(':').next().unwrap_or_default();
        while let Some((_, parent)) = domain.split_once('.') {
            domain = parent;
            scopes.push(format!("*.{domain}"));
        }
        scopes
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    #[test]
    fn a_name_is_written_in_full_and_gets_no_tag_that_nobody_wrote() {
        let digest = Digest::of(b"x");
        for (text, full) in [
            ("app", "docker.io/library/app"),
            ("index.docker.io/library/app:1", "docker.io/library/app:1"),
            ("docker.io/team/app", "docker.io/team/app"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            (&format!("r.example/app@{digest}"), &format!("r.example/app@{digest}")),
        ] {
            assert_eq!(parsed(text).to_string(), full);
        }
        assert!(parsed("localhost:5000/app").is_bare());
    }

    #[test]
    fn scopes_go_from_the_image_to_the_domains_above_its_registry() {
        assert_eq!(
            parsed("reg.example.com:5000/a/b:1").scopes(),
            [
                "reg.example.com:5000/a/b:1",
                "reg.example.com:5000/a/b",
                "reg.example.com:5000/a",
                "reg.example.com:5000",
                "*.example.com",
                "*.com"
            ]
        );
        let digest = Digest::of(b"x");
        let exact = parsed(&format!("r.example/a:1@{digest}")).scopes();
        assert_eq!(exact[..2], [format!("r.example/a@{digest}"), "r.example/a".to_owned()]);
    }
}
