//! What a guest is granted and told, as the flags of `aril run` have it.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::bail;
use aril::Access;
use aril::Bytes;
use aril::Directory;
use aril::GrantError;
use aril::SingleFile;
use aril::Tmpfs;
use aril::VolumeName;

/// What `-v` grants.
#[derive(Debug)]
pub(super) enum Grant {
    /// A directory of the host.
    Directory(Directory),
    /// A single file of the host.
    File(SingleFile),
    /// A volume by its name, which is made when the run begins.
    Volume { name: VolumeName, guest: String, access: Access },
}

/// Reads `HOST:GUEST[:ro]`, or `NAME:GUEST[:ro]`: what has no slash in it is a name, as docker has it.
pub(super) fn grant(volume: &OsString) -> anyhow::Result<Grant> {
    let shape = || format!("`-v {}` is not of the form HOST:GUEST[:ro]", volume.display());
    let text = volume.to_str().with_context(shape)?;
    let (paths, access) = match text.rsplit_once(':') {
        Some((paths, "ro")) => (paths, Access::ReadOnly),
        Some((paths, "rw")) => (paths, Access::ReadWrite),
        _ => (text, Access::ReadWrite),
    };
    let (host, guest) = paths.rsplit_once(':').with_context(shape)?;
    if host.is_empty() || guest.is_empty() {
        bail!(shape());
    }
    if !host.contains(['/', '\\']) && !matches!(host, "." | "..") {
        let name = host.parse().with_context(|| {
            format!("cannot grant `-v {text}`; a directory is written as `./{host}`")
        })?;
        return Ok(Grant::Volume { name, guest: guest.to_owned(), access });
    }
    let granted = match Directory::open(host, guest, access) {
        Err(GrantError::NotADirectory { .. }) => {
            SingleFile::open(host, guest, access).map(Grant::File)
        }
        granted => granted.map(Grant::Directory),
    };
    granted.with_context(|| format!("cannot grant `-v {text}`"))
}

/// Reads `PATH`, `PATH:SIZE` or docker's `PATH:size=SIZE`.
///
/// Docker's words for what such a directory is in any case are taken, and no others.
pub(super) fn tmpfs(text: &OsString) -> anyhow::Result<Tmpfs> {
    let shape = || format!("`--tmpfs {}` is not of the form PATH[:size=SIZE]", text.display());
    let text = text.to_str().with_context(shape)?;
    let (guest, options) = text.split_once(':').unwrap_or((text, ""));
    let refused = || format!("cannot grant `--tmpfs {text}`");
    let mut tmpfs = Tmpfs::new(guest).with_context(refused)?;
    let mut sizes = 0;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let size = match option.split_once('=') {
            Some(("size", size)) => size,
            None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec") => continue,
            None if option.starts_with(|first: char| first.is_ascii_digit()) => option,
            _ => bail!(
                "{}: `{}` cannot be had; a directory in memory has a size, and can be written to",
                refused(),
                aril::printable(option)
            ),
        };
        let size = size.parse::<Bytes>().with_context(refused)?;
        tmpfs = tmpfs.size(size).with_context(refused)?;
        sizes += 1;
    }
    if 1 < sizes {
        bail!("{}: it has more than one size", refused());
    }
    Ok(tmpfs)
}

/// Reads `NAME=VALUE`, or `NAME` for the host's value; nothing where the host has none.
pub(super) fn variable_of(variable: &OsString) -> anyhow::Result<Option<(String, String)>> {
    let not_utf8 = || format!("`-e {}` is not UTF-8", variable.display());
    let text = variable.to_str().with_context(not_utf8)?;
    if text.is_empty() || text.starts_with('=') {
        bail!("`-e {text}` cannot be a variable: it has no name");
    }
    if let Some((name, value)) = text.split_once('=') {
        return Ok(Some((name.to_owned(), value.to_owned())));
    }
    match std::env::var(text) {
        Ok(value) => Ok(Some((text.to_owned(), value))),
        // As docker has it: what the host does not have is not passed on.
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            bail!("the host's variable `{text}` is not UTF-8, and a guest takes nothing else")
        }
    }
}

/// The largest file of variables, in bytes: as much as a guest's environment can hold.
const ENV_FILE_SIZE_MAX: u64 = 2 << 20;

