//! Room for what one guest writes: a file system in memory, of a size that can change.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::CWD;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::FsPickFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use super::files;
use super::mounts;
use super::overlay;
use super::tree::Directory;

/// A file system in memory that is mounted nowhere: nobody else sees it, and it is gone with its last
/// handle, however that goes. Its memory counts as that of whoever writes there.
#[derive(Debug)]
pub(crate) struct Room {
    tree: File,
}

/// What the kernel gives out at once, in bytes.
const PAGE: u64 = 4 << 10;

/// How many files there may be beside one for each page: directories, which take no page, among
/// them those that an overlay works with.
const FILES_SPARE: u64 = 64;

/// The pages of room without a bound, which has one all the same: what was without cannot get one
/// later.
const PAGES_MAX: u64 = (i64::MAX as u64) / PAGE;

fn pages_of(size: Option<u64>) -> u64 {
    size.map_or(PAGES_MAX, |size| (size / PAGE).min(PAGES_MAX))
}

impl Room {
    /// Room for so many bytes, of which only whole pages count. Where this process may not mount, it
    /// enters a namespace in which it may, for which it must have one thread.
    pub(crate) fn new(size: Option<u64>) -> io::Result<Self> {
        if overlay::needs_namespace() {
            overlay::enter_namespace()?;
        }
        let pages = pages_of(size);
        let tree = mounts::memory(pages * PAGE, pages + FILES_SPARE)?;
        Ok(Self { tree })
    }

    /// An empty directory in it, from which no way leads up, as far as this kernel can: Linux before
    /// 6.15 makes no other mount of what is mounted nowhere. That mount comes with it.
    pub(crate) fn directory(&self, name: &str) -> io::Result<(Directory, Option<File>)> {
        let directory = self.within(name)?;
        let Some(tree) = mounts::held(&directory.again()?.into_file()?) else {
            return Ok((directory, None));
        };
        Ok((Directory::of(&mounts::root_of(&tree)?, Path::new(""))?, Some(tree)))
    }

    fn within(&self, name: &str) -> io::Result<Directory> {
        let root = Directory::of(&mounts::root_of(&self.tree)?, Path::new(""))?;
        root.create_directory(name, 0o755)?;
        root.child(name)
    }

    /// Lays a directory of this name over one that stays as it is. What is returned is the overlay, and
    /// it as a mount, as of [`overlay::overlay`]. `at` is an empty directory of ours.
    pub(crate) fn lay_over(&self, lower: &Path, name: &str, at: &Path) -> io::Result<(File, File)> {
        let directory = self.within(name)?;
        directory.create_directory("upper", 0o755)?;
        directory.create_directory("work", 0o700)?;
        let directory = directory.into_file()?;
        if overlay::needs_namespace() {
            takes_notes(&directory)?;
        }
        let within = files::handle_path(&directory, at);
        let laid = overlay::overlay(lower, &within.join("upper"), &within.join("work"));
        laid.or_else(|error| {
            self.lay_over_at(lower, name, at).map_err(|second| {
                io::Error::other(format!("{error}, and among mounts of its own: {second}"))
            })
        })
    }

    /// The same for Linux before 6.15, where all that is laid over must have a place among the mounts
    /// of this process. It has one for this moment, where nobody else sees it.
    fn lay_over_at(&self, lower: &Path, name: &str, at: &Path) -> io::Result<(File, File)> {
        overlay::own_mounts()?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&self.tree, "", CWD, at, flags)?;
        let within = at.join(name);
        let laid = overlay::overlay(lower, &within.join("upper"), &within.join("work"));
        rustix::mount::unmount(at, UnmountFlags::DETACH)?;
        laid
    }

    /// How many bytes are in use, in whole pages.
    pub(crate) fn used(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatfs(&self.tree)?;
        let pages = status.f_blocks.saturating_sub(status.f_bfree);
        Ok(pages.saturating_mul(u64::try_from(status.f_bsize).unwrap_or(PAGE)))
    }

    /// Has it hold so many bytes from now on. Fails, and changes nothing, where more is in use.
    pub(crate) fn resize(&self, size: Option<u64>) -> io::Result<()> {
        let pages = pages_of(size);
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = rustix::mount::fspick(&self.tree, "", flags)?;
        for (key, value) in [("size", pages * PAGE), ("nr_inodes", pages + FILES_SPARE + 1)] {
            rustix::mount::fsconfig_set_string(&context, key, value.to_string())?;
        }
        match rustix::mount::fsconfig_reconfigure(&context) {
            Err(Errno::INVAL) => {
                let used = self.used()?;
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("{used} bytes of it are in use, or more files than that has room for"),
                ))
            }
            done => Ok(done?),
        }
    }
}

