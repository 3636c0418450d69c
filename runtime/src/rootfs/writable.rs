//! A view of a root that one run may write to, and that nobody else sees.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::content::Folder;
use crate::content::FolderError;
use crate::platform::Kind;
use crate::platform::files;
use crate::platform::mounts;
use crate::platform::overlay;
use crate::platform::room::Room;
use crate::platform::tree;
use crate::platform::tree::Directory;

use super::copy::Copying;
use super::names::Way;
use super::remove::remove;
use super::roots::Root;
use super::volumes::copy_from;
use super::walk::Lost;
use super::walk::Missing;
use super::walk::follow;

/// By what means a view is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// The kernel shows the root, and keeps what changes elsewhere.
    Overlay,
    /// A copy that shares what is in its files until they are written.
    Reflink,
    /// A copy.
    Copy,
}

impl Means {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Reflink => "reflink",
            Self::Copy => "copy",
        }
    }
}

/// A folder of views.
#[derive(Clone, Debug)]
pub(crate) struct Writables {
    folder: Folder,
}

/// A view of a root. It is removed with this value, or else, where its process is killed, by the
/// next one that looks.
#[derive(Debug)]
pub(crate) struct Writable {
    directory: Option<File>,
    /// An overlay as a mount, to be given a place.
    mount: Option<Arc<File>>,
    opened_as: PathBuf,
    means: Means,
    /// What an overlay shows; a copy needs it no more.
    _root: Option<Root>,
    place: Place,
}

/// Where a view's files are.
#[derive(Debug)]
struct Place {
    folder: Folder,
    /// Locked as long as somebody uses it.
    _lock: File,
    lock_path: PathBuf,
    name: String,
    /// Whether an overlay has its place there.
    is_settled: bool,
    is_removed: bool,
}

/// What keeps a view from being made, or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WritableError {
    #[error("cannot use the folder of writable files")]
    Folder(#[from] FolderError),
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("this host lays no writable files over those of the image")]
    Overlay { source: io::Error },
    #[error("cannot make `{}` a place to mount at: {reason}", path.escape_debug())]
    MountPoint { path: String, reason: String },
}

/// What is behind the name of a view's lock in the name of its directory.
const FILES: &str = ".files";

