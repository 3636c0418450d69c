//! A tree of files in the making: those of a directory of this host, or of an image, read as far as
//! they are asked for, and what is put on top of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use crate::platform::Kind;
use crate::platform::tree::Directory;

use super::bounds::ENTRIES_MAX;
use super::bounds::LINKS_MAX;
use super::bounds::PATH_MAX;
use super::error::shown;
use super::layer::LayerError;
use super::names::Way;

/// Something in a tree.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    /// Who may do what with it; without, what a file of its kind has.
    pub(crate) mode: Option<u32>,
    /// To whom it belongs: a user and a group.
    pub(crate) owner: (u32, u32),
}

/// What it is.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Directory,
    /// A symbolic link, and what it leads to.
    Link(Rc<str>),
    File(HostFile),
    /// A program, whose bytes are not a file of this host.
    Program(Rc<[u8]>),
    /// What cannot be in an image, and why.
    Strange(&'static str),
}

impl From<Node> for Entry {
    fn from(node: Node) -> Self {
        Self { node, mode: None, owner: (0, 0) }
    }
}

/// Where the bytes of a file are on this host.
#[derive(Clone, Debug)]
pub(crate) struct HostFile {
    pub(crate) below: Rc<Directory>,
    /// The way from `below` to the directory it is in. No name on it is a link.
    pub(crate) above: Rc<str>,
    pub(crate) name: Rc<str>,
}

/// Whether something found on this host is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    No,
    /// It is not, unless it is a directory and something in it is.
    Inside,
}

/// What is added to a tree: a layer's worth.
pub(crate) type Changes = BTreeMap<String, Entry>;

/// What says of each path whether it is wanted.
type Rule = dyn Fn(&str) -> Wanted;

