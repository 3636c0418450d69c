//! The wire form of a record: what programs read of a run, and what a process that ran a guest says
//! of it to the one that keeps it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::capabilities;
use crate::capabilities::DENIALS_MAX;
use crate::capabilities::Refusal;
use crate::limits;
use crate::limits::Rung;
use crate::process::Wall;
use crate::process::WallStanding;
use crate::units::Bytes;

use super::end::FRAMES_MAX;
use super::end::bounded;
use super::end::printable;
use super::exit;
use super::exit::Exit;
use super::exit::MemoryWall;
use super::exit::TrapKind;
use super::record;
use super::stats;
use super::wire_group::GroupStats;

/// The version of the wire form. It is raised when a field goes or changes its meaning; a new
/// field does not raise it.
const RECORD_VERSION: u32 = 1;

const _: () = assert!(RECORD_VERSION == 1, "readers of records depend on it; see CHANGELOG.md");

/// A record, as it is written.
#[derive(Deserialize, Serialize)]
pub(super) struct Record<'a> {
    version: u32,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    code: u8,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    wall: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    trap: Option<Trap<'a>>,
    stats: Stats,
    #[serde(borrow)]
    limits: Vec<Hold<'a>>,
    #[serde(borrow)]
    denials: Vec<Denial<'a>>,
    results: Cow<'a, [String]>,
    #[serde(borrow, default)]
    walls: Vec<WallOf<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    violation: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
struct Trap<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    backtrace: Vec<Frame<'a>>,
}

#[derive(Deserialize, Serialize)]
struct Frame<'a> {
    #[serde(borrow)]
    function: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// What a guest used, as it is written.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Stats {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupStats>,
}

#[derive(Deserialize, Serialize)]
struct Hold<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    amount: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rung: Cow<'a, str>,
    asked: bool,
}

#[derive(Deserialize, Serialize)]
struct Denial<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    refusal: Cow<'a, str>,
    call: u64,
    named: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    passed: bool,
}

#[derive(Deserialize, Serialize)]
struct WallOf<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    standing: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    remedy: Option<Cow<'a, str>>,
}

impl<'a> From<&'a record::Record> for Record<'a> {
    fn from(record: &'a record::Record) -> Self {
        let record::Record { exit, stats, holds, denials, results, walls, violation, mid_line: _ } =
            record;
        let (mut guest_code, mut signal, mut wall, mut trap) = (None, None, None, None);
        match exit {
            Exit::Exited(code) => guest_code = Some(*code),
            Exit::Killed(number) => signal = Some(*number),
            Exit::OutOfMemory(found) => wall = Some(found.word().into()),
            Exit::Trapped(found) => trap = Some(found.into()),
            Exit::Deadline
            | Exit::CpuTime
            | Exit::Fuel
            | Exit::Output
            | Exit::Stopped
            | Exit::Denied(_) => {}
        }
        Self {
            version: RECORD_VERSION,
            reason: exit.reason().into(),
            code: exit.code(),
            message: exit.to_string().into(),
            guest_code,
            signal,
            wall,
            trap,
            stats: stats.into(),
            limits: holds.iter().map(Into::into).collect(),
            denials: denials.iter().map(Into::into).collect(),
            results: results.into(),
            walls: walls.iter().map(WallOf::of).collect(),
            violation: violation.as_deref().map(Into::into),
        }
    }
}

impl<'a> From<&'a exit::Trap> for Trap<'a> {
    fn from(trap: &'a exit::Trap) -> Self {
        let frame = |frame: &'a exit::Frame| Frame {
            function: (&frame.function).into(),
            offset: frame.offset,
        };
        Self {
            kind: trap.kind.word().into(),
            message: (&trap.message).into(),
            backtrace: trap.backtrace.iter().map(frame).collect(),
        }
    }
}

