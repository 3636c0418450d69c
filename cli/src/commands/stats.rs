//! `aril stats`: what sandboxes that go on alone use.

use std::collections::HashMap;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use aril::Bytes;
use aril::Life;
use aril::Resident;
use aril::Runtime;
use aril::Usage;
use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::Common;
use super::inspect;
use crate::report;
use crate::words;

/// How long processor time is watched for a share of it, and how often it is shown anew.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show what sandboxes use, and go on showing it
#[derive(Args, Debug)]
pub(super) struct Stats {
    /// Names or ids; all that run without them
    #[arg(value_name = "SANDBOX")]
    names: Vec<String>,

    /// Show it once
    #[arg(long)]
    no_stream: bool,

    /// A template such as `{{.Name}} {{.CPUPerc}}`, `json` for a line each, or `table`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// What a sandbox used at a moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) resident: Resident,
    pub(super) usage: Usage,
}

/// What all sandboxes use, or those that are named.
pub(super) fn sample(runtime: &Runtime, names: &[String]) -> anyhow::Result<Vec<Sample>> {
    let (mut residents, _) = runtime.residents()?;
    residents.retain(|resident| resident.life != Life::Exited);
    if !names.is_empty() {
        residents = names.iter().map(|name| runtime.resident(name)).collect::<Result<_, _>>()?;
    }
    let mut samples = Vec::new();
    for (at, resident) in residents.into_iter().enumerate() {
        let name = names.get(at).map_or(resident.id.as_str(), String::as_str);
        match runtime.usage(name) {
            Ok(usage) => samples.push(Sample { resident, usage }),
            // It may have ended just now.
            Err(_) if names.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(samples)
}

/// The share of processors that each used since before, in percent of one.
pub(super) fn shares(before: &[Sample], now: &[Sample]) -> HashMap<String, f64> {
    let earlier: HashMap<_, _> = before.iter().map(|one| (one.resident.id.as_str(), one)).collect();
    let share = |one: &Sample| {
        let earlier = earlier.get(one.resident.id.as_str())?;
        let span = one.usage.at.duration_since(earlier.usage.at).ok()?;
        let used = one.usage.stats.cpu_time.checked_sub(earlier.usage.stats.cpu_time)?;
        let share = 100.0 * used.as_secs_f64() / span.as_secs_f64();
        share.is_finite().then(|| (one.resident.id.to_string(), share))
    };
    now.iter().filter_map(share).collect()
}

impl Stats {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let mut before = sample(&runtime, &self.names)?;
        // Who reads it as it comes, or by a program, is not shown a screen again and again.
        let clears = !self.no_stream && self.format.is_none() && io::stdout().is_terminal();
        loop {
            std::thread::sleep(INTERVAL);
            let now = sample(&runtime, &self.names)?;
            let shares = shares(&before, &now);
            if clears {
                write!(io::stdout(), "\x1b[H\x1b[2J").map_err(report::unprinted)?;
            }
            self.print(&now, &shares)?;
            if self.no_stream {
                return Ok(ExitCode::SUCCESS);
            }
            before = now;
        }
    }

    fn print(&self, samples: &[Sample], shares: &HashMap<String, f64>) -> anyhow::Result<()> {
        if let Some(format) = self.format.as_deref().filter(|format| *format != "table") {
            for one in samples {
                let row = told(one, shares);
                report::line(format_args!("{}", inspect::formatted(&row, format)?))?;
            }
            return Ok(());
        }
        let rows: Vec<_> = samples.iter().map(|one| in_words(one, shares)).collect();
        let mut table = tabwriter::TabWriter::new(io::stdout()).padding(3);
        let mut print = || -> io::Result<()> {
            writeln!(
                table,
                "SANDBOX ID\tNAME\tCPU %\tMEM USAGE / LIMIT\tMEM %\tIN / OUT\tBLOCK I/O\tPIDS"
            )?;
            for row in &rows {
                let cell = |name: &str| aril::printable(row[name].as_str().unwrap_or_default());
                let cells =
                    ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "StreamIO", "BlockIO", "PIDs"];
                writeln!(table, "{}", cells.map(cell).join("\t"))?;
            }
            table.flush()
        };
        print().map_err(report::unprinted)
    }
}

/// The same with amounts as people read them, for tables.
pub(super) fn in_words(sample: &Sample, shares: &HashMap<String, f64>) -> Value {
    let Usage { stats, .. } = &sample.usage;
    let pair = |one: u64, other: u64| format!("{} / {}", words::size(one), words::size(other));
    let mut row = told(sample, shares);
    let most = memory_limit(&sample.usage);
    let most = most.map_or_else(|| "unlimited".to_owned(), |most| words::memory(most.get()));
    row["MemUsage"] = format!("{} / {most}", words::memory(stats.memory.get())).into();
    row["StreamIO"] = pair(stats.bytes_in, stats.bytes_out).into();
    if let Some((read, written)) = blocks(stats) {
        row["BlockIO"] = pair(read.get(), written.get()).into();
    }
    row
}

/// How much memory there may be, if that is limited.
fn memory_limit(usage: &Usage) -> Option<Bytes> {
    let amount = limit_of(usage, "memory")?;
    // One that no unit divides is written out.
    amount.strip_suffix(" bytes").unwrap_or(&amount).parse().ok()
}

/// What was read from devices, and written to them, where somebody counts that.
fn blocks(stats: &aril::Stats) -> Option<(Bytes, Bytes)> {
    stats.group.as_ref().and_then(|group| group.read.zip(group.written))
}

/// The limit of this name, if there is one.
fn limit_of(usage: &Usage, name: &str) -> Option<String> {
    usage.limits.iter().find(|hold| hold.name == name)?.amount.clone()
}

/// What a sandbox uses, with docker's names.
pub(super) fn told(sample: &Sample, shares: &HashMap<String, f64>) -> Value {
    let Sample { resident, usage } = sample;
    let stats = &usage.stats;
    let limit = limit_of(usage, "memory");
    let part = memory_limit(usage).map(|most| 100.0 * share_of(stats.memory.get(), most.get()));
    let share = shares.get(resident.id.as_str()).copied().unwrap_or_default();
    let percent = |part: f64| format!("{part:.2}%");
    let group = stats.group.as_ref();
    let unknown = || "--".to_owned();
    let pids = group.and_then(|group| group.pids);
    json!({
        "ID": resident.id.short(),
        "Name": resident.name.as_ref().map_or("", |name| name.as_str()),
        "CPUPerc": percent(share),
        "CPUTime": stats.cpu_time.as_secs_f64(),
        "MemUsage": format!(
            "{} / {}",
            stats.memory,
            limit.unwrap_or_else(|| "unlimited".to_owned())
        ),
        "MemPerc": part.map_or_else(|| "--".to_owned(), percent),
        "MemBytes": stats.memory.get(),
        "MemPeakBytes": stats.memory_peak.get(),
        "MemRefusals": stats.memory_refusals,
        "StreamIO": format!("{} / {}", Bytes::new(stats.bytes_in), Bytes::new(stats.bytes_out)),
        "BytesIn": stats.bytes_in,
        "BytesOut": stats.bytes_out,
        "BlockIO": blocks(stats).map_or_else(unknown, |(read, written)| format!("{read} / {written}")),
        "PIDs": pids.map_or_else(unknown, |count| count.to_string()),
        "ProcessMemBytes": group.and_then(|group| group.memory).map(Bytes::get),
        "DiskBytes": stats.disk.map(Bytes::get),
        "Denials": stats.denials,
        "Paused": usage.is_paused,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share is shown with two digits")]
fn share_of(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
