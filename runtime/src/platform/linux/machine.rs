//! What this machine is, as far as limits depend on it.

use std::fs;

use super::files;
use super::process;

/// What bounds the mappings of a process, for people.
pub(crate) const MAPPINGS_BOUND: &str = "`vm.max_map_count`";

/// What to do where that is too few, for people.
pub(crate) const MAPPINGS_ADVICE: &str = "raise it with `sysctl vm.max_map_count`";

/// Whether an error's text says that the system had no memory, or no mapping, to give: the engine
/// hands errors of the system on as texts.
pub(crate) fn is_lack_of_memory(text: &str) -> bool {
    ["mmap", "mprotect", "os error 12"].iter().any(|sign| text.contains(sign))
}

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

/// What this system lacks that others have, each with what that means, for people: calls that came
/// to Linux late, or that a wall around this process hides.
pub(crate) fn lacks() -> Vec<(&'static str, &'static str)> {
    let calls = [
        (
            files::has_openat2(),
            "the call `openat2`",
            "paths are walked step by step; `-w` below a grant is refused; Linux 5.6 has it",
        ),
        (
            process::has_close_range(),
            "the call `close_range`",
            "what was inherited is closed one by one; Linux 5.9 has it",
        ),
        (
            process::has_pidfd_open(),
            "the call `pidfd_open`",
            "a guest ends later by what giving its memory back takes; Linux 5.3 has it",
        ),
    ];
    let lacking = calls.into_iter().filter(|(there, ..)| !there);
    lacking.map(|(_, what, advice)| (what, advice)).collect()
}
