//! Files and directories, copied between this host and a directory that a guest has: as docker's `cp`
//! does it.
//!
//! The guest may change its side at the same moment. Everything there is reached by handle, one name
//! at a time, and a link of the guest's leads nowhere but within its directory.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::platform::Kind;
use crate::platform::tree;
use crate::platform::tree::Directory;

use super::bounds::DEPTH_MAX;
use super::names::Way;
use super::walk::Lost;
use super::walk::Missing;
use super::walk::follow;

/// What keeps something from being copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("`{path}` is no path in it: {reason}")]
    Path { path: String, reason: &'static str },
    #[error("there is no `{0}`")]
    Missing(String),
    #[error("`{0}` is no directory")]
    NotADirectory(String),
    #[error("`{0}` is a directory, and a file cannot take its place")]
    Directory(String),
    #[error("`{0}` is neither a file, a directory nor a link")]
    Other(String),
    #[error("`{0}` is more than {DEPTH_MAX} directories deep")]
    Deep(String),
    #[error("cannot go to `{path}`")]
    Lost { path: String, source: Lost },
    #[error("cannot copy `{path}`")]
    Failed { path: String, source: io::Error },
}

/// Something that has a name in a directory, or a directory as a whole.
#[derive(Debug)]
pub(crate) struct Thing {
    above: Directory,
    /// Its own name; nothing for the directory itself.
    name: Option<String>,
    /// For people.
    path: String,
    /// Whether it was written as a directory, with a slash behind it.
    as_directory: bool,
    /// Whether what is in it is meant, and not it itself.
    content: bool,
}

fn at(path: &str) -> impl Fn(io::Error) -> ExchangeError + '_ {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => ExchangeError::Missing(path.to_owned()),
        _ => ExchangeError::Failed { path: path.to_owned(), source },
    }
}

impl Thing {
    /// What is at this path beneath a guest's directory.
    pub(crate) fn in_guest(root: &Directory, path: &str) -> Result<Self, ExchangeError> {
        let told = path.to_owned();
        let invalid = |reason| ExchangeError::Path { path: told.clone(), reason };
        let whole = if path.is_empty() { "." } else { path };
        let way = Way::parse(whole.as_bytes()).map_err(invalid)?;
        let (above, name) =
            way.split().map_or((&[][..], None), |(above, name)| (above, Some(name)));
        let lost = |source| ExchangeError::Lost { path: path.to_owned(), source };
        let place = follow(root, above, Missing::Tell).map_err(lost)?;
        let place = place.ok_or_else(|| ExchangeError::Missing(path.to_owned()))?;
        let mut thing = Self {
            above: place.directory,
            name: name.map(str::to_owned),
            path: path.to_owned(),
            as_directory: path.ends_with('/') || path.ends_with("/."),
            content: path == "." || path.ends_with("/."),
        };
        // A link is followed where what it leads to is a directory and is meant as one.
        if let Some(name) = &thing.name
            && thing.kind()? == Some(Kind::Link)
            && let Some(place) =
                follow(root, &[above, &[name.as_str()]].concat(), Missing::Tell).ok().flatten()
        {
            thing = Self { above: place.directory, name: None, content: thing.content, ..thing };
        }
        Ok(thing)
    }

