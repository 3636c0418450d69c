//! Where the time of a verb went is told to a collector of OpenTelemetry, and to nobody else.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;

use crate::guests;
use crate::support::Bench;
use crate::support::Run;
use crate::support::wait_until;
use crate::support::worker_of;

const EXIT_3: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 3))))"#;

/// A collector, and what it was sent.
struct Collector {
    address: String,
    heard: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    _tokio: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let into = Arc::clone(&heard);
        let take = move |headers: HeaderMap, Json(body): Json<Value>| async move {
            into.lock().unwrap().push((headers, body));
            Json(serde_json::json!({ "partialSuccess": {} }))
        };
        let app = axum::Router::new().route("/v1/traces", post(take));
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        listening.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listening.local_addr().unwrap());
        tokio.spawn(async move {
            let listening = tokio::net::TcpListener::from_std(listening).unwrap();
            axum::serve(listening, app).await.unwrap();
        });
        Self { address, heard, _tokio: tokio }
    }

    /// All spans that came.
    fn spans(&self) -> Vec<Span> {
        let heard = self.heard.lock().unwrap();
        let each = heard.iter().flat_map(|(_, body)| {
            let scope = &body["resourceSpans"][0]["scopeSpans"][0];
            assert_eq!(scope["scope"]["name"], "aril");
            scope["spans"].as_array().unwrap().iter().cloned().map(Span)
        });
        each.collect()
    }

    fn asked(&self, run: Run) -> Run {
        run.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.address)
    }
}

#[derive(Clone, Debug)]
struct Span(Value);

