//! An HTTP service that runs Python from its requests, each in a fresh sandbox.
//!
//! ```sh
//! tests/setup                 # fetches a Python for WASI, with pip
//! cargo run --release --example snippets -- target/guests/cpython.wasm 8080
//! curl --data 'print(6 * 7)' http://127.0.0.1:8080/run
//! ```
//!
//! The code may come from anybody: from a tenant, or from a model. It gets no files, no network, no
//! environment and no input; 64 MiB, two seconds and 64 KiB of output; and its answer says how it
//! ended. A caller who hangs up takes the guest along, because nothing runs that nobody holds.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use anyhow::Context as _;
use aril::{Artifact, Bytes, ErrorKind, Limits, Output, Runtime, SandboxSpec};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;

/// The longest snippet that is taken, in bytes.
const CODE_SIZE_MAX: usize = 64 << 10;

/// Snippets that run at the same moment; one more is told to come back.
const SNIPPETS_MAX: u32 = 64;

/// What a snippet did.
#[derive(Serialize)]
struct Answer {
    /// What it printed.
    output: String,
    /// What it, or Python, complained of.
    errors: String,
    /// Why it ended: `exited`, `deadline`, `out_of_memory`, `output` ...
    reason: &'static str,
    /// The code that a process would have ended with.
    code: u8,
    stats: Figures,
}

/// What a snippet used.
#[derive(Serialize)]
struct Figures {
    elapsed_ms: u128,
    cpu_time_ms: u128,
    memory_peak_bytes: u64,
}

/// What all requests share.
#[derive(Clone)]
struct Service {
    runtime: Runtime,
    python: Artifact,
}

async fn run(State(service): State<Service>, code: String) -> Result<Json<Answer>, Refusal> {
    let limits = Limits {
        memory: Bytes::mib(64).into(),
        deadline: Duration::from_secs(2).into(),
        output: Bytes::kib(64).into(),
        ..Limits::default()
    };
    let spec = SandboxSpec::new("python")
        .args(["-I", "-c", &code])
        .limits(limits)
        .stdout(Output::Capture)
        .stderr(Output::Capture);
    let sandbox = service.runtime.launch(&service.python, spec).await.map_err(refused)?;
    let record = sandbox.record().await.map_err(unavailable)?;
    Ok(Json(Answer {
        output: String::from_utf8_lossy(&sandbox.captured()).into_owned(),
        errors: String::from_utf8_lossy(&sandbox.captured_error()).into_owned(),
        reason: record.exit.reason(),
        code: record.exit.code(),
        stats: Figures {
            elapsed_ms: record.stats.elapsed.as_millis(),
            cpu_time_ms: record.stats.cpu_time.as_millis(),
            memory_peak_bytes: record.stats.memory_peak.get(),
        },
    }))
}

/// Why a snippet was not run: the host's trouble, or the caller's.
type Refusal = (StatusCode, String);

fn refused(error: aril::Error) -> Refusal {
    let status = match error.kind() {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{:#}", anyhow::Error::from(error)))
}

/// There was no room for one more.
fn unavailable(error: impl std::fmt::Display) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

fn main() -> anyhow::Result<()> {
    aril::roles();
    tokio::runtime::Runtime::new()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let python = args.next().context("usage: snippets PYTHON.wasm [PORT]")?;
    let port: u16 = args.next().unwrap_or_else(|| "8080".to_owned()).parse()?;

    let runtime = Runtime::builder("target/examples-cache").sandboxes_max(SNIPPETS_MAX).open()?;
    let python = runtime.prepare(&python).await?;
    let service = Service { runtime, python };
    let app = Router::new()
        .route("/run", post(run))
        .layer(DefaultBodyLimit::max(CODE_SIZE_MAX))
        .with_state(service);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}/run", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
