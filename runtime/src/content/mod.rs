//! Where bytes rest: folders of this user's own, in which a file appears whole or not at all, and
//! the store of images, which is such a folder.

mod check;
mod error;
mod folder;
mod ingest;
mod lease;
mod store;

pub(crate) use check::Checked;
pub(crate) use check::Fault;
pub(crate) use error::StoreError;
pub(crate) use folder::Folder;
pub(crate) use folder::FolderError;
pub(crate) use ingest::Partial;
pub(crate) use lease::Lease;
pub(crate) use store::NAME;
pub(crate) use store::Pruned;
pub(crate) use store::Store;
