//! A blob that is not whole yet.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;

use crate::digest::Digest;
use crate::platform::files;

use super::error::StoreError;
use super::store::Store;

/// A blob in the making. What was written stays for whoever tries again, until it is pruned.
#[derive(Debug)]
pub(crate) struct Partial {
    store: Store,
    /// Locked: nobody else writes it.
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: Sha256,
}

impl Partial {
    /// Waits until nobody else writes the blob; nothing where it is whole by then. One that rotted in
    /// its place is written anew.
    pub(super) fn open(
        store: &Store,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Self>, StoreError> {
        let path = store.partial_folder().path_of(&digest.hex());
        let failed = |source| StoreError::File { what: "write", path: path.clone(), source };
        loop {
            if store.is_whole(digest) {
                return Ok(None);
            }
            let mut file = files::open_lock(&path).map_err(failed)?;
            files::lock(&file).map_err(failed)?;
            // Whoever had the lock may have put the file in its place, or removed it.
            if !files::is_at(&file, &path) || store.has(digest) && store.is_whole(digest) {
                continue;
            }
            let mut hasher = Sha256::new();
            let mut written = 0;
            let mut buffer = vec![0; 128 << 10];
            loop {
                let count = file.read(&mut buffer).map_err(failed)?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
                written += count as u64;
            }
            let (store, digest) = (store.clone(), *digest);
            let mut partial = Self { store, file, path, digest, size, written, hasher };
            if size <= partial.written {
                partial.restart()?;
            }
            return Ok(Some(partial));
        }
    }

    /// How much of it is there: where to go on.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Begins again.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        let begun = self.file.set_len(0).and_then(|()| self.file.rewind());
        begun.map_err(|source| self.failed(source))?;
        self.written = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    /// Adds bytes. More than there should be are refused at once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.written + bytes.len() as u64;
        if self.size < written {
            self.discard();
            return Err(
                self.broken(format!("it is longer than the {} bytes it should be", self.size))
            );
        }
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Whether what is there is, all of it, what it should be.
    pub(crate) fn is_right(&self) -> bool {
        self.written == self.size && Digest::from_hasher(self.hasher.clone()) == self.digest
    }

    /// Puts it in its place, if it is what it should be.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        if self.written < self.size {
            return Err(
                self.broken(format!("it ended after {} of {} bytes", self.written, self.size))
            );
        }
        let found = Digest::from_hasher(self.hasher.clone());
        if found != self.digest {
            self.discard();
            return Err(self.broken(format!("its digest is {found}")));
        }
        self.store.settle(&self.file, &self.path, &self.digest)
    }

    /// What is not what it should be is of no use to anybody.
    fn discard(&self) {
        let _absent = fs::remove_file(&self.path);
    }

    fn broken(&self, reason: String) -> StoreError {
        StoreError::Broken { digest: self.digest, reason }
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::File { what: "write", path: self.path.clone(), source }
    }
}

/// A blob of which nobody knows the digest before it is whole.
#[derive(Debug)]
pub(crate) struct Draft {
    store: Store,
    file: File,
    path: PathBuf,
    written: u64,
    hasher: Sha256,
}

impl Store {
    /// A blob to be written.
    pub(crate) fn draft(&self) -> Result<Draft, StoreError> {
        let (file, path) = self.partial_folder().draft()?;
        Ok(Draft { store: self.clone(), file, path, written: 0, hasher: Sha256::new() })
    }
}

impl Draft {
    /// Puts it in its place under the digest it has, and says which, and how long it is.
    pub(crate) fn finish(self, lease: &super::Lease<'_>) -> Result<(Digest, u64), StoreError> {
        let digest = Digest::from_hasher(self.hasher.clone());
        lease.keep([digest])?;
        if !self.store.is_whole(&digest) {
            self.store.settle(&self.file, &self.path, &digest)?;
        }
        Ok((digest, self.written))
    }
}

impl io::Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _in_its_place = fs::remove_file(&self.path);
    }
}
