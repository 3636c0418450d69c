//! What a guest may touch: directories, environment, standard streams. Denied until granted.

mod denial;
mod directory;
mod environment;
mod files;
mod shared_writer;
mod single_file;
mod stdio;
mod tmpfs;
mod wasi;

pub use denial::Denial;
pub use denial::Refusal;
pub use directory::Access;
pub use directory::Directory;
pub use directory::GrantError;
pub use single_file::SingleFile;
pub use stdio::Input;
pub use stdio::Output;
pub use tmpfs::Tmpfs;

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
pub(crate) use wasi::covering;
pub(crate) use wasi::rest_in;

/// What one guest may touch. The default denies: no directories, no environment, no arguments but
/// its name, standard input closed, output discarded. There is no network. Clocks and randomness are real,
/// because TLS and most languages need them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities {
    pub(crate) directories: Vec<Directory>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    pub(crate) files: Vec<SingleFile>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: Option<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Capabilities {
    /// Where the guest sees what it was granted: directories of the host, those in memory, and single
    /// files.
    pub(crate) fn places(&self) -> impl Iterator<Item = &str> {
        self.directory_places().chain(self.files.iter().map(SingleFile::guest))
    }

    /// Where the guest sees directories that it was granted.
    pub(crate) fn directory_places(&self) -> impl Iterator<Item = &str> {
        let directories = self.directories.iter().map(Directory::guest);
        directories.chain(self.tmpfs.iter().map(Tmpfs::guest))
    }

    /// The directory of the host that holds a path of the guest's, and the way to it from there; or
    /// why there is none.
    pub(crate) fn place_of(&self, path: &str) -> Result<(&Directory, String), String> {
        let absolute = format!("/{}", path.trim_start_matches('/'));
        let Some(place) = covering(self.places(), &absolute) else {
            return Err(format!("nothing that the guest was granted holds `{absolute}`"));
        };
        let directory = self.directories.iter().find(|directory| directory.guest() == place);
        let directory = directory.ok_or_else(|| {
            format!("`{place}` is in memory of the guest's own, or a single file of the host")
        })?;
        let way = absolute.get(place.len()..).unwrap_or_default().trim_start_matches('/');
        Ok((directory, way.to_owned()))
    }

    /// How many descriptors it takes to hold what was granted.
    pub(crate) fn handles(&self) -> usize {
        self.directories.len() + self.tmpfs.len() + self.files.len()
    }

    /// What takes mounts of the guest's own, if anything does: what it is, and where it is seen.
    pub(crate) fn needs_mounts(&self) -> Option<(&'static str, &str)> {
        let tmpfs = self.tmpfs.first().map(|tmpfs| ("a directory in memory", tmpfs.guest()));
        tmpfs.or_else(|| self.files.first().map(|file| ("a single file", file.guest())))
    }
}
