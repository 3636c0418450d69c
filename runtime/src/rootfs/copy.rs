//! A tree as a copy of another one.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;

use crate::platform::Kind;
use crate::platform::Status;
use crate::platform::tree;
use crate::platform::tree::Directory;

use super::unpack::masked;

/// Copies a tree that was unpacked, and so has files, directories and links alone.
pub(super) struct Copying {
    top: Directory,
    /// What this process takes from the mode of all that it creates.
    masked: u32,
    /// Whether files can share what is in them, as far as it was tried.
    shares: Option<bool>,
    /// Where the first name of a file with several is in the copy: the path of its directory, and
    /// its own name. In a container, who writes by one name reads it by another.
    known: HashMap<(u64, u64), (String, Box<OsStr>)>,
}

impl Copying {
    /// Copies to this directory, which is empty.
    pub(super) fn new(to: &Directory) -> io::Result<Self> {
        let (top, masked) = (to.again()?, masked(to)?);
        Ok(Self { top, masked, shares: None, known: HashMap::new() })
    }

    /// Copies what is in a directory, and whether files share what is in them with the copy.
    pub(super) fn copy(mut self, from: &Directory) -> io::Result<bool> {
        let to = self.top.again()?;
        self.directory(from, &to, "")?;
        Ok(self.shares == Some(true))
    }

    fn directory(&mut self, from: &Directory, to: &Directory, path: &str) -> io::Result<()> {
        for (name, kind) in from.entries()? {
            match kind {
                Kind::Directory => {
                    to.create_directory(&name, 0o700)?;
                    let below = format!("{path}{}/", name.display());
                    self.directory(&from.child(&name)?, &to.child(&name)?, &below)?;
                }
                Kind::File => self.file(from, (to, path), &name)?,
                Kind::Link => {
                    let found = from.status(&name)?.ok_or(io::ErrorKind::NotFound)?;
                    to.create_link(&name, &from.read_link(&name)?)?;
                    to.set_modified(&name, found.modified)?;
                }
                Kind::Other => return Err(io::Error::other("it has neither a file nor a link")),
            }
        }
        let found = from.own_status()?;
        to.set_own_mode(found.mode)?;
        to.set_own_modified(found.modified)
    }

    fn file(
        &mut self,
        from: &Directory,
        (to, path): (&Directory, &str),
        name: &OsStr,
    ) -> io::Result<()> {
        let mut source = from.open_file(name)?;
        let found: Status = tree::status_of(&source)?;
        if let Some((above, first)) = self.known.get(&found.place).filter(|_| 1 < found.names) {
            return self.top.descend(above)?.link_to(first, to, name);
        }
        let mut file = to.create_file(name, found.mode)?;
        if self.shares != Some(false) && 0 < found.size {
            self.shares = Some(tree::share_content(&source, &file).is_ok());
        }
        if self.shares != Some(true) {
            io::copy(&mut source, &mut file)?;
        }
        if found.mode & self.masked != 0 {
            tree::set_mode(&file, found.mode)?;
        }
        tree::set_modified(&file, found.modified)?;
        if 1 < found.names {
            self.known.insert(found.place, (path.to_owned(), name.into()));
        }
        Ok(())
    }
}
