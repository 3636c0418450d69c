//! `aril run`: a program in a sandbox, in a process of its own that this one keeps.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use aril::Access;
use aril::Artifact;
use aril::Bytes;
use aril::Enrolment;
use aril::ErrorKind;
use aril::Image;
use aril::ImageFiles;
use aril::Input;
use aril::Invocation;
use aril::LogPlan;
use aril::Need;
use aril::Occupation;
use aril::Output;
use aril::Plan;
use aril::Reference;
use aril::Restart;
use aril::Runtime;
use aril::SandboxName;
use aril::SandboxSpec;
use aril::Source;
use aril::VolumeName;
use aril::Wall;
use aril::Walls;
use clap::ArgGroup;
use clap::Args;
use clap::ValueEnum;

use super::Common;
use super::attach;
use super::detached;
use super::detached::Begun;
use super::foreground;
use super::grants;
use super::grants::Grant;
use super::limits::LimitFlags;
use super::terminal;
use super::terminal::DetachKeys;
use super::transfer;
use super::transfer::PullPolicy;
use super::transfer::RegistryFlags;
use crate::report;
use crate::spans;

/// Run a program in a sandbox
///
/// It is a `.wasm` or `.wat` file, or an image of the store: a WASI preview 1 command, or a component
/// that exports `wasi:cli/run` (WASI 0.2 and 0.3). It is compiled at its first run, and starts at once from
/// then on.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(override_usage = "aril run [OPTIONS] FILE|IMAGE [ARGS]...", after_help = super::EXIT_CODES)]
#[command(group = ArgGroup::new("stays").args(["detach", "name", "tty"]).multiple(true))]
pub(crate) struct Run {
    // One list: two would leave what stands right behind the program to our own flags.
    /// The program, and its arguments: all that follows it, flags too
    #[arg(value_name = "FILE|IMAGE [ARGS]", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,

    /// Grant a directory or a file of the host, or a volume by its name, as HOST:GUEST or HOST:GUEST:ro
    #[arg(short, long = "volume", value_name = "HOST|NAME:GUEST[:ro]")]
    volumes: Vec<OsString>,

    /// Grant an empty directory in memory, gone with the program: as PATH, for 64m at the most, or
    /// PATH:size=SIZE
    #[arg(long, value_name = "PATH[:size=SIZE]")]
    tmpfs: Vec<OsString>,

    /// Set a variable, as NAME=VALUE, or pass on the host's, as NAME
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,

    /// Set the variables that a file lists, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,

    /// Go on in the background, and print the sandbox's id
    #[arg(short, long)]
    detach: bool,

    /// Name the sandbox: it is listed, others ask for it by its name, and it stays until `rm`. In the
    /// background it gets one by chance
    #[arg(long, value_name = "NAME")]
    name: Option<SandboxName>,

    /// Start it again when it ends: `no`, `on-failure`, `on-failure:TIMES`, `always` or
    /// `unless-stopped`
    #[arg(
        long,
        value_name = "POLICY",
        requires = "detach",
        conflicts_with = "rm",
        default_value_t
    )]
    restart: Restart,

    /// Remove the sandbox, with its log, when it has ended; one in the foreground that has neither a
    /// name nor a terminal leaves nothing
    #[arg(long)]
    rm: bool,

    /// Put a label on the sandbox, as NAME=VALUE, or NAME
    #[arg(short, long = "label", value_name = "NAME[=VALUE]", requires = "stays")]
    labels: Vec<String>,

    /// How much output is kept: `max-size=10m` of a file, `max-file=3` files
    #[arg(long = "log-opt", value_name = "NAME=VALUE", requires = "stays")]
    log_options: Vec<String>,

    /// Start in this directory of the guest, which must be granted
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Keep standard input open; without it, the guest reads nothing
    #[arg(short, long)]
    interactive: bool,

    /// Give the program a terminal of its own: with `-i`, this one, and the detach keys leave it running
    #[arg(short, long)]
    tty: bool,

    /// The keys that leave it, with commas between: characters, or `ctrl-` with a letter or one of
    /// `@[\]^_`; none where this is empty
    #[arg(long, value_name = "KEYS", requires = "tty", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,

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

    /// Put these walls of the operating system around the program's process: all that this host
    /// gives, or none
    #[arg(long, value_enum, default_value_t = WallsWanted::All)]
    walls: WallsWanted,

    /// Do not run without this, of which `aril doctor` lists all: `cgroup`, or a wall by its name;
    /// several with commas between
    #[arg(long, value_name = "WALL", value_delimiter = ',')]
    require: Vec<Requirement>,

    /// Make the control group of the program's process beneath this one, which must be there
    #[arg(long, value_name = "GROUP")]
    cgroup_parent: Option<String>,

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

