//! Volumes: directories with names, which outlive the runs that write to them.
//!
//! A volume is there while anybody uses it: whoever does holds its lock together with others, and
//! who makes or removes it holds it alone. Its files are in a directory of their own in it, at the
//! place that docker's volumes have them.

use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use crate::content::Folder;
use crate::content::FolderError;
use crate::platform::files;
use crate::platform::tree::Directory;

use super::copy::Copying;
use super::locks::Locks;
use super::names::Way;
use super::remove::remove;
use super::roots::Root;
use super::walk::Missing;
use super::walk::follow;

/// The longest name of a volume, in bytes.
const NAME_MAX: usize = 128;

/// The directory of a volume in which its files are.
const FILES: &str = "_data";

/// What is in front of the name of a volume that is not whole: not yet, or no more. No volume has
/// such a name.
const PART: &str = ".part-";

/// A folder of volumes.
#[derive(Clone, Debug)]
pub(crate) struct Volumes {
    volumes: Folder,
    locks: Locks,
}

/// A volume that somebody uses. It stays while this lives.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Where its files are.
    pub(crate) path: PathBuf,
    /// Locked together with others.
    pub(crate) lock: File,
}

/// What keeps a volume from being made, used or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("cannot use the folder of volumes")]
    Folder(#[from] FolderError),
    #[error("there is no such volume")]
    Missing,
    #[error("a program that runs uses it; end that first")]
    Used,
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
}

/// The name of a volume, as docker has them: 2 to 128 letters, digits, `_`, `.` and `-`, of which the
/// first is a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot be a volume's name: {reason}; it begins with a letter or a digit, and has letters, \
     digits, `_`, `.` and `-`, from 2 to {NAME_MAX} of them",
    name.escape_debug()
)]
pub struct InvalidVolumeName {
    name: String,
    reason: &'static str,
}

impl FromStr for VolumeName {
    type Err = InvalidVolumeName;

    fn from_str(name: &str) -> Result<Self, InvalidVolumeName> {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let reason = if name.len() < 2 {
            "it is too short"
        } else if NAME_MAX < name.len() {
            "it is too long"
        } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "it begins with another character"
        } else if !name.chars().all(is_inner) {
            "it has another character"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidVolumeName { name: name.chars().take(NAME_MAX).collect(), reason })
    }
}

