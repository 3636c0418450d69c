//! The folder of the roster: a directory for each sandbox, a link for each name, and a lock that
//! says whether a sandbox has a keeper.
//!
//! ```text
//! ids/ID/entry        what is known of it
//! ids/ID/keeper       locked by its keeper, for as long as that lives
//! ids/ID/control      where its keeper listens
//! ids/ID/log, log.1   what it wrote
//! names/NAME          leads to its id (see `links.rs`)
//! ```
//!
//! A directory is made and removed under a name that is no id, so that whoever looks sees a whole
//! one or none. Whoever holds the lock of a directory is the one who may write in it.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::content::Folder;
use crate::content::FolderError;
use crate::platform::Kind;
use crate::platform::files;
use crate::platform::machine;
use crate::platform::tree::Directory;

use super::entry::Ending;
use super::entry::InvalidEntry;
use super::entry::Life;
use super::entry::Plan;
use super::entry::Resident;
use super::name::SandboxId;
use super::name::SandboxName;
use super::name::could_begin_one;

/// The longest entry that is read. What is in one is bounded where it is made: the arguments of a
/// command line are the most of it.
const ENTRY_SIZE_MAX: usize = 16 << 20;

/// What is in front of the name of a directory that is not whole: not yet, or no more.
pub(super) const PART: &str = ".part-";

/// The file of an entry.
const ENTRY: &str = "entry";

/// The file that a keeper locks.
const KEEPER: &str = "keeper";

/// Where a keeper listens.
pub(super) const CONTROL: &str = "control";

/// The sandboxes of this host that one user keeps.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    folder: Folder,
    pub(super) ids: Folder,
    pub(super) names: Folder,
}

/// What the roster can fail at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RosterError {
    #[error("cannot use the roster")]
    Folder(#[from] FolderError),
    #[error("cannot {what} `{}`", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no such sandbox")]
    Missing,
    #[error("several sandboxes have ids that begin so: {0}")]
    Ambiguous(String),
    #[error("the name is taken by the sandbox {0}; remove that or give it another name")]
    Taken(String),
    #[error("it is running; stop it first, or force it")]
    Kept,
    #[error("what is known of it is damaged; remove it with force")]
    Damaged(#[from] InvalidEntry),
}

/// A place in the roster that this process holds: it is the sandbox's keeper, or nobody is.
#[derive(Debug)]
pub(crate) struct Held {
    roster: Roster,
    folder: Folder,
    boot: Option<String>,
    lock: File,
}

pub(super) fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RosterError + 'a {
    move |source| RosterError::File { what, path: path.to_owned(), source }
}

