//! Where this user's files are, as the environment says.

use std::path::PathBuf;

use anyhow::Context as _;

/// The folder for machine code: the one that was named, `$ARIL_CACHE_DIR`,
/// `$XDG_CACHE_HOME/aril`, or `~/.cache/aril`.
pub(crate) fn cache(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = named
        .or_else(|| variable("ARIL_CACHE_DIR").map(PathBuf::from))
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("aril")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".cache/aril")))
        .context(
            "there is no folder for machine code: set ARIL_CACHE_DIR, or HOME, or use --cache",
        )?;
    std::path::absolute(&folder).with_context(|| format!("cannot use `{}`", folder.display()))
}
