//! What a policy file says: of which images which signatures are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;

use crate::image::Reference;

use super::key::PublicKey;
use super::name::HUB_ALIASES;
use super::name::Name;

/// The transport of images of registries, as the files of others call it.
const REGISTRIES: &str = "docker";

/// The most keys of one requirement: each signature is held against each.
const KEYS_MAX: usize = 64;

/// What is asked of images before they are taken from a registry.
///
/// The file is that of podman and skopeo, read strictly: what is not known here is refused, and is
/// not left out. Source: containers-policy.json(5).
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    default: Vec<Requirement>,
    /// By scope; `""` is all registries.
    scopes: BTreeMap<String, Vec<Requirement>>,
}

/// Without a policy, what a registry says is believed.
impl Default for Policy {
    fn default() -> Self {
        Self { default: vec![Requirement::Nothing], scopes: BTreeMap::new() }
    }
}

#[derive(Clone, Debug)]
enum Requirement {
    Nothing,
    Impossible,
    Signed(Signed),
}

/// A signature is asked for: by one of these keys, under this identity.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(super) keys: Vec<PublicKey>,
    pub(super) identity: Identity,
}

/// Under which names a signature does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// The name that is pulled.
    Exact,
    /// The name that is pulled; its repository where that is by a digest.
    RepositoryDigestOrExact,
    /// A name of the repository that is pulled from.
    Repository,
    /// This name.
    ExactReference(Name),
    /// A name of this repository.
    ExactRepository(Name),
    /// Any name, and none. Others have no word for it.
    Digest,
}

