//! `aril logs` and `aril events`: what sandboxes that go on alone wrote, and what happened to them.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context as _;
use aril::Happening;
use aril::Line;
use aril::LogQuery;
use clap::Args;

use super::Common;
use super::inspect;
use crate::report;

/// Print what a sandbox wrote
#[derive(Args, Debug)]
pub(super) struct Logs {
    /// Its name or id
    #[arg(value_name = "SANDBOX")]
    name: String,

    /// Go on with what it writes, until it has ended
    #[arg(short, long)]
    follow: bool,

    /// Only the last so many lines, or `all`
    #[arg(short = 'n', long, alias = "tail", value_name = "LINES", value_parser = count)]
    lines: Option<Count>,

    /// Only from then on: a moment such as 2026-01-31T12:00:00Z, or a span before now such as 10m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,

    /// Only what was before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<SystemTime>,

    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,

    #[command(flatten)]
    common: Common,
}

/// How many lines are asked for; nothing for all.
#[derive(Clone, Copy, Debug)]
struct Count(Option<usize>);

fn count(text: &str) -> Result<Count, String> {
    match text.parse() {
        Ok(count) => Ok(Count(Some(count))),
        Err(_) if text == "all" => Ok(Count(None)),
        Err(_) => Err(format!("`{text}` is neither a number nor `all`")),
    }
}

/// A moment, or a span before now.
fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(span) = aril::parse_span(text) {
        let before = SystemTime::now().checked_sub(span);
        return before.ok_or_else(|| format!("`{text}` ago is before all time"));
    }
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00")))
        .or_else(|error| {
            // As docker takes them: seconds since 1970.
            let seconds = text.parse().map(Duration::from_secs).map_err(|_| error);
            seconds.map(|seconds| SystemTime::UNIX_EPOCH + seconds)
        })
        .map_err(|_| {
            format!(
                "`{text}` is neither a moment such as 2026-01-31T12:00:00Z nor a span such as 10m"
            )
        })
}

/// Prints lines, each part as it comes.
struct Printer {
    timestamps: bool,
    /// Whether the last part of each stream ended its line.
    at_start: [bool; 2],
    failure: Option<io::Error>,
}

impl Printer {
    fn print(&mut self, line: &Line) -> bool {
        let at_start = &mut self.at_start[usize::from(line.is_error)];
        let mut text = Vec::new();
        if *at_start && self.timestamps {
            let time = humantime::format_rfc3339_nanos(line.time);
            text.extend_from_slice(format!("{time} ").as_bytes());
        }
        text.extend_from_slice(&line.content);
        if line.is_whole {
            text.push(b'\n');
        }
        *at_start = line.is_whole;
        let printed = if line.is_error {
            io::stderr().write_all(&text)
        } else {
            let mut out = io::stdout();
            out.write_all(&text).and_then(|()| out.flush())
        };
        match printed {
            Ok(()) => true,
            Err(error) => {
                self.failure = Some(error);
                false
            }
        }
    }
}

impl Logs {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let last = self.lines.and_then(|Count(count)| count);
        let query = LogQuery { last, since: self.since, until: self.until };
        let mut printer =
            Printer { timestamps: self.timestamps, at_start: [true; 2], failure: None };
        let follow = self.follow && self.until.is_none();
        runtime.log_of_resident(&self.name, &query, follow, |line| printer.print(line))?;
        if let Some(error) = printer.failure {
            return Err(report::unprinted(error));
        }
        if let Ok(resident) = runtime.resident(&self.name)
            && 0 < resident.log_lost
        {
            report::say(format_args!(
                "{} bytes of it could not be written and are lost: was the disk full?",
                resident.log_lost
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Print what happened to sandboxes of this host
#[derive(Args, Debug)]
pub(super) struct Events {
    /// Go on with what happens
    #[arg(short, long)]
    follow: bool,

    /// Only from then on: a moment, or a span before now such as 10m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,

    /// Only what was before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<SystemTime>,

    /// A line of JSON for each
    #[arg(long)]
    json: bool,

    /// A template such as `{{.action}} {{.id}}`, or `json`
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,

    /// Only those of this sandbox, by its name or id, or this action: `sandbox=NAME`,
    /// `event=ACTION`
    #[arg(long = "filter", value_name = "KIND=VALUE")]
    filters: Vec<String>,

    #[command(flatten)]
    common: Common,
}

impl Events {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        for filter in &self.filters {
            let kind = filter.split_once('=').map(|(kind, _)| kind);
            if !matches!(kind, Some("sandbox" | "container" | "event")) {
                anyhow::bail!("`{filter}` is no filter such as `sandbox=web` or `event=die`");
            }
        }
        let runtime = self.common.keeping()?;
        let format = if self.json { Some("json") } else { self.format.as_deref() };
        let mut failure = None;
        runtime.happenings(self.follow, |happening| {
            if self.until.is_some_and(|until| until <= happening.time) {
                return false;
            }
            if self.since.is_some_and(|since| happening.time < since) || !self.wants(happening) {
                return true;
            }
            match told(happening, format).and_then(|text| report::line(format_args!("{text}"))) {
                Ok(()) => true,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            }
        })?;
        failure.map_or(Ok(ExitCode::SUCCESS), Err)
    }

    fn wants(&self, happening: &Happening) -> bool {
        let name = happening.attributes.get("name").map_or("", String::as_str);
        self.filters.iter().all(|filter| match filter.split_once('=') {
            Some(("event", action)) => happening.action == action,
            Some((_, text)) => text == name || happening.id.starts_with(text),
            None => true,
        })
    }
}

fn told(happening: &Happening, format: Option<&str>) -> anyhow::Result<String> {
    if let Some(format) = format {
        let value = serde_json::to_value(happening).context("cannot write an event")?;
        return inspect::formatted(&value, format);
    }
    Ok(in_words(happening))
}

/// What happened, in a line for people.
pub(super) fn in_words(happening: &Happening) -> String {
    let time = humantime::format_rfc3339_millis(happening.time);
    let attributes = happening.attributes.iter();
    let attributes = attributes.map(|(name, text)| format!("{name}={}", aril::printable(text)));
    let attributes = attributes.collect::<Vec<_>>().join(", ");
    let id = happening.id.get(..12).unwrap_or(&happening.id);
    format!("{time} {} {id} ({attributes})", aril::printable(&happening.action))
}
