//! `aril metrics`: the figures of all sandboxes of this user on this host, for Prometheus.

use std::convert::Infallible;
use std::io;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::net::ToSocketAddrs as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use aril::Life;
use aril::Runtime;
use clap::Args;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Common;
use crate::exposition::Form;
use crate::exposition::Sample;
use crate::exposition::Samples;
use crate::report;

/// How many connections there are at a time. More wait until one of them is over, which is soon.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection is there: it has one request, and an answer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a request may take to be there.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);

/// The most bytes of a request; what it carries behind its head is not read.
const REQUEST_SIZE_MAX: usize = 16 << 10;

/// How long one keeper may take to answer. It has the figures at hand.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long all of them may take, so that a scrape, for which Prometheus takes 10 seconds, is
/// answered also where many do not.
const ANSWERS_MAX: Duration = Duration::from_secs(5);

/// How many keepers are asked at the same time.
const ASKED_AT_ONCE: usize = 8;

/// How long nobody is let in after somebody could not be, for want of descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Tell Prometheus what sandboxes use
///
/// Answers `GET /metrics` with the figures of all sandboxes of this user on this host, in OpenMetrics or
/// in Prometheus' text format, until it is ended.
#[derive(Args, Debug)]
pub(super) struct Metrics {
    /// Listen here. Whoever can connect can read the names, images and figures of your sandboxes: with
    /// the default only this host, all of its users; name another address to let others
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9464",
        value_parser = address
    )]
    listen: SocketAddr,

    /// Print the figures once instead, for the textfile collector of a node exporter, say
    #[arg(long, conflicts_with = "listen")]
    once: bool,

    /// The form in which `--once` prints
    #[arg(long, value_enum, default_value_t = Form::Text, requires = "once")]
    format: Form,

    #[command(flatten)]
    common: Common,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let invalid = |why: &dyn std::fmt::Display| format!("{why}; write it as `127.0.0.1:9464`");
    let mut found = text.to_socket_addrs().map_err(|error| invalid(&error))?;
    found.next().ok_or_else(|| invalid(&"it leads to no address"))
}

impl Metrics {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        // What does not work now is told now, and not at the first scrape.
        let samples = sample(&runtime)?;
        if self.once {
            let mut text = Arc::new(samples).told(self.format)?;
            if io::stdout().is_terminal() {
                text = text.split('\n').map(aril::printable).collect::<Vec<_>>().join("\n");
            }
            io::Write::write_all(&mut io::stdout(), text.as_bytes()).map_err(report::unprinted)?;
            return Ok(ExitCode::SUCCESS);
        }
        let ended = Arc::new(Notify::new());
        let ends = Arc::clone(&ended);
        ctrlc::set_handler(move || ends.notify_one()).context("cannot listen for signals")?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = tokio.block_on(async {
            tokio::select! {
                served = serve(self.listen, Scrapes::new(runtime)) => served,
                () = ended.notified() => Ok(()),
            }
        });
        // Keepers that do not answer are not waited for.
        tokio.shutdown_background();
        served.map(|()| ExitCode::SUCCESS)
    }
}