impl Roster {
    /// Opens the folder, and makes one where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, RosterError> {
        let folder = Folder::open(path)?;
        let ids = Folder::open(&path.join("ids"))?;
        let names = Folder::open(&path.join("names"))?;
        Ok(Self { folder, ids, names })
    }

    /// The folder as a whole, for what is told of all sandboxes.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Makes a place for a sandbox. This process is its keeper from now on.
    pub(crate) fn enrol(
        &self,
        name: Option<&SandboxName>,
        plan: &Plan,
    ) -> Result<(Resident, Held), RosterError> {
        /// How often somebody who clears may come between.
        const TRIES: u32 = 3;
        let mut tries = 1;
        loop {
            let id = SandboxId::new();
            let draft = self.draft(&id)?;
            match self.make(&id, &draft, name, plan) {
                Ok(made) => return Ok(made),
                Err(error) => {
                    // What is left is removed by whoever clears.
                    let _left = fs::remove_dir_all(&draft);
                    let was_cleared = matches!(&error, RosterError::File { source, .. }
                        if source.kind() == io::ErrorKind::NotFound);
                    if !was_cleared || tries == TRIES {
                        return Err(error);
                    }
                    tries += 1;
                }
            }
        }
    }

    /// A directory that nobody takes for a sandbox.
    fn draft(&self, id: &SandboxId) -> Result<PathBuf, RosterError> {
        let path = self.ids.path();
        let ids = Directory::open(path).map_err(at("open", path))?;
        let draft = self.part_of(id);
        let made = ids.create_directory(format!("{PART}{id}"), 0o700);
        made.map(|()| draft).map_err(at("make a directory in", path))
    }

    /// Where the directory of a sandbox is that is just being made, or removed.
    fn part_of(&self, id: &SandboxId) -> PathBuf {
        self.ids.path_of(&format!("{PART}{id}"))
    }

    /// Whether somebody is just making or removing a sandbox.
    pub(super) fn is_in_between(&self, id: &SandboxId) -> bool {
        let part = self.part_of(id);
        part.exists() && !is_free(&part)
    }

    fn make(
        &self,
        id: &SandboxId,
        draft: &Path,
        name: Option<&SandboxName>,
        plan: &Plan,
    ) -> Result<(Resident, Held), RosterError> {
        let path = self.ids.path_of(id.as_str());
        let own = Folder::open(draft)?;
        let keeper = own.path_of(KEEPER);
        let lock = files::open_lock(&keeper).map_err(at("make", &keeper))?;
        files::lock(&lock).map_err(at("lock", &keeper))?;
        let name = match name {
            Some(name) => self.take(name, id).map(|()| name.clone())?,
            None => self.take_any(id)?,
        };
        let resident = Resident::new(id.clone(), name.clone(), plan.clone());
        let boot = machine::boot();
        let bytes = resident.to_bytes(boot.as_deref());
        let placed = own.write(ENTRY, &[&bytes]).map_err(RosterError::from);
        let placed = placed.and_then(|()| fs::rename(draft, &path).map_err(at("make", &path)));
        let folder = placed.and_then(|()| Ok(Folder::open(&path)?));
        match folder {
            Ok(folder) => Ok((resident, Held { roster: self.clone(), folder, boot, lock })),
            Err(error) => {
                self.give_up(&name, id);
                Err(error)
            }
        }
    }

    /// The ids of all sandboxes.
    pub(super) fn all_ids(&self) -> Vec<SandboxId> {
        let directories = self.directories(false).unwrap_or_default();
        directories.iter().filter_map(|name| SandboxId::parse(name)).collect()
    }

    /// The names of all directories that are where sandboxes have theirs. Where it `clears`, links and
    /// files that somebody left there are removed: nothing of ours is one, and none is followed.
    pub(super) fn directories(&self, clears: bool) -> Result<Vec<String>, RosterError> {
        let path = self.ids.path();
        let ids = Directory::open(path).map_err(at("open", path))?;
        let mut directories = Vec::new();
        for (name, kind) in ids.entries().map_err(at("read", path))? {
            if kind == Kind::Directory {
                directories.extend(name.into_string());
            } else if clears {
                // Others may be first.
                let _gone = ids.remove_file(&name);
            }
        }
        Ok(directories)
    }

    /// Whether a sandbox has its directory. Anything else of its name is none, and leads nowhere.
    pub(super) fn has_place(&self, id: &SandboxId) -> bool {
        fs::symlink_metadata(self.path_of(id)).is_ok_and(|found| found.is_dir())
    }

    /// Removes a link or a file that stands where this sandbox would have its directory, and says
    /// whether there was one.
    pub(crate) fn remove_stranger(&self, text: &str) -> Result<bool, RosterError> {
        let Some(id) = SandboxId::parse(text).filter(|id| !self.has_place(id)) else {
            return Ok(false);
        };
        let path = self.path_of(&id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at("remove", &path)(error)),
        }
    }

    /// The id that people mean: by a name, an id, or the start of one.
    pub(crate) fn find(&self, text: &str) -> Result<SandboxId, RosterError> {
        if text.parse::<SandboxName>().is_ok()
            && let Some(id) = self.led_to(text)?
            && self.has_place(&id)
        {
            return Ok(id);
        }
        if let Some(id) = SandboxId::parse(text)
            && self.has_place(&id)
        {
            return Ok(id);
        }
        if !could_begin_one(text) {
            return Err(RosterError::Missing);
        }
        let mut found = self.all_ids();
        found.retain(|id| id.as_str().starts_with(text));
        match &found[..] {
            [] => Err(RosterError::Missing),
            [id] => Ok(id.clone()),
            several => {
                let ids: Vec<_> = several.iter().take(8).map(SandboxId::short).collect();
                Err(RosterError::Ambiguous(ids.join(", ")))
            }
        }
    }

    /// What is known of a sandbox.
    pub(crate) fn get(&self, id: &SandboxId) -> Result<Resident, RosterError> {
        let mut resident = self.read(id)?;
        resident.name = self.name_of(id, resident.name.as_ref())?;
        Ok(resident)
    }

    /// Where what a sandbox has is kept.
    pub(crate) fn path_of(&self, id: &SandboxId) -> PathBuf {
        self.ids.path_of(id.as_str())
    }

    fn folder_of(&self, id: &SandboxId) -> Result<Folder, RosterError> {
        if !self.has_place(id) {
            return Err(RosterError::Missing);
        }
        Ok(Folder::open(&self.path_of(id))?)
    }

    /// The same, with the name that it had when its entry was written.
    pub(super) fn read(&self, id: &SandboxId) -> Result<Resident, RosterError> {
        match self.read_entry(id) {
            // It was removed meanwhile.
            Err(RosterError::Damaged(_)) if !self.has_place(id) => Err(RosterError::Missing),
            read => read,
        }
    }

    fn read_entry(&self, id: &SandboxId) -> Result<Resident, RosterError> {
        let folder = self.folder_of(id)?;
        let read = || {
            let bytes = folder.read_small(ENTRY, ENTRY_SIZE_MAX).unwrap_or_default();
            Resident::parse(id.clone(), &bytes)
        };
        let found = read();
        if found.as_ref().is_ok_and(|(resident, _)| resident.life == Life::Exited)
            || !is_free(folder.path())
        {
            return Ok(found?.0);
        }
        // Its keeper is gone, and may have written its last word since.
        let (mut resident, boot) = read()?;
        if resident.life != Life::Exited {
            settle(&mut resident, boot != machine::boot());
        }
        Ok(resident)
    }

    /// Takes the place of a keeper that is gone; refused where there is one.
    pub(crate) fn hold(&self, id: &SandboxId) -> Result<Held, RosterError> {
        let folder = self.folder_of(id)?;
        let path = folder.path_of(KEEPER);
        let lock = match files::open_lock(&path) {
            Ok(lock) => lock,
            // It was removed meanwhile.
            Err(_) if !self.has_place(id) => return Err(RosterError::Missing),
            Err(error) => return Err(at("open", &path)(error)),
        };
        if !try_alone(&lock).map_err(at("lock", &path))? {
            return Err(RosterError::Kept);
        }
        if !files::is_at(&lock, &path) {
            return Err(RosterError::Missing);
        }
        Ok(Held { roster: self.clone(), folder, boot: machine::boot(), lock })
    }

    /// Whether a sandbox has a keeper.
    pub(crate) fn is_kept(&self, id: &SandboxId) -> bool {
        !is_free(&self.path_of(id))
    }

    /// Waits until a sandbox has no keeper.
    pub(crate) fn wait(&self, id: &SandboxId) -> Result<(), RosterError> {
        let path = self.path_of(id).join(KEEPER);
        match files::open_own(&path) {
            Ok(lock) => lock.lock_shared().map_err(at("wait for", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at("open", &path)(error)),
        }
    }
}

