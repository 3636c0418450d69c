//! From a wasm file to an image that holds nothing else.

use std::path::Path;

use crate::error::Error;
use crate::image::Image;
use crate::image::Reference;

use super::build::Build;
use super::build::ImageFormat;
use super::images::Failure;
use super::images::failed;
use super::runtime::Runtime;

impl Runtime {
    /// Takes a wasm file into the store as an image of its own: the artifact of the CNCF's
    /// `wasm-oci-artifact`, which holds the file and nothing else.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be read or is no wasm, and where the store cannot be written.
    pub fn import(&self, wasm: &Path, name: &Reference) -> Result<Image, Error> {
        let at = |(kind, source): Failure| failed("import", wasm.display(), kind, source);
        self.build_as_told(&Build::new(wasm).format(ImageFormat::Artifact), name).map_err(at)
    }
}
