//! What a verb failed at, and of what kind the failure is.

use std::path::PathBuf;

use crate::capabilities::GrantError;
use crate::limits::LimitError;
use crate::sandbox::LaunchError;

/// What a verb of [`Runtime`](crate::Runtime) failed at.
///
/// Its text says only its own level; the cause is its [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime could not be opened.
    #[error("cannot open the runtime's folder `{}`", cache.display())]
    Open {
        /// The folder for artifacts.
        cache: PathBuf,
        /// Why.
        source: Cause,
    },
    /// Wasm could not be made ready to run.
    #[error("cannot prepare `{what}`")]
    Prepare {
        /// The file, or what else it came from.
        what: String,
        /// Of what kind the failure is.
        kind: ErrorKind,
        /// Why.
        source: Cause,
    },
    /// Something could not be done with an image.
    #[error("cannot {doing} `{what}`")]
    Image {
        /// What was being done.
        doing: &'static str,
        /// To which image, or file.
        what: String,
        /// Of what kind the failure is.
        kind: ErrorKind,
        /// Why.
        source: Cause,
    },
    /// Something could not be done with a sandbox that goes on alone.
    #[error("cannot {doing} `{what}`")]
    Roster {
        /// What was being done.
        doing: &'static str,
        /// To which sandbox, or file.
        what: String,
        /// Of what kind the failure is.
        kind: ErrorKind,
        /// Why.
        source: Cause,
    },
    /// A guest could not be launched.
    #[error("cannot launch `{what}`")]
    Launch {
        /// The file, or what else it came from.
        what: String,
        /// Why.
        source: LaunchError,
    },
}

/// Why something failed, for people.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Of what kind a failure is, to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for makes no sense.
    InvalidInput,
    /// There is no such file.
    NotFound,
    /// It is there, and cannot be run: it is no wasm, or lacks something.
    NotRunnable,
    /// A limit or a grant cannot be held on this host; or somebody, or a policy, does not allow it.
    Denied,
    /// The host has no room.
    Exhausted,
    /// This host lacks something that could be installed or started.
    Unavailable,
    /// Something of ours is broken.
    Internal,
}

impl Error {
    /// Of what kind the failure is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } => ErrorKind::Unavailable,
            Self::Prepare { kind, .. } | Self::Image { kind, .. } | Self::Roster { kind, .. } => {
                *kind
            }
            Self::Launch { source, .. } => match source {
                LaunchError::NotRunnable { .. } => ErrorKind::NotRunnable,
                LaunchError::Invocation { .. } => ErrorKind::InvalidInput,
                LaunchError::Limit(limit) => match limit {
                    LimitError::NoRung { .. } => ErrorKind::Denied,
                    LimitError::Zero { .. }
                    | LimitError::MemoryTooSmall { .. }
                    | LimitError::Stack { .. }
                    | LimitError::OutOfRange { .. }
                    | LimitError::UnlimitedStack
                    | LimitError::Fixed { .. } => ErrorKind::InvalidInput,
                },
                LaunchError::Grant(grant) => match &**grant {
                    GrantError::Open { .. }
                    | GrantError::NotADirectory { .. }
                    | GrantError::NotAFile { .. }
                    | GrantError::Mount { .. }
                    | GrantError::NoWorkingDirectory { .. }
                    | GrantError::HoldsCache { .. }
                    | GrantError::HoldsImages { .. } => ErrorKind::Denied,
                    GrantError::GuestPath { .. }
                    | GrantError::Twice { .. }
                    | GrantError::InFile { .. }
                    | GrantError::NoRoom { .. }
                    | GrantError::WorkingDirectory { .. }
                    | GrantError::Placement { .. }
                    | GrantError::Text { .. } => ErrorKind::InvalidInput,
                },
                LaunchError::Isolation { .. } => ErrorKind::Denied,
                LaunchError::Exhausted { .. } => ErrorKind::Exhausted,
                LaunchError::Engine { .. } | LaunchError::Stale { .. } => ErrorKind::Internal,
            },
        }
    }
}

/// An error with all its causes, for people.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
