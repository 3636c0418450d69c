//! The verbs that make a container: `create`, and `run`, which is all of its life.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ExitStatus;

use serde::Deserialize;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;

use crate::platform::inherit;

use super::failure::Failure;
use super::folder::Folder;
use super::verbs;
use super::words::Create;
use super::words::Kill;
use super::words::Manager;
use super::words::Run;
use super::words::Signal;
use super::words::Words;

/// What a process says that was started to go on: its number, or why it does not.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Pid(u32),
    Failed(String),
}

/// Makes a container. Its keeper is left, and is the process whose number is told.
pub(super) fn create(words: &Words, create: &Create) -> Result<(), Failure> {
    make(words, create).map(drop)
}

/// Makes a container, starts it, waits for its end and deletes it. What ends this process meanwhile ends
/// the container, as if it were this process itself.
pub(super) fn run(words: &Words, run: &Run) -> Result<u8, Failure> {
    let id = &run.create.id;
    let unheard = |error: io::Error| Failure::of("cannot listen for signals", &error);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let tokio = tokio.map_err(unheard)?;
    // From before there is a container on: one that comes early is heard later.
    let signals = (!run.detach).then(|| tokio.block_on(async { Signals::new() }));
    let signals = signals.transpose().map_err(unheard)?;
    let keeper = make(words, &run.create)?;
    let started = verbs::start(words, id);
    if started.is_err() {
        // The first failure is the one to tell.
        let _left = verbs::delete(words, std::slice::from_ref(id), true);
    }
    started?;
    let Some(signals) = signals else { return Ok(0) };
    let ended = tokio.block_on(wait(keeper, signals, |signal| {
        let kill = Kill { id: id.clone(), signal: Signal(signal), all: false };
        // It may have ended meanwhile.
        let _over = verbs::kill(words, &kill);
    }));
    let ended = ended.map_err(|error| Failure::of("cannot wait for the container", &error))?;
    if !run.keep {
        verbs::delete(words, std::slice::from_ref(id), true)?;
    }
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED))
}

/// The signals that end a process which says nothing about them, and are sent by people: hanging up,
/// what is typed to interrupt it or to quit it, and what asks it to end.
struct Signals([unix::Signal; 4]);

impl Signals {
    const NUMBERS: [u8; 4] = [1, 2, 3, 15];

    fn new() -> io::Result<Self> {
        let [hangup, interrupt, quit, terminate] =
            Self::NUMBERS.map(|number| unix::signal(SignalKind::from_raw(number.into())));
        Ok(Self([hangup?, interrupt?, quit?, terminate?]))
    }

    /// The next one.
    async fn next(&mut self) -> u32 {
        let [hangup, interrupt, quit, terminate] = &mut self.0;
        let index = tokio::select! {
            _ = hangup.recv() => 0,
            _ = interrupt.recv() => 1,
            _ = quit.recv() => 2,
            _ = terminate.recv() => 3,
        };
        Self::NUMBERS[index].into()
    }
}

/// Waits for the end of a process, and hands the signals on that come meanwhile.
async fn wait(
    mut keeper: Child,
    mut signals: Signals,
    hand_on: impl Fn(u32),
) -> io::Result<ExitStatus> {
    let mut ended = tokio::task::spawn_blocking(move || keeper.wait());
    loop {
        tokio::select! {
            ended = &mut ended => return ended?,
            signal = signals.next() => hand_on(signal),
        }
    }
}

/// The code of a keeper that was killed, and of its container.
const KILLED: u8 = 137;

/// Makes a container, and says who keeps it.
fn make(words: &Words, create: &Create) -> Result<Child, Failure> {
    if create.preserve_fds != 0 {
        return Err(Failure::new(
            "`--preserve-fds`: no guest takes descriptors of the host; leave it out",
        ));
    }
    let bundle = fs::canonicalize(&create.bundle).map_err(|error| {
        Failure::of(format!("cannot find the bundle `{}`", create.bundle.display()), &error)
    })?;
    let folder = Folder::of(words, &create.id)?;
    folder.make()?;
    let mut args = globals(words);
    args.extend(["keep".into(), "--bundle".into(), bundle.into()]);
    if let Some(socket) = &create.console_socket {
        args.extend(["--console-socket".into(), absolute(socket)?.into()]);
    }
    let made = spawn_with(args, std::slice::from_ref(&create.id)).and_then(|(child, pid)| {
        if let Some(path) = &create.pid_file {
            write_pid(path, pid)?;
        }
        Ok(child)
    });
    if made.is_err() {
        // The first failure is the one to tell.
        let _left = verbs::clear(words, &folder, true);
    }
    made
}

/// Starts this program again to go on beside this process, and waits until it says its number. `behind`
/// are the words behind all that it takes itself.
pub(super) fn spawn_with(args: Vec<OsString>, behind: &[String]) -> Result<(Child, u32), Failure> {
    let started = inherit::start(args, "--tell", behind);
    let (mut child, said) =
        started.map_err(|error| Failure::of("cannot start a process that keeps it", &error))?;
    match serde_json::from_str(&said) {
        Ok(Said::Pid(pid)) => Ok((child, pid)),
        Ok(Said::Failed(text)) => {
            let _gone = child.wait();
            Err(Failure::new(text))
        }
        Err(_) => {
            let ended = child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
            Err(Failure::new(format!("the process that keeps it ended without a word ({ended})")))
        }
    }
}

/// The words before the verb, for a process that is started again.
pub(super) fn globals(words: &Words) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--root".into(), words.root.clone().into()];
    if words.systemd_cgroup {
        args.push("--systemd-cgroup".into());
    }
    if words.cgroup_manager == Some(Manager::Disabled) {
        args.extend(["--cgroup-manager".into(), "disabled".into()]);
    }
    args
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let found = std::path::absolute(path);
    found.map_err(|error| Failure::of(format!("cannot find `{}`", path.display()), &error))
}

/// Writes the number of a process to a file, whole or not at all: callers wait for it.
pub(super) fn write_pid(path: &Path, pid: u32) -> Result<(), Failure> {
    let failed =
        |error| Failure::of(format!("cannot write the pid file `{}`", path.display()), &error);
    let mut written = path.as_os_str().to_owned();
    written.push(".new");
    fs::write(&written, pid.to_string()).map_err(failed)?;
    fs::rename(&written, path).map_err(failed)
}
