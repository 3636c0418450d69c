//! How files of this host become a layer: the same bytes from the same files, on every host.
//!
//! Entries are in the order of their names, belong to nobody, are as old as they are told to be, and
//! can be read by all; a program can be executed by all. What has room in a plain header has no
//! other one.

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::io::Write;
use std::rc::Rc;

use tar::EntryType;
use tar::Header;

use crate::platform::Kind;
use crate::platform::tree;
use crate::platform::tree::Directory;

use super::bounds::ENTRIES_MAX;
use super::bounds::PATH_MAX;
use super::error::shown;
use super::names::Way;
use super::walk::Lost;
use super::walk::Missing;
use super::walk::follow;

const BLOCK: usize = 512;

/// The most bytes that a plain header's size has room for: eleven octal digits.
const SIZE_PLAIN_MAX: u64 = (8 << 30) - 1;

/// What is to be in a layer.
///
/// The directories above are not in it unless they are entries as well: in the layers below, they
/// may have modes of their own, or be links.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// What `path` is below a directory of this host, with all that is in it, as `guest`. Links on
    /// the way to it are followed, never out of that directory; links that are found are kept.
    Host { below: &'a Directory, path: &'a str, guest: &'a str },
    /// A directory.
    Directory { guest: &'a str },
    /// A program, whose bytes are not a file of this host.
    Program { guest: &'a str, bytes: &'a [u8] },
}

/// How much was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// What keeps files from becoming a layer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("cannot read `{path}`")]
    Read { path: String, source: io::Error },
    #[error("there is no `{path}`")]
    Missing { path: String },
    #[error("`{path}` cannot be in an image: {reason}")]
    Refused { path: String, reason: String },
    #[error("`{path}` changed while it was read")]
    Changed { path: String },
    #[error("`{guest}` is to be a directory and something else as well")]
    Both { guest: String },
    #[error("there are more than {ENTRIES_MAX} files")]
    TooMany,
    #[error("cannot write the layer")]
    Write { source: io::Error },
}

/// Writes a layer, as an archive that is not compressed. All in it is as old as `modified`, in
/// seconds since 1970.
///
/// Of what is found in directories of this host, it has what `is_wanted`, by its path below the
/// directory that the entry names.
pub(crate) fn write_layer<'a>(
    entries: impl IntoIterator<Item = Entry<'a>>,
    is_wanted: impl Fn(&str, Kind) -> bool,
    modified: u64,
    out: impl Write,
) -> Result<Written, LayerError> {
    let mut found = Found { belows: Vec::new(), items: BTreeMap::new(), is_wanted };
    for entry in entries {
        match entry {
            Entry::Host { below, path, guest } => found.add_host(below, path, guest)?,
            Entry::Directory { guest } => {
                let guest = guest_way(guest)?.names().join("/");
                found.add(guest, Item::Directory)?;
            }
            Entry::Program { guest, bytes } => {
                let guest = guest_way(guest)?.names().join("/");
                found.add(guest, Item::Program(bytes))?;
            }
        }
    }
    found.verify()?;
    let mut archive = Archive { out, modified, written: Written::default() };
    let mut opened: Option<(usize, Rc<str>, Directory)> = None;
    for (guest, item) in &found.items {
        match item {
            Item::Directory => archive.directory(guest)?,
            Item::Link(target) => archive.link(guest, target)?,
            Item::Program(bytes) => archive.program(guest, bytes)?,
            Item::File { below, above, name } => {
                let is_open = opened.as_ref().is_some_and(|(of, at, _)| of == below && at == above);
                if !is_open {
                    let directory = found.belows[*below].descend(above);
                    let directory = directory.map_err(|source| reading(above, source))?;
                    opened = Some((*below, above.clone(), directory));
                }
                let (_, _, directory) = opened.as_ref().expect("it was opened");
                archive.file(guest, directory, &join(above, name), name)?;
            }
        }
    }
    archive.finish()
}

fn guest_way(guest: &str) -> Result<Way<'_>, LayerError> {
    let refused = |reason| LayerError::Refused { path: shown(guest.as_bytes()), reason };
    let way = Way::parse(guest.as_bytes()).map_err(|reason| refused(reason.to_owned()))?;
    if way.names().iter().any(|name| name.starts_with(".wh.")) {
        return Err(refused("readers of layers would remove something instead".to_owned()));
    }
    Ok(way)
}

