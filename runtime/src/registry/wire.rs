//! Connections: where a host is, encryption, requests out and answers in, each within its time.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper::header;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::address::Origin;
use super::address::Reach;
use super::address::Scheme;
use super::answer::Answer;
use super::error::Reason;
use super::outgoing::Outgoing;
use super::settings::Settings;

/// The most that is buffered of a connection, in bytes: the largest head of an answer, and the
/// largest piece of a body.
const BUFFER_MAX: usize = 256 << 10;

/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 6;

/// The most connections that are kept for a host while nothing is asked of it.
const IDLE_MAX: usize = 8;

/// How long a connection is kept so. Servers close them after a minute, or less.
const IDLE_SPAN: Duration = Duration::from_secs(20);

/// What is asked of a host.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) address: Address,
    pub(super) headers: HeaderMap,
    pub(super) body: Outgoing,
}

/// A connection on which nothing is asked.
pub(super) struct Idle {
    pub(super) origin: Origin,
    pub(super) reach: Reach,
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) since: Instant,
}

/// The connections that are kept.
pub(super) type Pool = Arc<Mutex<Vec<Idle>>>;

/// Speaks HTTP/1.1: the second version would spare registries connections, and cost us most of the
/// flaws that HTTP libraries had in the last years.
pub(super) struct Wire {
    settings: Arc<Settings>,
    pool: Pool,
    /// What this host trusts, read once somebody needs it.
    trusted: OnceLock<RootCertStore>,
    encryption: Mutex<HashMap<Origin, Arc<ClientConfig>>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
enum NoConnection {
    /// The other side does not answer to a word of encryption, or with something else.
    NotEncrypted(Reason),
    Because(Reason),
}

impl Wire {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            pool: Pool::default(),
            trusted: OnceLock::new(),
            encryption: Mutex::default(),
        }
    }

    /// Whether a host understands encryption, if that can be told.
    pub(super) async fn is_encrypted(&self, origin: &Origin) -> Option<bool> {
        match self.connect(origin, None).await {
            Ok(idle) => {
                keep(&self.pool, idle);
                Some(true)
            }
            Err(NoConnection::NotEncrypted(_)) => Some(false),
            Err(NoConnection::Because(Reason::Encryption { .. })) => Some(true),
            Err(NoConnection::Because(_)) => None,
        }
    }

    /// Sends a request, and waits for the head of the answer. With `within`, the host must be no
    /// further inside than that one may lead to.
    pub(super) async fn send(&self, asked: Asked, within: Option<Reach>) -> Result<Answer, Reason> {
        let Asked { method, address, headers, body } = asked;
        let origin = &address.origin;
        let kept = self.kept(origin, within).await;
        let again = kept.as_ref().and_then(|_| body.again());
        let (idle, is_kept) = match (kept, &again) {
            (Some(idle), Some(_)) => (idle, true),
            // What can be sent only once is not risked on a connection that may just be closing.
            _ => (self.connected(origin, within).await?, false),
        };
        let request = request(&method, &address, &headers, body)?;
        match (self.exchange(idle, request, &address).await, again) {
            (Err(Reason::Cut { .. }), Some(body)) if is_kept => {
                let idle = self.connected(origin, within).await?;
                self.exchange(idle, self::request(&method, &address, &headers, body)?, &address)
                    .await
            }
            (other, _) => other,
        }
    }

    /// Sends a request on a connection.
    async fn exchange(
        &self,
        mut idle: Idle,
        request: Request<Outgoing>,
        address: &Address,
    ) -> Result<Answer, Reason> {
        let host = idle.origin.to_string();
        let patience = &self.settings.patience;
        let (size, progress) = (request.body().size(), request.body().progress());
        let sent = || progress.as_ref().map_or(size, |progress| progress.sent());
        let mut sending = pin!(idle.sender.send_request(request));
        let mut before = 0;
        let mut waited = Duration::ZERO;
        let answer = loop {
            let slot = patience.window.min(patience.answer);
            if let Ok(answer) = timeout(slot, &mut sending).await {
                break answer;
            }
            let (now, all_sent) = (sent(), sent() == size);
            waited = if all_sent && before == size { waited + slot } else { Duration::ZERO };
            let slow = |what, span| Reason::Slow { host: host.clone(), what, span };
            if all_sent && patience.answer <= waited {
                return Err(slow("answer", patience.answer));
            }
            if !all_sent && now < before + patience.floor {
                return Err(slow("take what is sent", slot));
            }
            before = now;
        };
        let answer = match (answer, progress.and_then(|progress| progress.failed())) {
            (_, Some(error)) => return Err(Reason::own(error)),
            (Err(error), None) => return Err(Reason::Cut { host, reason: told(&error) }),
            (Ok(answer), None) => answer,
        };
        let encoded = answer.headers().get(header::CONTENT_ENCODING);
        if encoded.is_some_and(|encoding| encoding != "identity") {
            let reason = "it is compressed, which was not asked for".to_owned();
            return Err(Reason::Broken { host, reason });
        }
        Ok(Answer::new(answer, address.clone(), idle, &self.pool, patience.clone()))
    }

    /// A connection that was kept, and is still open.
    async fn kept(&self, origin: &Origin, within: Option<Reach>) -> Option<Idle> {
        loop {
            let mut idle = {
                let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
                pool.retain(|idle| idle.since.elapsed() < IDLE_SPAN && !idle.sender.is_closed());
                let fits = |idle: &Idle| {
                    idle.origin == *origin && within.is_none_or(|from| from.may_lead_to(idle.reach))
                };
                let at = pool.iter().rposition(fits)?;
                pool.remove(at)
            };
            // It becomes ready when the last answer was read to its end, or not at all.
            let ready = timeout(Duration::from_millis(50), idle.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(idle);
            }
        }
    }

    async fn connected(&self, origin: &Origin, within: Option<Reach>) -> Result<Idle, Reason> {
        let (NoConnection::Because(reason) | NoConnection::NotEncrypted(reason)) =
            match self.connect(origin, within).await {
                Ok(idle) => return Ok(idle),
                Err(error) => error,
            };
        Err(reason)
    }

    /// A new connection.
    async fn connect(&self, origin: &Origin, within: Option<Reach>) -> Result<Idle, NoConnection> {
        let patience = &self.settings.patience;
        let (stream, reach) = timeout(patience.connect, self.reach(origin, within))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
            .map_err(|error| NoConnection::Because(error.of(origin)))?;
        let stream: Box<dyn Stream> = match origin.scheme {
            Scheme::Plain => Box::new(stream),
            Scheme::Encrypted => timeout(patience.connect, self.encrypt(origin, stream))
                .await
                .unwrap_or_else(|_| {
                    let (host, span) = (origin.to_string(), patience.connect);
                    let what = "agree on encryption";
                    Err(NoConnection::Because(Reason::Slow { host, what, span }))
                })?,
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| {
                NoConnection::Because(Reason::Cut {
                    host: origin.to_string(),
                    reason: told(&error),
                })
            })?;
        // It ends when nobody has its sender, and no answer any more. What breaks it is told to
        // whoever waits for an answer.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Idle { origin: origin.clone(), reach, sender, since: Instant::now() })
    }

    /// A stream to the host. The address that was judged is the one that is connected to, so that
    /// nobody can give another one in between.
    async fn reach(
        &self,
        origin: &Origin,
        within: Option<Reach>,
    ) -> Result<(TcpStream, Reach), NotReached> {
        let found = tokio::net::lookup_host((origin.host(), origin.port))
            .await
            .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        let mut found: Vec<SocketAddr> = found.collect();
        let allowed = |address: &SocketAddr| {
            within.is_none_or(|from| from.may_lead_to(Reach::of(address.ip())))
        };
        if !found.is_empty() && !found.iter().any(allowed) {
            return Err(NotReached::Inside);
        }
        found.retain(allowed);
        found.truncate(ADDRESSES_MAX);
        let count = u32::try_from(found.len()).unwrap_or(1).max(1);
        let span = self.settings.patience.connect / count;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in found {
            match timeout(span, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small requests are not to wait for each other.
                    let _best_effort = stream.set_nodelay(true);
                    return Ok((stream, Reach::of(address.ip())));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last.into())
    }

    async fn encrypt(
        &self,
        origin: &Origin,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, NoConnection> {
        let host = origin.to_string();
        let failed = |reason: String| Reason::Encryption { host: host.clone(), reason };
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|error| NoConnection::Because(failed(error.to_string())))?;
        let connector = TlsConnector::from(
            self.encryption(origin).map_err(|reason| NoConnection::Because(failed(reason)))?,
        );
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                const PLAIN: &str = "it speaks without encryption; if that is meant, say `insecure = \
                                     true` for it";
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                Err(match inner {
                    Some(rustls::Error::InvalidMessage(_)) => {
                        NoConnection::NotEncrypted(failed(PLAIN.to_owned()))
                    }
                    Some(inner) => NoConnection::Because(failed(unproven(inner))),
                    None => {
                        NoConnection::NotEncrypted(Reason::Cut { host, reason: error.to_string() })
                    }
                })
            }
        }
    }

    /// How encryption with a host is agreed on.
    fn encryption(&self, origin: &Origin) -> Result<Arc<ClientConfig>, String> {
        let mut made = self.encryption.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.get(origin) {
            return Ok(Arc::clone(config));
        }
        let mut trusted = self.trusted.get_or_init(trusted).clone();
        for certificate in self.settings.authorities(origin) {
            trusted.add(certificate).map_err(|error| error.to_string())?;
        }
        if trusted.is_empty() {
            return Err("this host trusts no authority: its certificates are missing (a package \
                        often called `ca-certificates`)"
                .to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        made.insert(origin.clone(), Arc::clone(&config));
        Ok(config)
    }
}

/// Puts a connection back for the next request.
pub(super) fn keep(pool: &Pool, idle: Idle) {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let count = pool.iter().filter(|other| other.origin == idle.origin).count();
    if count < IDLE_MAX && !idle.sender.is_closed() {
        pool.push(Idle { since: Instant::now(), ..idle });
    }
}

/// Why a certificate is not taken, and what can be done about it.
fn unproven(error: &rustls::Error) -> String {
    use rustls::CertificateError;

    let rustls::Error::InvalidCertificate(why) = error else { return error.to_string() };
    let advice = match why {
        CertificateError::UnknownIssuer => {
            "; name the certificate of its authority in `ca = [...]` of `registries.toml`"
        }
        CertificateError::Other(_) if format!("{why:?}").contains("CaUsedAsEndEntity") => {
            return "its certificate is that of an authority, which is none for a server: give it one \
                    that the authority signed, and name the authority's in `ca = [...]` of \
                    `registries.toml`"
                .to_owned();
        }
        _ => "",
    };
    format!("{error}{advice}")
}

/// The authorities that this host trusts. What cannot be read of them is left out.
fn trusted() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

fn request(
    method: &Method,
    address: &Address,
    headers: &HeaderMap,
    body: Outgoing,
) -> Result<Request<Outgoing>, Reason> {
    let broken = |_| Reason::Refused(format!("{address} cannot be asked for"));
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = address.path_and_query().parse().map_err(broken)?;
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(address.origin.authority())
        .map_err(|_| Reason::Refused(format!("{address} cannot be asked for")))?;
    headers.insert(header::HOST, host);
    let own = concat!("aril/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(own));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

/// Why a host was not reached.
enum NotReached {
    Failed(io::Error),
    /// It is where whoever leads to it must not lead.
    Inside,
}

impl From<io::Error> for NotReached {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl NotReached {
    fn of(self, origin: &Origin) -> Reason {
        match self {
            Self::Failed(source) => Reason::Connect { host: origin.to_string(), source },
            Self::Inside => Reason::Refused(format!(
                "{origin} is an address of this host or this network, to which a registry outside \
                 may not send us"
            )),
        }
    }
}

/// What an error of the library says, with what is behind it.
pub(super) fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text.chars().take(300).collect()
}
