//! How the layers of an image become a tree of files: nothing leaves it, and nothing in it is other
//! than a file, a directory or a link.
//!
//! Owners are not kept: files belong to whoever runs the guest. Neither are the bits that give a
//! program its owner's rights, and extended attributes; what the owner may not read or write by the
//! image's own word, the owner here may.

use std::collections::HashSet;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write as _;
use std::path::Path;

use crate::digest::Digest;
use crate::image::Layer;
use crate::platform::Kind;
use crate::platform::Stamp;
use crate::platform::tree;
use crate::platform::tree::Directory;

use super::archive::Form;
use super::archive::Invalid;
use super::archive::Member;
use super::archive::Members;
use super::blob;
use super::bounds::Bounds;
use super::error::UnpackError;
use super::error::shown;
use super::names::Way;
use super::names::link_target;
use super::remove::remove;
use super::walk::Lost;
use super::walk::Missing;
use super::walk::Place;
use super::walk::follow;

/// What is in front of the name of something that a layer removes from those below it.
const WHITEOUT: &str = ".wh.";

/// The name that says that a layer shows nothing of this directory from those below it.
const OPAQUE: &str = ".wh..wh..opq";

/// What the union file system that this convention is from notes for itself.
const WHITEOUT_OF_AUFS: &str = ".wh..wh.";

/// How much was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    /// What the archives had, headers included.
    pub(crate) bytes: u64,
}

/// Unpacks layers, the lowest first, into a directory that is empty and belongs to this user.
///
/// Where it fails, what is in the directory is of no use.
pub(crate) fn unpack<R: Read + Send>(
    layers: &[Layer],
    open: impl FnMut(&Layer) -> io::Result<R>,
    into: &Path,
) -> Result<Unpacked, UnpackError> {
    unpack_within(layers, open, into, Bounds::default())
}

pub(crate) fn unpack_within<R: Read + Send>(
    layers: &[Layer],
    mut open: impl FnMut(&Layer) -> io::Result<R>,
    into: &Path,
    bounds: Bounds,
) -> Result<Unpacked, UnpackError> {
    let failed = |source| UnpackError::Folder { path: into.to_owned(), source };
    let mut tree = Tree::open(into).map_err(failed)?;
    let mut total = Unpacked::default();
    for (number, layer) in layers.iter().enumerate() {
        let digest = layer.blob.digest;
        let source = open(layer).map_err(|source| UnpackError::Read { layer: digest, source })?;
        let left = Bounds {
            bytes: bounds.bytes - total.bytes,
            entries: bounds.entries - total.entries,
            ..bounds
        };
        tree.fresh = (0 < number).then(HashSet::new);
        let (entries, bytes) = blob::read(layer, source, &left, |stream| {
            unpack_layer(&mut tree, digest, stream, left.entries)
        })?;
        total = Unpacked { entries: total.entries + entries, bytes: total.bytes + bytes };
    }
    Ok(total)
}

fn unpack_layer(
    tree: &mut Tree,
    layer: Digest,
    stream: impl BufRead,
    entries_max: u64,
) -> Result<u64, UnpackError> {
    let mut members = Members::new(stream);
    let mut entries = 0;
    loop {
        let invalid =
            |at, invalid: Invalid| UnpackError::Archive { layer, at, reason: invalid.to_string() };
        let at = members.at();
        let Some(member) = members.next().map_err(|error| invalid(at, error))? else { break };
        entries += 1;
        let entry = || shown(&member.name);
        let told = if entries <= entries_max {
            tree.apply(&member, &mut members)
        } else {
            refused("the layers have more entries than an image may")
        };
        told.map_err(|failure| match failure {
            Failure::Refused(reason) => UnpackError::Refused { layer, entry: entry(), reason },
            Failure::Write(source) => UnpackError::Write { layer, entry: entry(), source },
            Failure::Archive(error) => invalid(at, error),
        })?;
    }
    let source = |source| UnpackError::Write { layer, entry: ".".to_owned(), source };
    tree.leave().map_err(source)?;
    Ok(entries)
}

/// Why an entry is not there.
enum Failure {
    Refused(String),
    Write(io::Error),
    Archive(Invalid),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Failed(error) => Self::Write(error),
            lost => Self::Refused(lost.to_string()),
        }
    }
}

fn refused<T>(reason: &str) -> Result<T, Failure> {
    Err(Failure::Refused(reason.to_owned()))
}

