//! `aril build`: from a wasm file, or a Dockerfile, to an image.

use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::bail;
use aril::ImageFormat;
use aril::Reference;
use clap::Args;
use clap::ValueEnum;

use super::Common;
use super::transfer;
use super::transfer::PullPolicy;
use super::transfer::RegistryFlags;
use crate::report;
use crate::words;

/// Make an image of a wasm file and what it needs, or of a Dockerfile
///
/// The same files make the same image, whenever and wherever it is built. Its files are as old as
/// `$SOURCE_DATE_EPOCH` says, in seconds since 1970; without it, of 1970.
///
/// Of a directory, its `Dockerfile` or else its `Containerfile` says what is in the image; what its
/// `.dockerignore` says is left out. There is no guest OS, so `RUN` is refused; `COPY` takes `--from`,
/// `--chmod`, `--chown` by numbers, and `--link`.
#[derive(Args, Debug)]
pub(super) struct Build {
    /// The program, `.wasm` or `.wat`, or the directory whose files a Dockerfile copies
    #[arg(value_name = "WASM|DIR")]
    path: PathBuf,

    /// What the image is called; more than once for more names
    #[arg(short, long = "tag", value_name = "NAME", required = true)]
    tags: Vec<Reference>,

    /// The Dockerfile, if it is elsewhere or called otherwise; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The stage of the Dockerfile that becomes the image: its name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// What an `ARG` of the Dockerfile stands for; without `=`, what it is in the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    arguments: Vec<String>,

    /// Whether the images that a Dockerfile needs are fetched from their registries
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = PullPolicy::Missing)]
    pull: PullPolicy,

    /// Copy a file, or what is in a directory, into the image
    ///
    /// DST is an absolute path in the image; a file is copied into it where it ends in `/`.
    #[arg(long = "copy", value_name = "SRC:DST")]
    copies: Vec<String>,

    /// The program in the image and the arguments that are always there, a word each
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,

    /// The arguments unless others are given to a run, a word each
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,

    /// A variable that the program sees
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// What else is told of the image
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// The directory in which the program starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Who made it
    #[arg(long, value_name = "TEXT")]
    author: Option<String>,

    /// In which form it is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "image")]
    format: Format,

    /// Say nothing but the digest
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Files in a layer, which every container tool pulls
    Image,
    /// The wasm file alone, as the CNCF's `wasm-oci-artifact` has it
    Artifact,
    /// Both under one name: who looks for an image finds the image
    Both,
}

impl Build {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let [name, others @ ..] = self.tags.as_slice() else {
            bail!("a name is needed: `-t NAME`")
        };
        let build = self.as_told()?;
        let unused = build.unused_arguments()?;
        if !unused.is_empty() {
            report::say(format_args!(
                "warning: no `ARG` of the Dockerfile takes `--build-arg {}`",
                aril::printable(&unused.join("`, `--build-arg "))
            ));
        }
        let runtime = self.common.runtime()?;
        for base in build.bases()? {
            // One that is missing is told of with the line that needs it.
            let _found =
                transfer::find_or_pull(&runtime, &base, self.pull, self.quiet, &self.registry)?;
        }
        let image = runtime.build(&build, name)?;
        for other in others {
            runtime.tag(&image, other)?;
        }
        if !self.quiet {
            for name in &self.tags {
                report::say(format_args!("built `{name}`, {}", words::size(image.size())));
            }
        }
        report::line(format_args!("{}", image.digest()))?;
        // The first run need not wait; and an image that is only copied from runs nowhere.
        if let Err(error) = transfer::compiled(&runtime, &image) {
            report::say(format_args!("warning: `{name}` cannot be run: {error:#}"));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn as_told(&self) -> anyhow::Result<aril::Build> {
        let origin = if self.file.is_some() || self.path.is_dir() {
            self.as_dockerfile_told()?
        } else {
            let given =
                [("--target", self.target.is_some()), ("--build-arg", !self.arguments.is_empty())];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                bail!("`{flag}` is for Dockerfiles, and `{}` is none", self.path.display());
            }
            aril::Build::new(&self.path)
        };
        let mut build =
            origin.entrypoint(&self.entrypoint).command(&self.cmd).format(match self.format {
                Format::Image => ImageFormat::Image,
                Format::Artifact => ImageFormat::Artifact,
                Format::Both => ImageFormat::Both,
            });
        for copy in &self.copies {
            let (host, guest) = split_copy(copy)?;
            build = build.copy(host, guest);
        }
        for variable in &self.env {
            match variable.split_once('=') {
                Some((name, value)) if !name.is_empty() => build = build.env(name, value),
                _ => bail!("`--env {variable}` is not `NAME=VALUE`"),
            }
        }
        for label in &self.labels {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                bail!("`--label {label}` is not `KEY=VALUE`");
            }
            build = build.label(key, value);
        }
        if let Some(workdir) = &self.workdir {
            build = build.working_directory(workdir);
        }
        if let Some(author) = &self.author {
            build = build.author(author);
        }
        if let Some(seconds) = source_date()? {
            build = build.created(seconds);
        }
        Ok(build)
    }
}

