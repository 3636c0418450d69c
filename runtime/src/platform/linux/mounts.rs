//! Mounts of this process's own: directories in memory, and files put over others.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;

use super::files;
use super::overlay;

/// An empty directory in memory that has room for so many bytes and so many files, mounted nowhere.
///
/// Its memory counts as that of whoever writes there.
pub(crate) fn memory(size: u64, files: u64) -> io::Result<File> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // The directory itself is one of its files.
    let files = files.saturating_add(1);
    // Who writes there may be another user than this one by then, and nobody else reaches it.
    for (key, value) in
        [("size", size.to_string()), ("nr_inodes", files.to_string()), ("mode", "1777".to_owned())]
    {
        rustix::mount::fsconfig_set_string(&context, key, value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?.into())
}

/// What is open, with all that is mounted below it, as a mount of its own that is mounted nowhere;
/// nothing where this process may not make one. It is what is open, whatever its names are by now.
pub(crate) fn held(file: &File) -> Option<File> {
    let flags = OpenTreeFlags::AT_EMPTY_PATH | CLONE;
    let tree = rustix::mount::open_tree(file, "", flags).ok().map(File::from)?;
    // One that is shared would show others, at its place on the host, all that is mounted in it here.
    let alone = libc::mount_attr { propagation: libc::MS_PRIVATE, ..NO_CHANGE };
    set_attributes(&tree, &alone).ok()?;
    Some(tree)
}

/// Sees to it that more mounts can be made of one of ours that is mounted nowhere yet, of which
/// Linux before 6.15 makes none: it gets a place then, at an empty directory of ours, where nobody
/// else sees it. Says whether it has one now, which [`leave`] is to be called for.
pub(crate) fn settle(tree: &File, at: &Path) -> io::Result<bool> {
    if held(tree).is_some() {
        return Ok(false);
    }
    settle_at(tree, at).map(|()| true)
}

fn settle_at(tree: &File, at: &Path) -> io::Result<()> {
    overlay::own_mounts()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", CWD, at, flags)?)
}

/// Takes the place back that a mount was settled at.
pub(crate) fn leave(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH)?)
}

/// The same in a namespace of mounts that this process has entered since: it knows nothing of what
/// was opened before, so that this is looked for by the name that it has now. What is found there is
/// the very same, or an error.
pub(crate) fn found(file: &File) -> io::Result<File> {
    let name = rustix::fs::readlinkat(CWD, files::handle_path(file, "".as_ref()), Vec::new())?;
    let tree = match rustix::mount::open_tree(CWD, &name, CLONE) {
        Ok(tree) => tree,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(gone()),
        Err(error) => return Err(error.into()),
    };
    let (one, other) = (rustix::fs::fstat(file)?, rustix::fs::fstat(&tree)?);
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
        return Err(gone());
    }
    Ok(tree.into())
}

fn gone() -> io::Error {
    io::Error::other("it was removed or replaced since it was granted")
}

/// With all that is mounted below.
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE)
    .union(OpenTreeFlags::AT_NO_AUTOMOUNT);

/// Lets nobody write to a mount of this process's own, and to what is mounted below it so far.
pub(crate) fn make_read_only(tree: &File) -> io::Result<()> {
    let read_only = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, ..NO_CHANGE };
    set_attributes(tree, &read_only)
}

/// Leaves a mount as it is.
const NO_CHANGE: libc::mount_attr =
    libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

/// Changes a mount of this process's own, and what is mounted below it so far.
fn set_attributes(tree: &File, attributes: &libc::mount_attr) -> io::Result<()> {
    // JUSTIFICATION: rustix does not have this call.
    // SAFETY: the empty path and the attributes live through the call, which copies them and is told
    // their size.
    #[expect(unsafe_code, reason = "changes what may be done with a mount")]
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => io::Error::new(
                io::ErrorKind::Unsupported,
                "only Linux 5.12 and newer can change a single mount",
            ),
            error => error,
        }),
    }
}

/// Gives a mount of this process's own a place in its namespace, without which nothing can be mounted
/// over what is in it: over the root, where no path leads and the empty root will cover it.
pub(crate) fn attach(tree: &File) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    match rustix::mount::move_mount(tree, "", CWD, "/", flags) {
        // It had a place in another namespace: there is one of it, and no second could be made.
        Err(Errno::INVAL) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it was mounted for a guest before, and Linux before 6.15 mounts it once; make the \
             image's files while this process has one thread",
        )),
        attached => Ok(attached?),
    }
}

