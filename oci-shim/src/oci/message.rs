//! What verbs and a keeper say to each other: one question, and one answer.

use serde::Deserialize;
use serde::Serialize;

/// The longest message, in bytes: a `process` with its variables, or `linux.resources`.
pub(super) const SIZE_MAX: usize = 128 << 10;

/// What a keeper is asked.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Ask {
    Start,
    Kill {
        signal: u32,
    },
    Pause,
    Resume,
    /// `linux.resources`, as JSON.
    Update {
        resources: String,
    },
    Stats,
    Processes,
    /// `process`, as JSON. Its streams come along.
    Exec {
        process: String,
    },
}

/// What it answers.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    Done,
    Failed {
        text: String,
    },
    Stats {
        json: String,
    },
    Processes {
        numbers: Vec<u32>,
    },
    /// A program beside the guest runs; its end follows.
    Began,
    /// It ended with this code.
    Ended {
        code: u8,
    },
}