impl Build {
    fn as_dockerfile_told(&self) -> anyhow::Result<aril::Build> {
        let mut build = aril::Build::dockerfile(&self.path);
        match &self.file {
            Some(file) if file.as_os_str() == "-" => build = build.text(standard_input()?),
            Some(file) => build = build.file(file),
            None => {}
        }
        if let Some(target) = &self.target {
            build = build.target(target);
        }
        for argument in &self.arguments {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (
                    argument.as_str(),
                    std::env::var(argument).with_context(|| {
                        format!("`--build-arg {argument}` takes its value from the environment")
                    })?,
                ),
            };
            if name.is_empty() {
                bail!("`--build-arg {argument}` is not `NAME=VALUE`");
            }
            build = build.argument(name, value);
        }
        Ok(build)
    }
}

/// A Dockerfile that somebody sends.
fn standard_input() -> anyhow::Result<Vec<u8>> {
    /// The largest.
    const SIZE_MAX: u64 = 4 << 20;
    if io::stdin().is_terminal() {
        bail!("a Dockerfile is expected on standard input, as `--file -` says");
    }
    let mut text = Vec::new();
    let read = io::stdin().lock().take(SIZE_MAX + 1).read_to_end(&mut text);
    read.context("cannot read the Dockerfile on standard input")?;
    if SIZE_MAX < text.len() as u64 {
        bail!("the Dockerfile on standard input is larger than {} MiB", SIZE_MAX >> 20);
    }
    Ok(text)
}

/// Where from, and where to. Both may have colons in them.
fn split_copy(copy: &str) -> anyhow::Result<(&Path, &str)> {
    let found = copy.rfind(":/").map(|at| (&copy[..at], &copy[at + 1..]));
    match found.or_else(|| copy.rsplit_once(':')) {
        Some((host, guest)) if !host.is_empty() && !guest.is_empty() => {
            Ok((Path::new(host), guest))
        }
        _ => bail!("`--copy {copy}` is not `SRC:DST`"),
    }
}

/// What `SOURCE_DATE_EPOCH` says, as <https://reproducible-builds.org/specs/source-date-epoch>
/// has it.
fn source_date() -> anyhow::Result<Option<u64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(text) = std::env::var_os(NAME).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.with_context(|| {
        format!("`{NAME}` is `{}`, and seconds since 1970 are expected", text.display())
    })?;
    Ok(Some(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_split_where_the_path_in_the_image_begins() {
        for (text, host, guest) in [
            ("a:/b", "a", "/b"),
            ("a:b:/c/", "a:b", "/c/"),
            ("a:/b:c", "a", "/b:c"),
            (r"C:\a:/b", r"C:\a", "/b"),
            ("a:b", "a", "b"),
        ] {
            assert_eq!(split_copy(text).expect("split"), (Path::new(host), guest), "{text}");
        }
        for text in ["a", ":/b", "a:", ""] {
            assert!(split_copy(text).is_err(), "{text}");
        }
    }
}
