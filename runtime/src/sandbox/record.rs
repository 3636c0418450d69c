//! The record of a run, and its wire form.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::capabilities::Denial;
use crate::limits::Hold;

use super::end::acts_on_terminals;
use super::exit::Exit;
use super::exit::MemoryWall;
use super::stats::Stats;

/// The version of the wire form. It is raised when a field goes or changes its meaning; a new
/// field does not raise it.
const RECORD_VERSION: u32 = 1;

const _: () = assert!(RECORD_VERSION == 1, "readers of records depend on it; see CHANGELOG.md");

/// All that is told of a run at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How it ended.
    pub exit: Exit,
    /// What it used.
    pub stats: Stats,
    /// How each limit was held.
    pub holds: Vec<Hold>,
    /// The latest of what it was refused, oldest first.
    pub denials: Vec<Denial>,
    /// What the invoked function returned, as text.
    pub results: Vec<String>,
    /// Whether what it wrote to this process's standard output ends in the middle of a line.
    pub mid_line: bool,
}

impl Record {
    /// The record as one line of JSON. Times are in nanoseconds, sizes in bytes.
    pub fn to_json(&self) -> String {
        // A record holds only texts and numbers: nothing of it can fail to be written.
        let json = serde_json::to_string(&Wire::from(self)).unwrap_or_default();
        // JSON leaves the control characters above ASCII, and those that turn the direction of
        // reading, as they are: on a terminal they act. They can only be in texts.
        let mut safe = String::with_capacity(json.len());
        for c in json.chars() {
            if acts_on_terminals(c) {
                // Writing to a string does not fail.
                let _written = write!(safe, "\\u{:04x}", u32::from(c));
            } else {
                safe.push(c);
            }
        }
        safe
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    version: u32,
    reason: &'static str,
    code: u8,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trap: Option<WireTrap<'a>>,
    stats: WireStats,
    limits: Vec<WireHold<'a>>,
    denials: Vec<WireDenial<'a>>,
    results: &'a [String],
}

#[derive(Serialize)]
struct WireTrap<'a> {
    kind: &'static str,
    message: &'a str,
    backtrace: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireFrame<'a> {
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

#[derive(Serialize)]
struct WireStats {
    elapsed_ns: u64,
    cpu_time_ns: u64,
    memory_bytes: u64,
    memory_peak_bytes: u64,
    memory_refusals: u64,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
    host_calls: u64,
    denials: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_instruction_ns: Option<u64>,
}

#[derive(Serialize)]
struct WireHold<'a> {
    name: &'static str,
    amount: Option<&'a str>,
    rung: &'static str,
    asked: bool,
}

#[derive(Serialize)]
struct WireDenial<'a> {
    path: &'a str,
    refusal: &'static str,
    call: u64,
    named: bool,
}

impl<'a> From<&'a Record> for Wire<'a> {
    fn from(record: &'a Record) -> Self {
        let Record { exit, stats, holds, denials, results, mid_line: _ } = record;
        let (mut guest_code, mut signal, mut wall, mut trap) = (None, None, None, None);
        match exit {
            Exit::Exited(code) => guest_code = Some(*code),
            Exit::Killed(number) => signal = Some(*number),
            Exit::OutOfMemory(MemoryWall::Meter) => wall = Some("meter"),
            Exit::OutOfMemory(MemoryWall::Cgroup) => wall = Some("cgroup"),
            Exit::Trapped(found) => {
                let frames = found.backtrace.iter();
                let frame = |f: &'a super::exit::Frame| WireFrame {
                    function: &f.function,
                    offset: f.offset,
                };
                trap = Some(WireTrap {
                    kind: found.kind.word(),
                    message: &found.message,
                    backtrace: frames.map(frame).collect(),
                });
            }
            Exit::Deadline
            | Exit::CpuTime
            | Exit::Fuel
            | Exit::Output
            | Exit::Stopped
            | Exit::Denied(_) => {}
        }
        Self {
            version: RECORD_VERSION,
            reason: exit.reason(),
            code: exit.code(),
            message: exit.to_string(),
            guest_code,
            signal,
            wall,
            trap,
            stats: WireStats {
                elapsed_ns: nanos(stats.elapsed),
                cpu_time_ns: nanos(stats.cpu_time),
                memory_bytes: stats.memory.get(),
                memory_peak_bytes: stats.memory_peak.get(),
                memory_refusals: stats.memory_refusals,
                bytes_in: stats.bytes_in,
                bytes_out: stats.bytes_out,
                fuel: stats.fuel,
                host_calls: stats.host_calls,
                denials: stats.denials,
                first_instruction_ns: stats.first_instruction.map(nanos),
            },
            limits: holds
                .iter()
                .map(|hold| WireHold {
                    name: hold.name,
                    amount: hold.amount.as_deref(),
                    rung: hold.rung.word(),
                    asked: hold.asked,
                })
                .collect(),
            denials: denials
                .iter()
                .map(|denial| WireDenial {
                    path: &denial.path,
                    refusal: denial.refusal.word(),
                    call: denial.call,
                    named: denial.named,
                })
                .collect(),
            results,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