    /// What is at this path of the host, where symbolic links lead as anywhere.
    pub(crate) fn on_host(path: &Path) -> Result<Self, ExchangeError> {
        let text = path.to_string_lossy().into_owned();
        let as_directory = text.ends_with('/') || text.ends_with("/.");
        let content = text == "." || text.ends_with("/.");
        let found = std::fs::canonicalize(path);
        let (above, name) = match &found {
            Ok(found) if found.is_dir() => (found.clone(), None),
            Ok(found) => (found.parent().unwrap_or(found).to_owned(), found.file_name()),
            // It may be made; what it is to be in must be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = std::fs::canonicalize(parent.unwrap_or(Path::new(".")));
                (parent.map_err(at(&text))?, path.file_name())
            }
            Err(error) => return Err(at(&text)(io::Error::from(error.kind()))),
        };
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let above = Directory::open(&above).map_err(at(&text))?;
        Ok(Self { above, name, path: text, as_directory, content })
    }

    /// The name that it has where it is copied into a directory.
    pub(crate) fn own_name(&self) -> String {
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone().into());
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// What it is, if it is there.
    fn kind(&self) -> Result<Option<Kind>, ExchangeError> {
        let Some(name) = &self.name else { return Ok(Some(Kind::Directory)) };
        let found = self.above.status(name).map_err(at(&self.path))?;
        Ok(found.map(|status| status.kind))
    }

    fn directory(&self) -> Result<Directory, ExchangeError> {
        match &self.name {
            None => self.above.again(),
            Some(name) => self.above.child(name),
        }
        .map_err(at(&self.path))
    }

    /// Copies it to where `to` is, or into that where it is a directory. `own` is the name that it has
    /// there then, if it has none of its own.
    pub(crate) fn copy(&self, to: &Self, own: &str) -> Result<(), ExchangeError> {
        let kind = self.kind()?.ok_or_else(|| ExchangeError::Missing(self.path.clone()))?;
        if kind != Kind::Directory && self.as_directory {
            return Err(ExchangeError::NotADirectory(self.path.clone()));
        }
        let there = to.kind()?;
        let name = self.name.as_deref().unwrap_or(own);
        match (kind, there) {
            (Kind::Directory, Some(Kind::Directory)) if self.content || name.is_empty() => {
                merge(&self.directory()?, &to.directory()?, &self.path, 0)
            }
            (_, Some(Kind::Directory)) => {
                let inner = Self {
                    above: to.directory()?,
                    name: Some(name.to_owned()),
                    path: format!("{}/{name}", to.path.trim_end_matches('/')),
                    as_directory: false,
                    content: false,
                };
                self.copy_as(&inner, kind)
            }
            (_, None) if to.as_directory && kind != Kind::Directory => {
                Err(ExchangeError::Missing(to.path.clone()))
            }
            (Kind::Directory, Some(_)) => Err(ExchangeError::NotADirectory(to.path.clone())),
            _ => self.copy_as(to, kind),
        }
    }

    /// Copies it, to be what `to` is.
    fn copy_as(&self, to: &Self, kind: Kind) -> Result<(), ExchangeError> {
        let Some(name) = &to.name else {
            return Err(ExchangeError::Directory(to.path.clone()));
        };
        match (kind, &self.name) {
            (Kind::Directory, _) => {
                let made = made(&to.above, OsStr::new(name)).map_err(at(&to.path))?;
                merge(&self.directory()?, &made, &self.path, 0)
            }
            (_, Some(own)) => {
                one(&self.above, OsStr::new(own), &to.above, OsStr::new(name), &self.path)
            }
            (_, None) => Err(ExchangeError::Other(self.path.clone())),
        }
    }
}

/// The directory of this name, which is made where there is none.
fn made(above: &Directory, name: &OsStr) -> io::Result<Directory> {
    match above.create_directory(name, 0o755) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => above.child(name),
    }
}

/// Copies what is in a directory into another one. What is there already and not copied stays.
fn merge(from: &Directory, to: &Directory, path: &str, depth: usize) -> Result<(), ExchangeError> {
    if DEPTH_MAX < depth {
        return Err(ExchangeError::Deep(path.to_owned()));
    }
    for (name, kind) in from.entries().map_err(at(path))? {
        let below = format!("{}/{}", path.trim_end_matches('/'), name.display());
        if kind == Kind::Directory {
            let child = from.child(&name).map_err(at(&below))?;
            let made = made(to, &name).map_err(at(&below))?;
            merge(&child, &made, &below, depth + 1)?;
        } else {
            one(from, &name, to, &name, &below)?;
        }
    }
    let mode = from.own_status().map_err(at(path))?.mode;
    to.set_own_mode(mode & 0o777 | 0o700).map_err(at(path))
}

