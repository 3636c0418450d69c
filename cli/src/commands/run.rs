//! `aril run`: a program in a sandbox, in this process.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use aril::Access;
use aril::Directory;
use aril::ErrorKind;
use aril::Image;
use aril::Input;
use aril::Invocation;
use aril::Occupation;
use aril::Output;
use aril::Reference;
use aril::Runtime;
use aril::SandboxSpec;
use aril::Source;
use clap::Args;

use super::Common;
use super::limits::LimitFlags;
use super::transfer;
use super::transfer::PullPolicy;
use super::transfer::RegistryFlags;
use crate::report;

/// Run a program in a sandbox
///
/// It is a `.wasm` or `.wat` file, or an image of the store: a WASI preview 1 command, or a component
/// that exports `wasi:cli/run` (WASI 0.2 and 0.3). It is compiled at its first run, and starts at once from
/// then on.
#[derive(Args, Debug)]
#[command(override_usage = "aril run [OPTIONS] FILE|IMAGE [ARGS]...", after_help = super::EXIT_CODES)]
pub(crate) struct Run {
    // One list: two would leave what stands right behind the program to our own flags.
    /// The program, and its arguments: all that follows it, flags too
    #[arg(value_name = "FILE|IMAGE [ARGS]", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,

    /// Grant a directory of the host, as HOST:GUEST or HOST:GUEST:ro
    #[arg(short, long = "volume", value_name = "HOST:GUEST[:ro]")]
    volumes: Vec<OsString>,

    /// Set a variable, as NAME=VALUE, or pass on the host's, as NAME
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,

    /// Set the variables that a file lists, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,

    /// Start in this directory of the guest, which must be granted
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Keep standard input open; without it, the guest reads nothing
    #[arg(short, long)]
    interactive: bool,

    /// Call an exported function with ARGS, and print what it returns
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,

    /// Start a program that imports what nobody provides; it traps when it uses it
    #[arg(long)]
    trap_unknown_imports: bool,

    /// Time that the program has to end by itself when it is asked to [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = aril::parse_span)]
    stop_timeout: Option<Duration>,

    /// Write a record of the run to a file, or to standard output as `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Whether an image is fetched from its registry
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pull: PullPolicy,

    /// Let the program only read the image's files
    #[arg(long)]
    read_only: bool,

