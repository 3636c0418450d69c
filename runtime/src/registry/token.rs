//! Answers to what a registry asks for: by name and password, or by a token from a token server.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::Method;
use hyper::header;
use hyper::header::HeaderValue;
use serde::Deserialize;

use super::address::Address;
use super::address::Origin;
use super::address::Reach;
use super::address::Scheme;
use super::address::encoded;
use super::challenge::Challenge;
use super::client::Client;
use super::client::Endpoint;
use super::credentials::basic;
use super::error::Reason;
use super::outgoing::Outgoing;
use super::secret::Login;
use super::secret::Secret;
use super::wire::Asked;

/// The largest answer of a token server, in bytes.
const TOKEN_SIZE_MAX: u64 = 256 << 10;

/// How long a token is good for where its server does not say. Source: the Distribution project,
/// "Token Authentication Specification".
const TOKEN_SPAN: Duration = Duration::from_mins(1);

/// So long before its end a token is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// What a token is to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Repositories, and what is done with them: `pull`, or `pull,push`.
    parts: Vec<(String, &'static str)>,
}

impl Scope {
    /// Nothing but to be known.
    pub(super) fn none() -> Self {
        Self { parts: Vec::new() }
    }

    pub(super) fn pull(repository: &str) -> Self {
        Self { parts: vec![(repository.to_owned(), "pull")] }
    }

    pub(super) fn push(repository: &str) -> Self {
        Self { parts: vec![(repository.to_owned(), "pull,push")] }
    }

    /// To read another repository too.
    pub(super) fn and_pull(mut self, repository: &str) -> Self {
        self.parts.push((repository.to_owned(), "pull"));
        self
    }

    fn words(&self) -> Vec<String> {
        let words = self.parts.iter();
        words.map(|(name, actions)| format!("repository:{name}:{actions}")).collect()
    }

    /// What to ask the token server for. A registry may know the repository by another name, and
    /// say so; it cannot have us ask for more than we mean to do.
    fn asked_for(&self, said: Option<&str>) -> Vec<String> {
        let (Some(said), [(_, actions)]) = (said, self.parts.as_slice()) else {
            return self.words();
        };
        let fits = |word: &str| {
            let rest = word.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'));
            rest.is_some_and(|(name, said)| {
                let is_plain = name.chars().all(|c| c.is_ascii_graphic());
                let mut said = said.split(',');
                is_plain && said.all(|one| actions.split(',').any(|action| action == one))
            })
        };
        if fits(said) { vec![said.to_owned()] } else { self.words() }
    }
}