/// A tree. Paths in it have no slash in front, and `""` is its root.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    // Invariant: what something is in is a directory; nothing is here whose directory was not read.
    entries: BTreeMap<String, Entry>,
    /// The directories that were not read yet, each with where it is on this host.
    unread: BTreeMap<String, Rc<Directory>>,
    wanted: Option<Rc<Rule>>,
    /// What is outside, in words, where links may not lead there; in an image nothing is.
    outside: Option<&'static str>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Tree {
    /// The files of an image that is unpacked there.
    pub(crate) fn of_image(root: Directory) -> Self {
        Self { unread: BTreeMap::from([(String::new(), Rc::new(root))]), ..Self::default() }
    }

    /// The files of a directory of this host, out of which no path leads. `outside` says what that is.
    pub(crate) fn of_host(
        root: Directory,
        outside: &'static str,
        wanted: impl Fn(&str) -> Wanted + 'static,
    ) -> Self {
        let wanted: Rc<Rule> = Rc::new(wanted);
        Self { wanted: Some(wanted), outside: Some(outside), ..Self::of_image(root) }
    }

    /// How many entries of it are known by now.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What there is at a path of which no name but the last is a link. The root is a directory.
    pub(crate) fn entry(&mut self, path: &str) -> Result<Option<&Entry>, LayerError> {
        self.read("")?;
        for (at, _) in path.match_indices('/') {
            self.read(&path[..at])?;
        }
        Ok(self.entries.get(path))
    }

    pub(crate) fn is_directory(&mut self, path: &str) -> Result<bool, LayerError> {
        let found = self.entry(path)?;
        Ok(path.is_empty() || found.is_some_and(|entry| matches!(entry.node, Node::Directory)))
    }

    /// Where a path leads: a path of which no name is a link. What is missing on the way is taken
    /// for directories. In an image, an absolute link starts at the root, and above that there is
    /// nothing; of a directory of this host nothing leads out.
    pub(crate) fn follow(&mut self, path: &str) -> Result<String, LayerError> {
        let refused = |reason: String| LayerError::Refused { path: shown(path.as_bytes()), reason };
        let outside = self.outside;
        let out = || outside.map(|outside| refused(format!("it leads out of {outside}")));
        let mut at = String::new();
        let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    if at.is_empty() {
                        out().map_or(Ok(()), Err)?;
                    }
                    at.truncate(at.rfind('/').unwrap_or_default());
                    continue;
                }
                _ => {}
            }
            let next = join(&at, &name);
            if PATH_MAX < next.len() {
                return Err(refused("its path is longer than 4096 bytes".to_owned()));
            }
            let goes_on = ahead.iter().any(|name| !matches!(name.as_str(), "" | "."));
            match self.entry(&next)?.map(|entry| &entry.node) {
                Some(Node::Link(target)) => {
                    let target = Rc::clone(target);
                    links += 1;
                    if LINKS_MAX < links {
                        return Err(refused("it leads through too many links".to_owned()));
                    }
                    if target.starts_with('/') {
                        out().map_or(Ok(()), Err)?;
                        at.clear();
                    }
                    ahead.extend(target.split('/').rev().map(str::to_owned));
                    continue;
                }
                Some(Node::Directory) | None => {}
                Some(_) if goes_on => {
                    let shown = shown(next.as_bytes());
                    return Err(refused(format!("`{shown}` on its way is not a directory")));
                }
                Some(_) => {}
            }
            at = next;
        }
        Ok(at)
    }

    /// The names in a directory.
    pub(crate) fn names(&mut self, path: &str) -> Result<Vec<String>, LayerError> {
        self.entry(&join(path, "x"))?;
        let inner = self.below(path).filter_map(|(inner, _)| {
            let name = if path.is_empty() { inner } else { &inner[path.len() + 1..] };
            (!name.contains('/')).then(|| name.to_owned())
        });
        Ok(inner.collect())
    }

    /// All that is in a directory, by its path from there.
    pub(crate) fn all(&mut self, path: &str) -> Result<Vec<(String, Entry)>, LayerError> {
        self.entry(path)?;
        self.read(path)?;
        while let Some(next) = self.first_unread(path) {
            self.read(&next)?;
        }
        let skipped = if path.is_empty() { 0 } else { path.len() + 1 };
        let found = self.below(path);
        Ok(found.map(|(inner, entry)| (inner[skipped..].to_owned(), entry.clone())).collect())
    }

    /// Puts something into the tree, and among the changes, with the directories that it needs. What
    /// was there is replaced, but no directory by something else, and nothing else by a directory.
    pub(crate) fn add(
        &mut self,
        path: &str,
        entry: Entry,
        changes: &mut Changes,
    ) -> Result<(), LayerError> {
        let names = guest_way(path)?.names().join("/");
        let refused = |reason: &str| LayerError::Refused {
            path: shown(path.as_bytes()),
            reason: reason.to_owned(),
        };
        if let Node::Strange(reason) = entry.node {
            return Err(refused(reason));
        }
        let is_directory = matches!(entry.node, Node::Directory);
        if names.is_empty() {
            return if is_directory {
                Ok(())
            } else {
                Err(refused("only a directory can be the root"))
            };
        }
        for (at, _) in names.match_indices('/') {
            self.add_one(&names[..at], Node::Directory.into(), changes)?;
        }
        self.add_one(&names, entry, changes)
    }

    fn add_one(
        &mut self,
        path: &str,
        entry: Entry,
        changes: &mut Changes,
    ) -> Result<(), LayerError> {
        let is_plain = entry.mode.is_none() && entry.owner == (0, 0);
        let is_directory = matches!(entry.node, Node::Directory);
        match self.entry(path)? {
            Some(found) if matches!(found.node, Node::Directory) != is_directory => {
                return Err(LayerError::Both { guest: shown(path.as_bytes()) });
            }
            Some(_) if is_directory && is_plain => return Ok(()),
            _ => {}
        }
        changes.insert(path.to_owned(), entry.clone());
        self.insert(path.to_owned(), entry)
    }

    fn insert(&mut self, path: String, entry: Entry) -> Result<(), LayerError> {
        self.entries.insert(path, entry);
        let fits = self.entries.len() as u64 <= ENTRIES_MAX;
        fits.then_some(()).ok_or(LayerError::TooMany)
    }

    /// What is below a directory, as far as it was read.
    fn below(&self, path: &str) -> impl Iterator<Item = (&String, &Entry)> {
        let (first, end) = match path {
            "" => (Bound::Unbounded, Bound::Unbounded),
            // `0` comes after the slash.
            _ => (Bound::Excluded(format!("{path}/")), Bound::Excluded(format!("{path}0"))),
        };
        self.entries.range((first, end))
    }

    fn first_unread(&self, path: &str) -> Option<String> {
        let first = if path.is_empty() { String::new() } else { format!("{path}/") };
        let (next, _) = self.unread.range(first.clone()..).next()?;
        next.starts_with(&first).then(|| next.clone())
    }

    /// Reads a directory of this host, if it is one that was not read.
    fn read(&mut self, path: &str) -> Result<(), LayerError> {
        match self.unread.remove(path) {
            Some(below) => self.read_of(&below, path, true).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Reads a directory, and says whether there is anything in it. What is found in one that is not
    /// wanted itself is read at once, since nobody knows of it before.
    fn read_of(
        &mut self,
        below: &Rc<Directory>,
        path: &str,
        is_wanted: bool,
    ) -> Result<bool, LayerError> {
        let reading = |path: &str| {
            let path = shown(path.as_bytes());
            |source| LayerError::Read { path, source }
        };
        let directory = below.descend(path).map_err(reading(path))?;
        let above: Rc<str> = path.into();
        let mut has_any = false;
        for (name, kind) in directory.entries().map_err(reading(path))? {
            let node = |node| (node, name.to_string_lossy().into_owned());
            let (node, name) = match (name.to_str(), kind) {
                (None, _) => node(Node::Strange("its name is not UTF-8")),
                (Some(_), Kind::Directory) => node(Node::Directory),
                (Some(name), Kind::File) => node(Node::File(HostFile {
                    below: Rc::clone(below),
                    above: Rc::clone(&above),
                    name: name.into(),
                })),
                (Some(name), Kind::Link) => {
                    let target = directory.read_link(name).map_err(reading(&join(path, name)))?;
                    node(match target.to_str() {
                        Some(target) => Node::Link(target.into()),
                        None => Node::Strange("what it leads to is not UTF-8"),
                    })
                }
                (Some(_), Kind::Other) => {
                    node(Node::Strange("it is neither a file, nor a directory, nor a link"))
                }
            };
            let inner = join(path, &name);
            let wanted = self.wanted.as_ref().map_or(Wanted::Yes, |wanted| wanted(&inner));
            let is_directory = matches!(node, Node::Directory);
            match wanted {
                Wanted::Yes => {
                    if is_directory {
                        self.unread.insert(inner.clone(), Rc::clone(below));
                    }
                    self.insert(inner, node.into())?;
                    has_any = true;
                }
                Wanted::Inside if is_directory => {
                    guest_way(&inner)?;
                    if self.read_of(below, &inner, false)? {
                        self.insert(inner, node.into())?;
                        has_any = true;
                    }
                }
                Wanted::Inside | Wanted::No => {}
            }
        }
        Ok(has_any || is_wanted)
    }
}

/// A path in an image, as what it may be.
pub(super) fn guest_way(guest: &str) -> Result<Way<'_>, LayerError> {
    let refused = |reason| LayerError::Refused { path: shown(guest.as_bytes()), reason };
    let way = Way::parse(if guest.is_empty() { b"." } else { guest.as_bytes() })
        .map_err(|reason| refused(reason.to_owned()))?;
    if way.names().iter().any(|name| name.starts_with(".wh.")) {
        return Err(refused("readers of layers would remove something instead".to_owned()));
    }
    Ok(way)
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new(files: &[&str], links: &[(&str, &str)]) -> Self {
            let place = Self(tempfile::tempdir().expect("a directory"));
            for file in files {
                let path = place.0.path().join(file);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                fs::write(path, file).expect("a file");
            }
            for (link, target) in links {
                let (above, name) = link.rsplit_once('/').unwrap_or(("", link));
                let above = place.root().descend(above).expect("a directory");
                above.create_link(name, target.as_ref()).expect("a link");
            }
            place
        }

        fn root(&self) -> Directory {
            Directory::open(self.0.path()).expect("a directory")
        }

        fn image(&self) -> Tree {
            Tree::of_image(self.root())
        }

        fn context(&self, wanted: impl Fn(&str) -> Wanted + 'static) -> Tree {
            Tree::of_host(self.root(), "the context", wanted)
        }
    }

    fn paths(tree: &mut Tree, path: &str) -> Vec<String> {
        tree.all(path).expect("read").into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_directory_is_read_when_it_is_asked_for() {
        let place = Place::new(&["a/b/c", "a/d", "a.x", "e/f"], &[]);
        let mut tree = place.image();
        assert!(tree.entry("a/d").expect("read").is_some());
        assert_eq!(tree.len(), 5);
        fs::write(place.0.path().join("a/late"), "").expect("a file");
        assert!(tree.entry("a/late").expect("read").is_none());
        assert_eq!(paths(&mut tree, "a"), ["b", "b/c", "d"]);
        assert_eq!(tree.names("a").expect("read"), ["b", "d"]);
        assert_eq!(tree.names("").expect("read"), ["a", "a.x", "e"]);
        assert_eq!(paths(&mut tree, ""), ["a", "a.x", "a/b", "a/b/c", "a/d", "e", "e/f"]);
        assert!(tree.names("none").expect("read").is_empty());
    }

    #[test]
    fn links_start_at_the_root_of_an_image_and_do_not_lead_out_of_a_context() {
        let links = [
            ("in", "d"),
            ("abs", "/d/e"),
            ("up", "../../d"),
            ("round", "round"),
            ("d/back", "../in/e"),
        ];
        let place = Place::new(&["d/e/f", "g"], &links);
        let mut image = place.image();
        for (path, expected) in [
            ("/in/e/f", "d/e/f"),
            ("abs/f", "d/e/f"),
            ("up/e", "d/e"),
            ("d/back/f", "d/e/f"),
            ("../../g", "g"),
            ("in/../g", "g"),
            ("new/../x/./y", "x/y"),
            ("", ""),
        ] {
            assert_eq!(image.follow(path).expect(path), expected, "{path}");
        }
        let mut context = place.context(|_| Wanted::Yes);
        assert_eq!(context.follow("d/back/f").expect("followed"), "d/e/f");
        for (path, expected) in
            [("round/x", "too many links"), ("g/x", "`g` on its way is not a directory")]
        {
            let error = image.follow(path).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        for path in ["abs/f", "up", "../g", "d/../../g"] {
            let error = context.follow(path).expect_err(path).to_string();
            assert!(error.contains("leads out of the context"), "{error}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_there_and_what_is_in_it_may_be() {
        let place = Place::new(&["a/b/keep", "a/b/c", "d/e", "f"], &[]);
        let mut tree = place.context(|path| match path {
            "f" => Wanted::Yes,
            _ if path.ends_with("keep") => Wanted::Yes,
            _ => Wanted::Inside,
        });
        assert_eq!(paths(&mut tree, ""), ["a", "a/b", "a/b/keep", "f"]);
        let mut tree = place.context(|path| if path == "a" { Wanted::No } else { Wanted::Yes });
        assert!(tree.entry("a/b/keep").expect("read").is_none());
        assert_eq!(paths(&mut tree, ""), ["d", "d/e", "f"]);
    }

    #[test]
    fn a_change_brings_its_directories_and_leaves_those_that_are_there() {
        let place = Place::new(&["usr/f"], &[]);
        let mut tree = place.image();
        let mut changes = Changes::new();
        let mut add = |path, node: Node| tree.add(path, node.into(), &mut changes);
        add("/usr/local/bin", Node::Directory).expect("added");
        add("usr/f", Node::Link("x".into())).expect("replaced");
        for (path, node, expected) in [
            ("usr", Node::Link("x".into()), "something else as well"),
            ("usr/f", Node::Directory, "something else as well"),
            ("usr/f/x", Node::Directory, "something else as well"),
            ("/", Node::Link("x".into()), "only a directory"),
            ("../x", Node::Directory, "leads upwards"),
            ("a/.wh.x", Node::Directory, "would remove something"),
            ("x", Node::Strange("it is odd"), "it is odd"),
        ] {
            let error = add(path, node).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["usr/f", "usr/local", "usr/local/bin"]);
        assert!(tree.is_directory("usr/local").expect("read"));
    }
}