/// What is known of all sandboxes now.
fn sample(runtime: &Runtime) -> anyhow::Result<Samples> {
    let (residents, unreadable) = runtime.residents()?;
    let known = residents.into_iter().map(|resident| Sample { resident, usage: None });
    let known: Vec<_> = known.collect();
    let end = Instant::now() + ANSWERS_MAX;
    let asked = known.len().min(ASKED_AT_ONCE);
    let (left, mut done) = (Mutex::new(known.into_iter().enumerate()), Vec::new());
    std::thread::scope(|scope| {
        let ask = || {
            let mut asked = Vec::new();
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((place, mut one)) = next else { return asked };
                let time = end.saturating_duration_since(Instant::now()).min(ANSWER_MAX);
                let runs = matches!(one.resident.life, Life::Running | Life::Paused);
                if runs && !time.is_zero() {
                    // One that does not answer, or ended just now, has no figures.
                    one.usage = runtime.usage_within(one.resident.id.as_str(), time).ok();
                }
                asked.push((place, one));
            }
        };
        let threads: Vec<_> = (1..asked).map(|_| scope.spawn(ask)).collect();
        done = ask();
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    done.sort_by_key(|(place, _)| *place);
    let known = done.into_iter().map(|(_, one)| one).collect();
    Ok(Samples { known, unreadable: unreadable.len() })
}

/// What was found last, and when that was asked for; `None` where it failed.
type Found = Option<(Instant, Option<Arc<Samples>>)>;

/// Those who ask, of whom many at a time cost as much as one.
#[derive(Debug)]
struct Scrapes {
    runtime: Runtime,
    last: tokio::sync::Mutex<Found>,
}

impl Scrapes {
    fn new(runtime: Runtime) -> Arc<Self> {
        Arc::new(Self { runtime, last: tokio::sync::Mutex::default() })
    }

    /// What is known now: what is found for somebody who came later is new enough.
    async fn samples(&self) -> Option<Arc<Samples>> {
        let came = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((at, samples)) = &*last
            && came <= *at
        {
            return samples.clone();
        }
        let at = Instant::now();
        let runtime = self.runtime.clone();
        let found = tokio::task::spawn_blocking(move || sample(&runtime)).await;
        let samples = match found.map_err(anyhow::Error::from).and_then(|found| found) {
            Ok(samples) => Some(Arc::new(samples)),
            Err(error) => {
                report::say(format_args!("{}", aril::printable(&format!("{error:#}"))));
                None
            }
        };
        *last = Some((at, samples.clone()));
        samples
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        if request.uri().path() != "/metrics" {
            return refusal(StatusCode::NOT_FOUND, "there is `/metrics`, and nothing else\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "figures are only read\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let accept = request.headers().get_all(header::ACCEPT).into_iter();
        let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
        let form = Form::accepted_by(&accept.join(","));
        let text = self.samples().await.and_then(|samples| samples.told(form).ok());
        let Some(text) = text else {
            let said = "the sandboxes of this host cannot be read; standard error says why\n";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, said);
        };
        answer(StatusCode::OK, form.media_type(), text)
    }
}

fn refusal(status: StatusCode, why: &str) -> Response<String> {
    answer(status, "text/plain; charset=utf-8", why.to_owned())
}

fn answer(status: StatusCode, media_type: &'static str, text: String) -> Response<String> {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    answer
}

/// Lets in whoever connects.
async fn serve(address: SocketAddr, scrapes: Arc<Scrapes>) -> anyhow::Result<()> {
    let listening = TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there, perhaps another `aril metrics`: end that, or name \
                 another port with `--listen ADDRESS:PORT`"
            }
            io::ErrorKind::AddrNotAvailable => {
                "; this host has no such address: name one of its own with `--listen ADDRESS:PORT`"
            }
            io::ErrorKind::PermissionDenied => {
                "; you may not listen there: name a port above 1023 with `--listen ADDRESS:PORT`"
            }
            _ => "",
        };
        anyhow::anyhow!("cannot listen on `{address}`: {error}{advice}")
    })?;
    let address = listening.local_addr().context("cannot tell where it listens")?;
    report::say(format_args!("figures are at http://{address}/metrics"));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, _)) = listening.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let scrapes = Arc::clone(&scrapes);
        tokio::spawn(async move {
            // Who is late, or says what nobody understands, hears no more.
            let _late = timeout(CONNECTION_TIME_MAX, speak(stream, scrapes)).await;
            drop(place);
        });
    }
}

/// Answers one request.
async fn speak(stream: TcpStream, scrapes: Arc<Scrapes>) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let scrapes = Arc::clone(&scrapes);
        async move { Ok::<_, Infallible>(scrapes.answer(request).await) }
    });
    http1::Builder::new()
        // Idle connections would take the places of others.
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .max_buf_size(REQUEST_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