/// The tree that is unpacked into.
struct Tree {
    root: Directory,
    /// What this process takes from the mode of all that it creates.
    masked: u32,
    /// The directory that the last entry is in: archives go from directory to directory.
    parent: Option<Parent>,
    /// Hashes of the paths that this layer has; nothing for the lowest, where nothing is below.
    fresh: Option<HashSet<u64>>,
    hasher: RandomState,
}

struct Parent {
    /// How the entries call it.
    asked: String,
    place: Place,
    /// Entries that come and go do not change when it changed: the archive tells that.
    modified: Stamp,
}

impl Tree {
    fn open(path: &Path) -> io::Result<Self> {
        let root = Directory::open(path)?;
        let masked = masked(&root)?;
        Ok(Self { root, masked, parent: None, fresh: None, hasher: RandomState::new() })
    }

    fn apply(
        &mut self,
        member: &Member,
        members: &mut Members<impl BufRead>,
    ) -> Result<(), Failure> {
        let way = Way::parse(&member.name).map_err(|reason| Failure::Refused(reason.to_owned()))?;
        let Some((above, name)) = way.split() else { return self.apply_root(member) };
        let is_aufs = |name: &&str| name.starts_with(WHITEOUT_OF_AUFS) && *name != OPAQUE;
        if way.names().iter().any(is_aufs) {
            return Ok(());
        }
        if above.iter().any(|name| name.starts_with(WHITEOUT)) {
            return refused("a directory on its way is one that says what is removed");
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return match (name, hidden) {
                (OPAQUE, _) => self.hide_all(above, member.modified),
                (_, "" | "." | "..") => refused("it removes what is no name"),
                (_, hidden) => self.hide(above, hidden),
            };
        }
        self.enter(above, member.modified)?;
        match member.form {
            Form::Directory => self.create_directory(name, member)?,
            Form::File => self.create_file(name, member, members)?,
            Form::SymbolicLink => self.create_link(name, member)?,
            Form::HardLink => self.link(name, member)?,
            Form::Foreign(what) => {
                return refused(&format!("it is {what}, and guests have files alone"));
            }
        }
        self.note_fresh(name);
        Ok(())
    }

    fn apply_root(&mut self, member: &Member) -> Result<(), Failure> {
        if member.form != Form::Directory {
            return refused("it has no name");
        }
        self.leave()?;
        self.root.set_own_mode(directory_mode(member.mode))?;
        self.root.set_own_modified(member.modified)?;
        Ok(())
    }

