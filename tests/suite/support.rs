//! How tests find programs, guests and folders, and run the real `aril`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// The longest that a run may take before the test fails: a hung guest is our commonest bug.
const RUN_TIME_MAX: Duration = Duration::from_mins(1);

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The `aril` that was built beside this test.
pub(crate) fn aril_path() -> PathBuf {
    if let Some(path) = std::env::var_os("ARIL_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("aril");
    assert!(path.is_file(), "`{}` is missing: run `cargo build` first", path.display());
    path
}

/// Whether what is missing on this machine is a failure, rather than a reason to skip.
fn everything_is_required() -> bool {
    std::env::var("ARIL_TEST_REQUIRE").is_ok_and(|value| value == "all")
}

/// Says aloud that a test was skipped, or fails where nothing may be.
pub(crate) fn skip(reason: &str) {
    assert!(!everything_is_required(), "required, and missing: {reason}");
    let _nothing = skipped::<()>(reason);
}

/// Says aloud that a test was skipped, whatever is required.
#[expect(clippy::print_stdout, reason = "what a test says is shown to who runs it")]
pub(crate) fn skipped<T>(reason: &str) -> Option<T> {
    println!("SKIPPED: {reason}");
    None
}

/// A real program that `tests/setup` fetched or built; nothing, said aloud, where it is missing.
pub(crate) fn guest(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ARIL_GUESTS_DIR")
        .map_or_else(|| root().join("target/guests"), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    skip(&format!("the guest `{name}` is not there; `tests/setup` makes it"));
    None
}

/// The folder of PATH that has a program; nothing, said aloud, where none has.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|folder| folder.join(program).is_file());
    if found.is_none() {
        skip(&format!("`{program}` is not installed"));
    }
    found
}

/// A folder of a test's own, and the `aril` that runs in it.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    cache: PathBuf,
}

impl Bench {
    /// With an empty artifact cache of its own.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        Self { folder, cache }
    }

    /// With the cache that all tests share: compiling a language takes seconds.
    pub(crate) fn with_shared_cache() -> Self {
        let cache = root().join("target/test-cache");
        Self { cache, ..Self::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives all of it to another user, as whom what this returns starts a program. Only root can.
    #[cfg(all(target_os = "linux", not(aril_portable)))]
    pub(crate) fn give_to(&self, user: u32) -> Command {
        let owner = format!("{user}:{user}");
        let given = Command::new("chown").args(["-R", &owner]).arg(self.path()).status();
        assert!(given.unwrap().success());
        becoming(user)
    }

    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Where images are: always its own.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file into the folder, and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The real `aril`, in this folder, with nothing of the caller's environment but PATH.
    pub(crate) fn aril<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        let mut command = Command::new(aril_path());
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ARIL_CACHE_DIR", &self.cache)
            .env("ARIL_DATA_DIR", self.data())
            .current_dir(self.path());
        Run { command, input: Stdin::Closed }
    }

    /// `aril run ARGS...` on a terminal, which shows both of its outputs; nothing, said aloud,
    /// where no program makes terminals.
    pub(crate) fn run_on_a_terminal(&self, args: &str) -> Option<Run> {
        self.on_a_terminal(&format!("'{}' run {args}", aril_path().display()))
    }

    /// The same with a line of the shell's.
    pub(crate) fn on_a_terminal(&self, line: &str) -> Option<Run> {
        let Run { mut command, input } = self.aril::<&str>([]);
        let mut terminal = Command::new("script");
        terminal.args(["-q", "-e", "-c", line, "/dev/null"]).current_dir(self.path()).env_clear();
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        terminal.envs(variables);
        command = terminal;
        let made = Command::new("script").arg("--version").stdout(Stdio::null()).status();
        if made.is_ok_and(|status| status.success()) {
            return Some(Run { command, input });
        }
        skip("`script`, which makes terminals");
        None
    }

    /// `aril run ARGS...`.
    pub(crate) fn run<I: Into<OsString>>(&self, args: impl IntoIterator<Item = I>) -> Run {
        let args = std::iter::once("run".into()).chain(args.into_iter().map(Into::into));
        self.aril(args.collect::<Vec<OsString>>())
    }
}

