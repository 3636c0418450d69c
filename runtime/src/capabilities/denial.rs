//! What a guest tried and was refused, for the one who runs it. The guest learns nothing of it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No grant covers the path.
    NotGranted,
    /// The path leads out of what was granted.
    Outside,
    /// What was granted may only be read.
    ReadOnly,
    /// As many files were open as may be.
    TooManyFiles,
}

impl Refusal {
    pub(crate) const ALL: [Self; 4] =
        [Self::NotGranted, Self::Outside, Self::ReadOnly, Self::TooManyFiles];

    /// The word for it in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotGranted => "not_granted",
            Self::Outside => "outside",
            Self::ReadOnly => "read_only",
            Self::TooManyFiles => "too_many_files",
        }
    }
}

/// Something that a guest tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// The path as the guest sees it. The guest chose it: escape it before you show it.
    pub path: String,
    /// Why it was refused.
    pub refusal: Refusal,
    /// Which of its calls to the host that was, from 1 on. One shortly before the last is likely
    /// what ended the guest.
    pub call: u64,
    /// Whether the guest named the path in the last line that it wrote: what programs end of, they
    /// complain of. Known once it has ended.
    pub named: bool,
    /// Whether it named it before that line, and went on: as where it tells which files it was
    /// in when something else failed.
    pub passed: bool,
}

/// How many denials are kept: the latest ones tell why a run failed.
pub(crate) const DENIALS_MAX: usize = 16;

/// The longest path that is kept, in bytes.
const PATH_SIZE_MAX: usize = 1024;

impl Denial {
    /// What a guest was refused. Of an endless path, the beginning is kept.
    pub(crate) fn new(path: &str, refusal: Refusal) -> Self {
        Self { path: Self::shown(path).to_owned(), refusal, call: 0, named: false, passed: false }
    }

    /// What somebody says that a guest was refused.
    pub(crate) fn told(path: &str, refusal: Refusal, call: u64) -> Self {
        Self { call, ..Self::new(path, refusal) }
    }

    /// As much of a guest's path as is kept: it may be as long as the guest has memory.
    pub(crate) fn shown(path: &str) -> &str {
        let end = path.len().min(PATH_SIZE_MAX);
        let end = (0..=end).rev().find(|i| path.is_char_boundary(*i)).unwrap_or(0);
        &path[..end]
    }
}

/// What was written last, apart from what was written before. What Rust says of its backtraces
/// behind an error is not part of it.
fn last_line(words: &[u8]) -> (&[u8], &[u8]) {
    let mut end = words.len();
    loop {
        let text = words[..end].trim_ascii_end();
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = &text[start..];
        if line.starts_with(b"note: ") && 0 < start {
            end = start;
            continue;
        }
        return (&text[..start], line);
    }
}

/// Whether the last part of `path` is anywhere among the words.
fn is_mentioned(words: &[u8], path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).as_bytes();
    let mut rests = (0..words.len()).map(|start| &words[start..]);
    !name.is_empty() && rests.any(|rest| rest.starts_with(name))
}

/// Whether one of the words is `path`, or the end of it that a guest with a working directory, or
/// whose grant is its root, would say.
fn is_named(words: &[u8], path: &str) -> bool {
    let apart = |byte: &u8| {
        byte.is_ascii_whitespace() || byte.is_ascii_control() || b"'\"`:,;()[]<>=".contains(byte)
    };
    words.split(apart).any(|word| {
        // The end of a sentence.
        let word = word.strip_suffix(b".").unwrap_or(word);
        // A plain word may be about anything.
        let is_path = word.contains(&b'/') || word.contains(&b'.');
        let rest = path.as_bytes().strip_suffix(word).filter(|_| is_path);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
    })
}

/// The latest denials of one guest.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    latest: Mutex<VecDeque<Denial>>,
}

impl Denials {
    /// Notes a denial. One that is kept already becomes the latest again.
    pub(crate) fn note(&self, denial: Denial) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|other| (&other.path, other.refusal) != (&denial.path, denial.refusal));
        if latest.len() == DENIALS_MAX {
            latest.pop_front();
        }
        latest.push_back(denial);
    }

    /// The latest denials, oldest first, of a guest that ended with these words.
    pub(crate) fn latest(&self, last_words: &[u8]) -> Vec<Denial> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, last) = last_line(last_words);
        let judged = |denial: &Denial| {
            let named = is_named(last, &denial.path);
            Denial { named, passed: !named && is_mentioned(before, &denial.path), ..denial.clone() }
        };
        latest.iter().map(judged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_denials_are_kept() {
        let denials = Denials::default();
        for i in 0..20 {
            denials.note(Denial::new(&format!("/{i}"), Refusal::NotGranted));
        }
        denials.note(Denial::new("/10", Refusal::NotGranted));
        let latest = denials.latest(b"");
        assert_eq!(latest.len(), DENIALS_MAX);
        assert_eq!(latest.last().map(|denial| denial.path.as_str()), Some("/10"));
    }

    #[test]
    fn a_denial_is_named_where_the_guest_ended_with_its_path() {
        let named = |words: &str, path: &str| is_named(words.as_bytes(), path);
        for (words, path) in [
            ("FileNotFoundError: [Errno 44] No such file: '/etc/hostname'\n", "/etc/hostname"),
            ("/etc/hostname: No such file or directory", "/etc/hostname"),
            ("cannot read /etc/hostname.", "/etc/hostname"),
            ("open(\"notes.txt\") failed", "/data/notes.txt"),
            ("no access to ../secret.txt", "/data/../secret.txt"),
        ] {
            assert!(named(words, path), "{words}");
        }
        for (words, path) in [
            ("", "/etc/hostname"),
            ("no such hostname", "/etc/hostname"),
            ("File \"/lib/os.py\", line 3", "/other/lib/os.py"),
            ("/etc/hostname.old is gone", "/etc/hostname"),
            ("/etc: gone", "/etc/hostname"),
            ("the end.", "/etc/hostname"),
        ] {
            assert!(!named(words, path), "{words}");
        }
    }

    #[test]
    fn what_is_told_on_the_way_to_another_error_is_not_what_the_guest_ended_of() {
        let traceback =
            b"Traceback:\n  File \"/lib/json/decoder.py\", line 3\n  File \"<string>\"\n\
            JSONDecodeError: line 1 column 2\n";
        let rust = b"Error: cannot open /data/x\nnote: run with `RUST_BACKTRACE=1`\n";
        let denials = Denials::default();
        for path in ["/lib/json/decoder.py", "/<string>", "/data/x", "/other"] {
            denials.note(Denial::new(path, Refusal::NotGranted));
        }
        let told = |words| {
            let latest = denials.latest(words);
            latest.iter().map(|denial| (denial.named, denial.passed)).collect::<Vec<_>>()
        };
        let (nothing, passed, named) = ((false, false), (false, true), (true, false));
        assert_eq!(told(traceback), [passed, passed, nothing, nothing]);
        assert_eq!(told(rust), [nothing, nothing, named, nothing]);
        assert_eq!(told(b"note: x"), [nothing; 4]);
    }

    #[test]
    fn an_endless_path_is_cut_at_a_character() {
        let denial = Denial::new(&format!("a{}", "ä".repeat(5000)), Refusal::Outside);
        assert_eq!(denial.path.len(), PATH_SIZE_MAX - 1);
        assert!(denial.path.capacity() <= PATH_SIZE_MAX, "nothing of the rest is held");
    }
}
