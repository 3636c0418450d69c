//! The program that runs native containers: how it is called, and how it tells what went wrong.
//!
//! It is told its arguments and no more: no shell, of the environment where programs are and where a user
//! who is not root keeps what runs. It goes on where nobody waits for it any more, dies with this process,
//! may take so long, and what it says is bounded.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::NativeError;
use crate::platform::reaper;

/// What is looked for where nobody names another.
const PROGRAM: &str = "runc";

/// Where programs are, where the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that is kept of what it says, in bytes: hundreds of lines.
const SAID_SIZE_MAX: u64 = 64 << 10;

/// The most of it that an error repeats, in characters.
const TOLD_SIZE_MAX: usize = 1 << 10;

/// How long what it says is waited for after it has ended: somebody that a hook started may hold it.
const LAST_WORDS_SPAN: Duration = Duration::from_secs(1);

/// How long making a container may take, with its hooks: they have networks to set up.
pub(super) const MAKING_SPAN: Duration = Duration::from_mins(2);

/// How long any other call may take.
pub(super) const CALL_SPAN: Duration = Duration::from_secs(30);

/// How native containers are run.
#[derive(Clone, Debug)]
pub struct Runc {
    /// The program: a path, or a name that is looked for where programs are.
    pub program: PathBuf,
    /// Where it keeps what it knows of containers: one folder for each namespace of containerd's.
    pub root: PathBuf,
    /// Whether groups are made by systemd.
    pub systemd_cgroup: bool,
    /// Whether the old root stays below the new one, as where a machine has its root in memory.
    pub no_pivot: bool,
    /// Whether a container has the keys of the kernel that its shim has.
    pub no_new_keyring: bool,
}

impl Runc {
    /// `runc`, wherever programs are.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            program: PROGRAM.into(),
            root: root.into(),
            systemd_cgroup: false,
            no_pivot: false,
            no_new_keyring: false,
        }
    }

    /// Runs a call to its end, also where nobody waits for that any more: half a call leaves half of what
    /// it does.
    pub(super) async fn run(&self, call: Call) -> Result<(), NativeError> {
        let runc = self.clone();
        let running = tokio::spawn(async move { runc.run_here(call).await });
        running.await.map_err(|_gone| NativeError::Lost)?
    }

    async fn run_here(&self, mut call: Call) -> Result<(), NativeError> {
        let (verb, id) = (call.verb, call.id.clone());
        let failed = |source| NativeError::Call {
            program: self.program.clone(),
            verb,
            id: id.clone(),
            source,
        };
        let mut command = self.command(&mut call)?;
        let input = call.input.take();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NativeError::Missing { program: self.program.clone() },
            _ => failed(error),
        })?;
        // What stays with the command here would keep the streams of a container open.
        drop(command);
        let said = child.stderr.take().map(|pipe| tokio::spawn(listen(pipe)));
        let stdin = child.stdin.take();
        let ended = tokio::time::timeout(call.span, async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // One that fails does not read it all, and says why.
                let _unread = stdin.write_all(&input).await;
            }
            child.wait().await
        });
        let Ok(status) = ended.await else {
            let group = child.id();
            let left = group.map(reaper::descendants).unwrap_or_default();
            child.kill().await.map_err(failed)?;
            if let Some(group) = group {
                reaper::end_left(group, &left).await;
            }
            return Err(NativeError::TooLong {
                program: self.program.clone(),
                verb: call.verb,
                id: call.id.clone(),
                limit: call.span,
            });
        };
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let said = match said {
            Some(listening) => tokio::time::timeout(LAST_WORDS_SPAN, listening).await,
            None => Ok(Ok(String::new())),
        };
        let logged = call.log.as_deref().map(logged).unwrap_or_default();
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let said = told(&logged)
            .or_else(|| told(&said))
            .unwrap_or_else(|| "it did not say why".to_owned());
        Err(self.failure(&call, &status.to_string(), said))
    }

    fn command(&self, call: &mut Call) -> Result<Command, NativeError> {
        let path = env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        let missing = || NativeError::Missing { program: self.program.clone() };
        let program = find(&self.program, &path).ok_or_else(missing)?;
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.root).args(["--log-format", "json"]);
        if let Some(log) = &call.log {
            command.arg("--log").arg(log);
        }
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.arg(call.verb).args(&call.flags).arg(&call.id).args(&call.tail);
        command.env_clear().env("PATH", path);
        // Of a group of its own, by which what it leaves is found.
        command.process_group(0);
        if let Some(folder) = env::var_os("XDG_RUNTIME_DIR") {
            command.env("XDG_RUNTIME_DIR", folder);
        }
        if let Some(folder) = &call.folder {
            command.current_dir(folder);
        }
        let stdin = if call.input.is_some() { Stdio::piped() } else { Stdio::null() };
        match call.streams.take() {
            None => command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()),
            Some(streams) => {
                let [stdin, stdout, stderr] =
                    streams.map(|stream| stream.map_or_else(Stdio::null, Stdio::from));
                command.stdin(stdin).stdout(stdout).stderr(stderr)
            }
        };
        reaper::end_with_us(&mut command);
        Ok(command)
    }

    /// What its words mean.
    fn failure(&self, call: &Call, status: &str, said: String) -> NativeError {
        let id = call.id.clone();
        if said.contains("does not exist") && said.contains("container") {
            return NativeError::Gone { id };
        }
        let is_over = ["not running", "already finished", "no such process", "stopped container"];
        if is_over.iter().any(|words| said.contains(words)) {
            return NativeError::NotRunning { id };
        }
        NativeError::Refused {
            program: self.program.clone(),
            verb: call.verb,
            id,
            status: status.to_owned(),
            said,
        }
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: &'static str,
    pub(super) id: String,
    /// What stands before the container.
    pub(super) flags: Vec<OsString>,
    /// What stands behind it.
    pub(super) tail: Vec<OsString>,
    /// Where it works.
    pub(super) folder: Option<PathBuf>,
    /// What the container has as its streams; nothing where what is called has none to hand on.
    pub(super) streams: Option<[Option<File>; 3]>,
    /// What it reads.
    pub(super) input: Option<Vec<u8>>,
    /// Where it says what went wrong, where its standard error is the container's.
    pub(super) log: Option<PathBuf>,
    pub(super) span: Duration,
}