    /// Start this program of the image instead of its own
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    limits: LimitFlags,
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let image = match (self.image(&runtime)?, &self.entrypoint) {
            (Some(image), Some(program)) => Some(image.with_entrypoint(program)),
            (None, Some(_)) => {
                bail!("`--entrypoint` is for images: the program is the file itself")
            }
            (image, None) => image,
        };
        let mut spec = self.spec(image.as_ref())?;
        let record = self.record_file()?;
        let mut progress = report::Progress::new(self.program());
        let limits = self.limits.limits();
        let files = image.clone();
        let source = image.map_or_else(|| Source::file(self.program()), Source::image);
        let prepared =
            runtime.prepare_alone(source, &limits, |elapsed| progress.compiling(elapsed));
        progress.done();
        let artifact = prepared.map_err(|error| self.explained(error))?;
        let files = match files {
            Some(image) => runtime.image_files(&image, self.access_to_image())?,
            None => None,
        };
        if let Some(files) = &files {
            files.make_places(spec.places())?;
            spec = spec.directory(files.directory());
        }
        // From here on no path of the host is looked up any more.
        std::env::set_current_dir("/").context("cannot leave the working directory")?;
        let occupation =
            Occupation { grace: self.stop_timeout.unwrap_or_else(|| Occupation::default().grace) };
        let never = runtime.occupy(&artifact, &spec, occupation, move |outcome| {
            let code = report::ended(outcome, record);
            // What cannot be removed now is removed by the next run.
            let _left = files.map(aril::ImageFiles::remove);
            code
        })?;
        match never {}
    }

    /// The program.
    fn program(&self) -> &Path {
        // The command line is not taken without one.
        self.command.first().map_or(Path::new(""), Path::new)
    }

    /// The image that is meant, where the program is none of the files that are there.
    fn image(&self, runtime: &Runtime) -> anyhow::Result<Option<Image>> {
        if self.is_path() || self.program().exists() {
            return Ok(None);
        }
        let name = self.program().to_str().and_then(|name| name.parse::<Reference>().ok());
        let Some(name) = name else { return Ok(None) };
        match transfer::find_or_pull(runtime, &name, self.pull, false, &self.registry)? {
            Ok(image) => Ok(Some(image)),
            // Neither: it is told as what most people meant.
            Err(error) if error.kind() == ErrorKind::NotFound && name.registry().is_none() => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn access_to_image(&self) -> Access {
        if self.read_only { Access::ReadOnly } else { Access::ReadWrite }
    }

    /// The program and its arguments, as the image and the command line say.
    fn words(&self, image: Option<&Image>) -> anyhow::Result<Vec<String>> {
        let given = self.command.iter().skip(1).enumerate().map(|(i, arg)| {
            let text = arg.to_str().with_context(|| {
                let arg = arg.display();
                format!("argument {} is not UTF-8, and a guest takes nothing else: {arg}", i + 1)
            });
            text.map(str::to_owned)
        });
        let given = given.collect::<anyhow::Result<Vec<String>>>()?;
        let program = self.program();
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
        let with_files = image.filter(|image| !image.is_artifact());
        let mut words = match with_files {
            Some(image) => image.execution().command_line(&given),
            None => [vec![name.into_owned()], given].concat(),
        };
        if words.is_empty() {
            words.push(program.to_string_lossy().into_owned());
        }
        Ok(words)
    }

    /// Whether the program is written as a path, and so is no image.
    fn is_path(&self) -> bool {
        let program = self.program();
        let wasm = program.extension().is_some_and(|end| end == "wasm" || end == "wat");
        wasm || program.is_absolute() || program.starts_with(".") || program.starts_with("..")
    }

    /// A failure, with what is worth knowing where nothing has the program's name.
    fn explained(&self, error: aril::Error) -> anyhow::Error {
        let unknown = error.kind() == ErrorKind::NotFound && !self.is_path();
        let error = anyhow::Error::from(error);
        if unknown {
            return error.context(format!(
                "there is neither a file nor an image `{}`",
                aril::printable(&self.program().to_string_lossy())
            ));
        }
        error
    }

    /// What the flags say, before anything of the guest is looked at.
    fn spec(&self, image: Option<&Image>) -> anyhow::Result<SandboxSpec> {
        let mut words = self.words(image)?;
        let args = words.split_off(1);
        let mut spec = SandboxSpec::new(words.remove(0))
            .limits(self.limits.limits())
            .stdin(if self.interactive { Input::Inherit } else { Input::Closed })
            .stdout(Output::Inherit)
            .stderr(Output::Inherit);
        spec = match &self.invoke {
            Some(function) => {
                spec.invoke(Invocation { function: function.clone(), arguments: args })
            }
            None => spec.args(args),
        };
        for variable in image.into_iter().flat_map(|image| &image.execution().env) {
            let (name, value) = variable.split_once('=').with_context(|| {
                format!("the image's variable `{}` has no value", aril::printable(variable))
            })?;
            spec = spec.env(name, value)?;
        }
        for volume in &self.volumes {
            spec = spec.directory(directory(volume)?);
        }
        for file in &self.env_files {
            for (name, value) in variables_of(file)? {
                spec = spec.env(name, value)?;
            }
        }
        for variable in &self.env {
            if let Some((name, value)) = variable_of(variable)? {
                spec = spec.env(name, value)?;
            }
        }
        let directory = image.map(|image| image.execution().working_dir.as_str());
        let directory = directory.filter(|directory| !directory.is_empty());
        if let Some(directory) = self.workdir.as_deref().or(directory) {
            spec = spec.working_directory(directory)?;
        }
        if self.trap_unknown_imports {
            spec = spec.trap_unknown_imports();
        }
        Ok(spec)
    }

    /// Opens the place for the record before the guest runs, so that it cannot fail afterwards.
    fn record_file(&self) -> anyhow::Result<report::RecordFile> {
        Ok(match &self.json {
            None => report::RecordFile::None,
            Some(path) if path.as_os_str() == "-" => report::RecordFile::Stdout,
            Some(path) => report::RecordFile::File(
                File::create(path)
                    .with_context(|| format!("cannot write the record to `{}`", path.display()))?,
            ),
        })
    }
}

/// Reads `HOST:GUEST[:ro]`.
fn directory(volume: &OsString) -> anyhow::Result<Directory> {
    let shape = || format!("`-v {}` is not of the form HOST:GUEST[:ro]", volume.display());
    let text = volume.to_str().with_context(shape)?;
    let (paths, access) = match text.rsplit_once(':') {
        Some((paths, "ro")) => (paths, Access::ReadOnly),
        Some((paths, "rw")) => (paths, Access::ReadWrite),
        _ => (text, Access::ReadWrite),
    };
    let (host, guest) = paths.rsplit_once(':').with_context(shape)?;
    if host.is_empty() || guest.is_empty() {
        bail!(shape());
    }
    if !host.contains(['/', '\\']) && !matches!(host, "." | "..") {
        bail!(
            "`{host}` would be a named volume, which does not exist yet; a directory is written as \
             `./{host}`"
        );
    }
    Directory::open(host, guest, access).with_context(|| format!("cannot grant `-v {text}`"))
}

/// Reads `NAME=VALUE`, or `NAME` for the host's value; nothing where the host has none.
fn variable_of(variable: &OsString) -> anyhow::Result<Option<(String, String)>> {
    let not_utf8 = || format!("`-e {}` is not UTF-8", variable.display());
    let text = variable.to_str().with_context(not_utf8)?;
    if text.is_empty() || text.starts_with('=') {
        bail!("`-e {text}` cannot be a variable: it has no name");
    }
    if let Some((name, value)) = text.split_once('=') {
        return Ok(Some((name.to_owned(), value.to_owned())));
    }
    match std::env::var(text) {
        Ok(value) => Ok(Some((text.to_owned(), value))),
        // As docker has it: what the host does not have is not passed on.
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            bail!("the host's variable `{text}` is not UTF-8, and a guest takes nothing else")
        }
    }
}

