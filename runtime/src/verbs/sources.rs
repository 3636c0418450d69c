//! What the words of `COPY`, `ADD` and `EXPOSE` mean: files, an owner, ports.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use crate::dockerfile::Names;
use crate::dockerfile::is_pattern;
use crate::dockerfile::shown;
use crate::error::ErrorKind;
use crate::rootfs::HostFile;
use crate::rootfs::Node;
use crate::rootfs::Tree;
use crate::rootfs::open;

use super::assets::Found;
use super::assets::invalid;
use super::assets::of_layer;
use super::images::Failure;

/// The largest number of a user or a group: what a plain header of an archive has room for.
const OWNER_MAX: u32 = 0o7_777_777;

/// The most that is done to find out which names the patterns of a Dockerfile mean, in words of 64
/// places of a pattern for each character: a second or two.
const LOOKS_MAX: u64 = 1 << 26;

/// What a name costs beside its characters.
const LOOK_COST: u64 = 32;

/// The most files that one instruction may copy: more than an image may have.
const FOUND_MAX: usize = 2_000_000;

/// How much was done to find out which names patterns mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks(u64);

impl Looks {
    /// Counts a directory before it is listed, which takes a look at all that is known of the tree.
    fn into(&mut self, tree: &Tree) -> Result<(), Failure> {
        self.count(tree.len() as u64)
    }

    /// Counts a name before it is looked at.
    fn at(&mut self, names: &Names, name: &str) -> Result<(), Failure> {
        self.count(names.cost_of(name) + LOOK_COST)
    }

    fn count(&mut self, cost: u64) -> Result<(), Failure> {
        self.0 += cost;
        if LOOKS_MAX < self.0 {
            return Err(invalid(
                "its patterns are too many, too long, or in directories that are too large, to find \
                 out what they mean: copy directories, or name files",
            ));
        }
        Ok(())
    }
}

/// Where files are copied from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) tree: Tree,
    /// The file that says what is left out of it.
    pub(super) left_out: Option<String>,
}

impl Sources {
    /// Looks for something in the files of an image.
    pub(super) fn of<T>(tree: &mut Tree, look: impl FnOnce(&mut Self) -> T) -> T {
        let mut sources = Self { tree: std::mem::take(tree), left_out: None };
        let found = look(&mut sources);
        *tree = sources.tree;
        found
    }

    /// What several words mean together. There is something for each of them.
    pub(super) fn find(
        &mut self,
        words: &[String],
        is_add: bool,
        looks: &mut Looks,
    ) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        let mut count = 0;
        for word in words {
            if is_add {
                refuse_remote(word)?;
            }
            let paths =
                if is_pattern(word) { self.matching(word, looks)? } else { vec![word.clone()] };
            let mut is_any = false;
            for path in paths {
                let place = self.tree.follow(&path).map_err(of_layer)?;
                count += 1;
                if self.tree.is_directory(&place).map_err(of_layer)? {
                    let all = self.tree.all(&place).map_err(of_layer)?;
                    count += all.len();
                    found.push(Found::Directory(all));
                } else if let Some(entry) = self.tree.entry(&place).map_err(of_layer)?.cloned() {
                    if let (true, Node::File(file)) = (is_add, &entry.node) {
                        refuse_archive(word, file)?;
                    }
                    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                    found.push(Found::One { name: name.to_owned(), entry });
                } else {
                    continue;
                }
                if FOUND_MAX < count {
                    return Err(invalid(format!("it copies more than {FOUND_MAX} files")));
                }
                is_any = true;
            }
            if !is_any {
                return Err(self.missing(word));
            }
        }
        Ok(found)
    }

    fn missing(&self, word: &str) -> Failure {
        let word = shown(word);
        let reason = match &self.left_out {
            Some(file) => format!("there is no `{word}`, or `{file}` leaves it out"),
            None => format!("there is no `{word}`"),
        };
        (ErrorKind::NotFound, reason.into())
    }

    /// The paths that a pattern means, name by name.
    fn matching(&mut self, pattern: &str, looks: &mut Looks) -> Result<Vec<String>, Failure> {
        let mut paths = vec![String::new()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let names =
                is_pattern(part).then(|| Names::parse(part)).transpose().map_err(invalid)?;
            let mut next = Vec::new();
            for path in paths {
                let inner = |name: &str| {
                    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
                };
                let Some(names) = &names else {
                    next.push(inner(part));
                    continue;
                };
                let place = self.tree.follow(&path).map_err(of_layer)?;
                if !self.tree.is_directory(&place).map_err(of_layer)? {
                    continue;
                }
                looks.into(&self.tree)?;
                for name in self.tree.names(&place).map_err(of_layer)? {
                    looks.at(names, &name)?;
                    if names.matches(&name) {
                        next.push(inner(&name));
                    }
                }
            }
            paths = next;
        }
        Ok(paths)
    }
}