impl Call {
    pub(super) fn new(verb: &'static str, id: &str) -> Self {
        Self {
            verb,
            id: id.to_owned(),
            flags: Vec::new(),
            tail: Vec::new(),
            folder: None,
            streams: None,
            input: None,
            log: None,
            span: CALL_SPAN,
        }
    }

    pub(super) fn flag(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.flags.push(flag.as_ref().to_owned());
        self
    }
}

/// The file of a program, as a shell finds it.
fn find(program: &Path, path: &OsStr) -> Option<PathBuf> {
    if program.components().count() != 1 || program.is_absolute() {
        return program.is_file().then(|| program.to_owned());
    }
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What is said there, as much of it as is kept; the rest is read as well, so that nobody waits.
async fn listen(mut from: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let mut block = vec![0; 4 << 10];
    while let Ok(length @ 1..) = from.read(&mut block).await {
        let room = usize::try_from(SAID_SIZE_MAX).unwrap_or(usize::MAX) - said.len();
        said.extend_from_slice(&block[..length.min(room)]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn logged(path: &Path) -> String {
    let mut said = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SAID_SIZE_MAX).read_to_end(&mut said));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The last error that it logged, or else all that it said, as a text for people.
fn told(said: &str) -> Option<String> {
    let error = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(line["level"].as_str()?, "error" | "fatal" | "panic");
        is_error.then(|| line["msg"].as_str().map(ToOwned::to_owned))?
    };
    let text = said.lines().rev().find_map(error).unwrap_or_else(|| said.trim().to_owned());
    let text: String = text.chars().take(TOLD_SIZE_MAX).flat_map(shown).collect();
    (!text.is_empty()).then_some(text)
}

/// A character as it is shown: what a terminal acts on is written out.
pub(super) fn shown(character: char) -> impl Iterator<Item = char> {
    let acts = character.is_control();
    let written = acts.then(|| character.escape_default()).into_iter().flatten();
    written.chain((!acts).then_some(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told_bounded_and_with_nothing_that_a_terminal_acts_on() {
        let said = "{\"level\":\"warning\",\"msg\":\"old\"}\nno json\n{\"level\":\"error\",\"msg\":\"a\\u001b[2J\\nb\"}\n";
        assert_eq!(told(said).unwrap(), "a\\u{1b}[2J\\nb");
        assert_eq!(
            told(" flag provided but not defined\n").unwrap(),
            "flag provided but not defined"
        );
        assert_eq!(told("\n"), None);
        assert_eq!(told(&"x".repeat(1 << 20)).unwrap().len(), TOLD_SIZE_MAX);
    }

    #[tokio::test]
    async fn what_says_more_than_is_kept_is_read_to_its_end() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let listening = tokio::spawn(listen(near));
        far.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        drop(far);
        assert_eq!(listening.await.unwrap().len() as u64, SAID_SIZE_MAX);
    }

    #[test]
    fn a_name_is_looked_for_where_programs_are_and_a_path_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runc");
        std::fs::write(&file, "").unwrap();
        let path = folder.path().as_os_str();
        assert_eq!(find(Path::new("runc"), path), Some(file.clone()));
        assert_eq!(find(&file, OsStr::new("")), Some(file));
        assert_eq!(find(Path::new("crun"), path), None);
        assert_eq!(find(Path::new("./runc"), path), None);
    }
}
