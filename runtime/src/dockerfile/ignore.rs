//! Which files of the context are left out: what `.dockerignore` says.
//!
//! Source: the reference of `.dockerignore`, and moby's `patternmatcher` where that is silent. The
//! `ignore` crate has the rules of git, in which a pattern without a slash is at any depth; here it is
//! at the root.

use super::Invalid;
use super::pattern::Patterns;
use super::pattern::Way;
use super::text_of;

/// The most patterns, and the most bytes of all of them: all are tried with each file.
const PATTERNS_MAX: usize = 1000;
const SIZE_MAX: usize = 64 << 10;

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignore {
    patterns: Patterns,
    // For each of them, whether what it means is left out, or taken in again.
    leave_out: Vec<bool>,
}

/// Which patterns mean a path, or something above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    patterns: Vec<u64>,
    /// How far the path leads into them; nothing above all names.
    way: Option<Way>,
}

impl Ignore {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut ignore = Self::default();
        let mut size = 0;
        for (at, line) in text_of(bytes)?.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let wrong = |reason: String| Invalid::new(at + 1, reason);
            let (told, leaves_out) = match line.trim().strip_prefix('!') {
                Some(rest) => (rest.trim(), false),
                None => (line.trim(), true),
            };
            let told = cleaned(told);
            if told.is_empty() {
                return Err(wrong("`!` takes nothing in".to_owned()));
            }
            size += told.len();
            if ignore.patterns.len() == PATTERNS_MAX || SIZE_MAX < size {
                return Err(wrong(format!(
                    "there are more than {PATTERNS_MAX} patterns, or more than {} KiB of them, and all \
                     are tried with each file: name directories instead of files",
                    SIZE_MAX >> 10
                )));
            }
            ignore.patterns.add(&told, true).map_err(wrong)?;
            ignore.leave_out.push(leaves_out);
        }
        Ok(ignore)
    }

    /// Looks at a path whose directory was looked at before.
    pub(crate) fn look(&self, above: &Met, path: &str) -> Met {
        let mut way = match &above.way {
            None => self.patterns.begin(),
            Some(way) => {
                let mut way = way.clone();
                self.patterns.follow(&mut way, "/");
                way
            }
        };
        self.patterns.follow(&mut way, path.rsplit('/').next().unwrap_or_default());
        let mut patterns = self.patterns.met(&way);
        patterns.iter_mut().zip(&above.patterns).for_each(|(met, above)| *met |= above);
        Met { patterns, way: Some(way) }
    }

    /// Whether what was looked at is left out: the last pattern decides.
    pub(crate) fn leaves_out(&self, met: &Met) -> bool {
        self.patterns.last_of(&met.patterns).is_some_and(|last| self.leave_out[last])
    }

    /// Whether something in a directory that is left out may be taken in again.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.leave_out.contains(&false)
    }
}

/// A pattern without the steps that lead nowhere, as Go's `filepath.Clean` has it, from the root.
fn cleaned(pattern: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            // Above the root is the root; else it means nothing that there is.
            ".." if pattern.starts_with('/') => {}
            name => names.push(name),
        }
    }
    if names.is_empty() && !pattern.is_empty() { ".".to_owned() } else { names.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_left_out(file: &str, path: &str) -> bool {
        let ignore = Ignore::parse(file.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let met = ends.fold(Met::default(), |above, end| ignore.look(&above, &path[..end]));
        ignore.leaves_out(&met)
    }

    #[test]
    fn what_moby_leaves_out_is_left_out() {
        // Most of them are moby's own cases.
        for (file, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("abc.def", "abcdef", false),
            ("abc?def", "abcZdef", true),
            ("a\\*b", "a*b", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("**/foo/bar", "foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            // What is in a directory goes with it.
            ("docs", "docs/a/README.md", true),
            ("docs/", "docs/a", true),
            ("/docs", "docs", true),
            ("./a/../docs/", "docs", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*/*.md", "docs/README.md", true),
            // The last one decides.
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md\nREADME*", "README.md", true),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/other", true),
            ("*\n!docs", "docs/a/b", false),
            ("**\n!util/*.txt\n", "util/foo.txt", false),
            ("**\n!util/*.txt\n", "util/foo/bar.txt", true),
            ("#docs\n \n  docs  \n ! docs/a ", "docs/a", false),
            ("\u{feff}docs\r\n", "docs", true),
            ("..", "a", false),
            (".", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(is_left_out(file, path), expected, "{file:?} {path}");
        }
    }

    #[test]
    fn hostile_patterns_cost_little_for_each_file() {
        // As many and as long as they may be, each with as many ways as it can have.
        let line = format!("{}b\n", "*a".repeat(32));
        let ignore = Ignore::parse(line.repeat(900).as_bytes()).expect("patterns");
        let name = "a".repeat(200);
        let directories = (0..10).map(|_| name.as_str()).collect::<Vec<_>>().join("/");
        let ends = directories.match_indices('/').map(|(at, _)| at).chain([directories.len()]);
        let started = std::time::Instant::now();
        let above =
            ends.fold(Met::default(), |above, end| ignore.look(&above, &directories[..end]));
        for number in 0..200 {
            let met = ignore.look(&above, &format!("{directories}/{name}{number}"));
            assert!(!ignore.leaves_out(&met));
        }
        // It takes a fraction of that; one way after the other, or the whole path each time, takes
        // minutes.
        assert!(started.elapsed() < std::time::Duration::from_secs(15), "{:?}", started.elapsed());
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_line() {
        let many = "a\n".repeat(1001);
        let large = format!("{}\n", "a".repeat(4096)).repeat(17);
        for (file, line, expected) in [
            (&b"a\n[\n"[..], 2, "is no pattern"),
            (b"a\n\n!\n", 3, "takes nothing in"),
            (b"a\n\xff\n", 2, "not UTF-8"),
            (many.as_bytes(), 1001, "more than 1000 patterns"),
            (large.as_bytes(), 17, "more than 64 KiB of them"),
        ] {
            let error = Ignore::parse(file).expect_err(expected);
            assert!(error.line == line && error.reason.contains(expected), "{error}");
        }
    }
}