/// What a policy says of an image.
#[derive(Clone, Debug)]
pub(crate) enum Verdict<'a> {
    /// It may be taken.
    Accepted,
    /// It may not, as this part of the policy says.
    Rejected(String),
    /// It may with all of these signatures.
    Signed(String, Vec<&'a Signed>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Rule>,
    #[serde(default)]
    transports: Once<Once<Vec<Rule>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    key_path: Option<String>,
    key_paths: Option<Vec<String>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<Match>,
    // Known, so that they can be refused by name.
    key_type: Option<IgnoredAny>,
    fulcio: Option<IgnoredAny>,
    pki: Option<IgnoredAny>,
    rekor_public_key_path: Option<IgnoredAny>,
    rekor_public_key_paths: Option<IgnoredAny>,
    rekor_public_key_data: Option<IgnoredAny>,
    rekor_public_key_datas: Option<IgnoredAny>,
    base_layer_identity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Match {
    #[serde(rename = "type")]
    kind: String,
    docker_reference: Option<String>,
    docker_repository: Option<String>,
    prefix: Option<IgnoredAny>,
    signed_prefix: Option<IgnoredAny>,
}

/// What gives the bytes of a file that a policy names.
type Read<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

impl Policy {
    /// Reads a policy. `read` gives the bytes of a file of a key, since no file is opened here.
    pub(crate) fn parse(
        text: &str,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, InvalidPolicy> {
        let file: File = serde_json::from_str(text).map_err(|error| InvalidPolicy {
            place: format!("line {}", error.line()),
            reason: error.to_string(),
        })?;
        let default = requirements(file.default, "default", read)?;
        let mut scopes = BTreeMap::new();
        for (transport, rules) in file.transports.0 {
            for (scope, rules) in rules.0 {
                let place = format!("transports.{transport}.\"{scope}\"");
                let found = requirements(rules, &place, read)?;
                if transport == REGISTRIES {
                    check_scope(&scope).map_err(|reason| InvalidPolicy { place, reason })?;
                    scopes.insert(scope, found);
                } else if !found.iter().all(|found| matches!(found, Requirement::Nothing)) {
                    let reason = "only what is pulled from registries (`docker`) is held to a \
                                  policy: nothing can be asked of the others"
                        .to_owned();
                    return Err(InvalidPolicy { place, reason });
                }
            }
        }
        Ok(Self { default, scopes })
    }

    /// What is said of an image of a registry.
    pub(crate) fn verdict(&self, reference: &Reference) -> Verdict<'_> {
        let mut scopes = Name::of(reference).scopes();
        scopes.push(String::new());
        let found = scopes.iter().find_map(|scope| {
            let place = format!("transports.{REGISTRIES}.\"{scope}\"");
            self.scopes.get(scope).map(|found| (place, found))
        });
        let (place, found) = found.unwrap_or_else(|| ("default".to_owned(), &self.default));
        if found.iter().any(|found| matches!(found, Requirement::Impossible)) {
            return Verdict::Rejected(place);
        }
        let signed = found.iter().filter_map(|found| match found {
            Requirement::Signed(signed) => Some(signed),
            _ => None,
        });
        let signed: Vec<_> = signed.collect();
        if signed.is_empty() { Verdict::Accepted } else { Verdict::Signed(place, signed) }
    }
}

fn requirements(
    rules: Vec<Rule>,
    place: &str,
    read: Read<'_>,
) -> Result<Vec<Requirement>, InvalidPolicy> {
    if rules.is_empty() {
        let reason = "it is empty: say `insecureAcceptAnything` or `reject`".to_owned();
        return Err(InvalidPolicy { place: place.to_owned(), reason });
    }
    let mut found = Vec::new();
    for (number, rule) in rules.into_iter().enumerate() {
        found.push(
            rule.requirement(read)
                .map_err(|reason| InvalidPolicy { place: format!("{place}[{number}]"), reason })?,
        );
    }
    Ok(found)
}

impl Rule {
    fn requirement(self, read: Read<'_>) -> Result<Requirement, String> {
        match self.kind.as_str() {
            "insecureAcceptAnything" if self.says_nothing_else() => Ok(Requirement::Nothing),
            "reject" if self.says_nothing_else() => Ok(Requirement::Impossible),
            "insecureAcceptAnything" | "reject" => {
                Err(format!("`{}` takes nothing beside its type", self.kind))
            }
            "sigstoreSigned" => self.signed(read).map(Requirement::Signed),
            "signedBy" => Err("`signedBy`: signatures of GPG are not checked here, only \
                               `sigstoreSigned`"
                .to_owned()),
            other => Err(format!(
                "`{}` is not known here: there are `insecureAcceptAnything`, `reject` and \
                 `sigstoreSigned`",
                other.escape_debug()
            )),
        }
    }

    fn has_keys(&self) -> bool {
        self.key_path.is_some()
            || self.key_paths.is_some()
            || self.key_data.is_some()
            || self.key_datas.is_some()
    }

    /// What is asked for and not checked here.
    fn foreign(&self) -> Option<&'static str> {
        [
            (&self.key_type, "keyType"),
            (&self.fulcio, "fulcio"),
            (&self.pki, "pki"),
            (&self.rekor_public_key_path, "rekorPublicKeyPath"),
            (&self.rekor_public_key_paths, "rekorPublicKeyPaths"),
            (&self.rekor_public_key_data, "rekorPublicKeyData"),
            (&self.rekor_public_key_datas, "rekorPublicKeyDatas"),
            (&self.base_layer_identity, "baseLayerIdentity"),
        ]
        .into_iter()
        .find_map(|(field, name)| field.is_some().then_some(name))
    }

    fn says_nothing_else(&self) -> bool {
        !self.has_keys() && self.signed_identity.is_none() && self.foreign().is_none()
    }

    fn signed(self, read: Read<'_>) -> Result<Signed, String> {
        if let Some(name) = self.foreign() {
            return Err(format!(
                "`{name}` is not known here: signatures are checked by keys alone, without \
                 certificates and logs"
            ));
        }
        let mut files = |paths: Vec<String>| paths.iter().map(|path| file(path, read)).collect();
        let datas = |datas: Vec<String>| {
            let bytes = datas.iter().map(|data| {
                STANDARD.decode(data).map_err(|_| "its key data is not base64".to_owned())
            });
            bytes.collect()
        };
        let texts: Result<Vec<Vec<u8>>, String> =
            match (self.key_path, self.key_paths, self.key_data, self.key_datas) {
                (Some(path), None, None, None) => files(vec![path]),
                (None, Some(paths), None, None) => files(paths),
                (None, None, Some(data), None) => datas(vec![data]),
                (None, None, None, Some(list)) => datas(list),
                _ => Err("exactly one of `keyPath`, `keyPaths`, `keyData` and `keyDatas` is \
                          expected"
                    .to_owned()),
            };
        let texts = texts?;
        if texts.is_empty() || KEYS_MAX < texts.len() {
            return Err(format!("it has {} keys, and 1 to {KEYS_MAX} are expected", texts.len()));
        }
        let keys = texts.iter().enumerate().map(|(number, text)| {
            PublicKey::parse(text).map_err(|error| format!("its key {number}: {error}"))
        });
        let keys = keys.collect::<Result<_, _>>()?;
        let identity = match &self.signed_identity {
            Some(said) => identity(said)?,
            None => Identity::RepositoryDigestOrExact,
        };
        Ok(Signed { keys, identity })
    }
}

