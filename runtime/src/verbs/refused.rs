//! Why an archive or a layout is not loaded, in words that quote next to nothing of it.

use std::io;

use crate::content::StoreError;
use crate::error::Cause;
use crate::error::ErrorKind;

use super::images::Failure;
use super::images::kind_of;

pub(super) fn of_store(error: StoreError) -> Failure {
    (kind_of(&error), error.into())
}

pub(super) fn not_runnable(reason: impl Into<Cause>) -> Failure {
    (ErrorKind::NotRunnable, reason.into())
}

pub(super) fn unreadable(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, error.into()),
        _ => not_runnable(error),
    }
}

/// What is told of something that is no archive, or is one for as many files.
pub(super) fn no_archive(error: &io::Error, files: usize) -> Failure {
    /// How the reader's errors begin that say no more than that there is no head of a file, and
    /// quote what is there instead.
    const NO_HEAD: [&str; 2] = ["numeric field", "archive header checksum"];
    /// How the one does where something ends before a head does.
    const SHORT: &str = "failed to read entire block";
    let told = error.to_string();
    let is_head = NO_HEAD.iter().any(|begin| told.starts_with(begin));
    not_runnable(match files {
        0 if is_head || told.starts_with(SHORT) => {
            "it is no archive: it is neither tar, nor tar compressed with gzip".to_owned()
        }
        _ if is_head => {
            format!("it is a broken archive: what follows its file number {files} is no tar")
        }
        _ => {
            let told: String = told.chars().take(100).collect();
            format!("it is no whole archive: {}", told.escape_debug())
        }
    })
}