/// A way to mount things where nobody else sees them: they are gone with who was started in it.
pub(crate) struct OwnMounts(&'static [&'static str]);

impl OwnMounts {
    /// Nothing, said aloud, where this user may not mount, not even in a namespace of its own.
    pub(crate) fn new() -> Option<Self> {
        let ways = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
        let works = |flags: &&[&str]| {
            let mut command = Command::new("unshare");
            command.args(*flags).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let found = ways.into_iter().find(works);
        if found.is_none() {
            skip("this user cannot mount anything, not even in a namespace of its own");
        }
        Some(Self(found?))
    }

    /// Runs something there, after a script has mounted what it needs.
    pub(crate) fn runs(&self, run: Run, script: &str) -> Run {
        run.after(script).within(self.command())
    }

    /// What starts a program there, which is still to be named.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(self.0);
        command
    }
}

/// Mounts over what other people's tools keep of themselves elsewhere: it is gone with them.
pub(crate) const NOTHING_ELSEWHERE: &str =
    "for place in /dev/shm /opt /run /var/lib; do mount -t tmpfs none $place; done";

/// Other people's tools, which want to be root: in a folder, with mounts and a home of their own.
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Nothing, said aloud, where one is missing, or this user is not root.
    pub(crate) fn new(bench: &Bench, needed: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("this user is not root, as which the tools of containers are run");
            return None;
        }
        for tool in needed {
            installed(tool)?;
        }
        Some(Self { folder: bench.path().to_owned() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A script of the shell's, which is about to be run.
    pub(crate) fn command(&self, script: &str) -> Command {
        let script = format!("{NOTHING_ELSEWHERE}\n{script}");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec", &script])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .current_dir(&self.folder);
        command
    }

    /// Runs it, and says what it printed.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.command(script).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}{errors}");
        said
    }
}

/// What the program reads.
enum Stdin {
    Closed,
    Bytes(Vec<u8>),
    /// A pipe that nobody writes to, open until the program has ended.
    Silent,
}

/// A program about to be run.
pub(crate) struct Run {
    pub(crate) command: Command,
    input: Stdin,
}

impl Run {
    /// Another program than ours, which reads nothing.
    pub(crate) fn of(command: Command) -> Self {
        Self { command, input: Stdin::Closed }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Stdin::Bytes(bytes.into());
        self
    }

    pub(crate) fn silent_input(mut self) -> Self {
        self.input = Stdin::Silent;
        self
    }

    /// Lets another program start it, which gets it and its arguments behind its own.
    pub(crate) fn within(self, mut outer: Command) -> Self {
        let Self { command, input } = self;
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        outer.env_clear().envs(variables).current_dir(command.get_current_dir().unwrap());
        outer.arg(command.get_program()).args(command.get_args());
        Self { command: outer, input }
    }

    /// Lets a shell prepare what it runs in, and become it.
    pub(crate) fn after(self, script: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-ec", &format!("{script}\nexec \"$0\" \"$@\"")]);
        self.within(shell)
    }

    /// Starts it, for a test that has something to do meanwhile.
    pub(crate) fn start(mut self) -> Running {
        let stdin =
            if matches!(self.input, Stdin::Closed) { Stdio::null() } else { Stdio::piped() };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take();
        if let Stdin::Bytes(bytes) = self.input {
            let mut pipe = pipe.take().unwrap();
            // One that ends early does not read it all.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let stdout = Heard::listen(child.stdout.take().unwrap());
        let stderr = Heard::listen(child.stderr.take().unwrap());
        Running { child, started: Instant::now(), stdout, stderr, _stdin: pipe }
    }

    /// Runs it to its end.
    pub(crate) fn outcome(self) -> Outcome {
        self.start().outcome()
    }
}

