//! The figures of sandboxes as Prometheus reads them: their names, units and types.

use std::fmt;
use std::sync::Arc;

use aril::Bytes;
use aril::Ending;
use aril::Life;
use aril::Resident;
use aril::Stats;
use aril::Usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// The two forms of text that figures are read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// Prometheus' own, as everything reads it
    Text,
    /// OpenMetrics, with units
    #[value(name = "openmetrics")]
    OpenMetrics,
}

impl Form {
    /// What it is called in HTTP.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form that somebody wants most who accepts these, as HTTP writes that: OpenMetrics where it
    /// is named and nothing else is liked better, and what everything reads where nothing is known.
    pub(crate) fn accepted_by(accept: &str) -> Self {
        let mut liked = [0.0_f32; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let form = match (kind.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => {
                    Self::OpenMetrics
                }
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Self::Text,
                _ => continue,
            };
            let best = &mut liked[form as usize];
            *best = best.max(quality);
        }
        let [text, open] = liked;
        if 0.0 < open && text <= open { Self::OpenMetrics } else { Self::Text }
    }
}

/// A sandbox, and what it uses where it runs and its keeper answers.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) resident: Resident,
    pub(crate) usage: Option<Usage>,
}

/// All that is known at a moment.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) known: Vec<Sample>,
    /// Sandboxes of which nothing can be read.
    pub(crate) unreadable: usize,
}

