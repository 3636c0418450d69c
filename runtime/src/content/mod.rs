//! Where bytes rest: folders of this user's own, in which a file appears whole or not at all.

mod folder;

pub(crate) use folder::Folder;
pub(crate) use folder::FolderError;
