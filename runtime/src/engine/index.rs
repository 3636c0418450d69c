//! What is known of files without reading them: a file's identity leads to its digest and form.

use std::time::Duration;
use std::time::SystemTime;

use crate::content::Folder;
use crate::digest::Digest;
use crate::platform::Identity;

use super::kind::Form;

/// The youngest a file may be for its identity to be trusted.
///
/// The clock that stamps files ticks every few milliseconds, and on some file systems every two
/// seconds: a file can be written twice within one tick and look the same.
const SETTLED: Duration = Duration::from_secs(2);

/// How many entries are kept; then those of files go, and come again as files are used. What is
/// known by digest stays with the artifacts, as long as that is not too much itself.
const ENTRIES_MAX: usize = 4096;

/// The largest entry: a digest, a form, a number and three line ends.
const ENTRY_SIZE_MAX: usize = 128;

/// What is known of a wasm file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) digest: Digest,
    pub(crate) form: Form,
    /// What the engine holds for its instances, in bytes.
    pub(crate) held: u64,
}

/// The index of known files, and of known forms by digest.
#[derive(Debug)]
pub(super) struct Index {
    folder: Folder,
}

impl Index {
    pub(super) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// What is known of the file with this identity.
    pub(super) fn file(&self, identity: &Identity) -> Option<Known> {
        let entry = self.folder.read_small(&name(identity), ENTRY_SIZE_MAX)?;
        read_entry(std::str::from_utf8(&entry).ok()?)
    }

    /// What is known of the wasm with this digest.
    pub(super) fn wasm(&self, digest: &Digest) -> Option<Known> {
        let entry = self.folder.read_small(&digest.hex(), ENTRY_SIZE_MAX)?;
        read_entry(std::str::from_utf8(&entry).ok()?).filter(|known| known.digest == *digest)
    }

    /// Remembers what is known of wasm, by its digest.
    pub(super) fn remember_wasm(&self, known: &Known) {
        self.make_room();
        // What cannot be remembered is found out again.
        let _forgotten = self.folder.write(&known.digest.hex(), &[entry(known).as_bytes()]);
    }

    /// Remembers what the file with this identity holds, where the identity can be trusted: it was
    /// taken at `taken_at`, before the file was read, and the file had not changed for a while
    /// then. One that had changed a moment before could change again unseen while it was read.
    pub(super) fn remember_file(&self, identity: &Identity, known: &Known, taken_at: SystemTime) {
        let Ok(taken_at) = taken_at.duration_since(SystemTime::UNIX_EPOCH) else { return };
        let settled_ns = i128::try_from(taken_at.saturating_sub(SETTLED).as_nanos()).unwrap_or(0);
        if settled_ns <= identity.modified_ns.max(identity.changed_ns) {
            return;
        }
        self.make_room();
        let _forgotten = self.folder.write(&name(identity), &[entry(known).as_bytes()]);
    }

    /// Removes what was left by those who ended in the middle of writing.
    pub(super) fn remove_abandoned(&self) {
        self.folder.remove_abandoned();
    }

    fn make_room(&self) {
        let is_of_wasm = |name: &str| !name.contains('-');
        let names = self.folder.names();
        if ENTRIES_MAX < names.len() {
            let of_wasm = names.iter().filter(|name| is_of_wasm(name)).count();
            self.folder.clear(|name| of_wasm <= ENTRIES_MAX / 2 && is_of_wasm(name));
        }
    }
}

fn entry(known: &Known) -> String {
    format!("{}\n{}\n{}\n", known.digest, known.form, known.held)
}

/// Reads an entry: a digest, a form and a number, a line each.
pub(crate) fn read_entry(text: &str) -> Option<Known> {
    let mut lines = text.trim_end().split('\n');
    let digest = lines.next()?.parse().ok()?;
    let form = lines.next()?.parse().ok()?;
    let held = lines.next()?.parse().ok()?;
    lines.next().is_none().then_some(Known { digest, form, held })
}

fn name(identity: &Identity) -> String {
    let Identity { device, inode, size, modified_ns, changed_ns } = identity;
    format!("{device:x}-{inode:x}-{size:x}-{modified_ns:x}-{changed_ns:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(&dir.path().join("index")).expect("a folder");
        (dir, Index::new(folder))
    }

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn changed(ago: Duration) -> Identity {
        let at = i128::try_from(NOW.saturating_sub(ago).as_nanos()).expect("small");
        Identity { device: 1, inode: 2, size: 3, modified_ns: 0, changed_ns: at }
    }

    #[test]
    fn a_settled_file_is_known_by_every_part_of_its_identity() {
        let (_dir, index) = index();
        let identity = changed(Duration::from_secs(3));
        let known = Known { digest: Digest::of(b"wasm"), form: Form::Module, held: 7 };
        index.remember_file(&identity, &known, SystemTime::UNIX_EPOCH + NOW);
        assert_eq!(index.file(&identity), Some(known));
        index.remember_wasm(&known);
        assert_eq!(index.wasm(&known.digest), Some(known));
        for other in [
            Identity { device: 9, ..identity },
            Identity { inode: 9, ..identity },
            Identity { size: 9, ..identity },
            Identity { modified_ns: 9, ..identity },
            Identity { changed_ns: 9, ..identity },
        ] {
            assert_eq!(index.file(&other), None);
        }
    }

    #[test]
    fn what_is_known_by_digest_outlives_a_crowd_of_files() {
        let (_dir, index) = index();
        let known = Known { digest: Digest::of(b"wasm"), form: Form::Module, held: 0 };
        index.remember_wasm(&known);
        for inode in 0..=ENTRIES_MAX as u64 {
            let identity = Identity { inode, ..changed(Duration::from_secs(3)) };
            std::fs::write(index.folder.path_of(&name(&identity)), b"").expect("a file");
        }
        let one_more = changed(Duration::from_secs(9));
        index.remember_file(&one_more, &known, SystemTime::UNIX_EPOCH + NOW);
        assert_eq!(index.folder.names().len(), 2);
        assert_eq!(index.wasm(&known.digest), Some(known));
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_is_not_remembered() {
        let (_dir, index) = index();
        let identity = changed(Duration::from_millis(1999));
        let known = Known { digest: Digest::of(b"wasm"), form: Form::Module, held: 0 };
        index.remember_file(&identity, &known, SystemTime::UNIX_EPOCH + NOW);
        assert_eq!(index.file(&identity), None);
    }
}
