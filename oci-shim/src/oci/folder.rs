//! The folder of a container: what is known of it by all who come after.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::platform::folders;

use super::failure::Failure;
use super::state::Known;
use super::words::Words;

/// What is known of the container, and what that is called while it is written.
const STATE: &str = "state.json";
const WRITTEN: &str = "state.json.new";

/// Where its keeper listens.
const SOCKET: &str = "keeper";

/// The largest state, in bytes: what its configuration's annotations take.
const STATE_SIZE_MAX: u64 = 16 << 20;

/// The longest id, in bytes: it is the name of a folder.
const ID_SIZE_MAX: usize = 255;

/// The folder of a container.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) id: String,
    path: PathBuf,
}

impl Folder {
    /// That of the container of this id, which may not be there.
    pub(super) fn of(words: &Words, id: &str) -> Result<Self, Failure> {
        check(id)?;
        let root = std::path::absolute(&words.root);
        let root = root.map_err(|error| Failure::of("cannot find the folder of states", &error))?;
        Ok(Self { id: id.to_owned(), path: root.join(id) })
    }

    /// Makes it.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let path = self.path.display();
        if let Some(root) = self.path.parent() {
            folders::make_above(root).map_err(|error| {
                Failure::of(format!("cannot make `{}`", root.display()), &error)
            })?;
        }
        folders::make(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                Failure::new(format!("container with id `{}` exists already", self.id))
            } else {
                Failure::of(format!("cannot make `{path}`"), &error)
            }
        })
    }

    /// Takes what is known of the container away, and says whether it was this process that did: of
    /// many that remove it at once, one clears behind it.
    pub(super) fn forget(&self) -> Result<bool, Failure> {
        match fs::remove_file(self.path.join(STATE)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(Failure::of(format!("cannot remove the state of `{}`", self.id), &error))
            }
        }
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::of(format!("cannot remove `{}`", self.path.display()), &error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.path.is_dir()
    }

    /// Where its keeper listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// What is known of the container.
    pub(super) fn known(&self) -> Result<Known, Failure> {
        let file = match File::open(self.path.join(STATE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.missing()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(STATE_SIZE_MAX).read_to_end(&mut bytes);
        read.map_err(|error| self.unreadable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error))
    }

    /// That there is no such container.
    pub(super) fn missing(&self) -> Failure {
        Failure::new(format!("container `{}` does not exist", self.id))
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> Failure {
        let text = format!("cannot read the state of `{}` (`delete --force` clears it)", self.id);
        Failure::of(text, error)
    }

    /// Writes what is known of it, whole or not at all.
    pub(super) fn note(&self, known: &Known) -> io::Result<()> {
        let written = self.path.join(WRITTEN);
        fs::write(&written, serde_json::to_vec(known)?)?;
        fs::rename(&written, self.path.join(STATE))
    }
}

/// The ids of all containers in a folder of states, in their order.
pub(super) fn ids(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(id) = entry.file_name().into_string()
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && check(&id).is_ok()
        {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(ids)
}

/// Refuses what cannot be the id of a container: it is the name of a folder, and what `runc` takes.
fn check(id: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    let fits = !matches!(id, "" | "." | "..") && id.len() <= ID_SIZE_MAX;
    if fits && id.chars().all(is_plain) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{}` is no id of a container: letters, digits, `_`, `+`, `-` and `.` may be in it",
        id.escape_debug()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_name_of_one_folder() {
        for id in ["web", "a_b-c.d+e", "0123"] {
            assert!(check(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a\0b", "ä", "a b", &"x".repeat(256)] {
            assert!(check(id).is_err(), "{id:?}");
        }
    }
}