impl Volumes {
    /// Opens the folder, and makes one where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, VolumeError> {
        let volumes = Folder::open(path)?;
        let locks = Locks::new(Folder::open(&path.join(".locks"))?);
        Ok(Self { volumes, locks })
    }

    /// The volume with this name, which is made where there is none. One that is empty gets what is
    /// in the image at the place where it will be seen, as docker has it.
    pub(crate) fn get(
        &self,
        name: &VolumeName,
        from: Option<(&Root, &str)>,
    ) -> Result<Volume, VolumeError> {
        let (path, name) = (self.files_of(name), name.as_str());
        let mut tried = false;
        loop {
            let lock = self.locks.shared(name, &path).map_err(self.at("lock", name))?;
            if self.is_there(name) {
                let could_be_filled = from.is_some() && !tried && is_empty(&path);
                if !could_be_filled {
                    return Ok(Volume { path, lock });
                }
            }
            drop(lock);
            if self.is_there(name) {
                tried = true;
                // Whoever uses it at the moment uses it as it is.
                if let Some(_alone) = self.locks.try_alone(name).map_err(self.at("lock", name))?
                    && is_empty(&path)
                {
                    self.make(name, from)?;
                }
            } else {
                let _alone = self.locks.alone(name).map_err(self.at("lock", name))?;
                if !self.is_there(name) {
                    self.make(name, from)?;
                }
            }
        }
    }

    /// Whether a volume is there, and no link instead of it.
    fn is_there(&self, name: &str) -> bool {
        let path = self.volumes.path_of(name);
        is_directory(&path) && is_directory(&path.join(FILES))
    }

    /// The names of all volumes, and when they were made.
    pub(crate) fn list(&self) -> Vec<(VolumeName, Option<SystemTime>)> {
        let names = self.volumes.names().into_iter();
        let mut found: Vec<_> = names
            .filter_map(|name| {
                let path = self.volumes.path_of(&name);
                let made = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir)?.modified();
                Some((name.parse().ok()?, made.ok()))
            })
            .collect();
        found.sort();
        found
    }

    /// Where the files of a volume are.
    pub(crate) fn files_of(&self, name: &VolumeName) -> PathBuf {
        self.volumes.path_of(name.as_str()).join(FILES)
    }

    /// Removes a volume that nobody uses, with all that is in it.
    pub(crate) fn remove(&self, name: &VolumeName) -> Result<(), VolumeError> {
        let name = name.as_str();
        if !is_directory(&self.volumes.path_of(name)) {
            return Err(VolumeError::Missing);
        }
        let Some(_alone) = self.locks.try_alone(name).map_err(self.at("lock", name))? else {
            return Err(VolumeError::Used);
        };
        if !is_directory(&self.volumes.path_of(name)) {
            return Err(VolumeError::Missing);
        }
        let part = format!("{PART}{name}");
        let removed = self.directory()?;
        remove(&removed, &part)
            // Nobody finds it from here on, however far removing it comes.
            .and_then(|()| removed.rename(name, &removed, &part))
            .and_then(|()| files::sync_directory(self.volumes.path()))
            .and_then(|()| remove(&removed, &part))
            .and_then(|()| fs::remove_file(self.locks.path_of(name)))
            .map_err(self.at("remove", name))
    }

    /// Makes a volume, instead of one that is empty. Its lock is held alone.
    fn make(&self, name: &str, from: Option<(&Root, &str)>) -> Result<(), VolumeError> {
        let volumes = self.directory()?;
        let part = format!("{PART}{name}");
        let made = || -> io::Result<()> {
            // Whoever began it ended in the middle, or the lock would be held.
            remove(&volumes, &part)?;
            volumes.create_directory(&part, 0o700)?;
            let new = volumes.child(&part)?;
            new.create_directory(FILES, 0o755)?;
            if let Some((root, guest)) = from {
                copy_from(root, guest, &new.child(FILES)?)?;
            }
            new.sync_file_system()?;
            if let Ok(old) = volumes.child(name) {
                // Only what is empty can be removed like that.
                if old.status(FILES)?.is_some() {
                    old.remove_directory(FILES)?;
                }
                volumes.remove_directory(name)?;
            }
            volumes.rename(&part, &volumes, name)?;
            files::sync_directory(self.volumes.path())
        };
        let made = made();
        if made.is_err() {
            // What cannot be removed now is removed by whoever comes next.
            let _left_behind = remove(&volumes, &part);
        }
        made.map_err(self.at("make", name))
    }

    fn directory(&self) -> Result<Directory, VolumeError> {
        let path = self.volumes.path();
        Directory::open(path).map_err(|source| VolumeError::File {
            what: "open",
            path: path.to_owned(),
            source,
        })
    }

    fn at(&self, what: &'static str, name: &str) -> impl Fn(io::Error) -> VolumeError + use<> {
        let path = self.volumes.path_of(name);
        move |source| VolumeError::File { what, path: path.clone(), source }
    }
}