/// Says of a sandbox whose keeper is gone how it ended.
fn settle(resident: &mut Resident, rebooted: bool) {
    resident.life = Life::Exited;
    resident.keeper = None;
    resident.ended.get_or_insert_with(SystemTime::now);
    if resident.started.is_some_and(|started| resident.ended.is_some_and(|ended| ended < started)) {
        resident.ended = Some(SystemTime::now());
    }
    resident.ending = Some(if rebooted { Ending::Rebooted } else { Ending::KeeperLost });
}

/// Takes a lock alone. Those who look whether somebody has it hold it together for a moment.
fn try_alone(lock: &File) -> io::Result<bool> {
    /// How often it is tried.
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        if files::try_lock(lock)? {
            return Ok(true);
        }
        if files::try_lock_shared(lock)? {
            // Others hold it together: they look, and are no keepers.
            lock.unlock()?;
        } else if !files::try_lock(lock)? {
            return Ok(false);
        } else {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// Whether nobody keeps the sandbox of this directory.
pub(super) fn is_free(folder: &Path) -> bool {
    match files::open_own(&folder.join(KEEPER)) {
        Ok(lock) => files::try_lock_shared(&lock).unwrap_or(false),
        // Who has no room to look has not seen that nobody is there.
        Err(error) => !error.raw_os_error().is_some_and(files::is_lack),
    }
}

impl Held {
    /// Where what the sandbox has is kept.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is written of the sandbox, and the start of the host that its last keeper was of.
    pub(super) fn read(&self, id: &SandboxId) -> Result<(Resident, Option<String>), RosterError> {
        let bytes = self.folder.read_small(ENTRY, ENTRY_SIZE_MAX).unwrap_or_default();
        Ok(Resident::parse(id.clone(), &bytes)?)
    }

    /// Says of the sandbox, whose keeper of that start of the host is gone, how it ended.
    pub(super) fn settle(&self, resident: &mut Resident, boot: Option<&str>) {
        settle(resident, boot != self.boot.as_deref());
    }

    /// Writes what is known of the sandbox.
    pub(crate) fn write(&self, resident: &Resident) -> Result<(), RosterError> {
        Ok(self.folder.write(ENTRY, &[&resident.to_bytes(self.boot.as_deref())])?)
    }

    /// Removes the sandbox with all that is kept of it.
    pub(crate) fn remove(self, id: &SandboxId) -> Result<(), RosterError> {
        let away = self.roster.part_of(id);
        let path = self.folder.path();
        let name = self.read(id).ok().and_then(|(resident, _)| resident.name);
        fs::rename(path, &away).map_err(at("remove", path))?;
        // Who gives it another one just now takes that back.
        if let Some(name) = self.roster.name_of(id, name.as_ref())? {
            self.roster.give_up(&name, id);
        }
        // Held until it is gone, so that nobody else clears it away.
        let removed = fs::remove_dir_all(&away);
        drop(self.lock);
        removed.map_err(at("remove", &away))
    }
}
