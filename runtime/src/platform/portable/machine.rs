//! What this machine is, as far as the standard library knows.

/// What bounds the mappings of a process, for people.
pub(crate) const MAPPINGS_BOUND: &str = "the system's bound on mappings";

/// What to do where that is too few, for people.
pub(crate) const MAPPINGS_ADVICE: &str = "raise it, or start a second process";

/// Whether an error's text says that the system had no memory to give: the calls of some systems,
/// and the numbers of others.
pub(crate) fn is_lack_of_memory(text: &str) -> bool {
    let signs =
        ["mmap", "mprotect", "VirtualAlloc", "os error 12)", "os error 8)", "os error 1455)"];
    signs.iter().any(|sign| text.contains(sign))
}

/// Nothing: the number of mappings is not known to be bounded.
pub(crate) fn mappings_max() -> Option<u64> {
    None
}

/// Nothing: mappings are not counted.
pub(crate) fn mappings_in_use() -> Option<u64> {
    None
}

/// Nothing: what keeps a process from getting more memory is not known.
pub(crate) fn memory_bound() -> Option<String> {
    None
}

/// Nothing: nobody tells one start of the system from another.
pub(crate) fn boot() -> Option<String> {
    None
}

/// The name of the system, for people.
pub(crate) fn system() -> String {
    format!("{} ({}), portable build", std::env::consts::OS, std::env::consts::ARCH)
}

/// Nothing: what a process needs is always there.
pub(crate) fn needs() -> Option<(&'static str, &'static str, &'static str)> {
    None
}

/// Nothing: how powerful a user is is not known.
pub(crate) fn too_powerful() -> Option<&'static str> {
    None
}

/// What this platform lacks that others have, each with what to do.
pub(crate) fn lacks() -> Vec<(&'static str, &'static str)> {
    LACKS.to_vec()
}

const LACKS: &[(&str, &str)] = &[
    ("directories held by handle", "grant directories that nobody moves while a guest runs"),
    ("a bound on the compiler's memory", "compile only what you trust, or on Linux"),
    ("owners and modes of cache entries", "keep the cache where only you can write"),
    ("an index of known files", "every start reads its file once to find its digest"),
    ("SIGTERM apart from Ctrl-C", "both end the guest at once"),
];

/// Which devices there are, for people.
pub(crate) const DEVICES_ADVICE: &str = "name one as `lsblk` lists them, on Linux";

/// Nothing: which files are devices is not known.
pub(crate) fn block_device(path: &std::path::Path) -> std::io::Result<Option<(u32, u32)>> {
    std::fs::metadata(path).map(|_| None)
}

/// Nothing: there are no devices.
pub(crate) fn disk_of(_numbers: (u32, u32)) -> Option<String> {
    None
}
