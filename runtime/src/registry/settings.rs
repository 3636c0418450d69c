//! How each registry is spoken to: what `registries.toml` says.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use toml::Spanned;

use super::address::Address;
use super::address::Origin;
use super::address::Scheme;

/// How long one may ask to wait.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// How often one may ask to try.
const ATTEMPTS: RangeInclusive<u32> = 1..=100;

/// How registries are spoken to. The default is what suits public ones.
///
/// ```toml
/// # Certificates of authorities, beside those that this host trusts: for every registry.
/// ca = ["/etc/aril/ca.pem"]
/// timeout = "30s"                        # how long a registry may keep us waiting, instead of
///                                        # what `Patience` says
/// attempts = 5                           # how often in a row something is tried
///
/// [registry."registry.example:5000"]
/// insecure = true                        # by http, without encryption
///
/// [registry."docker.io"]
/// mirrors = ["https://mirror.example", "https://cache.example/hub"]
///
/// [registry."private.example"]
/// ca = ["/etc/aril/private.pem"]         # for this host alone
/// token_hosts = ["auth.example"]         # may be sent this registry's credentials
/// ```
///
/// *Mirrors* are asked before the registry itself, in order, for what is pulled and never for what
/// is pushed. A mirror is asked for `/v2/REPOSITORY/...`, with the path of its address, if it has
/// one, in front of the repository, and with `?ns=REGISTRY`, as containerd asks it. Its own table,
/// under its own name, says how it is spoken to, and its own credentials are used.
///
/// Without `insecure`, a registry on this host is spoken to by https where it understands it, and
/// else by http; every other one by https alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    authorities: Vec<CertificateDer<'static>>,
    hosts: BTreeMap<String, HostSettings>,
    pub(crate) patience: Patience,
}

/// How one registry is spoken to.
#[derive(Clone, Debug, Default)]
pub(super) struct HostSettings {
    pub(super) insecure: Option<bool>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) token_hosts: Vec<String>,
}

/// A registry that has what another has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) origin: Origin,
    /// What stands before the repository: empty, or ends with `/`.
    pub(super) prefix: String,
}

/// How long is waited for what, and how often something is tried.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// For a connection, encryption included.
    pub(crate) connect: Duration,
    /// For the beginning of an answer, once all of a request was sent. A registry hashes an
    /// upload before it answers.
    pub(crate) answer: Duration,
    /// For a whole document: a manifest, a token.
    pub(crate) document: Duration,
    /// Within this time of waiting, a blob must move by `floor` bytes.
    pub(crate) window: Duration,
    /// Less than this in a window, and the other side only keeps us busy.
    pub(crate) floor: u64,
    /// How often in a row something is tried, with no bytes gained in between.
    pub(crate) attempts: u32,
    /// The first pause between two tries; each next one is twice as long.
    pub(crate) pause: Duration,
    /// The longest pause, also where a registry asks for a longer one.
    pub(crate) pause_max: Duration,
}

impl Patience {
    /// The same, where nothing is waited for longer than this.
    fn within(&self, span: Duration) -> Self {
        let share = span.as_secs_f64() / self.window.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "some thousands of bytes, times at most some hundreds"
        )]
        let floor = (self.floor as f64 * share) as u64;
        Self {
            connect: self.connect.min(span),
            answer: span,
            document: span,
            window: span,
            floor: floor.max(1),
            ..self.clone()
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_mins(2),
            document: Duration::from_mins(1),
            window: Duration::from_secs(30),
            floor: 16 << 10,
            attempts: 5,
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ca: Vec<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    attempts: Option<Spanned<u32>>,
    #[serde(default)]
    registry: BTreeMap<Spanned<String>, Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    insecure: Option<bool>,
    #[serde(default)]
    ca: Vec<Spanned<String>>,
    #[serde(default)]
    mirrors: Vec<Spanned<String>>,
    #[serde(default)]
    token_hosts: Vec<Spanned<String>>,
}

/// What gives the bytes of a file that the settings name.
type Reader<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

