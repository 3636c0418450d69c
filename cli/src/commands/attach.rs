//! `aril attach` and `aril exec`: the streams of a sandbox that goes on alone, and of programs beside
//! it, on this terminal.

use std::ffi::OsString;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use aril::AttachedInput;
use aril::Attachment;
use aril::Beside;
use aril::Piece;
use clap::Args;

use super::Common;
use super::grants;
use crate::report;

/// Show what a sandbox writes from now on, and have it read what is written here
///
/// Ends with the guest, and with its code. Ctrl-C leaves: the sandbox goes on.
#[derive(Args, Debug)]
pub(super) struct Attach {
    /// Its name or id
    #[arg(value_name = "SANDBOX")]
    name: String,

    /// Have it read nothing from here
    #[arg(long)]
    no_stdin: bool,

    #[command(flatten)]
    common: Common,
}

impl Attach {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let interactive = runtime.resident(&self.name)?.plan.interactive;
        hand_on(runtime.attach(&self.name)?, interactive && !self.no_stdin)
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
        let attachment = self.common.runtime()?.run_beside(&name, program)?;
        hand_on(attachment, self.interactive)
    }
}

/// Hands streams on until the other end is over, and ends with its code.
fn hand_on(mut attachment: Attachment, interactive: bool) -> anyhow::Result<ExitCode> {
    if interactive {
        let input = attachment.input().context("cannot write to it")?;
        // It ends with this process: what is typed after the guest's end is read by nobody.
        drop(std::thread::Builder::new().spawn(move || hand_in(input)));
    }
    loop {
        let written = match attachment.next_piece().context("its keeper does not answer")? {
            Some(Piece::Output(bytes)) => {
                let mut out = io::stdout();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Some(Piece::Error(bytes)) => io::stderr().write_all(&bytes),
            Some(Piece::Lost(count)) => {
                report::say(format_args!("{count} pieces of output came too fast and are lost"));
                Ok(())
            }
            Some(Piece::Ended(code)) => return Ok(ExitCode::from(code)),
            Some(_) => Ok(()),
            None => anyhow::bail!("its keeper is gone"),
        };
        written.map_err(report::unprinted)?;
    }
}

fn hand_in(mut input: AttachedInput) {
    let mut chunk = vec![0; 16 << 10];
    loop {
        match io::stdin().read(&mut chunk) {
            Ok(count @ 1..) if input.write_all(&chunk[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    // Where the keeper is gone, the input has ended.
    let _ended = input.end();
}
