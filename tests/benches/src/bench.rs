//! What is on this machine to measure with: programs, guests, and folders for what they keep.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;

use crate::rounds::Plan;

/// Something that a row needs is not on this machine.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The programs, guests and folders of one run of the benches.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) quick: bool,
    aril: PathBuf,
    wasmtime: Option<PathBuf>,
    guests: PathBuf,
    /// Machine code, kept from run to run.
    kept: PathBuf,
    scratch: tempfile::TempDir,
}

/// A file system in memory, where there is one: what is compared is the way to the file, and not
/// how often the disk turns.
const MEMORY_FILES: &str = "/dev/shm";

impl Bench {
    pub(crate) fn new(quick: bool, wasmtime: Option<&Path>) -> anyhow::Result<Self> {
        let root = root();
        let aril = std::env::current_exe()?.with_file_name("aril");
        ensure!(
            aril.is_file(),
            "`{}` is missing: run `cargo build --release -p aril-cli` first",
            aril.display()
        );
        let kept = root.join("target/benches");
        fs::create_dir_all(&kept)?;
        let in_memory = Path::new(MEMORY_FILES);
        let scratch =
            if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
        // Installed as the peer is: a copy has its pages in larger pieces than what a linker wrote.
        let installed = kept.join("aril");
        fs::copy(&aril, &installed)?;
        let bench = Self {
            quick,
            aril: installed,
            wasmtime: find_wasmtime(wasmtime),
            guests: std::env::var_os("ARIL_GUESTS_DIR")
                .map_or_else(|| root.join("target/guests"), PathBuf::from),
            kept,
            scratch: scratch?,
        };
        let config =
            format!("[cache]\ndirectory = '{}'\n", bench.kept.join("wasmtime-cache").display());
        fs::write(bench.wasmtime_config(), config)?;
        Ok(bench)
    }

    /// `full` rounds within `seconds`, or a few of both for a first look.
    pub(crate) fn plan(&self, full: usize, seconds: u64) -> Plan {
        let (rounds, seconds) =
            if self.quick { (full.div_ceil(8).max(5), seconds / 8) } else { (full, seconds) };
        Plan { rounds, time: Duration::from_secs(seconds) }
    }

    /// `aril` with these arguments.
    pub(crate) fn aril(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.aril);
        command.args(args).env("ARIL_CACHE_DIR", self.aril_cache()).stdin(Stdio::null());
        command
    }

    /// The folder in which `aril` keeps its machine code here.
    pub(crate) fn aril_cache(&self) -> PathBuf {
        self.kept.join("aril-cache")
    }

    /// `wasmtime run` with these arguments.
    pub(crate) fn wasmtime_run(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(self.peer()?);
        command.arg("run").args(args).stdin(Stdio::null());
        Ok(command)
    }

    /// The flag that turns the peer's own cache on, in a folder of the benches.
    pub(crate) fn cache_flag(&self) -> String {
        format!("-Ccache=y,cache-config={}", self.wasmtime_config().display())
    }

    fn wasmtime_config(&self) -> PathBuf {
        self.kept.join("wasmtime-cache.toml")
    }

    fn peer(&self) -> anyhow::Result<&Path> {
        self.wasmtime.as_deref().with_context(|| {
            Missing(
                "wasmtime is not installed: `cargo install wasmtime-cli@48.0.8 --locked`, or name \
                 one with --wasmtime"
                    .to_owned(),
            )
        })
    }

    /// A program that `tests/setup --benches` made or fetched.
    pub(crate) fn guest(&self, name: &str) -> anyhow::Result<String> {
        let path = self.guests.join(name);
        ensure!(
            path.is_file(),
            Missing(format!("`{name}` is not there: `tests/setup --benches` makes it"))
        );
        text(path)
    }

    /// A guest of the benches' own, as text.
    pub(crate) fn own_guest(name: &str) -> anyhow::Result<String> {
        text(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name))
    }

    /// The machine code of a guest as the peer compiles it ahead of time.
    pub(crate) fn precompiled(&self, guest: &str) -> anyhow::Result<String> {
        let peer = self.peer()?;
        self.made_once("wasmtime", guest, peer, |output| {
            let mut command = Command::new(peer);
            command.args(["compile", "-o", output, guest]);
            command
        })
    }

    /// The machine code of a guest as the bare engine of `bare.rs` compiles it.
    pub(crate) fn bare_code(&self, guest: &str) -> anyhow::Result<String> {
        let own = std::env::current_exe()?;
        self.made_once("bare", guest, &own, |output| {
            let mut command = Command::new(&own);
            command.args([crate::worker::WORD, "bare-compile", guest, output]);
            command
        })
    }

    /// What `compiler` makes of `guest`, unless it is there and younger than both.
    fn made_once(
        &self,
        folder: &str,
        guest: &str,
        compiler: &Path,
        command: impl FnOnce(&str) -> Command,
    ) -> anyhow::Result<String> {
        let folder = self.kept.join(folder);
        fs::create_dir_all(&folder)?;
        let name = Path::new(guest).file_name().context("a guest has a name")?;
        let output = text(folder.join(name).with_extension("cwasm"))?;
        let age = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
        let made = age(Path::new(&output));
        if !made.is_ok_and(|made| {
            [Path::new(guest), compiler].iter().all(|of| age(of).is_ok_and(|age| age < made))
        }) {
            crate::run::run(&mut command(&output), 0)?;
        }
        Ok(output)
    }

    /// An empty folder, which lasts as long as the benches run.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<String> {
        let path = self.scratch.path().join(name);
        fs::create_dir_all(&path)?;
        text(path)
    }

    /// What kind of machine this is, in a line.
    pub(crate) fn machine(&self) -> String {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("processors", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let system = rustix::system::uname();
        let system = system.release().to_string_lossy().into_owned();
        let system = system.split('-').next().unwrap_or_default().to_owned();
        let files = if self.scratch.path().starts_with(MEMORY_FILES) { "tmpfs" } else { "disk" };
        format!("{count} x {model}, Linux {system}, files on {files}")
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

fn text(path: PathBuf) -> anyhow::Result<String> {
    let path = path.into_os_string().into_string();
    path.map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))
}

fn find_wasmtime(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    if let Some(named) = std::env::var_os("WASMTIME") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|dir| dir.join("wasmtime")).find(|path| path.is_file())
}
