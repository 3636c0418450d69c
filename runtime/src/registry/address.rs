//! Addresses that are spoken to: what one is, where one leads to, and how far inside it is.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use hyper::Uri;

/// The longest address, in bytes. Signed ones of object stores take up to about 4 KiB.
const ADDRESS_SIZE_MAX: usize = 8 << 10;

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Plain,
    Encrypted,
}

/// A host, and how it is spoken to: what a credential belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) scheme: Scheme,
    // Invariant: lowercase, and without the brackets of an address of IPv6.
    host: String,
    pub(super) port: u16,
}

impl Origin {
    /// What `host` or `host:port` is, as a [`Reference`](crate::image::Reference) has it.
    pub(super) fn new(scheme: Scheme, authority: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { text: shown(authority), reason };
        if authority.contains('@') {
            return Err(invalid("a name or a password in an address is never sent"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return Err(invalid("its host is not one")),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || !(host.contains(':') || host.bytes().all(is_name)) {
            return Err(invalid("its host is not one"));
        }
        let port = match (port.strip_prefix(':'), scheme) {
            (Some(port), _) => match port.parse() {
                Ok(port) if port != 0 && !authority.ends_with(&format!("+{port}")) => port,
                _ => return Err(invalid("its port is not one")),
            },
            (None, _) if !port.is_empty() => return Err(invalid("its port is not one")),
            (None, Scheme::Plain) => 80,
            (None, Scheme::Encrypted) => 443,
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// What the `Host` of a request says.
    pub(super) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Plain, 80) | (Scheme::Encrypted, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether it is this host by its name: what is said to it never leaves.
    pub(super) fn is_loopback(&self) -> bool {
        let is_address = self.host.parse().is_ok_and(|address| Reach::of(address) == Reach::Own);
        self.host == "localhost" || is_address
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Plain => "http",
            Scheme::Encrypted => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) origin: Origin,
    // Invariant: begins with `/`, and is what a request may have in its first line.
    path_and_query: String,
}

impl Address {
    pub(super) fn new(origin: Origin, path_and_query: String) -> Self {
        debug_assert!(path_and_query.starts_with('/'), "a path begins at the root");
        Self { origin, path_and_query }
    }

    /// Reads `http://...` or `https://...`. What stands behind a `#` is left out.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { text: shown(text), reason };
        if ADDRESS_SIZE_MAX < text.len() {
            return Err(invalid("it is longer than 8 KiB"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid("it is not the address of a page"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Encrypted,
            Some("http") => Scheme::Plain,
            _ => return Err(invalid("it begins neither with `https://` nor with `http://`")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        let origin = Origin::new(scheme, authority.as_str())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Ok(Self { origin, path_and_query: path })
    }

    /// Where a `Location` leads to that was said at this address.
    pub(super) fn join(&self, location: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { text: shown(location), reason };
        let named_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if named_scheme {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.origin.scheme == Scheme::Plain { "http" } else { "https" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = match location.strip_prefix('/') {
            Some(_) => location.to_owned(),
            None if location.starts_with('?') => format!("{}{location}", self.path()),
            None if location.is_empty() => return Err(invalid("it is empty")),
            None => {
                let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
        };
        // Through the same gate as a whole one.
        Self::parse(&format!("{}{path}", self.origin))
    }

    /// The path, without the query.
    pub(super) fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or("/")
    }

    pub(super) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The same with one more parameter. `value` is encoded.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let sign = if self.path_and_query.contains('?') { '&' } else { '?' };
        let path_and_query = format!("{}{sign}{name}={}", self.path_and_query, encoded(value));
        Self { origin: self.origin.clone(), path_and_query }
    }
}

/// Without the query, which may hold a signature that opens the door.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path())
    }
}

/// A value of a query, or of a form.
pub(super) fn encoded(value: &str) -> String {
    use fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => write!(text, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        text
    })
}

/// What is shown of a text from outside: not all of a long one, and nothing of a query, of a name or
/// of a password.
fn shown(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    let text = text.rsplit_once('@').map_or(text, |(_, behind)| behind);
    text.chars().take(200).collect()
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address to go to: {reason}", text.escape_debug())]
pub(crate) struct InvalidAddress {
    text: String,
    reason: &'static str,
}

/// How far inside an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Anybody's.
    Public,
    /// Of the network that this host is in.
    Private,
    /// Of this host alone.
    Own,
    /// Of this link alone, where clouds serve credentials of the host; and what is no host's.
    Link,
}

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, ..] = address.octets();
        match (a, b) {
            // On Linux, 0.0.0.0 is this host too.
            (0 | 127, _) => Self::Own,
            (10, _) | (172, 16..=31) | (192, 168) | (100, 64..=127) | (198, 18 | 19) => {
                Self::Private
            }
            (169, 254) | (224.., _) => Self::Link,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        // Addresses of IPv4 in another dress: mapped, compatible, and translated (RFC 6052).
        let [.., g, h] = address.segments();
        let inner = Ipv4Addr::from_bits(u32::from(g) << 16 | u32::from(h));
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Self::Own,
            [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                Self::of_v4(inner)
            }
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0xfe80..=0xfeff | 0xff00.., ..] => Self::Link,
            _ => Self::Public,
        }
    }

    /// Whether a host that is this far inside may send us to one that is as far as `other`: else
    /// anybody's registry could have us ask what only this network, or this host, may ask.
    pub(super) fn may_lead_to(self, other: Self) -> bool {
        match other {
            Self::Public => true,
            Self::Private => self != Self::Public,
            Self::Own | Self::Link => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_location_may_be_whole_or_a_part() {
        let at = address("https://registry.example:5000/v2/app/blobs/uploads/?x=1");
        for (location, expected) in [
            ("/v2/up?state=a", "https://registry.example:5000/v2/up?state=a"),
            ("42?state=a", "https://registry.example:5000/v2/app/blobs/uploads/42?state=a"),
            ("?y=2", "https://registry.example:5000/v2/app/blobs/uploads/?y=2"),
            ("https://Store.example/b#part", "https://store.example/b"),
            ("//store.example/b", "https://store.example/b"),
            ("http://registry.example:5000", "http://registry.example:5000/"),
            ("https://[::1]:1/x", "https://[::1]:1/x"),
        ] {
            let joined = at.join(location).unwrap_or_else(|error| panic!("{error}"));
            let text = format!("{}{}", joined.origin, joined.path_and_query());
            assert_eq!(text, expected, "{location}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_query_and_its_password() {
        let at = address("https://registry.example/v2/");
        let long = format!("/{}", "a".repeat(9000));
        for location in [
            "",
            "file:///etc/passwd",
            "ftp://a.example/",
            "https://",
            "https://user:secret@a.example/",
            "user:secret@a.example/",
            "https://a.example:0/",
            "https://a.example:99999/",
            "https://a.example:/",
            "https://a b/",
            "/a\r\nX: y",
            "/a b",
            "data:text/plain,hello?secret",
            &long,
        ] {
            let error = at.join(location).expect_err(location).to_string();
            assert!(!error.contains("secret") && error.len() < 1000, "{error}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        let shown = address("https://store.example/blob?X-Signature=secret").to_string();
        assert_eq!(shown, "https://store.example/blob");
    }

    #[test]
    fn a_value_of_a_query_cannot_become_more() {
        let with = address("https://a.example/t?x=1").with("scope", "repository:a/b:pull&x=\r\n");
        assert_eq!(with.path_and_query(), "/t?x=1&scope=repository%3Aa%2Fb%3Apull%26x%3D%0D%0A");
    }

    #[test]
    fn how_far_inside_an_address_is_shows_in_every_dress() {
        for (text, expected) in [
            ("93.184.216.34", Reach::Public),
            ("10.1.2.3", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("172.32.0.1", Reach::Public),
            ("192.168.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("127.9.9.9", Reach::Own),
            ("0.0.0.0", Reach::Own),
            ("169.254.169.254", Reach::Link),
            ("255.255.255.255", Reach::Link),
            ("::1", Reach::Own),
            ("::", Reach::Own),
            ("::ffff:127.0.0.1", Reach::Own),
            ("::ffff:169.254.169.254", Reach::Link),
            ("64:ff9b::a9fe:a9fe", Reach::Link),
            ("fd00::1", Reach::Private),
            ("fe80::1", Reach::Link),
            ("2606:2800:220::1", Reach::Public),
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(Reach::of(address), expected, "{text}");
        }
    }

    #[test]
    fn a_host_leads_no_further_inside_than_it_is() {
        use Reach::*;
        for (from, allowed) in [
            (Public, &[Public][..]),
            (Private, &[Public, Private]),
            (Own, &[Public, Private, Own]),
            (Link, &[Public, Private, Link]),
        ] {
            for to in [Public, Private, Own, Link] {
                assert_eq!(from.may_lead_to(to), allowed.contains(&to), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (text, expected) in [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("[::1]:5000", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
        ] {
            let origin = Origin::new(Scheme::Plain, text).expect("an origin");
            assert_eq!(origin.is_loopback(), expected, "{text}");
        }
    }
}
