//! `aril ps`: the sandboxes that go on alone.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::bail;
use aril::Ending;
use aril::Life;
use aril::Resident;
use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::Common;
use super::inspect;
use crate::report;
use crate::words;

/// List sandboxes that go on alone
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct Ps {
    /// Those too that have ended
    #[arg(short, long)]
    all: bool,

    /// Ids alone
    #[arg(short, long)]
    quiet: bool,

    /// Only the newest so many, also of those that have ended
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,

    /// Only the newest, also where it has ended
    #[arg(short, long)]
    latest: bool,

    /// Ids and commands whole
    #[arg(long)]
    no_trunc: bool,

    /// Only those for which this holds: `id=`, `name=`, `label=`, `status=`, `exited=`,
    /// `ancestor=`; several of one kind are alternatives
    #[arg(short, long = "filter", value_name = "KIND=VALUE")]
    filters: Vec<String>,

    /// A template such as `{{.ID}} {{.Status}}`, `json` for a line each, or `table`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,

    #[command(flatten)]
    common: Common,
}

/// What is asked of a sandbox to be listed.
#[derive(Debug)]
enum Filter {
    Id(String),
    Name(String),
    Label(String, Option<String>),
    Status(String),
    Exited(u8),
    Ancestor(String),
}

impl Filter {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((kind, value)) = text.split_once('=') else {
            bail!("`{text}` is no filter such as `status=running`");
        };
        let value = value.to_owned();
        Ok(match kind {
            "id" => Self::Id(value),
            "name" => Self::Name(value),
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "status" => {
                let words = Life::ALL.map(Life::word);
                if !words.contains(&value.as_str()) {
                    bail!("there is no status `{value}`; there are: {}", words.join(", "));
                }
                Self::Status(value)
            }
            "exited" => match value.parse() {
                Ok(code) => Self::Exited(code),
                Err(_) => bail!("`{value}` is no code from 0 to 255"),
            },
            "ancestor" => Self::Ancestor(value),
            _ => bail!(
                "there is no filter `{kind}`; there are: id, name, label, status, exited, ancestor"
            ),
        })
    }

    /// The kind: of several of one kind, one must hold; of several kinds, all. Labels are all.
    fn kind(&self) -> u8 {
        match self {
            Self::Id(_) => 0,
            Self::Name(_) => 1,
            Self::Label(..) => 2,
            Self::Status(_) => 3,
            Self::Exited(_) => 4,
            Self::Ancestor(_) => 5,
        }
    }

    fn holds(&self, resident: &Resident) -> bool {
        match self {
            Self::Id(start) => resident.id.as_str().starts_with(start),
            Self::Name(part) => {
                resident.name.as_ref().is_some_and(|name| name.as_str().contains(part))
            }
            Self::Label(name, value) => resident
                .plan
                .labels
                .get(name)
                .is_some_and(|found| value.as_ref().is_none_or(|value| value == found)),
            Self::Status(word) => resident.life.word() == word,
            Self::Exited(code) => resident.code() == Some(*code),
            Self::Ancestor(image) => {
                let own = &resident.plan.image;
                own == image || own.rsplit_once(':').is_some_and(|(name, _)| name == image)
            }
        }
    }
}

/// Whether all kinds of filters hold.
fn all_hold(filters: &[Filter], resident: &Resident) -> bool {
    filters.iter().all(|filter| match filter {
        Filter::Label(..) => filter.holds(resident),
        _ => filters.iter().any(|one| one.kind() == filter.kind() && one.holds(resident)),
    })
}

