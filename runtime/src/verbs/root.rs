//! The files of an image, as a guest sees them.

use std::fs::File;
use std::io::ErrorKind as ErrorOfSystem;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::capabilities::Access;
use crate::capabilities::Directory;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Body;
use crate::image::Image;
use crate::image::Layer;
use crate::limits::LimitError;
use crate::limits::Limits;
use crate::platform::files;
use crate::platform::room::Room;
use crate::rootfs::Root;
use crate::rootfs::Roots;
use crate::rootfs::RootsError;
use crate::rootfs::Writable;
use crate::rootfs::WritableError;
use crate::rootfs::Writables;
use crate::rootfs::unpack;
use crate::sandbox::LaunchError;
use crate::units::Bytes;

use super::images::Failure;
use super::images::failed;
use super::images::kind_of;
use super::runtime::Runtime;

/// The files of an image for one run: a guest's `/`.
///
/// What is written there is seen by that run alone, and gone with it: call
/// [`remove`](Self::remove) at its end. What a process leaves that ended without is removed when
/// the next one makes such files.
#[derive(Debug)]
pub struct ImageFiles {
    directory: Directory,
    /// What is to be removed at the end: the first is the one that `directory` shows, if any is.
    writable: Option<Writable>,
    beside: Vec<Writable>,
    writables: PathBuf,
    /// What bounds all that is written, if anything does.
    room: Option<Arc<Room>>,
    /// Nobody removes the image's files meanwhile.
    root: Root,
}

impl ImageFiles {
    /// The grant, as `/`.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// By what means it can be written to: `overlay`, `reflink` or `copy`, the best that this host
    /// has; nothing where it may only be read.
    pub fn means(&self) -> Option<&'static str> {
        let writable = self.writable.as_ref();
        let writable = writable.filter(|_| self.directory.access() == Access::ReadWrite);
        writable.map(|writable| writable.means().word())
    }

    /// Makes the places in it at which other directories are seen, so that a guest finds them where
    /// it lists what is above.
    ///
    /// # Errors
    ///
    /// Fails where a place cannot be one: where there is a file, or the image's links lead nowhere;
    /// and where what is missing cannot be written.
    pub fn make_places<'a>(
        &mut self,
        places: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let places = places.into_iter();
        let places = self.missing(places, Root::has_directory);
        self.make(&places, |writable| writable.ensure_mount_points(places.iter().copied()))
    }

    /// Makes the files in it that single files are mounted over, where the image has none.
    ///
    /// # Errors
    ///
    /// As [`make_places`](Self::make_places).
    pub fn make_file_places<'a>(
        &mut self,
        places: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let places = self.missing(places.into_iter(), Root::has_file);
        self.make(&places, |writable| writable.ensure_files(places.iter().copied()))
    }

    /// The places that are still to be made. The image's own files are others' as well, and stay as
    /// they are.
    fn missing<'a>(
        &self,
        places: impl Iterator<Item = &'a str>,
        is_there: impl Fn(&Root, &str) -> bool,
    ) -> Vec<&'a str> {
        places.filter(|place| self.writable.is_some() || !is_there(&self.root, place)).collect()
    }

    /// Makes places where something can be written over the image's files.
    fn make(
        &mut self,
        places: &[&str],
        make: impl Fn(&Writable) -> Result<(), WritableError>,
    ) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        let failed = |error| at_writable(error, "make places in", "the image's files");
        if self.writable.is_none() {
            let room = self.room.as_ref();
            let writable = write_over(&self.root, &self.writables, room).map_err(failed)?;
            self.directory = grant(&writable, "/", self.directory.access(), room)?;
            self.writable = Some(writable);
        }
        self.writable.iter().try_for_each(make).map_err(failed)
    }

    /// A directory for this run alone to be seen at `guest`, which may be written to also where the
    /// image's files may only be read: what docker makes for a volume that an image names. It
    /// begins with what the image has there.
    ///
    /// # Errors
    ///
    /// Fails where there is no room for it, or `guest` is no path of a guest.
    pub fn volume(&mut self, guest: &str) -> Result<Directory, Error> {
        let failed = |error| at_writable(error, "make a volume at", guest);
        let writables = Writables::open(&self.writables).map_err(failed)?;
        let writable = writables.beside(&self.root, guest, self.room.as_deref()).map_err(failed)?;
        let directory = grant(&writable, guest, Access::ReadWrite, self.room.as_ref())?;
        self.beside.push(writable);
        Ok(directory)
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Removes what was written.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        drop(self.directory);
        // All are removed, whatever one fails at.
        let all = self.writable.into_iter().chain(self.beside);
        let failures: Vec<_> = all.filter_map(|writable| writable.remove().err()).collect();
        let first = failures.into_iter().next();
        first.map_or(Ok(()), |error| Err(at_writable(error, "remove", "what was written")))
    }
}

