//! The attacked host: a tree with a secret outside of every grant, looked at before and after.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use super::guest::Guest;
use super::guest::errno;
use crate::support::Bench;
use crate::support::Outcome;
use crate::support::Run;
use crate::support::aril_path;
use crate::support::skip;

/// What no guest may ever print.
pub(super) const SECRET: &str = "canary-4711-do-not-read";

/// A host with something to lose.
pub(super) struct Host {
    bench: Bench,
    /// Paths below the tree that a guest may change.
    free: Vec<PathBuf>,
}

/// All that tells a file from itself at another time.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: u32,
    names: u64,
    modified: (i64, i64),
    content: Vec<u8>,
}

impl Host {
    /// A tree with the secret at `canary` and in `outside/canary`, and an empty `grant`.
    pub(super) fn new() -> Self {
        let host = Self { bench: Bench::new(), free: Vec::new() };
        host.file("canary", SECRET);
        host.file("outside/canary", SECRET);
        host.folder("grant");
        fs::create_dir(host.bench.path().join("tmp")).unwrap();
        host
    }

    /// Whether this host gives a wall of the operating system around a guest's process.
    pub(super) fn holds(&self, wall: &str) -> bool {
        let told = self.bench().aril(["doctor"]).outcome().stdout;
        told.lines()
            .any(|line| line.starts_with("ok ") && line.contains(&format!(" wall: {wall} ")))
    }

    pub(super) fn bench(&self) -> &Bench {
        &self.bench
    }

    /// A path below the tree.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.bench.path().join("host").join(name)
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.bench.file(&format!("host/{name}"), content)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn symlink(&self, target: impl AsRef<Path>, name: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    /// From now on, what is below this path may change.
    pub(super) fn free(mut self, name: &str) -> Self {
        self.free.push(self.path(name));
        self
    }

    /// `-v` for a folder of the tree.
    pub(super) fn grant(&self, name: &str, guest: &str) -> [OsString; 2] {
        ["-v".into(), format!("{}:{guest}", self.path(name).display()).into()]
    }

    /// Runs a guest with the arguments before it, and sees to it that the host is as it was.
    #[track_caller]
    pub(super) fn attack<I: Into<OsString>>(
        &self,
        flags: impl IntoIterator<Item = I>,
        guest: &Guest,
    ) -> Attack {
        self.attack_wat(flags, guest.wat(), |run| run)
    }

    /// The same with a guest in the text form, and a run that is prepared.
    #[track_caller]
    pub(super) fn attack_wat<I: Into<OsString>>(
        &self,
        flags: impl IntoIterator<Item = I>,
        wat: impl AsRef<[u8]>,
        prepare: impl FnOnce(Run) -> Run,
    ) -> Attack {
        let guest = self.bench.file("guest.wat", wat);
        let flags = flags.into_iter().map(Into::into).chain([guest.into_os_string()]);
        let watch = self.watch();
        let outcome = prepare(self.run(flags)).outcome();
        watch.check(self, &outcome);
        Attack { outcome }
    }

    /// `aril run`, with a folder of its own for what should not be left behind.
    pub(super) fn run<I: Into<OsString>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        self.bench.run(args).env("TMPDIR", self.bench.path().join("tmp"))
    }

    /// What runs `aril` as a user who owns nothing here but its cache; nothing, said aloud, where
    /// only root could start that.
    pub(super) fn nobody(&self) -> Option<Nobody> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can run something as another user");
            return None;
        }
        // The way to the program may be closed to others, and this one is not.
        let program = self.bench.path().join("aril");
        if fs::hard_link(aril_path(), &program).is_err() {
            fs::copy(aril_path(), &program).unwrap();
        }
        fs::set_permissions(self.bench.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(self.bench.cache()).unwrap();
        fs::set_permissions(self.bench.cache(), fs::Permissions::from_mode(0o700)).unwrap();
        for folder in [self.bench.cache(), &self.bench.path().join("tmp")] {
            chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Some(Nobody { program })
    }

    /// Looks at the tree, to compare it later.
    pub(super) fn watch(&self) -> Watch {
        Watch { before: self.tree() }
    }

    fn tree(&self) -> BTreeMap<PathBuf, Entry> {
        let mut tree = BTreeMap::new();
        self.note(&self.path(""), &mut tree);
        tree
    }

    fn note(&self, path: &Path, tree: &mut BTreeMap<PathBuf, Entry>) {
        if self.free.iter().any(|free| path == free) {
            return;
        }
        let metadata = fs::symlink_metadata(path).unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        let entry = Entry {
            mode: metadata.mode(),
            owner: metadata.uid(),
            names: metadata.nlink(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content,
        };
        tree.insert(path.to_owned(), entry);
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.note(&entry.unwrap().path(), tree);
            }
        }
    }
}

