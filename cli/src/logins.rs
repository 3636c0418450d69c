//! How this user reaches registries, and what is believed of them: `registries.toml`, `policy.json`,
//! and the logins of Aril's own, of docker's and of podman's.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use aril::Registries;
use base64::Engine as _;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::folders;

/// All that this user has said of registries.
pub(crate) fn registries() -> anyhow::Result<Registries> {
    keep_from_others()?;
    let mut registries = Registries::default();
    if let Some(folder) = folders::config() {
        let path = folder.join("registries.toml");
        if let Some(text) = read_trusted(&path)? {
            registries = registries
                .settings(&text)
                .with_context(|| format!("`{}` cannot be used", path.display()))?;
        }
        let path = folder.join("policy.json");
        if let Some(text) = read_trusted(&path)? {
            registries = registries
                .policy(&text)
                .with_context(|| format!("`{}` cannot be used", path.display()))?;
        }
    }
    // What was said to us is newer than what was said to others. Docker lets others read its own.
    let docker = folders::docker_config().map(|folder| folder.join("config.json"));
    let own = own_file().into_iter().map(|path| (secret_object(&path), path));
    let docker = docker.into_iter().map(|path| (object(&path), path));
    let podman = folders::logins_of_podman().into_iter().map(|path| (secret_object(&path), path));
    for (logins, path) in own.chain(docker).chain(podman) {
        if let Some(logins) = logins? {
            registries = registries
                .logins(&Value::Object(logins).to_string())
                .with_context(|| format!("`{}` cannot be used", path.display()))?;
        }
    }
    Ok(registries)
}

/// Sees to it that nobody reads logins and keys in the memory of this process, also when it is
/// killed. Whoever is about to read one calls it first.
pub(crate) fn keep_from_others() -> anyhow::Result<()> {
    aril::keep_secrets()
        .context("cannot keep the memory of this process, with its logins, from others")
}

/// Keeps a login, in docker's form, where this user alone reads it.
pub(crate) fn keep(registry: &str, user: &str, password: &str) -> anyhow::Result<()> {
    let login = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    change(|auths| {
        auths.insert(registry.to_owned(), json!({ "auth": login }));
    })
}

/// Forgets a login, and says whether there was one.
pub(crate) fn forget(registry: &str) -> anyhow::Result<bool> {
    let mut found = false;
    change(|auths| found = auths.remove(registry).is_some())?;
    Ok(found)
}

fn change(change: impl FnOnce(&mut Map<String, Value>)) -> anyhow::Result<()> {
    keep_from_others()?;
    let path = own_file().context("there is no place for logins: set HOME or ARIL_CONFIG_DIR")?;
    let failed = || format!("cannot write the logins in `{}`", path.display());
    let mut all = secret_object(&path)?.unwrap_or_default();
    let auths = all.entry("auths").or_insert_with(|| json!({}));
    change(auths.as_object_mut().with_context(failed)?);
    let folder = path.parent().with_context(failed)?;
    fs::create_dir_all(folder).with_context(failed)?;
    // Made for this user alone, and put in the place of the old one once it is whole.
    let mut draft = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    let text = format!("{:#}\n", Value::Object(all));
    io::Write::write_all(&mut draft, text.as_bytes()).with_context(failed)?;
    draft.persist(&path).with_context(failed)?;
    Ok(())
}

fn own_file() -> Option<PathBuf> {
    folders::config().map(|folder| folder.join("auth.json"))
}

/// Reads a file of logins, which nobody else may read: what could be read is known by now.
fn secret_object(path: &Path) -> anyhow::Result<Option<Map<String, Value>>> {
    if aril::others_may_read(path) {
        anyhow::bail!(
            "others than you may read the logins in `{0}`: see that it is yours, `chmod 600 {0}`, and \
             change the passwords in it if others could know them",
            path.display()
        );
    }
    object(path)
}

fn object(path: &Path) -> anyhow::Result<Option<Map<String, Value>>> {
    let Some(text) = read(path)? else { return Ok(None) };
    // The text of the error would repeat what may be a secret.
    let object = serde_json::from_str(&text).ok();
    object.map(Some).with_context(|| format!("`{}` is not what it should be", path.display()))
}

/// The largest file of settings, a policy or logins, in bytes.
const SIZE_MAX: u64 = 4 << 20;

/// The text of a file, where there is one. A link that leads nowhere is not taken for that: who put
/// it there meant something.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let failed = || format!("cannot read `{}`", path.display());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.with_context(failed)?,
    };
    if !fs::metadata(path).with_context(failed)?.is_file() {
        anyhow::bail!("{}: it is not a regular file", failed());
    }
    let mut text = String::new();
    let file = fs::File::open(path).with_context(failed)?;
    io::Read::read_to_string(&mut io::Read::take(file, SIZE_MAX + 1), &mut text)
        .with_context(failed)?;
    if SIZE_MAX < text.len() as u64 {
        anyhow::bail!("{}: it is larger than {} MiB", failed(), SIZE_MAX >> 20);
    }
    Ok(Some(text))
}

/// The text of a file that says what is believed, which nobody else may write.
fn read_trusted(path: &Path) -> anyhow::Result<Option<String>> {
    if aril::others_may_write(path) {
        anyhow::bail!(
            "others than you may write to `{0}`, and so say what is believed: see that it is yours, \
             and `chmod go-w {0}`",
            path.display()
        );
    }
    read(path)
}
