//! Volumes: directories with names that outlive a run.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::capabilities::Access;
use crate::capabilities::Directory;
use crate::capabilities::check_guest_path;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::rootfs::VolumeError;
use crate::rootfs::VolumeName;
use crate::rootfs::Volumes;

use super::images::failed;
use super::root::ImageFiles;
use super::runtime::Runtime;

/// A volume, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// Where its files are on this host.
    pub path: PathBuf,
    /// When it was made, where the host knows.
    pub created: Option<SystemTime>,
}

fn at(doing: &'static str, name: &VolumeName) -> impl Fn(VolumeError) -> Error {
    move |error| {
        let kind = match &error {
            VolumeError::Missing => ErrorKind::NotFound,
            VolumeError::Used => ErrorKind::Denied,
            VolumeError::File { source, .. }
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                ) =>
            {
                ErrorKind::Exhausted
            }
            VolumeError::Folder(_) | VolumeError::File { .. } => ErrorKind::Unavailable,
        };
        failed(doing, name, kind, error)
    }
}

impl Runtime {
    fn open_volumes(&self) -> Result<Volumes, Error> {
        let path = self.data()?.join("volumes");
        Volumes::open(&path).map_err(|error| {
            failed("open the folder", path.display(), ErrorKind::Unavailable, error)
        })
    }

    /// A volume to be seen by a guest as `guest`, which is made where there is none. One that is empty
    /// begins with what the image has there, if `files` are given, as docker has it. It is not
    /// removed as long as the grant is there.
    ///
    /// # Errors
    ///
    /// Fails where `guest` is no path of a guest, and where the volume cannot be made or opened.
    pub fn volume(
        &self,
        name: &VolumeName,
        guest: &str,
        access: Access,
        files: Option<&ImageFiles>,
    ) -> Result<Directory, Error> {
        const DOING: &str = "grant the volume";
        let refused = |error| failed(DOING, name, ErrorKind::InvalidInput, error);
        // Nothing is made for a place where it cannot be seen.
        check_guest_path(guest).map_err(refused)?;
        let from = files.map(|files| (files.root(), guest));
        let volume = self.open_volumes()?.get(name, from).map_err(at(DOING, name))?;
        let directory = Directory::open(&volume.path, guest, access).map_err(refused)?;
        Ok(directory.locked(volume.lock))
    }

    /// Makes a volume, if there is none with this name.
    ///
    /// # Errors
    ///
    /// Fails where it cannot be written.
    pub fn create_volume(&self, name: &VolumeName) -> Result<(), Error> {
        self.open_volumes()?.get(name, None).map(drop).map_err(at("make the volume", name))
    }

    /// All volumes, by their names.
    ///
    /// # Errors
    ///
    /// Fails where the folder for them cannot be opened.
    pub fn volumes(&self) -> Result<Vec<Volume>, Error> {
        let volumes = self.open_volumes()?;
        let listed = volumes.list().into_iter();
        Ok(listed
            .map(|(name, created)| Volume { path: volumes.files_of(&name), name, created })
            .collect())
    }

    /// Removes a volume with all that is in it.
    ///
    /// # Errors
    ///
    /// Fails where there is none, and where a program that runs uses it; nothing is removed then.
    pub fn remove_volume(&self, name: &VolumeName) -> Result<(), Error> {
        self.open_volumes()?.remove(name).map_err(at("remove the volume", name))
    }
}