/// Which walls of the operating system are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WallsWanted {
    All,
    None,
}

/// What a run is not to be without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requirement {
    Cgroup,
    Wall(Wall),
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "cgroup" => Ok(Self::Cgroup),
            word => word.parse().map(Self::Wall).map_err(|error| format!("{error}, and `cgroup`")),
        }
    }
}

impl Run {
    pub(super) fn execute(mut self) -> anyhow::Result<ExitCode> {
        if detached::is_keeper() && !self.stays() {
            return detached::is_not_needed();
        }
        if self.stays()
            && let Some(code) = self.begin()?
        {
            return Ok(code);
        }
        let ready = self.ready()?;
        // From here on no path of the host is looked up any more.
        std::env::set_current_dir("/").context("cannot leave the working directory")?;
        let Ready { runtime, artifact, spec, files, record, .. } = *ready;
        if let Some(enrolment) = ready.enrolment {
            // The guest's files are there as long as its keeper.
            let code = runtime.keep_alone(enrolment, &artifact, spec, ready.image, |resident| {
                // Who started it may have left.
                let _unheard = detached::say(resident, !self.detach);
                spans::send_aside();
            });
            let _left = files.map(ImageFiles::remove);
            return Ok(ExitCode::from(code?));
        }
        let occupation =
            Occupation { grace: self.stop_timeout.unwrap_or_else(|| Occupation::default().grace) };
        if Runtime::has_workers() {
            let code = runtime.keep(&artifact, spec, occupation, |ended| {
                let code = report::ended(Ok(ended), record);
                // What cannot be removed now is removed by the next run.
                let _left = files.map(ImageFiles::remove);
                code
            });
            return Ok(ExitCode::from(code?));
        }
        let never = runtime.occupy(&artifact, &spec, occupation, move |outcome| {
            let code = report::ended(outcome, record);
            let _left = files.map(ImageFiles::remove);
            spans::end();
            code
        })?;
        match never {}
    }

    /// Everything up to the launch. Its frame is many pages, which a keeper would have as long as it
    /// lives if it were a part of the caller's.
    #[inline(never)]
    fn ready(&mut self) -> anyhow::Result<Box<Ready>> {
        spans::begin("run");
        let builder = self.common.builder()?;
        let runtime = super::opened(match &self.cgroup_parent {
            Some(parent) => builder.cgroup_parent(parent),
            None => builder,
        })?;
        let image = self.image_to_run(&runtime)?;
        let (mut spec, volumes) = self.spec(image.as_ref())?;
        let enrolment = self.enrol(&runtime, &spec)?;
        let record = self.record_file()?;
        let mut progress = report::Progress::new(self.program());
        let limits = self.limits.limits();
        let own_volumes = image.as_ref().map(|image| image.execution().volumes.clone());
        let source = image.clone().map_or_else(|| Source::file(self.program()), Source::image);
        let prepared =
            runtime.prepare_alone(source, &limits, |elapsed| progress.compiling(elapsed));
        progress.done();
        let artifact = prepared.map_err(|error| self.explained(error))?;
        let mut files = match &image {
            Some(image) => runtime.image_files_within(image, self.access_to_image(), &limits)?,
            None => None,
        };
        for (name, guest, access) in volumes {
            spec = spec.directory(runtime.volume(&name, &guest, access, files.as_ref())?);
        }
        if let Some(files) = &mut files {
            spec = with_image(spec, files, &own_volumes.unwrap_or_default())?;
        }
        Ok(Box::new(Ready { runtime, artifact, spec, image, files, enrolment, record }))
    }

    /// The image whose program is run, with the program that was chosen. It takes the word that names that.
    fn image_to_run(&mut self, runtime: &Runtime) -> anyhow::Result<Option<Image>> {
        Ok(match (self.image(runtime)?, &self.entrypoint) {
            (Some(image), Some(program)) => Some(image.with_entrypoint(program)),
            // What is given is the whole command then, as docker has it.
            (Some(image), None)
                if !image.is_artifact() && image.execution().entrypoint.is_empty() =>
            {
                match self.command.get(1).and_then(|program| program.to_str()) {
                    Some(program) => {
                        let image = image.with_entrypoint(program);
                        self.command.remove(1);
                        Some(image)
                    }
                    None => Some(image),
                }
            }
            (None, Some(_)) => {
                bail!("`--entrypoint` is for images: the program is the file itself")
            }
            (image, None) => image,
        })
    }

