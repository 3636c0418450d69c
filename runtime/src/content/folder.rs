//! A folder that belongs to this user alone.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::platform::files;

/// How a file that is not yet whole is named.
const DRAFT_PREFIX: &str = ".draft-";

/// What a folder can fail at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot open the folder `{}`", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the folder `{}` cannot be trusted: {reason}", path.display())]
    Foreign { path: PathBuf, reason: &'static str },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A folder of this user's own.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    // Invariant: when it was opened, it was a directory that only this user could write to.
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, and creates it, readable by its owner alone, where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Open { path: path.to_owned(), source };
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(failed)?;
                fs::symlink_metadata(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let foreign = |reason| FolderError::Foreign { path: path.to_owned(), reason };
        if metadata.is_symlink() {
            return Err(foreign("it is a symbolic link"));
        }
        if !metadata.is_dir() {
            return Err(foreign("it is not a directory"));
        }
        match files::foreign_hands(&metadata) {
            Some(reason) => Err(foreign(reason)),
            None => Ok(Self { path: path.to_owned() }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file `name` is. Names are ours, never a guest's or an image's.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The whole of a small file; nothing where it is absent, not ours, or larger than `limit`.
    pub(crate) fn read_small(&self, name: &str, limit: usize) -> Option<Vec<u8>> {
        let file = files::open_own(&self.path_of(name)).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || files::foreign_hands(&metadata).is_some() {
            return None;
        }
        // A byte more, so that its end is found without growing.
        let size = usize::try_from(metadata.len()).unwrap_or(limit).min(limit).saturating_add(1);
        let mut content = Vec::with_capacity(size);
        file.take(limit as u64 + 1).read_to_end(&mut content).ok()?;
        (content.len() <= limit).then_some(content)
    }

    /// A new file that nobody looks for, and its path. It is locked as long as somebody writes it.
    pub(crate) fn draft(&self) -> Result<(File, PathBuf), FolderError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Relaxed);
            let path = self.path_of(&format!("{DRAFT_PREFIX}{}-{count}", std::process::id()));
            match files::create_own(&path).and_then(|file| files::lock(&file).map(|()| file)) {
                // Somebody who clears may have come between, and taken it for an abandoned one.
                Ok(_) if !path.exists() => {}
                Ok(file) => return Ok((file, path)),
                // Left behind by a process of the same number that is no more.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(FolderError::Write { path, source }),
            }
        }
    }

    /// Removes the drafts of those who ended in the middle of them.
    pub(crate) fn remove_abandoned(&self) {
        for path in self.drafts() {
            let abandoned = files::open_own(&path).is_ok_and(|file| file.try_lock().is_ok());
            if abandoned {
                let _absent = fs::remove_file(&path);
            }
        }
    }

    /// Gives a draft its name once it is safely on disk, or removes it where that fails.
    pub(crate) fn commit(
        &self,
        written: io::Result<()>,
        file: &File,
        draft: &Path,
        name: &str,
    ) -> Result<(), FolderError> {
        let path = self.path_of(name);
        written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(draft, &path)).map_err(
            |source| {
                let _absent = fs::remove_file(draft);
                FolderError::Write { path, source }
            },
        )
    }

    /// Writes a small file that is there from now on, also after a loss of power: the whole of it, or
    /// what was there before.
    pub(crate) fn write_lasting(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        let (mut file, draft) = self.draft()?;
        let written = file.write_all(content);
        self.commit(written, &file, &draft, name)?;
        let path = self.path_of(name);
        files::sync_directory(&self.path).map_err(|source| FolderError::Write { path, source })
    }

    /// Writes a small file. It need not survive a loss of power.
    pub(crate) fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), FolderError> {
        let (mut file, draft) = self.draft()?;
        let path = self.path_of(name);
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        written.and_then(|()| fs::rename(&draft, &path)).map_err(|source| {
            let _absent = fs::remove_file(&draft);
            FolderError::Write { path, source }
        })
    }

    /// Where all drafts are.
    pub(crate) fn drafts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let drafts = entries.filter(|e| e.file_name().to_string_lossy().starts_with(DRAFT_PREFIX));
        drafts.map(|entry| entry.path()).collect()
    }

    /// The names of all files that are not drafts.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with(DRAFT_PREFIX)).collect()
    }

    /// Removes the files, beside drafts, whose names are not worth keeping.
    pub(crate) fn clear(&self, is_worth_it: impl Fn(&str) -> bool) {
        for name in self.names().iter().filter(|name| !is_worth_it(name)) {
            let _absent = fs::remove_file(self.path_of(name));
        }
    }

    /// Removes the files that were not used for longest, until those that are left, beside drafts,
    /// have `size_max` bytes together. Who uses one of them still has it.
    pub(crate) fn shrink_to(&self, size_max: u64) {
        let looked_at = |name: String| {
            let metadata = fs::symlink_metadata(self.path_of(&name)).ok()?;
            // Reading is noted once a day at least; where it is not noted, writing is.
            let used = metadata.accessed().ok().max(metadata.modified().ok());
            Some((used, metadata.len(), name))
        };
        let mut files: Vec<_> = self.names().into_iter().filter_map(looked_at).collect();
        let mut size = files.iter().fold(0_u64, |sum, (_, size, _)| sum.saturating_add(*size));
        files.sort();
        for (_, of_this, name) in files {
            if size <= size_max {
                break;
            }
            let _absent = fs::remove_file(self.path_of(&name));
            size = size.saturating_sub(of_this);
        }
    }

    /// How many of these files nobody has locked, because whoever had them is no more, and how many
    /// bytes they have.
    pub(crate) fn abandoned(paths: impl IntoIterator<Item = PathBuf>) -> (u64, u64) {
        let mut found = (0, 0);
        for path in paths {
            let free = files::open_own(&path).ok().filter(|file| file.try_lock().is_ok());
            if let Some(metadata) = free.and_then(|file| file.metadata().ok()) {
                found = (found.0 + 1, found.1 + metadata.len());
            }
        }
        found
    }

    /// Removes the files that nobody has locked.
    pub(crate) fn remove_unlocked(&self) {
        for name in self.names() {
            let path = self.path_of(&name);
            if files::open_own(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                let _absent = fs::remove_file(path);
            }
        }
    }
}