/// A file of a key.
fn file(path: &str, read: Read<'_>) -> Result<Vec<u8>, String> {
    let shown = path.escape_debug();
    if !Path::new(path).is_absolute() {
        return Err(format!("`{shown}` is not a whole path, which is to begin with `/`"));
    }
    read(Path::new(path)).map_err(|error| format!("cannot read `{shown}`: {error}"))
}

fn identity(said: &Match) -> Result<Identity, String> {
    let kind = said.kind.as_str();
    if kind == "remapIdentity" || said.prefix.is_some() || said.signed_prefix.is_some() {
        return Err("`remapIdentity` is not known here: images of mirrors keep their names, and \
                    `exactRepository` names others"
            .to_owned());
    }
    let name = |text: &str| Name::parse(text).map_err(|error| error.to_string());
    match (kind, &said.docker_reference, &said.docker_repository) {
        ("matchExact", None, None) => Ok(Identity::Exact),
        ("matchRepoDigestOrExact", None, None) => Ok(Identity::RepositoryDigestOrExact),
        ("matchRepository", None, None) => Ok(Identity::Repository),
        ("matchDigest", None, None) => Ok(Identity::Digest),
        ("exactReference", Some(reference), None) => match name(reference)? {
            name if name.is_bare() => Err("its `dockerReference` has no tag".to_owned()),
            name => Ok(Identity::ExactReference(name)),
        },
        ("exactRepository", None, Some(repository)) => match name(repository)? {
            name if name.is_bare() => Ok(Identity::ExactRepository(name)),
            _ => Err("its `dockerRepository` has a tag or a digest".to_owned()),
        },
        ("exactReference" | "exactRepository", ..) => Err(format!(
            "`{kind}` takes its `{}` and nothing else",
            if kind == "exactReference" { "dockerReference" } else { "dockerRepository" }
        )),
        _ => Err(format!("the `signedIdentity` `{}` is not known here", kind.escape_debug())),
    }
}

/// A scope that no image could ever be of is a mistake.
fn check_scope(scope: &str) -> Result<(), String> {
    if scope.is_empty() {
        return Ok(());
    }
    let probe = match (scope.strip_prefix("*."), scope.contains('/')) {
        (Some(domain), false) => format!("x.{domain}/x"),
        (_, true) => scope.to_owned(),
        (None, false) => format!("{scope}/x"),
    };
    let never = || "no image of a registry is called so".to_owned();
    let reference: Reference = probe.parse().map_err(|_| never())?;
    // Domains have no ports, as others have it.
    let is_domain = scope.strip_prefix("*.").is_none_or(|domain| !domain.contains([':', '/']));
    let is_known = reference.registry().is_some_and(|registry| !HUB_ALIASES.contains(&registry));
    let is_written_so = probe.starts_with(&reference.name());
    if is_domain && is_known && is_written_so { Ok(()) } else { Err(never()) }
}

/// A map in which nothing is said twice.
struct Once<T>(BTreeMap<String, T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Once<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Once<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Once<T>, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if all.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!("`{name}` is there twice")));
                    }
                    all.insert(name, value);
                }
                Ok(Once(all))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

/// A policy that says what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {reason}", place.escape_debug())]
pub(crate) struct InvalidPolicy {
    place: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::super::encrypted::samples;
    use super::*;

