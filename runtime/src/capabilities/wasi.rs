//! The one maker of WASI contexts: what was granted, and nothing else.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;

use crate::platform::files;

use super::Access;
use super::Capabilities;
use super::Directory;
use super::GrantError;
use super::InEnd;
use super::OutEnd;
use super::SingleFile;
use super::environment::check_texts;

/// Random bytes that one call may ask for. The host holds them for a moment.
const RANDOM_SIZE_MAX: u64 = 1 << 20;

/// A directory as it is handed to the guest, in the order of its descriptors (from 3 on).
#[derive(Clone, Debug)]
pub(crate) struct Preopen {
    /// A path of the host that leads to the directory that is held.
    pub(crate) host: PathBuf,
    /// What `host` leads through; nothing for the empty `/`.
    pub(crate) handle: Option<Arc<File>>,
    /// What the guest calls it.
    pub(crate) guest: String,
    /// Where it is for the guest, absolute: `.` is the working directory.
    pub(crate) place: String,
    pub(crate) access: Access,
    /// Whether it is the `/` of a guest that was not granted one: what is not there was not granted.
    pub(crate) empty: bool,
    /// The single files in it, and what the guest may do with them.
    pub(crate) files: Vec<(String, Access)>,
}

impl Preopen {
    /// Whether the engine has to let the guest write: that it cannot write to all of it is the
    /// kernel's to see to, where single files are mounted.
    pub(super) fn is_written_to(&self) -> bool {
        let mut all = std::iter::once(self.access).chain(self.files.iter().map(|file| file.1));
        all.any(|access| access == Access::ReadWrite)
    }

    /// Whether the system, and not the engine, keeps the guest from writing to what is around the
    /// single files in it.
    pub(crate) fn is_held_by_the_system(&self) -> bool {
        self.access == Access::ReadOnly && self.is_written_to()
    }

    /// Whether there is a single file at a path that may only be read.
    pub(crate) fn is_read_only_file(&self, path: &str) -> bool {
        self.files.iter().any(|(file, access)| file == path && *access == Access::ReadOnly)
    }
}

/// The guest's ends of its standard streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: InEnd,
    pub(crate) stdout: OutEnd,
    pub(crate) stderr: OutEnd,
}

/// What the guest will find open, where `empty` is a directory with nothing in it.
///
/// # Errors
///
/// Fails where a path is granted twice, or the working directory is in no grant.
pub(super) fn preopens(
    granted: &Capabilities,
    empty: &std::path::Path,
) -> Result<Vec<Preopen>, GrantError> {
    let mut preopens: Vec<Preopen> = Vec::with_capacity(granted.directories.len() + 2);
    for directory in &granted.directories {
        if preopens.iter().any(|other| other.guest == directory.guest) {
            return Err(GrantError::Twice { guest: directory.guest.clone() });
        }
        preopens.push(Preopen {
            host: files::handle_path(&directory.handle, &directory.host),
            handle: Some(Arc::clone(&directory.handle)),
            guest: directory.guest.clone(),
            place: directory.guest.clone(),
            access: directory.access,
            empty: directory.holds_files_alone,
            files: directory.files.clone(),
        });
    }
    // A guest always has a `/`: what it tries then reaches the host, and can be named.
    if preopens.iter().all(|preopen| preopen.guest != "/") {
        preopens.push(Preopen {
            host: empty.to_owned(),
            handle: None,
            guest: "/".to_owned(),
            place: "/".to_owned(),
            access: Access::ReadOnly,
            empty: true,
            files: Vec::new(),
        });
    }
    if let Some(directory) = &granted.working_directory {
        let working = working_directory(granted, directory)?;
        preopens.extend(working);
    }
    Ok(preopens)
}

