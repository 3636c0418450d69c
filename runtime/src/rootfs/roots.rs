//! The unpacked roots of this user's images: each is made once, shared by all who run from it, and
//! there while anybody does.
//!
//! A root has a lock beside it. Who makes or removes it holds the lock alone; who runs from it
//! holds it together with others. Locks end with their holders, so what a holder left behind in the
//! middle is told from what is being made by trying the lock.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;

use crate::content::Folder;
use crate::content::FolderError;
use crate::digest::Digest;
use crate::platform::Kind;
use crate::platform::files;
use crate::platform::tree::Directory;

use super::error::UnpackError;
use super::locks::Locks;
use super::names::Way;
use super::remove::remove;
use super::walk::Missing;
use super::walk::follow;

/// What is in front of the name of a root that is not whole: not yet, or no more.
const PART: &str = "part-";

/// A folder of unpacked roots.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    roots: Folder,
    locks: Locks,
}

/// An unpacked root. It stays while this lives, and nobody may write to it.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// Locked together with others.
    lock: Arc<File>,
}

impl Root {
    fn new(path: PathBuf, lock: File) -> Self {
        Self { path, lock: Arc::new(lock) }
    }

    /// Whether there is a directory at a path of the image.
    pub(crate) fn has_directory(&self, guest: &str) -> bool {
        let Ok(way) = Way::parse(guest.as_bytes()) else { return false };
        Directory::open(&self.path).is_ok_and(|root| {
            follow(&root, way.names(), Missing::Tell).is_ok_and(|found| found.is_some())
        })
    }

    /// Whether there is a file at a path of the image, or a link that may lead to one.
    pub(crate) fn has_file(&self, guest: &str) -> bool {
        let (above, name) = guest.rsplit_once('/').unwrap_or(("", guest));
        let Ok(way) = Way::parse(if above.is_empty() { b"/" } else { above.as_bytes() }) else {
            return false;
        };
        let found = Directory::open(&self.path).ok().and_then(|root| {
            let place = follow(&root, way.names(), Missing::Tell).ok()??;
            place.directory.status(name).ok()?
        });
        found.is_some_and(|status| matches!(status.kind, Kind::File | Kind::Link))
    }

    /// The same, not held.
    pub(crate) fn downgrade(&self) -> WeakRoot {
        WeakRoot { path: self.path.clone(), lock: Arc::downgrade(&self.lock) }
    }

    /// Where its files are. Nobody may write to them.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A root that somebody else may hold.
#[derive(Clone, Debug)]
pub(crate) struct WeakRoot {
    path: PathBuf,
    lock: Weak<File>,
}

impl WeakRoot {
    /// The root, where somebody still holds it.
    pub(crate) fn upgrade(&self) -> Option<Root> {
        Some(Root { path: self.path.clone(), lock: self.lock.upgrade()? })
    }
}

/// What looking at the roots found.
#[derive(Debug, Default)]
pub(crate) struct RootsChecked {
    pub(crate) roots: u64,
    /// Of images that are no more.
    pub(crate) unused: u64,
    pub(crate) parts: u64,
    /// What has the name of a root and is none.
    pub(crate) broken: Vec<PathBuf>,
}

/// What keeps a root from being there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootsError {
    #[error("cannot use the folder of unpacked images")]
    Folder(#[from] FolderError),
    #[error("cannot fill `{}`", path.display())]
    Unpack { path: PathBuf, source: UnpackError },
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
}

impl Roots {
    /// Opens the folder, and makes one where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, RootsError> {
        let roots = Folder::open(path)?;
        let locks = Locks::new(Folder::open(&path.join("locks"))?);
        Ok(Self { roots, locks })
    }

