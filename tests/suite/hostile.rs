//! A registry that answers what a test tells it to, right or wrong: a thread a connection, plain
//! HTTP on loopback.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Such as `GET /v2/app/manifests/1`.
    pub(crate) line: String,
    headers: BTreeMap<String, String>,
}

impl Heard {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    head: String,
    body: Vec<u8>,
    then: Then,
}

/// What happens after the body.
#[derive(Clone, Copy, Debug)]
enum Then {
    Next,
    /// The connection is closed.
    Close,
    /// Blanks follow for ever, in pieces or as they are.
    Endless {
        in_pieces: bool,
    },
    /// A blank follows now and then, for ever.
    Drip,
    /// Nothing follows, for ever.
    Silence,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        let head = format!("HTTP/1.1 {status} Said\r\n");
        Self { head, body: Vec::new(), then: Then::Next }
    }

    pub(crate) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.head = format!("{}{name}: {value}\r\n", self.head);
        self
    }

    /// A body, and how many bytes it has.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let size = self.body.len();
        self.header("content-length", size)
    }

    /// A document under a name.
    pub(crate) fn document(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).header("content-type", media_type).body(body)
    }

    /// A body that ends before it has as many bytes as it says.
    pub(crate) fn cut(mut self, said: u64, body: impl Into<Vec<u8>>) -> Self {
        (self.body, self.then) = (body.into(), Then::Close);
        self.header("content-length", said)
    }

    /// A body of `said` bytes that never ends.
    pub(crate) fn endless_of(mut self, said: u64) -> Self {
        self.then = Then::Endless { in_pieces: false };
        self.header("content-length", said)
    }

    /// A body in pieces that never ends.
    pub(crate) fn endless(mut self) -> Self {
        self.then = Then::Endless { in_pieces: true };
        self.header("transfer-encoding", "chunked")
    }

    /// A body of `said` bytes that comes a byte at a time.
    pub(crate) fn drip(mut self, said: u64) -> Self {
        self.then = Then::Drip;
        self.header("content-length", said)
    }

    /// No answer at all.
    pub(crate) fn silence() -> Self {
        Self { head: String::new(), body: Vec::new(), then: Then::Silence }
    }
}

type Handler = dyn Fn(&Heard, usize) -> Reply + Send + Sync;

/// A registry on a port of its own, until it is dropped.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// How many bytes of bodies without end were sent.
    sent: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Hostile {
    /// Starts one. The handler is told the request, and how many there were before.
    pub(crate) fn start(handler: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", handler)
    }

    /// Starts one at an address of this host.
    pub(crate) fn start_at(
        host: &str,
        handler: impl Fn(&Heard, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let hostile =
            Self { address, heard: Arc::default(), sent: Arc::default(), ended: Arc::default() };
        let handler: Arc<Handler> = Arc::new(handler);
        let (heard, sent) = (Arc::clone(&hostile.heard), Arc::clone(&hostile.sent));
        let ended = Arc::clone(&hostile.ended);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (handler, heard) = (Arc::clone(&handler), Arc::clone(&heard));
                let (sent, ended) = (Arc::clone(&sent), Arc::clone(&ended));
                // It ends when the other side has gone away.
                std::thread::spawn(move || serve(stream, &*handler, &heard, (&sent, &ended)));
            }
        });
        hostile
    }

    /// What was asked, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// How often it was asked for something whose line holds a text.
    pub(crate) fn asked_for(&self, text: &str) -> usize {
        self.heard().iter().filter(|heard| heard.line.contains(text)).count()
    }

    /// How many bytes of bodies without end were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    handler: &Handler,
    all: &Mutex<Vec<Heard>>,
    (sent, ended): (&AtomicU64, &AtomicBool),
) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream);
    loop {
        let heard = hear(&mut lines)?;
        let number = {
            let mut all = all.lock().unwrap();
            all.push(heard.clone());
            all.len() - 1
        };
        let Reply { mut head, body, then } = handler(&heard, number);
        if matches!(then, Then::Next) && !head.contains("content-length") {
            head += "content-length: 0\r\n";
        }
        if !head.is_empty() {
            out.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        }
        if !heard.line.starts_with("HEAD") {
            out.write_all(&body).ok()?;
        }
        match then {
            Then::Next => continue,
            Then::Close => return None,
            Then::Endless { in_pieces } => {
                let blanks = [b' '; 0x1000];
                let piece = [&b"1000\r\n"[..], &blanks, b"\r\n"].concat();
                while !ended.load(Ordering::Relaxed) {
                    out.write_all(if in_pieces { &piece } else { &blanks }).ok()?;
                    sent.fetch_add(0x1000, Ordering::Relaxed);
                }
            }
            Then::Drip => {
                while !ended.load(Ordering::Relaxed) {
                    out.write_all(b" ").ok()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            // Until the other side has gone away.
            Then::Silence => {
                let _gone = lines.read(&mut [0]);
            }
        }
        return None;
    }
}

fn hear(lines: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut next = || {
        let mut line = String::new();
        let count = lines.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let first = next()?;
    let mut headers = BTreeMap::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let (line, _version) = first.rsplit_once(' ')?;
    Some(Heard { line: line.to_owned(), headers })
}