    /// Starts the keeper of a sandbox that others find, and shows what it keeps, or leaves it. Nothing
    /// where this process is the keeper from here on.
    fn begin(&self) -> anyhow::Result<Option<ExitCode>> {
        self.check_staying()?;
        let has_terminal = self.tty && self.interactive && !self.detach;
        if has_terminal {
            attach::need_terminal("leave out `-t`, or run it from a terminal")?;
        }
        if detached::is_keeper() {
            return Ok(None);
        }
        let own = match detached::begin()? {
            Begun::Keeper => return Ok(None),
            Begun::Ended(code) => return Ok(Some(code)),
            Begun::Left(id) => {
                report::line(format_args!("{id}"))?;
                return Ok(Some(ExitCode::SUCCESS));
            }
            Begun::Shown(own) => own,
        };
        let terminal = has_terminal.then(|| self.detach_keys.clone());
        let has = self.tty;
        foreground::show(&self.common.keeping()?, (own, has), self.interactive, terminal).map(Some)
    }

    /// Whether it is a sandbox that others find, and that goes on without this process.
    const fn stays(&self) -> bool {
        self.detach || self.tty || self.name.is_some()
    }

    /// What can be known to be wrong before a keeper is started.
    fn check_staying(&self) -> anyhow::Result<()> {
        if self.json.is_some() {
            bail!(
                "`--json` is for the foreground, without a name or a terminal: `aril inspect` shows how \
                 a sandbox ended"
            );
        }
        if !Runtime::has_workers() {
            bail!(
                "nothing can go on in the background here, or have a terminal: this host cannot hold \
                 a guest's process; see `aril doctor`"
            );
        }
        self.log_plan().map(drop)
    }

    /// How much of the output is kept.
    fn log_plan(&self) -> anyhow::Result<LogPlan> {
        let mut plan = LogPlan::default();
        for option in &self.log_options {
            let invalid = || format!("`{option}` is neither `max-size=SIZE` nor `max-file=COUNT`");
            let (name, value) = option.split_once('=').with_context(invalid)?;
            match name {
                "max-size" => plan.size_max = value.parse::<Bytes>().with_context(invalid)?.get(),
                "max-file" => {
                    let count = value.parse::<NonZeroU32>().with_context(invalid)?;
                    plan.files_max = count.get();
                }
                _ => bail!(invalid()),
            }
        }
        Ok(plan)
    }

    /// Takes a place in the roster, where it is to be found there.
    fn enrol(&self, runtime: &Runtime, spec: &SandboxSpec) -> anyhow::Result<Option<Enrolment>> {
        if !self.stays() {
            return Ok(None);
        }
        let mut plan = Plan::default();
        plan.image = self.program().to_string_lossy().into_owned();
        plan.command = spec.arguments().to_vec();
        for label in &self.labels {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            plan.labels.insert(name.to_owned(), value.to_owned());
        }
        plan.restart = self.restart;
        plan.remove = self.rm;
        plan.grace = self.stop_timeout.unwrap_or_else(|| Occupation::default().grace);
        plan.interactive = self.interactive;
        plan.terminal = self.tty;
        plan.words = detached::words(self.name.is_some());
        if !self.detach {
            // Whoever starts it again does so in the background.
            plan.words.insert(1.min(plan.words.len()), "-d".to_owned());
        }
        let directory = std::env::current_dir().unwrap_or_default();
        plan.directory = directory.to_string_lossy().into_owned();
        plan.log = self.log_plan()?;
        if matches!(self.restart, Restart::Always | Restart::UnlessStopped) {
            report::say(format_args!(
                "its keeper starts it again as long as this host runs; `aril generate systemd` \
                 prints a unit that outlives a restart of the host"
            ));
        }
        let enrolment = runtime.enrol(self.name.as_ref(), &plan)?;
        Ok(Some(if self.detach { enrolment } else { enrolment.with_owner() }))
    }

    /// The program.
    fn program(&self) -> &Path {
        // The command line is not taken without one.
        self.command.first().map_or(Path::new(""), Path::new)
    }