    fn parse(text: &str) -> Result<Policy, InvalidPolicy> {
        Policy::parse(text, &mut |path| match path.to_str() {
            Some("/key.pub") => Ok(samples::COSIGN_PUBLIC.as_bytes().to_vec()),
            Some("/bad.pub") => Ok(b"no key".to_vec()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        })
    }

    #[test]
    fn the_most_exact_scope_decides() {
        const KEY: &str = r#"{"type":"sigstoreSigned","keyPath":"/key.pub"}"#;
        let policy = parse(&format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{
                "docker-daemon":{{"":[{{"type":"insecureAcceptAnything"}}]}},
                "docker":{{
                    "r.example:5000":[{KEY}],
                    "r.example:5000/open":[{{"type":"insecureAcceptAnything"}}],
                    "r.example:5000/open/app:1":[{KEY},{{"type":"insecureAcceptAnything"}},{KEY}],
                    "*.other.example":[{{"type":"insecureAcceptAnything"}}],
                    "docker.io/library/app":[{KEY}]}}}}}}"#
        ))
        .expect("a policy");
        let said = |name: &str| match policy.verdict(&name.parse().expect("a name")) {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Rejected(place) => format!("rejected: {place}"),
            Verdict::Signed(place, signed) => format!("{} of {place}", signed.len()),
        };
        for (name, expected) in [
            ("r.example:5000/a/b:1", "1 of transports.docker.\"r.example:5000\""),
            ("r.example:5000/open/x:1", "accepted"),
            ("r.example:5000/openly/x:1", "1 of transports.docker.\"r.example:5000\""),
            ("r.example:5000/open/app:1", "2 of transports.docker.\"r.example:5000/open/app:1\""),
            ("r.example:5000/open/app:2", "accepted"),
            ("a.b.other.example/x", "accepted"),
            ("other.example/x", "rejected: default"),
            ("r.example/x", "rejected: default"),
            ("docker.io/app:1", "1 of transports.docker.\"docker.io/library/app\""),
        ] {
            assert_eq!(said(name), expected, "{name}");
        }
        let all = Policy::default();
        assert!(matches!(all.verdict(&"r.example/x".parse().expect("a name")), Verdict::Accepted));
    }

    #[test]
    fn what_a_policy_cannot_mean_is_refused_with_its_place() {
        let rule = |rule: &str| format!(r#"{{"default":[{rule}]}}"#);
        let signed = |more: &str| rule(&format!(r#"{{"type":"sigstoreSigned",{more}}}"#));
        let key = |more: &str| signed(&format!(r#""keyPath":"/key.pub",{more}"#));
        let identity = |more: &str| key(&format!(r#""signedIdentity":{{"type":{more}}}"#));
        let scoped = |scope: &str| {
            format!(
                r#"{{"default":[{{"type":"reject"}}],
                "transports":{{{scope}:[{{"type":"reject"}}]}}}}}}"#
            )
        };
        for (text, said) in [
            ("{}".to_owned(), "missing field `default`"),
            (r#"{"default":[]}"#.to_owned(), "`default`: it is empty"),
            (
                rule(r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#),
                "`default[0]`: `signedBy`: signatures of GPG",
            ),
            (rule(r#"{"type":"trustMe"}"#), "`trustMe` is not known here"),
            (rule(r#"{"type":"reject","keyPath":"/key.pub"}"#), "takes nothing beside its type"),
            (rule(r#"{"type":"reject","type":"insecureAcceptAnything"}"#), "duplicate field"),
            (rule(r#"{"type":"sigstoreSigned"}"#), "exactly one of `keyPath`"),
            (key(r#""keyData":"AA==""#), "exactly one of `keyPath`"),
            (key(r#""fulcio":{}"#), "`fulcio` is not known here"),
            (key(r#""rekorPublicKeyPath":"/r.pub""#), "`rekorPublicKeyPath` is not known here"),
            (key(r#""kyePath":1"#), "unknown field `kyePath`"),
            (signed(r#""keyPath":"key.pub""#), "`key.pub` is not a whole path"),
            (signed(r#""keyPath":"/none.pub""#), "cannot read `/none.pub`"),
            (signed(r#""keyPaths":["/key.pub","/bad.pub"]"#), "its key 1: there is no public key"),
            (signed(r#""keyPaths":[]"#), "it has 0 keys"),
            (signed(r#""keyData":"!""#), "not base64"),
            (
                identity(r#""remapIdentity","prefix":"a","signedPrefix":"b""#),
                "`remapIdentity` is not known",
            ),
            (identity(r#""matchAll""#), "`matchAll` is not known"),
            (identity(r#""exactReference""#), "takes its `dockerReference`"),
            (identity(r#""exactReference","dockerReference":"r.example/a""#), "has no tag"),
            (identity(r#""exactRepository","dockerRepository":"r.example/a:1""#), "has a tag"),
            (identity(r#""exactRepository","dockerRepository":"A B""#), "cannot name an image"),
            (scoped(r#""oci":{"""#), "nothing can be asked of the others"),
            (scoped(r#""docker":{"busybox""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"R.example""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"https://r.example""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"r.example/""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"index.docker.io""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"*.r.example:5000""#), "no image of a registry is called so"),
            (scoped(r#""docker":{"*.r.example/x""#), "no image of a registry is called so"),
            (
                scoped(r#""docker":{"r.example":[{"type":"reject"}],"r.example""#),
                "`r.example` is there twice",
            ),
            ("[".repeat(100_000), "line 1"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn scopes_that_images_have_are_taken() {
        let digest = crate::digest::Digest::of(b"x");
        for scope in [
            "",
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000/team",
            "[::1]:5000/team/app:1",
            "docker.io",
            "docker.io/library",
            "docker.io/library/app:1",
            "*.example",
            "*.r.example",
            &format!("r.example/a@{digest}"),
        ] {
            assert_eq!(check_scope(scope), Ok(()), "{scope}");
        }
    }
}
