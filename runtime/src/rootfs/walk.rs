//! Where a path in an image leads, with its root as the root of everything.

use std::io;

use crate::platform::Kind;
use crate::platform::Stamp;
use crate::platform::tree::Directory;

use super::bounds::DEPTH_MAX;
use super::bounds::LINKS_MAX;
use super::bounds::PATH_MAX;

/// What is done where a directory on the way is missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missing {
    /// It is created, with this time.
    Create(Stamp),
    /// The way leads nowhere.
    Tell,
}

/// A directory that a way leads to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Directory,
    /// Its path from the root, of which no name is a symbolic link.
    pub(super) path: String,
}

impl Place {
    /// How many directories below the root it is.
    pub(super) fn depth(&self) -> usize {
        match self.path.as_str() {
            "" => 0,
            path => path.split('/').count(),
        }
    }

    /// The path of what has this name in it.
    pub(super) fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        }
    }
}

/// Why there is no directory at the end of a way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("`{}` on its way is not a directory", .0.escape_debug())]
    NotADirectory(String),
    #[error("its way leads through too many links")]
    Links,
    #[error("the links on its way lead too deep")]
    Depth,
    #[error("its way cannot be followed")]
    Failed(#[from] io::Error),
}

/// Follows a way of plain names from the root. Links on it are followed as in a container: an
/// absolute one starts at `root`, and above `root` there is nothing.
///
/// Nothing where a directory is missing that was not to be created.
pub(super) fn follow(
    root: &Directory,
    way: &[&str],
    missing: Missing,
) -> Result<Option<Place>, Lost> {
    // Nearly always there is no link and nothing is missing: the system does all of it at once.
    let path = way.join("/");
    if let Ok(directory) = root.descend(&path) {
        return Ok(Some(Place { directory, path }));
    }
    let mut place = Place { directory: root.again()?, path: String::new() };
    let mut ahead: Vec<String> = way.iter().rev().map(|name| (*name).to_owned()).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                let above = place.path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
                place = Place { directory: root.descend(&above)?, path: above };
                continue;
            }
            _ => {}
        }
        match place.directory.status(&name)?.map(|status| status.kind) {
            Some(Kind::Directory) => {}
            Some(Kind::Link) => {
                links += 1;
                let target = place.directory.read_link(&name)?.into_string();
                let target = target.map_err(|_| Lost::NotADirectory(name))?;
                if LINKS_MAX < links {
                    return Err(Lost::Links);
                }
                if target.starts_with('/') {
                    place = Place { directory: root.again()?, path: String::new() };
                }
                ahead.extend(target.split('/').rev().map(str::to_owned));
                continue;
            }
            Some(Kind::File | Kind::Other) => return Err(Lost::NotADirectory(name)),
            None => match missing {
                Missing::Create(stamp) => create(&place.directory, &name, stamp)?,
                Missing::Tell => return Ok(None),
            },
        }
        let path = place.path_of(&name);
        place = Place { directory: place.directory.child(&name)?, path };
        if PATH_MAX < place.path.len() || DEPTH_MAX < place.depth() {
            return Err(Lost::Depth);
        }
    }
    Ok(Some(place))
}

/// Creates a directory that nobody told anything about. The one it is in is not changed by that.
fn create(above: &Directory, name: &str, stamp: Stamp) -> io::Result<()> {
    let before = above.own_status()?.modified;
    above.create_directory(name, 0o755)?;
    above.child(name)?.set_own_modified(stamp)?;
    above.set_own_modified(before)
}
