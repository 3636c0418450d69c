//! `aril completions` and `aril man`: what is made from the command line's own description.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap::Command;
use clap_complete::Shell;

use super::complete;
use crate::report;

/// Print a completion script for a shell
///
/// In bash, zsh and fish it completes names of sandboxes and images too, for which it asks this program.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(&self, command: &Command) -> anyhow::Result<ExitCode> {
        // What is hidden is offered by some shells all the same.
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
        let mut shown = Command::new("aril").version(env!("CARGO_PKG_VERSION")).subcommands(verbs);
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown, "aril", &mut script);
        let script = complete::with_names(self.shell, &String::from_utf8(script)?);
        io::Write::write_all(&mut io::stdout(), script.as_bytes()).map_err(report::unprinted)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write man pages into a directory
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn execute(&self, command: Command) -> anyhow::Result<ExitCode> {
        let into = self.directory.display();
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create `{into}`"))?;
        clap_mangen::generate_to(command, &self.directory)
            .with_context(|| format!("cannot write man pages into `{into}`"))?;
        Ok(ExitCode::SUCCESS)
    }
}
