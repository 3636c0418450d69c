//! `aril complete`: the names that may stand at a place of a command line, for the scripts of
//! `aril completions`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Arg;
use clap::Args;
use clap::Command;

use super::Common;

/// Print names that may stand at the end of a command line, one a line
#[derive(Args, Debug)]
pub(super) struct Complete {
    /// The words behind `aril`, of which the last one is not finished
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,

    #[command(flatten)]
    common: Common,
}

/// What a place of a command line takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a place may take several kinds of names")]
struct Taken {
    sandboxes: bool,
    /// Names of sandboxes that a path is to follow, with the colon between.
    paths: bool,
    images: bool,
    volumes: bool,
}

impl Complete {
    /// Whoever presses a key is not told of failures: there are no names then.
    pub(super) fn execute(self, command: &Command) -> ExitCode {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let Some((begun, before)) = words.split_last() else { return ExitCode::SUCCESS };
        let taken = taken(command, before);
        if begun.starts_with('-') || taken == Taken::default() {
            return ExitCode::SUCCESS;
        }
        let names = self.names(taken, begun);
        let lines = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect::<String>();
        // Nobody may read it.
        let _unread = io::stdout().write_all(lines.as_bytes());
        ExitCode::SUCCESS
    }

    fn names(&self, taken: Taken, begun: &str) -> BTreeSet<String> {
        let Ok(runtime) = self.common.keeping() else { return BTreeSet::new() };
        let mut names = BTreeSet::new();
        if taken.sandboxes
            && let Ok((all, _damaged)) = runtime.residents()
        {
            let named = all.iter().filter_map(|resident| resident.name.as_ref());
            names.extend(named.map(ToString::to_string));
            // An id is for who has begun to type one.
            let ids = all.iter().map(|resident| resident.id.short().to_owned());
            names.extend(ids.filter(|_| !begun.is_empty()));
        }
        if taken.images
            && let Ok(all) = runtime.images()
        {
            let named = all.iter().filter_map(|listed| listed.name.as_ref());
            names.extend(named.map(|name| match name.tag() {
                Some(tag) => format!("{}:{tag}", name.name()),
                None => name.name(),
            }));
        }
        if taken.paths
            && let Ok((all, _damaged)) = runtime.residents()
        {
            let named = all.iter().filter_map(|resident| resident.name.as_ref());
            names.extend(named.map(|name| format!("{name}:")));
        }
        if taken.volumes
            && let Ok(all) = runtime.volumes()
        {
            names.extend(all.iter().map(|volume| volume.name.to_string()));
        }
        // What a shell could take for more than a name is none of ours.
        let is_plain = |name: &str| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
        };
        names.retain(|name| name.starts_with(begun) && is_plain(name));
        names
    }
}

/// What may stand behind these words.
fn taken(command: &Command, before: &[impl AsRef<str>]) -> Taken {
    let mut command = command;
    let mut place = 0;
    let mut words = before.iter().map(AsRef::as_ref);
    while let Some(word) = words.next() {
        let takes_next = if let Some(flag) = word.strip_prefix("--") {
            let is_known = |arg: &&Arg| {
                arg.get_long() == Some(flag)
                    || arg.get_all_aliases().is_some_and(|others| others.contains(&flag))
            };
            let known = command.get_arguments().find(is_known);
            known.is_some_and(takes_value)
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            // The first one that takes a value takes what is behind it, if anything is.
            let of = |letter| command.get_arguments().find(|arg| arg.get_short() == Some(letter));
            let taking = letters.char_indices().find(|(_, c)| of(*c).is_some_and(takes_value));
            taking.is_some_and(|(at, letter)| at + letter.len_utf8() == letters.len())
        } else {
            match command.find_subcommand(word) {
                Some(verb) if place == 0 => command = verb,
                _ => place += 1,
            }
            false
        };
        if takes_next && words.next().is_none() {
            return Taken::default();
        }
    }
    let Some(last) = command.get_positionals().last() else { return Taken::default() };
    let argument = command.get_positionals().nth(place);
    // One that takes several takes all that are behind it, but for a program's own words.
    let repeats = last.get_action().takes_values()
        && matches!(last.get_action(), clap::ArgAction::Append)
        && !last.is_trailing_var_arg_set();
    let argument = argument.or_else(|| repeats.then_some(last));
    let words = argument.and_then(Arg::get_value_names).unwrap_or_default();
    let words: Vec<&str> = words.iter().flat_map(|name| name.split([' ', '|'])).collect();
    Taken {
        sandboxes: words.contains(&"SANDBOX"),
        paths: words.iter().any(|word| word.starts_with("[SANDBOX:]")),
        images: words.contains(&"IMAGE"),
        volumes: words.contains(&"VOLUME"),
    }
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// The shell's own script with what makes it ask for names, where there is a way to.
pub(super) fn with_names(shell: clap_complete::Shell, script: &str) -> String {
    use clap_complete::Shell;
    /// What begins the end of zsh's own script: which function completes. Ours says another one.
    const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_aril\" ]";
    let (script, names) = match shell {
        Shell::Bash => (script, BASH),
        Shell::Zsh => (script.rfind(ZSH_END).map_or(script, |end| &script[..end]), ZSH),
        Shell::Fish => (script, FISH),
        _ => (script, ""),
    };
    format!("{script}{names}")
}

const BASH: &str = include_str!("complete/aril.bash");

const ZSH: &str = include_str!("complete/aril.zsh");

const FISH: &str = include_str!("complete/aril.fish");
