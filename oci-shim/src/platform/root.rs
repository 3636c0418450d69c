//! The files of a container, held by handle: no name among them leads out of them, whatever links an
//! image has.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// How often a walk is tried again that somebody else's renaming disturbed.
const TRIES: usize = 16;

/// The mode of directories and files that are made for something to be mounted there.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// A directory that is the root of a container's files.
#[derive(Debug)]
pub(crate) struct Root {
    handle: OwnedFd,
}

impl Root {
    /// Holds a directory. Its last name may be no symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { handle: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a file to read, without waiting for whoever is at the other end of a pipe.
    pub(crate) fn read(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(self.walk(path, flags, Mode::empty())?.into())
    }

    /// Makes a directory, and those that it is in, where they are not there. Returns where it really
    /// is among these files.
    pub(crate) fn make_directory(&self, path: &str) -> io::Result<String> {
        let found = self.directory(path)?;
        self.place_of(&found)
    }

    /// Makes an empty file, and the directories that it is in, where it is not there. Returns where it
    /// really is among these files.
    pub(crate) fn make_file(&self, path: &str) -> io::Result<String> {
        let held = OFlags::PATH | OFlags::CLOEXEC;
        match self.walk(path, held, Mode::empty()) {
            Ok(found) => return self.place_of(&found),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let (folder, name) = path.rsplit_once('/').ok_or(Errno::INVAL)?;
        let folder = self.directory(folder)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&folder, name, flags, FILE_MODE)?;
        self.place_of(&made)
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut walked = String::from("/");
        let mut found = self.walk("/", flags, Mode::empty())?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if [".", ".."].contains(&name) {
                return Err(Errno::INVAL.into());
            }
            walked.push_str(name);
            found = match self.walk(&walked, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&found, name, DIRECTORY_MODE) {
                        // A link that leads nowhere is found to be there again.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.walk(&walked, flags, Mode::empty())?
                }
                walked => walked?,
            };
            walked.push('/');
        }
        Ok(found)
    }

    fn walk(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.handle, path, flags, mode, within) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                walked => return walked,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Where something is among these files.
    fn place_of(&self, held: &OwnedFd) -> io::Result<String> {
        let (root, place) = (name_of(&self.handle)?, name_of(held)?);
        let inside = place.strip_prefix(&root).ok().and_then(Path::to_str);
        let inside = inside.ok_or_else(|| io::Error::other("it is not below the root"))?;
        Ok(format!("/{inside}"))
    }
}

fn name_of(held: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", held.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_of_an_image_leads_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let inside = dir.path().join("root");
        std::fs::create_dir_all(inside.join("etc")).unwrap();
        std::fs::write(&outside, "of the host").unwrap();
        std::fs::write(inside.join("etc/name"), "of the image").unwrap();
        symlink(&outside, inside.join("away")).unwrap();
        symlink("../../../outside", inside.join("up")).unwrap();
        symlink("/etc/name", inside.join("name")).unwrap();
        let root = Root::open(&inside).unwrap();
        for path in ["/away", "/up", "up", "/etc/../../outside"] {
            let error = root.read(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
        }
        let mut text = String::new();
        root.read("/name").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "of the image");
        assert!(Root::open(&inside.join("name")).is_err(), "a root by a link");
    }

    #[test]
    fn what_is_mounted_on_is_made_where_links_lead_within_the_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        std::fs::create_dir_all(dir.path().join("var")).unwrap();
        symlink("/run", dir.path().join("var/run")).unwrap();
        symlink("/nowhere", dir.path().join("dangling")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.make_directory("/var/run/secrets/a").unwrap(), "/run/secrets/a");
        assert_eq!(root.make_directory("/var/run/secrets/a/").unwrap(), "/run/secrets/a");
        assert_eq!(root.make_file("/var/run/hosts").unwrap(), "/run/hosts");
        assert_eq!(root.make_file("/etc/new/hosts").unwrap(), "/etc/new/hosts");
        assert!(dir.path().join("run/secrets/a").is_dir());
        assert!(dir.path().join("run/hosts").is_file());
        assert!(root.make_directory("/dangling").is_err());
        assert!(root.make_directory("/a/../b").is_err());
    }
}