/// Refuses a file system on which an overlay of an ordinary user cannot note what was removed.
fn takes_notes(directory: &File) -> io::Result<()> {
    const NOTE: &str = "user.overlay.aril";
    match rustix::fs::fsetxattr(directory, NOTE, b"y", XattrFlags::empty()) {
        Ok(()) => Ok(rustix::fs::fremovexattr(directory, NOTE)?),
        Err(Errno::OPNOTSUPP) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "files in memory take no notes of a user's own before Linux 6.6; run `aril` as root",
        )),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::platform::linux::namespaces;
    use crate::platform::linux::namespaces::Namespaces;
    use crate::platform::linux::native::Ended;
    use crate::platform::linux::native::in_child;
    use crate::platform::linux::native::skip;

    use super::*;

    /// Runs this where there may be mounts, if this host lets this user have any.
    fn where_mounts_are(part: impl FnOnce()) {
        let all = Namespaces { user: true, mount: true, ipc: false, uts: false };
        let can = namespaces::probe(all).is_ok_and(|all| matches!(all.mount, Some(Ok(_))));
        if can {
            assert_eq!(in_child(part).wait(), Ended::Code(0));
        } else {
            skip("this user has no namespaces of mounts");
        }
    }

    /// Writes until there is no room, and says how much there was.
    fn fill(directory: &Directory, name: &str) -> u64 {
        let mut file = directory.create_file(name, 0o600).unwrap();
        let mut written = 0;
        while file.write_all(&[1; 4096]).is_ok() {
            written += 4096;
        }
        written
    }

    #[test]
    fn it_holds_what_it_was_made_for_and_can_grow_and_shrink_to_what_is_in_it() {
        where_mounts_are(|| {
            let room = Room::new(Some((64 << 10) + 4095)).unwrap();
            let (directory, _mount) = room.directory("one").unwrap();
            assert_eq!(room.used().unwrap(), 0);
            assert_eq!(fill(&directory, "a"), 64 << 10);
            assert_eq!(room.used().unwrap(), 64 << 10);

            let error = room.resize(Some(60 << 10)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            assert!(error.to_string().contains("65536 bytes"), "{error}");
            room.resize(Some(96 << 10)).unwrap();
            assert_eq!(fill(&directory, "b"), 32 << 10);
            room.resize(None).unwrap();
            directory.create_file("c", 0o600).unwrap().write_all(&vec![1; 1 << 20]).unwrap();
            directory.remove_file("c").unwrap();
            room.resize(Some(96 << 10)).unwrap();
            assert_eq!(fill(&directory, "d"), 0);
        });
    }

    #[test]
    fn what_is_laid_over_with_it_is_in_it_by_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        std::fs::create_dir(&lower).unwrap();
        std::fs::write(lower.join("file"), "below").unwrap();
        for (way, at) in ["newer", "older"].into_iter().zip(["a", "b"]) {
            let at = dir.path().join(at);
            std::fs::create_dir(&at).unwrap();
            where_mounts_are(|| {
                let room = Room::new(Some(64 << 10)).unwrap();
                let laid = if way == "newer" {
                    room.lay_over(&lower, "one", &at)
                } else {
                    let directory = room.within("one").unwrap();
                    directory.create_directory("upper", 0o755).unwrap();
                    directory.create_directory("work", 0o700).unwrap();
                    room.lay_over_at(&lower, "one", &at)
                };
                let (root, _mount) = laid.unwrap();
                let root = Directory::of(&root, &at).unwrap();
                let text = io::read_to_string(root.open_file("file").unwrap()).unwrap();
                assert_eq!(text, "below");
                assert!(0 < fill(&root, "new"));
                assert_eq!(room.used().unwrap(), 64 << 10);
                room.resize(Some(128 << 10)).unwrap();
                assert_eq!(fill(&root, "more"), 64 << 10);
                // Its place was for a moment.
                assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
            });
            assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "{way}: nothing is left of it");
            assert!(!lower.join("new").exists());
        }
    }
}
