//! `aril volume`: directories with names that outlive a run.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use aril::Runtime;
use aril::Volume;
use aril::VolumeName;
use clap::Args;
use clap::Subcommand;
use serde_json::json;

use super::Common;
use super::inspect;
use crate::report;

/// Manage volumes: directories with names, which outlive the runs that write to them
///
/// `aril run -v NAME:GUEST` makes the volume that it names, if there is none.
#[derive(Args, Debug)]
pub(super) struct Volumes {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a volume, if there is none with this name
    Create(Create),
    /// List all volumes
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show volumes, as JSON
    Inspect(Inspect),
    /// Remove volumes that no program uses, with all that is in them
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

#[derive(Args, Debug)]
struct Create {
    /// The volume
    name: VolumeName,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct List {
    /// Only the names
    #[arg(short, long)]
    quiet: bool,

    /// `json` for a line of JSON each, or a template such as `{{.Name}}`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Inspect {
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<VolumeName>,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Remove {
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<VolumeName>,

    /// Take it well where there is none
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

impl Volumes {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Create(create) => {
                create.common.keeping()?.create_volume(&create.name)?;
                report::line(format_args!("{}", create.name))?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Ls(list) => list.execute().map(|()| ExitCode::SUCCESS),
            Verb::Inspect(inspect) => inspect.execute(),
            Verb::Rm(remove) => {
                let runtime = remove.common.keeping()?;
                super::each(&remove.names, |name| {
                    match runtime.remove_volume(name) {
                        Err(error) if remove.force && error.kind() == aril::ErrorKind::NotFound => {
                        }
                        removed => removed?,
                    }
                    Ok(name.to_string())
                })
            }
        }
    }
}

impl Inspect {
    fn execute(&self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for name in &self.names {
            match find(&runtime, name) {
                Ok(volume) => found.push(told(&volume)),
                // The others are shown all the same.
                Err(error) => {
                    let _code = report::failure(&error);
                    code = ExitCode::from(report::UNDONE);
                }
            }
        }
        report::line(format_args!("{}", serde_json::to_string_pretty(&found)?))?;
        Ok(code)
    }
}

impl List {
    fn execute(&self) -> anyhow::Result<()> {
        let volumes = self.common.keeping()?.volumes()?;
        if let Some(format) = self.format.as_deref().filter(|format| *format != "table") {
            for volume in &volumes {
                report::line(format_args!("{}", inspect::formatted(&told(volume), format)?))?;
            }
            return Ok(());
        }
        if self.quiet {
            for volume in &volumes {
                report::line(format_args!("{}", volume.name))?;
            }
            return Ok(());
        }
        let mut table = tabwriter::TabWriter::new(io::stdout()).padding(3);
        let mut print = || -> io::Result<()> {
            writeln!(table, "VOLUME NAME\tMOUNTPOINT")?;
            for volume in &volumes {
                let path = volume.path.to_string_lossy();
                writeln!(table, "{}\t{}", volume.name, aril::printable(&path))?;
            }
            table.flush()
        };
        print().map_err(report::unprinted)
    }
}

fn find(runtime: &Runtime, name: &VolumeName) -> anyhow::Result<Volume> {
    let mut volumes = runtime.volumes()?.into_iter();
    volumes
        .find(|volume| volume.name == *name)
        .with_context(|| format!("there is no volume `{name}`"))
}

/// A volume as docker tells of it.
fn told(volume: &Volume) -> serde_json::Value {
    let created = volume.created.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    json!({
        "Name": volume.name.as_str(),
        "Mountpoint": volume.path.to_string_lossy(),
        "CreatedAt": created,
        "Driver": "local",
        "Scope": "local",
    })
}
