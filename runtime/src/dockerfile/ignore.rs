//! Which files of the context are left out: what `.dockerignore` says.
//!
//! Source: the reference of `.dockerignore`, and moby's `patternmatcher` where that is silent. The
//! `ignore` crate has the rules of git, in which a pattern without a slash is at any depth; here it is
//! at the root.

use super::Invalid;
use super::pattern::Pattern;
use super::text_of;

/// The most patterns: each is tried with each file.
const PATTERNS_MAX: usize = 1000;

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignore {
    // In their order, with whether what they mean is left out, or taken in again.
    patterns: Vec<(Pattern, bool)>,
}

/// Which patterns mean a path, or something above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met(Vec<bool>);

impl Ignore {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut patterns = Vec::new();
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
            if patterns.len() == PATTERNS_MAX {
                return Err(wrong(format!("there are more than {PATTERNS_MAX} patterns")));
            }
            patterns.push((Pattern::parse(&told, true).map_err(wrong)?, leaves_out));
        }
        Ok(Self { patterns })
    }

    /// Looks at a path whose directory was looked at before.
    pub(crate) fn look(&self, above: &Met, path: &str) -> Met {
        let met = self.patterns.iter().enumerate().map(|(number, (pattern, _))| {
            above.0.get(number).copied().unwrap_or_default() || pattern.matches(path)
        });
        Met(met.collect())
    }

    /// Whether what was looked at is left out: the last pattern decides.
    pub(crate) fn leaves_out(&self, met: &Met) -> bool {
        let last = self.patterns.iter().zip(&met.0).rev().find(|(_, is_met)| **is_met);
        last.is_some_and(|((_, leaves_out), _)| *leaves_out)
    }

    /// Whether something in a directory that is left out may be taken in again.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|(_, leaves_out)| !leaves_out)
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
    fn what_is_no_pattern_is_told_with_its_line() {
        let many = "a\n".repeat(1001);
        for (file, line, expected) in [
            (&b"a\n[\n"[..], 2, "is no pattern"),
            (b"a\n\n!\n", 3, "takes nothing in"),
            (b"a\n\xff\n", 2, "not UTF-8"),
            (many.as_bytes(), 1001, "more than 1000"),
        ] {
            let error = Ignore::parse(file).expect_err(expected);
            assert!(error.line == line && error.reason.contains(expected), "{error}");
        }
    }
}
