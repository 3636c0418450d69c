//! A container's program, ready to run.

use std::path::Path;
use std::path::PathBuf;

use aril::Artifact;
use aril::Runtime;

use crate::bundle::Container;

use super::GuestError;
use super::program::Program;

/// Where machine code is kept if nobody says so and there is no home: where the command of the
/// administrator keeps it.
const CACHE_DEFAULT: &str = "/root/.cache/aril";

/// Why a program cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprepared {
    /// It is not there, or no wasm.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// It cannot be compiled, or kept.
    #[error(transparent)]
    Library(#[from] aril::Error),
}

/// The program of a container, ready to run. This may take as long as compiling takes.
pub(crate) fn prepare(
    runtime: &Runtime,
    container: &Container,
    bundle: &Path,
) -> Result<Artifact, Unprepared> {
    let program = Program::find(container, bundle)?;
    Ok(runtime.prepare_alone(program.source(), &container.limits, |_waited| {})?)
}

/// Where machine code is kept: as the command does it.
pub(crate) fn cache() -> PathBuf {
    let folder = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from).filter(|folder| folder.is_absolute())
    };
    folder("ARIL_CACHE_DIR")
        .or_else(|| folder("XDG_CACHE_HOME").map(|folder| folder.join("aril")))
        .or_else(|| folder("HOME").map(|folder| folder.join(".cache/aril")))
        .unwrap_or_else(|| PathBuf::from(CACHE_DEFAULT))
}
