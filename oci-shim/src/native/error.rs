//! What a native container fails at.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::bundle::BundleError;

/// Something of a native container that failed.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The program that runs native containers is not there.
    #[error(
        "`{}` was not found, which runs the containers that are no wasm: install runc, or name another \
         program as `BinaryName` in the runtime's options", program.display()
    )]
    Missing {
        /// What was looked for.
        program: PathBuf,
    },
    /// It cannot be called.
    #[error("`{} {verb}` cannot be run for `{id}`", program.display())]
    Call {
        /// What was called.
        program: PathBuf,
        /// What for.
        verb: &'static str,
        /// The container.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    #[error("`{} {verb}` failed for `{id}` with {status}: {said}", program.display())]
    Refused {
        /// What was called.
        program: PathBuf,
        /// What for.
        verb: &'static str,
        /// The container.
        id: String,
        /// How it ended.
        status: String,
        /// What it said.
        said: String,
    },
    /// It went on for ever.
    #[error(
        "`{} {verb}` did not end for `{id}` within {} s and was killed",
        program.display(), limit.as_secs()
    )]
    TooLong {
        /// What was called.
        program: PathBuf,
        /// What for.
        verb: &'static str,
        /// The container.
        id: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The runtime went down meanwhile.
    #[error("the shim ended before a container's call did")]
    Lost,
    /// There is no such container.
    #[error("there is no container `{id}`")]
    Gone {
        /// The container.
        id: String,
    },
    /// It has ended, or was never started.
    #[error("`{id}` does not run")]
    NotRunning {
        /// The container, or the process in it.
        id: String,
    },
    /// It has not ended.
    #[error("`{id}` has not ended: kill it before it is deleted")]
    Running {
        /// The container.
        id: String,
    },
    /// A name that is none.
    #[error(
        "`{id}` is no name of a container: letters, digits and `_.-+`, and the first one a letter or a digit"
    )]
    InvalidId {
        /// The name, with nothing in it that a terminal acts on.
        id: String,
    },
    /// Its bundle cannot be used.
    #[error("the bundle of `{id}` cannot be used")]
    Bundle {
        /// The container.
        id: String,
        /// Why not.
        source: BundleError,
    },
    /// What it was handed for a call cannot be written, or what it left cannot be read.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process that was made is nobody's to wait for.
    #[error(
        "process {pid} of `{id}` cannot be waited for: the shim has to be its reaper before it makes containers"
    )]
    NotAdopted {
        /// The container.
        id: String,
        /// The process.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
    /// A stream cannot be opened.
    #[error("the {stream} of a container cannot be opened at `{}`", path.display())]
    Stream {
        /// Which one.
        stream: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its terminal cannot be used.
    #[error("the terminal of `{id}` cannot be used")]
    Terminal {
        /// The container.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// It has no terminal.
    #[error("`{id}` has no terminal")]
    NoTerminal {
        /// The container, or the process in it.
        id: String,
    },
    /// A signal cannot be sent.
    #[error("`{id}` cannot be sent signal {signal}")]
    Signal {
        /// The container, or the process in it.
        id: String,
        /// The signal.
        signal: i32,
        /// Why not.
        source: io::Error,
    },
    /// Its control groups cannot be read or cleared.
    #[error("the control groups of `{id}` cannot be {done}")]
    Groups {
        /// The container.
        id: String,
        /// What was to be done.
        done: &'static str,
        /// Why not.
        source: io::Error,
    },
}
