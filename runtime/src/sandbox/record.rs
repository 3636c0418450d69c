//! The record of a run.

use std::fmt::Write as _;

use crate::capabilities::Denial;
use crate::limits::Hold;
use crate::process::Wall;
use crate::process::WallStanding;

use super::end::acts_on_terminals;
use super::exit::Exit;
use super::stats::Stats;
use super::wire;

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
    /// How each wall of the operating system stood around its process, as that said before the guest
    /// began; empty where it had no process of its own.
    pub walls: Vec<(Wall, WallStanding)>,
    /// The system call that its process was ended for, as that said with its last breath: what it
    /// says is a claim.
    pub violation: Option<String>,
    /// Whether what it wrote to this process's standard output ends in the middle of a line.
    pub mid_line: bool,
}

impl Record {
    /// The record that a text of [`Record::to_json`] is, or why it is none.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        wire::Record::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    /// The record as one line of JSON. Times are in nanoseconds, sizes in bytes.
    pub fn to_json(&self) -> String {
        // A record holds only texts and numbers: nothing of it can fail to be written.
        let json = serde_json::to_string(&wire::Record::from(self)).unwrap_or_default();
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
