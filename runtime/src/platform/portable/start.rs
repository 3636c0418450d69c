//! What this process was told when it was started.

use std::ffi::OsStr;

/// Shows the words that this process was started with, its own name first.
pub(crate) fn with_words<T>(look: impl FnOnce(&[&OsStr]) -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "there is no other place of them")]
    let words: Vec<_> = std::env::args_os().collect();
    look(&words.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}
