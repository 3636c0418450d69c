//! Folders that nobody but their owner looks into.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The mode of one.
const OWN: u32 = 0o700;

/// Makes a folder, and those above it that are missing.
pub(crate) fn make_above(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWN).create(path)
}

/// Makes a folder that was not there.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(OWN).create(path)
}
