//! What unpacking an image can fail at.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::platform::files;

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("cannot prepare `{}`", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot read the layer {layer}")]
    Read { layer: Digest, source: io::Error },
    #[error("the layer {layer} is not what its image says: {reason}")]
    Broken { layer: Digest, reason: String },
    #[error("cannot decompress the layer {layer}")]
    Decompress { layer: Digest, source: io::Error },
    #[error("the layer {layer} unpacks to more than {bytes} bytes: {reason}")]
    TooLarge { layer: Digest, bytes: u64, reason: &'static str },
    #[error("the layer {layer} is not an archive of files: {reason}, at byte {at}")]
    Archive { layer: Digest, at: u64, reason: String },
    #[error("the layer {layer} has `{entry}`, which is refused: {reason}")]
    Refused { layer: Digest, entry: String, reason: String },
    #[error("cannot unpack `{entry}` of the layer {layer}")]
    Write { layer: Digest, entry: String, source: io::Error },
}

impl UnpackError {
    /// The error of the disk that was written to, where that is what went wrong: it lacks room, is
    /// broken, or can only be read.
    pub(crate) fn of_the_disk(&self) -> Option<&io::Error> {
        let (Self::Folder { source, .. } | Self::Read { source, .. } | Self::Write { source, .. }) =
            self
        else {
            return None;
        };
        let is_lack = source.raw_os_error().is_some_and(files::is_lack);
        (is_lack || source.kind() == io::ErrorKind::ReadOnlyFilesystem).then_some(source)
    }
}

/// How much of a name is shown.
const SHOWN: usize = 200;

/// A name of an image's as it can be shown: one line, nothing that a terminal obeys, not too long.
pub(super) fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
        }
        if SHOWN < text.len() {
            let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= SHOWN).last();
            text.truncate(end.unwrap_or_default());
            text.push_str("...");
            break;
        }
    }
    text
}