/// Copies a file or a link, in place of what has its name there; a directory stays.
fn one(
    from: &Directory,
    name: &OsStr,
    to: &Directory,
    as_name: &OsStr,
    path: &str,
) -> Result<(), ExchangeError> {
    let failed = at(path);
    let found = from.status(name).map_err(&failed)?;
    let found = found.ok_or_else(|| ExchangeError::Missing(path.to_owned()))?;
    match to.status(as_name).map_err(&failed)?.map(|status| status.kind) {
        Some(Kind::Directory) => return Err(ExchangeError::Directory(path.to_owned())),
        // What is written to it now is written to what was there, and lost.
        Some(_) => to.remove_file(as_name).map_err(&failed)?,
        None => {}
    }
    match found.kind {
        Kind::Link => {
            let target = from.read_link(name).map_err(&failed)?;
            to.create_link(as_name, &target).map_err(&failed)
        }
        Kind::File => {
            let mut source = from.open_file(name).map_err(&failed)?;
            // It may be another one by now.
            let found = tree::status_of(&source).map_err(&failed)?;
            if found.kind != Kind::File {
                return Err(ExchangeError::Other(path.to_owned()));
            }
            let mode = found.mode & 0o777;
            let mut file = to.create_file(as_name, mode | 0o200).map_err(&failed)?;
            io::copy(&mut source, &mut file).map_err(&failed)?;
            tree::set_mode(&file, mode).map_err(&failed)?;
            tree::set_modified(&file, found.modified).map_err(&failed)
        }
        Kind::Directory | Kind::Other => Err(ExchangeError::Other(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host's directory and a guest's one, with a few things in both.
    fn sides() -> (tempfile::TempDir, Directory) {
        let dir = tempfile::tempdir().expect("a directory");
        let guest = dir.path().join("guest");
        fs::create_dir_all(guest.join("etc/deep")).expect("made");
        fs::write(guest.join("etc/a"), "a").expect("written");
        fs::write(guest.join("etc/deep/b"), "b").expect("written");
        fs::create_dir(dir.path().join("host")).expect("made");
        fs::write(dir.path().join("host/file"), "file").expect("written");
        fs::write(dir.path().join("secret"), "secret").expect("written");
        let root = Directory::open(&guest).expect("opened");
        (dir, root)
    }

    fn out(dir: &Path, root: &Directory, from: &str, to: &str) -> Result<(), ExchangeError> {
        Thing::in_guest(root, from)?.copy(&Thing::on_host(&dir.join(to))?, "root")
    }

    fn within(dir: &Path, root: &Directory, from: &str, to: &str) -> Result<(), ExchangeError> {
        Thing::on_host(&dir.join(from))?.copy(&Thing::in_guest(root, to)?, "host")
    }

    #[test]
    fn what_is_copied_lands_where_docker_would_put_it() {
        let (dir, root) = sides();
        let dir = dir.path();
        let text = |path: &str| fs::read_to_string(dir.join(path)).unwrap_or_default();
        out(dir, &root, "etc/a", "host").expect("into a directory");
        out(dir, &root, "etc/a", "host/other").expect("as a file");
        out(dir, &root, "etc", "host").expect("a directory into another one");
        out(dir, &root, "etc", "host/new").expect("a directory as another one");
        out(dir, &root, "etc/.", "host").expect("what is in a directory");
        out(dir, &root, "", "host").expect("the whole of it, by the name that it was called");
        assert_eq!(text("host/root/etc/a"), "a");
        let told = ["host/a", "host/other", "host/etc/deep/b", "host/new/a", "host/deep/b"];
        assert_eq!(told.map(text).concat(), "aabab");
        within(dir, &root, "host/file", "etc").expect("into a directory");
        within(dir, &root, "host/file", "etc/a").expect("in place of a file");
        within(dir, &root, "host/.", "etc/deep").expect("what is in a directory");
        let told = ["guest/etc/file", "guest/etc/a", "guest/etc/deep/file", "guest/etc/deep/b"];
        assert_eq!(told.map(text).concat(), "filefilefileb");
    }

    #[test]
    fn what_cannot_be_copied_says_why() {
        let (dir, root) = sides();
        let dir = dir.path();
        let said = |error: Result<(), ExchangeError>| error.expect_err("refused").to_string();
        assert!(said(out(dir, &root, "nope", "host")).contains("there is no"));
        assert!(said(out(dir, &root, "../secret", "host")).contains("no path in it"));
        assert!(said(out(dir, &root, "etc", "host/file")).contains("no directory"));
        assert!(said(out(dir, &root, "etc/a", "host/nope/")).contains("there is no"));
        assert!(said(out(dir, &root, "etc/a/", "host")).contains("no directory"));
        assert!(said(within(dir, &root, "nope", "etc")).contains("there is no"));
    }

    #[cfg(all(unix, not(aril_portable)))]
    #[test]
    fn a_link_of_the_guests_leads_nowhere_on_the_host() {
        use std::os::unix::fs::symlink;

        let (dir, root) = sides();
        let (dir, guest) = (dir.path(), dir.path().join("guest"));
        symlink("../secret", guest.join("leak")).expect("a link");
        symlink("..", guest.join("up")).expect("a link");
        symlink(dir.join("host"), guest.join("away")).expect("a link");
        // The link itself is copied, and not what it would lead to.
        out(dir, &root, "leak", "host").expect("copied");
        assert!(fs::symlink_metadata(dir.join("host/leak")).expect("it").is_symlink());
        // Above its root there is the root.
        assert!(out(dir, &root, "up/secret", "host").is_err());
        assert!(out(dir, &root, "away/file", "host").is_err());
        assert!(within(dir, &root, "secret", "away/file").is_err());
        assert_eq!(fs::read_to_string(dir.join("host/file")).expect("it"), "file");
    }
}
