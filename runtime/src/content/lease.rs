//! What somebody alive relies on.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use crate::digest::Digest;

use super::error::StoreError;
use super::store::Store;

/// What somebody alive relies on: pruning leaves it alone.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pub(super) store: &'a Store,
    /// Locked: it ends with this process, however that ends.
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Lease<'_> {
    /// Relies on these blobs, whether they are there by now or not.
    pub(crate) fn keep(&self, digests: impl IntoIterator<Item = Digest>) -> Result<(), StoreError> {
        let _together = self.store.lock(false)?;
        let mut lines = String::new();
        for digest in digests {
            lines.push_str(&digest.to_string());
            lines.push('\n');
        }
        (&self.file).write_all(lines.as_bytes()).map_err(|source| StoreError::File {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let _absent = fs::remove_file(&self.path);
    }
}
