//! The artifact cache: who is kept, under what name, and who compiles.

use std::fs::File;
use std::io;
use std::io::Seek as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use std::time::SystemTime;

use crate::content::Folder;
use crate::content::FolderError;
use crate::digest::Digest;
use crate::platform::Identity;
use crate::platform::files;

use super::artifact;
use super::artifact::Verified;
use super::artifact::footer;
use super::artifact::verify;
use super::index::Index;
use super::index::Known;
use super::kind::Key;
use super::kind::Kind;

/// How much machine code is kept, before what is compiled next: what was not used for longest
/// goes. A few hundred programs of the size of `CPython`.
const ARTIFACTS_SIZE_MAX: u64 = 8 << 30;

/// How many locks are kept: empty files, one for each wasm and kind that was ever compiled.
const LOCKS_MAX: usize = 4096;

/// What the cache can fail at, beyond not having something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot take the lock `{}`", path.display())]
    Lock { path: PathBuf, source: io::Error },
}

/// Machine code by what it was made from. One user's, on one host.
#[derive(Debug)]
pub(crate) struct Cache {
    artifacts: Folder,
    index: Index,
    locks: Folder,
    empty: Folder,
}

/// What looking through the artifacts found.
#[derive(Debug, Default)]
pub(crate) struct CacheChecked {
    /// How many are what was written.
    pub(crate) whole: u64,
    /// How many another version of this program wrote.
    pub(crate) foreign: u64,
    /// Where the others are, and why they are of no use.
    pub(crate) broken: Vec<(PathBuf, String)>,
}

/// The right to compile one wasm for one kind, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

impl Cache {
    /// Opens the cache in `directory`, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// Fails where the directory cannot be made, or belongs to or can be written by others.
    pub(crate) fn open(directory: &Path) -> Result<Self, CacheError> {
        // The outer folder first: others must not be able to put the inner ones there.
        Folder::open(directory)?;
        Ok(Self {
            artifacts: Folder::open(&directory.join("artifacts"))?,
            index: Index::new(Folder::open(&directory.join("index"))?),
            locks: Folder::open(&directory.join("locks"))?,
            empty: Folder::open(&directory.join("empty"))?,
        })
    }

    /// A directory with nothing in it: what a guest has as `/` when nothing else was granted.
    pub(crate) fn empty(&self) -> &Path {
        self.empty.path()
    }

    /// What is known of a file without reading it.
    pub(crate) fn known_file(&self, identity: &Identity) -> Option<Known> {
        self.index.file(identity)
    }

    /// What is known of wasm by its digest.
    pub(crate) fn known_wasm(&self, digest: &Digest) -> Option<Known> {
        self.index.wasm(digest)
    }

    /// Remembers which file holds what, where its identity was taken at `taken_at`.
    pub(crate) fn remember_file(&self, identity: &Identity, known: &Known, taken_at: SystemTime) {
        self.index.remember_file(identity, known, taken_at);
    }

    /// The artifact of this wasm for this kind, if there is one that can be trusted.
    pub(crate) fn find(&self, known: &Known, kind: Kind) -> Option<Verified> {
        let key = Key::new(known.digest, known.form, kind);
        let path = self.artifacts.path_of(&key.file_name());
        let mut file = files::open_own(&path).ok()?;
        verify(&mut file, &key).ok()?;
        Some(Verified { file, path, form: known.form })
    }

    /// Waits for the turn to compile this wasm for this kind. `waiting` is called every `beat`.
    pub(crate) fn turn(
        &self,
        digest: &Digest,
        kind: Kind,
        beat: Duration,
        waiting: &mut dyn FnMut(),
    ) -> Result<Turn, CacheError> {
        let path = self.locks.path_of(&format!("{}-{}", digest.hex(), kind.word()));
        let taken = files::open_lock(&path).and_then(|file| {
            if files::try_lock(&file)? { Ok(file) } else { wait_for(file, beat, waiting) }
        });
        let lock = taken.map_err(|source| CacheError::Lock { path, source })?;
        Ok(Turn { _lock: lock })
    }

    /// A file to compile into. It is nobody's artifact until it is kept.
    pub(crate) fn draft(&self) -> Result<Draft, CacheError> {
        // Compiling is rare and slow: the time to look after those who were killed at it.
        self.artifacts.remove_abandoned();
        self.index.remove_abandoned();
        self.artifacts.shrink_to(ARTIFACTS_SIZE_MAX);
        if LOCKS_MAX < self.locks.names().len() {
            // Two may compile the same then, and the one that is done last is kept.
            self.locks.remove_unlocked();
        }
        let (file, path) = self.artifacts.draft()?;
        Ok(Draft { file, path })
    }

