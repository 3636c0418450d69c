//! What is mounted for one guest: its directories in memory, and single files over what it sees.
//!
//! The keeper makes mounts of what it holds, where it may; the worker does the rest, in a namespace
//! of its own, before anything of the guest is looked at.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::capabilities::Access;
use crate::capabilities::Capabilities;
use crate::capabilities::Directory;
use crate::capabilities::GrantError;
use crate::capabilities::SingleFile;
use crate::capabilities::covering;
use crate::capabilities::rest_in;
use crate::platform::mounts;
use crate::platform::tree;
use crate::process::Need;
use crate::process::Wall;

use super::guest::LaunchError;
use super::spec::SandboxSpec;

/// Refuses what takes mounts of the guest's own where it has no process of its own, or nothing may be
/// mounted for that.
pub(crate) fn check(spec: &SandboxSpec, is_apart: bool) -> Result<(), LaunchError> {
    let missing = if !is_apart {
        "a process of the guest's own beside this one, on a system with namespaces of mounts; in a \
         service, launch it as `Isolation::Process`"
    } else if spec.walls.need(Wall::MountNamespace) == Need::LeftOut {
        "the wall `mount_namespace`, which was left out"
    } else {
        return Ok(());
    };
    match spec.capabilities.needs_mounts() {
        None => Ok(()),
        Some((what, guest)) => {
            Err(LaunchError::Isolation { reason: format!("{what}, at `{guest}`, takes {missing}") })
        }
    }
}

/// What is granted, with a mount of what the worker is to mount, where this process can make one of
/// the very handle that it holds, and with no other mount. What has none the worker looks for by its
/// name.
pub(super) fn hold(granted: &Capabilities) -> Capabilities {
    let directory = |one: &Directory| match one.mount() {
        _ if !granted.files.iter().any(|file| is_over(granted, file, one.guest())) => {
            one.clone().mounted(None)
        }
        // A mount has one place, and the next guest is to have it as well.
        Some(mount) => match mounts::held(mount) {
            Some(another) => one.clone().mounted(Some(Arc::new(another))),
            None => one.clone(),
        },
        None => one.clone().mounted(mounts::held(one.handle()).map(Arc::new)),
    };
    let file = |one: &SingleFile| one.clone().mounted(mounts::held(one.handle()));
    Capabilities {
        directories: granted.directories.iter().map(directory).collect(),
        files: granted.files.iter().map(file).collect(),
        ..granted.clone()
    }
}

/// Whether a single file is to be mounted in the directory that is granted at a place.
fn is_over(granted: &Capabilities, file: &SingleFile, place: &str) -> bool {
    covering(granted.directory_places(), file.guest()) == Some(place)
}

/// Makes the directories in memory and mounts the single files, in a namespace of mounts that this
/// process has entered since they were granted. They are directories then, as all else that is
/// granted; the single files are still held, and are not to be when the guest begins.
pub(super) fn arrange(granted: &mut Capabilities) -> Result<(), GrantError> {
    let mut directories = Vec::new();
    for tmpfs in &granted.tmpfs {
        let files = files_over(granted, tmpfs.guest());
        let (tree, root) = in_memory(tmpfs.guest(), tmpfs.room(), &files)?;
        let host = Path::new(IN_MEMORY);
        let directory = Directory::held(root, host, tmpfs.guest(), Access::ReadWrite)?;
        directories.push(with_files(directory, &tree, &files)?);
    }
    for directory in &granted.directories {
        let files = files_over(granted, directory.guest());
        if files.is_empty() {
            directories.push(directory.clone());
            continue;
        }
        let found;
        let tree = if let Some(mount) = directory.mount() {
            mount
        } else {
            let failed = failed("it cannot be mounted", directory.guest());
            found = mounts::found(directory.handle()).map_err(failed)?;
            &found
        };
        directories.push(with_files(directory.clone(), tree, &files)?);
    }
    let alone = |file: &&SingleFile| covering(granted.directory_places(), file.guest()).is_none();
    let alone: Vec<&SingleFile> = granted.files.iter().filter(alone).collect();
    if !alone.is_empty() {
        directories.push(holder(&alone)?);
    }
    granted.directories = directories;
    granted.tmpfs = Vec::new();
    Ok(())
}

/// What a directory in memory is said to be, where one of the host has its path.
const IN_MEMORY: &str = "memory";

/// The single files that are to be mounted in the directory that is granted at a place.
fn files_over<'a>(granted: &'a Capabilities, place: &str) -> Vec<&'a SingleFile> {
    granted.files.iter().filter(|file| is_over(granted, file, place)).collect()
}

fn way_in<'a>(place: &str, file: &'a SingleFile) -> &'a str {
    rest_in(place, file.guest()).unwrap_or_default()
}