impl From<&stats::Stats> for Stats {
    fn from(stats: &stats::Stats) -> Self {
        Self {
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
            disk_bytes: stats.disk.map(Bytes::get),
            group: stats.group.as_ref().map(Into::into),
        }
    }
}

/// How a limit is held, as it is written apart from a record.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WireHold {
    name: String,
    amount: Option<String>,
    rung: String,
    asked: bool,
}

impl From<&limits::Hold> for WireHold {
    fn from(hold: &limits::Hold) -> Self {
        let limits::Hold { name, amount, rung, asked } = hold;
        Self {
            name: (*name).to_owned(),
            amount: amount.clone(),
            rung: rung.word().to_owned(),
            asked: *asked,
        }
    }
}

impl WireHold {
    /// What was written, where it can be.
    pub(crate) fn read(&self) -> Option<limits::Hold> {
        let (name, rung) = (self.name.as_str().into(), self.rung.as_str().into());
        let amount = self.amount.as_deref().map(Into::into);
        Hold { name, amount, rung, asked: self.asked }.parsed().ok()
    }
}

impl<'a> From<&'a limits::Hold> for Hold<'a> {
    fn from(hold: &'a limits::Hold) -> Self {
        Self {
            name: hold.name.into(),
            amount: hold.amount.as_deref().map(Into::into),
            rung: hold.rung.word().into(),
            asked: hold.asked,
        }
    }
}

impl<'a> From<&'a capabilities::Denial> for Denial<'a> {
    fn from(denial: &'a capabilities::Denial) -> Self {
        let capabilities::Denial { path, refusal, call, named, passed } = denial;
        Self {
            path: path.into(),
            refusal: refusal.word().into(),
            call: *call,
            named: *named,
            passed: *passed,
        }
    }
}

/// A stranger's sentence as it can be shown.
fn shown(text: &str) -> String {
    printable(&bounded(text.to_owned()))
}

pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A text that is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidRecord {
    #[error("it is no record")]
    Form(#[from] serde_json::Error),
    #[error("it is a record of version {0}, and this is version {RECORD_VERSION}")]
    Version(u32),
    #[error("its {what} has no such value: {value:?}")]
    Value { what: &'static str, value: String },
}

fn unknown(what: &'static str, value: &str) -> InvalidRecord {
    InvalidRecord::Value { what, value: value.chars().take(100).collect() }
}

impl Record<'_> {
    /// The record that a text is. Who wrote it may be a stranger: what is in it is in bounds or
    /// refused, and no more to be trusted than he is.
    pub(super) fn parse(text: &[u8]) -> Result<record::Record, InvalidRecord> {
        let wire: Record<'_> = serde_json::from_slice(text)?;
        if wire.version != RECORD_VERSION {
            return Err(InvalidRecord::Version(wire.version));
        }
        let exit = wire.exit()?;
        let holds = wire.limits.iter().map(Hold::parsed).collect::<Result<_, _>>()?;
        let latest = wire.denials.iter().rev().take(DENIALS_MAX).rev();
        let denials = latest.map(Denial::parsed).collect::<Result<_, _>>()?;
        let results = wire.results.into_owned();
        let stats = wire.stats.into();
        let walls = wire.walls.iter().map(WallOf::parsed).collect::<Result<_, _>>()?;
        let violation = wire.violation.map(Cow::into_owned);
        let mid_line = false;
        Ok(record::Record { exit, stats, holds, denials, results, walls, violation, mid_line })
    }

    fn exit(&self) -> Result<Exit, InvalidRecord> {
        let missing = |what| move || unknown(what, "nothing");
        Ok(match &*self.reason {
            "exited" => Exit::Exited(self.guest_code.ok_or_else(missing("guest_code"))?),
            "trapped" => Exit::Trapped(self.trap.as_ref().ok_or_else(missing("trap"))?.parsed()?),
            "out_of_memory" => {
                let wall = self.wall.as_deref().unwrap_or_default();
                let found = MemoryWall::ALL.into_iter().find(|known| known.word() == wall);
                Exit::OutOfMemory(found.ok_or_else(|| unknown("wall", wall))?)
            }
            "deadline" => Exit::Deadline,
            "cpu_time" => Exit::CpuTime,
            "fuel" => Exit::Fuel,
            "output" => Exit::Output,
            "stopped" => Exit::Stopped,
            "killed" => Exit::Killed(self.signal.ok_or_else(missing("signal"))?),
            "denied" => {
                let what = self.message.strip_prefix(exit::DENIED).unwrap_or(&self.message);
                Exit::Denied(shown(what))
            }
            other => return Err(unknown("reason", other)),
        })
    }
}

impl Trap<'_> {
    fn parsed(&self) -> Result<exit::Trap, InvalidRecord> {
        let kind = TrapKind::ALL.into_iter().find(|kind| kind.word() == self.kind);
        let frame = |frame: &Frame<'_>| exit::Frame {
            function: bounded(frame.function.clone().into_owned()),
            offset: frame.offset,
        };
        Ok(exit::Trap {
            kind: kind.ok_or_else(|| unknown("kind of trap", &self.kind))?,
            message: shown(&self.message),
            backtrace: self.backtrace.iter().take(FRAMES_MAX).map(frame).collect(),
        })
    }
}