impl Samples {
    /// All of it as text.
    pub(crate) fn told(self: Arc<Self>, form: Form) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match form {
            Form::Text => prometheus_text::encode(&mut text, &registry)?,
            Form::OpenMetrics => text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Sample {
    fn runs(&self) -> bool {
        matches!(self.resident.life, Life::Running | Life::Paused)
    }

    /// The figures of the run of now, or of the last one where there is none.
    fn stats(&self) -> Option<&Stats> {
        match (&self.usage, &self.resident.ending) {
            (Some(usage), _) => Some(&usage.stats),
            (None, Some(Ending::Told(record))) if !self.runs() => Some(&record.stats),
            _ => None,
        }
    }

    /// The most memory that it may have, where there is such a limit.
    fn memory_limit(&self) -> Option<u64> {
        let limits = self.usage.as_ref().map_or(&self.resident.limits, |usage| &usage.limits);
        let amount = limits.iter().find(|hold| hold.name == "memory")?.amount.as_ref()?;
        let number = amount.strip_suffix(" bytes").unwrap_or(amount);
        number.parse::<Bytes>().ok().map(Bytes::get)
    }

    fn started(&self) -> Option<f64> {
        let started = self.resident.started?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(started.as_secs_f64())
    }

    /// What tells it from the others.
    fn labels(&self) -> [(&'static str, &str); 3] {
        let Resident { id, name, plan, .. } = &self.resident;
        let name = name.as_ref().map_or("", |name| name.as_str());
        [("id", id.as_str()), ("name", name), ("image", &plan.image)]
    }
}

/// A figure of a sandbox that only grows, until it is started again.
type Count = fn(&Sample) -> Option<f64>;

/// Their names (which get `_total`), units, explanations and values.
const COUNTERS: &[(&str, Option<Unit>, &str, Count)] = &[
    ("aril_sandbox_cpu", Some(Unit::Seconds), "Processor time of this run.", |one| {
        one.stats().map(|stats| stats.cpu_time.as_secs_f64())
    }),
    (
        "aril_sandbox_memory_refusals",
        None,
        "How often the guest asked for more memory and was told no.",
        |one| one.stats().map(|stats| float(stats.memory_refusals)),
    ),
    ("aril_sandbox_input", Some(Unit::Bytes), "Bytes read from standard input.", |one| {
        one.stats().map(|stats| float(stats.bytes_in))
    }),
    (
        "aril_sandbox_output",
        Some(Unit::Bytes),
        "Bytes written to standard output and standard error.",
        |one| one.stats().map(|stats| float(stats.bytes_out)),
    ),
    (
        "aril_sandbox_denials",
        None,
        "How often the guest was refused what it was not granted.",
        |one| one.stats().map(|stats| float(stats.denials)),
    ),
    ("aril_sandbox_restarts", None, "How often it was started again.", |one| {
        Some(f64::from(one.resident.restarts))
    }),
    (
        "aril_sandbox_log_lost",
        Some(Unit::Bytes),
        "Bytes of output that could not be written to the log.",
        |one| Some(float(one.resident.log_lost)),
    ),
];

/// Figures that grow and shrink.
const GAUGES: &[(&str, Option<Unit>, &str, Count)] = &[
    ("aril_sandbox_memory", Some(Unit::Bytes), "Memory, as its limit counts it.", |one| {
        one.usage.as_ref().map(|usage| float(usage.stats.memory.get()))
    }),
    ("aril_sandbox_memory_peak", Some(Unit::Bytes), "The most memory of this run.", |one| {
        one.stats().map(|stats| float(stats.memory_peak.get()))
    }),
    (
        "aril_sandbox_memory_limit",
        Some(Unit::Bytes),
        "How much memory it may have, where that is limited.",
        |one| one.memory_limit().map(float),
    ),
    (
        "aril_sandbox_start_time",
        Some(Unit::Seconds),
        "When its guest was started last, in seconds since 1970.",
        Sample::started,
    ),
    ("aril_sandbox_exit_code", None, "The code that its guest ended with last.", |one| {
        one.resident.ending.as_ref().map(|ending| f64::from(ending.code()))
    }),
    (
        "aril_sandbox_keeper_up",
        None,
        "Whether the keeper of a sandbox that runs answers: without that, it has no figures.",
        |one| one.runs().then(|| f64::from(u8::from(one.usage.is_some()))),
    ),
];

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let about = "The build that tells this.";
        build.encode(encoder.encode_descriptor("aril_build", about, None, MetricType::Info)?)?;

        let about = "How many sandboxes there are, by what they do.";
        let mut family =
            encoder.encode_descriptor("aril_sandboxes", about, None, MetricType::Gauge)?;
        for life in Life::ALL {
            let count = self.known.iter().filter(|one| one.resident.life == life).count();
            gauge(&mut family, &[("state", life.word())], float(count as u64))?;
        }
        let about = "How many sandboxes there are of which nothing can be read.";
        let unreadable = ConstGauge::new(float(self.unreadable as u64));
        let name = "aril_sandboxes_unreadable";
        unreadable.encode(encoder.encode_descriptor(name, about, None, MetricType::Gauge)?)?;

        let Some(_) = self.known.first() else { return Ok(()) };
        let about = "What a sandbox does: 1 for that, 0 for all else.";
        let name = "aril_sandbox_state";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Gauge)?;
        for one in &self.known {
            for life in Life::ALL {
                let labels = (one.labels(), [("state", life.word())]);
                let is_so = f64::from(u8::from(one.resident.life == life));
                gauge(&mut family, &labels, is_so)?;
            }
        }
        let ended = |one: &&Sample| one.resident.ending.is_some();
        if self.known.iter().any(|one| ended(&one)) {
            let about = "Why its guest ended last: always 1.";
            let name = "aril_sandbox_exit_reason";
            let mut family = encoder.encode_descriptor(name, about, None, MetricType::Gauge)?;
            for one in self.known.iter().filter(ended) {
                let reason = one.resident.ending.as_ref().map_or("", Ending::reason);
                gauge(&mut family, &(one.labels(), [("reason", reason)]), 1.0)?;
            }
        }
        for (figures, kind) in [(COUNTERS, MetricType::Counter), (GAUGES, MetricType::Gauge)] {
            for (name, unit, about, value) in figures {
                let mut values =
                    self.known.iter().filter_map(|one| Some((one, value(one)?))).peekable();
                // A family of nothing is not told of.
                if values.peek().is_none() {
                    continue;
                }
                let mut family = encoder.encode_descriptor(name, about, unit.as_ref(), kind)?;
                for (one, value) in values {
                    let labels = one.labels();
                    let one = family.encode_family(&labels)?;
                    match kind {
                        MetricType::Counter => ConstCounter::new(value).encode(one)?,
                        _ => ConstGauge::new(value).encode(one)?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn gauge(
    family: &mut MetricEncoder<'_>,
    labels: &impl prometheus_client::encoding::EncodeLabelSet,
    value: f64,
) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_liked_best() {
        // As Prometheus 3 and 2 ask.
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,\
                   text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let old =
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (new, Form::OpenMetrics),
            (old, Form::OpenMetrics),
            ("APPLICATION/OpenMetrics-Text", Form::OpenMetrics),
            ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.1", Form::Text),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=x", Form::Text),
            ("application/openmetrics-text;version=2.0.0", Form::Text),
            ("application/vnd.google.protobuf", Form::Text),
            ("*/*", Form::Text),
            (";;,=,;q=", Form::Text),
            ("", Form::Text),
        ] {
            assert_eq!(Form::accepted_by(accept), expected, "{accept}");
        }
    }

    #[test]
    fn without_sandboxes_the_totals_are_told() {
        let nothing = || Samples { known: Vec::new(), unreadable: 0 };
        let open = Arc::new(nothing()).told(Form::OpenMetrics).unwrap();
        assert!(open.contains("aril_sandboxes{state=\"running\"} 0.0\n"), "{open}");
        assert!(open.contains("# TYPE aril_build info\n"), "{open}");
        assert!(open.ends_with("# EOF\n"), "{open}");
        let text = Arc::new(nothing()).told(Form::Text).unwrap();
        assert!(text.contains("# TYPE aril_build_info gauge\n"), "{text}");
        assert!(!text.contains("# EOF"), "{text}");
    }
}