/// A `/` that holds the places of these files and nothing else, with them mounted there.
fn holder(files: &[&SingleFile]) -> Result<Directory, GrantError> {
    let (tree, root) = in_memory("/", (HOLDER_SIZE, 0), files)?;
    let directory = Directory::held(root, Path::new(IN_MEMORY), "/", Access::ReadOnly)?;
    with_files(directory.of_files_alone(), &tree, files)
}

/// A directory in memory with so much room, in bytes and in files, beside the places of these files,
/// which are in it: it as a mount, and what that shows.
fn in_memory(
    place: &str,
    (size, count): (u64, u64),
    files: &[&SingleFile],
) -> Result<(File, File), GrantError> {
    let failed = failed("a directory in memory cannot be made", place);
    let names = files.iter().map(|file| file.guest().split('/').count() as u64);
    let tree = mounts::memory(size, names.fold(count, u64::saturating_add)).map_err(&failed)?;
    let root = mounts::root_of(&tree).map_err(&failed)?;
    for file in files {
        make_place(&root, way_in(place, file)).map_err(&failed)?;
    }
    Ok((tree, root))
}

/// Room for directories, which take none.
const HOLDER_SIZE: u64 = 4 << 10;

/// Makes an empty file at a way in a directory of ours, and the directories on it.
fn make_place(root: &File, way: &str) -> io::Result<()> {
    let mut directory = tree::Directory::of(root, Path::new(IN_MEMORY))?;
    let (above, name) = way.rsplit_once('/').unwrap_or(("", way));
    for name in above.split('/').filter(|name| !name.is_empty()) {
        match directory.create_directory(name, 0o755) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => directory = directory.child(name)?,
        }
    }
    directory.create_file(name, 0o444).map(drop)
}

/// A directory with single files mounted over what is in it, which is `tree`.
fn with_files(
    directory: Directory,
    tree: &File,
    files: &[&SingleFile],
) -> Result<Directory, GrantError> {
    if files.is_empty() {
        return Ok(directory);
    }
    let unmounted = failed("it cannot be mounted", directory.guest());
    mounts::attach(tree).map_err(&unmounted)?;
    // Where a file in it may be written to, nothing but this keeps the guest from writing elsewhere.
    if directory.access() == Access::ReadOnly {
        mounts::make_read_only(tree).map_err(&unmounted)?;
    }
    let root = mounts::root_of(tree).map_err(&unmounted)?;
    for file in files {
        put_over(file, &root, directory.guest())?;
    }
    let files = files.iter().map(|file| (file.guest().to_owned(), file.access()));
    let files = files.collect();
    Ok(directory.with_files(root, files))
}

/// Mounts a single file in a directory that the guest sees at a place.
fn put_over(file: &SingleFile, root: &File, place: &str) -> Result<(), GrantError> {
    let what = format!("`{}` cannot be mounted", file.host().display());
    let unmounted = failed(&what, file.guest());
    let found;
    let tree = if let Some(mount) = file.mount() {
        mount
    } else {
        found = mounts::found(file.handle()).map_err(&unmounted)?;
        &found
    };
    if file.access() == Access::ReadOnly {
        mounts::make_read_only(tree).map_err(&unmounted)?;
    }
    match mounts::put_over(tree, root, way_in(place, file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(GrantError::Mount {
            guest: file.guest().to_owned(),
            reason: format!(
                "it is in the directory that is granted as `{place}`, which has no such file to be \
                 covered; create one there"
            ),
        }),
        put => put.map_err(&unmounted),
    }
}

/// An error with what was done, for what the guest was to see at a path.
fn failed(what: &str, guest: &str) -> impl Fn(io::Error) -> GrantError + use<> {
    let (what, guest) = (what.to_owned(), guest.to_owned());
    move |error| GrantError::Mount { guest: guest.clone(), reason: format!("{what}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::Tmpfs;
    use crate::process::Walls;

    #[test]
    fn what_takes_mounts_is_refused_by_name_where_there_are_none() {
        let tmpfs = SandboxSpec::new("guest").tmpfs(Tmpfs::new("/tmp").expect("a path"));
        let refused = |spec: &SandboxSpec, is_apart| {
            let error = check(spec, is_apart).expect_err("refused").to_string();
            assert!(error.contains("a directory in memory, at `/tmp`"), "{error}");
            error
        };
        assert!(refused(&tmpfs, false).contains("Isolation::Process"));
        let unwalled = tmpfs.clone().walls(Walls::NONE);
        assert!(refused(&unwalled, true).contains("mount_namespace"));
        assert!(check(&tmpfs, true).is_ok());
        assert!(check(&SandboxSpec::new("guest").walls(Walls::NONE), false).is_ok());
    }

    #[cfg(all(unix, not(aril_portable)))]
    #[test]
    fn places_are_made_with_what_leads_to_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = tree::Directory::open(dir.path()).and_then(tree::Directory::into_file);
        let root = root.expect("a handle");
        for way in ["a", "b/c/d", "b/e"] {
            make_place(&root, way).expect(way);
            assert!(dir.path().join(way).is_file(), "{way}");
        }
    }
}
