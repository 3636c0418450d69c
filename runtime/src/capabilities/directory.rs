//! A directory of the host that a guest may see.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::platform::files;
use crate::platform::room::Room;
use crate::units::Bytes;

/// What a guest may do with what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read files and their metadata, list directories.
    ReadOnly,
    /// The same, and create, write, rename and remove.
    ReadWrite,
}

/// A directory of the host that a guest sees under a path of its own.
///
/// It is held by handle: whatever happens to the host's names after it was opened, the guest sees
/// this directory and nothing outside of it. A symbolic link inside that leads outside leads
/// nowhere. (Systems without such handles hold it by name; `aril doctor` says so.)
#[derive(Clone, Debug)]
pub struct Directory {
    pub(super) handle: Arc<File>,
    pub(super) host: PathBuf,
    // Invariant: `check_guest_path` accepted it.
    pub(super) guest: String,
    pub(super) access: Access,
    /// The folders that were found to be beside this directory, and not in it or around it.
    beside: Arc<OnceLock<Kept>>,
    /// Held as long as it is granted, so that nobody removes it.
    _lock: Option<Arc<File>>,
    /// Whether it is ours: an image's files or a volume, which are among what is kept.
    is_ours: bool,
    /// Whether it is the guest's own, and gone with it.
    is_private: bool,
    /// What bounds what is written there, if anything does.
    room: Option<Arc<Room>>,
    /// It as a mount of its own, which is mounted nowhere, where it is one or somebody could make
    /// one: what is granted in it can be mounted there.
    mount: Option<Arc<File>>,
    /// The single files that are mounted over what is in it: where the guest sees them, and what it
    /// may do with them.
    pub(super) files: Vec<(String, Access)>,
    /// Whether those files are all that there is: what else a guest looks for was not granted.
    pub(super) holds_files_alone: bool,
}

/// What Aril keeps: machine code, and perhaps images.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    cache: PathBuf,
    data: Option<PathBuf>,
}

