//! `aril pull`, `push`, `login` and `logout`: images and registries.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context as _;
use anyhow::bail;
use aril::Digest;
use aril::ErrorKind;
use aril::Image;
use aril::InvalidKey;
use aril::Progress;
use aril::Reference;
use aril::Runtime;
use aril::SigningKey;
use clap::Args;
use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use super::Common;
use crate::logins;
use crate::proxies;
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
    /// Speak to the registry without encryption: only for tests
    #[arg(long)]
    insecure: bool,
}

impl RegistryFlags {
    fn registries(&self, registry: Option<&str>) -> anyhow::Result<aril::Registries> {
        let registries = logins::registries()?;
        if let Some(name) = registry.and_then(proxies::ignored) {
            report::aside(format_args!(
                "aril: `{name}` is set, but proxies are not supported: the registry is spoken to \
                 directly"
            ));
        }
        Ok(match registry {
            Some(registry) if self.insecure => registries.insecure(registry),
            _ => registries,
        })
    }
}

/// Fetch an image from its registry
#[derive(Args, Debug)]
pub(super) struct Pull {
    /// The image, by its whole name: `registry.example/team/app:1`, or `oci:DIR[:TAG]` for those of a
    /// folder that is an OCI layout
    image: String,

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
        let images = match layout(self.image.as_ref()) {
            Some((folder, name)) => runtime.load_layout(&folder, name.as_deref())?,
            None => vec![pull(&runtime, &self.image.parse()?, self.quiet, &self.registry)?],
        };
        for image in &images {
            let compiled = compiled(&runtime, image);
            if !self.quiet {
                report::line(format_args!("Digest: {}", image.digest()))?;
            }
            report::line(format_args!("{image}"))?;
            compiled?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the machine code of an image's program, so that the first run need not wait for it.
pub(super) fn compiled(runtime: &Runtime, image: &Image) -> anyhow::Result<()> {
    let mut progress = report::Progress::new(image.to_string().as_ref());
    let source = aril::Source::image(image.clone());
    let compiled = runtime
        .prepare_alone(source, &aril::Limits::default(), |elapsed| progress.compiling(elapsed));
    progress.done();
    Ok(compiled.map(drop)?)
}

/// The folder, and perhaps the name in it, of `oci:DIR[:TAG]`, as skopeo and podman write it.
pub(super) fn layout(text: &Path) -> Option<(PathBuf, Option<String>)> {
    let rest = text.to_str()?.strip_prefix("oci:")?;
    let (folder, name) = match rest.split_once(':') {
        Some((folder, name)) => (folder, Some(name.to_owned())),
        None => (rest, None),
    };
    Some((folder.into(), name))
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

    /// Sign it with a private key: one of `cosign generate-key-pair`, or of openssl
    // As podman and skopeo call it; their `--sign-by` is a key of GPG.
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,

    /// Take the passphrase of the key from a file; without it, from `$COSIGN_PASSWORD`
    #[arg(long, value_name = "FILE", requires = "sign_by_sigstore_private_key")]
    sign_passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    common: Common,
}

impl Push {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let image = runtime.image(&self.image)?;
        let mut registries = self.registry.registries(self.image.registry())?;
        if let Some(path) = &self.sign_by_sigstore_private_key {
            registries =
                registries.sign_by(signing_key(path, self.sign_passphrase_file.as_deref())?);
        }
        let shown = Shown::new(self.quiet, "Pushed");
        let told = |progress| shown.tell(progress);
        block_on(runtime.push(&image, &self.image, &registries, told))??;
        report::line(format_args!("{}", image.digest()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A private key, with its passphrase where it has one.
fn signing_key(path: &Path, passphrase: Option<&Path>) -> anyhow::Result<SigningKey> {
    let text = small_file(path)?;
    let passphrase = match passphrase {
        Some(path) => Some(small_file(path)?),
        None => std::env::var_os("COSIGN_PASSWORD").map(OsString::into_encoded_bytes),
    };
    // A file ends with a line; a passphrase does not.
    let passphrase = passphrase.as_deref().map(|bytes| bytes.strip_suffix(b"\n").unwrap_or(bytes));
    let hint = || format!("cannot sign with `{}`", path.display());
    SigningKey::parse(&text, passphrase)
        .map_err(|error| match error {
            InvalidKey::Passphrase => anyhow::Error::new(error)
                .context("use `--sign-passphrase-file`, or set COSIGN_PASSWORD"),
            error => error.into(),
        })
        .with_context(hint)
}

/// What is in a file that should be small.
fn small_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    /// More than any key and any passphrase.
    const SIZE_MAX: u64 = 1 << 20;
    let failed = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(failed)?;
    file.take(SIZE_MAX).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
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
#[command(override_usage = "aril login [OPTIONS] -u USERNAME --password-stdin REGISTRY")]
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
        logins::keep_from_others()?;
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