/// What may be written over an image's files, in the room that there is for it, if that is bounded.
fn write_over(
    root: &Root,
    writables: &Path,
    room: Option<&Arc<Room>>,
) -> Result<Writable, WritableError> {
    let writables = Writables::open(writables)?;
    // What others left is a matter of room, and no reason not to run.
    let _kept = writables.sweep();
    if let Some(room) = room {
        return writables.bounded(root, room);
    }
    let (writable, _why_no_overlay) = writables.best(root)?;
    Ok(writable)
}

fn grant(
    writable: &Writable,
    guest: &str,
    access: Access,
    room: Option<&Arc<Room>>,
) -> Result<Directory, Error> {
    let handle = writable.directory().try_clone();
    let handle =
        handle.map_err(|error| failed("open", "files of an image", ErrorKind::Exhausted, error))?;
    Directory::held(handle, writable.opened_as(), guest, access)
        .map(|directory| directory.mounted(writable.mount().cloned()).private(room.cloned()))
        .map_err(|error| failed("grant", guest, ErrorKind::InvalidInput, error))
}

fn at_writable(error: WritableError, doing: &'static str, what: &str) -> Error {
    let kind = match &error {
        WritableError::MountPoint { .. } => ErrorKind::InvalidInput,
        _ => ErrorKind::Unavailable,
    };
    failed(doing, what, kind, error)
}

/// What is refused as it would be at launch.
fn unlimited(image: &Image, source: LaunchError) -> Error {
    Error::Launch { what: image.to_string(), source }
}

/// A limit that was asked for, and that nothing holds here.
fn no_room(image: &Image, error: &std::io::Error) -> Error {
    let missing = format!(
        "it takes an overlay over the image's files with its changes in memory, and there is none: \
         {error}; run `aril` as root, where users may have namespaces of their own, or while this \
         process has one thread; or leave the limit out"
    );
    unlimited(image, LimitError::NoRung { name: "disk", missing }.into())
}

impl Runtime {
    /// The files of an image, for one run to read, or to read and write. A wasm artifact has none.
    ///
    /// They are unpacked when they are asked for first. To write to them, this process may enter
    /// namespaces of its own, for which it must have one thread; where it has more, or the system
    /// lacks the means, the files are copied.
    ///
    /// # Errors
    ///
    /// Fails where the image's layers are broken or hostile, and where there is no room for them.
    pub fn image_files(&self, image: &Image, access: Access) -> Result<Option<ImageFiles>, Error> {
        self.image_files_within(image, access, &Limits::default())
    }

    /// The same for a guest with these limits, of which [`disk`](Limits::disk) bounds what it writes:
    /// the files that are its own are laid over those of the image, in memory. To be launched with the
    /// same limits.
    ///
    /// # Errors
    ///
    /// As [`image_files`](Self::image_files); and where such a limit was asked for, and this host or
    /// this process cannot hold it.
    pub fn image_files_within(
        &self,
        image: &Image,
        access: Access,
        limits: &Limits,
    ) -> Result<Option<ImageFiles>, Error> {
        let Body::Files(layers) = &image.body else { return Ok(None) };
        // What is no limit is refused before anything is unpacked.
        limits.amounts(false).map_err(|error| unlimited(image, error.into()))?;
        let root = self.unpacked(image, layers)?;
        let writables = self.data()?.join("writable");
        let writes = access == Access::ReadWrite || !image.execution.volumes.is_empty();
        let room = if writes && limits.disk.is_asked() {
            let size = limits.disk.or(None).map(Bytes::get);
            Some(Arc::new(Room::new(size).map_err(|error| no_room(image, &error))?))
        } else {
            None
        };
        let (directory, writable) = match access {
            Access::ReadOnly => {
                let at = |error| failed("open the files of", image, ErrorKind::Unavailable, error);
                let handle = files::open_directory(root.path()).map_err(at)?;
                let directory = Directory::held(handle, root.path(), "/", access);
                (directory.map_err(|e| failed("grant", image, ErrorKind::InvalidInput, e))?, None)
            }
            Access::ReadWrite => {
                let room = room.as_ref();
                let writable =
                    write_over(&root, &writables, room).map_err(|error| match error {
                        WritableError::Overlay { source } if room.is_some() => {
                            no_room(image, &source)
                        }
                        error => {
                            let doing = "make room to write over the files of";
                            at_writable(error, doing, &image.to_string())
                        }
                    })?;
                (grant(&writable, "/", access, room)?, Some(writable))
            }
        };
        Ok(Some(ImageFiles { directory, writable, beside: Vec::new(), writables, room, root }))
    }

    /// The layers of an image, unpacked.
    pub(super) fn unpacked(&self, image: &Image, layers: &[Layer]) -> Result<Root, Error> {
        let key = root_key(layers);
        let last = || self.inner.root.lock().unwrap_or_else(PoisonError::into_inner);
        let held = last().as_ref().filter(|(held, _)| *held == key).map(|(_, root)| root.clone());
        if let Some(root) = held.and_then(|root| root.upgrade()) {
            return Ok(root);
        }
        let root = self.unpack_once(image, layers, &key)?;
        *last() = Some((key, root.downgrade()));
        Ok(root)
    }