/// What a mount of a directory shows.
pub(crate) fn root_of(tree: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(tree, ".", flags, Mode::empty())?.into())
}

/// Mounts a file over the one at `way` in a directory of this namespace. Links on the way lead where
/// they would for whom that directory is the root of all files.
pub(crate) fn put_over(tree: &File, directory: &File, way: &str) -> io::Result<()> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(directory, way, flags, Mode::empty(), resolve)?;
    let place = File::from(place);
    if !place.metadata()?.is_file() {
        return Err(io::Error::other("what is there is not a file"));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match rustix::mount::move_mount(tree, "", &place, "", flags) {
        Ok(()) => Ok(()),
        // The place is there: what has no name any more is mounted nowhere.
        Err(Errno::NOENT) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use crate::platform::linux::namespaces;
    use crate::platform::linux::namespaces::Namespaces;
    use crate::platform::linux::native::in_child;
    use crate::platform::linux::native::skip;

    use super::*;

    const ALL: Namespaces = Namespaces { user: true, mount: true, ipc: false, uts: false };

    /// Whether this host lets this user mount at all; said aloud where not.
    fn can_mount() -> bool {
        let can = namespaces::probe(ALL).is_ok_and(|all| matches!(all.mount, Some(Ok(_))));
        if !can {
            skip("this user has no namespaces of mounts");
        }
        can
    }

    #[test]
    fn what_was_opened_before_is_found_by_its_name_of_now_and_nothing_is_taken_for_it() {
        if !can_mount() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["kept", "renamed", "replaced", "removed", "other"] {
            fs::write(path(name), name).unwrap();
        }
        let held = ["kept", "renamed", "replaced", "removed"]
            .map(|name| files::hold(&path(name)).unwrap());
        fs::rename(path("renamed"), path("another name")).unwrap();
        fs::rename(path("other"), path("replaced")).unwrap();
        fs::remove_file(path("removed")).unwrap();

        let child = in_child(|| {
            let _entered = namespaces::enter(ALL, || {
                let [kept, renamed, replaced, removed] = &held;
                for (file, content) in [(kept, "kept"), (renamed, "renamed")] {
                    let tree = found(file).unwrap();
                    let same = format!("/proc/self/fd/{}", tree.as_raw_fd());
                    let mut text = String::new();
                    File::open(same).unwrap().read_to_string(&mut text).unwrap();
                    assert_eq!(text, content);
                }
                for file in [replaced, removed] {
                    let error = found(file).unwrap_err().to_string();
                    assert!(error.contains("removed or replaced"), "{error}");
                }
                0
            });
        });
        assert_eq!(child.wait(), crate::platform::linux::native::Ended::Code(0));
    }

    #[test]
    fn a_mount_that_was_settled_can_be_mounted_for_one_guest_after_the_other() {
        if !can_mount() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let child = in_child(|| {
            let _entered = namespaces::enter(ALL, || {
                for is_old in [false, true] {
                    let tree = memory(1 << 20, 100).unwrap();
                    let is_settled = if is_old {
                        settle_at(&tree, dir.path()).map(|()| true).unwrap()
                    } else {
                        settle(&tree, dir.path()).unwrap()
                    };
                    for _ in 0..2 {
                        attach(&held(&tree).expect("another mount")).unwrap();
                    }
                    if is_settled {
                        leave(dir.path()).unwrap();
                    }
                }
                0
            });
        });
        assert_eq!(child.wait(), crate::platform::linux::native::Ended::Code(0));
    }

    #[test]
    fn a_place_in_a_directory_is_never_looked_for_outside_of_it() {
        if !can_mount() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "outside").unwrap();
        let child = in_child(|| {
            let _entered = namespaces::enter(ALL, || {
                let tree = memory(1 << 20, 100).unwrap();
                attach(&tree).unwrap();
                let root = root_of(&tree).unwrap();
                let file = files::hold(&outside).unwrap();
                for (name, target) in [("up", "../../.."), ("absolute", outside.to_str().unwrap())]
                {
                    rustix::fs::symlinkat(target, &root, name).unwrap();
                }
                let way = outside.to_str().unwrap();
                for way in ["absolute", &format!("up{way}"), &format!("../../..{way}"), way] {
                    let error = put_over(&found(&file).unwrap(), &root, way).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{way}");
                }
                0
            });
        });
        assert_eq!(child.wait(), crate::platform::linux::native::Ended::Code(0));
    }
}
