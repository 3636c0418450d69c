//! How containerd says what a shim is started for, and how it reads the answer.
//!
//! There are three dialects, and each has to be answered in its own:
//!
//! | containerd | it says | it reads |
//! |---|---|---|
//! | 1.6 | flags, variables, options as `Any` on standard input | the address |
//! | 1.7 to 2.2 | the same, and `MAX_SHIM_VERSION` (2 by 1.7.24 and by 2.1.9) | the address, which is version 2; or JSON with its version |
//! | 2.3 and later | flags, and `BootstrapParams` on standard input | `BootstrapResult` |
//!
//! Source: containerd's `docs/runtime-v2.md` and `core/runtime/v2/binary.go`. It takes standard output
//! and standard error for one answer, so that nothing else may be written to either.

use std::io;
use std::io::Read;

use containerd_shim_protos::bootstrap_api::BootstrapParams;
use containerd_shim_protos::bootstrap_api::BootstrapResult;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::flags::Flags;

/// The most that is read from standard input, in bytes: what containerd's own shims read.
const INPUT_SIZE_MAX: u64 = 10 << 20;

/// The newest task API that is served.
const TASK_API: u32 = 3;

/// What a shim is started for.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The container.
    pub id: String,
    /// The namespace of containerd's that it is in.
    pub namespace: String,
    /// Where containerd answers to clients.
    pub address: String,
    /// Where it takes events.
    pub ttrpc_address: String,
    /// The folder for sockets, where it names one.
    pub socket_dir: Option<String>,
    /// The runtime's options, where there are some.
    pub options: Option<Any>,
    /// In which dialect it is answered.
    pub dialect: Dialect,
}

/// In which form an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// An address alone, for the task API of version 2.
    Address,
    /// JSON, with the version of the task API.
    Json,
    /// A message of the bootstrap protocol.
    Bootstrap,
}

/// A start that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum InvalidStart {
    /// Standard input cannot be read.
    #[error("standard input cannot be read")]
    Input(#[from] io::Error),
    /// Standard input goes on for ever.
    #[error("standard input is longer than {} MiB", INPUT_SIZE_MAX >> 20)]
    TooLong,
    /// What stands there is meant for another container.
    #[error("standard input is for `{theirs}` and the flags are for `{ours}`")]
    Another {
        /// Whom standard input names.
        theirs: String,
        /// Whom the flags name.
        ours: String,
    },
    /// Nobody would be told of events.
    #[error("containerd did not say where it takes events: TTRPC_ADDRESS is not set")]
    NoEvents,
    /// Nobody is named.
    #[error("`-id` and `-namespace` are needed")]
    Nobody,
}