/// Reads a file of variables as docker does: a line each, `#` begins a comment.
pub(super) fn variables_of(path: &PathBuf) -> anyhow::Result<Vec<(String, String)>> {
    use std::io::Read as _;

    let failed = || format!("cannot read the variables in `{}`", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(failed)?;
    file.take(ENV_FILE_SIZE_MAX + 1).read_to_string(&mut text).with_context(failed)?;
    if ENV_FILE_SIZE_MAX < text.len() as u64 {
        bail!("{}: it is larger than 2 MiB", failed());
    }
    let mut variables = Vec::new();
    // Some editors begin a file with a mark that is no part of it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for line in text.lines().map(str::trim_start) {
        if !line.is_empty() && !line.starts_with('#') {
            let name = line.split('=').next().unwrap_or(line);
            if name.contains(char::is_whitespace) {
                bail!("{}: the name `{}` has a space in it", failed(), aril::printable(name));
            }
            variables.extend(variable_of(&line.into())?);
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_host_path_a_guest_path_and_an_access() {
        let dir = std::env::temp_dir();
        let host = dir.to_str().expect("the temporary directory is UTF-8");
        let granted = |text: String| match grant(&text.into())? {
            Grant::Directory(directory) => Ok(directory),
            Grant::Volume { name, .. } => bail!("it is the volume {name}"),
            Grant::File(_) => bail!("it is a file"),
        };
        let read_only = granted(format!("{host}:/data:ro")).expect("a grant");
        assert_eq!((read_only.guest(), read_only.access()), ("/data", Access::ReadOnly));
        assert_eq!(granted(format!("{host}:/data")).expect("a grant").access(), Access::ReadWrite);
        for text in [host.to_owned(), format!("{host}::ro"), ":/data".to_owned(), "::".to_owned()] {
            let error = granted(text.clone()).expect_err(&text);
            assert!(error.to_string().contains("HOST:GUEST"), "{error}");
        }
    }

    #[test]
    fn a_directory_in_memory_has_a_path_and_perhaps_a_size() {
        let read = |text: &str| tmpfs(&text.into());
        let of = |size: Option<u64>| {
            let tmpfs = Tmpfs::new("/tmp").expect("a path");
            size.map_or(tmpfs.clone(), |size| tmpfs.size(Bytes::new(size)).expect("a size"))
        };
        for (text, size) in [
            ("/tmp", None),
            ("/tmp:", None),
            ("/tmp:size=1m", Some(1 << 20)),
            ("/tmp:64k", Some(64 << 10)),
            ("/tmp:rw,noexec,nosuid,nodev,size=65536", Some(64 << 10)),
        ] {
            assert_eq!(read(text).expect(text), of(size), "{text}");
        }
        for (text, reason) in [
            ("tmp", "absolute"),
            ("/tmp:size=1k", "holds nothing"),
            ("/tmp:size=lots", "lots"),
            ("/tmp:size=1m,size=2m", "more than one size"),
            ("/tmp:exec", "`exec` cannot be had"),
            ("/tmp:mode=700", "`mode=700` cannot be had"),
            ("/tmp:ro", "`ro` cannot be had"),
        ] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_bare_name_is_a_volume_and_not_a_directory() {
        let found = grant(&"data:/srv:ro".into()).expect("a volume");
        let Grant::Volume { name, guest, access } = found else { panic!("it is {found:?}") };
        assert_eq!((name.as_str(), guest.as_str(), access), ("data", "/srv", Access::ReadOnly));
        let error = format!("{:#}", grant(&"a b:/data".into()).expect_err("no name"));
        assert!(error.contains("./a b") && error.contains("cannot be a volume's name"), "{error}");
    }

    #[test]
    fn variables_of_a_file_are_read_as_docker_reads_them() {
        let path = std::env::temp_dir().join(format!("aril-env-{}", std::process::id()));
        std::fs::write(&path, "\u{feff}# comment\n\nA=1\n  B=two words # not a comment\nC=\n")
            .expect("it can be written");
        let variables = variables_of(&path).expect("it can be read");
        std::fs::remove_file(&path).expect("it can be removed");
        let expected = [("A", "1"), ("B", "two words # not a comment"), ("C", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables, expected);
    }
}