fn reading(path: &str, source: io::Error) -> LayerError {
    LayerError::Read { path: shown(path.as_bytes()), source }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

enum Item<'a> {
    Directory,
    Link(String),
    Program(&'a [u8]),
    File { below: usize, above: Rc<str>, name: String },
}

/// What is to be in the layer, by its path in it.
struct Found<'a, F> {
    belows: Vec<&'a Directory>,
    items: BTreeMap<String, Item<'a>>,
    is_wanted: F,
}

impl<'a, F: Fn(&str, Kind) -> bool> Found<'a, F> {
    fn add_host(
        &mut self,
        below: &'a Directory,
        path: &str,
        guest: &str,
    ) -> Result<(), LayerError> {
        let guest = guest_way(guest)?.names().join("/");
        let missing = || LayerError::Missing { path: shown(path.as_bytes()) };
        let refused = |reason| LayerError::Refused { path: shown(path.as_bytes()), reason };
        // The directory itself, if no name is left.
        let way = Way::parse(if path.is_empty() { b"." } else { path.as_bytes() })
            .map_err(|reason| refused(reason.to_owned()))?;
        let (above, name) = way.split().unwrap_or((&[], ""));
        let place = match follow(below, above, Missing::Tell) {
            Ok(found) => found.ok_or_else(missing)?,
            Err(Lost::Failed(source)) => return Err(reading(path, source)),
            Err(lost) => return Err(refused(lost.to_string())),
        };
        self.belows.push(below);
        if name.is_empty() {
            return self.add_directory(&place.directory, "", &guest);
        }
        let status = place.directory.status(name).map_err(|source| reading(path, source))?;
        let kind = status.ok_or_else(missing)?.kind;
        self.add_found(&place.directory, &Rc::from(place.path.as_str()), name, kind, guest)
    }

    fn add_found(
        &mut self,
        directory: &Directory,
        above: &Rc<str>,
        name: &str,
        kind: Kind,
        guest: String,
    ) -> Result<(), LayerError> {
        let path = join(above, name);
        if guest.is_empty() && kind != Kind::Directory {
            let reason = "only a directory can be the root".to_owned();
            return Err(LayerError::Refused { path: shown(path.as_bytes()), reason });
        }
        match kind {
            Kind::Directory => {
                let child = directory.child(name).map_err(|source| reading(&path, source))?;
                self.add_directory(&child, &path, &guest)
            }
            Kind::Link => {
                let target = directory.read_link(name).map_err(|source| reading(&path, source))?;
                let target = target.into_string().map_err(|_| LayerError::Refused {
                    path: shown(path.as_bytes()),
                    reason: "what it leads to is not UTF-8".to_owned(),
                })?;
                self.add(guest, Item::Link(target))
            }
            Kind::File => {
                let below = self.belows.len() - 1;
                let (above, name) = (above.clone(), name.to_owned());
                self.add(guest, Item::File { below, above, name })
            }
            Kind::Other => Err(LayerError::Refused {
                path: shown(path.as_bytes()),
                reason: "it is neither a file, nor a directory, nor a link".to_owned(),
            }),
        }
    }

    fn add_directory(
        &mut self,
        directory: &Directory,
        path: &str,
        guest: &str,
    ) -> Result<(), LayerError> {
        if !guest.is_empty() {
            self.add(guest.to_owned(), Item::Directory)?;
        }
        let above = Rc::from(path);
        for (name, kind) in directory.entries().map_err(|source| reading(path, source))? {
            let name = name.into_string().map_err(|name| LayerError::Refused {
                path: shown(join(path, &name.to_string_lossy()).as_bytes()),
                reason: "its name is not UTF-8".to_owned(),
            })?;
            if (self.is_wanted)(&join(path, &name), kind) {
                let inner = join(guest, &name);
                guest_way(&inner)?;
                self.add_found(directory, &above, &name, kind, inner)?;
            }
        }
        Ok(())
    }