impl Writables {
    /// Opens the folder, and makes one where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, WritableError> {
        Ok(Self { folder: Folder::open(path)? })
    }

    /// A view by the best means that this host has; and why that is neither the overlay nor the
    /// copy of a few small files, if it is not.
    ///
    /// This process should have one thread: see [`Self::overlay`].
    pub(crate) fn best(
        &self,
        root: &Root,
    ) -> Result<(Writable, Option<WritableError>), WritableError> {
        if is_small(root) {
            return Ok((self.copy(root)?, None));
        }
        match self.overlay(root) {
            Ok(writable) => Ok((writable, None)),
            Err(why_not) => Ok((self.copy(root)?, Some(why_not))),
        }
    }

    /// A view by the kernel's overlay: made in a moment, however large the root is.
    ///
    /// Where this process may not mount, it enters a namespace in which it may, for which it must
    /// have one thread.
    pub(crate) fn overlay(&self, root: &Root) -> Result<Writable, WritableError> {
        if overlay::needs_namespace() {
            overlay::enter_namespace().map_err(|source| WritableError::Overlay { source })?;
        }
        let place = self.place()?;
        let opened_as = place.path();
        let directory = lay_over(root.path(), &opened_as);
        let directory = directory.map_err(|source| WritableError::Overlay { source })?;
        Ok(Writable::laid(directory, root, place))
    }

    /// The same where what changes is kept in room of a bounded size.
    pub(crate) fn bounded(&self, root: &Root, room: &Room) -> Result<Writable, WritableError> {
        let place = self.place()?;
        let laid = room.lay_over(root.path(), &place.name, &place.path());
        let laid = laid.map_err(|source| WritableError::Overlay { source })?;
        Ok(Writable::laid(laid, root, place))
    }

    /// A view by a copy, which shares what is in files where the file system can.
    pub(crate) fn copy(&self, root: &Root) -> Result<Writable, WritableError> {
        let place = self.place()?;
        let opened_as = place.path();
        let copied = Directory::open(root.path()).and_then(|from| {
            let to = Directory::open(&opened_as)?;
            let is_shared = Copying::new(&to)?.copy(&from)?;
            let means = if is_shared { Means::Reflink } else { Means::Copy };
            Ok((means, to.into_file()?))
        });
        let (means, directory) = copied.map_err(|source| WritableError::File {
            what: "copy the files of the image to",
            path: opened_as.clone(),
            source,
        })?;
        let directory = Some(directory);
        Ok(Writable { directory, mount: None, opened_as, means, _root: None, place })
    }

    /// A directory to be written to beside a root, with what the root has at this path; in the room
    /// that there is for it, if its size is bounded.
    pub(crate) fn beside(
        &self,
        root: &Root,
        guest: &str,
        room: Option<&Room>,
    ) -> Result<Writable, WritableError> {
        let place = self.place()?;
        let opened_as = place.path();
        let to = match room {
            Some(room) => room.directory(&place.name),
            None => Directory::open(&opened_as).map(|to| (to, None)),
        };
        let copied = to.and_then(|(to, mount)| {
            copy_from(root, guest, &to)?;
            Ok((to.into_file()?, mount))
        });
        let (directory, mount) = copied.map_err(|source| WritableError::File {
            what: "copy files of the image to",
            path: opened_as.clone(),
            source,
        })?;
        let (directory, mount) = (Some(directory), mount.map(Arc::new));
        Ok(Writable { directory, mount, opened_as, means: Means::Copy, _root: None, place })
    }

    /// What means this host has, the best first, and why not, found out by trying. Where an overlay
    /// needs a namespace, only entering one is tried: this process must not be in it.
    pub(crate) fn means(&self) -> Result<Vec<(Means, io::Result<()>)>, WritableError> {
        let place = self.place()?;
        let opened_as = place.path();
        let overlay = || {
            if overlay::needs_namespace() {
                return overlay::try_namespace();
            }
            lay_over(&opened_as, &opened_as).map(drop)
        };
        let reflink = || {
            let directory = Directory::open(&opened_as)?;
            let to = directory.create_file("to", 0o600)?;
            directory.create_file("from", 0o600)?;
            tree::share_content(&directory.open_file("from")?, &to)
        };
        Ok(vec![(Means::Overlay, overlay()), (Means::Reflink, reflink()), (Means::Copy, Ok(()))])
    }

    /// Tries whether a view can be bounded here, as [`Self::means`] tries.
    pub(crate) fn try_bounded(&self) -> Result<(), WritableError> {
        let place = self.place()?;
        let tried = if overlay::needs_namespace() {
            overlay::try_namespace()
        } else {
            /// A few pages.
            const SIZE: u64 = 64 << 10;
            let laid = |room: Room| room.lay_over(&place.path(), &place.name, &place.path());
            Room::new(Some(SIZE)).and_then(laid).map(drop)
        };
        tried.map_err(|source| WritableError::Overlay { source })
    }

    /// How many views those left who were killed.
    pub(crate) fn abandoned(&self) -> u64 {
        let names = self.folder.drafts().into_iter();
        let views = names.filter_map(|path| Some(path.to_str()?.strip_suffix(FILES)?.to_owned()));
        let is_free = |lock: &String| match files::open_own(Path::new(lock)) {
            Ok(lock) => files::try_lock(&lock).unwrap_or(false),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        views.filter(is_free).count() as u64
    }

    /// Removes the views of those who were killed. Returns how many that were.
    pub(crate) fn sweep(&self) -> Result<u64, WritableError> {
        let mut removed = 0;
        let path = self.folder.path();
        let failed = |source| WritableError::File { what: "clear", path: path.to_owned(), source };
        let directory = Directory::open(path).map_err(failed)?;
        let entries = directory.entries().map_err(failed)?;
        if entries.is_empty() {
            return Ok(removed);
        }
        for (name, _) in entries {
            let name = name.to_string_lossy();
            let Some(lock_name) = name.strip_suffix(FILES) else { continue };
            let lock_path = self.folder.path_of(lock_name);
            let lock = match files::open_own(&lock_path) {
                Ok(lock) => Some(lock),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed(error)),
            };
            let is_free = lock.as_ref().map_or(Ok(true), files::try_lock).map_err(failed)?;
            if is_free {
                remove(&directory, &*name).map_err(failed)?;
                removed += 1;
            }
        }
        self.folder.remove_abandoned();
        Ok(removed)
    }

    fn place(&self) -> Result<Place, WritableError> {
        let (lock, lock_path) = self.folder.draft()?;
        let name = lock_path.file_name().expect("it is in the folder").to_string_lossy();
        let name = format!("{name}{FILES}");
        let folder = self.folder.clone();
        let place =
            Place { folder, _lock: lock, lock_path, name, is_settled: false, is_removed: false };
        let failed = |source| WritableError::File { what: "create", path: place.path(), source };
        Directory::open(self.folder.path())
            .and_then(|folder| folder.create_directory(&place.name, 0o755))
            .map_err(failed)?;
        Ok(place)
    }
}

