//! What the store can fail at.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::image::ENTRIES_MAX;

use super::folder::FolderError;

/// What the store can fail at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` is a layout of version `{version}`, and 1.0.0 is what can be read", path.display())]
    Layout { path: PathBuf, version: String },
    #[error("the store has {ENTRIES_MAX} names, and no room for more: remove some")]
    Names,
    #[error("the store has no blob {digest}")]
    Missing { digest: Digest },
    #[error("the blob {digest} is broken: {reason}")]
    Broken { digest: Digest, reason: String },
}

impl StoreError {
    /// Whether there was no room.
    pub(super) fn is_for_room(&self) -> bool {
        let (Self::Folder(FolderError::Write { source, .. }) | Self::File { source, .. }) = self
        else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