/// What opened doors so far: the values of `Authorization`, by host and by what they allow.
#[derive(Default)]
pub(super) struct Tokens {
    held: Mutex<HashMap<(Origin, Vec<String>), Held>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

struct Held {
    value: HeaderValue,
    until: Option<Instant>,
}

impl Tokens {
    pub(super) fn get(&self, origin: &Origin, scope: &Scope) -> Option<HeaderValue> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, one| one.until.is_none_or(|until| Instant::now() < until));
        held.get(&(origin.clone(), scope.words())).map(|one| one.value.clone())
    }

    pub(super) fn forget(&self, origin: &Origin, scope: &Scope) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&(origin.clone(), scope.words()));
    }

    fn put(&self, origin: &Origin, scope: &Scope, value: &HeaderValue, span: Option<Duration>) {
        let until = span.map(|span| Instant::now() + span.saturating_sub(TOKEN_MARGIN));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert((origin.clone(), scope.words()), Held { value: value.clone(), until });
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Client {
    /// Answers what an endpoint asks for with 401.
    pub(super) async fn authorize(
        &self,
        at: &Endpoint,
        scope: &Scope,
        asked: &HeaderMap,
        reach: Reach,
    ) -> Result<HeaderValue, Reason> {
        let asked = asked.get_all(header::WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
        let forbidden = |said: &str| Reason::Forbidden {
            host: at.origin.to_string(),
            said: format!(": {said}"),
        };
        let challenge = Challenge::choose(asked)
            .ok_or_else(|| forbidden("it asks for a kind of login that is not known"))?;
        let login = self.credentials.of(&at.name, &at.repository).await?;
        let (value, span) = match challenge {
            Challenge::Basic => match login {
                Some(Login::Password { user, password }) => {
                    let value = basic(&user, &password);
                    (value.ok_or_else(|| forbidden("a name cannot have a `:` in it"))?, None)
                }
                Some(Login::Identity(_)) => {
                    return Err(forbidden("it asks for a name and a password"));
                }
                None => return Err(forbidden("it asks for a login, and none is known")),
            },
            Challenge::Bearer { realm, service, scope: said } => {
                let realm = self.realm(at, &realm, login.is_some())?;
                let scopes = scope.asked_for(said.as_deref());
                let granted = self.token(&realm, service.as_deref(), &scopes, login, reach).await?;
                let token = [granted.token, granted.access_token].into_iter().flatten();
                let token = token.filter(|token| !token.is_empty()).map(Secret::new).next();
                let token = token.ok_or_else(|| Reason::Broken {
                    host: realm.origin.to_string(),
                    reason: "there is no token in its answer".to_owned(),
                })?;
                let span = granted.expires_in.map_or(TOKEN_SPAN, Duration::from_secs);
                let bearer = Secret::new(format!("Bearer {}", token.reveal()));
                (bearer, Some(span.min(Duration::from_hours(1)).max(TOKEN_SPAN)))
            }
        };
        let mut value = HeaderValue::try_from(value.reveal())
            .map_err(|_| forbidden("what it is to be told has signs that cannot be sent"))?;
        value.set_sensitive(true);
        self.tokens.put(&at.origin, scope, &value, span);
        Ok(value)
    }

    /// Where tokens are asked for, if that is safe.
    ///
    /// A registry says where, and so could have a login sent to anybody. A token server is told a
    /// login if it has the registry's own name, or one above or below it: whoever owns a name
    /// decides over those below it. (`auth.x.example` beside `registry.x.example` is not enough:
    /// under some names, such as those of clouds, neighbours are strangers.) Others have to be in
    /// the registry's `token_hosts`; docker's own is known. Without a login there is nothing to
    /// lose, and any host is asked. It must be encrypted wherever the registry must be.
    fn realm(&self, at: &Endpoint, realm: &str, has_login: bool) -> Result<Address, Reason> {
        let address = Address::parse(realm)
            .map_err(|source| Reason::Lost { host: at.origin.to_string(), source })?;
        let origin = &address.origin;
        let is_plain = origin.scheme == Scheme::Plain;
        let is_ours = origin.host() == at.origin.host() || origin.is_loopback();
        let may_be_plain = at.origin.scheme == Scheme::Plain && is_ours
            || self
                .settings
                .of(&origin.authority())
                .is_some_and(|host| host.insecure == Some(true));
        if is_plain && !may_be_plain {
            return Err(Reason::Refused(format!(
                "{} sends us for a token to {origin}, which is not encrypted",
                at.origin
            )));
        }
        let listed = self.settings.of(&at.name).map_or(&[][..], |host| &host.token_hosts);
        let is_known = is_kin(at.origin.host(), origin.host())
            || listed.contains(&origin.authority())
            || at.name == "docker.io" && origin.authority() == "auth.docker.io";
        if has_login && !is_known {
            return Err(Reason::Refused(format!(
                "{} wants its login sent to {origin}; if that host may have it, say `token_hosts = \
                 [\"{}\"]` in `[registry.\"{}\"]`",
                at.origin,
                origin.authority(),
                at.name
            )));
        }
        Ok(address)
    }

    /// Asks a token server.
    async fn token(
        &self,
        realm: &Address,
        service: Option<&str>,
        scopes: &[String],
        login: Option<Login>,
        reach: Reach,
    ) -> Result<Granted, Reason> {
        let mut headers = HeaderMap::new();
        let asked = if let Some(Login::Identity(token)) = &login {
            let mut form = format!("grant_type=refresh_token&client_id=aril&scope={}", {
                encoded(&scopes.join(" "))
            });
            if let Some(service) = service {
                form = format!("{form}&service={}", encoded(service));
            }
            form = format!("{form}&refresh_token={}", encoded(token.reveal()));
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, kind);
            let body = Outgoing::Bytes(Bytes::from(form));
            Asked { method: Method::POST, address: realm.clone(), headers, body }
        } else {
            let mut address = realm.clone();
            if let Some(service) = service {
                address = address.with("service", service);
            }
            for scope in scopes {
                address = address.with("scope", scope);
            }
            if let Some(Login::Password { user, password }) = &login {
                address = address.with("account", user);
                let value = basic(user, password);
                let value = value.and_then(|value| HeaderValue::try_from(value.reveal()).ok());
                let mut value = value.ok_or_else(|| {
                    Reason::Refused("the name of the login cannot have a `:` in it".to_owned())
                })?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
            Asked { method: Method::GET, address, headers, body: Outgoing::empty() }
        };
        // Where it leads elsewhere, it is not followed: the login is for this host.
        let mut answer = self.wire.send(asked, Some(reach)).await?;
        if answer.status != 200 {
            return Err(answer.refusal().await);
        }
        let body = answer.document(TOKEN_SIZE_MAX).await?;
        // The error would repeat what it stumbled over.
        serde_json::from_slice(&body).map_err(|_| answer.broken("it is no token"))
    }
}

/// Whether two hosts are the same, or one is above the other in the tree of names.
fn is_kin(registry: &str, other: &str) -> bool {
    let is_name = |host: &str| {
        host.parse::<std::net::IpAddr>().is_err() && host.trim_matches('.').contains('.')
    };
    let is_below = |lower: &str, upper: &str| {
        is_name(lower)
            && is_name(upper)
            && lower.strip_suffix(upper).is_some_and(|rest| rest.ends_with('.'))
    };
    registry == other || is_below(registry, other) || is_below(other, registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_to_the_same_name_or_up_and_down_its_line() {
        for (registry, realm, expected) in [
            ("registry.example", "registry.example", true),
            ("registry.x.example", "x.example", true),
            ("x.example", "auth.x.example", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("localhost", "localhost", true),
            ("registry.x.example", "auth.x.example", false),
            ("registry.x.example", "evilx.example", false),
            ("registry.example", "example", false),
            ("localhost", "evil.localhost", false),
            ("0.0.1", "127.0.0.1", false),
            ("registry.example", "registry.example.evil.example", false),
        ] {
            assert_eq!(is_kin(registry, realm), expected, "{registry} {realm}");
        }
    }

    #[test]
    fn a_registry_cannot_have_us_ask_for_more_than_we_mean_to_do() {
        let pull = Scope::pull("a/b");
        for (said, expected) in [
            (None, "repository:a/b:pull"),
            (Some("repository:other/a/b:pull"), "repository:other/a/b:pull"),
            (Some("repository:a/b:pull,push"), "repository:a/b:pull"),
            (Some("repository:a/b:*"), "repository:a/b:pull"),
            (Some("repository:a:pull repository:b:pull"), "repository:a/b:pull"),
            (Some("registry:catalog:*"), "repository:a/b:pull"),
            (Some(""), "repository:a/b:pull"),
        ] {
            assert_eq!(pull.asked_for(said), [expected], "{said:?}");
        }
        let mount = Scope::push("a").and_pull("b");
        let expected = ["repository:a:pull,push", "repository:b:pull"];
        assert_eq!(mount.asked_for(Some("repository:a:pull")), expected);
    }
}