    /// What comes later replaces what came before, and directories become one.
    fn add(&mut self, guest: String, item: Item<'a>) -> Result<(), LayerError> {
        if guest.is_empty() {
            return Ok(());
        }
        let is_directory = matches!(item, Item::Directory);
        match self.items.get(&guest) {
            Some(Item::Directory) if !is_directory => Err(LayerError::Both { guest }),
            Some(Item::File { .. } | Item::Link(_) | Item::Program(_)) if is_directory => {
                Err(LayerError::Both { guest })
            }
            _ => {
                self.items.insert(guest, item);
                let fits = self.items.len() as u64 <= ENTRIES_MAX;
                fits.then_some(()).ok_or(LayerError::TooMany)
            }
        }
    }

    /// What others are in is a directory.
    fn verify(&self) -> Result<(), LayerError> {
        for guest in self.items.keys() {
            for (at, _) in guest.match_indices('/') {
                let above = &guest[..at];
                if self.items.get(above).is_some_and(|item| !matches!(item, Item::Directory)) {
                    return Err(LayerError::Both { guest: shown(above.as_bytes()) });
                }
            }
        }
        Ok(())
    }
}

/// The archive in the making.
struct Archive<W> {
    out: W,
    modified: u64,
    written: Written,
}

impl<W: Write> Archive<W> {
    fn directory(&mut self, guest: &str) -> Result<(), LayerError> {
        self.header(&format!("{guest}/"), EntryType::Directory, 0o755, 0, "")
    }

    fn link(&mut self, guest: &str, target: &str) -> Result<(), LayerError> {
        if target.is_empty() || PATH_MAX <= target.len() {
            let reason = "it leads nowhere, or by a path that is too long".to_owned();
            return Err(LayerError::Refused { path: shown(guest.as_bytes()), reason });
        }
        self.header(guest, EntryType::Symlink, 0o777, 0, target)
    }

    fn program(&mut self, guest: &str, bytes: &[u8]) -> Result<(), LayerError> {
        self.header(guest, EntryType::Regular, 0o755, bytes.len() as u64, "")?;
        self.write(bytes)?;
        self.pad()
    }

    fn file(
        &mut self,
        guest: &str,
        directory: &Directory,
        path: &str,
        name: &str,
    ) -> Result<(), LayerError> {
        let changed = || LayerError::Changed { path: shown(path.as_bytes()) };
        let mut file = directory.open_file(name).map_err(|source| reading(path, source))?;
        let status = tree::status_of(&file).map_err(|source| reading(path, source))?;
        if status.kind != Kind::File {
            return Err(changed());
        }
        let mode = if status.mode & 0o111 == 0 { 0o644 } else { 0o755 };
        self.header(guest, EntryType::Regular, mode, status.size, "")?;
        let mut left = status.size;
        let mut buffer = vec![0; 128 << 10];
        loop {
            // One more byte than there should be tells that there is more.
            let most = buffer.len().min(usize::try_from(left + 1).unwrap_or(usize::MAX));
            let count = match file.read(&mut buffer[..most]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(reading(path, source)),
            };
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(changed)?;
            self.write(&buffer[..count])?;
        }
        if left != 0 {
            return Err(changed());
        }
        self.pad()
    }

    fn header(
        &mut self,
        path: &str,
        form: EntryType,
        mode: u32,
        size: u64,
        target: &str,
    ) -> Result<(), LayerError> {
        let mut header = self.plain(form, mode);
        let mut beside = Vec::new();
        // Both are plain names and slashes, so that nothing but their length can be wrong.
        if header.set_path(path).is_err() {
            beside.extend(record("path", path));
            header.as_old_mut().name[..4].copy_from_slice(b"long");
        }
        if 100 < target.len() {
            beside.extend(record("linkpath", target));
        } else {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        if size <= SIZE_PLAIN_MAX {
            header.set_size(size);
        } else {
            beside.extend(record("size", &size.to_string()));
            header.set_size(0);
        }
        if !beside.is_empty() {
            let mut told = self.plain(EntryType::XHeader, 0o644);
            told.as_old_mut().name[..10].copy_from_slice(b"PaxHeaders");
            told.set_size(beside.len() as u64);
            told.set_cksum();
            self.write(told.as_bytes())?;
            self.write(&beside)?;
            self.pad()?;
        }
        header.set_cksum();
        self.written.entries += 1;
        self.write(header.as_bytes())
    }

    fn plain(&self, form: EntryType, mode: u32) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(form);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.modified);
        header
    }

    fn finish(mut self) -> Result<Written, LayerError> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|source| LayerError::Write { source })?;
        Ok(self.written)
    }

    fn pad(&mut self) -> Result<(), LayerError> {
        let rest = self.written.bytes.wrapping_neg() % BLOCK as u64;
        self.write(&[0; BLOCK][..usize::try_from(rest).expect("less than a block")])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.written.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| LayerError::Write { source })
    }
}