/// What a root has at the most that is copied though it could be laid over: files and directories,
/// and bytes in them.
///
/// Making and ending an overlay takes the kernel half a millisecond, whatever is below it. Copying
/// the one file of a program takes a fifth of that.
const SMALL: (u64, u64) = (16, 256 << 10);

/// Whether a root is copied sooner than it is laid over.
fn is_small(root: &Root) -> bool {
    let mut left = SMALL;
    Directory::open(root.path()).is_ok_and(|root| takes(&root, &mut left).is_ok())
}

/// Takes what is in a directory from what is left; an error where that is not enough.
fn takes(directory: &Directory, left: &mut (u64, u64)) -> io::Result<()> {
    let less = |left: u64, count| left.checked_sub(count).ok_or(io::ErrorKind::FileTooLarge);
    for (name, kind) in directory.entries()? {
        left.0 = less(left.0, 1)?;
        match kind {
            Kind::Directory => takes(&directory.child(&name)?, left)?,
            Kind::File => {
                let size = directory.status(&name)?.map_or(0, |status| status.size);
                left.1 = less(left.1, size)?;
            }
            Kind::Link | Kind::Other => {}
        }
    }
    Ok(())
}

/// Lays what is written in a directory of ours over one that stays as it is.
fn lay_over(lower: &Path, within: &Path) -> io::Result<(File, File)> {
    let directory = Directory::open(within)?;
    directory.create_directory("upper", 0o755)?;
    directory.create_directory("work", 0o700)?;
    overlay::overlay(lower, &within.join("upper"), &within.join("work"))
}

impl Writable {
    /// A view by an overlay: what it shows, and it as a mount.
    fn laid((directory, mount): (File, File), root: &Root, mut place: Place) -> Self {
        let opened_as = place.path();
        // Where it cannot be, it can be mounted for one guest: who tries it for a second is told.
        place.is_settled = mounts::settle(&mount, &opened_as).unwrap_or(false);
        let (directory, mount) = (Some(directory), Some(Arc::new(mount)));
        let root = Some(root.clone());
        Self { directory, mount, opened_as, means: Means::Overlay, _root: root, place }
    }

    /// The root of the view. Nothing else leads to that of an overlay.
    pub(crate) fn directory(&self) -> &File {
        self.directory.as_ref().expect("it is there until it is removed")
    }

    /// It as a mount that can be given a place, where it is one of its own.
    pub(crate) fn mount(&self) -> Option<&Arc<File>> {
        self.mount.as_ref()
    }

    /// The path that the root was opened as; of an overlay, where its changes are kept.
    pub(crate) fn opened_as(&self) -> &Path {
        &self.opened_as
    }

    /// How it was made.
    pub(crate) fn means(&self) -> Means {
        self.means
    }

