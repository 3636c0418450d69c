//! Machine code on disk: its footer, and the one place that loads it.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::Module;
use wasmtime::component::Component;

use crate::digest::Digest;
use crate::platform::files;

use super::kind::Form;
use super::kind::Key;

/// The version of the format below.
///
/// Do not just raise it: an entry of another version is compiled again, which is what a change of
/// the format wants, but nothing ever removes the old ones except the cache's own bound.
const FORMAT_VERSION: u32 = 2;

const _: () = assert!(FOOTER_SIZE == 96, "a footer of another size needs another FORMAT_VERSION");

/// The first bytes of a footer.
const MAGIC: [u8; 8] = *b"ARILcode";

/// The size of a footer: digest of the code, magic, version, four zeros, both parts of the key,
/// length of the code.
const FOOTER_SIZE: usize = DIGEST_SIZE + 8 + 4 + 4 + 32 + 8 + 8;

/// The size of the digest, which a start does not look at: see [`check`].
const DIGEST_SIZE: usize = 32;

/// The footer that makes `code_size` bytes with that digest an artifact kept under `key`.
///
/// It stands behind the code, so that the code begins at a page and can be mapped.
pub(super) fn footer(key: &Key, code: &Digest, code_size: u64) -> [u8; FOOTER_SIZE] {
    let mut footer = [0; FOOTER_SIZE];
    footer[..DIGEST_SIZE].copy_from_slice(code.as_bytes());
    let rest = &mut footer[DIGEST_SIZE..];
    rest[..8].copy_from_slice(&MAGIC);
    rest[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    rest[16..48].copy_from_slice(key.wasm.as_bytes());
    rest[48..56].copy_from_slice(&key.build.to_le_bytes());
    rest[56..].copy_from_slice(&code_size.to_le_bytes());
    footer
}

/// What looking through the machine code of an artifact found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is what was written.
    Whole,
    /// Another version of this program wrote it, and this one never loads it.
    Foreign,
    /// Something changed it since.
    Changed,
}

/// Finds out whether the code in `file` is what was written, by its digest. A start does not: who
/// could change it is this user, and what changed by itself is what this is for.
pub(super) fn check(file: &mut File) -> io::Result<Checked> {
    let size = file.metadata()?.len();
    let Some(code_size) = size.checked_sub(FOOTER_SIZE as u64) else { return Ok(Checked::Changed) };
    let mut footer = [0; FOOTER_SIZE];
    file.seek(SeekFrom::Start(code_size))?;
    file.read_exact(&mut footer)?;
    let (code, rest) = footer.split_at(DIGEST_SIZE);
    if rest[..8] != MAGIC {
        return Ok(Checked::Changed);
    }
    if rest[8..12] != FORMAT_VERSION.to_le_bytes() {
        return Ok(Checked::Foreign);
    }
    if rest[56..] != code_size.to_le_bytes() {
        return Ok(Checked::Changed);
    }
    file.rewind()?;
    let (found, _) = Digest::of_reader(file.take(code_size), code_size)?;
    Ok(if found.as_bytes() == code { Checked::Whole } else { Checked::Changed })
}

/// Why a file is not the artifact it should be. It is compiled again then, and never loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{0}")]
    Foreign(&'static str),
    #[error("its footer is not that of this artifact")]
    Footer,
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("the engine does not take it: {0}")]
    Engine(String),
}

/// Finds out whether `file` is a whole artifact kept under `key`, which nobody else could change.
pub(super) fn verify(file: &mut File, key: &Key) -> Result<(), LoadError> {
    let metadata = file.metadata().map_err(LoadError::Read)?;
    if !metadata.is_file() {
        return Err(LoadError::Foreign("it is not a regular file"));
    }
    if let Some(reason) = files::foreign_hands(&metadata) {
        return Err(LoadError::Foreign(reason));
    }
    let Some(code_size) = metadata.len().checked_sub(FOOTER_SIZE as u64) else {
        return Err(LoadError::Footer);
    };
    let mut found = [0; FOOTER_SIZE];
    file.seek(SeekFrom::Start(code_size)).map_err(LoadError::Read)?;
    file.read_exact(&mut found).map_err(LoadError::Read)?;
    let expected = footer(key, &Digest::of(b""), code_size);
    if found[DIGEST_SIZE..] == expected[DIGEST_SIZE..] { Ok(()) } else { Err(LoadError::Footer) }
}

/// Machine code that is ready to be instantiated.
#[derive(Clone)]
pub(crate) enum Code {
    Module(Module),
    Component(Component),
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Module(_) => "Code::Module",
            Self::Component(_) => "Code::Component",
        })
    }
}

/// An artifact of this host that was verified, and not yet mapped.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

