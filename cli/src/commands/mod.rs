//! The verbs of the command line, one a file, and what their ends become.

mod archives;
mod attach;
mod build;
mod compile;
mod complete;
mod detached;
mod doctor;
mod foreground;
mod generate;
mod grants;
mod images;
mod inspect;
mod limits;
mod logs;
mod metrics;
mod ps;
mod residents;
mod run;
mod show;
mod stats;
mod systemd;
mod terminal;
mod top;
mod transfer;
mod volumes;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use aril::Runtime;
use aril::RuntimeBuilder;
use clap::Args;
use clap::CommandFactory as _;
use clap::Parser;
use clap::Subcommand;

use crate::folders;
use crate::report;
use crate::spans;
use crate::usage;

/// Run WASI programs in sandboxes with enforced limits and granted capabilities.
///
/// A guest sees no files, no network and no environment until you grant them, cannot use more than
/// its limits, and its end says why.
#[derive(Debug, Parser)]
#[command(name = "aril", version, max_term_width = 100)]
#[command(
    after_help = format!("{EXIT_CODES} Other verbs end with 1 where there is no such sandbox, or where not \
all of what they were given could be done.")
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the codes mean that are not the guest's own.
const EXIT_CODES: &str = "Exit codes: the guest's own; 124 a limit on time or fuel; 125 aril \
itself failed, or cannot grant or hold what was asked; 126 not runnable, or denied at start; 127 no \
such file or image; 134 trap; 137 out of memory; 143 stopped; 153 too much output; 128+n ended by \
signal n.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Stop(residents::Stop),
    Kill(residents::Kill),
    Rm(residents::Rm),
    Wait(residents::Wait),
    Update(residents::Update),
    Pause(residents::Pause),
    #[command(visible_alias = "unpause")]
    Resume(residents::Resume),
    Rename(residents::Rename),
    Cp(residents::Cp),
    Events(logs::Events),
    Attach(attach::Attach),
    Exec(attach::Exec),
    Stats(stats::Stats),
    Top(top::Top),
    Metrics(metrics::Metrics),
    Pull(transfer::Pull),
    Push(transfer::Push),
    Images(images::Images),
    Inspect(inspect::Inspect),
    Tag(images::Tag),
    Rmi(images::Rmi),
    Prune(images::Prune),
    Build(build::Build),
    Import(archives::Import),
    Load(archives::Load),
    Save(archives::Save),
    Volume(volumes::Volumes),
    Login(transfer::LogIn),
    Logout(transfer::LogOut),
    Compile(compile::Compile),
    Doctor(doctor::Doctor),
    Generate(systemd::Generate),
    Completions(generate::Completions),
    #[command(hide = true)]
    Complete(complete::Complete),
    Man(generate::Man),
}

// `aril run` alone, so that a start does not build every other verb's help first.
#[derive(Debug, Parser)]
#[command(name = "aril run", bin_name = "aril run", max_term_width = 100)]
struct RunOnly {
    #[command(flatten)]
    run: run::Run,
}

/// What every verb that needs a runtime takes.
#[derive(Args, Debug)]
struct Common {
    /// Keep machine code in this folder
    ///
    /// The default is the first that is set of `$ARIL_CACHE_DIR`, `$XDG_CACHE_HOME/aril` and
    /// `$HOME/.cache/aril`.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Keep images in this folder
    ///
    /// The default is the first that is set of `$ARIL_DATA_DIR`, `$XDG_DATA_HOME/aril` and
    /// `$HOME/.local/share/aril`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Common {
    /// For who compiles or runs something.
    fn runtime(&self) -> anyhow::Result<Runtime> {
        opened(self.builder()?)
    }

    /// For who looks at what is there: where machine code is kept is of no concern then.
    fn keeping(&self) -> anyhow::Result<Runtime> {
        // Nobody asks for a folder that the environment does not name.
        let cache = folders::cache(self.cache.clone()).unwrap_or_default();
        Ok(self.with_data(Runtime::builder(cache))?.open_lazily())
    }

    fn builder(&self) -> anyhow::Result<RuntimeBuilder> {
        self.with_data(Runtime::builder(folders::cache(self.cache.clone())?))
    }

    fn with_data(&self, builder: RuntimeBuilder) -> anyhow::Result<RuntimeBuilder> {
        // Only who asks for an image needs a place for them.
        Ok(match folders::data(self.data.clone()) {
            Some(data) => builder.data(data?),
            None => builder,
        })
    }
}

