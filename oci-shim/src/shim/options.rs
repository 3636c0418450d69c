//! What an administrator sets for this runtime, in containerd's configuration or a file that that names:
//!
//! ```toml
//! # Where machine code is kept.
//! cache = "/var/cache/aril"
//! # Each guest has a process of its own.
//! isolation = "process"
//! # How long a guest has after it was asked to stop.
//! stop_grace = "5s"
//! # What runs the containers of a pod that are no wasm.
//! runc = "/usr/sbin/runc"
//!
//! # What holds for containers that say nothing of it.
//! [limits]
//! memory = "256m"
//! cpus = "1.5"
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use aril::Limit;
use aril::Limits;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::UnknownValueRef;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use serde::Deserialize;

/// The message that they come in.
const MESSAGE: &str = "runtimeoptions.v1.Options";

/// Its fields: a file, and what would be in it.
const CONFIG_PATH: u32 = 2;
const CONFIG_BODY: u32 = 3;

/// The largest file, in bytes.
const SIZE_MAX: u64 = 1 << 20;

/// What is set for this runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Where machine code is kept, where that is said.
    pub(super) cache: Option<PathBuf>,
    /// How long a guest has after it was asked to stop.
    pub(super) stop_grace: Duration,
    /// The program that runs containers that are no wasm, where it is not `runc`.
    pub(super) runc: Option<PathBuf>,
    /// What holds for containers that say nothing of it.
    pub(super) limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    cache: Option<PathBuf>,
    isolation: Option<Isolation>,
    stop_grace: Option<String>,
    // As containerd's own runtime calls it.
    #[serde(alias = "BinaryName")]
    runc: Option<PathBuf>,
    #[serde(default)]
    limits: LimitsConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Isolation {
    Process,
}

/// Amounts as they are written, as text or, where they are numbers, as such.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsConfig {
    memory: Option<String>,
    cpus: Option<String>,
    deadline: Option<String>,
    cpu_time: Option<String>,
    output: Option<String>,
    open_files: Option<u32>,
    pids: Option<u32>,
}

impl Options {
    /// Reads options as containerd hands them over.
    pub(super) fn read(options: Option<&Any>) -> Result<Self, String> {
        let Some(options) = options.filter(|options| !options.type_url.is_empty()) else {
            return Ok(Self::default());
        };
        let name = options.type_url.rsplit('/').next().unwrap_or_default();
        if name != MESSAGE {
            return Err(format!(
                "options of another runtime, `{name}`: this one takes `{MESSAGE}`; set \
                 `runtime_type` and `options` of the runtime anew"
            ));
        }
        // It has three texts, and no generated form here: all its fields are unknown ones.
        let message = Empty::parse_from_bytes(&options.value)
            .map_err(|error| format!("options that are no `{MESSAGE}`: {error}"))?;
        let field = |number| match message.special_fields.unknown_fields().get(number) {
            Some(UnknownValueRef::LengthDelimited(bytes)) if !bytes.is_empty() => Some(bytes),
            _ => None,
        };
        if let Some(body) = field(CONFIG_BODY) {
            return Self::parse(body).map_err(|error| format!("options of the runtime: {error}"));
        }
        let Some(path) = field(CONFIG_PATH) else { return Ok(Self::default()) };
        let path = std::str::from_utf8(path).map_err(|_| "`ConfigPath` is no UTF-8".to_owned())?;
        let failed = |error: String| format!("options of the runtime in `{path}`: {error}");
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| failed(error.to_string()))?;
        Self::parse(&bytes).map_err(failed)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if SIZE_MAX < bytes.len() as u64 {
            return Err(format!("more than {} MiB", SIZE_MAX >> 20));
        }
        let config: Config = toml::from_slice(bytes).map_err(|error| error.to_string())?;
        match config.isolation {
            None | Some(Isolation::Process) => {}
        }
        if config.cache.as_ref().is_some_and(|cache| !cache.is_absolute()) {
            return Err("`cache` is no absolute path".to_owned());
        }
        let limits = &config.limits;
        let count = |count: Option<u32>| count.map_or(Limit::Default, Limit::Of);
        Ok(Self {
            cache: config.cache,
            runc: config.runc,
            stop_grace: match config.stop_grace.as_deref() {
                None | Some("0" | "0s") => Duration::ZERO,
                Some(text) => aril::parse_span(text)
                    .map_err(|error| format!("`stop_grace`: `{text}`: {error}"))?,
            },
            limits: Limits {
                memory: amount("memory", limits.memory.as_deref(), str::parse)?,
                cpus: amount("cpus", limits.cpus.as_deref(), str::parse)?,
                deadline: amount("deadline", limits.deadline.as_deref(), aril::parse_span)?,
                cpu_time: amount("cpu_time", limits.cpu_time.as_deref(), aril::parse_span)?,
                output: amount("output", limits.output.as_deref(), str::parse)?,
                open_files: count(limits.open_files),
                pids: count(limits.pids),
                ..Limits::default()
            },
        })
    }
}