/// Copies what is at a path of an image, if there is a directory.
pub(super) fn copy_from(root: &Root, guest: &str, to: &Directory) -> io::Result<()> {
    let way = Way::parse(guest.as_bytes()).map_err(io::Error::other)?;
    let root = Directory::open(root.path())?;
    match follow(&root, way.names(), Missing::Tell) {
        Ok(Some(place)) => Copying::new(to)?.copy(&place.directory).map(|_| ()),
        // There is nothing to copy.
        _ => Ok(()),
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::Roots;
    use super::super::error::UnpackError;
    use super::*;
    use crate::digest::Digest;

    fn name(text: &str) -> VolumeName {
        text.parse().expect("a name")
    }

    struct Fixture {
        dir: tempfile::TempDir,
        root: Root,
        volumes: Volumes,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots::open(&dir.path().join("roots")).expect("a folder");
        let root = roots.get(&Digest::of(b"key"), |path| {
            let made = fs::create_dir_all(path.join("srv/d"))
                .and_then(|()| fs::write(path.join("srv/d/f"), "image"));
            made.map_err(|source| UnpackError::Folder { path: path.into(), source })
        });
        let volumes = Volumes::open(&dir.path().join("volumes")).expect("a folder");
        Fixture { root: root.expect("a root"), dir, volumes }
    }

    #[test]
    fn a_volume_is_made_once_and_keeps_what_is_written() {
        let Fixture { volumes, dir: _dir, .. } = fixture();
        let volume = volumes.get(&name("data"), None).expect("made");
        fs::write(volume.path.join("f"), "kept").expect("written");
        drop(volume);
        let again = volumes.get(&name("data"), None).expect("found");
        assert_eq!(fs::read_to_string(again.path.join("f")).expect("a file"), "kept");
        assert_eq!(
            volumes.list().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["data"]
        );
    }

    #[test]
    fn an_empty_volume_gets_what_the_image_has_there_and_one_with_files_does_not() {
        let Fixture { volumes, root, dir: _dir } = fixture();
        let copied = |volume: &Volume| fs::read_to_string(volume.path.join("d/f")).ok();
        let new = volumes.get(&name("new"), Some((&root, "/srv"))).expect("made");
        assert_eq!(copied(&new).as_deref(), Some("image"));

        drop(volumes.get(&name("empty"), None).expect("made"));
        let empty = volumes.get(&name("empty"), Some((&root, "/srv"))).expect("found");
        assert_eq!(copied(&empty).as_deref(), Some("image"));

        fs::write(volumes.get(&name("full"), None).expect("made").path.join("f"), "")
            .expect("written");
        let full = volumes.get(&name("full"), Some((&root, "/srv"))).expect("found");
        assert_eq!(copied(&full), None);

        let used = volumes.get(&name("used"), None).expect("made");
        let same = volumes.get(&name("used"), Some((&root, "/srv"))).expect("found");
        assert_eq!((copied(&used), copied(&same)), (None, None), "it is as its user found it");

        let nowhere = volumes.get(&name("nowhere"), Some((&root, "/none/here"))).expect("made");
        assert!(is_empty(&nowhere.path));
    }

    #[test]
    fn a_volume_is_removed_only_when_nobody_uses_it() {
        let Fixture { volumes, dir, .. } = fixture();
        let volume = volumes.get(&name("data"), None).expect("made");
        assert!(matches!(volumes.remove(&name("data")), Err(VolumeError::Used)));
        drop(volume);
        volumes.remove(&name("data")).expect("removed");
        assert!(matches!(volumes.remove(&name("data")), Err(VolumeError::Missing)));
        let left = fs::read_dir(dir.path().join("volumes")).expect("a folder").count();
        let locks = volumes.locks.names();
        assert_eq!((left, locks.len()), (1, 0), "nothing but the folder of locks is left");
    }

    #[test]
    fn what_a_process_left_in_the_middle_is_no_volume_and_in_nobodys_way() {
        let Fixture { volumes, dir, root } = fixture();
        fs::create_dir_all(dir.path().join("volumes/.part-data/_data/half")).expect("made");
        fs::create_dir_all(dir.path().join("volumes/data2")).expect("made");
        assert_eq!(volumes.list().len(), 1);
        let volume = volumes.get(&name("data"), Some((&root, "/srv"))).expect("made");
        assert!(!volume.path.join("half").exists());
        let other = volumes.get(&name("data2"), None).expect("made");
        assert!(other.path.is_dir());
    }

    #[test]
    fn names_that_are_none_are_refused_with_what_is_wrong() {
        let long = "x".repeat(129);
        for (name, expected) in [
            ("", "too short"),
            ("x", "too short"),
            (long.as_str(), "too long"),
            ("../x", "begins with"),
            (".part-x", "begins with"),
            ("-rf", "begins with"),
            ("a/b", "another character"),
            ("a\nb", "another character"),
            ("aé", "another character"),
        ] {
            let error = name.parse::<VolumeName>().expect_err(name).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(name("Data_1.x-y").to_string(), "Data_1.x-y");
    }
}