/// Does something with each of several things, and prints what that says. All are tried, and what
/// failed is said of each.
fn each<T>(
    all: &[T],
    mut act: impl FnMut(&T) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let mut failed = false;
    for one in all {
        match act(one) {
            Ok(said) => report::line(format_args!("{said}"))?,
            Err(error) => {
                failed = true;
                let _code = report::failure(&error);
            }
        }
    }
    Ok(if failed { ExitCode::from(report::UNDONE) } else { ExitCode::SUCCESS })
}

/// Whether a command line of these words launches a guest in this process, most probably.
pub(crate) fn launch_a_guest(words: &[&OsStr]) -> bool {
    let words = words.get(1..).unwrap_or_default();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|found| *found == word);
    detached::begins_keeper(words) && is(1, "run") || is(0, "run") && !detached::has_begun()
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let args = detached::unmarked(std::env::args_os().collect());
    let result = if args.get(1).is_some_and(|verb| verb == "run") {
        RunOnly::try_parse_from(&args[1..]).map(|only| only.run.execute())
    } else {
        Cli::try_parse_from(&args).map(Cli::execute)
    };
    let code = match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => report::failure(&error),
        Err(error) => report::usage(&usage::told(error, &args, &Cli::command())),
    };
    spans::end();
    code
}

pub(crate) use detached::split_keeper;

/// Opens a runtime that keeps machine code, or says where else that could be kept.
fn opened(builder: RuntimeBuilder) -> anyhow::Result<Runtime> {
    builder.open().map_err(|error| {
        let error = anyhow::Error::from(error);
        anyhow::anyhow!("{error:#}; name another folder with `--cache`, or by ARIL_CACHE_DIR")
    })
}

/// Whether this process keeps a sandbox for as long as that is there.
pub(crate) fn goes_on_alone() -> bool {
    detached::is_keeper()
}

impl Command {
    /// The name of a verb that has spans, but for `run`, which begins its own.
    const fn traced(&self) -> Option<&'static str> {
        Some(match self {
            Self::Pull(_) => "pull",
            Self::Push(_) => "push",
            Self::Build(_) => "build",
            Self::Import(_) => "import",
            Self::Load(_) => "load",
            Self::Compile(_) => "compile",
            _ => return None,
        })
    }
}

impl Cli {
    fn execute(self) -> anyhow::Result<ExitCode> {
        if let Some(verb) = self.command.traced() {
            spans::begin(verb);
        }
        match self.command {
            Command::Run(run) => run.execute(),
            Command::Ps(ps) => ps.execute(),
            Command::Logs(logs) => logs.execute(),
            Command::Stop(stop) => stop.execute(),
            Command::Kill(kill) => kill.execute(),
            Command::Rm(rm) => rm.execute(),
            Command::Wait(wait) => wait.execute(),
            Command::Update(update) => update.execute(),
            Command::Pause(pause) => pause.execute(),
            Command::Resume(resume) => resume.execute(),
            Command::Rename(rename) => rename.execute(),
            Command::Cp(cp) => cp.execute(),
            Command::Events(events) => events.execute(),
            Command::Attach(attach) => attach.execute(),
            Command::Exec(exec) => exec.execute(),
            Command::Stats(stats) => stats.execute(),
            Command::Top(top) => top.execute(),
            Command::Metrics(metrics) => metrics.execute(),
            Command::Pull(pull) => pull.execute(),
            Command::Push(push) => push.execute(),
            Command::Login(login) => login.execute(),
            Command::Logout(logout) => logout.execute(),
            Command::Images(images) => images.execute(),
            Command::Inspect(inspect) => inspect.execute(),
            Command::Tag(tag) => tag.execute(),
            Command::Rmi(rmi) => rmi.execute(),
            Command::Prune(prune) => prune.execute(),
            Command::Build(build) => build.execute(),
            Command::Import(import) => import.execute(),
            Command::Load(load) => load.execute(),
            Command::Save(save) => save.execute(),
            Command::Volume(volumes) => volumes.execute(),
            Command::Compile(compile) => compile.execute(),
            Command::Doctor(doctor) => doctor.execute(),
            Command::Generate(generate) => generate.execute(),
            Command::Completions(completions) => completions.execute(&Self::command()),
            Command::Complete(complete) => Ok(complete.execute(&Self::command())),
            Command::Man(man) => man.execute(Self::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        RunOnly::command().debug_assert();
    }
}
