//! `aril generate systemd`: a unit by which systemd starts a sandbox again after a restart of the host.

use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::bail;
use aril::Resident;
use clap::Args;
use clap::Subcommand;

use super::Common;
use crate::report;

/// Print files by which other programs start a sandbox
#[derive(Args, Debug)]
pub(super) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Systemd(Systemd),
}

/// Print a unit of systemd that starts a sandbox as it was started, and stops it
///
/// Keep it as `~/.config/systemd/user/NAME.service`, or as root as `/etc/systemd/system/NAME.service`.
/// For a user's one to run without a login, there is `loginctl enable-linger`.
#[derive(Args, Debug)]
struct Systemd {
    /// Its name or id
    #[arg(value_name = "SANDBOX")]
    name: String,

    #[command(flatten)]
    common: Common,
}

impl Generate {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let What::Systemd(systemd) = self.what;
        let resident = systemd.common.keeping()?.resident(&systemd.name)?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program.to_str().context("the path of this program is not UTF-8")?;
        let folders = ["ARIL_DATA_DIR", "ARIL_CACHE_DIR"].map(|name| (name, std::env::var(name)));
        let folders = folders.into_iter().filter_map(|(name, value)| Some((name, value.ok()?)));
        let unit = unit(&resident, program, &folders.collect::<Vec<_>>())?;
        report::line(format_args!("{}", unit.trim_end()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The unit of a sandbox.
fn unit(resident: &Resident, program: &str, folders: &[(&str, String)]) -> anyhow::Result<String> {
    /// How much longer than its grace a sandbox may take to be gone, in seconds.
    const SPARE: u64 = 5;
    let Some(name) = &resident.name else { bail!("it has no name any more") };
    let words = named(&resident.plan.words, name.as_str())?;
    let start = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let environment = folders.iter().map(|(name, value)| {
        let assignment = format!("{name}={value}");
        format!("Environment={}\n", quoted(&assignment))
    });
    let environment = environment.collect::<String>();
    let program = quoted(program);
    let directory = resident.plan.directory.replace('%', "%%");
    let grace = resident.plan.grace.as_secs() + SPARE;
    Ok(format!(
        "[Unit]\n\
         Description=Aril sandbox {name}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         # The keeper, which is what stays.\n\
         Type=forking\n\
         {environment}\
         WorkingDirectory={directory}\n\
         # What was left of it when the host was restarted.\n\
         ExecStartPre=-{program} rm -f {name}\n\
         ExecStart={program} {start}\n\
         ExecStop=-{program} stop {name}\n\
         ExecStopPost=-{program} rm -f {name}\n\
         TimeoutStopSec={grace}\n\
         Restart=no\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// The words of a `run` that gives the sandbox this name: they are kept without one.
fn named(words: &[String], name: &str) -> anyhow::Result<Vec<String>> {
    let Some((verb, rest)) = words.split_first().filter(|(verb, _)| *verb == "run") else {
        bail!("it was not started by `aril run`, and nobody knows how to start it again");
    };
    Ok([&[verb.clone(), format!("--name={name}")], rest].concat())
}

/// A word as systemd reads it in a command line.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let bytes = c.to_string().into_bytes();
                quoted.extend(bytes.iter().map(|byte| format!("\\x{byte:02x}")));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_by_systemd_as_they_were_given() {
        for (word, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("100%", "\"100%%\""),
            ("$HOME", "\"$$HOME\""),
            ("say \"hi\"\n", "\"say \\\"hi\\\"\\n\""),
            ("a\\b", "\"a\\\\b\""),
            ("\u{1b}", "\"\\x1b\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