/// Reads what a shim is started for, from its flags, its variables and its input.
///
/// # Errors
///
/// Fails where that is not understood, or is for somebody else.
pub fn read(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
    input: impl Read,
) -> Result<Start, InvalidStart> {
    if flags.id.is_empty() || flags.namespace.is_empty() {
        return Err(InvalidStart::Nobody);
    }
    let mut bytes = Vec::new();
    input.take(INPUT_SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if INPUT_SIZE_MAX < bytes.len() as u64 {
        return Err(InvalidStart::TooLong);
    }
    let start = match bootstrap(&bytes, flags)? {
        Some(params) => Start {
            id: params.instance_id,
            namespace: params.namespace,
            address: params.containerd_grpc_address,
            ttrpc_address: params.containerd_ttrpc_address,
            socket_dir: params.socket_dir.filter(|folder| !folder.is_empty()),
            options: params.extensions.into_iter().find_map(|one| one.value.into_option()),
            dialect: Dialect::Bootstrap,
        },
        None => by_flags(flags, variable, &bytes),
    };
    if start.ttrpc_address.is_empty() {
        return Err(InvalidStart::NoEvents);
    }
    Ok(start)
}

/// The message of the bootstrap protocol, where there is one.
fn bootstrap(bytes: &[u8], flags: &Flags) -> Result<Option<BootstrapParams>, InvalidStart> {
    let Ok(params) = BootstrapParams::parse_from_bytes(bytes) else { return Ok(None) };
    if params.instance_id == flags.id && params.namespace == flags.namespace {
        return Ok(Some(params));
    }
    // Options as `Any` are read as such a message too: their type is its first field, their value its
    // second, and there is no other.
    let has_more = !params.containerd_ttrpc_address.is_empty()
        || !params.containerd_grpc_address.is_empty()
        || !params.containerd_version.is_empty();
    if !has_more {
        return Ok(None);
    }
    Err(InvalidStart::Another {
        theirs: format!("{}/{}", params.namespace, params.instance_id),
        ours: format!("{}/{}", flags.namespace, flags.id),
    })
}

/// What the flags and variables of containerd up to 2.2 say.
fn by_flags(flags: &Flags, variable: impl Fn(&str) -> Option<String>, bytes: &[u8]) -> Start {
    let said = |name: &str| variable(name).unwrap_or_default();
    let address = match flags.address.as_str() {
        "" => said("GRPC_ADDRESS"),
        address => address.to_owned(),
    };
    let newest = said("MAX_SHIM_VERSION").parse::<u32>().ok();
    let options = Any::parse_from_bytes(bytes).ok().filter(|options| !options.type_url.is_empty());
    Start {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address,
        ttrpc_address: said("TTRPC_ADDRESS"),
        socket_dir: None,
        options,
        dialect: if newest.is_some_and(|newest| TASK_API <= newest) {
            Dialect::Json
        } else {
            Dialect::Address
        },
    }
}

/// What is answered, where the server is at this address.
pub fn answer(address: &str, dialect: Dialect) -> Vec<u8> {
    match dialect {
        Dialect::Address => address.as_bytes().to_vec(),
        Dialect::Json => {
            let answer = serde_json::json!({
                "version": TASK_API,
                "address": address,
                "protocol": "ttrpc",
            });
            answer.to_string().into_bytes()
        }
        Dialect::Bootstrap => {
            let result = BootstrapResult {
                version: TASK_API.cast_signed(),
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..BootstrapResult::default()
            };
            // It has texts and a number alone: nothing of it can fail to be written.
            result.write_to_bytes().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "web".to_owned(),
            namespace: "k8s.io".to_owned(),
            address: "/run/c.sock".to_owned(),
            ..Flags::default()
        }
    }

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "web".to_owned(),
            namespace: "k8s.io".to_owned(),
            containerd_ttrpc_address: "/run/c.sock.ttrpc".to_owned(),
            containerd_grpc_address: "/run/c.sock".to_owned(),
            socket_dir: Some("/run/containerd/s".to_owned()),
            ..BootstrapParams::default()
        }
    }

    fn told(input: &[u8], newest: Option<&str>) -> Result<Start, InvalidStart> {
        let variable = |name: &str| match name {
            "TTRPC_ADDRESS" => Some("/run/c.sock.ttrpc".to_owned()),
            "MAX_SHIM_VERSION" => newest.map(str::to_owned),
            _ => None,
        };
        read(&flags(), variable, input)
    }

    #[test]
    fn each_containerd_is_answered_in_the_dialect_that_it_spoke() {
        let address = "unix:///run/containerd/s/1";
        // 1.6.20 names no version; 1.7.24 and 2.1.9 name 2.
        for (newest, dialect) in
            [(None, Dialect::Address), (Some("2"), Dialect::Address), (Some("3"), Dialect::Json)]
        {
            assert_eq!(told(b"", newest).unwrap().dialect, dialect, "{newest:?}");
        }
        assert_eq!(answer(address, Dialect::Address), address.as_bytes());
        let json: serde_json::Value =
            serde_json::from_slice(&answer(address, Dialect::Json)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "version": 3, "address": address, "protocol": "ttrpc" })
        );
        let start = told(&params().write_to_bytes().unwrap(), Some("3")).unwrap();
        assert_eq!(start.dialect, Dialect::Bootstrap);
        assert_eq!(start.socket_dir.as_deref(), Some("/run/containerd/s"));
        let result = answer(address, Dialect::Bootstrap);
        let result = BootstrapResult::parse_from_bytes(&result).unwrap();
        assert_eq!((result.version, result.address.as_str()), (3, address));
    }

    #[test]
    fn options_of_an_older_containerd_are_not_taken_for_a_message_of_the_newer() {
        let options = Any {
            type_url: "runtimeoptions.v1.Options".to_owned(),
            value: b"\x0a\x03abc".to_vec(),
            ..Any::default()
        };
        let start = told(&options.write_to_bytes().unwrap(), Some("2")).unwrap();
        assert_eq!((start.options, start.dialect), (Some(options), Dialect::Address));
    }

    #[test]
    fn input_that_is_garbage_endless_or_for_another_container_starts_nothing_wrong() {
        assert_eq!(told(b"\xff\xff\xff\xff", None).unwrap().options, None);
        assert!(matches!(read(&flags(), |_| None, io::repeat(7)), Err(InvalidStart::TooLong)));
        let another = BootstrapParams { instance_id: "db".to_owned(), ..params() };
        let error = told(&another.write_to_bytes().unwrap(), None).unwrap_err();
        assert!(matches!(error, InvalidStart::Another { .. }), "{error}");
        assert!(matches!(read(&flags(), |_| None, io::empty()), Err(InvalidStart::NoEvents)));
        let nobody = Flags::default();
        assert!(matches!(read(&nobody, |_| None, io::empty()), Err(InvalidStart::Nobody)));
    }
}
