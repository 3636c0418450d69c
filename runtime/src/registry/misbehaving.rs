//! A registry of the tests' own, which answers what it is told to, right or wrong.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::image::Reference;

use super::credentials::Credentials;
use super::settings::Patience;
use super::settings::Settings;

/// A request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// `GET /v2/...`, without the query.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    then: Then,
}

/// What happens after the body.
#[derive(Clone, Copy, Debug)]
enum Then {
    Next,
    /// The connection is closed: with more said than sent, it breaks.
    Close,
    /// The body goes on for ever.
    Endless,
    /// The body goes on a byte at a time.
    Drip(Duration),
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), then: Then::Next }
    }

    pub(super) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("content-length", body.as_ref().len())
    }

    /// Says that there are `said` bytes, sends `body`, and closes.
    pub(super) fn cut(mut self, said: usize, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.then = Then::Close;
        self.header("content-length", said)
    }

    pub(super) fn endless(mut self) -> Self {
        self.then = Then::Endless;
        self.header("transfer-encoding", "chunked")
    }

    pub(super) fn drip(mut self, each: Duration) -> Self {
        self.then = Then::Drip(each);
        self.header("transfer-encoding", "chunked")
    }
}

type Handler = dyn Fn(&Heard, usize) -> Reply + Send + Sync;

/// A registry on a port of its own, until it is dropped.
pub(super) struct Registry {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// How many bytes of endless bodies were sent.
    pub(super) sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// Starts one that is encrypted.
    pub(super) async fn start_encrypted(
        acceptor: TlsAcceptor,
        handler: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(acceptor), handler).await
    }

    /// Starts one. The handler is told the request, and how many there were before.
    pub(super) async fn start(
        handler: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, handler).await
    }

    async fn start_with(
        acceptor: Option<TlsAcceptor>,
        handler: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, sent) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::<AtomicU64>::default());
        let handler: Arc<Handler> = Arc::new(handler);
        let (all, count) = (Arc::clone(&heard), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (handler, heard) = (Arc::clone(&handler), Arc::clone(&all));
                let (count, acceptor) = (Arc::clone(&count), acceptor.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(stream, handler, heard, count).await;
                    };
                    serve(acceptor.accept(stream).await.ok()?, handler, heard, count).await
                });
            }
        });
        Self { address, heard, sent, task }
    }

    /// What was asked, in order.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.heard().iter().map(Heard::line).collect()
    }

    pub(super) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Arc<Handler>,
    all: Arc<Mutex<Vec<Heard>>>,
    sent: Arc<AtomicU64>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let heard = hear(&mut stream).await?;
        let number = {
            let mut all = all.lock().unwrap();
            all.push(heard.clone());
            all.len() - 1
        };
        let reply = handler(&heard, number);
        let mut head = format!("HTTP/1.1 {} Said\r\n", reply.status);
        for (name, value) in &reply.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let has_length = head.contains("content-length") || head.contains("transfer-encoding");
        head.push_str(if has_length { "\r\n" } else { "content-length: 0\r\n\r\n" });
        stream.write_all(head.as_bytes()).await.ok()?;
        if heard.method != "HEAD" {
            stream.write_all(&reply.body).await.ok()?;
        }
        match reply.then {
            Then::Next => {}
            Then::Close => return stream.shutdown().await.ok(),
            Then::Endless => loop {
                let piece = [&b"1000\r\n"[..], &[b' '; 0x1000], b"\r\n"].concat();
                stream.write_all(&piece).await.ok()?;
                sent.fetch_add(0x1000, Ordering::Relaxed);
            },
            Then::Drip(each) => loop {
                stream.write_all(b"1\r\n \r\n").await.ok()?;
                tokio::time::sleep(each).await;
            },
        }
    }
}

async fn hear(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Option<Heard> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut heard = Heard { method, path, headers, body: Vec::new() };
    let length = heard.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    heard.body.resize(length, 0);
    stream.read_exact(&mut heard.body).await.ok()?;
    Some(heard)
}

/// Settings that do not let a test wait.
pub(super) fn hasty() -> Settings {
    let mut settings = Settings::default();
    settings.patience = Patience {
        answer: Duration::from_millis(400),
        document: Duration::from_millis(800),
        window: Duration::from_millis(200),
        floor: 1000,
        attempts: 3,
        pause: Duration::from_millis(5),
        pause_max: Duration::from_millis(50),
        ..Patience::default()
    };
    settings
}

/// A client that does not wait, and knows nobody.
pub(super) fn client() -> super::Client {
    super::Client::new(hasty(), Credentials::default())
}

/// An error with all that is behind it, as people see it.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        write!(text, ": {inner}").unwrap();
        source = inner.source();
    }
    text
}
