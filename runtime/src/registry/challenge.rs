//! What a registry asks for before it answers: the `WWW-Authenticate` of a response.

/// The longest challenge that is read, in bytes.
const CHALLENGE_SIZE_MAX: usize = 4 << 10;

/// The most parameters that are read.
const PARAMETERS_MAX: usize = 32;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password.
    Basic,
    /// A token from a token server.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The best that can be answered of what is asked for: a token first, since it can do less.
    /// Nothing, where what is asked for is not understood.
    pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let asked: Vec<Self> = headers.take(8).filter_map(parse).flatten().collect();
        let bearer = asked.iter().find(|one| matches!(one, Self::Bearer { .. }));
        bearer.or_else(|| asked.iter().find(|one| **one == Self::Basic)).cloned()
    }
}

/// Reads a header. Source: RFC 9110, 11.3 and 11.6.1. Schemes that are not known are left out; a
/// header that breaks the grammar anywhere is left out whole.
fn parse(header: &[u8]) -> Option<Vec<Challenge>> {
    if CHALLENGE_SIZE_MAX < header.len() || !header.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(header).ok()?;
    let mut rest = Scanner { text };
    let mut challenges = Vec::new();
    let mut count = 0;
    while rest.skip_to_next() {
        let scheme = rest.token()?;
        rest.spaces();
        let mut parameters: Vec<(&str, String)> = Vec::new();
        while let Some((name, value)) = rest.parameter()? {
            count += 1;
            // Twice the same is one for us and another for somebody else.
            let is_again = parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if PARAMETERS_MAX < count || is_again {
                return None;
            }
            parameters.push((name, value));
        }
        let mut take = |name: &str| {
            let found = parameters.iter().position(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|at| parameters.swap_remove(at).1)
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let realm = take("realm")?;
            challenges.push(Challenge::Bearer {
                realm,
                service: take("service"),
                scope: take("scope"),
            });
        }
    }
    Some(challenges)
}

struct Scanner<'a> {
    text: &'a str,
}

impl<'a> Scanner<'a> {
    /// Whether there is another challenge, which then comes next.
    fn skip_to_next(&mut self) -> bool {
        self.text = self.text.trim_start_matches([' ', '\t', ',']);
        !self.text.is_empty()
    }

    fn spaces(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token =
            |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".chars().any(|sign| sign == c);
        let end = self.text.find(|c| !is_token(c)).unwrap_or(self.text.len());
        let (token, rest) = self.text.split_at(end);
        self.text = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The next parameter of this challenge; none, where the next challenge begins. Fails where
    /// there is neither.
    #[expect(clippy::option_option, reason = "broken, none, one")]
    fn parameter(&mut self) -> Option<Option<(&'a str, String)>> {
        let before = self.text;
        self.text = self.text.trim_start_matches([' ', '\t', ',']);
        if self.text.is_empty() {
            return Some(None);
        }
        let name = self.token()?;
        self.spaces();
        let Some(rest) = self.text.strip_prefix('=') else {
            // A word without a value is the next scheme.
            self.text = before;
            return before.trim_start().starts_with(',').then_some(None);
        };
        self.text = rest;
        self.spaces();
        let value = match self.text.strip_prefix('"') {
            Some(rest) => {
                self.text = rest;
                self.quoted()?
            }
            None => self.token()?.to_owned(),
        };
        let ends = self.text.trim_start_matches([' ', '\t']);
        (ends.is_empty() || ends.starts_with(',')).then_some(Some((name, value)))
    }

    /// What stands before the closing `"`.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.text.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.text = &self.text[at + 1..];
                    return Some(value);
                }
                (_, '\\') => value.push(chars.next()?.1),
                (_, c) if c.is_ascii_control() => return None,
                (_, c) => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(headers: &[&str]) -> Option<Challenge> {
        Challenge::choose(headers.iter().map(|header| header.as_bytes()))
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
        Challenge::Bearer { realm: realm.to_owned(), service, scope }
    }

    #[test]
    fn what_registries_ask_for_is_understood() {
        let realm = "https://auth.example/token";
        let hub = format!(
            r#"Bearer realm="{realm}",service="registry.example",scope="repository:a/b:pull,push""#
        );
        let full = Some(bearer(realm, Some("registry.example"), Some("repository:a/b:pull,push")));
        for (headers, expected) in [
            (&[hub.as_str()][..], full.clone()),
            (&["Basic realm=\"Registry Realm\""], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (&["Negotiate, Basic realm=x"], Some(Challenge::Basic)),
            (&["Basic realm=\"a, b\"", &hub], full),
            (&["BEARER Realm = \"r\" , Service=s"], Some(bearer("r", Some("s"), None))),
            (
                &[r#"Basic realm="a", Bearer realm="a\"b",error="x""#],
                Some(bearer("a\"b", None, None)),
            ),
        ] {
            assert_eq!(chosen(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_challenge_that_can_be_read_in_two_ways_is_not_answered() {
        let long = format!("Bearer realm=\"{}\"", "a".repeat(5000));
        let many = (0..40).fold("Bearer realm=x".to_owned(), |many, i| format!("{many},p{i}=x"));
        for header in [
            "",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"open",
            "Bearer realm=\"a\\",
            "Bearer realm=\"a\" service=\"b\"",
            "Bearer realm=\"a\",realm=\"b\"",
            "Bearer realm=\"a\"x",
            "Bearer service=\"a\"",
            "Bearer realm=\"a\u{1}\"",
            "=Bearer realm=x",
            "Digest realm=x",
            "Bearer r\u{e9}alm=x",
            &long,
            &many,
        ] {
            assert_eq!(chosen(&[header]), None, "{header}");
        }
    }
}
