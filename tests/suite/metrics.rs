//! What is told of sandboxes to those who watch many hosts: figures that are scraped.

#![expect(clippy::float_cmp, reason = "figures of whole numbers are whole")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::Bench;
use crate::support::Running;
use crate::support::signal;
use crate::support::wait_until;

/// What Prometheus 3 says that it reads.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Uses some of everything: counts for some hundredths of a second, takes 4 MiB, is told no for more, is refused a file, writes 10 bytes,
/// and then waits for its input.
const BUSY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "012345678\n") (data (i32.const 200) "elsewhere/a.txt")
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const 100_000_000))
    (loop $work (br_if $work (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (drop (memory.grow (i32.const 64)))
    (drop (memory.grow (i32.const 60000)))
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 15)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 300)))
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 10))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1024))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))
    (call $exit (i32.const 7))))"#;

/// Sandboxes that go on alone, which end with the test.
struct Yard<'a>(&'a Bench);

impl Yard<'_> {
    /// Starts one that waits for its input, and says its id.
    fn start(&self, name: &str, flags: &[&str], program: &str) -> String {
        let words = [&["-d", "-i", "--name", name], flags, &[program]].concat();
        let id = self.0.run(words).outcome().expect_code(0).stdout.trim().to_owned();
        // All that it does but to wait is done.
        wait_until("its output", || self.0.aril(["logs", name]).outcome().stdout == "012345678\n");
        id
    }

    fn told(&self, words: &[&str]) -> Value {
        let said = self.0.aril(words).outcome().expect_code(0).stdout;
        serde_json::from_str(&said).unwrap()
    }

    fn inspected(&self, name: &str) -> Value {
        self.told(&["inspect", "--format", "json", name])
    }
}

impl Drop for Yard<'_> {
    fn drop(&mut self) {
        let all = self.0.aril(["ps", "-aq"]).outcome().stdout;
        let words = ["rm", "-f"].into_iter().chain(all.split_whitespace());
        _ = self.0.aril(words).outcome();
    }
}

/// `aril metrics` that listens, and where.
struct Exporter {
    running: Running,
    address: String,
}

impl Exporter {
    fn start(bench: &Bench) -> Self {
        let running = bench.aril(["metrics", "--listen", "127.0.0.1:0"]).start();
        running.wait_for_error("/metrics\n");
        let said = running.said_on_error();
        let address = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Self { running, address }
    }

    /// Sends bytes as they are, and says what comes back until the connection ends.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // Who is refused early does not read it all.
        _ = stream.write_all(request);
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// The status, the media type and the body of an answer.
    fn get(&self, path: &str, accept: &str) -> (u16, String, String) {
        let answer = self
            .raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
        (status, kind.unwrap().to_owned(), body.to_owned())
    }