    /// Creates the directories that something is to be mounted at, by the paths that the guest has
    /// for them, so that it finds them where it lists what is above. Links on the way are followed
    /// as the guest would, and never out of the root.
    pub(crate) fn ensure_mount_points<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), WritableError> {
        let mount_point =
            |path: &str, reason| Err(WritableError::MountPoint { path: path.to_owned(), reason });
        let failed =
            |source| WritableError::File { what: "open", path: self.opened_as.clone(), source };
        let root = Directory::of(self.directory(), &self.opened_as).map_err(failed)?;
        // As old as what it is in: two views of one image are the same.
        let stamp = root.own_status().map_err(failed)?.modified;
        for path in paths {
            let way = match Way::parse(path.as_bytes()) {
                Ok(way) => way,
                Err(reason) => return mount_point(path, reason.to_owned()),
            };
            match follow(&root, way.names(), Missing::Create(stamp)) {
                Ok(_) => {}
                Err(Lost::Failed(source)) => {
                    return Err(WritableError::File { what: "create", path: path.into(), source });
                }
                Err(lost) => return mount_point(path, lost.to_string()),
            }
        }
        Ok(())
    }

    /// Creates the files that single files are to be mounted over, in the same way; what is there
    /// stays as it is.
    pub(crate) fn ensure_files<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), WritableError> {
        for path in paths {
            let failed = |source| WritableError::File { what: "create", path: path.into(), source };
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            // The root is there.
            self.ensure_mount_points(Some(above).filter(|above| !above.is_empty()))?;
            let root = Directory::of(self.directory(), &self.opened_as).map_err(failed)?;
            let way: Vec<&str> = above.split('/').filter(|name| !name.is_empty()).collect();
            let place = follow(&root, &way, Missing::Tell).map_err(io::Error::other);
            let Some(place) = place.map_err(failed)? else { continue };
            match place.directory.status(name).map_err(failed)?.map(|status| status.kind) {
                // Where a link leads is found out when something is mounted there.
                Some(Kind::File | Kind::Link) => {}
                Some(Kind::Directory | Kind::Other) => {
                    let reason = "what the image has there is not a file".to_owned();
                    return Err(WritableError::MountPoint { path: path.to_owned(), reason });
                }
                None => {
                    let before = place.directory.own_status().map_err(failed)?.modified;
                    let created = place.directory.create_file(name, 0o644).map_err(failed)?;
                    tree::set_modified(&created, before).map_err(failed)?;
                    place.directory.set_own_modified(before).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Removes it, and says so where that fails.
    pub(crate) fn remove(mut self) -> Result<(), WritableError> {
        // An overlay ends with its last handle.
        self.directory = None;
        self.mount = None;
        self.place.remove()
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.folder.path_of(&self.name)
    }

    fn remove(&mut self) -> Result<(), WritableError> {
        if std::mem::take(&mut self.is_settled) {
            mounts::leave(&self.path()).map_err(|source| WritableError::File {
                what: "unmount",
                path: self.path(),
                source,
            })?;
        }
        Directory::open(self.folder.path())
            .and_then(|folder| remove(&folder, &self.name))
            .and_then(|()| std::fs::remove_file(&self.lock_path))
            .map_err(|source| WritableError::File { what: "remove", path: self.path(), source })?;
        self.is_removed = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_removed {
            // What cannot be removed now is swept by the next one that looks.
            let _left = self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Roots;
    use super::super::tests::tree as listed;
    use super::*;
    use crate::digest::Digest;

    struct Fixture {
        dir: tempfile::TempDir,
        root: Root,
        writables: Writables,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        // What a path may have in it and an overlay's options may not.
        let odd = dir.path().join(if cfg!(windows) { "odd" } else { r"o:d,d\ 1" });
        let roots = Roots::open(&odd).expect("a folder");
        let root = roots.get(&Digest::of(b"key"), |path| {
            let made = Directory::open(path).and_then(|root| {
                root.create_directory("d", 0o777)?;
                let d = root.child("d")?;
                fs::write(path.join("d/f"), "below")?;
                d.link_to("f", &root, "g")?;
                root.create_link("l", "d/f".as_ref())
            });
            made.map_err(|source| crate::rootfs::error::UnpackError::Folder {
                path: path.into(),
                source,
            })
        });
        let root = root.expect("a root");
        let writables = Writables::open(&odd.join("views")).expect("a folder");
        Fixture { dir, root, writables }
    }

    impl Fixture {
        fn entries(&self) -> usize {
            fs::read_dir(self.writables.folder.path()).expect("a folder").count()
        }

        fn below_is_unchanged(&self) {
            let expected = [("d", "/"), ("d/f", "below"), ("g", "below"), ("l", "-> d/f")];
            let expected = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            assert_eq!(listed(self.root.path()), expected.collect());
        }
    }

    fn write(view: &Writable, name: &str, text: &str) {
        let root = Directory::of(view.directory(), view.opened_as()).expect("the root");
        root.remove_file(name).unwrap_or_default();
        let mut file = root.create_file(name, 0o644).expect("created");
        io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    }

    fn read(view: &Writable, name: &str) -> String {
        let root = Directory::of(view.directory(), view.opened_as()).expect("the root");
        io::read_to_string(root.open_file(name).expect("a file")).expect("a text")
    }

    #[test]
    fn what_is_written_to_a_copy_is_seen_by_nobody_else() {
        let fixture = fixture();
        let one = fixture.writables.copy(&fixture.root).expect("a copy");
        let other = fixture.writables.copy(&fixture.root).expect("a copy");
        assert_eq!(listed(one.opened_as()), listed(fixture.root.path()));

        write(&one, "new", "one");
        fs::write(one.opened_as().join("d/f"), "changed").expect("written");

        assert_eq!(listed(other.opened_as()), listed(fixture.root.path()));
        fixture.below_is_unchanged();
        if cfg!(all(unix, not(aril_portable))) {
            assert_eq!(read(&one, "g"), "changed", "it is one file with two names");
        }
        one.remove().expect("removed");
        drop(other);
        assert_eq!(fixture.entries(), 0);
    }

    #[test]
    fn what_is_written_over_a_root_is_seen_by_nobody_else() {
        let fixture = fixture();
        let means = fixture.writables.means().expect("tried");
        let overlays = means.iter().any(|(means, tried)| *means == Means::Overlay && tried.is_ok());
        // An ordinary user's process has to have one thread, and a test's has more.
        if !overlays || overlay::needs_namespace() {
            let error = fixture.writables.overlay(&fixture.root).expect_err("none here");
            assert!(matches!(error, WritableError::Overlay { .. }));
            assert_eq!(fixture.entries(), 0);
            return;
        }
        let one = fixture.writables.overlay(&fixture.root).expect("an overlay");
        let other = fixture.writables.overlay(&fixture.root).expect("an overlay");

        write(&one, "g", "one");
        one.ensure_mount_points(["/d/data", "/new/deep"]).expect("made");

        assert_eq!((read(&one, "g"), read(&other, "g")), ("one".to_owned(), "below".to_owned()));
        fixture.below_is_unchanged();
        one.remove().expect("removed");
        other.remove().expect("removed");
        assert_eq!(fixture.entries(), 0);
    }

    #[test]
    fn a_few_small_files_are_copied_and_what_is_more_or_larger_is_not() {
        let fixture = fixture();
        let (view, why_not) = fixture.writables.best(&fixture.root).expect("a view");
        assert!(why_not.is_none());
        assert_ne!(view.means(), Means::Overlay);
        assert!(is_small(&fixture.root));

        let path = fixture.root.path();
        fs::write(path.join("large"), vec![0; 257 << 10]).expect("written");
        assert!(!is_small(&fixture.root), "one is larger");
        fs::remove_file(path.join("large")).expect("removed");
        assert!(is_small(&fixture.root));
        for i in 0..16 {
            fs::write(path.join(format!("d/{i}")), "").expect("written");
        }
        assert!(!is_small(&fixture.root), "there are more, in a directory");
    }

    #[test]
    fn the_view_of_a_process_that_was_killed_is_swept_and_no_other() {
        let fixture = fixture();
        let alive = fixture.writables.copy(&fixture.root).expect("a copy");
        let left = fixture.writables.folder.path().join(format!(".draft-0-0{FILES}"));
        fs::create_dir_all(left.join("d")).expect("a directory");
        fs::write(left.with_extension(""), "").expect("a lock");
        assert_eq!(fixture.writables.sweep().expect("swept"), 1);
        assert_eq!(fixture.entries(), 2);
        assert_eq!(read(&alive, "g"), "below");
        let _all_of_it_goes = fixture.dir.close();
    }

    #[test]
    fn mount_points_are_made_within_the_root_or_refused() {
        let fixture = fixture();
        let view = fixture.writables.copy(&fixture.root).expect("a copy");
        let root = Directory::of(view.directory(), view.opened_as()).expect("the root");
        root.create_link("up", "../../../../../tmp/out".as_ref()).expect("a link");
        view.ensure_mount_points(["/data", "a/b/", "d", "/", "up/x"]).expect("made");
        let tree = listed(view.opened_as());
        for path in ["data", "a/b", "d", "tmp/out/x"] {
            assert_eq!(tree.get(path).map(String::as_str), Some("/"), "{path}");
        }
        for (path, reason) in [("g", "not a directory"), ("../x", "upwards"), ("", "no name")] {
            let error = view.ensure_mount_points([path]).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
