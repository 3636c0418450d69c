//! What a container engine hands over: a folder with a `config.json`, and what that asks for.
//!
//! The form is that of the [OCI runtime specification](https://github.com/opencontainers/runtime-spec),
//! up to 1.3. Reading is one thing and translating another: [`Container::from_spec`] is a pure function
//! of the configuration, so that what each setting becomes is written down in pairs of files.

mod annotations;
mod container;
mod convert;
mod identity;
mod mounts;
mod refusal;
mod resources;

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use oci_spec::runtime::Spec;

pub use container::Container;
pub use container::GroupPlace;
pub use container::Join;
pub use container::Mounted;
pub use container::Root;
pub use container::Share;
pub use container::Terminal;
pub use container::User;
pub use refusal::Refusal;
pub use resources::limits_of;

/// The name of the configuration in a bundle.
pub(crate) const CONFIG: &str = "config.json";

/// The largest configuration, in bytes: several times that of a pod with all that Kubernetes lets
/// it have, whose objects are 1.5 MiB at the most.
const CONFIG_SIZE_MAX: u64 = 8 << 20;

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Its configuration cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The configuration.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its configuration is no file.
    #[error("`{}` is no regular file", path.display())]
    NotAFile {
        /// The configuration.
        path: PathBuf,
    },
    /// Its configuration is larger than any that means something.
    #[error("`{}` is larger than {} MiB", path.display(), CONFIG_SIZE_MAX >> 20)]
    TooLarge {
        /// The configuration.
        path: PathBuf,
    },
    /// Its configuration is none.
    #[error("`{}` is no configuration of the OCI runtime specification", path.display())]
    Form {
        /// The configuration.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It asks for what cannot be.
    #[error("`{}`: {refusal}", path.display())]
    Refused {
        /// The configuration.
        path: PathBuf,
        /// What is refused.
        refusal: Refusal,
    },
}

/// Reads the configuration of the bundle in a folder, and what it asks for.
///
/// # Errors
///
/// Fails where there is none, it is none, or it asks for what a guest cannot have.
pub fn read(folder: &Path) -> Result<Container, BundleError> {
    let path = folder.join(CONFIG);
    let spec = read_spec(&path)?;
    Container::from_spec(&spec).map_err(|refusal| BundleError::Refused { path, refusal })
}

/// Reads a configuration.
///
/// # Errors
///
/// Fails where it cannot be read, is larger than 8 MiB, or is none.
pub fn read_spec(path: &Path) -> Result<Spec, BundleError> {
    let failed = |source| BundleError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // A pipe would be waited for.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(BundleError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if CONFIG_SIZE_MAX < bytes.len() as u64 {
        return Err(BundleError::TooLarge { path: path.to_owned() });
    }
    serde_json::from_slice(&bytes)
        .map_err(|source| BundleError::Form { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
