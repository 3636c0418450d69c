//! The command line, as callers of `runc` and `crun` write it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

/// Where the folders of containers are, where nobody says so.
const ROOT: &str = "/run/aril-oci";

/// Runs WASI programs as containers of the OCI runtime specification.
#[derive(Debug, Parser)]
#[command(name = "aril-oci", version, about, max_term_width = 100)]
pub(super) struct Words {
    /// Folder for the state of containers.
    #[arg(long, value_name = "DIR", default_value = ROOT)]
    pub(super) root: PathBuf,
    /// File to write errors to, beside standard error.
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// How lines of the log are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: Format,
    /// Taken for callers that give it: what is written are errors.
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// Taken for callers that give it.
    #[arg(long)]
    pub(super) debug: bool,
    /// Name control groups as systemd does (`slice:prefix:name`).
    #[arg(long)]
    pub(super) systemd_cgroup: bool,
    /// Who makes control groups.
    #[arg(long, value_name = "MANAGER")]
    pub(super) cgroup_manager: Option<Manager>,
    /// Taken for callers that give it: what an ordinary user may do is found out by doing it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    pub(super) rootless: Option<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Manager {
    /// This program, where the configuration says.
    Cgroupfs,
    /// This program, in the scope that the configuration names.
    Systemd,
    /// Nobody: limits that only a group holds are refused.
    Disabled,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a container out of a bundle; its program waits for `start`.
    Create(Create),
    /// Start the program of a container.
    Start { id: String },
    /// Make a container, start it, wait for its end, and delete it.
    Run(Run),
    /// Print the state of a container.
    State { id: String },
    /// Send a signal to a container.
    Kill(Kill),
    /// Delete a container that has ended.
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
        /// End it first, and do not mind one that is not there.
        #[arg(short, long)]
        force: bool,
    },
    /// List containers.
    List(List),
    /// List the processes of a container.
    Ps {
        id: String,
        /// `json` prints their numbers.
        #[arg(short, long, default_value = "table")]
        format: ListFormat,
        /// Taken for callers that give it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        options: Vec<String>,
    },
    /// Have a container stand still.
    Pause { id: String },
    /// Have a container go on that stands still.
    Resume { id: String },
    /// Hold a container to other limits.
    Update(Update),
    /// Print what a container uses.
    Events {
        id: String,
        /// Once, and end.
        #[arg(long)]
        stats: bool,
        /// How often.
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
        interval: Duration,
    },
    /// Run a program beside that of a container, within its files and limits.
    Exec(Exec),
    /// Print what this runtime can do.
    Features,
    /// Keep a container.
    #[command(hide = true)]
    Keep(Keep),
}

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    pub(super) id: String,
    /// The folder with `config.json`.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// File to write the number of the container's process to.
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Socket that the terminal's near end is sent to.
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    /// Descriptors to hand on. No guest can take any, so that other numbers than 0 are refused.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Taken for callers that give it: no guest has a root to change to.
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Taken for callers that give it: no guest has keys.
    #[arg(long)]
    pub(super) no_new_keyring: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) create: Create,
    /// Do not wait for its end.
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Leave it when it has ended.
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Args, Debug)]
pub(super) struct Kill {
    pub(super) id: String,
    /// By its number or its name.
    #[arg(default_value = "SIGTERM")]
    pub(super) signal: Signal,
    /// All processes of the container.
    #[arg(short, long)]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// How it is written.
    #[arg(short, long, default_value = "table")]
    pub(super) format: ListFormat,
    /// Ids alone.
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Args, Debug)]
pub(super) struct Update {
    pub(super) id: String,
    /// File with `linux.resources` as JSON, or `-` for standard input.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(super) resources: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Exec {
    pub(super) id: String,
    /// The program and its arguments, where no `--process` says it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
    /// File with a `process` as JSON.
    #[arg(short, long, value_name = "FILE")]
    pub(super) process: Option<PathBuf>,
    /// File to write the number of its process to.
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Socket that the terminal's near end is sent to.
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    /// Do not wait for its end.
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Give it a terminal, where no `--process` says so.
    #[arg(short, long)]
    pub(super) tty: bool,
    /// A variable of its environment.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// Its working directory.
    #[arg(long, value_name = "PATH")]
    pub(super) cwd: Option<String>,
    /// Descriptors to hand on. No guest can take any, so that other numbers than 0 are refused.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// The number of the descriptor that is told of its beginning.
    #[arg(long, hide = true)]
    pub(super) tell: Option<u32>,
}

/// What `create` starts.
#[derive(Args, Debug)]
pub(super) struct Keep {
    pub(super) id: String,
    #[arg(long)]
    pub(super) bundle: PathBuf,
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// The number of the descriptor that is told of the container's creation.
    #[arg(long)]
    pub(super) tell: u32,
}

/// A signal, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal(pub(super) u32);

/// Their names, in the order of their numbers, which begin at 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl FromStr for Signal {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if let Ok(number) = word.parse() {
            return Ok(Self(number));
        }
        let name = word.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let found = (1..).zip(SIGNALS).find(|(_, known)| *known == name);
        found.map(|(number, _)| Self(number)).ok_or_else(|| format!("there is no signal `{word}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_as_people_do() {
        for (word, number) in [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("sys", 31)]
        {
            assert_eq!(word.parse(), Ok(Signal(number)), "{word}");
        }
        assert!("SIG".parse::<Signal>().is_err());
    }

    #[test]
    fn what_engines_write_is_understood() {
        for line in [
            "--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p id",
            "--log-format=json --log=/l --root=/r create --bundle /b --console-socket /s --no-pivot id",
            "--root /r start id",
            "--root /r kill --all id 9",
            "--root /r kill id SIGKILL",
            "--root /r delete --force id",
            "--root /r exec --process /p --pid-file /f --detach id",
            "--root /r exec -t -e A=b id sh -c x",
            "--root /r ps --format json id",
            "--root /r update --resources - id",
            "--root /r events --stats id",
            "--cgroup-manager disabled --root /r state id",
            "--rootless=auto list -f json",
            "features",
        ] {
            let words = Words::try_parse_from(["aril-oci"].into_iter().chain(line.split(' ')));
            assert!(words.is_ok(), "{line}: {}", words.unwrap_err());
        }
    }
}