impl From<Stats> for stats::Stats {
    fn from(stats: Stats) -> Self {
        Self {
            elapsed: Duration::from_nanos(stats.elapsed_ns),
            cpu_time: Duration::from_nanos(stats.cpu_time_ns),
            memory: Bytes::new(stats.memory_bytes),
            memory_peak: Bytes::new(stats.memory_peak_bytes),
            memory_refusals: stats.memory_refusals,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            fuel: stats.fuel,
            host_calls: stats.host_calls,
            denials: stats.denials,
            first_instruction: stats.first_instruction_ns.map(Duration::from_nanos),
            disk: stats.disk_bytes.map(Bytes::new),
            group: stats.group.map(Into::into),
        }
    }
}

impl Hold<'_> {
    fn parsed(&self) -> Result<limits::Hold, InvalidRecord> {
        let name = limits::NAMES.into_iter().find(|name| *name == self.name);
        let rung = Rung::ALL.into_iter().find(|rung| rung.word() == self.rung);
        Ok(limits::Hold {
            name: name.ok_or_else(|| unknown("limit", &self.name))?,
            amount: self.amount.clone().map(Cow::into_owned),
            rung: rung.ok_or_else(|| unknown("rung", &self.rung))?,
            asked: self.asked,
        })
    }
}

impl<'a> WallOf<'a> {
    fn of((wall, standing): &'a (Wall, WallStanding)) -> Self {
        let (word, detail, remedy) = match standing {
            WallStanding::Held { detail } => (HELD, Some(detail), None),
            WallStanding::Missing { reason, remedy } => (MISSING, Some(reason), Some(remedy)),
            WallStanding::LeftOut => (LEFT_OUT, None, None),
        };
        let text = |text: Option<&'a String>| text.map(Into::into);
        let (detail, remedy) = (text(detail), text(remedy));
        Self { name: wall.word().into(), standing: word.into(), detail, remedy }
    }

    fn parsed(&self) -> Result<(Wall, WallStanding), InvalidRecord> {
        let wall = self.name.parse().map_err(|_| unknown("wall", &self.name))?;
        let text = |text: &Option<Cow<'_, str>>| text.clone().unwrap_or_default().into_owned();
        let standing = match &*self.standing {
            HELD => WallStanding::Held { detail: text(&self.detail) },
            MISSING => {
                WallStanding::Missing { reason: text(&self.detail), remedy: text(&self.remedy) }
            }
            LEFT_OUT => WallStanding::LeftOut,
            other => return Err(unknown("standing of a wall", other)),
        };
        Ok((wall, standing))
    }
}