/// Finds out whether all that is granted makes sense, without opening any of it.
///
/// # Errors
///
/// Fails where texts are out of bounds, a path is granted twice, or the working directory is in no
/// grant.
pub(crate) fn check(granted: &Capabilities) -> Result<(), GrantError> {
    check_all_texts(granted)?;
    let places: Vec<&str> = granted.places().collect();
    let mut twice = places.iter().enumerate().filter(|(i, one)| places[..*i].contains(one));
    if let Some((_, guest)) = twice.next() {
        return Err(GrantError::Twice { guest: (*guest).to_owned() });
    }
    for file in granted.files.iter().map(SingleFile::guest) {
        let is_inside = |place: &&&str| rest_in(file, place).is_some_and(|rest| !rest.is_empty());
        if let Some(guest) = places.iter().find(is_inside) {
            let (guest, file) = ((*guest).to_owned(), file.to_owned());
            return Err(GrantError::InFile { guest, file });
        }
    }
    match &granted.working_directory {
        Some(directory)
            if directory != "/" && covering(granted.directory_places(), directory).is_none() =>
        {
            Err(GrantError::WorkingDirectory { directory: directory.clone() })
        }
        _ => Ok(()),
    }
}

/// The way to `inner` from `outer`, where it is that or is in it. Both are paths of a guest.
pub(crate) fn rest_in<'a>(outer: &str, inner: &'a str) -> Option<&'a str> {
    let rest = inner.strip_prefix(outer.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The innermost of these places that a path of the guest is in.
pub(crate) fn covering<'a>(places: impl Iterator<Item = &'a str>, path: &str) -> Option<&'a str> {
    places.filter(|place| rest_in(place, path).is_some()).max_by_key(|place| place.len())
}

/// The innermost grant that a directory of the guest is in.
fn grant_of<'a>(granted: &'a Capabilities, directory: &str) -> Result<&'a Directory, GrantError> {
    let covers = |grant: &&Directory| rest_in(&grant.guest, directory).is_some();
    let grants = granted.directories.iter().filter(covers);
    let refused = || GrantError::WorkingDirectory { directory: directory.to_owned() };
    grants.max_by_key(|grant| grant.guest.len()).ok_or_else(refused)
}

fn check_all_texts(granted: &Capabilities) -> Result<(), GrantError> {
    check_texts("the arguments", granted.arguments.iter().map(String::as_str))?;
    let names = granted.environment.iter().map(|(name, _)| name.as_str());
    let values = granted.environment.iter().map(|(_, value)| value.as_str());
    check_texts("the environment", names.chain(values))
}

/// The working directory, granted a second time as `.`: preview 1 knows no other way to say it.
fn working_directory(
    granted: &Capabilities,
    directory: &str,
) -> Result<Option<Preopen>, GrantError> {
    if directory == "/" {
        return Ok(None);
    }
    let grant = grant_of(granted, directory)?;
    let rest = rest_in(&grant.guest, directory).unwrap_or_default();
    let (host, handle) = if rest.is_empty() {
        (grant.host.clone(), Arc::clone(&grant.handle))
    } else {
        let inner = files::open_beneath(&grant.handle, &grant.host, rest).map_err(|source| {
            GrantError::NoWorkingDirectory { directory: directory.to_owned(), source }
        })?;
        (grant.host.join(rest), Arc::new(inner))
    };
    // The C library of preview 1 takes `.` and `/` for the same, and one would hide the other: paths
    // from the root are what more programs use.
    if granted.directories.iter().any(|grant| grant.guest == "/") {
        return Ok(None);
    }
    Ok(Some(Preopen {
        host: files::handle_path(&handle, &host),
        handle: Some(handle),
        guest: ".".to_owned(),
        place: directory.to_owned(),
        access: grant.access,
        empty: grant.holds_files_alone,
        files: grant.files.clone(),
    }))
}

/// The WASI context of one guest, but for its files.
///
/// # Errors
///
/// Fails where texts are out of bounds.
pub(crate) fn context(
    granted: &Capabilities,
    streams: Streams,
) -> Result<WasiCtxBuilder, GrantError> {
    check_all_texts(granted)?;

    let mut builder = WasiCtxBuilder::new();
    builder.max_random_size(RANDOM_SIZE_MAX);
    builder.args(&granted.arguments).envs(&granted.environment);
    if let Some(directory) = &granted.working_directory {
        if granted.environment.iter().all(|(name, _)| name != "PWD") {
            builder.env("PWD", directory);
        }
        builder.initial_cwd(directory);
    }
    builder.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
    Ok(builder)
}
