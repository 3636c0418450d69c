//! Where this user's files are, as the environment says.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

/// The folder for machine code: the one that was named, `$ARIL_CACHE_DIR`,
/// `$XDG_CACHE_HOME/aril`, or `~/.cache/aril`.
pub(crate) fn cache(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = named
        .or_else(|| variable("ARIL_CACHE_DIR").map(PathBuf::from))
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("aril")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".cache/aril")))
        .context(
            "there is no folder for machine code: set ARIL_CACHE_DIR, or HOME, or use --cache",
        )?;
    std::path::absolute(&folder).with_context(|| format!("cannot use `{}`", folder.display()))
}

/// The folder for images: the one that was named, `$ARIL_DATA_DIR`, `$XDG_DATA_HOME/aril`, or
/// `~/.local/share/aril`; none where the environment says nothing.
pub(crate) fn data(named: Option<PathBuf>) -> Option<anyhow::Result<PathBuf>> {
    let folder = named
        .or_else(|| variable("ARIL_DATA_DIR").map(PathBuf::from))
        .or_else(|| variable("XDG_DATA_HOME").map(|dir| PathBuf::from(dir).join("aril")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".local/share/aril")))?;
    let absolute = std::path::absolute(&folder);
    Some(absolute.with_context(|| format!("cannot use `{}`", folder.display())))
}

/// The folder for what this user says: `$ARIL_CONFIG_DIR`, `$XDG_CONFIG_HOME/aril`, or
/// `~/.config/aril`; none where the environment says nothing.
pub(crate) fn config() -> Option<PathBuf> {
    variable("ARIL_CONFIG_DIR")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CONFIG_HOME").map(|dir| PathBuf::from(dir).join("aril")))
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".config/aril")))
}

/// The folder of docker's `config.json`.
pub(crate) fn docker_config() -> Option<PathBuf> {
    variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".docker")))
}

/// Where podman, buildah and skopeo keep logins, in the order in which they look for them: as
/// containers-auth.json(5) has it.
pub(crate) fn logins_of_podman() -> Vec<PathBuf> {
    let until_logout = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let lasting = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|dir| PathBuf::from(dir).join(".config")));
    let folders = until_logout.into_iter().chain(lasting);
    folders.map(|folder| folder.join("containers/auth.json")).collect()
}

/// A variable of the environment that is set, and to something.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
