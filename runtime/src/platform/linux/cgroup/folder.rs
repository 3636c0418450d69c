//! A directory of a hierarchy, held by handle, and its files, which are written and read back.

use std::fs::File;
use std::io;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::platform::groups::GroupError;
use crate::platform::linux::tree::Directory;

/// The longest file that is read: a list of a hundred thousand processes.
const CONTENT_SIZE_MAX: usize = 1 << 20;

/// A directory, and its path as it is told to people.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) handle: Directory,
    pub(super) path: String,
}

impl Folder {
    /// The whole content of a file.
    pub(super) fn read(&self, name: &str) -> Result<String, GroupError> {
        let failed = |source| GroupError::Read { file: self.file(name), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty());
        content(&file.map_err(|error| failed(error.into()))?).map_err(failed)
    }

    /// The same, where an older kernel may have no such file.
    pub(super) fn read_if_there(&self, name: &str) -> Result<Option<String>, GroupError> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(GroupError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A value of a file, where `parse` understands it.
    pub(super) fn value<T>(
        &self,
        name: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, GroupError> {
        let text = self.read(name)?;
        parse(&text).ok_or_else(|| self.garbled(name, &text, expected))
    }

    pub(super) fn garbled(&self, name: &str, text: &str, expected: &'static str) -> GroupError {
        let found = text.chars().take(80).collect::<String>().trim_end().to_owned();
        GroupError::Garbled { file: self.file(name), found, expected }
    }

    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), GroupError> {
        self.put(name, value, OFlags::WRONLY).map(drop)
    }

    /// Writes a value and reads the file again: what the kernel made of it is what `is_so` wants,
    /// or it is an error.
    pub(super) fn write_back(
        &self,
        name: &str,
        value: &str,
        is_so: impl FnOnce(&str) -> bool,
    ) -> Result<(), GroupError> {
        let file = self.put(name, value, OFlags::RDWR)?;
        let text =
            content(&file).map_err(|source| GroupError::Read { file: self.file(name), source })?;
        if is_so(text.trim_end()) {
            return Ok(());
        }
        let found = text.chars().take(80).collect::<String>().trim_end().to_owned();
        Err(GroupError::Differs { file: self.file(name), wanted: value.to_owned(), found })
    }

    /// The same for a file that says just what was written.
    pub(super) fn write_exactly(&self, name: &str, value: &str) -> Result<(), GroupError> {
        self.write_back(name, value, |found| found == value)
    }

    /// Opens a file to write to it once, by whoever has it then.
    pub(super) fn open_to_write(&self, name: &str) -> Result<File, GroupError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty());
        file.map(File::from).map_err(|error| GroupError::Write {
            file: self.file(name),
            value: String::new(),
            source: error.into(),
        })
    }

    fn put(
        &self,
        name: &str,
        value: &str,
        access: OFlags,
    ) -> Result<rustix::fd::OwnedFd, GroupError> {
        let failed = |error: Errno| GroupError::Write {
            file: self.file(name),
            value: value.to_owned(),
            source: error.into(),
        };
        let flags = access | OFlags::NOFOLLOW | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty()).map_err(failed)?;
        match rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes())) {
            Ok(written) if written == value.len() => Ok(file),
            // The kernel takes a value as a whole or not at all.
            Ok(_) => Err(failed(Errno::INVAL)),
            Err(error) => Err(failed(error)),
        }
    }

    /// Why this process may not write a name here, if it may not.
    pub(super) fn try_write(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::accessat(&self.handle, name, Access::WRITE_OK, AtFlags::empty())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.handle, name, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Opens a directory in this one.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        Ok(Self { handle: self.handle.child(name)?, path: self.file(name) })
    }

    /// The path of a name in it, as it is told to people.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path.trim_end_matches('/'))
    }
}

/// All of a file, up to a bound, wherever it was read or written before.
fn content(file: &rustix::fd::OwnedFd) -> io::Result<String> {
    let (mut bytes, mut filled) = (vec![0; 4096], 0);
    loop {
        let room = bytes.get_mut(filled..).unwrap_or_default();
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *room, filled as u64))? {
            0 => break,
            count => filled += count,
        }
        if filled == bytes.len() {
            if filled >= CONTENT_SIZE_MAX {
                return Err(io::Error::other(format!(
                    "it is longer than {CONTENT_SIZE_MAX} bytes"
                )));
            }
            bytes.resize(filled * 2, 0);
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
