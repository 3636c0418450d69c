//! The kernel's own list of directories: not here.

use std::fs::File;

use crate::platform::Lack;
use crate::platform::Reach;

/// Nothing: this platform does not know such lists.
pub(crate) fn restrict(_grants: &[(&File, Reach)]) -> Result<String, Lack> {
    probe()
}

/// What [`restrict`] would find.
pub(crate) fn probe() -> Result<String, Lack> {
    let reason = "this platform has no landlock".to_owned();
    Err(Lack { reason, remedy: "use Linux, or a user of its own" })
}