/// A record of an extended header: its length counts itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::bounds::Bounds;
    use super::super::tests::layer;
    use super::super::tests::tree as listed;
    use super::super::unpack::unpack_within;
    use super::*;
    use crate::image::Compression;

    fn written(entries: &[Entry<'_>]) -> Result<Vec<u8>, LayerError> {
        let mut out = Vec::new();
        let told = write_layer(entries.iter().copied(), |path, _| path != "skip", 5, &mut out)?;
        assert_eq!(told.bytes, out.len() as u64);
        Ok(out)
    }

    #[test]
    fn what_is_written_is_unpacked_as_it_was_and_is_the_same_whenever_it_is_written() {
        let long = "n".repeat(200);
        let make = |names: &[&str]| {
            let dir = tempfile::tempdir().expect("a directory");
            for name in names {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                fs::write(path, name).expect("a file");
            }
            let root = Directory::open(dir.path()).expect("a directory");
            root.create_link("link", "a/f".as_ref()).expect("a link");
            root.create_link("far", long.as_ref()).expect("a link");
            (dir, root)
        };
        let deep = format!("{long}/{long}/ü");
        let (_one, below) = make(&["a/f", "b.c", "b/c", &deep, "skip"]);
        let (_other, again) = make(&["skip", &deep, "b/c", "b.c", "a/f"]);
        let entries = |below| {
            [
                Entry::Host { below, path: "", guest: "/" },
                Entry::Host { below, path: "link", guest: "/usr/bin/link" },
                Entry::Host { below, path: "a", guest: "opt" },
                Entry::Directory { guest: "/tmp" },
            ]
        };
        let bytes = written(&entries(&below)).expect("written");
        assert_eq!(bytes, written(&entries(&again)).expect("written"));

        let out = tempfile::tempdir().expect("a directory");
        let (described, blob) = layer(&bytes, Compression::Zstd);
        let open = |_: &_| Ok(io::Cursor::new(blob.clone()));
        unpack_within(&[described], open, out.path(), Bounds::default()).expect("unpacked");
        let tree = listed(out.path());
        let far = format!("-> {long}");
        for (path, what) in [
            ("a", "/"),
            ("a/f", "a/f"),
            ("b.c", "b.c"),
            ("b/c", "b/c"),
            (deep.as_str(), deep.as_str()),
            ("link", "-> a/f"),
            ("far", far.as_str()),
            ("usr/bin/link", "-> a/f"),
            ("opt/f", "a/f"),
            ("tmp", "/"),
        ] {
            assert_eq!(tree.get(path).map(String::as_str), Some(what), "{path}");
        }
        assert!(!tree.contains_key("skip"));
        let found = Directory::open(out.path()).and_then(|root| root.status("b.c"));
        assert_eq!(found.expect("known").expect("it is").modified.seconds, 5);
    }

    #[test]
    fn what_cannot_be_in_an_image_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = &Directory::open(dir.path()).expect("a directory");
        fs::write(dir.path().join("f"), "f").expect("a file");
        fs::create_dir(dir.path().join("d")).expect("a directory");
        fs::write(dir.path().join("d/.wh.f"), "f").expect("a file");
        below.create_link("out", dir.path().as_os_str()).expect("a link");
        let host = |path, guest| Entry::Host { below, path, guest };
        for (entries, expected) in [
            (&[host("f", "../f")][..], "leads upwards"),
            (&[host("../f", "f")], "leads upwards"),
            (&[host("d", "d")], "would remove something"),
            (&[host("f", "/.wh.x")], "would remove something"),
            (&[host("no", "no")], "there is no `no`"),
            (&[host("f/x", "x")], "not a directory"),
            (&[host("f", "/")], "only a directory"),
            (&[host("f", "x"), Entry::Directory { guest: "x" }], "something else as well"),
            (&[host("f", "x"), host("f", "x/y")], "something else as well"),
            // The link leads to the same path below the directory itself, where nothing is.
            (&[host("out/f", "x")], "there is no `out/f`"),
        ] {
            let error = written(entries).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
