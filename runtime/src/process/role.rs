//! How this program is started again in a role of its own.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::platform::process;
use crate::platform::start;

/// The first argument of a program that is started in a role.
const MARK: &str = "--aril-role";

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads wasm and writes machine code; never runs any.
    Compiler,
    /// Runs machine code; never makes any.
    Worker,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Compiler => "compiler",
            Self::Worker => "worker",
        }
    }
}

/// How a role is called: bounds for the process, and words for the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) role: Role,
    /// The process that calls. The role ends with it.
    pub(crate) parent: u32,
    /// Private memory of the process, in bytes.
    pub(crate) memory: u64,
    /// Processor time of the process, in seconds.
    pub(crate) cpu_seconds: u64,
    /// What the role is told.
    pub(crate) words: Vec<String>,
}

impl Call {
    /// A call whose role puts its bounds on itself.
    pub(crate) fn unbounded(role: Role, words: Vec<String>) -> Self {
        Self { role, parent: 0, memory: u64::MAX, cpu_seconds: u64::MAX, words }
    }

    /// The arguments that make this call.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            MARK.to_owned(),
            self.role.word().to_owned(),
            self.parent.to_string(),
            self.memory.to_string(),
            self.cpu_seconds.to_string(),
        ];
        args.extend(self.words.iter().cloned());
        args
    }

    /// The call that these arguments make: nothing where they make none, and an error where they
    /// are marked as one and are not.
    pub(crate) fn from_args(args: &[impl AsRef<OsStr>]) -> Option<Result<Self, InvalidCall>> {
        let (mark, rest) = args.split_first()?;
        (mark.as_ref() == MARK).then(|| {
            let words: Option<Vec<_>> = rest.iter().map(|word| word.as_ref().to_str()).collect();
            let words = words.ok_or(InvalidCall)?;
            let [role, parent, memory, cpu_seconds, words @ ..] = &words[..] else {
                return Err(InvalidCall);
            };
            let role = match *role {
                "compiler" => Role::Compiler,
                "worker" => Role::Worker,
                _ => return Err(InvalidCall),
            };
            Ok(Self {
                role,
                parent: parent.parse().map_err(|_| InvalidCall)?,
                memory: memory.parse().map_err(|_| InvalidCall)?,
                cpu_seconds: cpu_seconds.parse().map_err(|_| InvalidCall)?,
                words: words.iter().map(|word| (*word).to_owned()).collect(),
            })
        })
    }

    /// Puts the bounds of this call on this process, before it touches anything of a stranger's.
    pub(crate) fn enter(&self) -> io::Result<()> {
        // What this process inherited stays open: a program that calls `roles` late may have made
        // descriptors of its own by now, and a compiler runs nothing that could use another's.
        process::leave_no_core()?;
        process::bear_large_files();
        process::bound_memory(self.memory)?;
        process::bound_cpu_time(self.cpu_seconds)?;
        process::end_with(self.parent)
    }
}

/// Arguments that look like a role's and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{MARK}` is how this program starts itself; it is not for people")]
pub(crate) struct InvalidCall;

/// Whether this program serves roles when it is started again.
static SERVED: AtomicBool = AtomicBool::new(false);

/// Notes that this program will serve a role when it is started in one.
pub(crate) fn note_roles_are_served() {
    SERVED.store(true, Relaxed);
}

/// The call that this process was started with, if any.
pub(crate) fn called() -> Option<Result<Call, InvalidCall>> {
    start::with_words(|words| Call::from_args(words.get(1..).unwrap_or_default()))
}

/// The program that serves roles: the one that was named, or this one where it does.
pub(crate) fn program(named: Option<&Path>) -> Option<io::Result<PathBuf>> {
    match named {
        Some(path) => Some(Ok(path.to_owned())),
        None => SERVED.load(Relaxed).then(process::own_program),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_call_survives_being_made_into_arguments() {
        let call = Call {
            role: Role::Compiler,
            parent: 7,
            memory: 8,
            cpu_seconds: 9,
            words: vec!["plain".to_owned()],
        };
        let args: Vec<OsString> = call.to_args().into_iter().map(Into::into).collect();
        assert_eq!(Call::from_args(&args), Some(Ok(call)));
    }

    #[test]
    fn other_arguments_are_no_call_and_a_broken_call_is_an_error() {
        let args = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<OsString>>();
        assert_eq!(Call::from_args(&args(&["run", "x.wasm"])), None);
        assert_eq!(Call::from_args(&args(&[])), None);
        assert_eq!(Call::from_args(&args(&[MARK])), Some(Err(InvalidCall)));
        assert_eq!(Call::from_args(&args(&[MARK, "chef", "1", "2", "3"])), Some(Err(InvalidCall)));
    }
}