    fn unpack_once(&self, image: &Image, layers: &[Layer], key: &Digest) -> Result<Root, Error> {
        let store = self.store()?;
        let roots = Roots::open(&self.data()?.join("roots"))
            .map_err(|error| failed("unpack the image", image, ErrorKind::Unavailable, error))?;
        let open = |layer: &Layer| store.blob(&layer.blob.digest).map_err(std::io::Error::other);
        let unpacked = roots.get(key, |into| unpack(layers, open, into).map(|_| ()));
        unpacked.map_err(|error| {
            let kind = match &error {
                RootsError::Unpack { source, .. } => match source.of_the_disk() {
                    // It is the image's fault.
                    None => ErrorKind::NotRunnable,
                    Some(error) if error.kind() == ErrorOfSystem::ReadOnlyFilesystem => {
                        ErrorKind::Unavailable
                    }
                    Some(_) => ErrorKind::Exhausted,
                },
                _ => ErrorKind::Unavailable,
            };
            failed("unpack the image", image, kind, error)
        })
    }

    /// Removes the unpacked files of images that the store no longer has.
    pub(super) fn prune_roots(&self) -> Result<(), Error> {
        let data = self.data()?;
        let path = data.join("roots");
        if !path.exists() {
            return Ok(());
        }
        let at = |error: RootsError| failed("prune", path.display(), ErrorKind::Unavailable, error);
        let kept = self.root_keys()?;
        Roots::open(&path)
            .and_then(|roots| roots.remove_unused(|key| kept.contains(key)))
            .map_err(at)?;
        Ok(())
    }

    /// What the unpacked files of all images of the store are known by.
    pub(super) fn root_keys(&self) -> Result<Vec<Digest>, Error> {
        let listed = self.images()?;
        let keys = listed.iter().filter_map(|listed| match &listed.image.as_ref().ok()?.body {
            Body::Files(layers) => Some(root_key(layers)),
            Body::Wasm(_) => None,
        });
        Ok(keys.collect())
    }

    /// The program of an image, held open, and the files that it is among.
    pub(super) fn program_of(&self, image: &Image) -> Result<(File, Option<Root>), Error> {
        let at = |(kind, source): Failure| failed("run the image", image, kind, source);
        match &image.body {
            Body::Wasm(program) => {
                let blob = self.store()?.blob(&program.digest);
                blob.map(|blob| (blob, None)).map_err(|e| at((kind_of(&e), e.into())))
            }
            Body::Files(layers) => {
                let root = self.unpacked(image, layers)?;
                let program = find_program(image, &root).map_err(at)?;
                Ok((program, Some(root)))
            }
        }
    }
}

/// What the unpacked layers are known by.
fn root_key(layers: &[Layer]) -> Digest {
    let digests = layers.iter().map(|layer| layer.blob.digest.to_string());
    Digest::of(digests.collect::<Vec<_>>().join("\n").as_bytes())
}

/// The image's program in its files: an absolute path, one from the working directory, or a bare name
/// that is looked for there, at the root, and where `PATH` says.
fn find_program(image: &Image, root: &Root) -> Result<File, Failure> {
    let execution = &image.execution;
    let Some(name) = execution.program() else {
        let reason = "it names no program: give it an entrypoint, or use `--entrypoint`";
        return Err((ErrorKind::NotRunnable, reason.into()));
    };
    let directory = match execution.working_dir.as_str() {
        "" => "/",
        directory => directory,
    };
    let path = execution.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let places = match name {
        _ if name.starts_with('/') => vec![name.to_owned()],
        _ if name.contains('/') => vec![format!("{directory}/{name}")],
        _ => [directory, "/"]
            .into_iter()
            .chain(path.unwrap_or_default().split(':'))
            .map(|place| format!("{place}/{name}"))
            .collect(),
    };
    let handle = files::open_directory(root.path())
        .map_err(|error| -> Failure { (ErrorKind::Unavailable, error.into()) })?;
    let found = places
        .iter()
        .find_map(|place| files::open_in_root(&handle, root.path(), place).ok())
        .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()));
    let Some(mut file) = found else {
        let reason = format!("its program `{}` is not among its files", name.escape_debug());
        return Err((ErrorKind::NotRunnable, reason.into()));
    };
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF" {
        let reason = format!(
            "its program `{}` is machine code for {}; Aril runs wasm",
            name.escape_debug(),
            image.platform
        );
        return Err((ErrorKind::NotRunnable, reason.into()));
    }
    // It is read again from its start.
    std::io::Seek::rewind(&mut file)
        .map_err(|error| -> Failure { (ErrorKind::Unavailable, error.into()) })?;
    Ok(file)
}
