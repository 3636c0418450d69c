//! The spans of a verb, kept until its end and then sent to a collector, where one is named.
//!
//! Nothing of this is there unless the environment asks for it: no subscriber, no thread, no memory.
//! Spans are kept in this process, and sent by a thread that is there for as long as that takes. What
//! a guest's process does is in none: it has neither this nor an environment.

mod collector;
mod config;
mod otlp;

use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use tracing_core::Dispatch;

use crate::report;
use collector::Collector;
use config::Config;

/// How long a process that has done its work waits for a collector.
const SENDING_MAX: Duration = Duration::from_secs(1);

/// What is kept of this process, where it was asked for.
static SPANS: OnceLock<Spans> = OnceLock::new();

struct Spans {
    config: Config,
    collector: Collector,
}

/// Begins to keep spans beneath one for this verb, where the environment names a collector.
pub(crate) fn begin(verb: &str) {
    let config = match Config::of_environment(|name| std::env::var(name).ok()) {
        Ok(Some(config)) => config,
        Ok(None) => return,
        Err(reason) => {
            report::say(format_args!("no spans are sent: {}", aril::printable(&reason)));
            return;
        }
    };
    let collector = Collector::new(verb, config.around);
    if SPANS.set(Spans { config, collector: collector.clone() }).is_ok() {
        // There is no other.
        let _first = tracing_core::dispatcher::set_global_default(Dispatch::new(collector));
    }
}

/// Sends what has ended until now, without waiting: for a process that goes on for long.
pub(crate) fn send_aside() {
    if let Some(spans) = SPANS.get() {
        let _unheard = send(spans, false);
    }
}

/// Sends all of it, at the end of this process. A collector that does not take it in time is told of, and
/// changes nothing.
pub(crate) fn end() {
    let Some(spans) = SPANS.get() else { return };
    spans.collector.end();
    let reason = match send(spans, true).recv_timeout(spans.config.time_max.min(SENDING_MAX)) {
        Ok(Ok(())) => return,
        Ok(Err(reason)) => reason,
        Err(_) => "it did not answer in time".to_owned(),
    };
    let reason = aril::printable(&reason);
    report::say(format_args!("the spans could not be sent to {}: {reason}", spans.config.endpoint));
}

/// Has a thread send what has ended. The spans go again to where they were where that fails and the
/// process goes on.
fn send(spans: &'static Spans, is_last: bool) -> mpsc::Receiver<Result<(), String>> {
    let (done, heard) = mpsc::channel();
    let work = move || {
        let ended = spans.collector.take();
        let sent = if ended.is_empty() { Ok(()) } else { otlp::send(&spans.config, &ended) };
        if sent.is_err() && !is_last {
            spans.collector.put_back(ended);
        }
        // Where it took too long, nobody listens.
        let _late = done.send(sent);
    };
    // Without a thread, the sender is gone, and who waits knows.
    let _thread = std::thread::Builder::new().name("aril-spans".to_owned()).spawn(work);
    heard
}