    /// Makes what was compiled the artifact of `known` for `kind`: whole or not at all.
    pub(crate) fn keep(
        &self,
        mut draft: Draft,
        known: &Known,
        kind: Kind,
    ) -> Result<(), CacheError> {
        let key = Key::new(known.digest, known.form, kind);
        let written = draft.file.rewind().and_then(|()| {
            // Beside what compiling takes, this is nothing; and the check can tell what rots.
            let (code, size) = Digest::of_reader(&draft.file, u64::MAX)?;
            draft.file.seek(io::SeekFrom::End(0))?;
            draft.file.write_all(&footer(&key, &code, size))
        });
        let path = std::mem::take(&mut draft.path);
        self.artifacts.commit(written, &draft.file, &path, &key.file_name())?;
        self.index.remember_wasm(known);
        Ok(())
    }

    /// Looks through all artifacts, and tells `looked_at` how many bytes each had.
    pub(crate) fn check(&self, looked_at: &mut dyn FnMut(u64)) -> CacheChecked {
        let mut checked = CacheChecked::default();
        for name in self.artifacts.names() {
            let path = self.artifacts.path_of(&name);
            let found = files::open_own(&path).and_then(|mut file| {
                looked_at(file.metadata()?.len());
                artifact::check(&mut file)
            });
            match found {
                Ok(artifact::Checked::Whole) => checked.whole += 1,
                Ok(artifact::Checked::Foreign) => checked.foreign += 1,
                Ok(artifact::Checked::Changed) => {
                    checked.broken.push((path, "it is not what was written".to_owned()));
                }
                // Somebody made room meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => checked.broken.push((path, format!("it cannot be read: {error}"))),
            }
        }
        checked
    }

    /// Forgets the artifact, which turned out not to load here.
    pub(crate) fn forget(&self, known: &Known, kind: Kind) {
        let key = Key::new(known.digest, known.form, kind);
        let _absent = std::fs::remove_file(self.artifacts.path_of(&key.file_name()));
    }
}

/// Takes a lock that somebody else holds, and calls `waiting` every `beat` until then.
fn wait_for(file: File, beat: Duration, waiting: &mut dyn FnMut()) -> io::Result<File> {
    let (send, turns) = mpsc::channel();
    // The system hands the lock over the moment that it is free, to a thread that does nothing but
    // wait: looking again and again would be late, and two hundred who wait would keep it busy.
    std::thread::Builder::new().name("turn".to_owned()).stack_size(WAITER_STACK).spawn(
        move || {
            let taken = files::lock(&file).map(|()| file);
            // Where nobody wants it any more, the lock goes with its handle.
            let _unwanted = send.send(taken);
        },
    )?;
    loop {
        match turns.recv_timeout(beat) {
            Ok(taken) => return taken,
            Err(mpsc::RecvTimeoutError::Timeout) => waiting(),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that waited for it is gone"));
            }
        }
    }
}

/// The stack of a thread that waits for a lock: it makes one call.
const WAITER_STACK: usize = 64 << 10;

/// Machine code that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) file: File,
    // Empty once the draft was kept.
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _absent = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The longest that a turn may lie idle between two who want it.
    const HANDOVER_MAX: Duration = Duration::from_millis(20);

    #[test]
    fn one_who_waits_for_a_turn_is_told_so_and_has_it_the_moment_that_it_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(&dir.path().join("cache")).expect("a cache");
        let digest = Digest::of(b"wasm");
        let kind = Kind::default();
        let beat = Duration::from_millis(5);
        // A busy machine only ever adds time: the promise is held where one try holds it.
        let mut took = Vec::new();
        while !took.iter().any(|took| *took <= HANDOVER_MAX) {
            assert!(took.len() < 5, "a turn that was free lay idle for {took:?}");
            let mut unheard = || panic!("nobody else has it");
            let turn = cache.turn(&digest, kind, beat, &mut unheard).expect("the first turn");
            let (send, told) = mpsc::channel();
            let (freed, taken) = std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let mut beats = 0;
                    let mut waiting = || {
                        beats += 1;
                        send.send(beats).expect("it is waited for");
                    };
                    let turn = cache.turn(&digest, kind, beat, &mut waiting);
                    let taken = Instant::now();
                    turn.map(|_| taken).expect("the second turn")
                });
                while told.recv().expect("one who waits is told") < 3 {}
                let freed = Instant::now();
                drop(turn);
                (freed, waiter.join().expect("it has its turn"))
            });
            took.push(taken.saturating_duration_since(freed));
        }
    }
}