impl Settings {
    /// Reads settings. `read` gives the bytes of a file of certificates, since no file is opened
    /// here.
    pub(crate) fn parse(
        text: &str,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, InvalidSettings> {
        let line_of = |span: Option<Range<usize>>| {
            let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let file: File = toml::from_str(text).map_err(|error| InvalidSettings {
            line: line_of(error.span()),
            key: String::new(),
            reason: error.message().to_owned(),
        })?;
        let at = |value: &Spanned<String>, key: String| {
            let line = line_of(Some(value.span()));
            move |reason: String| InvalidSettings { line, key, reason }
        };
        let mut certificates = |values: &[Spanned<String>], key: &str| {
            let mut found = Vec::new();
            for value in values {
                let broken = at(value, key.to_owned());
                found.extend(authorities(value.get_ref(), read).map_err(broken)?);
            }
            Ok(found)
        };
        let mut settings = Self { authorities: certificates(&file.ca, "ca")?, ..Self::default() };
        if let Some(value) = &file.timeout {
            let broken = at(value, "timeout".to_owned());
            let span = timeout(value.get_ref()).map_err(broken)?;
            settings.patience = settings.patience.within(span);
        }
        if let Some(value) = &file.attempts {
            settings.patience.attempts = *value.get_ref();
            if !ATTEMPTS.contains(value.get_ref()) {
                let (least, most) = (ATTEMPTS.start(), ATTEMPTS.end());
                let reason = format!("it is a number from {least} to {most}");
                let line = line_of(Some(value.span()));
                return Err(InvalidSettings { line, key: "attempts".to_owned(), reason });
            }
        }
        for (name, table) in &file.registry {
            let key = |end: &str| format!("registry.\"{}\"{end}", name.get_ref());
            let host = name.get_ref().to_ascii_lowercase();
            Origin::new(Scheme::Encrypted, &host)
                .map_err(|error| at(name, key(""))(error.to_string()))?;
            let mut own = HostSettings {
                insecure: table.insecure,
                authorities: certificates(&table.ca, &key(".ca"))?,
                ..HostSettings::default()
            };
            for value in &table.mirrors {
                own.mirrors.push(mirror(value.get_ref()).map_err(at(value, key(".mirrors")))?);
            }
            for value in &table.token_hosts {
                let token_host = Origin::new(Scheme::Encrypted, value.get_ref())
                    .map_err(|error| at(value, key(".token_hosts"))(error.to_string()))?;
                own.token_hosts.push(token_host.authority());
            }
            if settings.hosts.insert(host, own).is_some() {
                return Err(at(name, key(""))("it is there twice".to_owned()));
            }
        }
        settings.check_mirrors(text)?;
        Ok(settings)
    }

    /// A mirror without encryption has to be spoken of as such.
    fn check_mirrors(&self, text: &str) -> Result<(), InvalidSettings> {
        for (name, host) in &self.hosts {
            let plain = host.mirrors.iter().map(|mirror| &mirror.origin);
            let mut plain = plain.filter(|origin| origin.scheme == Scheme::Plain);
            if let Some(origin) = plain.find(|origin| !self.may_be_plain(origin)) {
                let start = text.find(&origin.to_string()).unwrap_or_default();
                return Err(InvalidSettings {
                    line: text[..start].matches('\n').count() + 1,
                    key: format!("registry.\"{name}\".mirrors"),
                    reason: format!(
                        "`{origin}` is not encrypted; say `insecure = true` in \
                         `[registry.\"{}\"]`, if that is meant",
                        origin.authority()
                    ),
                });
            }
        }
        Ok(())
    }

    /// The same, where this registry is spoken to without encryption.
    #[must_use]
    pub(crate) fn insecure(mut self, registry: &str) -> Self {
        self.hosts.entry(registry.to_ascii_lowercase()).or_default().insecure = Some(true);
        self
    }

    /// What is said of a host, by its name and port.
    pub(super) fn of(&self, authority: &str) -> Option<&HostSettings> {
        self.hosts.get(authority)
    }

    /// The certificates that are trusted for a host, beside those that all of this host trusts.
    pub(super) fn authorities(&self, origin: &Origin) -> Vec<CertificateDer<'static>> {
        let own = self.of(&origin.authority()).map_or(&[][..], |host| &host.authorities);
        self.authorities.iter().chain(own).cloned().collect()
    }

    /// Whether a host may be spoken to without encryption.
    pub(super) fn may_be_plain(&self, origin: &Origin) -> bool {
        let said = self.of(&origin.authority()).and_then(|host| host.insecure);
        said.unwrap_or_else(|| origin.is_loopback())
    }
}

/// The certificates in a file, or in the value itself.
fn authorities(value: &str, read: Reader<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = if value.trim_start().starts_with("-----BEGIN") {
        value.as_bytes().to_vec()
    } else {
        read(Path::new(value)).map_err(|error| format!("cannot read `{value}`: {error}"))?
    };
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| format!("it is not PEM: {error}"))?;
        let mut store = rustls::RootCertStore::empty();
        store.add(certificate.clone()).map_err(|error| format!("it is no certificate: {error}"))?;
        found.push(certificate);
    }
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