    fn create_directory(&mut self, name: &str, member: &Member) -> Result<(), Failure> {
        let mode = directory_mode(member.mode);
        let above = &self.here().place.directory;
        let created = above.create_directory(name, mode);
        let existed = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = above.status(name)?.map(|status| status.kind);
                if found != Some(Kind::Directory) {
                    remove(above, name)?;
                    above.create_directory(name, mode)?;
                }
                found == Some(Kind::Directory)
            }
            created => created.map(|()| false)?,
        };
        let directory = above.child(name)?;
        if existed || mode & self.masked != 0 {
            directory.set_own_mode(mode)?;
        }
        directory.set_own_modified(member.modified)?;
        Ok(())
    }

    fn create_file(
        &mut self,
        name: &str,
        member: &Member,
        members: &mut Members<impl BufRead>,
    ) -> Result<(), Failure> {
        let mode = member.mode & 0o777 | 0o600;
        let above = &self.here().place.directory;
        let mut file: File = anew(above, name, || above.create_file(name, mode))?;
        loop {
            let content = members.content().map_err(Failure::Archive)?;
            if content.is_empty() {
                break;
            }
            let count = content.len();
            file.write_all(content)?;
            members.used(count);
        }
        if mode & self.masked != 0 {
            tree::set_mode(&file, mode)?;
        }
        tree::set_modified(&file, member.modified)?;
        Ok(())
    }

    fn create_link(&mut self, name: &str, member: &Member) -> Result<(), Failure> {
        let place = &self.here().place;
        let above = &place.directory;
        let target = link_target(&member.target, place.depth())
            .map_err(|reason| Failure::Refused(reason.to_owned()))?;
        anew(above, name, || above.create_link(name, target.as_ref()))?;
        above.set_modified(name, member.modified)?;
        Ok(())
    }

    fn link(&mut self, name: &str, member: &Member) -> Result<(), Failure> {
        let nowhere = || {
            let target = shown(&member.target);
            Failure::Refused(format!("it is one more name of `{target}`, which is not there"))
        };
        let way = Way::parse(&member.target).map_err(|reason| {
            Failure::Refused(format!("what it is one more name of cannot be: {reason}"))
        })?;
        let (target_above, target_name) = way.split().ok_or_else(nowhere)?;
        let target = follow(&self.root, target_above, Missing::Tell)?.ok_or_else(nowhere)?;
        let found = target.directory.status(target_name)?.ok_or_else(nowhere)?;
        if !matches!(found.kind, Kind::File | Kind::Link) {
            return refused("it is one more name of a directory");
        }
        let place = &self.here().place;
        if place.path == target.path && name == target_name {
            return refused("it is one more name of itself");
        }
        let above = &place.directory;
        match anew(above, name, || target.directory.link_to(target_name, above, name)) {
            // It was in the directory that had to go for this name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(nowhere()),
            linked => Ok(linked?),
        }
    }

    /// Removes what the layers below have under this name.
    fn hide(&mut self, above: &[&str], name: &str) -> Result<(), Failure> {
        self.leave()?;
        let Some(place) = follow(&self.root, above, Missing::Tell)? else { return Ok(()) };
        let before = place.directory.own_status()?.modified;
        self.remove_stale(&place.directory, &place.path, name)?;
        place.directory.set_own_modified(before)?;
        Ok(())
    }

    /// Removes what the layers below have in this directory.
    fn hide_all(&mut self, way: &[&str], stamp: Stamp) -> Result<(), Failure> {
        self.enter(way, stamp)?;
        let place = &self.here().place;
        for (name, _) in place.directory.entries()? {
            // What is not Unicode was not unpacked.
            if let Some(name) = name.to_str() {
                self.remove_stale(&place.directory, &place.path, name)?;
            }
        }
        Ok(())
    }

    /// Removes what is not of this layer. A directory of this layer may have both in it.
    fn remove_stale(&self, above: &Directory, path: &str, name: &str) -> io::Result<()> {
        // Nothing is below the lowest layer.
        let Some(fresh) = &self.fresh else { return Ok(()) };
        let path = join(path, name);
        if !fresh.contains(&self.hasher.hash_one(&path)) {
            return remove(above, name);
        }
        if above.status(name)?.is_some_and(|status| status.kind == Kind::Directory) {
            let directory = above.child(name)?;
            let before = directory.own_status()?.modified;
            for (name, _) in directory.entries()? {
                if let Some(name) = name.to_str() {
                    self.remove_stale(&directory, &path, name)?;
                }
            }
            directory.set_own_modified(before)?;
        }
        Ok(())
    }

    /// Goes to the directory that entries are in, and creates it where it is missing.
    fn enter(&mut self, way: &[&str], stamp: Stamp) -> Result<(), Failure> {
        let asked = way.join("/");
        if self.parent.as_ref().is_some_and(|parent| parent.asked == asked) {
            return Ok(());
        }
        self.leave()?;
        let place = follow(&self.root, way, Missing::Create(stamp))?;
        let place = place.expect("what is missing is created");
        if let Some(fresh) = &mut self.fresh {
            let ends = place.path.match_indices('/').map(|(at, _)| at).chain([place.path.len()]);
            fresh.extend(ends.map(|end| self.hasher.hash_one(&place.path[..end])));
        }
        let modified = place.directory.own_status()?.modified;
        self.parent = Some(Parent { asked, place, modified });
        Ok(())
    }

    /// Leaves the directory, as if nothing had come to it or gone.
    fn leave(&mut self) -> io::Result<()> {
        match self.parent.take() {
            Some(parent) => parent.place.directory.set_own_modified(parent.modified),
            None => Ok(()),
        }
    }

    fn here(&self) -> &Parent {
        self.parent.as_ref().expect("entries are applied in a directory that was entered")
    }

    fn note_fresh(&mut self, name: &str) {
        if self.fresh.is_none() {
            return;
        }
        let hash = self.hasher.hash_one(self.here().place.path_of(name));
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(hash);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// What this process takes from the mode of all that it creates, as an empty directory shows.
///
/// A process cannot ask for its mask without changing it for all of its threads.
pub(super) fn masked(empty: &Directory) -> io::Result<u32> {
    const PROBE: &str = ".mode";
    empty.create_directory(PROBE, 0o777)?;
    let left = empty.child(PROBE)?.own_status()?.mode;
    empty.remove_directory(PROBE)?;
    Ok(0o777 & !left)
}

/// The owner can list what is in a directory, and add to it. The bit that keeps others from
/// removing what is not theirs stays.
fn directory_mode(told: u32) -> u32 {
    told & 0o1777 | 0o700
}

/// Creates something in the place of what may have this name. What comes later replaces what came
/// before, in the same layer too.
fn anew<T>(above: &Directory, name: &str, create: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove(above, name)?;
            create()
        }
        created => created,
    }
}