/// The number of a user who owns nothing.
pub(super) const NOBODY: u32 = 65_534;

/// How to run `aril` as another user.
pub(super) struct Nobody {
    program: PathBuf,
}

impl Nobody {
    pub(super) fn runs(&self, mut run: Run) -> Run {
        let mut command = Command::new(&self.program);
        command.args(run.command.get_args()).uid(NOBODY).gid(NOBODY);
        command.current_dir(run.command.get_current_dir().unwrap()).env_clear();
        let variables = run.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(variables);
        run.command = command;
        run
    }
}

/// The host as it was.
pub(super) struct Watch {
    before: BTreeMap<PathBuf, Entry>,
}

impl Watch {
    /// Fails where the secret was told, the tree changed, or something was left behind.
    #[track_caller]
    pub(super) fn check(&self, host: &Host, outcome: &Outcome) {
        for said in [&outcome.stdout, &outcome.stderr] {
            assert!(!said.contains(SECRET), "the secret was told: {outcome:#?}");
        }
        assert_eq!(host.tree(), self.before, "the host's tree changed");
        nothing_is_left(host);
    }
}

/// How long a process may take to give back memory, on a machine with other things to do.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Fails where a process, a draft of machine code or a temporary file is left.
#[track_caller]
pub(super) fn nothing_is_left(host: &Host) {
    let bench = host.bench();
    let left = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    assert_eq!(left(bench.path().join("tmp")), Vec::<OsString>::new(), "temporary files");
    for folder in ["artifacts", "index", "empty"] {
        let names = left(bench.cache().join(folder));
        let drafts = names.iter().any(|name| name.to_string_lossy().starts_with('.'));
        assert!(!drafts && (folder != "empty" || names.is_empty()), "`{folder}` holds {names:?}");
    }
    // One that gives back the memory of a guest that was ended takes a moment longer than its end.
    let started = Instant::now();
    let mut left = processes(bench.path());
    while !left.is_empty() && started.elapsed() < LINGER_MAX {
        std::thread::sleep(Duration::from_millis(1));
        left = processes(bench.path());
    }
    assert_eq!(left, Vec::<String>::new(), "processes");
}

/// The command lines of processes that name a path.
fn processes(path: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let others = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.parse::<u32>().is_ok() && name != own)
    });
    // One that has ended meanwhile is not there any more.
    let lines = others.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|line| line.contains(path.to_str().unwrap())).collect()
}

/// What came of an attack.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) outcome: Outcome,
}

impl Attack {
    /// What the guest said, in order: labels and errnos.
    pub(super) fn said(&self) -> Vec<(&str, &'static str)> {
        let lines = self.outcome.stdout.lines().filter_map(|line| line.rsplit_once(' '));
        lines.filter_map(|(label, value)| Some((label, errno(value.parse().ok()?)))).collect()
    }

    /// The number that the guest said under a label.
    #[track_caller]
    pub(super) fn number(&self, label: &str) -> u32 {
        let mut lines = self.outcome.stdout.lines().filter_map(|line| line.rsplit_once(' '));
        let found = lines.find(|(other, _)| *other == label);
        let Some((_, value)) = found else { panic!("`{label}` was not said: {self:#?}") };
        value.parse().unwrap()
    }

    /// Fails where the guest did not end well, or said anything else.
    #[track_caller]
    pub(super) fn expect(self, expected: &[(&str, &str)]) -> Self {
        assert_eq!(self.outcome.code, Some(0), "{self:#?}");
        assert_eq!(self.said(), expected, "{self:#?}");
        self
    }

    /// Fails where standard error does not hold `text`.
    #[track_caller]
    pub(super) fn expect_error(self, text: &str) -> Self {
        assert!(self.outcome.stderr.contains(text), "`{text}` is not in {self:#?}");
        self
    }

    #[track_caller]
    pub(super) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.outcome.code, Some(code), "{self:#?}");
        self
    }
}