/// How walls stand.
const HELD: &str = "held";
const MISSING: &str = "missing";
const LEFT_OUT: &str = "left_out";

impl Denial<'_> {
    fn parsed(&self) -> Result<capabilities::Denial, InvalidRecord> {
        let refusal = Refusal::ALL.into_iter().find(|refusal| refusal.word() == self.refusal);
        let refusal = refusal.ok_or_else(|| unknown("refusal", &self.refusal))?;
        Ok(capabilities::Denial {
            named: self.named,
            passed: self.passed,
            ..capabilities::Denial::told(&self.path, refusal, self.call)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::limits::Watch;

    fn records() -> Vec<record::Record> {
        let frame = |offset| exit::Frame { function: "f\u{1b}".to_owned(), offset };
        let trap = |kind| {
            let backtrace = vec![frame(Some(7)), frame(None)];
            Exit::Trapped(exit::Trap { kind, message: "m\"".to_owned(), backtrace })
        };
        let exits = [Exit::Exited(300), Exit::Deadline, Exit::CpuTime, Exit::Fuel, Exit::Output];
        let more = [Exit::Stopped, Exit::Killed(9), Exit::Denied("no room".to_owned())];
        let walls = MemoryWall::ALL.map(Exit::OutOfMemory);
        let traps = TrapKind::ALL.map(trap);
        let denial = |refusal| capabilities::Denial {
            path: "/x".to_owned(),
            refusal,
            call: 3,
            named: true,
            passed: false,
        };
        let limits = Limits::default();
        let amounts = limits.amounts(false).expect("they hold");
        let record = |exit| record::Record {
            exit,
            stats: stats::Stats {
                elapsed: Duration::from_nanos(1),
                cpu_time: Duration::from_nanos(2),
                memory: Bytes::new(3),
                memory_peak: Bytes::new(4),
                memory_refusals: 5,
                bytes_in: 6,
                bytes_out: 7,
                fuel: Some(8),
                host_calls: 9,
                denials: 10,
                first_instruction: None,
                disk: Some(Bytes::new(14)),
                group: Some(stats::GroupStats {
                    memory: Some(Bytes::new(11)),
                    throttled: Some(Duration::from_nanos(12)),
                    reads: Some(13),
                    ..stats::GroupStats::default()
                }),
            },
            holds: limits.holds(&amounts, Watch::Process),
            denials: Refusal::ALL.map(denial).to_vec(),
            results: vec!["42".to_owned()],
            walls: vec![
                (Wall::Landlock, WallStanding::Held { detail: "ABI 7".to_owned() }),
                (
                    Wall::UserNamespace,
                    WallStanding::Missing { reason: "no".to_owned(), remedy: "yes".to_owned() },
                ),
                (Wall::Seccomp, WallStanding::LeftOut),
            ],
            violation: Some("the system call `socket`".to_owned()),
            mid_line: false,
        };
        exits.into_iter().chain(more).chain(walls).chain(traps).map(record).collect()
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        for record in records() {
            let read = Record::parse(record.to_json().as_bytes()).expect("a record");
            assert_eq!(read, record);
        }
    }

    #[test]
    fn what_is_no_record_is_refused_and_says_why() {
        let [record, ..] = &records()[..] else { panic!("there are some") };
        let whole = record.to_json();
        for (from, to, expected) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("exited", "vanished", "reason"),
            ("\"guest_code\":300", "\"guest_code\":null", "guest_code"),
            ("\"meter\"", "\"magic\"", "rung"),
            ("\"name\":\"memory\"", "\"name\":\"luck\"", "limit"),
            ("not_granted", "forgotten", "refusal"),
            ("{", "[", "no record"),
        ] {
            let broken = whole.replacen(from, to, 1);
            assert_ne!(broken, whole);
            let error = Record::parse(broken.as_bytes()).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
        for end in 0..whole.len() {
            assert!(Record::parse(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }
}
