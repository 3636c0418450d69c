//! Landlock: the kernel's own list of directories that this process may reach, whatever
//! descriptors it holds.

use std::fs::File;

use landlock::ABI;
use landlock::Access as _;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::BitFlags;
use landlock::LandlockStatus;
use landlock::PathBeneath;
use landlock::RestrictionStatus;
use landlock::Ruleset;
use landlock::RulesetAttr as _;
use landlock::RulesetCreatedAttr as _;
use landlock::RulesetError;
use landlock::Scope;

use crate::platform::Lack;
use crate::platform::Reach;

/// The newest version whose rights were looked through, one by one, for what follows. A kernel that
/// has less gets what it knows, and the report says which version that is.
const VETTED: ABI = ABI::V10;

/// Restricts this thread, and all that it will start, to what lies beneath `grants`: no file is
/// executed, no device is asked for anything, no port is bound or connected to, and nothing outside
/// is sent a signal or reached by an abstract socket.
///
/// What is open stays open. The version of the kernel's rules is returned, for people.
pub(crate) fn restrict(grants: &[(&File, Reach)]) -> Result<String, Lack> {
    match try_restrict(grants) {
        Ok(status) => held(&status.landlock),
        Err(error) => Err(Lack { reason: whole(&error), remedy: REMEDY }),
    }
}

fn try_restrict(grants: &[(&File, Reach)]) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(VETTED))?
        .handle_access(AccessNet::from_all(VETTED))?
        .scope(Scope::from_all(VETTED))?
        .create()?;
    for (grant, reach) in grants {
        let mut rights = rights(*reach);
        // What is done beneath a directory cannot be allowed of a file.
        if grant.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            rights &= AccessFs::from_file(VETTED);
        }
        rules = rules.add_rule(PathBeneath::new(*grant, rights))?;
    }
    rules.restrict_self()
}

/// What may be done beneath a grant. Files of kinds that no guest can make are not made.
fn rights(reach: Reach) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match reach {
        Reach::Read => read,
        Reach::Write => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
    }
}

/// What to do where there is no landlock.
const REMEDY: &str = "use a kernel of Linux 5.13 or newer that has it built in and lists it in \
                      `lsm=` of its command line";

fn held(status: &LandlockStatus) -> Result<String, Lack> {
    match status {
        LandlockStatus::NotImplemented => {
            let reason = "the kernel does not have it".to_owned();
            Err(Lack { reason, remedy: REMEDY })
        }
        LandlockStatus::NotEnabled => {
            let reason = "the kernel has it and did not start it".to_owned();
            Err(Lack { reason, remedy: REMEDY })
        }
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            let known = *effective_abi as i32;
            Ok(described(known.max(kernel_abi.unwrap_or(known))))
        }
    }
}

/// A version of the rules, and what it does not hold that a newer one does.
fn described(version: i32) -> String {
    let lacks = match version {
        ..2 => {
            "; no file is moved to another directory; truncating, ports and signals are not held"
        }
        2 => "; truncating, ports and signals are not held",
        3 => "; ports and signals are not held",
        4 | 5 => "; signals are not held",
        _ => "",
    };
    format!("ABI {version}{lacks}")
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// What [`restrict`] would find, without doing it.
pub(crate) fn probe() -> Result<String, Lack> {
    const VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<libc::c_void>();
    // JUSTIFICATION: the crate says the version only to who restricts itself.
    // SAFETY: with this flag the call takes no attributes, changes nothing and returns a number.
    #[expect(unsafe_code, reason = "asks for the version of the rules")]
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    match i32::try_from(version) {
        Ok(version @ 1..) => Ok(described(version)),
        _ => held(&match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EOPNOTSUPP) => LandlockStatus::NotEnabled,
            _ => LandlockStatus::NotImplemented,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_version_does_not_hold_is_said() {
        assert!(described(1).contains("no file is moved"), "{}", described(1));
        assert!(described(2).contains("truncating"), "{}", described(2));
        assert_eq!(described(3), "ABI 3; ports and signals are not held");
        assert_eq!(described(7), "ABI 7");
    }

    #[test]
    fn a_read_only_grant_has_no_right_that_writes_and_none_executes() {
        let writing = AccessFs::from_write(VETTED);
        assert!((rights(Reach::Read) & writing).is_empty());
        for reach in [Reach::Read, Reach::Write] {
            let never = AccessFs::Execute
                | AccessFs::IoctlDev
                | AccessFs::MakeBlock
                | AccessFs::MakeChar
                | AccessFs::MakeFifo
                | AccessFs::MakeSock
                | AccessFs::ResolveUnix;
            assert!((rights(reach) & never).is_empty(), "{reach:?}");
        }
    }
}
