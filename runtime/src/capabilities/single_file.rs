//! A single file of the host that a guest may see.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::platform::files;

use super::Access;
use super::GrantError;
use super::directory::check_beside;
use super::directory::check_guest_path;

/// A file of the host that a guest sees under a path of its own, and nothing that is beside it.
///
/// It takes a process of the guest's own ([`Isolation::Process`](crate::Isolation::Process)), on a
/// system with namespaces of mounts: it is mounted there over what the guest has at its path, and is
/// the same file whatever becomes of the host's names. The guest can neither remove nor rename it.
///
/// Where the path is in a directory that is granted as well, there must be a file, which it covers;
/// elsewhere the guest finds it in directories that hold what was granted and nothing else.
#[derive(Clone, Debug)]
pub struct SingleFile {
    handle: Arc<File>,
    host: PathBuf,
    // Invariant: `check_guest_path` accepted it, and it is not the root.
    guest: String,
    access: Access,
    /// It as a mount of its own, where somebody could make one.
    mount: Option<Arc<File>>,
}

impl SingleFile {
    /// Holds the file `host`, to be seen by a guest as `guest`.
    ///
    /// `host` may be a symbolic link: what it leads to now is granted. `guest` is an absolute path
    /// without `.` and `..`.
    ///
    /// # Errors
    ///
    /// Fails where `host` is no regular file, or `guest` is no such path.
    pub fn open(
        host: impl AsRef<Path>,
        guest: impl AsRef<str>,
        access: Access,
    ) -> Result<Self, GrantError> {
        let host = host.as_ref();
        let failed = |source| GrantError::Open { host: host.to_owned(), source };
        let handle = files::hold(host).map_err(failed)?;
        if !handle.metadata().map_err(failed)?.is_file() {
            return Err(GrantError::NotAFile { host: host.to_owned() });
        }
        Self::held(handle, host, guest.as_ref(), access)
    }

    /// A file that is held already, to be seen by a guest as `guest`.
    pub(crate) fn held(
        handle: File,
        host: &Path,
        guest: &str,
        access: Access,
    ) -> Result<Self, GrantError> {
        let guest = check_guest_path(guest)?;
        if guest == "/" {
            return Err(GrantError::GuestPath { guest, reason: "a file needs a name" });
        }
        let (handle, host) = (Arc::new(handle), host.to_owned());
        Ok(Self { handle, host, guest, access, mount: None })
    }

    /// The same, with it as a mount of its own.
    pub(crate) fn mounted(self, mount: Option<File>) -> Self {
        Self { mount: mount.map(Arc::new), ..self }
    }

    /// What it is held by.
    pub(crate) fn handle(&self) -> &File {
        &self.handle
    }

    /// It as a mount of its own, where somebody could make one.
    pub(crate) fn mount(&self) -> Option<&File> {
        self.mount.as_deref()
    }

    /// The path under which the guest sees it.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// What the guest may do with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The path that led to it. It may lead elsewhere by now.
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// Refuses a file of the folder for machine code, or of that for images, that a guest may write
    /// to.
    pub(crate) fn check_beside(&self, cache: &Path, data: Option<&Path>) -> Result<(), GrantError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        check_beside(&self.handle, &self.host, cache, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_and_what_has_no_name_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let open = |host: &Path, guest| SingleFile::open(host, guest, Access::ReadOnly);
        assert_eq!(open(&file, "/etc//file/").expect("a grant").guest(), "/etc/file");
        assert!(open(dir.path(), "/etc/file").is_err(), "a directory");
        assert!(matches!(open(&file, "/"), Err(GrantError::GuestPath { .. })));
        assert!(matches!(open(&file, "file"), Err(GrantError::GuestPath { .. })));
        let missing = open(&dir.path().join("missing"), "/file").expect_err("nothing is there");
        assert!(missing.to_string().contains("missing"), "{missing}");
    }

    #[test]
    fn a_file_among_machine_code_or_images_is_not_granted_for_writing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["cache", "data", "other"] {
            std::fs::create_dir(path(name)).expect("a directory");
            std::fs::write(path(name).join("file"), "").expect("a file");
        }
        let check = |name: &str, access| {
            let file = SingleFile::open(path(name).join("file"), "/file", access);
            file.expect("a grant").check_beside(&path("cache"), Some(&path("data")))
        };
        let write = Access::ReadWrite;
        assert!(matches!(check("cache", write), Err(GrantError::HoldsCache { .. })));
        assert!(matches!(check("data", write), Err(GrantError::HoldsImages { .. })));
        assert!(check("other", write).is_ok());
        assert!(check("cache", Access::ReadOnly).is_ok());
    }
}
