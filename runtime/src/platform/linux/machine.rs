//! What this machine is, as far as limits depend on it.

use std::fs;

/// How many mappings a process may have, as `vm.max_map_count` says.
pub(crate) fn mappings_max() -> Option<u64> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// How many mappings this process has.
pub(crate) fn mappings_in_use() -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    Some(maps.lines().count() as u64)
}

/// The name and version of the system, for people.
pub(crate) fn system() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {} ({})",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

/// What this platform lacks that others have, for people: nothing.
pub(crate) const LACKS: &[(&str, &str)] = &[];
