//! The client: which hosts a reference leads to, and requests with logins and redirects.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use hyper::HeaderMap;
use hyper::Method;
use hyper::StatusCode;
use hyper::header;

use crate::image::Reference;

use super::address::Address;
use super::address::Origin;
use super::address::Reach;
use super::address::Scheme;
use super::answer::Answer;
use super::credentials::Credentials;
use super::error::Reason;
use super::error::RegistryError;
use super::outgoing::Outgoing;
use super::retry::Tries;
use super::settings::Settings;
use super::token::Scope;
use super::token::Tokens;
use super::wire::Asked;
use super::wire::Wire;

/// How often a host may lead elsewhere.
const REDIRECTS_MAX: usize = 5;

/// How often a mirror is tried: there is somebody else to ask.
const MIRROR_ATTEMPTS: u32 = 2;

/// What speaks to registries. A clone is the same one: they share connections and tokens.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(super) settings: Arc<Settings>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) wire: Arc<Wire>,
    pub(super) tokens: Arc<Tokens>,
    /// How registries of this host are spoken to, once it is known.
    schemes: Arc<Mutex<HashMap<String, Scheme>>>,
}

/// A repository at a host.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// What the host is called in settings and logins.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// The repository as this host calls it.
    pub(super) repository: String,
    /// For a mirror, whose repository it is.
    mirrored: Option<String>,
}

impl Endpoint {
    /// Where something of the repository is.
    pub(super) fn address(&self, rest: &str) -> Address {
        let path = format!("/v2/{}/{rest}", self.repository);
        let address = Address::new(self.origin.clone(), path);
        match &self.mirrored {
            Some(registry) => address.with("ns", registry),
            None => address,
        }
    }
}

/// What makes a body, once for each time that it is sent.
pub(super) type MakeBody<'a> = &'a (dyn Fn() -> Result<Outgoing, Reason> + Send + Sync);

/// A request that may be sent several times.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) address: Address,
    pub(super) headers: HeaderMap,
    pub(super) body: MakeBody<'a>,
}

impl Ask<'static> {
    /// A request without a body.
    pub(super) fn plain(method: Method, address: Address) -> Self {
        Self { method, address, headers: HeaderMap::new(), body: &|| Ok(Outgoing::empty()) }
    }
}

impl Client {
    /// A client that speaks to registries as the settings say.
    pub(crate) fn new(settings: Settings, credentials: Credentials) -> Self {
        let settings = Arc::new(settings);
        Self {
            wire: Arc::new(Wire::new(Arc::clone(&settings))),
            settings,
            credentials: Arc::new(credentials),
            tokens: Arc::default(),
            schemes: Arc::default(),
        }
    }

