//! The directories of a guest, opened once for all guests that are granted the same.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use wasmtime_wasi::FsPerms;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use crate::platform::machine;

use super::Capabilities;
use super::Directory;
use super::GrantError;
use super::wasi::Preopen;
use super::wasi::preopens;

/// What a guest finds open, in the order of its descriptors.
pub(crate) struct Files {
    pub(crate) preopens: Vec<Preopen>,
    template: WasiFilesystemCtx,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("preopens", &self.preopens).finish_non_exhaustive()
    }
}

impl Files {
    /// Opens what is granted, where `empty` is a directory with nothing in it. `alone` says that
    /// the guest has this process to itself, so that it may block the thread.
    ///
    /// # Errors
    ///
    /// Fails where a path is granted twice, the working directory is in no grant, or a directory
    /// cannot be opened any more.
    pub(crate) fn open(
        granted: &Capabilities,
        empty: &Path,
        alone: bool,
    ) -> Result<Self, GrantError> {
        let preopens = preopens(granted, empty)?;
        let mut builder = WasiCtxBuilder::new();
        builder.allow_blocking_current_thread(alone);
        for preopen in &preopens {
            let access =
                if preopen.is_written_to() { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            builder.preopened_dir(&preopen.host, &preopen.guest, access).map_err(|error| {
                GrantError::Open {
                    host: preopen.host.clone(),
                    source: match machine::needs() {
                        Some((_, lack, _)) => std::io::Error::other(lack),
                        None => error.downcast().unwrap_or_else(std::io::Error::other),
                    },
                }
            })?;
        }
        let template = builder.build().filesystem().clone();
        Ok(Self { preopens, template })
    }

    /// Gives the directories to a guest.
    pub(crate) fn give(&self, context: &mut WasiCtx) {
        *context.filesystem() = self.template.clone();
    }
}

/// How many sets of grants are kept open.
const KEPT_MAX: usize = 16;

/// The sets of grants that guests of a process were launched with lately.
///
/// A service launches thousands of guests with the same grants. A grant is held by handle, so that
/// all of them can share one: opening it again for each would find the same directory.
#[derive(Debug, Default)]
pub(crate) struct KnownFiles {
    kept: Mutex<Vec<Kept>>,
}

/// A set of grants, and what was opened for it.
#[derive(Debug)]
struct Kept {
    directories: Vec<Directory>,
    working_directory: Option<String>,
    files: Arc<Files>,
}

impl KnownFiles {
    /// What is open for these grants, for a guest that shares this process.
    ///
    /// # Errors
    ///
    /// As [`Files::open`].
    pub(crate) fn get(
        &self,
        granted: &Capabilities,
        empty: &Path,
    ) -> Result<Arc<Files>, GrantError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |kept: &&Kept| {
            kept.working_directory == granted.working_directory
                && kept.directories.len() == granted.directories.len()
                && kept.directories.iter().zip(&granted.directories).all(|(a, b)| a.is_same(b))
        };
        if let Some(found) = kept.iter().find(is_same) {
            return Ok(Arc::clone(&found.files));
        }
        let files = Arc::new(Files::open(granted, empty, false)?);
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept {
            directories: granted.directories.clone(),
            working_directory: granted.working_directory.clone(),
            files: Arc::clone(&files),
        });
        Ok(files)
    }
}
