//! What is copied into an image, and the layer that it becomes.

use std::fs;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::content::Lease;
use crate::content::Store;
use crate::content::StoreError;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::media;
use crate::platform::tree::Directory;
use crate::rootfs::Entry;
use crate::rootfs::LayerError;
use crate::rootfs::compress;
use crate::rootfs::write_layer;

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

/// Something of this host, held open, with its place in the image.
struct Opened {
    host: PathBuf,
    below: Directory,
    /// Its name in `below`; nothing where it is that directory itself.
    name: String,
    guest: String,
}

/// Opens what is to be copied.
fn opened(copies: &[Copied]) -> Result<Vec<Opened>, Failure> {
    let mut opened: Vec<Opened> = Vec::new();
    for Copied { host, guest } in copies {
        let failed = |source: io::Error| -> Failure {
            let shown = host.display();
            match source.kind() {
                io::ErrorKind::NotFound => {
                    (ErrorKind::NotFound, format!("there is no `{shown}` to copy").into())
                }
                _ => (ErrorKind::Unavailable, format!("cannot copy `{shown}`: {source}").into()),
            }
        };
        let found = fs::canonicalize(host).map_err(failed)?;
        if found.is_dir() {
            let below = Directory::open(&found).map_err(failed)?;
            opened.push(Opened { host: found, below, name: String::new(), guest: guest.clone() });
            continue;
        }
        let not_utf8 = || invalid(format!("the name of `{}` is not UTF-8", host.display()));
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(above), Some(found_name)) = (found.parent(), name(&found)) else {
            return Err(not_utf8());
        };
        let below = Directory::open(above).map_err(failed)?;
        let guest = if guest.ends_with('/') || is_directory(&opened, guest) {
            format!("{guest}/{}", name(host).ok_or_else(not_utf8)?)
        } else {
            guest.clone()
        };
        opened.push(Opened { host: found, below, name: found_name, guest });
    }
    Ok(opened)
}

/// Whether an earlier copy makes this path a directory.
fn is_directory(earlier: &[Opened], guest: &str) -> bool {
    let guest = Path::new(guest);
    earlier.iter().any(|copy| match guest.strip_prefix(&copy.guest) {
        Ok(rest) => copy.name.is_empty() && copy.host.join(rest).is_dir(),
        // What something is in is a directory.
        Err(_) => Path::new(&copy.guest).starts_with(guest),
    })
}

/// The directories above a path of the image, and that path itself where it is a directory.
fn directories(guest: &str, is_directory: bool) -> Vec<String> {
    let names = Path::new(guest).components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let mut paths = Vec::new();
    let mut path = String::new();
    for name in names {
        path = format!("{path}/{name}");
        paths.push(path.clone());
    }
    if !is_directory {
        paths.pop();
    }
    paths
}

pub(super) fn of_store(error: StoreError) -> Failure {
    (kind_of(&error), error.into())
}

pub(super) fn unwritten(store: &Store, source: io::Error) -> Failure {
    of_store(StoreError::File { what: "write", path: store.path().to_owned(), source })
}

/// The layer with the program and all that was copied, and the digest of what is in it.
pub(super) fn add_layer(
    (store, lease): (&Store, &Lease<'_>),
    (program, bytes): (&str, &[u8]),
    copies: &[Copied],
    working_directory: Option<&str>,
    modified: u64,
) -> Result<(Descriptor, Digest), Failure> {
    let copies = opened(copies)?;
    let above = copies.iter().flat_map(|copy| directories(&copy.guest, copy.name.is_empty()));
    let working = working_directory.into_iter().flat_map(|guest| directories(guest, true));
    let above: Vec<String> = above.chain(working).collect();
    let entries = above.iter().map(|guest| Entry::Directory { guest });
    let entries = entries.chain(copies.iter().map(|copy| Entry::Host {
        below: &copy.below,
        path: &copy.name,
        guest: &copy.guest,
    }));
    let entries = entries.chain([Entry::Program { guest: program, bytes }]);

    let draft = store.draft().map_err(of_store)?;
    let written = compress(draft, |out| {
        write_layer(entries, |_, _| true, modified, out)?;
        Ok(())
    });
    let (draft, diff_id) = written.map_err(|error| match error {
        LayerError::Write { source } => unwritten(store, source),
        error => (layer_kind(&error), error.into()),
    })?;
    let (digest, size) = draft.finish(lease).map_err(of_store)?;
    Ok((Descriptor::new(media::LAYER_GZIP, digest, size), diff_id))
}

fn layer_kind(error: &LayerError) -> ErrorKind {
    match error {
        LayerError::Missing { .. } => ErrorKind::NotFound,
        LayerError::Refused { .. } | LayerError::Both { .. } | LayerError::TooMany => {
            ErrorKind::InvalidInput
        }
        LayerError::Read { .. } | LayerError::Changed { .. } | LayerError::Write { .. } => {
            ErrorKind::Unavailable
        }
    }
}