impl Verified {
    /// What the parent of this process verified, and handed to it. Whoever could start this process
    /// with another file could start any program instead.
    pub(crate) fn handed(file: File, form: Form) -> Self {
        Self { file, path: PathBuf::new(), form }
    }

    /// The file, to be handed on.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Maps the code into this process.
    ///
    /// # Errors
    ///
    /// Fails where the engine does not take it: it was made for another engine or processor.
    #[expect(unsafe_code, reason = "loading machine code is what this file is for")]
    pub(crate) fn load(self, engine: &Engine) -> Result<Code, LoadError> {
        let refused = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
        match self.form {
            Form::Module | Form::UncountedModule => {
                // JUSTIFICATION: compiling at each start costs three thousand times as much.
                // SAFETY: only our compiler role writes into the cache. `verify` saw that the open
                // file belongs to this user, cannot be written by others, has no second name, and
                // carries the key of exactly this wasm, kind, engine and processor. Whoever could
                // still change it is this user, who could change the running program as well.
                let module = unsafe { Module::deserialize_open_file(engine, self.file) };
                module.map(Code::Module).map_err(refused)
            }
            Form::Component | Form::ConcurrentComponent => {
                let path = files::handle_path(&self.file, &self.path);
                // JUSTIFICATION: as above.
                // SAFETY: as above; the path leads to the very file that was verified.
                let component = unsafe { Component::deserialize_file(engine, path) };
                component.map(Code::Component).map_err(refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::engine::Kind;

    fn key_of(wasm: &[u8]) -> Key {
        Key::new(Digest::of(wasm), Form::Module, Kind::default())
    }

    fn artifact(content: &[u8]) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = files::create_own(&dir.path().join("code")).expect("a file");
        file.write_all(content).expect("it can be written");
        (dir, file)
    }

    #[test]
    fn a_whole_artifact_is_told_from_one_that_is_truncated_swapped_or_longer() {
        let key = key_of(b"key");
        let whole = [b"code".as_slice(), &footer(&key, &Digest::of(b"code"), 4)].concat();
        let (_dir, mut file) = artifact(&whole);
        verify(&mut file, &key).expect("it is whole");
        assert!(matches!(verify(&mut file, &key_of(b"other")), Err(LoadError::Footer)));

        let (_dir, mut file) = artifact(&whole[1..]);
        assert!(matches!(verify(&mut file, &key), Err(LoadError::Footer)));
        let (_dir, mut file) = artifact(&[&whole[..], b"more"].concat());
        assert!(matches!(verify(&mut file, &key), Err(LoadError::Footer)));
        let (_dir, mut file) = artifact(b"short");
        assert!(matches!(verify(&mut file, &key), Err(LoadError::Footer)));
    }

    #[test]
    fn a_bit_that_rots_anywhere_in_an_artifact_is_found_by_the_check() {
        let key = key_of(b"key");
        let whole = [b"code".as_slice(), &footer(&key, &Digest::of(b"code"), 4)].concat();
        let (_dir, mut file) = artifact(&whole);
        assert_eq!(check(&mut file).expect("readable"), Checked::Whole);
        for at in (0..whole.len()).filter(|at| !(4 + 32 + 8..4 + 32 + 56).contains(at)) {
            let mut rotten = whole.clone();
            rotten[at] ^= 1;
            let (_dir, mut file) = artifact(&rotten);
            assert_eq!(check(&mut file).expect("readable"), Checked::Changed, "at {at}");
        }
        // Where it is the version or the key, it is not loaded.
        for at in 4 + 32 + 8..4 + 32 + 56 {
            let mut rotten = whole.clone();
            rotten[at] ^= 1;
            let (_dir, mut file) = artifact(&rotten);
            assert!(matches!(verify(&mut file, &key), Err(LoadError::Footer)), "at {at}");
        }
        let (_dir, mut file) = artifact(&whole[..whole.len() / 2]);
        assert_eq!(check(&mut file).expect("readable"), Checked::Changed);
    }

    #[cfg(all(unix, not(aril_portable)))]
    #[test]
    fn an_artifact_that_others_could_have_changed_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let key = key_of(b"key");
        let whole = [b"code".as_slice(), &footer(&key, &Digest::of(b"code"), 4)].concat();
        let (dir, mut file) = artifact(&whole);
        std::fs::hard_link(dir.path().join("code"), dir.path().join("twin")).expect("a link");
        assert!(matches!(verify(&mut file, &key), Err(LoadError::Foreign(_))), "two names");

        let (_dir, mut file) = artifact(&whole);
        file.set_permissions(std::fs::Permissions::from_mode(0o620)).expect("a mode");
        assert!(matches!(verify(&mut file, &key), Err(LoadError::Foreign(_))), "group may write");
    }
}
