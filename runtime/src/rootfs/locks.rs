//! Locks by name, for what is shared while it is used and removed by one alone.
//!
//! They end with their holders, however those end. A lock's file may be removed with what it is for;
//! whoever waited for it takes the new one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::content::Folder;
use crate::platform::files;

/// A folder of locks.
#[derive(Clone, Debug)]
pub(super) struct Locks(Folder);

impl Locks {
    pub(super) fn new(folder: Folder) -> Self {
        Self(folder)
    }

    /// Where a lock is, or would be.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.0.path_of(name)
    }

    /// Takes a lock together with others, once nobody has it alone. `of` is the directory that it is
    /// for: where nothing can be written, nobody removes what is there, and whatever can be held of
    /// it will do.
    pub(super) fn shared(&self, name: &str, of: &Path) -> io::Result<File> {
        match self.take(name, |file| file.lock_shared().map(|()| true)) {
            Ok((lock, _)) => Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                let held = files::open_own(&self.path_of(name));
                let held = held.or_else(|_| files::open_directory(of)).map_err(|_| error)?;
                held.lock_shared().map(|()| held)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a lock alone, once nobody else has it.
    pub(super) fn alone(&self, name: &str) -> io::Result<File> {
        self.take(name, |file| files::lock(file).map(|()| true)).map(|(lock, _)| lock)
    }

    /// Takes a lock alone, where nobody else has it.
    pub(super) fn try_alone(&self, name: &str) -> io::Result<Option<File>> {
        self.take(name, files::try_lock).map(|(lock, taken)| taken.then_some(lock))
    }

    /// Whether nobody has a lock, which is not made for that.
    pub(super) fn is_free(&self, name: &str) -> bool {
        let lock = files::open_own(&self.path_of(name));
        lock.map_or(Ok(true), |lock| files::try_lock(&lock)).unwrap_or(false)
    }

    /// Removes the files of all locks that nobody has.
    pub(super) fn remove_unlocked(&self) {
        self.0.remove_unlocked();
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn take(
        &self,
        name: &str,
        take: impl Fn(&File) -> io::Result<bool>,
    ) -> io::Result<(File, bool)> {
        let path = self.path_of(name);
        loop {
            let lock = files::open_lock(&path)?;
            let taken = take(&lock)?;
            // Whoever removed what it is for removed the file as well.
            if files::is_at(&lock, &path) {
                return Ok((lock, taken));
            }
        }
    }
}
