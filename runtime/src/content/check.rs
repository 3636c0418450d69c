//! Whether the store is what it says: every blob what its digest says, every name with all that it
//! needs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;

use crate::digest::Digest;
use crate::image::Descriptor;

use super::error::StoreError;
use super::store::Found;
use super::store::NAME;
use super::store::Store;

/// How many names are told of that need the same blob.
const NAMES_SHOWN: usize = 3;

/// Something that is not as it should be.
#[derive(Debug)]
pub(crate) enum Fault {
    /// `index.json` is torn; the names are those from before its last change, or lost.
    Index { lost: bool },
    /// A blob is not what its name says, or cannot be read.
    Blob { digest: Digest, reason: String, needed_by: Vec<String> },
    /// A blob that a name needs is not there.
    Missing { digest: Digest, needed_by: Vec<String> },
    /// What a name leads to is whole, and no image.
    Name { name: String, reason: String },
}

/// What a check of the store found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// The entries of the index that are whole.
    pub(crate) whole: Vec<Descriptor>,
    pub(crate) faults: Vec<Fault>,
    /// Blobs that no name leads to, and their bytes.
    pub(crate) unused: (u64, u64),
    /// What those left behind who were killed: partial blobs, other files, and the bytes of both.
    pub(crate) abandoned: (u64, u64, u64),
}

/// What an entry is called where it is told of.
fn called(entry: &Descriptor) -> String {
    entry.annotations.get(NAME).cloned().unwrap_or_else(|| entry.digest.to_string())
}

fn shorten(mut names: Vec<String>) -> Vec<String> {
    let count = names.len();
    if NAMES_SHOWN < count {
        names.truncate(NAMES_SHOWN);
        names.push(format!("{} more", count - NAMES_SHOWN));
    }
    names
}

impl Store {
    /// Reads all of the store, once, and tells `read` of every piece that it hashed. Others may use
    /// the store meanwhile; nothing is changed.
    pub(crate) fn check(&self, read: &mut dyn FnMut(u64)) -> Result<Checked, StoreError> {
        let digests = self.digests();
        // Nobody removes what is being looked at. A disk that is too full for that is looked at all
        // the same.
        let _held = self.hold(digests.iter().copied());
        let (index, found) = self.found_index();
        let mut checked = Checked { abandoned: self.abandoned(), ..Checked::default() };
        if found != Found::Now {
            checked.faults.push(Fault::Index { lost: found == Found::Nowhere });
        }

        let mut sizes = BTreeMap::new();
        let mut rotten = BTreeMap::new();
        for digest in digests {
            match self.hash(&digest, read) {
                Ok(size) => {
                    checked.blobs += 1;
                    checked.bytes += size;
                    sizes.insert(digest, size);
                }
                // Gone before it was relied on.
                Err(StoreError::Missing { .. }) => {}
                Err(StoreError::Broken { reason, .. }) => {
                    rotten.insert(digest, reason);
                }
                Err(StoreError::File { source, .. }) => {
                    rotten.insert(digest, format!("it cannot be read: {source}"));
                }
                Err(error) => return Err(error),
            }
        }

        let mut needed: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in &index.manifests {
            let mut reached = BTreeSet::new();
            let walked = self.reach(entry, &mut reached, 0);
            let lacks = |digest: &Digest| rotten.contains_key(digest) || !self.has(digest);
            let is_whole = !reached.iter().any(lacks);
            match walked {
                Ok(()) if is_whole => checked.whole.push(entry.clone()),
                // What is rotten or missing tells why.
                Err(error) if is_whole => {
                    let reason = error.to_string();
                    checked.faults.push(Fault::Name { name: called(entry), reason });
                }
                Ok(()) | Err(_) => {}
            }
            for digest in reached {
                needed.entry(digest).or_default().push(called(entry));
            }
        }

        for (digest, reason) in rotten {
            let needed_by = shorten(needed.remove(&digest).unwrap_or_default());
            checked.faults.push(Fault::Blob { digest, reason, needed_by });
        }
        let now = self.index();
        for (digest, names) in needed {
            if sizes.remove(&digest).is_some() || self.has(&digest) {
                continue;
            }
            // A name may have been taken away since.
            let still = |name: &String| now.manifests.iter().any(|entry| called(entry) == *name);
            let needed_by = shorten(names.into_iter().filter(still).collect());
            if !needed_by.is_empty() {
                checked.faults.push(Fault::Missing { digest, needed_by });
            }
        }
        checked.unused = (sizes.len() as u64, sizes.values().sum());
        Ok(checked)
    }

    /// Hashes a blob, and returns its size where it is what its name says.
    fn hash(&self, digest: &Digest, read: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let path = self.blob_path(digest);
        let failed = |source| StoreError::File { what: "read", path: path.clone(), source };
        let file = self.blob(digest)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        let source = Told { file, read };
        let (found, size) = Digest::of_reader(source, u64::MAX).map_err(failed)?;
        if found == *digest {
            return Ok(size);
        }
        let reason = format!("its {size} bytes are not what its name says");
        Err(StoreError::Broken { digest: *digest, reason })
    }
}

/// Tells how much is read.
struct Told<'a, R> {
    file: R,
    read: &'a mut dyn FnMut(u64),
}

impl<R: io::Read> io::Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        (self.read)(count as u64);
        Ok(count)
    }
}
