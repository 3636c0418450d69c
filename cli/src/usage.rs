//! What is said to who called Aril as another tool is called.

use clap::Error;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

/// Flags that people bring from docker, podman and wasmtime, and what to do instead of them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("-p", "serving on a port is not built yet: a guest has no network"),
    ("--publish", "serving on a port is not built yet: a guest has no network"),
    ("--network", "a guest has no network, whatever is asked for"),
    ("--mount", "what `-v HOST:GUEST[:ro]` and `--tmpfs PATH[:size=SIZE]` are for"),
    ("--dir", "directories are granted with `-v HOST:GUEST[:ro]`"),
    ("--storage-opt", "a limit on what a guest writes over an image's files is `--disk SIZE`"),
    ("-u", "a guest acts on files as you; run `aril` as another user"),
    ("--user", "a guest acts on files as you; run `aril` as another user"),
    ("--privileged", "there is nothing that a guest could be given all of; grant what it needs"),
    ("--cap-add", "there is nothing that a guest could be given all of; grant what it needs"),
];

/// The error as it is shown: with what to do instead of a flag of another tool, and without the tip
/// to pass it as a program.
pub(crate) fn told(mut error: Error) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.split('=').next().unwrap_or(flag).to_owned(),
        _ => return error,
    };
    error.remove(ContextKind::Suggested);
    if let Some((_, advice)) = ELSEWHERE.iter().find(|(name, _)| *name == flag) {
        error.remove(ContextKind::SuggestedArg);
        let advice = (*advice).to_owned().into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
    }
    error
}