impl Ps {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let filters: Vec<_> =
            self.filters.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?;
        let (mut all, damaged) = self.common.keeping()?.residents()?;
        let asks_for_ended =
            filters.iter().any(|one| matches!(one, Filter::Status(_) | Filter::Exited(_)));
        let newest = if self.latest { Some(1) } else { self.last };
        if !self.all && newest.is_none() && !asks_for_ended {
            all.retain(|resident| resident.life != Life::Exited);
        }
        all.retain(|resident| all_hold(&filters, resident));
        all.truncate(newest.unwrap_or(usize::MAX));
        for id in damaged {
            report::say(format_args!(
                "what is known of the sandbox {id} is damaged; remove it with `aril rm -f {}`",
                id.short()
            ));
        }
        let format = if self.json { Some("json") } else { self.format.as_deref() };
        if let Some(format) = format.filter(|format| *format != "table") {
            for resident in &all {
                let value = told(resident, self.no_trunc);
                report::line(format_args!("{}", inspect::formatted(&value, format)?))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if self.quiet {
            for resident in &all {
                let id = if self.no_trunc { resident.id.as_str() } else { resident.id.short() };
                report::line(format_args!("{id}"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        self.print(&all).map_err(report::unprinted)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, all: &[Resident]) -> io::Result<()> {
        let mut table = tabwriter::TabWriter::new(io::stdout()).padding(3);
        writeln!(table, "SANDBOX ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tNAMES")?;
        for resident in all {
            let told = told(resident, self.no_trunc);
            let cell = |name: &str| aril::printable(told[name].as_str().unwrap_or_default());
            writeln!(
                table,
                "{}\t{}\t{}\t{}\t{}\t{}",
                cell("ID"),
                cell("Image"),
                cell("Command"),
                cell("RunningFor"),
                cell("Status"),
                cell("Names")
            )?;
        }
        table.flush()
    }
}

/// A sandbox as docker lists it.
fn told(resident: &Resident, whole: bool) -> Value {
    /// How much of a command is shown.
    const COMMAND_MAX: usize = 20;
    let mut command = resident.plan.command.join(" ");
    if !whole && COMMAND_MAX < command.chars().count() {
        command = command.chars().take(COMMAND_MAX - 1).chain(['…']).collect();
    }
    let labels = resident.plan.labels.iter();
    let labels = labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    json!({
        "ID": if whole { resident.id.as_str() } else { resident.id.short() },
        "Image": resident.plan.image,
        "Command": format!("\"{command}\""),
        "CreatedAt": humantime::format_rfc3339_seconds(resident.created).to_string(),
        "RunningFor": format!("{} ago", since(resident.created)),
        "State": resident.life.word(),
        "Status": status(resident),
        "Names": resident.name.as_ref().map_or("", |name| name.as_str()),
        "Labels": labels.join(","),
        "Restarts": resident.restarts,
        "Reason": resident.ending.as_ref().map(Ending::reason),
        "ExitCode": resident.code(),
    })
}

/// What a sandbox is doing, as docker says it: with the reason where it ended otherwise than by
/// itself.
pub(super) fn status(resident: &Resident) -> String {
    let ago = |at: Option<SystemTime>| at.map_or_else(|| "a while".to_owned(), since);
    match resident.life {
        Life::Created => "Created".to_owned(),
        Life::Running => format!("Up {}", ago(resident.started)),
        Life::Paused => format!("Up {} (Paused)", ago(resident.started)),
        Life::Restarting => {
            let code = resident.ending.as_ref().map_or(0, Ending::code);
            format!("Restarting ({code}) {} ago", ago(resident.ended))
        }
        _ => {
            let code = resident.code().unwrap_or_default();
            let reason = match &resident.ending {
                None => String::new(),
                Some(Ending::Told(record)) if record.exit.reason() == "exited" => String::new(),
                Some(ending) => format!(": {}", ending.reason().replace('_', " ")),
            };
            format!("Exited ({code}) {} ago{reason}", ago(resident.ended))
        }
    }
}

/// How long ago something was, in one word and its number, as docker says it.
fn since(at: SystemTime) -> String {
    let span = SystemTime::now().duration_since(at).unwrap_or_default();
    in_words(span)
}

fn in_words(span: Duration) -> String {
    match span.as_secs() {
        0 => "less than a second".to_owned(),
        _ => words::span(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_people_say_them() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (3600 * 5, "5 hours"),
            (86400 * 2, "2 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_is_no_filter_is_told_what_is() {
        for (text, said) in [
            ("status", "no filter such as"),
            ("status=asleep", "there are: created, running"),
            ("exited=x", "no code"),
            ("colour=red", "there are: id, name"),
        ] {
            let error = Filter::parse(text).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