/// The largest file of variables, in bytes: as much as a guest's environment can hold.
const ENV_FILE_SIZE_MAX: u64 = 2 << 20;

/// Reads a file of variables as docker does: a line each, `#` begins a comment.
fn variables_of(path: &PathBuf) -> anyhow::Result<Vec<(String, String)>> {
    use std::io::Read as _;

    let failed = || format!("cannot read the variables in `{}`", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(failed)?;
    file.take(ENV_FILE_SIZE_MAX + 1).read_to_string(&mut text).with_context(failed)?;
    if ENV_FILE_SIZE_MAX < text.len() as u64 {
        bail!("{}: it is larger than 2 MiB", failed());
    }
    let mut variables = Vec::new();
    // Some editors begin a file with a mark that is no part of it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for line in text.lines().map(str::trim_start) {
        if !line.is_empty() && !line.starts_with('#') {
            let name = line.split('=').next().unwrap_or(line);
            if name.contains(char::is_whitespace) {
                bail!("{}: the name `{}` has a space in it", failed(), aril::printable(name));
            }
            variables.extend(variable_of(&line.into())?);
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_host_path_a_guest_path_and_an_access() {
        let dir = std::env::temp_dir();
        let host = dir.to_str().expect("the temporary directory is UTF-8");
        let granted = |text: String| directory(&text.into());
        let read_only = granted(format!("{host}:/data:ro")).expect("a grant");
        assert_eq!((read_only.guest(), read_only.access()), ("/data", Access::ReadOnly));
        assert_eq!(granted(format!("{host}:/data")).expect("a grant").access(), Access::ReadWrite);
        for text in [host.to_owned(), format!("{host}::ro"), ":/data".to_owned(), "::".to_owned()] {
            let error = granted(text.clone()).expect_err(&text);
            assert!(error.to_string().contains("HOST:GUEST"), "{error}");
        }
    }

    #[test]
    fn a_bare_name_is_not_taken_for_a_directory() {
        let error = directory(&"data:/data".into()).expect_err("a named volume");
        assert!(error.to_string().contains("./data"), "{error}");
    }

    #[test]
    fn variables_of_a_file_are_read_as_docker_reads_them() {
        let path = std::env::temp_dir().join(format!("aril-env-{}", std::process::id()));
        std::fs::write(&path, "\u{feff}# comment\n\nA=1\n  B=two words # not a comment\nC=\n")
            .expect("it can be written");
        let variables = variables_of(&path).expect("it can be read");
        std::fs::remove_file(&path).expect("it can be removed");
        let expected = [("A", "1"), ("B", "two words # not a comment"), ("C", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, expected);
    }
}
