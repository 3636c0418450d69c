//! What is copied into an image, and the layer that it becomes.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use crate::content::Lease;
use crate::content::Store;
use crate::content::StoreError;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::media;
use crate::platform::tree::Directory;
use crate::rootfs::Changes;
use crate::rootfs::Entry;
use crate::rootfs::HostFile;
use crate::rootfs::LayerError;
use crate::rootfs::Node;
use crate::rootfs::Tree;
use crate::rootfs::compress;
use crate::rootfs::write_layer;

use super::forms::Layered;
use super::images::Failure;
use super::images::kind_of;

/// Something of this host that is to be in the image.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) host: PathBuf,
    pub(super) guest: String,
}

pub(super) fn invalid(reason: impl Into<String>) -> Failure {
    (ErrorKind::InvalidInput, reason.into().into())
}

/// Refuses what is no path in an image.
pub(super) fn verify_guest(guest: &str) -> Result<(), Failure> {
    let shown = guest.escape_debug();
    if !guest.starts_with('/') {
        return Err(invalid(format!("`{shown}` is not an absolute path in the image")));
    }
    if guest.split('/').any(|name| name == "..") {
        return Err(invalid(format!("`{shown}` leads upwards, which no path in an image may")));
    }
    Ok(())
}

impl Copied {
    /// Puts it into a tree.
    pub(super) fn put(&self, tree: &mut Tree, changes: &mut Changes) -> Result<(), Failure> {
        let found = self.found()?;
        put(tree, [found], &self.guest, Attributes::default(), changes).map_err(of_layer)
    }

    fn found(&self) -> Result<Found, Failure> {
        let shown = self.host.display();
        let failed = |source: io::Error| -> Failure {
            match source.kind() {
                io::ErrorKind::NotFound => {
                    (ErrorKind::NotFound, format!("there is no `{shown}` to copy").into())
                }
                _ => (ErrorKind::Unavailable, format!("cannot copy `{shown}`: {source}").into()),
            }
        };
        let found = fs::canonicalize(&self.host).map_err(failed)?;
        if found.is_dir() {
            let mut tree = Tree::of_image(Directory::open(&found).map_err(failed)?);
            return Ok(Found::Directory(tree.all("").map_err(of_layer)?));
        }
        let not_utf8 = || invalid(format!("the name of `{shown}` is not UTF-8"));
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(above), Some(found_name)) = (found.parent(), name(&found)) else {
            return Err(not_utf8());
        };
        let below = Rc::new(Directory::open(above).map_err(failed)?);
        let file = HostFile { below, above: "".into(), name: found_name.into() };
        let name = name(&self.host).ok_or_else(not_utf8)?;
        let node = if found.is_file() {
            Node::File(file)
        } else {
            Node::Strange("it is neither a file, nor a directory, nor a link")
        };
        Ok(Found::One { name, entry: node.into() })
    }
}

/// Something that is to be copied.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A file, under the name by which it was found.
    One { name: String, entry: Entry },
    /// What is in a directory, by its path from there.
    Directory(Vec<(String, Entry)>),
}

/// What is said of all that is copied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) owner: (u32, u32),
}

/// Puts what was found where docker's `COPY` puts it: what is in a directory into the target, and a
/// file into it where it is a directory or ends in `/`, and else in its place.
pub(super) fn put(
    tree: &mut Tree,
    found: impl IntoIterator<Item = Found>,
    target: &str,
    attributes: Attributes,
    changes: &mut Changes,
) -> Result<(), LayerError> {
    let given = |entry: Entry| {
        let mode = attributes.mode.or(entry.mode);
        Entry { mode, owner: attributes.owner, ..entry }
    };
    let place = tree.follow(target)?;
    let is_directory =
        target.ends_with('/') || target.ends_with("/.") || tree.is_directory(&place)?;
    let inner =
        |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
    for found in found {
        match found {
            Found::One { name, entry } => {
                let at = if is_directory { inner(&name) } else { place.clone() };
                tree.add(&at, given(entry), changes)?;
            }
            Found::Directory(entries) => {
                if !tree.is_directory(&place)? {
                    tree.add(&place, given(Node::Directory.into()), changes)?;
                }
                for (path, entry) in entries {
                    tree.add(&inner(&path), given(entry), changes)?;
                }
            }
        }
    }
    Ok(())
}

/// Makes a directory, where a path leads.
pub(super) fn make_directory(
    tree: &mut Tree,
    path: &str,
    changes: &mut Changes,
) -> Result<(), LayerError> {
    let place = tree.follow(path)?;
    tree.add(&place, Node::Directory.into(), changes)
}

pub(super) fn of_store(error: StoreError) -> Failure {
    (kind_of(&error), error.into())
}

pub(super) fn unwritten(store: &Store, source: io::Error) -> Failure {
    of_store(StoreError::File { what: "write", path: store.path().to_owned(), source })
}

pub(super) fn of_layer(error: LayerError) -> Failure {
    let kind = match &error {
        LayerError::Refused { .. } | LayerError::Both { .. } | LayerError::TooMany => {
            ErrorKind::InvalidInput
        }
        LayerError::Read { .. } | LayerError::Changed { .. } | LayerError::Write { .. } => {
            ErrorKind::Unavailable
        }
    };
    (kind, error.into())
}

/// Writes a layer.
pub(super) fn add_layer(
    store: &Store,
    lease: &Lease<'_>,
    changes: &Changes,
    modified: u64,
) -> Result<Layered, Failure> {
    let draft = store.draft().map_err(of_store)?;
    let written = compress(draft, |out| {
        write_layer(changes, modified, out)?;
        Ok(())
    });
    let (draft, diff_id) = written.map_err(|error| match error {
        LayerError::Write { source } => unwritten(store, source),
        error => of_layer(error),
    })?;
    let (digest, size) = draft.finish(lease).map_err(of_store)?;
    Ok((Descriptor::new(media::LAYER_GZIP, digest, size), diff_id))
}