/// `ADD` fetches what is elsewhere, which nobody could build again from the same files.
fn refuse_remote(word: &str) -> Result<(), Failure> {
    let lower = word.to_ascii_lowercase();
    let is_git = lower.starts_with("git@") || lower.starts_with("git://");
    if is_git || ["http://", "https://", "ssh://", "ftp://"].iter().any(|it| lower.starts_with(it))
    {
        return Err(invalid(format!(
            "`ADD {}` is fetched from elsewhere, which is not done here: fetch it before, and `COPY` \
             it",
            shown(word)
        )));
    }
    Ok(())
}

/// `ADD` unpacks an archive, which is told by what is in it.
fn refuse_archive(word: &str, file: &HostFile) -> Result<(), Failure> {
    /// How far into an archive its mark is.
    const MARKED: usize = 262;
    let failed = |error: std::io::Error| -> Failure { (ErrorKind::Unavailable, error.into()) };
    let start = |from: &mut dyn std::io::Read| {
        let mut start = Vec::with_capacity(MARKED);
        from.take(MARKED as u64).read_to_end(&mut start).map(|_| start)
    };
    let raw = start(&mut open(file).map_err(of_layer)?).map_err(failed)?;
    let is_archive = match raw.as_slice() {
        // What cannot be unpacked is none.
        [0x1f, 0x8b, ..] => {
            let mut inner = MultiGzDecoder::new(open(file).map_err(of_layer)?);
            start(&mut inner).is_ok_and(|start| start.ends_with(b"ustar"))
        }
        // Those of zstd, bzip2 and xz.
        [0x28, 0xb5, 0x2f, 0xfd, ..]
        | [b'B', b'Z', b'h', ..]
        | [0xfd, b'7', b'z', b'X', b'Z', ..] => true,
        raw => raw.ends_with(b"ustar"),
    };
    if is_archive {
        return Err(invalid(format!(
            "`{}` is an archive or compressed, and `ADD` would unpack it, which is not done here: \
             unpack it before, or `COPY` it as it is",
            shown(word)
        )));
    }
    Ok(())
}

/// A user and a group, by their numbers.
pub(super) fn owner(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| match text {
        "root" => Some(0),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|number| *number <= OWNER_MAX)
        }
        _ => None,
    };
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    number(user).zip(number(group)).ok_or_else(|| {
        format!(
            "`--chown={}` is not a user's and a group's number up to {OWNER_MAX}: names would be \
             looked up in the image's `/etc/passwd`, which is not done here",
            shown(text)
        )
    })
}

/// The ports that `80`, `53/udp` or `8000-8010/tcp` means, as a configuration has them.
pub(super) fn ports(text: &str) -> Result<BTreeSet<String>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let protocol = protocol.to_ascii_lowercase();
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port != 0)
    };
    match number(first).zip(number(last)) {
        Some((first, last))
            if first <= last && matches!(protocol.as_str(), "tcp" | "udp" | "sctp") =>
        {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(format!("`{}` is no port, such as `80` or `53/udp`", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_ports_are_numbers() {
        assert_eq!(owner("1000"), Ok((1000, 1000)));
        assert_eq!(owner("root:5"), Ok((0, 5)));
        for text in ["", "www", "1:www", "2097152", "+1", ":"] {
            assert!(owner(text).is_err(), "{text}");
        }
        let told = |text| ports(text).map(|ports| ports.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(told("80").as_deref(), Ok("80/tcp"));
        assert_eq!(told("53/UDP").as_deref(), Ok("53/udp"));
        assert_eq!(told("9-11").as_deref(), Ok("10/tcp 11/tcp 9/tcp"));
        for text in ["0", "80/x", "5-4", "65536", "", "a", "1-", "80:80", "+1"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
