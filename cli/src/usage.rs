//! What is said to who called Aril as another tool is called.

use std::ffi::OsString;

use clap::Command;
use clap::Error;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

/// Flags that people bring from docker, podman and wasmtime, and what to do instead of them.
const FLAGS: &[(&str, &str)] = &[
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

/// Verbs that people bring from there, alone or with the verb behind them, and what to do instead.
/// The first that fits is told, and the longer ones come first.
const VERBS: &[(&str, &str)] = &[
    ("container prune", "`aril prune --sandboxes`"),
    ("container ls", "`aril ps`"),
    ("container list", "`aril ps`"),
    ("container create", "`aril run -d` makes a sandbox and starts it"),
    ("container", "the verbs stand alone: `aril ps`, `aril stop NAME`"),
    ("sandbox", "the verbs stand alone: `aril ps`, `aril stop NAME`"),
    ("image ls", "`aril images`"),
    ("image list", "`aril images`"),
    ("image rm", "`aril rmi NAME`"),
    ("image remove", "`aril rmi NAME`"),
    ("image prune", "`aril prune --images`"),
    ("image history", "`aril inspect NAME` shows the layers of an image"),
    ("image", "the verbs stand alone: `aril images`, `aril pull NAME`"),
    ("system prune", "`aril prune`"),
    ("system info", "`aril doctor` shows what this host can enforce"),
    ("system events", "`aril events`"),
    ("system", "`aril doctor` shows what this host can enforce, and `aril prune` makes room"),
    ("builder", "`aril build`; `aril prune` makes room"),
    ("buildx", "`aril build`; `aril prune` makes room"),
    ("volume prune", "volumes are removed by their names: `aril volume ls`, `aril volume rm NAME`"),
    (
        "restart",
        "`aril stop NAME`, `aril rm NAME`, and `aril run -d --name NAME` with what it was run with; \
                 with `run --restart` it is started again when it ends",
    ),
    (
        "start",
        "a sandbox that has ended is not started again: `aril rm NAME`, and `aril run -d --name NAME` \
               with what it was run with",
    ),
    ("create", "`aril run -d` makes a sandbox and starts it"),
    ("ls", "`aril ps` lists sandboxes, and `aril images` images"),
    ("list", "`aril ps` lists sandboxes, and `aril images` images"),
    ("remove", "`aril rm NAME` for a sandbox, and `aril rmi NAME` for an image"),
    ("delete", "`aril rm NAME` for a sandbox, and `aril rmi NAME` for an image"),
    ("version", "`aril --version`"),
    ("info", "`aril doctor` shows what this host can enforce"),
    ("history", "`aril inspect NAME` shows the layers of an image"),
    (
        "commit",
        "a guest's files are not made an image: `aril cp` takes them out, and `aril build` makes one",
    ),
    ("diff", "what a guest changed is not listed: `aril cp` takes its files out while it runs"),
    ("export", "`aril cp NAME:/. DIR` takes the files out of a sandbox that runs"),
    ("search", "registries are not searched: `aril pull REGISTRY/NAME`"),
    ("port", "serving on a port is not built yet: a guest has no network"),
    ("network", "a guest has no network"),
    ("serve", "serving on a port is not built yet: a guest has no network"),
    ("compose", "each sandbox is started by itself: `aril run -d --name NAME`"),
];

/// The error as it is shown: with what to do instead of a flag or a verb of another tool, without
/// the tip to pass a flag as a program, and with flags as they were typed.
pub(crate) fn told(error: Error, words: &[OsString], command: &Command) -> Error {
    match error.kind() {
        ErrorKind::UnknownArgument => instead_of_flag(error),
        ErrorKind::InvalidSubcommand => instead_of_verb(error, words),
        _ => as_typed(error, words, command),
    }
}

fn instead_of_flag(mut error: Error) -> Error {
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.split('=').next().unwrap_or(flag).to_owned(),
        _ => return error,
    };
    error.remove(ContextKind::Suggested);
    if let Some((_, advice)) = FLAGS.iter().find(|(name, _)| *name == flag) {
        error.remove(ContextKind::SuggestedArg);
        advise(&mut error, (*advice).to_owned());
    }
    error
}

fn instead_of_verb(mut error: Error, words: &[OsString]) -> Error {
    let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let begins = |verb: &str| {
        verb.split(' ').enumerate().all(|(at, part)| words.get(at).is_some_and(|word| word == part))
    };
    let advice = match words.first() {
        Some(file) if file.ends_with(".wasm") || file.ends_with(".wat") => {
            Some(format!("`aril run {}`", aril::printable(file)))
        }
        _ => VERBS.iter().find(|(verb, _)| begins(verb)).map(|(_, advice)| (*advice).to_owned()),
    };
    if let Some(advice) = advice {
        error.remove(ContextKind::SuggestedSubcommand);
        advise(&mut error, advice);
    }
    error
}

fn advise(error: &mut Error, advice: String) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
}

/// The error with the name by which a flag was called, where it has several.
fn as_typed(mut error: Error, words: &[OsString], command: &Command) -> Error {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let Some(name) = named.split([' ', '=']).next().and_then(|word| word.strip_prefix("--")) else {
        return error;
    };
    let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let verb = words.first().and_then(|word| command.find_subcommand(word.as_ref()));
    let flag = verb
        .and_then(|verb| verb.get_arguments().find(|argument| argument.get_long() == Some(name)));
    let aliases = flag.and_then(clap::Arg::get_all_aliases).unwrap_or_default();
    let flags = words.iter().filter_map(|word| word.strip_prefix("--"));
    let flags: Vec<_> = flags.filter_map(|word| word.split('=').next()).collect();
    let is_typed = |alias: &&str| flags.contains(alias);
    if let Some(alias) = aliases.into_iter().find(|alias| is_typed(alias)) {
        let named = named.replacen(name, alias, 1);
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_verb_is_found_before_the_one_that_it_begins_with() {
        for (at, (verb, _)) in VERBS.iter().enumerate() {
            let mut before = VERBS[..at].iter();
            let hidden = before.find(|(other, _)| verb.split(' ').next() == Some(other));
            assert!(hidden.is_none(), "`{verb}` is never found");
        }
    }
}