    /// Whether a registry knows us, by the login that there is for it.
    pub(crate) async fn sign_in(&self, registry: &str) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::SignIn { registry: registry.to_owned(), source };
        let endpoint = self.endpoint(registry, String::new()).await.map_err(failed)?;
        let address = Address::new(endpoint.origin.clone(), "/v2/".to_owned());
        let ask = Ask::plain(Method::GET, address);
        let mut tries = Tries::new(&self.settings.patience);
        loop {
            let asked = match self.ask(&endpoint, &Scope::none(), &ask).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    answer.finish().await;
                    return Ok(());
                }
                Ok(answer) => answer.refusal().await,
                Err(reason) => reason,
            };
            tries.next(asked).await.map_err(failed)?;
        }
    }

    /// The hosts that have a repository, in the order in which they are asked: mirrors, then the
    /// registry itself.
    pub(super) async fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, Reason> {
        let home = self.home(reference).await?;
        let mirrors = self.settings.of(&home.name).map_or(&[][..], |host| &host.mirrors);
        let mirrors = mirrors.iter().map(|mirror| Endpoint {
            name: mirror.origin.authority(),
            origin: mirror.origin.clone(),
            repository: format!("{}{}", mirror.prefix, home.repository),
            mirrored: Some(home.name.clone()),
        });
        Ok(mirrors.chain([home.clone()]).collect())
    }

    /// The registry itself.
    pub(super) async fn home(&self, reference: &Reference) -> Result<Endpoint, Reason> {
        let registry = reference.registry().ok_or_else(|| {
            Reason::Refused("a name without a registry is of this host alone".to_owned())
        })?;
        self.endpoint(registry, reference.repository().to_owned()).await
    }

    async fn endpoint(&self, registry: &str, repository: String) -> Result<Endpoint, Reason> {
        // Docker's registry is at another host than its name says, and has a short way to write
        // its own repositories.
        let is_hub = matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let (name, authority) =
            if is_hub { ("docker.io", "registry-1.docker.io") } else { (registry, registry) };
        let repository = if is_hub && !repository.contains('/') && !repository.is_empty() {
            format!("library/{repository}")
        } else {
            repository
        };
        let lost = |source| Reason::Lost { host: registry.to_owned(), source };
        let encrypted = Origin::new(Scheme::Encrypted, authority).map_err(lost)?;
        let insecure = self.settings.of(name).and_then(|host| host.insecure);
        let scheme = match insecure {
            Some(true) => Scheme::Plain,
            None if encrypted.is_loopback() => self.scheme(&encrypted).await,
            _ => Scheme::Encrypted,
        };
        let origin = Origin::new(scheme, authority).map_err(lost)?;
        Ok(Endpoint { name: name.to_owned(), origin, repository, mirrored: None })
    }

    /// How a registry of this host is spoken to.
    async fn scheme(&self, encrypted: &Origin) -> Scheme {
        let key = encrypted.authority();
        let known = {
            let known = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&key).copied()
        };
        if let Some(scheme) = known {
            return scheme;
        }
        let scheme = match self.wire.is_encrypted(encrypted).await {
            Some(true) => Scheme::Encrypted,
            Some(false) => Scheme::Plain,
            // Whoever asks for something will learn why.
            None => return Scheme::Encrypted,
        };
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).insert(key, scheme);
        scheme
    }

    pub(super) fn tries(&self, at: &Endpoint) -> Tries {
        let mut patience = self.settings.patience.clone();
        if at.mirrored.is_some() {
            patience.attempts = patience.attempts.min(MIRROR_ATTEMPTS);
        }
        Tries::new(&patience)
    }

    /// Asks, with what opens the door, wherever the answer is led to. A login or a token is sent
    /// to the endpoint alone, and only the endpoint is listened to where one is asked for.
    pub(super) async fn ask(
        &self,
        at: &Endpoint,
        scope: &Scope,
        ask: &Ask<'_>,
    ) -> Result<Answer, Reason> {
        let is_home = ask.address.origin == at.origin;
        let held = self.tokens.get(&at.origin, scope).filter(|_| is_home);
        let had_one = held.is_some();
        let mut answer = self.once(ask, held).await?;
        if answer.status == StatusCode::UNAUTHORIZED && is_home {
            if had_one {
                self.tokens.forget(&at.origin, scope);
            }
            let (asked, reach) = (answer.headers.clone(), answer.reach);
            answer.finish().await;
            let value = self.authorize(at, scope, &asked, reach).await?;
            answer = self.once(ask, Some(value)).await?;
            if answer.status == StatusCode::UNAUTHORIZED {
                self.tokens.forget(&at.origin, scope);
            }
        }
        if ask.method == Method::GET || ask.method == Method::HEAD {
            self.follow(ask, answer).await
        } else {
            Ok(answer)
        }
    }

    async fn once(
        &self,
        ask: &Ask<'_>,
        authorization: Option<header::HeaderValue>,
    ) -> Result<Answer, Reason> {
        let mut headers = ask.headers.clone();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        let (method, address) = (ask.method.clone(), ask.address.clone());
        self.wire.send(Asked { method, address, headers, body: (ask.body)()? }, None).await
    }

    /// Goes where an answer leads to, with no login.
    async fn follow(&self, ask: &Ask<'_>, mut answer: Answer) -> Result<Answer, Reason> {
        let within: Reach = answer.reach;
        for _ in 0..REDIRECTS_MAX {
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = self.led_to(&answer)?;
            answer.finish().await;
            let asked = Asked {
                method: ask.method.clone(),
                address: to,
                headers: ask.headers.clone(),
                body: Outgoing::empty(),
            };
            answer = self.wire.send(asked, Some(within)).await?;
        }
        if answer.status.is_redirection() {
            Err(Reason::Refused(format!(
                "{} leads from one place to the next, more than {REDIRECTS_MAX} times",
                ask.address
            )))
        } else {
            Ok(answer)
        }
    }

    /// Where the `Location` of an answer leads to, if one may go there.
    pub(super) fn led_to(&self, answer: &Answer) -> Result<Address, Reason> {
        let location = answer.header(header::LOCATION);
        let location =
            location.ok_or_else(|| answer.broken("it leads elsewhere, but not where"))?;
        let to = answer
            .address
            .join(location)
            .map_err(|source| Reason::Lost { host: answer.host(), source })?;
        let from = &answer.address.origin;
        let may_be_plain = from.scheme == Scheme::Plain
            && (from.host() == to.origin.host() || self.settings.may_be_plain(&to.origin));
        if to.origin.scheme == Scheme::Plain && !may_be_plain {
            return Err(Reason::Refused(format!(
                "{from} leads to {}, which is not encrypted",
                to.origin
            )));
        }
        Ok(to)
    }
}
