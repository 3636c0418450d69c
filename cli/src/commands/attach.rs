//! `aril attach` and `aril exec`: the streams of a sandbox that goes on alone, and of programs beside
//! it, on this terminal.

use std::ffi::OsString;
use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use aril::Beside;
use aril::Notices;
use clap::Args;

use super::Common;
use super::foreground;
use super::grants;
use super::show::OnAsk;
use super::show::Show;
use super::show::Shown;
use super::terminal;
use super::terminal::DetachKeys;

/// Show what a sandbox writes from now on, and have it read what is written here
///
/// Ends with the guest, and with its code. Ctrl-C leaves: the sandbox goes on. Where it has a terminal
/// (`run -t`), Ctrl-C is typed there, and the detach keys leave.
#[derive(Args, Debug)]
pub(super) struct Attach {
    /// Its name or id
    #[arg(value_name = "SANDBOX")]
    name: String,

    /// Have it read nothing from here
    #[arg(long)]
    no_stdin: bool,

    /// The keys that leave it where it has a terminal, with commas between: characters, or `ctrl-` with a
    /// letter or one of `@[\]^_`
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,

    #[command(flatten)]
    common: Common,
}

impl Attach {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let plan = runtime.resident(&self.name)?.plan;
        let mut show = Show { input: plan.interactive && !self.no_stdin, ..Show::default() };
        if plan.terminal && show.input {
            need_terminal("it has one; attach from a terminal, or with `--no-stdin` to only look")?;
            show.terminal = Some(self.detach_keys);
            show.notices = Some((Notices::take_over(), leaving()));
        }
        Ok(match show.run(runtime.attach(&self.name)?)? {
            Shown::Ended(code, _) => ExitCode::from(code),
            Shown::Left => {
                foreground::left(&self.name);
                ExitCode::SUCCESS
            }
            Shown::Asked(signal) => ExitCode::from(foreground::code_of(signal)),
        })
    }
}

/// Run another program beside a sandbox's guest, with its files and within its limits
///
/// The program is one of the sandbox's image, or a wasm file of this host. It ends with the guest, and
/// with this command.
#[derive(Args, Debug)]
#[command(override_usage = "aril exec [OPTIONS] SANDBOX PROGRAM [ARGS]...\n       \
                            aril exec [OPTIONS] --wasm FILE SANDBOX [ARGS]...")]
pub(super) struct Exec {
    /// The sandbox, and the program with its arguments: all that follows, flags too
    #[arg(value_name = "SANDBOX [PROGRAM] [ARGS]", required = true, trailing_var_arg = true)]
    words: Vec<OsString>,

    /// Run this `.wasm` or `.wat` file of this host instead of a program of the image
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,

    /// Have it read what is written here
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal of its own, which is this one with `-i`
    #[arg(short, long)]
    tty: bool,

    /// Set a variable, as NAME=VALUE, or pass on the host's, as NAME
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,

    /// Start in this directory of the guest
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    #[command(flatten)]
    common: Common,
}

impl Exec {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let words = self.words.iter().map(|word| {
            let text = word.to_str().map(str::to_owned);
            text.with_context(|| format!("`{}` is not UTF-8", word.display()))
        });
        let mut words = words.collect::<anyhow::Result<Vec<_>>>()?;
        let name = words.remove(0);
        let mut program = Beside { interactive: self.interactive, ..Beside::default() };
        if let Some(file) = &self.wasm {
            // The keeper is elsewhere.
            let path = std::path::absolute(file);
            let path = path.with_context(|| format!("cannot use `{}`", file.display()))?;
            let own = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            words.insert(0, own);
            program.file = Some(path);
        } else if words.is_empty() {
            anyhow::bail!("name the program to run, or a file with `--wasm`");
        }
        program.command = words;
        for variable in &self.env {
            program.environment.extend(grants::variable_of(variable)?);
        }
        program.working_directory = self.workdir;
        let mut show = Show { input: self.interactive, ..Show::default() };
        if self.tty {
            program.terminal = Some(terminal::size());
        }
        if self.tty && self.interactive {
            need_terminal("leave out `-t`, or run it from a terminal")?;
            // Nothing leaves it: it ends with this command.
            show.terminal = Some(DetachKeys::none());
        }
        let attachment = self.common.keeping()?.run_beside(&name, program)?;
        if show.terminal.is_some() {
            show.notices = Some((Notices::take_over(), leaving()));
        }
        Ok(match show.run(attachment)? {
            Shown::Ended(code, _) => ExitCode::from(code),
            Shown::Left => ExitCode::SUCCESS,
            Shown::Asked(signal) => ExitCode::from(foreground::code_of(signal)),
        })
    }
}

/// What is done about signals where a guest is only looked at: it is left.
fn leaving() -> OnAsk {
    Box::new(|_signal| true)
}

/// Says that this command has no terminal for a guest that has one.
pub(super) fn need_terminal(remedy: &str) -> anyhow::Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    anyhow::bail!("the input device is not a TTY: {remedy}")
}
