//! What happened to the sandboxes of this host: one line for each thing, in files of bounded size.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::platform::files;

use super::entry::stamp;
use super::name::SandboxId;
use super::place::Roster;

/// The file that is written, and the one before it.
const NAMES: [&str; 2] = ["events", "events.1"];

/// How many bytes a file may have.
const SIZE_MAX: u64 = 1 << 20;

/// The longest line that is read.
const LINE_MAX: u64 = 64 << 10;

/// Something that happened to a sandbox of this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Happening {
    /// When.
    #[serde(with = "stamp")]
    pub time: SystemTime,
    /// To which sandbox, by its id.
    pub id: String,
    /// What: `create`, `start`, `die`, `oom`, `kill`, `stop`, `pause`, `unpause`, `update`,
    /// `restart`, `rename`, `exec`, `denied` or `destroy`, as docker has it.
    pub action: String,
    /// More about it, such as `name`, `image`, `exitCode` and `reason`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Roster {
    fn journal(&self, number: usize) -> PathBuf {
        self.folder().path_of(NAMES[number])
    }

    /// Writes down that something happened. Where it cannot be written, it happened all the same.
    pub(crate) fn note(&self, id: &SandboxId, action: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        let happening = Happening {
            time: SystemTime::now(),
            id: id.to_string(),
            action: action.to_owned(),
            attributes: attributes.collect(),
        };
        let _unwritten = self.write_down(&happening);
    }

    fn write_down(&self, happening: &Happening) -> io::Result<()> {
        let path = self.journal(0);
        let mut file = files::open_log(&path)?;
        let mut line = serde_json::to_vec(happening)?;
        line.push(b'\n');
        // In one piece, so that lines of several who write do not mix.
        file.write_all(&line)?;
        if SIZE_MAX < file.metadata()?.len()
            && files::try_lock(&file)?
            && files::is_at(&file, &path)
        {
            fs::rename(&path, self.journal(1))?;
        }
        Ok(())
    }

    /// What happened so far, the oldest first, and what to read for more.
    pub(crate) fn happenings(&self) -> Happenings {
        let open = |number| files::open_own(&self.journal(number)).ok().map(BufReader::new);
        let newest = open(0);
        Happenings { path: self.journal(0), older: open(1), newest, pending: Vec::new() }
    }
}

/// What happened, as it is read.
#[derive(Debug)]
pub(crate) struct Happenings {
    path: PathBuf,
    older: Option<BufReader<File>>,
    newest: Option<BufReader<File>>,
    pending: Vec<u8>,
}

impl Happenings {
    /// The next one; nothing where nothing more happened yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Happening>> {
        loop {
            if self.older.is_none() && self.newest.is_none() {
                self.newest = files::open_own(&self.path).ok().map(BufReader::new);
            }
            let is_old = self.older.is_some();
            let Some(reader) = self.older.as_mut().or(self.newest.as_mut()) else {
                return Ok(None);
            };
            let room = LINE_MAX.saturating_sub(self.pending.len() as u64);
            let count = reader.by_ref().take(room).read_until(b'\n', &mut self.pending)?;
            if self.pending.last() == Some(&b'\n') || room == 0 {
                let found = serde_json::from_slice(&self.pending);
                self.pending.clear();
                match found {
                    Ok(happening) => return Ok(Some(happening)),
                    // Not of ours.
                    Err(_) => continue,
                }
            }
            if 0 < count {
                continue;
            }
            if is_old {
                self.older = None;
            } else if files::is_at(reader.get_ref(), &self.path) {
                return Ok(None);
            } else {
                self.newest = files::open_own(&self.path).ok().map(BufReader::new);
                if self.newest.is_none() {
                    return Ok(None);
                }
            }
            self.pending.clear();
        }
    }
}
