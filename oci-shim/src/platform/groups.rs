//! The control groups of this host.

/// What a file system of groups of the second version says that it is.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where the first of them is mounted.
const TOP: &str = "/sys/fs/cgroup";

/// Whether this host has all controllers in one hierarchy, which is how engines decide what figures
/// they expect.
pub(crate) fn are_unified() -> bool {
    let found = rustix::fs::statfs(TOP);
    found.is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|magic| magic == CGROUP2_MAGIC))
}