impl Directory {
    /// Opens the directory `host`, to be seen by a guest as `guest`.
    ///
    /// `host` may be a symbolic link: what it leads to now is granted. `guest` is an absolute path
    /// without `.` and `..`.
    ///
    /// # Errors
    ///
    /// Fails where `host` is no directory that can be opened, or `guest` is no such path.
    pub fn open(
        host: impl AsRef<Path>,
        guest: impl Into<String>,
        access: Access,
    ) -> Result<Self, GrantError> {
        let (host, guest) = (host.as_ref(), guest.into());
        let guest = check_guest_path(&guest)?;
        let failed = |source| GrantError::Open { host: host.to_owned(), source };
        match std::fs::metadata(host) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(GrantError::NotADirectory { host: host.to_owned() });
            }
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
        let handle = files::open_directory(host).map_err(failed)?;
        Ok(Self { is_ours: false, ..Self::held(handle, host, &guest, access)? })
    }

    /// A directory that is open already, to be seen by a guest as `guest`.
    pub(crate) fn held(
        handle: File,
        host: &Path,
        guest: &str,
        access: Access,
    ) -> Result<Self, GrantError> {
        Ok(Self {
            handle: Arc::new(handle),
            host: host.to_owned(),
            guest: check_guest_path(guest)?,
            access,
            beside: Arc::default(),
            _lock: None,
            is_ours: true,
            is_private: false,
            room: None,
            mount: None,
            files: Vec::new(),
            holds_files_alone: false,
        })
    }

    /// The same, with a lock that is held as long as it is granted.
    pub(crate) fn locked(self, lock: File) -> Self {
        Self { _lock: Some(Arc::new(lock)), is_ours: true, ..self }
    }

    /// The same, as one that is the guest's own and gone with it, in the room that there is for it, if
    /// its size is bounded.
    pub(crate) fn private(self, room: Option<Arc<Room>>) -> Self {
        Self { is_private: true, room, ..self }
    }

    /// Whether it is the guest's own to write, and gone with it.
    pub(crate) fn is_own_to_write(&self) -> bool {
        self.is_private && self.access == Access::ReadWrite
    }

    /// What bounds what is written there, if anything does.
    pub(crate) fn room(&self) -> Option<&Arc<Room>> {
        self.room.as_ref()
    }

    /// The same, as a mount of its own that is mounted nowhere.
    pub(crate) fn mounted(self, mount: Option<Arc<File>>) -> Self {
        Self { mount, ..self }
    }

    /// It as a mount of its own, where it is one or somebody could make one.
    pub(crate) fn mount(&self) -> Option<&File> {
        self.mount.as_deref()
    }

    /// The same as it is once these files are mounted over what is in it, held by this handle.
    pub(crate) fn with_files(self, handle: File, files: Vec<(String, Access)>) -> Self {
        Self { handle: Arc::new(handle), mount: None, files, ..self }
    }

    /// The same, where these files are all that there is in it.
    pub(crate) fn of_files_alone(self) -> Self {
        Self { holds_files_alone: true, ..self }
    }

    /// Whether the other grant is this one: the same handle, seen and used alike.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
            && self.guest == other.guest
            && self.access == other.access
    }

    /// What it is held by.
    pub(crate) fn handle(&self) -> &File {
        &self.handle
    }

    /// The path under which the guest sees it.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// What the guest may do with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Refuses a directory that a guest may write to and that the folder for machine code is in, or
    /// that is in it; and the same with the one for images, unless the directory is of that itself.
    pub(crate) fn check_beside(&self, cache: &Path, data: Option<&Path>) -> Result<(), GrantError> {
        // Looking takes a dozen calls, and what is held by handle does not change.
        let is_known = |known: &Kept| known.cache == cache && known.data.as_deref() == data;
        // Of what is in memory of its own, no folder is a part.
        if self.room.is_some() {
            return Ok(());
        }
        if self.access == Access::ReadOnly || self.beside.get().is_some_and(is_known) {
            return Ok(());
        }
        check_beside(&self.handle, &self.host, cache, data.filter(|_| !self.is_ours))?;
        // Where another runtime was first, this one looks each time.
        let kept = Kept { cache: cache.to_owned(), data: data.map(Path::to_owned) };
        let _first = self.beside.set(kept);
        Ok(())
    }

    /// The path that was opened. It may lead elsewhere by now.
    pub fn host(&self) -> &Path {
        &self.host
    }
}

/// Refuses what is in the folder for machine code, or holds it; and the same with that for images.
pub(super) fn check_beside(
    handle: &File,
    host: &Path,
    cache: &Path,
    data: Option<&Path>,
) -> Result<(), GrantError> {
    let is_nested = |folder: &Path| {
        files::are_nested(handle, host, folder)
            .map_err(|source| GrantError::Open { host: host.to_owned(), source })
    };
    if is_nested(cache)? {
        return Err(GrantError::HoldsCache { host: host.to_owned() });
    }
    if let Some(data) = data
        && is_nested(data)?
    {
        return Err(GrantError::HoldsImages { host: host.to_owned() });
    }
    Ok(())
}