impl Span {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// What is recorded by a name, as text.
    fn value(&self, name: &str) -> Option<String> {
        let all = self.0["attributes"].as_array().unwrap();
        let value = &all.iter().find(|one| one["key"] == name)?["value"];
        let value = value.as_object().unwrap().values().next().unwrap();
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn time(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap()
    }
}

/// The only span of this name.
#[track_caller]
fn one(spans: &[Span], name: &str) -> Span {
    let found: Vec<_> = spans.iter().filter(|span| span.text("name") == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0].clone()
}

#[track_caller]
fn assert_within(inner: &Span, outer: &Span) {
    assert_eq!(inner.text("parentSpanId"), outer.text("spanId"));
    assert_eq!(inner.text("traceId"), outer.text("traceId"));
    assert!(outer.time("startTimeUnixNano") <= inner.time("startTimeUnixNano"));
    assert!(inner.time("startTimeUnixNano") <= inner.time("endTimeUnixNano"));
    assert!(inner.time("endTimeUnixNano") <= outer.time("endTimeUnixNano"));
}

#[test]
fn a_run_is_told_with_its_parts_and_what_each_found() {
    let (bench, collector) = (Bench::new(), Collector::start());
    let program = bench.file("three.wat", EXIT_3);
    let digest = aril::Digest::of(&std::fs::read(&program).unwrap()).to_string();
    let run = collector.asked(bench.run(["-e", "SECRET=hidden", "three.wat", "word"]));
    let run = run
        .env("OTEL_SERVICE_NAME", "cook")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b")
        .env("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let outcome = run.outcome().expect_code(3);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));

    let spans = collector.spans();
    let verb = one(&spans, "aril");
    assert_eq!(verb.value("verb").unwrap(), "run");
    assert_eq!(verb.text("traceId"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(verb.text("parentSpanId"), "b7ad6b7169203331");
    let prepare = one(&spans, "prepare");
    assert_within(&prepare, &verb);
    assert_within(&one(&spans, "compile"), &prepare);
    assert_eq!(prepare.value("cached").unwrap(), "false");
    assert_eq!(prepare.value("image").unwrap(), "three.wat");
    assert_eq!(prepare.value("digest").unwrap(), digest);
    let guest = one(&spans, "guest");
    assert_within(&guest, &verb);
    assert_within(&one(&spans, "launch"), &guest);
    for (name, value) in [
        ("image", "three.wat"),
        ("digest", digest.as_str()),
        ("isolation", "process"),
        ("exit.reason", "exited"),
        ("exit.code", "3"),
    ] {
        assert_eq!(guest.value(name).unwrap(), value, "{name}");
    }
    assert_eq!(guest.value("kind"), prepare.value("kind"));
    assert_eq!(spans.len(), 5, "{spans:#?}");
    {
        let heard = collector.heard.lock().unwrap();
        let (headers, body) = &heard[0];
        assert_eq!((heard.len(), headers["x-key"].to_str().unwrap()), (1, "a b"));
        let resource = body["resourceSpans"][0]["resource"].to_string();
        assert!(resource.contains(r#"{"key":"service.name","value":{"stringValue":"cook"}}"#));
        // What the guest was given is its own matter.
        assert!(!body.to_string().contains("hidden") && !body.to_string().contains("\"word\""));
        drop(heard);
    }

    collector.asked(bench.run(["three.wat"])).outcome().expect_code(3);
    let spans = collector.spans().split_off(5);
    assert_eq!(one(&spans, "prepare").value("cached").unwrap(), "true");
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert_ne!(one(&spans, "aril").text("traceId"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(one(&spans, "aril").text("parentSpanId"), "");
}

#[test]
fn what_fails_is_told_with_its_reason_whatever_its_name() {
    let (bench, collector) = (Bench::new(), Collector::start());
    let name = "./\"}]\n\u{1b}[2J.wat";
    bench.file(name, "(module");
    collector.asked(bench.run([name])).outcome().expect_code(126);
    let prepare = one(&collector.spans(), "prepare");
    assert_eq!(prepare.0["status"]["code"], 2);
    assert!(prepare.0["status"]["message"].as_str().unwrap().contains(name), "{prepare:?}");

    bench.file(
        "trap.wat",
        r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#,
    );
    collector.asked(bench.run(["trap.wat"])).outcome().expect_code(134);
    let guest = one(&collector.spans(), "guest");
    assert_eq!(guest.value("exit.reason").unwrap(), "trapped");
    assert_eq!(guest.value("exit.code").unwrap(), "134");
}

#[test]
fn a_sandbox_that_goes_on_alone_is_told_as_it_begins_and_at_its_end() {
    let (bench, collector) = (Bench::new(), Collector::start());
    bench.file("cat.wat", guests::CAT);
    let run = collector.asked(bench.run(["-d", "-i", "--name", "one", "cat.wat"]));
    let id = run.outcome().expect_code(0).stdout.trim().to_owned();
    wait_until("its launch", || collector.spans().iter().any(|span| span.text("name") == "launch"));
    assert!(!collector.spans().iter().any(|span| span.text("name") == "guest"));
    bench.aril(["stop", "one"]).outcome().expect_code(0);
    wait_until("the verb's end", || {
        collector.spans().iter().any(|span| span.text("name") == "aril")
    });
    let spans = collector.spans();
    let guest = one(&spans, "guest");
    assert_eq!(guest.value("sandbox.id").unwrap(), id);
    assert_eq!(guest.value("exit.code").unwrap(), "5");
    assert_within(&guest, &one(&spans, "aril"));
    bench.aril(["rm", "one"]).outcome().expect_code(0);
}

#[test]
fn a_collector_that_is_not_there_or_says_nothing_changes_nothing_and_is_told_of_once() {
    let bench = Bench::new();
    bench.file("three.wat", EXIT_3);
    bench.run(["three.wat"]).outcome().expect_code(3);
    // It takes connections, and nobody answers.
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listening.local_addr().unwrap());
    for (address, why) in
        [(silent.as_str(), "it did not answer in time"), ("http://127.0.0.1:1", "refused")]
    {
        let run = bench.run(["three.wat"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", address);
        let outcome = run.outcome().expect_code(3).expect_error(why);
        let said = format!("aril: the spans could not be sent to {address}/v1/traces: ");
        assert!(outcome.stderr.starts_with(&said), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.elapsed < Duration::from_secs(3), "{outcome:?}");
    }
    let run = bench.run(["three.wat"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a.example");
    run.outcome().expect_code(3).expect_error("no spans are sent: `https://a.example/v1/traces`");
}

#[test]
fn a_guests_process_hears_of_none_of_it() {
    let (bench, collector) = (Bench::new(), Collector::start());
    bench.file("cat.wat", guests::CAT);
    let run = collector.asked(bench.run(["-i", "cat.wat"])).env("RUST_LOG", "trace");
    let running = run.silent_input().start();
    let worker = worker_of(running.pid());
    let variables = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
    // What was there is overwritten.
    assert_eq!(String::from_utf8_lossy(&variables).trim_matches('\0'), "");
    running.signal("TERM");
    let outcome = running.outcome();
    assert!(!outcome.stderr.contains("TRACE") && !outcome.stderr.contains("trace"), "{outcome:?}");
}
