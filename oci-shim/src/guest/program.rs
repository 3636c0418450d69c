//! The program of a container: which of its files that is, and whether it is wasm.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::path::Path;
use std::path::PathBuf;

use aril::Source;
use oci_spec::runtime::Mount;
use oci_spec::runtime::Spec;

use crate::bundle::Container;
use crate::bundle::Share;
use crate::platform::root::Root;

use super::GuestError;

/// How every wasm file begins, module or component.
const MAGIC: &[u8; 4] = b"\0asm";

/// Where programs are looked for if a container does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program of wasm, held open: whatever becomes of its name, this file is run.
#[derive(Debug)]
pub(crate) struct Program {
    /// As it is called.
    name: String,
    file: File,
}

/// What a container has as its program.
#[derive(Debug)]
pub(crate) enum Found {
    /// Wasm.
    Wasm(Program),
    /// A file that is none.
    Other,
}

impl Program {
    /// Finds the program of a container with a bundle in this folder, within its own files.
    pub(crate) fn find(container: &Container, bundle: &Path) -> Result<Self, GuestError> {
        let name = container.args.first().map_or("", String::as_str);
        let path = container.env.iter().find(|(name, _)| name == "PATH");
        let bound = container.mounts.iter().filter_map(|mounted| match &mounted.share {
            Share::Host { source, .. } => Some((mounted.destination.clone(), bundle.join(source))),
            Share::Memory { .. } => None,
        });
        let files = Files { root: super::root_path(container, bundle), bound: bound.collect() };
        let places = places(name, &container.cwd, path.map(|(_, path)| path.as_str()));
        match files.look(name, &places)? {
            Found::Wasm(program) => Ok(program),
            Found::Other => Err(GuestError::Program {
                program: name.to_owned(),
                reason: "it is no wasm: a file of this runtime begins with `\\0asm`".to_owned(),
            }),
        }
    }

    /// Looks what the program is that a configuration asks for, before anything else of that is known to
    /// make sense.
    pub(crate) fn look(spec: &Spec, bundle: &Path) -> Result<Found, GuestError> {
        let Some(process) = spec.process() else { return Ok(Found::Other) };
        let name = process.args().iter().flatten().next().map_or("", String::as_str);
        let is_bound = |mount: &&Mount| {
            let mut options = mount.options().iter().flatten();
            mount.typ().as_deref() == Some("bind")
                || options.any(|option| ["bind", "rbind"].contains(&option.as_str()))
        };
        let bound = |mount: &Mount| {
            let destination = mount.destination().to_str()?.to_owned();
            Some((destination, bundle.join(mount.source().as_ref()?)))
        };
        let root = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
        let mounts = spec.mounts().iter().flatten();
        let files = Files {
            root: bundle.join(root),
            bound: mounts.filter(is_bound).filter_map(bound).collect(),
        };
        let path = process.env().iter().flatten().find_map(|text| text.strip_prefix("PATH="));
        let cwd = process.cwd().to_str().unwrap_or("/");
        files.look(name, &places(name, cwd, path))
    }

    /// It, as the library takes it.
    pub(crate) fn source(self) -> Source {
        Source::open(self.name, self.file)
    }
}

/// Where programs are looked for: the files of a container, and what of the host is mounted over them.
struct Files {
    root: PathBuf,
    bound: Vec<(String, PathBuf)>,
}

impl Files {
    /// The first of these places where there is a file.
    fn look(&self, name: &str, places: &[String]) -> Result<Found, GuestError> {
        let failed = |reason: String| GuestError::Program { program: name.to_owned(), reason };
        let mut unusable = None;
        for place in places {
            let opened = self.open(place)?;
            match opened.map_err(Some).and_then(|file| is_wasm(&file).map(|is| (file, is))) {
                Ok((file, true)) => {
                    return Ok(Found::Wasm(Program { name: name.to_owned(), file }));
                }
                Ok((_, false)) => return Ok(Found::Other),
                Err(error) => unusable = unusable.or(reason_of(error.as_ref())),
            }
        }
        Err(failed(unusable.unwrap_or_else(|| missing(places))))
    }

    fn open(&self, place: &str) -> Result<io::Result<File>, GuestError> {
        // What is mounted last is seen.
        for (destination, source) in self.bound.iter().rev() {
            let Some(rest) = place.strip_prefix(destination.trim_end_matches('/')) else {
                continue;
            };
            if rest.is_empty() {
                return Ok(File::open(source));
            }
            if rest.starts_with('/') {
                // It is a link as often as not.
                let opened = std::fs::canonicalize(source).and_then(|source| Root::open(&source));
                return Ok(opened.and_then(|root| root.read(rest)));
            }
        }
        let path = &self.root;
        let root =
            Root::open(path).map_err(|source| GuestError::Root { path: path.clone(), source })?;
        Ok(root.read(place))
    }
}

