//! `aril pull`, `push`, `login` and `logout`: images and registries.

use std::collections::BTreeMap;
use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context as _;
use anyhow::bail;
use aril::Digest;
use aril::ErrorKind;
use aril::Image;
use aril::Progress;
use aril::Reference;
use aril::Runtime;
use clap::Args;
use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use super::Common;
use crate::logins;
use crate::report;

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PullPolicy {
    /// Each time
    Always,
    /// When it is not in the store
    Missing,
    /// Never
    Never,
}

/// How registries are reached.
#[derive(Args, Debug)]
pub(super) struct RegistryFlags {
    /// Also without encryption, and whatever its certificate is worth: only for tests
    #[arg(long)]
    insecure: bool,
}

impl RegistryFlags {
    fn registries(&self, registry: Option<&str>) -> anyhow::Result<aril::Registries> {
        let registries = logins::registries()?;
        Ok(match registry {
            Some(registry) if self.insecure => registries.insecure(registry),
            _ => registries,
        })
    }
}

/// Fetch an image from its registry
#[derive(Args, Debug)]
pub(super) struct Pull {
    /// The image, by its whole name: `registry.example/team/app:1`
    image: Reference,

    /// Say nothing but the name
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    common: Common,
}

impl Pull {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let image = pull(&runtime, &self.image, self.quiet, &self.registry)?;
        // The first run should not wait for what can be done now.
        let mut progress = report::Progress::new(self.image.to_string().as_ref());
        let limits = aril::Limits::default();
        let source = aril::Source::image(image.clone());
        let compiled =
            runtime.prepare_alone(source, &limits, |elapsed| progress.compiling(elapsed));
        progress.done();
        if !self.quiet {
            report::line(format_args!("Digest: {}", image.digest()))?;
        }
        report::line(format_args!("{}", self.image))?;
        compiled?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Pulls an image, and shows how far it is.
pub(super) fn pull(
    runtime: &Runtime,
    name: &Reference,
    quiet: bool,
    flags: &RegistryFlags,
) -> anyhow::Result<Image> {
    let registries = flags.registries(name.registry())?;
    let shown = Shown::new(quiet, "Pull complete");
    let pulled = block_on(runtime.pull(name, &registries, |progress| shown.tell(progress)))?;
    Ok(pulled?)
}

/// Finds an image in the store, or pulls it where it has a registry and the policy says so.
pub(super) fn find_or_pull(
    runtime: &Runtime,
    name: &Reference,
    policy: PullPolicy,
    quiet: bool,
    flags: &RegistryFlags,
) -> anyhow::Result<Result<Image, aril::Error>> {
    if name.registry().is_none() || policy == PullPolicy::Never {
        return Ok(runtime.image(name));
    }
    if policy == PullPolicy::Missing {
        match runtime.image(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return Ok(found),
        }
    }
    pull(runtime, name, quiet, flags).map(Ok)
}

/// Send an image to a registry
#[derive(Args, Debug)]
pub(super) struct Push {
    /// The image, by the whole name that it gets
    image: Reference,

    /// Say nothing but the digest
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    common: Common,
}

impl Push {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.runtime()?;
        let image = runtime.image(&self.image)?;
        let registries = self.registry.registries(self.image.registry())?;
        let shown = Shown::new(self.quiet, "Pushed");
        let told = |progress| shown.tell(progress);
        block_on(runtime.push(&image, &self.image, &registries, told))??;
        report::line(format_args!("{}", image.digest()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(threads.context("cannot start to work")?.block_on(work))
}

/// What is shown of a transfer: a bar for each blob on a terminal, and a line for each elsewhere.
struct Shown {
    quiet: bool,
    done: &'static str,
    bars: Option<MultiProgress>,
    known: Mutex<BTreeMap<Digest, Option<ProgressBar>>>,
}

impl Shown {
    fn new(quiet: bool, done: &'static str) -> Self {
        let bars = (!quiet && io::stderr().is_terminal()).then(MultiProgress::new);
        Self { quiet, done, bars, known: Mutex::default() }
    }

    fn tell(&self, progress: Progress) {
        if self.quiet {
            return;
        }
        let id = &progress.digest.hex()[..12];
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bars) = &self.bars {
            let bar = known.entry(progress.digest).or_insert_with(|| {
                let form = "{prefix}: {bar:40} {bytes}/{total_bytes} {bytes_per_sec}";
                let style = ProgressStyle::with_template(form);
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = bars.add(ProgressBar::new(progress.size).with_style(style));
                Some(bar.with_prefix(id.to_owned()))
            });
            if let Some(bar) = bar {
                bar.set_position(progress.done);
                if progress.done == progress.size && !bar.is_finished() {
                    bar.finish();
                }
            }
        } else if progress.done == progress.size && known.insert(progress.digest, None).is_none() {
            report::aside(format_args!("{id}: {}", self.done));
        }
    }
}

/// Log in to a registry
///
/// The login is kept in `auth.json` beside `registries.toml`, readable by this user alone; logins that
/// docker keeps are used as well.
#[derive(Args, Debug)]
pub(super) struct LogIn {
    /// The registry, as it stands before the first `/` of a name
    registry: String,

    /// As whom
    #[arg(short, long)]
    username: String,

    /// Take the password from standard input
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    flags: RegistryFlags,
}

impl LogIn {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        /// What a registry may take for a password.
        const PASSWORD_SIZE_MAX: u64 = 64 << 10;
        if !self.password_stdin && io::stdin().is_terminal() {
            bail!("type the password nowhere but into a pipe: use `--password-stdin`");
        }
        let mut password = String::new();
        let input = io::stdin().lock().take(PASSWORD_SIZE_MAX);
        input
            .take(PASSWORD_SIZE_MAX)
            .read_to_string(&mut password)
            .context("cannot read the password")?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("a password is expected on standard input");
        }
        let registries = self.flags.registries(Some(&self.registry))?;
        let registries = registries.login(&self.registry, &self.username, password);
        block_on(registries.sign_in(&self.registry))??;
        logins::keep(&self.registry, &self.username, password)?;
        report::line(format_args!("Login Succeeded"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Forget the login for a registry
#[derive(Args, Debug)]
pub(super) struct LogOut {
    /// The registry
    registry: String,
}

impl LogOut {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        if !logins::forget(&self.registry)? {
            bail!("no login is kept here for `{}`", aril::printable(&self.registry));
        }
        report::line(format_args!("Removed the login for {}", aril::printable(&self.registry)))?;
        Ok(ExitCode::SUCCESS)
    }
}
