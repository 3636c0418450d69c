//! What the server says of itself: lines in the `log` FIFO of its bundle, which containerd puts into its
//! own log.
//!
//! Nobody is waited for: a line that there is no room for is lost.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use crate::platform::stdio;

/// The name of the FIFO.
const NAME: &str = "log";

/// The longest line: what the kernel writes into a pipe in one piece.
const LINE_SIZE_MAX: usize = 4096;

/// Where lines go.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<RefCell<File>>,
    /// The namespace and the container that the server was started for.
    whose: (String, String),
}

impl Log {
    /// Writes to the FIFO in a folder, where there is one.
    pub(super) fn open(folder: &Path, namespace: &str, id: &str) -> Self {
        let file = stdio::open_log(&folder.join(NAME)).ok().map(RefCell::new);
        Self { file, whose: (namespace.to_owned(), id.to_owned()) }
    }

    /// Tells what is good to know.
    pub(super) fn info(&self, text: &str) {
        self.write("info", text);
    }

    /// Tells what went wrong, and is told to nobody else.
    pub(super) fn error(&self, text: &str) {
        self.write("error", text);
    }

    fn write(&self, level: &str, text: &str) {
        let Some(file) = &self.file else { return };
        let (namespace, id) = &self.whose;
        let line = line(SystemTime::now(), level, text, namespace, id);
        let _no_room = file.borrow_mut().write_all(line.as_bytes());
    }
}

/// A line in the form of containerd's own.
fn line(at: SystemTime, level: &str, text: &str, namespace: &str, id: &str) -> String {
    let time = humantime::format_rfc3339_millis(at);
    let beginning = format!("time=\"{time}\" level={level} msg=");
    let end = format!(" namespace={namespace:?} shim={id:?} runtime=aril\n");
    let room = LINE_SIZE_MAX.saturating_sub(beginning.len() + end.len());
    let mut said = format!("{text:?}");
    if room < said.len() {
        let cut = (0..room.saturating_sub(5)).rev().find(|at| said.is_char_boundary(*at));
        said.truncate(cut.unwrap_or(0));
        // No half of an escaped character.
        let kept = said.trim_end_matches('\\').len();
        said.truncate(kept);
        said.push_str("...\"");
    }
    format!("{beginning}{said}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_said_and_no_longer_than_a_pipe_takes() {
        let at = SystemTime::UNIX_EPOCH;
        let said = line(at, "info", "web: a \"b\"\nlevel=error", "default", "web");
        let expected = "time=\"1970-01-01T00:00:00.000Z\" level=info \
                        msg=\"web: a \\\"b\\\"\\nlevel=error\" namespace=\"default\" shim=\"web\" \
                        runtime=aril\n";
        assert_eq!(said, expected);
        for long in ["x".repeat(9000), "\u{e4}".repeat(9000), "\n".repeat(9000)] {
            let said = line(at, "error", &long, "default", "web");
            assert!(said.len() <= LINE_SIZE_MAX, "{}", said.len());
            assert!(said.contains("...\" namespace="), "{said}");
            assert_eq!(said.matches('\n').count(), 1);
        }
    }

    #[test]
    fn without_a_fifo_nothing_is_said_and_nothing_fails() {
        let dir = tempfile::tempdir().unwrap();
        Log::open(dir.path(), "default", "web").info("unheard");
    }
}
