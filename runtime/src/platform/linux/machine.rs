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

/// What keeps this process from getting more memory, for people, as far as it can be told.
pub(crate) fn memory_bound() -> Option<String> {
    const NEAR: u64 = 64;
    let space = rustix::process::getrlimit(rustix::process::Resource::As).current;
    match (mappings_max(), mappings_in_use()) {
        (Some(max), Some(used)) if max <= used + NEAR => {
            Some(format!("this process has {used} of the {max} mappings of {MAPPINGS_BOUND}"))
        }
        _ => space.map(|space| {
            format!("this process may have {space} bytes of addresses; raise it with `ulimit -v`")
        }),
    }
}

/// How many mappings this process has.
pub(crate) fn mappings_in_use() -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    Some(maps.lines().count() as u64)
}

/// What tells this start of the system from all others.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
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

/// What this process lacks that it needs: what for, and what to do.
pub(crate) fn needs() -> Option<(&'static str, &'static str, &'static str)> {
    let there = fs::exists("/proc/self/exe").unwrap_or(false);
    let lack = "`/proc` is not mounted here: nothing can be compiled, and no directory granted";
    (!there).then_some(("process file system", lack, "mount it: `mount -t proc proc /proc`"))
}

/// Why it would be better to run as somebody else, if it would.
pub(crate) fn too_powerful() -> Option<&'static str> {
    rustix::process::geteuid()
        .is_root()
        .then_some("this is root: a guest that breaks out of the wall of wasm could do everything")
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

/// Which devices there are, for people.
pub(crate) const DEVICES_ADVICE: &str = "name one such as /dev/sda, as `lsblk` lists them";

/// The numbers of the block device that a path leads to, if it leads to one.
pub(crate) fn block_device(path: &std::path::Path) -> std::io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::FileTypeExt as _;
    use std::os::unix::fs::MetadataExt as _;

    let found = fs::metadata(path)?;
    let number = found.rdev();
    let numbers = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok(found.file_type().is_block_device().then_some(numbers))
}

/// The path of the device that the one of these numbers is a partition of, if it is one.
pub(crate) fn disk_of((major, minor): (u32, u32)) -> Option<String> {
    let place = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if !place.join("partition").exists() {
        return None;
    }
    Some(format!("/dev/{}", place.parent()?.file_name()?.to_string_lossy()))
}
