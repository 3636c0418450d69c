//! A list of system calls: not here.

use std::fs::File;

use crate::platform::Lack;
use crate::platform::Threads;

/// Nothing: this platform does not know such lists.
pub(crate) fn restrict(
    _report: &File,
    _leash: Option<&File>,
    _threads: Threads,
) -> Result<String, Lack> {
    probe()
}

/// What [`restrict`] would find.
pub(crate) fn probe() -> Result<String, Lack> {
    Err(Lack {
        reason: "this platform has no list of system calls".to_owned(),
        remedy: "use Linux",
    })
}
