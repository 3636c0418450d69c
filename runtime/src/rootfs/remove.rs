//! How a tree is removed, however deep somebody made it.

use std::ffi::OsStr;
use std::io;

use crate::platform::Kind;
use crate::platform::tree::Directory;

/// How many directories are open at once.
const LEVELS: usize = 48;

/// Removes what has this name, and all that is in it. It may be absent.
pub(crate) fn remove(parent: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    match parent.status(name)?.map(|status| status.kind) {
        None => Ok(()),
        Some(Kind::Directory) => {
            if parent.remove_directory(name).is_err() {
                let top = open(parent, name)?;
                let mut moved = 0;
                let mut before = None;
                // What was too deep is near the top now.
                while before != Some(moved) {
                    before = Some(moved);
                    empty(&top, &top, 0, &mut moved)?;
                }
                parent.remove_directory(name)?;
            }
            Ok(())
        }
        Some(_) => parent.remove_file(name),
    }
}

fn empty(top: &Directory, directory: &Directory, level: usize, moved: &mut u64) -> io::Result<()> {
    for (name, kind) in directory.entries()? {
        if kind != Kind::Directory {
            directory.remove_file(&name)?;
        } else if directory.remove_directory(&name).is_err() {
            if level == LEVELS {
                // Nobody may hold as many handles as somebody made levels.
                *moved += 1;
                while top.status(format!(".deep-{moved}"))?.is_some() {
                    *moved += 1;
                }
                directory.rename(&name, top, format!(".deep-{moved}"))?;
                continue;
            }
            empty(top, &open(directory, &name)?, level + 1, moved)?;
            directory.remove_directory(&name)?;
        }
    }
    Ok(())
}

/// Opens a directory, also one that its owner may not look into now.
fn open(parent: &Directory, name: &OsStr) -> io::Result<Directory> {
    let all = |mode| mode & 0o700 == 0o700;
    if parent.status(name)?.is_some_and(|status| !all(status.mode)) {
        parent.set_mode(name, 0o700)?;
    }
    parent.child(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_deeper_than_handles_may_be_open_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Directory::open(dir.path()).expect("a directory");
        root.create_directory("top", 0o755).expect("created");
        let mut below = root.child("top").expect("a directory");
        for _ in 0..1200 {
            below.create_file("f", 0o644).expect("created");
            below.create_directory("d", 0o755).expect("created");
            below = below.child("d").expect("a directory");
        }
        root.create_directory("top/.deep-1", 0o755).unwrap_or_default();

        remove(&root, "top").expect("removed");
        remove(&root, "top").expect("absent is fine");

        assert_eq!(root.entries().expect("entries").len(), 0);
    }

    #[test]
    fn a_link_is_removed_and_not_what_it_leads_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Directory::open(dir.path()).expect("a directory");
        root.create_directory("kept", 0o755).expect("created");
        root.child("kept").and_then(|kept| kept.create_file("f", 0o644)).expect("created");
        root.create_directory("top", 0o755).expect("created");
        let top = root.child("top").expect("a directory");
        top.create_link("link", "../kept".as_ref()).expect("a link");
        root.create_link("direct", "kept".as_ref()).expect("a link");

        remove(&root, "top").expect("removed");
        remove(&root, "direct").expect("removed");

        assert!(dir.path().join("kept/f").exists());
    }
}