    /// The image that is meant, where the program is none of the files that are there.
    fn image(&self, runtime: &Runtime) -> anyhow::Result<Option<Image>> {
        if let Some((folder, name)) = transfer::layout(self.program()) {
            return Ok(Some(runtime.image_of_layout(&folder, name.as_deref())?));
        }
        // A directory is no program, and often has the name of the image that was made of it.
        if self.is_path() || self.program().exists() && !self.program().is_dir() {
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

    /// What the flags say, before anything of the guest is looked at, and the volumes that are still
    /// to be granted.
    fn spec(&self, image: Option<&Image>) -> anyhow::Result<(SandboxSpec, Vec<NamedVolume>)> {
        let mut words = self.words(image)?;
        let args = words.split_off(1);
        let stays = self.stays();
        let mut spec = SandboxSpec::new(words.remove(0))
            .limits(self.limits.limits())
            .stdin(match (self.interactive, stays) {
                (false, _) => Input::Closed,
                (true, false) => Input::Inherit,
                (true, true) => Input::Stream,
            })
            .stdout(if stays { Output::Stream } else { Output::Inherit })
            .stderr(if stays { Output::Stream } else { Output::Inherit });
        if self.tty {
            spec = spec.terminal(terminal::size());
        }
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
        let mut volumes = Vec::new();
        for volume in &self.volumes {
            match grants::grant(volume)? {
                Grant::Directory(directory) => spec = spec.directory(directory),
                Grant::File(file) => spec = spec.file(file),
                Grant::Volume { name, guest, access } => volumes.push((name, guest, access)),
            }
        }
        for tmpfs in &self.tmpfs {
            spec = spec.tmpfs(grants::tmpfs(tmpfs)?);
        }
        for file in &self.env_files {
            for (name, value) in grants::variables_of(file)? {
                spec = spec.env(name, value)?;
            }
        }
        for variable in &self.env {
            if let Some((name, value)) = grants::variable_of(variable)? {
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
        Ok((self.walled(spec)?, volumes))
    }

    /// The spec with the walls that are wanted.
    fn walled(&self, mut spec: SandboxSpec) -> anyhow::Result<SandboxSpec> {
        let mut walls = match self.walls {
            WallsWanted::All => Walls::ALL,
            WallsWanted::None => Walls::NONE,
        };
        if self.cgroup_parent.is_some() {
            // A place for a group that nobody can make would be ignored otherwise.
            spec = spec.require_cgroup();
        }
        for requirement in &self.require {
            match requirement {
                Requirement::Cgroup => spec = spec.require_cgroup(),
                Requirement::Wall(wall) => walls = walls.with(*wall, Need::Required),
            }
        }
        if !self.require.is_empty() && !Runtime::has_workers() {
            bail!(
                "what is required cannot be had here: this host cannot hold a guest's process; see \
                 `aril doctor`"
            );
        }
        Ok(spec.walls(walls))
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

/// All that a guest is launched with.
#[derive(Debug)]
struct Ready {
    runtime: Runtime,
    artifact: Artifact,
    spec: SandboxSpec,
    /// Where other programs of the guest's image are found.
    image: Option<Image>,
    files: Option<ImageFiles>,
    /// Where others find it, if it stays.
    enrolment: Option<Enrolment>,
    record: report::RecordFile,
}

/// A volume, where it is seen, and what may be done with it.
type NamedVolume = (VolumeName, String, Access);

/// The spec with the image's files, and with a place for each volume of the image that nothing was
/// granted for.
fn with_image(
    mut spec: SandboxSpec,
    files: &mut ImageFiles,
    own_volumes: &BTreeSet<String>,
) -> anyhow::Result<SandboxSpec> {
    let granted: Vec<String> = spec.places().map(str::to_owned).collect();
    let own: BTreeSet<String> = own_volumes.iter().map(|path| from_root(path)).collect();
    let own: Vec<&String> =
        own.iter().filter(|path| *path != "/" && !granted.contains(path)).collect();
    files.make_places(granted.iter().chain(own.iter().copied()).map(String::as_str))?;
    files.make_file_places(spec.file_places())?;
    // Where all may be written to, so may they: all of it is gone with the run.
    if files.directory().access() == Access::ReadOnly {
        for path in own {
            spec = spec.directory(files.volume(path)?);
        }
    }
    Ok(spec.directory(files.directory()))
}

/// A path of an image in its one form. As in a container, above the root there is nothing.
fn from_root(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_an_image_never_leads_above_its_root() {
        for (path, expected) in [
            ("/data", "/data"),
            ("data//x/", "/data/x"),
            ("/../../etc", "/etc"),
            ("/a/./b/../c", "/a/c"),
            ("", "/"),
        ] {
            assert_eq!(from_root(path), expected);
        }
    }
}