    fn scrape(&self) -> Scrape {
        let (status, kind, body) = self.get("/metrics", PROMETHEUS);
        assert_eq!(
            (status, kind.as_str()),
            (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        Scrape::parse(&body)
    }
}

type Labels = BTreeMap<String, String>;

/// What was scraped: types and units of families, and values of series.
#[derive(Debug, Default)]
struct Scrape {
    families: BTreeMap<String, (String, Option<String>)>,
    series: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// Reads OpenMetrics, and fails where anything is not as the standard has it.
    #[track_caller]
    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with `# EOF`");
        let (mut scrape, mut family, mut has_samples) = (Self::default(), String::new(), false);
        for line in body.split_terminator('\n') {
            if let Some(words) = line.strip_prefix("# ") {
                let [keyword, name, rest] = words.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}");
                };
                if name != family {
                    assert!(
                        !scrape.families.contains_key(name),
                        "a family is in two parts: {line}"
                    );
                    scrape.families.insert(name.to_owned(), (String::new(), None));
                    (family, has_samples) = (name.to_owned(), false);
                }
                assert!(!has_samples, "it stands behind samples: {line}");
                let (kind, unit) = scrape.families.get_mut(name).unwrap();
                match keyword {
                    "TYPE" => {
                        assert!(kind.is_empty(), "twice: {line}");
                        assert!(["counter", "gauge", "info"].contains(&rest), "{line}");
                        rest.clone_into(kind);
                    }
                    "UNIT" => {
                        assert!(name.ends_with(&format!("_{rest}")), "{line}");
                        *unit = Some(rest.to_owned());
                    }
                    "HELP" => assert!(!rest.is_empty(), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            has_samples = true;
            let (name, labels, value) = sample(line);
            let kind = scrape.families[&family].0.as_str();
            let ending = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(name, format!("{family}{ending}"), "{line}");
            assert!(kind == "gauge" || value.is_finite() && 0.0 <= value, "{line}");
            assert!(scrape.series.insert((name, labels), value).is_none(), "twice: {line}");
        }
        assert!(scrape.families.values().all(|(kind, _)| !kind.is_empty()), "a family has no type");
        scrape
    }

    /// The only series with this name and label.
    #[track_caller]
    fn value(&self, name: &str, label: (&str, &str)) -> Option<f64> {
        let has = |labels: &Labels| labels.get(label.0).is_some_and(|value| value == label.1);
        let mut found = self.series.iter().filter(|((own, labels), _)| own == name && has(labels));
        let value = found.next().map(|(_, value)| *value);
        assert!(found.next().is_none(), "several series are {name} {label:?}");
        value
    }

    /// The values of a label of a sandbox's series.
    fn labels(&self, id: &str, label: &str) -> BTreeSet<&str> {
        let of = |labels: &&Labels| labels.get("id").is_some_and(|own| own == id);
        let all = self.series.keys().map(|(_, labels)| labels).filter(of);
        all.filter_map(|labels| labels.get(label).map(String::as_str)).collect()
    }

    /// The label of the one series of these that is 1.
    #[track_caller]
    fn chosen(&self, name: &str, id: &str, label: &str) -> String {
        let is_it = |((own, labels), value): &(&(String, Labels), &f64)| {
            own == name && labels.get("id").is_some_and(|own| own == id) && **value == 1.0
        };
        let found: Vec<_> = self.series.iter().filter(is_it).map(|((_, all), _)| all).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0][label].clone()
    }
}

/// The name, labels and value of a line.
#[track_caller]
fn sample(line: &str) -> (String, Labels, f64) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = line.find(|c| !is_name(c)).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, quoted) = rest.split_once("=\"").expect(line);
            assert!(!label.is_empty() && label.chars().all(is_name), "{line}");
            let (mut value, mut chars) = (String::new(), quoted.char_indices());
            let end = loop {
                match chars.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect(line).1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("`\\{c}` means nothing: {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &quoted[end + 1..];
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line).parse().expect(line);
    (name.to_owned(), labels, value)
}

