//! The verbs for sandboxes that go on alone: `stop`, `kill`, `rm`, `wait`, `pause`, `resume`,
//! `rename`, `update`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use aril::ErrorKind;
use aril::Runtime;
use aril::SandboxName;
use clap::Args;

use super::Common;
use super::limits::LimitFlags;
use crate::report;

/// Does something with each sandbox, and says its name as it was given.
fn each(
    runtime: &Runtime,
    names: &[String],
    mut act: impl FnMut(&Runtime, &str) -> Result<(), aril::Error>,
) -> anyhow::Result<ExitCode> {
    super::each(names, |name| {
        act(runtime, name)?;
        Ok(aril::printable(name))
    })
}

/// Ask sandboxes to stop, and wait for their ends
///
/// A guest hears that its standard input ends. Where it has not ended by itself when its grace is over,
/// it is ended.
#[derive(Args, Debug)]
pub(super) struct Stop {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    /// Time to end by itself, such as 5s, or a number of seconds [default: that of `run
    /// --stop-timeout`]
    #[arg(short, long, value_name = "TIME", value_parser = grace)]
    time: Option<Duration>,

    #[command(flatten)]
    common: Common,
}

/// A time to end in: seconds, as docker has it, or with a unit.
fn grace(text: &str) -> Result<Duration, aril::InvalidQuantity> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => aril::parse_span(text),
    }
}

impl Stop {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let stop =
            |runtime: &Runtime, name: &str| runtime.stop_resident(name, self.time).map(|_code| ());
        each(&self.common.keeping()?, &self.names, stop)
    }
}

/// End sandboxes at once
#[derive(Args, Debug)]
pub(super) struct Kill {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    /// End as by this signal: KILL, INT, QUIT or ABRT; TERM and HUP ask to stop
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal)]
    signal: i32,

    #[command(flatten)]
    common: Common,
}

/// A signal by its name, with or without `SIG`, or by its number.
fn signal(text: &str) -> Result<i32, String> {
    /// The signals that end or stop programs, by the numbers that they have everywhere.
    const KNOWN: [(&str, i32); 10] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("CONT", 18),
        ("STOP", 19),
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = KNOWN.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number);
    let number = || name.parse().ok().filter(|number| (1..=64).contains(number));
    known.or_else(number).ok_or_else(|| format!("`{text}` is no signal, such as KILL or TERM"))
}

/// The number of the signal that cannot be refused, on every system that numbers them.
const KILL: i32 = 9;

impl Kill {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let kill = |runtime: &Runtime, name: &str| {
            runtime.kill_resident(name, self.signal)?;
            if self.signal == KILL {
                // It ends at once, and whoever removes it next finds it ended; with `--rm` it is gone.
                let _code = runtime.wait_for_resident(name);
            }
            Ok(())
        };
        each(&self.common.keeping()?, &self.names, kill)
    }
}

/// Remove sandboxes that have ended, with their logs
#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    /// End those first that run, and remove those of which nothing can be read; one that is not there
    /// is no failure
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

impl Rm {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let mut names = self.names;
        if self.force {
            // One that is not there was not removed, and is no failure.
            names.retain(|name| match runtime.resident(name) {
                // What stands in the place of one, and is none, goes as well.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        && runtime.remove_resident(name, true).is_err() =>
                {
                    report::say(format_args!("there is no sandbox `{}`", aril::printable(name)));
                    false
                }
                _ => true,
            });
        }
        let remove = |runtime: &Runtime, name: &str| match runtime.remove_resident(name, self.force)
        {
            // Somebody else was first.
            Err(error) if self.force && error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        each(&runtime, &names, remove)
    }
}

/// Wait for the ends of sandboxes, and print their codes
#[derive(Args, Debug)]
pub(super) struct Wait {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    common: Common,
}

impl Wait {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        super::each(&self.names, |name| Ok(runtime.wait_for_resident(name)?.to_string()))
    }
}

/// Have sandboxes stand still
///
/// Their deadlines stand still with them.
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    common: Common,
}

impl Pause {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        each(&self.common.keeping()?, &self.names, Runtime::pause_resident)
    }
}

/// Have sandboxes go on that stand still
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    common: Common,
}

impl Resume {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        each(&self.common.keeping()?, &self.names, Runtime::resume_resident)
    }
}

/// Give a sandbox another name
#[derive(Args, Debug)]
pub(super) struct Rename {
    /// Its name or id
    #[arg(value_name = "SANDBOX")]
    name: String,

    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    new: SandboxName,

    #[command(flatten)]
    common: Common,
}

impl Rename {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        self.common.keeping()?.rename_resident(&self.name, &self.new)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Copy files between this host and a sandbox that runs
///
/// A path of a sandbox is written SANDBOX:PATH. A file or directory is copied into a directory that is
/// there, or takes the name that is given; what ends in `/.` is what is in a directory.
#[derive(Args, Debug)]
pub(super) struct Cp {
    /// What is copied
    #[arg(value_name = "[SANDBOX:]FROM")]
    from: String,

    /// Where to
    #[arg(value_name = "[SANDBOX:]TO")]
    to: String,

    #[command(flatten)]
    common: Common,
}

impl Cp {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        if self.from == "-" || self.to == "-" {
            bail!(
                "archives are neither read nor written: `-` is no path; a file of that name is `./-`"
            );
        }
        match (of_sandbox(&self.from), of_sandbox(&self.to)) {
            (Some((name, path)), None) => runtime.copy_from_resident(name, path, &self.to)?,
            (None, Some((name, path))) => runtime.copy_to_resident(&self.from, name, path)?,
            (None, None) => bail!("neither is a path of a sandbox, such as `web:/etc`"),
            (Some(_), Some(_)) => {
                bail!("both are paths of sandboxes: copy to this host first, and from there")
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A path of a sandbox. A host's path with a colon in it is one behind `./` or `/`, as docker has it.
fn of_sandbox(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains('/') && *name != ".")
}

/// Change limits of sandboxes that run
#[derive(Args, Debug)]
pub(super) struct Update {
    /// Names or ids
    #[arg(value_name = "SANDBOX", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    limits: LimitFlags,

    #[command(flatten)]
    common: Common,
}

impl Update {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let changes = self.limits.limits();
        if changes == aril::Limits::default() {
            bail!("nothing is to be changed: name a limit, such as `--memory 128m`");
        }
        let update = |runtime: &Runtime, name: &str| runtime.update_resident(name, changes);
        each(&self.common.keeping()?, &self.names, update)
    }
}