fn amount<T, E: std::fmt::Display>(
    name: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Limit<T>, String> {
    match text {
        None => Ok(Limit::Default),
        Some("unlimited") => Ok(Limit::Unlimited),
        Some(text) => match parse(text) {
            Ok(amount) => Ok(Limit::Of(amount)),
            Err(error) => Err(format!("`limits.{name}`: `{text}`: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use aril::Bytes;

    use super::*;

    /// A message with these fields.
    fn message(fields: &[(u32, &str)]) -> Any {
        let mut empty = Empty::default();
        let unknown = empty.special_fields.mut_unknown_fields();
        for (number, text) in fields {
            unknown.add_length_delimited(*number, text.as_bytes().to_vec());
        }
        let value = empty.write_to_bytes().unwrap();
        Any { type_url: MESSAGE.to_owned(), value, ..Any::default() }
    }

    #[test]
    fn options_come_as_text_or_in_a_file_or_not_at_all() {
        let body = "cache = '/var/cache/a'\nstop_grace = '5s'\nBinaryName = 'crun'\n[limits]\nmemory = '64m'\npids = 9\n";
        let expected = Options {
            cache: Some(PathBuf::from("/var/cache/a")),
            stop_grace: Duration::from_secs(5),
            runc: Some(PathBuf::from("crun")),
            limits: Limits {
                memory: Limit::Of(Bytes::mib(64)),
                pids: Limit::Of(9),
                ..Limits::default()
            },
        };
        let told = Options::read(Some(&message(&[(1, "any"), (CONFIG_BODY, body)])));
        assert_eq!(told.unwrap(), expected);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aril.toml");
        std::fs::write(&path, body).unwrap();
        let named = message(&[(CONFIG_PATH, path.to_str().unwrap())]);
        assert_eq!(Options::read(Some(&named)).unwrap(), expected);
        assert_eq!(Options::read(None).unwrap(), Options::default());
        assert_eq!(Options::read(Some(&Any::default())).unwrap(), Options::default());
        assert_eq!(Options::read(Some(&message(&[]))).unwrap(), Options::default());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (body, why) in [
            ("memory = '64m'", "memory"),
            ("[limits]\nmem = '64m'", "mem"),
            ("[limits]\nmemory = 'much'", "limits.memory"),
            ("isolation = 'shared'", "shared"),
            ("cache = 'here'", "absolute"),
            ("stop_grace = 'soon'", "stop_grace"),
            ("= 1", ""),
        ] {
            let error = Options::read(Some(&message(&[(CONFIG_BODY, body)]))).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
        let missing = Options::read(Some(&message(&[(CONFIG_PATH, "/missing.toml")]))).unwrap_err();
        assert!(missing.contains("/missing.toml"), "{missing}");
        let other = Any { type_url: "containerd.runc.v1.Options".to_owned(), ..Any::default() };
        assert!(Options::read(Some(&other)).unwrap_err().contains("containerd.runc.v1.Options"));
        let garbage = Any { value: vec![0xff], ..message(&[]) };
        assert!(Options::read(Some(&garbage)).is_err());
    }
}
