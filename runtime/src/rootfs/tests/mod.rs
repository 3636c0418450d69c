//! Archives in the making, and what becomes of them.

mod hostile;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;

use tar::EntryType;
use tar::Header;

use crate::digest::Digest;
use crate::image::Compression;
use crate::image::Descriptor;
use crate::image::Layer;
use crate::platform::Kind;
use crate::platform::tree::Directory;

use super::bounds::Bounds;
use super::error::UnpackError;
use super::unpack::Unpacked;
use super::unpack::unpack_within;

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn header(name: &[u8], form: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(form);
        header.set_size(size);
        header.set_mode(if form == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(1_700_000_000);
        header
    }

    pub(crate) fn raw(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn of(self, form: EntryType, name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        self.raw(Self::header(name.as_ref(), form, content.len() as u64), content)
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: &str) -> Self {
        self.of(EntryType::Regular, name, content.as_bytes())
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.of(EntryType::Directory, name, b"")
    }

    fn with_target(self, form: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), form, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.with_target(EntryType::Symlink, name, target)
    }

    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.with_target(EntryType::Link, name, target)
    }

    /// What POSIX's extended header tells of the next member.
    pub(crate) fn told(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let rest = key.len() + value.as_ref().len() + 3;
        let length = (1..9).find(|digits| (rest + digits).to_string().len() == *digits);
        let mut record = (rest + length.expect("a length")).to_string().into_bytes();
        record.extend(format!(" {key}=").bytes());
        record.extend(value.as_ref());
        record.push(b'\n');
        self.of(EntryType::XHeader, "x", &record)
    }

    /// A header that tells nothing, which is no second one for the same member.
    pub(crate) fn told_nothing(self) -> Self {
        self.of(EntryType::XGlobalHeader, "g", b"")
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn tar() -> Tar {
    Tar::default()
}

pub(crate) fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(bytes).expect("written");
            out.finish().expect("written")
        }
        Compression::Zstd => zstd::encode_all(bytes, 3).expect("compressed"),
    }
}

pub(crate) fn layer(archive: &[u8], compression: Compression) -> (Layer, Vec<u8>) {
    let blob = compress(archive, compression);
    let diff_id = Some(Digest::of(archive));
    (Layer { blob: Descriptor::of("a/layer", &blob), compression, diff_id }, blob)
}

/// A folder with a canary and, beside it, the root of an image.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("canary"), "alive").expect("a file");
        fs::create_dir(dir.path().join("root")).expect("a directory");
        Self(dir)
    }

    fn unpack(&self, layers: &[(Layer, Vec<u8>)], bounds: Bounds) -> Result<Unpacked, UnpackError> {
        let (described, blobs): (Vec<_>, Vec<_>) = layers.iter().cloned().unzip();
        let open = |wanted: &Layer| {
            let at = described.iter().position(|layer| layer == wanted).expect("it is one of them");
            Ok(io::Cursor::new(blobs[at].clone()))
        };
        let done = unpack_within(&described, open, &self.0.path().join("root"), bounds);
        self.canary_lives();
        done
    }

    fn canary_lives(&self) {
        let canary = fs::read_to_string(self.0.path().join("canary"));
        assert_eq!(canary.expect("the canary"), "alive");
        let beside = fs::read_dir(self.0.path()).expect("a directory").count();
        assert_eq!(beside, 2, "something was made beside the root");
    }

    /// Whether this system knows modes and the times of directories.
    fn knows_modes(&self) -> bool {
        let root = self.root();
        root.create_directory("private", 0o700).expect("created");
        let mode = root.status("private").expect("known").expect("it is").mode;
        root.remove_directory("private").expect("removed");
        mode == 0o700
    }

    fn root(&self) -> Directory {
        Directory::open(&self.0.path().join("root")).expect("the root")
    }

    fn tree(&self) -> BTreeMap<String, String> {
        tree(&self.0.path().join("root"))
    }
}

/// All that is in a directory: the paths, and what they are.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    fn add(found: &mut BTreeMap<String, String>, directory: &Directory, above: &str) {
        for (name, kind) in directory.entries().expect("entries") {
            let name = name.to_str().expect("Unicode");
            let path = format!("{above}{name}");
            let what = match kind {
                Kind::Directory => {
                    add(found, &directory.child(name).expect("a directory"), &format!("{path}/"));
                    "/".to_owned()
                }
                Kind::Link => {
                    format!("-> {}", directory.read_link(name).expect("a link").display())
                }
                Kind::File => {
                    io::read_to_string(directory.open_file(name).expect("a file")).expect("a text")
                }
                Kind::Other => panic!("`{path}` is something else"),
            };
            found.insert(path, what);
        }
    }
    let mut found = BTreeMap::new();
    add(&mut found, &Directory::open(root).expect("the root"), "");
    found
}

fn unpacked(archives: &[Vec<u8>]) -> Place {
    let place = Place::new();
    let layers: Vec<_> = archives.iter().map(|bytes| layer(bytes, Compression::Gzip)).collect();
    place.unpack(&layers, Bounds::default()).expect("it can be unpacked");
    place
}

fn refusal(archive: &[u8]) -> String {
    let place = Place::new();
    let error = place.unpack(&[layer(archive, Compression::None)], Bounds::default());
    error.expect_err("it is refused").to_string()
}

fn assert_tree(archives: &[Vec<u8>], expected: &[(&str, &str)]) {
    let expected = expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned()));
    assert_eq!(unpacked(archives).tree(), expected.collect());
}