fn seconds(moment: &Value) -> f64 {
    let text = moment.as_str().unwrap();
    let date = std::process::Command::new("date").args(["+%s.%N", "-d", text]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn what_is_scraped_is_what_inspect_and_stats_say() {
    let bench = Bench::with_shared_cache();
    let yard = Yard(&bench);
    bench.file("busy.wat", BUSY);
    let id = yard.start("one", &["-m", "70000001"], "busy.wat");
    let other = yard.start("two", &[], "busy.wat");
    bench.aril(["pause", "two"]).outcome().expect_code(0);

    let exporter = Exporter::start(&bench);
    let scrape = exporter.scrape();
    let stats = yard.told(&["stats", "--no-stream", "--format", "json", "one"]);
    let figure = |name: &str| scrape.value(name, ("id", &id)).unwrap();
    for (name, field) in [
        ("aril_sandbox_memory_bytes", "MemBytes"),
        ("aril_sandbox_memory_peak_bytes", "MemPeakBytes"),
        ("aril_sandbox_memory_refusals_total", "MemRefusals"),
        ("aril_sandbox_input_bytes_total", "BytesIn"),
        ("aril_sandbox_output_bytes_total", "BytesOut"),
        ("aril_sandbox_denials_total", "Denials"),
    ] {
        assert_eq!(Some(figure(name)), stats[field].as_f64(), "{name}\n{stats:#}");
    }
    // It does what it is meant to.
    assert_eq!(figure("aril_sandbox_output_bytes_total"), 10.0);
    assert_eq!(figure("aril_sandbox_memory_refusals_total"), 1.0);
    assert_eq!(figure("aril_sandbox_denials_total"), 1.0);
    assert_eq!(figure("aril_sandbox_memory_limit_bytes"), 70_000_001.0);
    let cpu = figure("aril_sandbox_cpu_seconds_total");
    // It has waited since; one of the two is read from text a last digit off.
    assert!(0.0 < cpu && cpu <= stats["CPUTime"].as_f64().unwrap() + 1e-9, "{cpu} {stats:#}");
    let started = seconds(&yard.inspected("one")["State"]["StartedAt"]);
    assert!((figure("aril_sandbox_start_time_seconds") - started).abs() < 0.001);
    assert_eq!(figure("aril_sandbox_keeper_up"), 1.0);
    assert_eq!(figure("aril_sandbox_restarts_total"), 0.0);
    assert_eq!(figure("aril_sandbox_log_lost_bytes_total"), 0.0);
    assert_eq!(scrape.value("aril_sandbox_exit_code", ("id", &id)), None);
    assert_eq!(scrape.labels(&id, "name"), BTreeSet::from(["one"]));
    assert_eq!(scrape.labels(&id, "image"), BTreeSet::from(["busy.wat"]));
    assert_eq!(scrape.chosen("aril_sandbox_state", &id, "state"), "running");
    assert_eq!(scrape.chosen("aril_sandbox_state", &other, "state"), "paused");
    for (state, count) in [("running", 1.0), ("paused", 1.0), ("exited", 0.0), ("created", 0.0)] {
        assert_eq!(scrape.value("aril_sandboxes", ("state", state)), Some(count), "{state}");
    }
    for (family, kind, unit) in [
        ("aril_sandbox_cpu_seconds", "counter", Some("seconds")),
        ("aril_sandbox_memory_bytes", "gauge", Some("bytes")),
        ("aril_sandbox_output_bytes", "counter", Some("bytes")),
        ("aril_sandbox_start_time_seconds", "gauge", Some("seconds")),
        ("aril_sandbox_restarts", "counter", None),
        ("aril_build", "info", None),
    ] {
        let expected = (kind.to_owned(), unit.map(str::to_owned));
        assert_eq!(scrape.families[family], expected, "{family}");
    }

    bench.aril(["stop", "one"]).outcome().expect_code(0);
    let scrape = exporter.scrape();
    let state = yard.inspected("one");
    let record = &state["Record"]["stats"];
    let figure = |name: &str| scrape.value(name, ("id", &id)).unwrap();
    assert_eq!(figure("aril_sandbox_exit_code"), 7.0);
    assert_eq!(state["State"]["ExitCode"], 7);
    let reason = scrape.chosen("aril_sandbox_exit_reason", &id, "reason");
    assert_eq!(state["State"]["Reason"].as_str(), Some(reason.as_str()));
    assert_eq!(scrape.chosen("aril_sandbox_state", &id, "state"), "exited");
    let cpu = record["cpu_time_ns"].as_f64().unwrap() / 1e9;
    assert!((figure("aril_sandbox_cpu_seconds_total") - cpu).abs() < 1e-9);
    assert_eq!(Some(figure("aril_sandbox_output_bytes_total")), record["bytes_out"].as_f64());
    assert_eq!(
        Some(figure("aril_sandbox_memory_peak_bytes")),
        record["memory_peak_bytes"].as_f64()
    );
    // What is no more is not told of.
    assert_eq!(scrape.value("aril_sandbox_memory_bytes", ("id", &id)), None);
    assert_eq!(scrape.value("aril_sandbox_keeper_up", ("id", &id)), None);
}

#[test]
fn a_name_that_would_end_its_quotes_or_its_line_is_read_as_it_was() {
    let bench = Bench::with_shared_cache();
    let yard = Yard(&bench);
    let name = "a\"} 1\nb\\n\\\u{1b}[2J\u{e4}.wat";
    bench.file(name, BUSY);
    let id = yard.start("strange", &[], &format!("./{name}"));
    let scrape = Exporter::start(&bench).scrape();
    assert_eq!(scrape.labels(&id, "image"), BTreeSet::from([format!("./{name}").as_str()]));

    // On a terminal it cannot do anything.
    let line = format!("'{}' metrics --once", crate::support::aril_path().display());
    let Some(shown) = bench.on_a_terminal(&line) else { return };
    let shown = shown.outcome().expect_code(0);
    assert!(shown.stdout.contains("\\u{1b}[2J") && !shown.stdout.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn whoever_asks_gets_the_form_that_he_reads() {
    let bench = Bench::new();
    let exporter = Exporter::start(&bench);
    for (accept, expected) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let (status, kind, body) = exporter.get("/metrics", accept);
        assert_eq!((status, kind.as_str()), (200, expected), "{accept}");
        assert_eq!(body.ends_with("# EOF\n"), kind.starts_with("application/"), "{accept}");
    }
}

#[test]
fn figures_are_printed_once_for_who_collects_them_from_files() {
    let bench = Bench::with_shared_cache();
    let yard = Yard(&bench);
    bench.file("busy.wat", BUSY);
    let id = yard.start("one", &[], "busy.wat");
    let text = bench.aril(["metrics", "--once"]).outcome().expect_code(0).stdout;
    assert!(text.contains("# TYPE aril_sandbox_cpu_seconds_total counter\n"), "{text}");
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    let open = bench.aril(["metrics", "--once", "--format", "openmetrics"]).outcome();
    let scrape = Scrape::parse(&open.expect_code(0).stdout);
    assert_eq!(scrape.value("aril_sandbox_output_bytes_total", ("id", &id)), Some(10.0));
    let both = bench.aril(["metrics", "--once", "--listen", "127.0.0.1:0"]).outcome();
    both.expect_code(125).expect_error("cannot be used with");
}

#[test]
fn there_is_nothing_but_figures_and_they_are_only_read() {
    let bench = Bench::new();
    let exporter = Exporter::start(&bench);
    for path in ["/", "/metrics/", "/metric", "/../metrics", "//metrics"] {
        assert_eq!(exporter.get(path, "*/*").0, 404, "{path}");
    }
    assert_eq!(exporter.get("/metrics?format=x", "*/*").0, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "X"] {
        let answer = exporter.raw(
            format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                .as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{method}: {answer}");
    }
    let head = exporter.raw(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn who_speaks_no_http_is_refused_and_the_next_one_is_answered() {
    let bench = Bench::new();
    let exporter = Exporter::start(&bench);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(2_000));
    let garbage: &[&[u8]] = &[
        b"\0\xff\x16\x03\x01 garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nBad Header\xff: \0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long.as_bytes(),
        path.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in garbage {
        let answer = exporter.raw(bytes);
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{answer}");
        exporter.scrape();
    }
}

#[test]
fn those_who_say_nothing_do_not_keep_the_others_out() {
    let bench = Bench::new();
    let exporter = Exporter::start(&bench);
    // More than are let in at a time; half of them begin to ask, and do not end.
    let silent: Vec<_> = (0..80)
        .map(|i| {
            let mut stream = TcpStream::connect(&exporter.address).unwrap();
            if i % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            }
            stream
        })
        .collect();
    exporter.scrape();
    drop(silent);
}

#[test]
fn a_keeper_that_does_not_answer_keeps_no_figures_from_the_others() {
    let bench = Bench::with_shared_cache();
    let yard = Yard(&bench);
    bench.file("busy.wat", BUSY);
    let stuck = yard.start("stuck", &[], "busy.wat");
    let other = yard.start("other", &[], "busy.wat");
    let pid = yard.inspected("stuck")["State"]["Pid"].as_u64().unwrap();
    let pid = u32::try_from(pid).unwrap();
    let exporter = Exporter::start(&bench);
    signal(pid, "STOP");
    let scrape = exporter.scrape();
    signal(pid, "CONT");
    assert_eq!(scrape.value("aril_sandbox_keeper_up", ("id", &stuck)), Some(0.0));
    assert_eq!(scrape.value("aril_sandbox_cpu_seconds_total", ("id", &stuck)), None);
    assert_eq!(scrape.value("aril_sandbox_keeper_up", ("id", &other)), Some(1.0));
    assert!(scrape.value("aril_sandbox_cpu_seconds_total", ("id", &other)).is_some());
    wait_until("it answers again", || {
        exporter.scrape().value("aril_sandbox_keeper_up", ("id", &stuck)) == Some(1.0)
    });
}

#[test]
fn a_signal_ends_it_well() {
    let bench = Bench::new();
    for name in ["TERM", "INT"] {
        let exporter = Exporter::start(&bench);
        exporter.running.signal(name);
        exporter.running.outcome().expect_code(0);
    }
}

#[test]
fn an_address_where_nobody_can_listen_is_an_error() {
    let bench = Bench::new();
    let exporter = Exporter::start(&bench);
    let taken = bench.aril(["metrics", "--listen", &exporter.address]).outcome();
    let taken = taken.expect_code(125).expect_error("cannot listen on `127.0.0.1:");
    taken.expect_error("another program listens there").expect_error("`--listen ADDRESS:PORT`");
    // An address that is kept for documents.
    let absent = bench.aril(["metrics", "--listen", "192.0.2.1:9464"]).outcome();
    absent.expect_code(125).expect_error("this host has no such address");
    let none = bench.aril(["metrics", "--listen", "9464"]).outcome();
    none.expect_code(125).expect_error("write it as `127.0.0.1:9464`");
}
