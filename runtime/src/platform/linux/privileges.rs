//! What this process may do beyond its user's rights, and who that user is: given up for good.

use std::io;

use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::process::Gid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::Uid;
use rustix::thread::CapabilitiesSecureBits;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

/// A user and a group, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl User {
    /// Who owns nothing.
    pub(crate) const NOBODY: Self = Self { user: 65534, group: 65534 };

    /// Who this process is.
    pub(crate) fn current() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }

    pub(crate) fn is_root(self) -> bool {
        self.user == 0
    }
}

/// Makes this process another user's, with no other groups than these, for good. It must have one
/// thread.
///
/// What it may do as a process stays until [`drop_capabilities`], because namespaces need it.
pub(crate) fn become_user(to: User, groups: &[u32]) -> io::Result<()> {
    let (Some(user), Some(group)) = (valid(to.user), valid(to.group)) else {
        return Err(io::Error::other("no user and no group has the number 4294967295"));
    };
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    let groups = groups.iter().map(|group| valid(*group).map(Gid::from_raw));
    let Some(groups) = groups.collect::<Option<Vec<_>>>() else {
        return Err(io::Error::other("no group has the number 4294967295"));
    };
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let held = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(None, CapabilitySets { effective: held.permitted, ..held })?;
    // A process that changes its user becomes one that nothing of its own may be written to, its
    // maps of users among them.
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

fn valid(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

/// Sees to it that no program that this process starts has more rights than itself.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Gives up every capability, and the ways to get one again. What is left to tell is returned, for
/// people.
pub(crate) fn drop_capabilities() -> io::Result<&'static str> {
    let bounded = empty_bounding_set() && lock_secure_bits();
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(if bounded {
        "none, and none can be got"
    } else {
        "none; the set of those that a program could bring stays, which `no_new_privs` makes void"
    })
}

/// Whether there is nothing left in it: only who has a certain capability may empty it.
fn empty_bounding_set() -> bool {
    let mut all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    let refused = all.find_map(|capability| {
        rustix::thread::remove_capability_from_bounding_set(capability).err()
    });
    match refused {
        // Numbers end where the kernel knows no more.
        None | Some(Errno::INVAL) => true,
        Some(_) => (0..u64::BITS).all(|number| {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::capability_is_in_bounding_set(capability) != Ok(true)
        }),
    }
}

/// That user 0 is nobody special, for good.
fn lock_secure_bits() -> bool {
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).is_ok()
}

/// Sees to it that nobody but who may do everything reads this process's memory, by a core file
/// or otherwise. What leads to it by its number belongs to root from here on.
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Bounds on what a guest never needs: core files, queues of messages, locked memory.
pub(crate) fn bound_needless() -> io::Result<()> {
    for resource in [Resource::Core, Resource::Msgqueue, Resource::Memlock] {
        nothing(resource)?;
    }
    Ok(())
}

/// Sees to it that this process starts no thread and no process any more, where it is an ordinary
/// user's: root is not counted.
pub(crate) fn bound_processes() -> io::Result<()> {
    nothing(Resource::Nproc)
}

fn nothing(resource: Resource) -> io::Result<()> {
    let limit = Rlimit { current: Some(0), maximum: Some(0) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// The signal that this process is sent when its parent ends. Some of what this file does makes
/// the system forget it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParentsEnd(Option<Signal>);

impl ParentsEnd {
    pub(crate) fn remembered() -> Self {
        Self(rustix::process::parent_process_death_signal().ok().flatten())
    }

    /// Orders it again. A parent that ended in between is not noticed.
    pub(crate) fn order_again(self) -> io::Result<()> {
        Ok(rustix::process::set_parent_process_death_signal(self.0)?)
    }
}