/// Where a program of this name may be among the files of a container.
fn places(name: &str, cwd: &str, path: Option<&str>) -> Vec<String> {
    if name.starts_with('/') {
        return vec![name.to_owned()];
    }
    let in_cwd = |name: &str| format!("{}/{name}", cwd.trim_end_matches('/'));
    if name.contains('/') {
        return vec![in_cwd(name)];
    }
    let folders = path.unwrap_or(PATH_DEFAULT).split(':');
    let mut places: Vec<String> = folders
        .map(|folder| match folder {
            "" | "." => in_cwd(name),
            _ if folder.starts_with('/') => format!("{}/{name}", folder.trim_end_matches('/')),
            _ => in_cwd(&format!("{folder}/{name}")),
        })
        .collect();
    // Images of wasm often name their file alone, and have no folders for programs.
    places.push(in_cwd(name));
    places.dedup();
    places
}

/// Whether a file is wasm: nothing known of what is no file.
fn is_wasm(file: &File) -> Result<bool, Option<io::Error>> {
    if !file.metadata().map_err(Some)?.is_file() {
        return Err(None);
    }
    let mut beginning = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut beginning).map_err(Some)?;
    // It is read from its beginning on.
    { file }.rewind().map_err(Some)?;
    Ok(beginning == MAGIC)
}

/// Why what is there cannot be used: nothing where nothing is there.
fn reason_of(error: Option<&io::Error>) -> Option<String> {
    match error {
        None => Some("it is a directory, or no file that could be read".to_owned()),
        Some(error) if error.kind() == io::ErrorKind::NotFound => None,
        Some(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        Some(error) => Some(error.to_string()),
    }
}

fn missing(places: &[String]) -> String {
    format!(
        "there is no such file in the container's files: looked for {}. (A wasm artifact has no \
         files, and is not run by this door yet: run an image, as `aril build` writes it)",
        places.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(program: &str, path: Option<&str>) -> Container {
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": [program],
                "env": path.map(|path| vec![format!("PATH={path}")]).unwrap_or_default(),
                "cwd": "/work",
            },
        });
        Container::from_spec(&serde_json::from_value(config).unwrap()).unwrap()
    }

    fn bundle() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["rootfs/bin", "rootfs/work/bin", "rootfs/opt"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let wasm = b"\0asm\x01\0\0\0";
        for file in ["bin/app", "work/app.wasm", "work/bin/tool", "opt/text"] {
            let content: &[u8] = if file == "opt/text" { b"#!/bin/sh\n" } else { wasm };
            std::fs::write(dir.path().join("rootfs").join(file), content).unwrap();
        }
        std::fs::write(dir.path().join("outside.wasm"), wasm).unwrap();
        let away = dir.path().join("outside.wasm");
        std::os::unix::fs::symlink(away, dir.path().join("rootfs/away.wasm")).unwrap();
        std::os::unix::fs::symlink("/bin/app", dir.path().join("rootfs/link")).unwrap();
        dir
    }

    #[test]
    fn a_program_is_found_by_its_path_the_search_path_or_the_working_directory() {
        let bundle = bundle();
        for (name, path) in [
            ("/bin/app", None),
            ("app", None),
            ("/link", None),
            ("app.wasm", Some("/bin")),
            ("./app.wasm", None),
            ("bin/tool", None),
            ("tool", Some("/bin:bin")),
        ] {
            let found = Program::find(&container(name, path), bundle.path());
            let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut bytes = Vec::new();
            (&found.file).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"\0asm\x01\0\0\0", "{name}");
        }
    }

    #[test]
    fn a_program_may_be_in_what_is_mounted_and_may_be_no_wasm() {
        let bundle = bundle();
        let look = |program: &str| {
            let config = serde_json::json!({
                "ociVersion": "1.0.2",
                "root": { "path": "rootfs" },
                "process": {
                    "user": { "uid": 0, "gid": 0 }, "args": [program], "cwd": "/",
                },
                "mounts": [
                    { "destination": "/tools", "type": "bind", "source": bundle.path() },
                    { "destination": "/proc", "type": "proc", "source": "proc" },
                ],
            });
            Program::look(&serde_json::from_value(config).unwrap(), bundle.path())
        };
        for program in ["/tools/outside.wasm", "/bin/app", "app"] {
            assert!(matches!(look(program).unwrap(), Found::Wasm(_)), "{program}");
        }
        assert!(matches!(look("/opt/text").unwrap(), Found::Other));
        assert!(look("/tools/missing").is_err());
    }

    #[test]
    fn a_program_that_cannot_be_run_says_why() {
        let bundle = bundle();
        for (name, why) in [
            ("/missing.wasm", "no such file in the container's files"),
            ("missing", "/usr/bin/missing"),
            ("/opt", "a directory"),
            ("/opt/text", "no wasm"),
            ("/away.wasm", "no such file"),
            ("/../outside.wasm", "no such file"),
            ("/bin/app/deeper", "no such file"),
        ] {
            let error = Program::find(&container(name, None), bundle.path()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(why) && text.contains(name), "{name}: {text}");
        }
    }
}
