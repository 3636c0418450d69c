//! What is left of a container for whoever clears up behind a server that is no more: a file in its
//! bundle.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::Serialize;

use crate::native::Runc;

use super::state::End;

/// Its name, and what it is called while it is written.
const NAME: &str = "aril.json";
const WRITTEN: &str = "aril.json.new";

/// The largest, in bytes: some numbers for each process, of which a container has few.
const SIZE_MAX: u64 = 1 << 20;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its control group, by its path below the root of the hierarchies.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// Who made it, where it is native.
    #[serde(default)]
    pub(super) maker: Option<Maker>,
    /// Its processes, the first one first.
    #[serde(default)]
    pub(super) processes: Vec<Known>,
    /// How the first one ended, once it did.
    #[serde(default)]
    pub(super) ended: Option<Ended>,
}

/// The program that made a native container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Maker {
    /// What it is called there.
    pub(super) id: String,
    pub(super) program: PathBuf,
    /// Where it keeps what it knows.
    pub(super) root: PathBuf,
    pub(super) systemd_cgroup: bool,
}

impl From<Maker> for Runc {
    fn from(maker: Maker) -> Self {
        let Maker { program, root, systemd_cgroup, .. } = maker;
        Self { program, systemd_cgroup, ..Self::new(root) }
    }
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Its number.
    pub(super) pid: u32,
    /// When it began, in ticks since the host did: a number alone may be another's later.
    pub(super) beginning: u64,
}

/// An end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    code: u32,
    /// Nanoseconds since 1970.
    at: u64,
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        let since = end.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { code: end.code, at: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        let at = UNIX_EPOCH.checked_add(Duration::from_nanos(ended.at));
        Self { code: ended.code, at: at.unwrap_or_else(SystemTime::now) }
    }
}

impl Record {
    /// Reads that of a bundle: nothing where there is none.
    pub(super) fn read(bundle: &Path) -> io::Result<Self> {
        let file = match File::open(bundle.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(SIZE_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Writes it into a bundle, whole or not at all.
    pub(super) fn write(&self, bundle: &Path) -> io::Result<()> {
        fs::write(bundle.join(WRITTEN), serde_json::to_vec(self)?)?;
        fs::rename(bundle.join(WRITTEN), bundle.join(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_and_a_missing_one_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), Record::default());
        let end = End { code: 3, at: UNIX_EPOCH + Duration::from_millis(1500) };
        let record = Record {
            group: Some("/default/web".to_owned()),
            maker: None,
            processes: vec![Known { pid: 7, beginning: 9 }],
            ended: Some(end.into()),
        };
        record.write(dir.path()).unwrap();
        let found = Record::read(dir.path()).unwrap();
        assert_eq!(found, record);
        assert_eq!(found.ended.map(End::from), Some(end));
        assert!(!dir.path().join(WRITTEN).exists());
        fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(Record::read(dir.path()).is_err());
        assert!(record.write(&dir.path().join("missing")).is_err());
    }
}
