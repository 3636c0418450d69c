//! `aril import`, `load` and `save`: images that do not come from a registry.

use std::fs::File;
use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::bail;
use aril::Reference;
use clap::Args;

use super::Common;
use super::transfer;
use crate::report;

/// Take a wasm file into the store, as an image of its own
#[derive(Args, Debug)]
pub(super) struct Import {
    /// The file, `.wasm` or `.wat`
    file: PathBuf,

    /// What the image is called
    name: Reference,

    #[command(flatten)]
    common: Common,
}

impl Import {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let image = runtime.import(&self.file, &self.name)?;
        transfer::compiled(&runtime, &image)?;
        report::line(format_args!("{}", image.digest()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Take the images of an archive or an OCI layout into the store
///
/// An archive is an OCI archive or what `docker save` writes, also compressed with gzip.
#[derive(Args, Debug)]
pub(super) struct Load {
    /// The archive, or the folder that is an OCI layout; standard input without it
    #[arg(short, long, value_name = "FILE|DIR")]
    input: Option<PathBuf>,

    /// Say nothing
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    common: Common,
}

impl Load {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let images = match &self.input {
            Some(path) if path.is_dir() => runtime.load_layout(path, None)?,
            Some(path) => {
                let file = File::open(path)
                    .with_context(|| format!("cannot open the archive `{}`", path.display()))?;
                runtime.load(file, &path.display().to_string())?
            }
            None if io::stdin().is_terminal() => {
                bail!("an archive is expected on standard input, or by `--input`")
            }
            None => runtime.load(io::stdin().lock(), "standard input")?,
        };
        for image in images.iter().filter(|_| !self.quiet) {
            match image.reference() {
                Some(name) => report::line(format_args!("Loaded image: {name}"))?,
                None => report::line(format_args!("Loaded image ID: {}", image.digest()))?,
            }
        }
        // They are in the store, whatever can be run of them.
        for image in &images {
            if let Err(error) = transfer::compiled(&runtime, image) {
                report::say(format_args!("warning: {image} cannot be run: {error:#}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Write images into an OCI archive
///
/// `docker load`, `podman load`, `ctr image import` and `aril load` read it.
#[derive(Args, Debug)]
pub(super) struct Save {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<Reference>,

    /// The archive; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

impl Save {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let images = self.images.iter().map(|name| runtime.image(name));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        match &self.output {
            None if io::stdout().is_terminal() => {
                bail!("an archive is not written to a terminal: use `--output`, or send it on")
            }
            None => {
                let saved = runtime.save(&images, io::BufWriter::new(io::stdout().lock()));
                saved.map_err(|error| report::unsent(error.into()))?;
            }
            Some(path) => {
                let failed = || format!("cannot write the archive `{}`", path.display());
                // Written beside, so that what was there stays until there is something better.
                let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let folder = folder.unwrap_or(std::path::Path::new("."));
                let mut draft = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
                runtime.save(&images, io::BufWriter::new(draft.as_file_mut()))?;
                draft.persist(path).with_context(failed)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