/// How long may be waited.
fn timeout(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).ok().filter(|span| TIMEOUT.contains(span));
    span.ok_or_else(|| {
        let [least, most] = [*TIMEOUT.start(), *TIMEOUT.end()].map(humantime::format_duration);
        format!("it is a time from {least} to {most}, such as `30s`")
    })
}

fn mirror(text: &str) -> Result<Mirror, String> {
    let address = Address::parse(text).map_err(|error| error.to_string())?;
    let path = address.path().trim_matches('/');
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if address.path_and_query().contains('?') || !path.chars().all(is_part) || path.contains("..") {
        return Err("its path is not the beginning of a repository".to_owned());
    }
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    Ok(Mirror { origin: address.origin, prefix })
}

/// Settings that say what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{reason}", if key.is_empty() { String::new() } else { format!("`{key}`: ") })]
pub(crate) struct InvalidSettings {
    line: usize,
    key: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, InvalidSettings> {
        Settings::parse(text, &mut |_| Err(io::Error::from(io::ErrorKind::NotFound)))
    }

    #[test]
    fn settings_say_how_each_registry_is_spoken_to() {
        let settings = parse(
            r#"
            [registry."Registry.example:5000"]
            insecure = true
            [registry."docker.io"]
            mirrors = ["https://mirror.example", "http://localhost:5000/hub/"]
            token_hosts = ["auth.example", "auth.example:8443"]
            "#,
        )
        .expect("settings");

        let plain = |text| settings.may_be_plain(&Origin::new(Scheme::Plain, text).expect("one"));
        assert!(plain("registry.example:5000") && plain("localhost:1") && plain("127.0.0.1"));
        assert!(!plain("registry.example") && !plain("registry.example:5001"));
        let hub = settings.of("docker.io").expect("the table");
        let mirrors: Vec<_> =
            hub.mirrors.iter().map(|m| (m.origin.to_string(), m.prefix.as_str())).collect();
        assert_eq!(
            mirrors,
            [
                ("https://mirror.example".to_owned(), ""),
                ("http://localhost:5000".to_owned(), "hub/")
            ]
        );
        assert_eq!(hub.token_hosts, ["auth.example", "auth.example:8443"]);
    }

    #[test]
    fn a_timeout_holds_for_all_that_is_waited_for() {
        let patience = parse("timeout = \"3s\"\nattempts = 2").expect("settings").patience;
        let span = Duration::from_secs(3);
        assert_eq!(
            [patience.connect, patience.answer, patience.document, patience.window],
            [span; 4]
        );
        // Who sends as fast as before is as fast as before.
        assert_eq!((patience.floor, patience.attempts), (1638, 2));
        let patient = parse("timeout = \"1h\"").expect("settings").patience;
        assert_eq!((patient.connect, patient.attempts), (Duration::from_secs(15), 5));
    }

    #[test]
    fn what_is_wrong_in_the_settings_is_said_with_line_and_key() {
        let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
        let pem = format!("ca = [\"\"\"\n{begin}\nAAAA\n{end}\n\"\"\"]");
        for (text, line, said) in [
            ("\nx = 1", 2, "unknown field `x`"),
            ("[registry.\"a\"]\ninsecure = true\nsecure = 1", 3, "unknown field `secure`"),
            ("[registry.\"a\"]\ninsecure = \"yes\"", 2, "invalid type"),
            ("[registry.\"a b\"]\n", 1, "`registry.\"a b\"`: `a b` is no address"),
            ("[registry.a]\nmirrors = [\n\"https://ok.example\",\n\"ftp://x\"]", 4, ".mirrors`:"),
            ("[registry.a]\nmirrors = [\"https://x/../y\"]", 2, "beginning of a repository"),
            ("[registry.a]\nmirrors = [\"http://x.example\"]", 2, "is not encrypted"),
            ("[registry.a]\ntoken_hosts = [\"https://x\"]", 2, ".token_hosts`:"),
            ("\n\nca = [\"/no/such\"]", 3, "`ca`: cannot read `/no/such`"),
            ("[registry.a]\n[registry.A]", 1, "twice"),
            ("ca = [\"-----BEGIN x\"]", 1, "`ca`:"),
            (&pem, 1, "`ca`: it is no certificate"),
            ("timeout = \"soon\"", 1, "`timeout`: it is a time from 100ms to 1h, such as `30s`"),
            ("\ntimeout = \"1ms\"", 2, "`timeout`:"),
            ("timeout = \"2h\"", 1, "`timeout`:"),
            ("attempts = 0", 1, "`attempts`: it is a number from 1 to 100"),
            ("attempts = 1000", 1, "`attempts`:"),
            ("attempts = -1", 1, "invalid value"),
            ("[", 1, "line 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
