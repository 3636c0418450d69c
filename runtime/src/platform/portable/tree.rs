//! Trees of files by path: each call looks first that no name on its way is a symbolic link.
//!
//! Whoever links in a tree while it is worked on could come between; the trees are in folders that
//! belong to this user alone.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::FileTimes;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::platform::Kind;
use crate::platform::Stamp;
use crate::platform::Status;

/// A directory, by the path it was found at.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Finds a directory of ours. Its last part is no symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !fs::symlink_metadata(path)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"));
        }
        Ok(Self(path.to_owned()))
    }

    /// The directory that a handle was opened as.
    pub(crate) fn of(_handle: &File, opened_as: &Path) -> io::Result<Self> {
        Self::open(opened_as)
    }

    /// The same directory once more.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self(self.0.clone()))
    }

    /// The directory as a file, where the system can open one.
    pub(crate) fn into_file(self) -> io::Result<File> {
        File::open(self.0)
    }

    /// Finds a directory in this one.
    pub(crate) fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::open(&self.at(name.as_ref())?)
    }

    /// Finds a directory some names below this one, none of which is a symbolic link.
    pub(crate) fn descend(&self, way: &str) -> io::Result<Self> {
        let mut names = way.split('/').filter(|name| !name.is_empty() && *name != ".");
        names.try_fold(self.again()?, |above, name| above.child(name))
    }

    /// Creates a directory. Modes are not known here.
    pub(crate) fn create_directory(&self, name: impl AsRef<OsStr>, _mode: u32) -> io::Result<()> {
        fs::create_dir(self.at(name.as_ref())?)
    }

    /// Creates a file that did not exist, for writing.
    pub(crate) fn create_file(&self, name: impl AsRef<OsStr>, _mode: u32) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.at(name.as_ref())?)
    }

    /// Opens a file for reading.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let path = self.at(name.as_ref())?;
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(path)
    }

    pub(crate) fn create_link(&self, name: impl AsRef<OsStr>, target: &OsStr) -> io::Result<()> {
        #[expect(deprecated, reason = "the one that every system has")]
        fs::soft_link(target, self.at(name.as_ref())?)
    }

    pub(crate) fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<OsString> {
        Ok(fs::read_link(self.at(name.as_ref())?)?.into_os_string())
    }

    /// Gives what `name` is in this directory a name in another one as well.
    pub(crate) fn link_to(
        &self,
        name: impl AsRef<OsStr>,
        other: &Self,
        other_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let path = self.at(name.as_ref())?;
        // Systems differ in whether the link, or what it leads to, gets the name.
        if fs::symlink_metadata(&path)?.is_symlink() {
            return other.create_link(other_name, &self.read_link(name)?);
        }
        fs::hard_link(path, other.at(other_name.as_ref())?)
    }

    pub(crate) fn rename(
        &self,
        name: impl AsRef<OsStr>,
        other: &Self,
        other_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        fs::rename(self.at(name.as_ref())?, other.at(other_name.as_ref())?)
    }

    pub(crate) fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_file(self.at(name.as_ref())?)
    }

    /// Removes a directory that is empty.
    pub(crate) fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_dir(self.at(name.as_ref())?)
    }

    /// What `name` is, if it is anything.
    pub(crate) fn status(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Status>> {
        match fs::symlink_metadata(self.at(name.as_ref())?) {
            Ok(found) => Ok(Some(status(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What this directory is.
    pub(crate) fn own_status(&self) -> io::Result<Status> {
        Ok(status(&fs::symlink_metadata(&self.0)?))
    }

    /// The names in this directory, in no order.
    pub(crate) fn entries(&self) -> io::Result<Vec<(OsString, Kind)>> {
        let entries = fs::read_dir(&self.0)?;
        entries
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name(), kind(entry.file_type()?)))
            })
            .collect()
    }

    /// Sets when a file changed last; links and directories keep the time they have here.
    pub(crate) fn set_modified(&self, name: impl AsRef<OsStr>, stamp: Stamp) -> io::Result<()> {
        let path = self.at(name.as_ref())?;
        if fs::symlink_metadata(&path)?.is_file() {
            set_modified(&OpenOptions::new().write(true).open(path)?, stamp)?;
        }
        Ok(())
    }

    /// Does nothing: not every system can set the time of a directory.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems can")]
    pub(crate) fn set_own_modified(&self, _stamp: Stamp) -> io::Result<()> {
        Ok(())
    }

    /// Does nothing: the standard library knows no modes.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems can")]
    pub(crate) fn set_own_mode(&self, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    /// Does nothing: the standard library knows no modes.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems can")]
    pub(crate) fn set_mode(&self, _name: impl AsRef<OsStr>, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    /// What was written survives a loss of power when the system says so.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems can")]
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(())
    }

    /// Where a name is. One that this system takes for more than a name is refused.
    fn at(&self, name: &OsStr) -> io::Result<PathBuf> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) if part == name => Ok(self.0.join(name)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain name")),
        }
    }
}

/// Sets when a file changed last.
pub(crate) fn set_modified(file: &File, stamp: Stamp) -> io::Result<()> {
    let span = Duration::new(stamp.seconds.unsigned_abs(), stamp.nanos);
    let time = match stamp.seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(span),
        _ => SystemTime::UNIX_EPOCH.checked_sub(span),
    };
    let time = time.ok_or_else(|| io::Error::other("no clock of this system shows that time"))?;
    file.set_times(FileTimes::new().set_modified(time))
}

/// Does nothing: the standard library knows no modes.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// What an open file is.
pub(crate) fn status_of(file: &File) -> io::Result<Status> {
    Ok(status(&file.metadata()?))
}

/// Nothing is shared between files here.
pub(crate) fn share_content(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not share content"))
}

fn kind(found: fs::FileType) -> Kind {
    match found {
        found if found.is_dir() => Kind::Directory,
        found if found.is_file() => Kind::File,
        found if found.is_symlink() => Kind::Link,
        _ => Kind::Other,
    }
}

fn status(found: &Metadata) -> Status {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let modified = found.modified().ok().and_then(since).unwrap_or_default();
    Status {
        kind: kind(found.file_type()),
        mode: if found.is_dir() { 0o755 } else { 0o644 },
        size: found.len(),
        names: 1,
        place: (0, 0),
        modified: Stamp {
            seconds: i64::try_from(modified.as_secs()).unwrap_or(i64::MAX),
            nanos: modified.subsec_nanos(),
        },
    }
}
