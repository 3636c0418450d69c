//! A writable directory over one that stays as it is: this platform has none.

use std::fs::File;
use std::io;
use std::path::Path;

/// No namespace would help.
pub(crate) fn needs_namespace() -> bool {
    false
}

/// Refuses: there are no namespaces.
pub(crate) fn enter_namespace() -> io::Result<()> {
    Err(missing())
}

/// Refuses: there is no overlay.
pub(crate) fn overlay(_lower: &Path, _upper: &Path, _work: &Path) -> io::Result<(File, File)> {
    Err(missing())
}

/// Refuses: there are no namespaces.
pub(crate) fn try_namespace() -> io::Result<()> {
    Err(missing())
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no overlay of directories")
}
