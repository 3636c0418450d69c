//! Names in an image, as what they may be.

use super::bounds::DEPTH_MAX;
use super::bounds::NAME_MAX;
use super::bounds::PATH_MAX;

/// Where an entry is, from the root of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way<'a> {
    // Invariant: none is empty, `.` or `..`, has a slash or a zero, or is longer than a file
    // system takes; and they are not too many.
    names: Vec<&'a str>,
}

impl<'a> Way<'a> {
    /// Reads a path. A slash in front is the image's root, as all tools have it.
    pub(super) fn parse(path: &'a [u8]) -> Result<Self, &'static str> {
        if path.is_empty() {
            return Err("it has no name");
        }
        if PATH_MAX < path.len() {
            return Err("its path is longer than 4096 bytes");
        }
        // Guests see names as Unicode alone: they could neither list nor open another one.
        let text = std::str::from_utf8(path).map_err(|_| "its name is not UTF-8")?;
        if text.contains('\0') {
            return Err("its name has a zero in it");
        }
        let names: Vec<_> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.contains(&"..") {
            return Err("its path leads upwards");
        }
        if names.iter().any(|name| NAME_MAX < name.len()) {
            return Err("a name in its path is longer than 255 bytes");
        }
        if DEPTH_MAX < names.len() {
            return Err("it is more than 256 directories deep");
        }
        Ok(Self { names })
    }

    /// The names of the directories above it, and its own; nothing for the root.
    pub(super) fn split(&self) -> Option<(&[&'a str], &'a str)> {
        self.names.split_last().map(|(last, above)| (above, *last))
    }

    pub(super) fn names(&self) -> &[&'a str] {
        &self.names
    }
}

/// What a symbolic link `depth` directories below the root leads to, so that it means outside of a
/// container what it means inside: the root of the host is not its root.
///
/// An absolute target is made relative. Of a relative one, steps above the root are left out: in a
/// container, the root is above itself. Names on the way are taken for directories, as they nearly
/// always are; where one is a link, a step may lead elsewhere, and still not out, since nobody who
/// follows links in an image lets them lead out.
pub(super) fn link_target(target: &[u8], depth: usize) -> Result<String, &'static str> {
    if target.is_empty() {
        return Err("it leads nowhere");
    }
    if PATH_MAX <= target.len() {
        return Err("its target is longer than 4095 bytes");
    }
    let target = std::str::from_utf8(target).map_err(|_| "its target is not UTF-8")?;
    if target.contains('\0') {
        return Err("its target has a zero in it");
    }
    let absolute = target.starts_with('/');
    let mut names = Vec::new();
    let mut level = depth;
    if absolute {
        names.resize(depth, "..");
        level = 0;
    }
    for name in target.split('/').filter(|name| !matches!(*name, "" | ".")) {
        match name {
            ".." if level == 0 => continue,
            ".." => level -= 1,
            _ => level += 1,
        }
        names.push(name);
    }
    let mut relative = names.join("/");
    match names.last() {
        None => relative.push('.'),
        Some(&"..") => {}
        // A slash behind says that it must be a directory.
        Some(_) if target.ends_with('/') => relative.push('/'),
        Some(_) => {}
    }
    if PATH_MAX <= relative.len() {
        return Err("its target is longer than 4095 bytes, made relative");
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_means_outside_what_it_means_in_a_container() {
        for (target, depth, expected) in [
            ("/etc/x", 2, "../../etc/x"),
            ("/etc/x", 0, "etc/x"),
            ("/", 0, "."),
            ("/", 2, "../.."),
            ("//etc//./x/", 1, "../etc/x/"),
            ("../../../etc", 1, "../etc"),
            ("a/../../../b", 1, "a/../../b"),
            ("/../../etc", 1, "../etc"),
            ("../lib/x", 1, "../lib/x"),
            ("x", 3, "x"),
        ] {
            assert_eq!(link_target(target.as_bytes(), depth).as_deref(), Ok(expected), "{target}");
        }
        for target in [&b""[..], b"a\0b", b"\xff", &[b'a'; 4096], &[b'a'; 4095]] {
            assert_eq!(link_target(target, 1).is_err(), target.len() != 4095, "{}", target.len());
        }
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_is_none() {
        let deep = vec!["d"; 257].join("/");
        let long = "n".repeat(256);
        for path in ["", "../x", "a/../../x", "a/..", "a\0b", &deep, &long] {
            assert!(Way::parse(path.as_bytes()).is_err(), "{path}");
        }
        assert!(Way::parse(b"a/\xff").is_err());
        for (path, names) in
            [("/a//b/", &["a", "b"][..]), ("./a/./b", &["a", "b"]), ("./", &[]), ("..a", &["..a"])]
        {
            assert_eq!(Way::parse(path.as_bytes()).expect("a way").names(), names, "{path}");
        }
    }
}
