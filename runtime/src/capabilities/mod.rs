//! What a guest may touch: directories, environment, standard streams. Denied until granted.

mod denial;
mod directory;
mod environment;
mod files;
mod shared_writer;
mod stdio;
mod wasi;

pub use denial::Denial;
pub use denial::Refusal;
pub use directory::Access;
pub use directory::Directory;
pub use directory::GrantError;
pub use stdio::Input;
pub use stdio::Output;

pub(crate) use denial::DENIALS_MAX;
pub(crate) use denial::Denials;
pub(crate) use directory::check_guest_path;
pub(crate) use environment::check_variable;
pub(crate) use files::Files;
pub(crate) use files::KnownFiles;
pub(crate) use stdio::InEnd;
pub(crate) use stdio::OutEnd;
pub(crate) use stdio::WriteError;
pub(crate) use stdio::stream_pair;
pub(crate) use wasi::Preopen;
pub(crate) use wasi::Streams;
pub(crate) use wasi::check;
pub(crate) use wasi::context;

/// What one guest may touch. The default denies: no directories, no environment, no arguments but
/// its name, standard input closed, output discarded. There is no network. Clocks and randomness are real,
/// because TLS and most languages need them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities {
    pub(crate) directories: Vec<Directory>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: Option<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}