/// Creates a folder, and what is missing above it.
fn create(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.exists());
    let missing: Vec<&Path> = missing.collect();
    files::create_directory(path)?;
    // All that will be in it goes with its name, if a loss of power takes that. Where the folder
    // above cannot be opened, it is as lasting as the system makes it.
    for parent in missing.iter().filter_map(|made| made.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let _as_lasting_as_it_is = files::sync_directory(parent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(&dir.path().join("a/b")).expect("a folder");
        folder.write("name", &[b"one ", b"two"]).expect("it can be written");
        assert_eq!(folder.read_small("name", 7).as_deref(), Some(&b"one two"[..]));
        assert_eq!(folder.read_small("name", 6), None, "larger than the limit");
        assert_eq!(folder.names(), ["name"]);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_only_as_much_as_must() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(dir.path()).expect("a folder");
        let day = std::time::Duration::from_hours(24);
        for (name, days) in [("new", 1), ("oldest", 3), ("old", 2)] {
            folder.write(name, &[&[0; 100]]).expect("it can be written");
            let then = std::time::SystemTime::now() - day * days;
            let times = fs::FileTimes::new().set_accessed(then).set_modified(then);
            let file = File::options().write(true).open(folder.path_of(name)).expect("a file");
            file.set_times(times).expect("times");
        }
        let (_draft, draft_path) = folder.draft().expect("a draft");
        folder.shrink_to(200);
        let mut names = folder.names();
        names.sort();
        assert_eq!(names, ["new", "old"]);
        folder.shrink_to(0);
        assert_eq!((folder.names().len(), draft_path.exists()), (0, true));
    }

    #[test]
    fn an_abandoned_draft_is_removed_and_one_that_is_written_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(dir.path()).expect("a folder");
        let (abandoned, abandoned_path) = folder.draft().expect("a draft");
        let (_written, written_path) = folder.draft().expect("another");
        drop(abandoned);
        folder.remove_abandoned();
        assert_eq!((abandoned_path.exists(), written_path.exists()), (false, true));
    }

    #[cfg(all(unix, not(aril_portable)))]
    #[test]
    fn a_folder_that_others_can_write_to_or_that_is_a_link_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().expect("a directory");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("a directory");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(matches!(Folder::open(&open), Err(FolderError::Foreign { .. })));

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("a link");
        assert!(matches!(Folder::open(&link), Err(FolderError::Foreign { .. })));
        assert_eq!(folder_mode(&dir.path().join("new")), 0o700);
    }

    #[cfg(all(unix, not(aril_portable)))]
    fn folder_mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        Folder::open(path).expect("a folder");
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }
}