    /// The root with this key. Where there is none, `fill` unpacks it into an empty directory; what
    /// it leaves there is seen by nobody before it is whole and on disk. Where somebody else unpacks
    /// the same one, this waits.
    ///
    /// `fill` is called again where somebody removed the root at once after it was made.
    pub(crate) fn get(
        &self,
        key: &Digest,
        mut fill: impl FnMut(&Path) -> Result<(), UnpackError>,
    ) -> Result<Root, RootsError> {
        let path = self.roots.path_of(&key.hex());
        loop {
            let lock = self.locks.shared(&key.hex(), &path).map_err(self.unlocked(key))?;
            if is_directory(&path) {
                return Ok(Root::new(path, lock));
            }
            drop(lock);
            let _alone = self.locks.alone(&key.hex()).map_err(self.unlocked(key))?;
            if !is_directory(&path) {
                self.make(key, &path, &mut fill)?;
            }
        }
    }

    /// The root with this key, if it is there.
    #[cfg(test)]
    pub(crate) fn find(&self, key: &Digest) -> Result<Option<Root>, RootsError> {
        let path = self.roots.path_of(&key.hex());
        if !is_directory(&path) {
            return Ok(None);
        }
        let lock = self.locks.shared(&key.hex(), &path).map_err(self.unlocked(key))?;
        Ok(is_directory(&path).then(|| Root::new(path, lock)))
    }

    /// Removes the roots that are not to be kept and that nobody runs from, and what those left
    /// behind who ended while they made one. Returns how many roots that were.
    pub(crate) fn remove_unused(&self, keep: impl Fn(&Digest) -> bool) -> Result<u64, RootsError> {
        let directory = self.directory()?;
        let mut removed = 0;
        for name in self.roots.names() {
            let hex = name.strip_prefix(PART).unwrap_or(&name);
            let Ok(key) = format!("sha256:{hex}").parse::<Digest>() else { continue };
            let is_part = hex.len() < name.len();
            if !is_part && keep(&key) {
                continue;
            }
            let failed = |source| RootsError::File {
                what: "remove",
                path: self.roots.path_of(&name),
                source,
            };
            let Some(_alone) = self.locks.try_alone(&key.hex()).map_err(failed)? else {
                continue;
            };
            // Nobody finds it from here on, however far removing it comes.
            let part = format!("{PART}{hex}");
            if !is_part {
                remove(&directory, &part).map_err(failed)?;
                directory.rename(&name, &directory, &part).map_err(failed)?;
                removed += 1;
            }
            remove(&directory, &part).map_err(failed)?;
        }
        // Whoever waits for one of these finds out that it is no more, and makes it anew.
        self.locks.remove_unlocked();
        Ok(removed)
    }

    /// Looks at what is there, and changes nothing: how many roots there are, how many of them are
    /// not to be kept, and how many those left half made or half removed who are no more.
    pub(crate) fn check(&self, keep: impl Fn(&Digest) -> bool) -> RootsChecked {
        let mut checked = RootsChecked::default();
        for name in self.roots.names() {
            let hex = name.strip_prefix(PART).unwrap_or(&name);
            let Ok(key) = format!("sha256:{hex}").parse::<Digest>() else { continue };
            if hex.len() < name.len() {
                // Who is at work on it holds its lock.
                checked.parts += u64::from(self.locks.is_free(&key.hex()));
            } else if !is_directory(&self.roots.path_of(&name)) {
                checked.broken.push(self.roots.path_of(&name));
            } else {
                checked.roots += 1;
                checked.unused += u64::from(!keep(&key));
            }
        }
        checked
    }

    fn make(
        &self,
        key: &Digest,
        path: &Path,
        fill: &mut impl FnMut(&Path) -> Result<(), UnpackError>,
    ) -> Result<(), RootsError> {
        let directory = self.directory()?;
        let name = format!("{PART}{}", key.hex());
        let part = self.roots.path_of(&name);
        let failed = |what, source| RootsError::File { what, path: path.to_owned(), source };
        // Whoever began it ended in the middle, or the lock would be held.
        remove(&directory, &name).map_err(|source| failed("clear", source))?;
        directory.create_directory(&name, 0o755).map_err(|source| failed("create", source))?;
        let unpacked = |source| RootsError::Unpack { path: path.to_owned(), source };
        let made = fill(&part).map_err(unpacked).and_then(|()| {
            // Once for all files: a root that is there is whole, also after a loss of power.
            let synced = directory.child(&name).and_then(|part| part.sync_file_system());
            let placed = synced.and_then(|()| directory.rename(&name, &directory, key.hex()));
            let placed = placed.and_then(|()| files::sync_directory(self.roots.path()));
            placed.map_err(|source| failed("write", source))
        });
        if made.is_err() {
            // What cannot be removed now is removed by whoever comes next.
            let _left_behind = remove(&directory, &name);
        }
        made
    }

