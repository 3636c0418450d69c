//! Spans in OpenTelemetry's own form (OTLP, as JSON), sent in one request.

use std::convert::Infallible;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use hyper::Request;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use serde_json::json;
use tokio::net::TcpStream;

use super::collector::Span;
use super::collector::Value;
use super::config::Config;

/// The port of collectors.
const PORT: u16 = 4318;

/// A span of what happens in this process.
const INTERNAL: u8 = 1;

/// The status of a span that failed.
const FAILED: u8 = 2;

/// Sends spans, and waits for the answer. Not within a tokio runtime.
pub(super) fn send(config: &Config, spans: &[Span]) -> Result<(), String> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tokio = tokio.map_err(|error| error.to_string())?;
    let text = told(config, spans).to_string();
    let limit = config.time_max.min(super::SENDING_MAX);
    let sent = tokio.block_on(async {
        match tokio::time::timeout(limit, post(config, text)).await {
            Ok(sent) => sent,
            Err(_) => Err("it did not answer in time".to_owned()),
        }
    });
    // A name that is being looked up is not waited for.
    tokio.shutdown_background();
    sent
}

async fn post(config: &Config, text: String) -> Result<(), String> {
    let endpoint = &config.endpoint;
    let host = endpoint.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, endpoint.port_u16().unwrap_or(PORT))).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let speaking = http1::handshake::<_, String>(TokioIo::new(stream)).await;
    let (mut sender, connection) = speaking.map_err(|error| error.to_string())?;
    let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
    let authority = endpoint.authority().map_or(host, |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("aril/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &config.headers {
        request = request.header(name, value);
    }
    let request = request.body(text).map_err(|error| format!("a header is none: {error}"))?;
    let never = async {
        let ended = connection.await;
        match ended {
            // The answer has come, or never will.
            Ok(()) | Err(_) => std::future::pending::<Infallible>().await,
        }
    };
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.map_err(|error| error.to_string())?,
        never = never => match never {},
    };
    if answer.status().is_success() {
        return Ok(());
    }
    Err(format!("it answered {}", answer.status()))
}

/// Spans as OTLP has them.
fn told(config: &Config, spans: &[Span]) -> Json {
    let mut resource: Vec<Json> = config
        .resource
        .iter()
        .map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } }))
        .collect();
    resource.push(attribute("process.pid", &Value::Number(std::process::id().into())));
    resource.push(attribute("service.version", &Value::Text(env!("CARGO_PKG_VERSION").to_owned())));
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "aril", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &Span) -> Json {
    let attributes = span.values.iter().map(|(name, value)| attribute(name, value));
    let error = span.values.iter().find(|(name, _)| *name == "error").map(|(_, value)| value);
    let mut told = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.number),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(span.started),
        "endTimeUnixNano": nanoseconds(span.ended.max(span.started)),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        told["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(Value::Text(reason)) = error {
        told["status"] = json!({ "code": FAILED, "message": reason });
    }
    told
}

/// Numbers of 64 bits are text, as JSON of protocol buffers has them.
fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Real(number) => json!({ "doubleValue": number }),
        Value::Truth(truth) => json!({ "boolValue": truth }),
    };
    json!({ "key": name, "value": value })
}