/// A grant that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The host's directory or file cannot be opened.
    #[error("cannot open `{}` to grant it", host.display())]
    Open {
        /// The host's path.
        host: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host's path is no directory. A file is granted as a [`SingleFile`](crate::SingleFile).
    #[error("`{}` is not a directory", host.display())]
    NotADirectory {
        /// The host's path.
        host: PathBuf,
    },
    /// The host's path is neither a directory nor a regular file.
    #[error(
        "`{}` is no regular file: a device, a FIFO or a socket is not granted by itself",
        host.display()
    )]
    NotAFile {
        /// The host's path.
        host: PathBuf,
    },
    /// A directory in memory would hold nothing.
    #[error("a directory in memory of {size} at `{guest}` holds nothing: it takes 4 KiB at least")]
    NoRoom {
        /// The guest's path.
        guest: String,
        /// What was asked for.
        size: Bytes,
    },
    /// Something is granted in a single file.
    #[error("`{guest}` cannot be in `{file}`, which is granted as a file")]
    InFile {
        /// The guest's path.
        guest: String,
        /// The file's.
        file: String,
    },
    /// The guest's process cannot be given what is made or mounted there.
    #[error("cannot make `{guest}` for the guest: {reason}")]
    Mount {
        /// The guest's path.
        guest: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The guest's process cannot be placed so on the host.
    #[error("`{what}` {reason}")]
    Placement {
        /// What was asked for.
        what: String,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// The guest's path is not one.
    #[error("`{guest}` cannot be a path in the guest: {reason}")]
    GuestPath {
        /// The guest's path.
        guest: String,
        /// Why.
        reason: &'static str,
    },
    /// Whoever can write there can write machine code.
    #[error(
        "`{}` holds the folder for machine code, or is in it: a guest that can write there decides \
         what runs outside of every sandbox; grant it read-only, or keep machine code elsewhere",
        host.display()
    )]
    HoldsCache {
        /// The host's path.
        host: PathBuf,
    },
    /// Whoever can write there can write to images and volumes.
    #[error(
        "`{}` holds the folder for images, or is in it: a guest that can write there decides what \
         other guests are; grant it read-only, or a volume by its name",
        host.display()
    )]
    HoldsImages {
        /// The host's path.
        host: PathBuf,
    },
    /// Two grants want the same path.
    #[error("`{guest}` is granted twice")]
    Twice {
        /// The guest's path.
        guest: String,
    },
    /// The working directory is in no grant.
    #[error(
        "the working directory `{directory}` is not in a granted directory; grant it with `-v`"
    )]
    WorkingDirectory {
        /// The working directory.
        directory: String,
    },
    /// The working directory would be in a grant, and is not there.
    #[error("cannot open the working directory `{directory}` in what is granted")]
    NoWorkingDirectory {
        /// The working directory.
        directory: String,
        /// Why.
        source: io::Error,
    },
    /// An environment variable or argument cannot be one.
    #[error("{what} cannot be given to a guest: {reason}")]
    Text {
        /// Which one.
        what: String,
        /// Why.
        reason: &'static str,
    },
}

/// The longest path in a guest, in bytes: `PATH_MAX` of most systems.
const PATH_SIZE_MAX: usize = 4096;

/// A guest path in its one form: absolute, no empty parts, no `.` and no `..`.
pub(crate) fn check_guest_path(guest: &str) -> Result<String, GrantError> {
    let refused =
        |reason| GrantError::GuestPath { guest: guest.chars().take(100).collect(), reason };
    if !guest.starts_with('/') {
        return Err(refused("it must be absolute, such as `/data`"));
    }
    if PATH_SIZE_MAX < guest.len() {
        return Err(refused("it is longer than 4096 bytes"));
    }
    if guest.contains('\0') {
        return Err(refused("it holds a NUL byte"));
    }
    let parts: Vec<&str> = guest.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(refused("`.` and `..` lead elsewhere"));
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_have_one_form() {
        assert_eq!(check_guest_path("/data//x/").expect("a path"), "/data/x");
        assert_eq!(check_guest_path("/").expect("a path"), "/");
    }

    #[test]
    fn a_relative_guest_path_or_one_that_climbs_is_refused() {
        for guest in ["", "data", ".", "/a/../b", "/..", "/a/./b", "/a\0b"] {
            let error = check_guest_path(guest).expect_err(guest);
            assert!(matches!(error, GrantError::GuestPath { .. }), "{error}");
        }
        assert!(check_guest_path(&format!("/{}", "x".repeat(4096))).is_err());
    }

    #[test]
    fn a_missing_directory_and_a_file_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let open = |host: &Path| Directory::open(host, "/data", Access::ReadOnly);
        assert!(matches!(open(&file), Err(GrantError::NotADirectory { .. })));
        let missing = open(&dir.path().join("missing")).expect_err("nothing is there");
        assert!(missing.to_string().contains("missing"), "{missing}");
    }
}
