//! What of files an order grants, in its wire form: texts, sizes, and files by their numbers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::capabilities::Access;
use crate::capabilities::Capabilities;
use crate::capabilities::Directory;
use crate::capabilities::GrantError;
use crate::capabilities::SingleFile;
use crate::capabilities::Tmpfs;
use crate::platform::child::given;
use crate::units::Bytes;

use super::order::InvalidOrder;

/// What is granted of files.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct WireGrants {
    directories: Vec<WireGrant>,
    tmpfs: Vec<WireTmpfs>,
    files: Vec<WireGrant>,
}

/// A directory, or a single file.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct WireGrant {
    handle: u32,
    /// It as a mount of its own, where it is to be mounted and the keeper has one.
    mount: Option<u32>,
    /// For messages.
    host: String,
    guest: String,
    read_only: bool,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct WireTmpfs {
    guest: String,
    size: u64,
}

/// All that is open of what is granted, which the worker is to inherit.
pub(super) fn open_of(granted: &Capabilities) -> impl Iterator<Item = &File> {
    let directories = granted.directories.iter();
    let directories = directories.map(|directory| (directory.handle(), directory.mount()));
    let files = granted.files.iter().map(|file| (file.handle(), file.mount()));
    directories.chain(files).flat_map(|(handle, mount)| std::iter::once(handle).chain(mount))
}

impl WireGrants {
    pub(super) fn new(granted: &Capabilities, number: impl Fn(&File) -> u32) -> Self {
        let grant =
            |(handle, mount): (&File, Option<&File>), host: &Path, guest: &str, access| WireGrant {
                handle: number(handle),
                mount: mount.map(&number),
                host: host.to_string_lossy().into_owned(),
                guest: guest.to_owned(),
                read_only: access == Access::ReadOnly,
            };
        let directory = |one: &Directory| {
            grant((one.handle(), one.mount()), one.host(), one.guest(), one.access())
        };
        let file = |one: &SingleFile| {
            grant((one.handle(), one.mount()), one.host(), one.guest(), one.access())
        };
        let tmpfs =
            |one: &Tmpfs| WireTmpfs { guest: one.guest().to_owned(), size: one.bytes().get() };
        Self {
            directories: granted.directories.iter().map(directory).collect(),
            tmpfs: granted.tmpfs.iter().map(tmpfs).collect(),
            files: granted.files.iter().map(file).collect(),
        }
    }

    /// The numbers of all files that it names.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let grants = self.directories.iter().chain(&self.files);
        grants.flat_map(|grant| std::iter::once(grant.handle).chain(grant.mount))
    }

    /// What is granted, with what was inherited, and nothing else.
    pub(super) fn read(self) -> Result<Capabilities, InvalidOrder> {
        let directory = |grant: WireGrant| {
            let (handle, mount, access) = grant.open()?;
            let host = Path::new(&grant.host);
            let directory = Directory::held(handle, host, &grant.guest, access)?;
            Ok(directory.mounted(mount.map(Arc::new)))
        };
        let file = |grant: WireGrant| {
            let (handle, mount, access) = grant.open()?;
            let host = Path::new(&grant.host);
            Ok(SingleFile::held(handle, host, &grant.guest, access)?.mounted(mount))
        };
        let tmpfs = |one: WireTmpfs| Tmpfs::new(one.guest)?.size(Bytes::new(one.size));
        let directories = self.directories.into_iter().map(directory);
        let files = self.files.into_iter().map(file);
        let tmpfs = self.tmpfs.into_iter().map(tmpfs);
        Ok(Capabilities {
            directories: directories.collect::<Result<_, InvalidOrder>>()?,
            tmpfs: tmpfs.collect::<Result<_, GrantError>>()?,
            files: files.collect::<Result<_, InvalidOrder>>()?,
            ..Capabilities::default()
        })
    }
}

impl WireGrant {
    /// What it names, and what may be done with it.
    fn open(&self) -> std::io::Result<(File, Option<File>, Access)> {
        let access = if self.read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok((given(self.handle)?, self.mount.map(given).transpose()?, access))
    }
}

#[cfg(test)]
mod tests {
    use crate::platform::child::number;

    use super::*;

    #[test]
    fn all_that_is_open_is_named_by_its_number() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "").expect("a file");
        let directory = Directory::open(dir.path(), "/data", Access::ReadOnly);
        let file = SingleFile::open(&path, "/data/file", Access::ReadWrite);
        let tmpfs = Tmpfs::new("/tmp").expect("a path").size(Bytes::kib(8)).expect("a size");
        let granted = Capabilities {
            directories: vec![directory.expect("a directory")],
            tmpfs: vec![tmpfs],
            files: vec![file.expect("a file")],
            ..Capabilities::default()
        };

        let wire = WireGrants::new(&granted, number);

        let numbers: Vec<u32> = wire.numbers().collect();
        assert_eq!(numbers, open_of(&granted).map(number).collect::<Vec<_>>());
        assert_eq!(numbers.len(), 2);
        assert_eq!(wire.tmpfs, [WireTmpfs { guest: "/tmp".to_owned(), size: 8 << 10 }]);
    }

    #[test]
    fn what_nobody_could_have_granted_is_refused() {
        let standard_stream = || {
            let (host, guest) = ("/x".to_owned(), "/x".to_owned());
            vec![WireGrant { handle: 0, mount: None, host, guest, read_only: true }]
        };
        let nothing = || WireGrants { directories: vec![], tmpfs: vec![], files: vec![] };
        for wire in [
            WireGrants { directories: standard_stream(), ..nothing() },
            WireGrants { files: standard_stream(), ..nothing() },
        ] {
            assert!(matches!(wire.read(), Err(InvalidOrder::File(_))));
        }
        let tmpfs = vec![WireTmpfs { guest: "/x".to_owned(), size: 0 }];
        let no_room = WireGrants { tmpfs, ..nothing() }.read();
        assert!(matches!(no_room, Err(InvalidOrder::Grant(_))), "{no_room:?}");
    }
}
