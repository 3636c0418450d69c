//! How files of this host become a layer: the same bytes from the same files, on every host.
//!
//! Entries are in the order of their names, belong to nobody and can be read by all unless something
//! else is said, and are as old as they are told to be; a program can be executed by all. What has room in a plain header has no
//! other one.

use std::fs;
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
use super::tree::Changes;
use super::tree::Entry;
use super::tree::HostFile;
use super::tree::Node;
use super::tree::join;

const BLOCK: usize = 512;

/// The most bytes that a plain header's size has room for: eleven octal digits.
const SIZE_PLAIN_MAX: u64 = (8 << 30) - 1;

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
pub(crate) fn write_layer(
    changes: &Changes,
    modified: u64,
    out: impl Write,
) -> Result<Written, LayerError> {
    let mut archive = Archive { out, modified, written: Written::default() };
    let mut opened: Option<(&HostFile, Directory)> = None;
    for (guest, entry) in changes {
        match &entry.node {
            Node::Directory => archive.directory(guest, entry)?,
            Node::Link(target) => archive.link(guest, target, entry)?,
            Node::Program(bytes) => archive.program(guest, bytes, entry)?,
            Node::File(file) => {
                let is_open = opened.as_ref().is_some_and(|(other, _)| {
                    Rc::ptr_eq(&other.below, &file.below) && other.above == file.above
                });
                if !is_open {
                    opened = Some((file, above(file)?));
                }
                let (_, directory) = opened.as_ref().expect("it was opened");
                archive.file(guest, directory, file, entry)?;
            }
            Node::Strange(reason) => {
                let (path, reason) = (shown(guest.as_bytes()), (*reason).to_owned());
                return Err(LayerError::Refused { path, reason });
            }
        }
    }
    archive.finish()
}

/// Opens the directory that a file is in.
fn above(file: &HostFile) -> Result<Directory, LayerError> {
    file.below.descend(&file.above).map_err(|source| reading(&file.above, source))
}

/// Opens a file that is to be in an image.
pub(crate) fn open(file: &HostFile) -> Result<fs::File, LayerError> {
    let path = join(&file.above, &file.name);
    above(file)?.open_file(&*file.name).map_err(|source| reading(&path, source))
}

fn reading(path: &str, source: io::Error) -> LayerError {
    LayerError::Read { path: shown(path.as_bytes()), source }
}

/// The archive in the making.
struct Archive<W> {
    out: W,
    modified: u64,
    written: Written,
}

impl<W: Write> Archive<W> {
    fn directory(&mut self, guest: &str, entry: &Entry) -> Result<(), LayerError> {
        let mut mode = entry.mode.unwrap_or(0o755);
        // Who may read it may enter it.
        mode |= (mode & 0o444) >> 2;
        self.header((&format!("{guest}/"), ""), EntryType::Directory, mode, entry.owner, 0)
    }

    fn link(&mut self, guest: &str, target: &str, entry: &Entry) -> Result<(), LayerError> {
        if target.is_empty() || PATH_MAX <= target.len() {
            let reason = "it leads nowhere, or by a path that is too long".to_owned();
            return Err(LayerError::Refused { path: shown(guest.as_bytes()), reason });
        }
        self.header((guest, target), EntryType::Symlink, 0o777, entry.owner, 0)
    }

    fn program(&mut self, guest: &str, bytes: &[u8], entry: &Entry) -> Result<(), LayerError> {
        let mode = entry.mode.unwrap_or(0o755);
        let size = bytes.len() as u64;
        self.header((guest, ""), EntryType::Regular, mode, entry.owner, size)?;
        self.write(bytes)?;
        self.pad()
    }

    fn file(
        &mut self,
        guest: &str,
        directory: &Directory,
        file: &HostFile,
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let path = &join(&file.above, &file.name);
        let changed = || LayerError::Changed { path: shown(path.as_bytes()) };
        let mut file = directory.open_file(&*file.name).map_err(|source| reading(path, source))?;
        let status = tree::status_of(&file).map_err(|source| reading(path, source))?;
        if status.kind != Kind::File {
            return Err(changed());
        }
        let usual = if status.mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mode = entry.mode.unwrap_or(usual);
        self.header((guest, ""), EntryType::Regular, mode, entry.owner, status.size)?;
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
        (path, target): (&str, &str),
        form: EntryType,
        mode: u32,
        (user, group): (u32, u32),
        size: u64,
    ) -> Result<(), LayerError> {
        let mut header = self.plain(form, mode);
        header.set_uid(user.into());
        header.set_gid(group.into());
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
    use super::super::tree::Tree;
    use super::super::unpack::unpack_within;
    use super::*;
    use crate::image::Compression;

    fn written(tree: &mut Tree, into: &str) -> Result<Vec<u8>, LayerError> {
        let mut changes = Changes::new();
        let mut image = Tree::default();
        for (path, entry) in tree.all("")? {
            image.add(&join(into, &path), entry, &mut changes)?;
        }
        let mut program = Entry::from(Node::Program((*b"program").into()));
        (program.mode, program.owner) = (Some(0o500), (1000, 2_000_000));
        image.add("/bin/program", program, &mut changes)?;
        let mut out = Vec::new();
        let told = write_layer(&changes, 5, &mut out)?;
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
            (dir, Tree::of_image(root))
        };
        let deep = format!("{long}/{long}/ü");
        let (_one, mut tree) = make(&["a/f", "b.c", "b/c", &deep]);
        let (_other, mut again) = make(&[&deep, "b/c", "b.c", "a/f"]);
        let bytes = written(&mut tree, "").expect("written");
        assert_eq!(bytes, written(&mut again, "").expect("written"));

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
            ("bin", "/"),
            ("bin/program", "program"),
        ] {
            assert_eq!(tree.get(path).map(String::as_str), Some(what), "{path}");
        }
        let found = Directory::open(out.path()).and_then(|root| root.status("b.c"));
        assert_eq!(found.expect("known").expect("it is").modified.seconds, 5);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let headers = archive.entries().expect("entries").map(|entry| {
            let header = entry.expect("an entry").header().clone();
            let path = header.path().expect("a path").display().to_string();
            let told = |number: io::Result<u64>| number.expect("a number");
            let owner = (told(header.uid()), told(header.gid()));
            (path, (header.mode().expect("a mode"), owner))
        });
        let headers: std::collections::BTreeMap<_, _> = headers.collect();
        assert_eq!(headers.get("bin/program"), Some(&(0o500, (1000, 2_000_000))));
        assert_eq!(headers.get("b.c"), Some(&(0o644, (0, 0))));
    }

    #[test]
    fn what_changes_or_goes_while_it_is_read_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["f", "g"] {
            fs::write(dir.path().join(name), "f").expect("a file");
        }
        let mut tree = Tree::of_image(Directory::open(dir.path()).expect("a directory"));
        let all = tree.all("").expect("read");
        fs::remove_file(dir.path().join("f")).expect("removed");
        fs::create_dir(dir.path().join("f")).expect("a directory");
        let told = |name: &str| {
            let found = all.iter().filter(|(path, _)| path == name).cloned();
            let error = write_layer(&found.collect(), 0, io::sink()).expect_err("no file");
            error.to_string()
        };
        // Some systems do not open a directory as a file at all.
        let said = told("f");
        assert!(["`f` changed while it was read", "cannot read `f`"].contains(&&*said), "{said}");
        fs::remove_file(dir.path().join("g")).expect("removed");
        assert_eq!(told("g"), "cannot read `g`");
    }
}