    fn directory(&self) -> Result<Directory, RootsError> {
        let path = self.roots.path();
        Directory::open(path).map_err(|source| RootsError::File {
            what: "open",
            path: path.to_owned(),
            source,
        })
    }

    fn unlocked(&self, key: &Digest) -> impl Fn(io::Error) -> RootsError {
        let path = self.locks.path_of(&key.hex());
        move |source| RootsError::File { what: "lock", path: path.clone(), source }
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn fill(path: &Path) -> Result<(), UnpackError> {
        let written = fs::write(path.join("f"), "whole");
        written.map_err(|source| UnpackError::Folder { path: path.to_owned(), source })
    }

    fn never(_: &Path) -> Result<(), UnpackError> {
        panic!("it is there")
    }

    fn broken(path: &Path) -> UnpackError {
        UnpackError::Folder { path: path.to_owned(), source: io::Error::other("broken") }
    }

    #[test]
    fn a_root_is_unpacked_once_however_many_want_it_at_the_same_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = Digest::of(b"key");
        let (count, barrier) = (AtomicU32::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let roots = Roots::open(dir.path()).expect("a folder");
                    barrier.wait();
                    let root = roots.get(&key, |path| {
                        count.fetch_add(1, Relaxed);
                        fill(path)
                    });
                    let root = root.expect("a root");
                    let content = fs::read_to_string(root.path().join("f")).expect("a file");
                    assert_eq!(content, "whole");
                });
            }
        });
        assert_eq!(count.load(Relaxed), 1);
    }

    #[test]
    fn nothing_is_left_of_a_root_that_could_not_be_unpacked() {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots::open(dir.path()).expect("a folder");
        let key = Digest::of(b"key");
        let failed = roots.get(&key, |path| fill(path).and_then(|()| Err(broken(path))));
        assert!(matches!(failed, Err(RootsError::Unpack { .. })));
        assert_eq!(roots.roots.names(), ["locks"]);
        assert!(roots.find(&key).expect("no failure").is_none());
        roots.get(&key, fill).expect("it works the next time");
    }

    #[test]
    fn what_a_process_left_behind_is_cleared_and_what_is_being_made_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots::open(dir.path()).expect("a folder");
        let (left, busy) = (Digest::of(b"left"), Digest::of(b"busy"));
        let part = |key: &Digest| dir.path().join(format!("{PART}{}", key.hex()));
        fs::create_dir_all(part(&left).join("half")).expect("a directory");
        let root = roots.get(&busy, |path| {
            roots.remove_unused(|_| false).expect("cleared");
            assert_eq!((part(&left).exists(), part(&busy).exists()), (false, true));
            fill(path)
        });
        drop(root.expect("a root"));

        fs::create_dir_all(part(&left).join("half")).expect("a directory");
        let root = roots.get(&left, fill).expect("a root");
        assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_root_that_somebody_runs_from_is_not_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots::open(dir.path()).expect("a folder");
        let (used, kept, unused) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
        let held = roots.get(&used, fill).expect("a root");
        for key in [&kept, &unused] {
            roots.get(key, fill).expect("a root");
        }
        assert_eq!(roots.remove_unused(|key| *key == kept).expect("removed"), 1);
        assert!(held.path().join("f").exists());
        roots.get(&kept, never).expect("kept");
        assert!(roots.find(&unused).expect("no failure").is_none());
        drop(held);
        assert_eq!(roots.remove_unused(|_| false).expect("removed"), 2);
        assert_eq!((roots.roots.names(), roots.locks.names()), (vec!["locks".to_owned()], vec![]));
    }
}