/// What a program says, as it says it.
struct Heard {
    so_far: Arc<Mutex<Vec<u8>>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Heard {
    fn listen(mut from: impl std::io::Read + Send + 'static) -> Self {
        let so_far = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&so_far);
        let listener = std::thread::spawn(move || {
            let mut block = [0; 4 << 10];
            loop {
                match from.read(&mut block).unwrap() {
                    0 => break,
                    count => into.lock().unwrap().extend_from_slice(&block[..count]),
                }
            }
        });
        Self { so_far, listener: Some(listener) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.so_far.lock().unwrap()).into_owned()
    }

    /// All that it said, once it says no more.
    fn end(&mut self) -> String {
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        self.so_far()
    }
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    stdout: Heard,
    stderr: Heard,
    _stdin: Option<std::process::ChildStdin>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said `text` on standard output.
    #[track_caller]
    pub(crate) fn wait_for_output(&self, text: &str) {
        wait_until(text, || self.stdout.so_far().contains(text));
    }

    /// Waits until it has said `text` on standard error.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, text: &str) {
        wait_until(text, || self.stderr.so_far().contains(text));
    }

    /// What it has said on standard output until now.
    pub(crate) fn said(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has said on standard error until now.
    pub(crate) fn said_on_error(&self) -> String {
        self.stderr.so_far()
    }

    /// Sends it a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end, and fails where that takes too long.
    pub(crate) fn outcome(self) -> Outcome {
        self.outcome_and_peak().0
    }

    /// Does the same, and says also how much memory the process ever had, in bytes, as far as that
    /// could be seen: what it took in its last millisecond may be missing.
    pub(crate) fn outcome_and_peak(mut self) -> (Outcome, u64) {
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_memory(self.child.id()).unwrap_or_default());
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let is_late = RUN_TIME_MAX < self.started.elapsed();
            assert!(!is_late, "it did not end within {RUN_TIME_MAX:?}");
            std::thread::sleep(Duration::from_millis(1));
        };
        let elapsed = self.started.elapsed();
        let outcome = Outcome {
            code: status.code(),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
            elapsed,
        };
        (outcome, peak)
    }
}

/// A test that failed leaves nothing that runs.
impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}

/// The most memory that a process ever had, in bytes, where this host tells and it still runs.
pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Sends a signal, such as `INT`, to a process that the test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "`kill -s {name} {pid}` failed");
}

/// What starts a program as another user. Only root can.
#[cfg(all(target_os = "linux", not(aril_portable)))]
pub(crate) fn becoming(user: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    command
}

/// The processes that this one, or another, is the parent of.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let numbers = |list: String| {
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    lists.flat_map(numbers).collect()
}

/// The worker of a keeper, if it has one by now. Another child may be a compiler, and until a child
/// becomes another program, it has its parent's command line and variables.
pub(crate) fn worker_so_far(keeper: u32) -> Option<u32> {
    let is_worker = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"worker"))
    };
    children_of(keeper).into_iter().find(is_worker)
}

/// The worker of a keeper, once it has one.
#[track_caller]
pub(crate) fn worker_of(keeper: u32) -> u32 {
    let mut worker = None;
    wait_until("the worker", || {
        worker = worker_so_far(keeper);
        worker.is_some()
    });
    worker.unwrap()
}

/// Waits until something is so, and fails where that takes too long.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < RUN_TIME_MAX, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its code; nothing where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Fails, with all that was said, where the code is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Fails where standard error does not hold `text`.
    #[track_caller]
    pub(crate) fn expect_error(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in {self:#?}");
        self
    }

    /// Fails where standard output is not `text`.
    #[track_caller]
    pub(crate) fn expect_output(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "{self:#?}");
        self
    }
}
