//! What of a container's mounts its guest sees.

use std::path::Path;

use aril::Access;
use aril::Bytes;
use oci_spec::runtime::Mount;

use super::container::Mounted;
use super::container::Share;
use super::refusal::Refusal;

/// The most mounts: more than a pod of Kubernetes' can have volumes.
const MOUNTS_MAX: usize = 1024;

/// Kinds of file systems that tell of the kernel, or speak with it. A guest has none of that to
/// speak with, whatever is mounted.
const OF_THE_KERNEL: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
];

/// Where devices are looked for. A guest can open none.
const DEVICES: &str = "/dev";

/// Options that say what holds for each grant in any case, or makes no difference to a guest.
const HARMLESS: &[&str] = &[
    "bind",
    "rbind",
    "ro",
    "rro",
    "rw",
    "nosuid",
    "rnosuid",
    "nodev",
    "rnodev",
    "noexec",
    "rnoexec",
    "exec",
    "suid",
    "dev",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
    "nosymfollow",
    "symfollow",
    "defaults",
    "async",
    "sync",
    "copy-symlink",
];

/// What a guest sees of these mounts, and what is to be said of the rest.
pub(super) fn mounts(mounts: &[Mount], notes: &mut Vec<String>) -> Result<Vec<Mounted>, Refusal> {
    if MOUNTS_MAX < mounts.len() {
        let reason = format!("there are {}, and the most is {MOUNTS_MAX}", mounts.len());
        return Err(Refusal::new("mounts", reason));
    }
    let mut seen = Vec::new();
    let mut left_out = Vec::new();
    for mount in mounts {
        let setting = format!("mounts[{}]", mount.destination().display());
        match one(mount).map_err(|reason| Refusal::new(setting, reason))? {
            Some(mounted) => {
                if mount.options().iter().flatten().any(|option| option == "tmpcopyup") {
                    let what = "is empty at first, whatever the image has there";
                    notes
                        .push(format!("the directory in memory at {} {what}", mounted.destination));
                }
                seen.push(mounted);
            }
            None => left_out.push(mount.destination().display().to_string()),
        }
    }
    if !left_out.is_empty() {
        notes.push(format!("a guest has no kernel to see at {}", left_out.join(", ")));
    }
    Ok(seen)
}

/// What a guest sees of a mount: nothing, where it is of the kernel.
fn one(mount: &Mount) -> Result<Option<Mounted>, String> {
    let destination = absolute(mount.destination())?;
    let options: Vec<&str> = mount
        .options()
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|option| !option.is_empty())
        .collect();
    let kind = mount.typ().as_deref().unwrap_or_default();
    let is_bound = options.iter().any(|option| ["bind", "rbind"].contains(option));
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err("numbers of users cannot be mapped for one mount".to_owned());
    }
    if is_bound || kind == "bind" {
        check_bound(&options)?;
        let source = mount.source().clone().filter(|source| !source.as_os_str().is_empty());
        let source = source.ok_or("it has no source")?;
        let is_read_only = options.iter().any(|option| ["ro", "rro"].contains(option));
        let access = if is_read_only { Access::ReadOnly } else { Access::ReadWrite };
        return Ok(Some(Mounted { destination, share: Share::Host { source, access } }));
    }
    if OF_THE_KERNEL.contains(&kind) {
        return Ok(None);
    }
    match kind {
        // Where devices would be made. What is memory below it, as `/dev/shm` is, is only memory.
        "tmpfs" if destination == DEVICES => Ok(None),
        "tmpfs" => {
            if options.contains(&"ro") {
                return Err("a read-only directory in memory has nothing in it".to_owned());
            }
            let size = options.iter().find_map(|option| option.strip_prefix("size="));
            let size = size.map(size_of).transpose()?;
            Ok(Some(Mounted { destination, share: Share::Memory { size } }))
        }
        "" => Err("it has no type".to_owned()),
        other => Err(format!(
            "file systems of type `{other}` cannot be mounted for a guest; mount it on the host, and \
             bind it"
        )),
    }
}

/// A path of a guest: absolute, and text.
fn absolute(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or("its destination is no UTF-8")?;
    if !text.starts_with('/') {
        return Err("its destination is no absolute path".to_owned());
    }
    Ok(text.to_owned())
}

/// Refuses what would make a difference and cannot be had.
fn check_bound(options: &[&str]) -> Result<(), String> {
    for option in options {
        match *option {
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(format!(
                    "`{option}`: what the host mounts there later does not reach a guest; leave the \
                     propagation at `rprivate`"
                ));
            }
            "idmap" | "ridmap" => {
                return Err("numbers of users cannot be mapped for one mount".to_owned());
            }
            known if HARMLESS.contains(&known) => {}
            other => return Err(format!("`{other}` is an option that nothing here holds")),
        }
    }
    Ok(())
}

/// A size as `tmpfs` takes it: bytes, with `k`, `m` or `g`. A share of memory would be one of the host's.
fn size_of(text: &str) -> Result<Bytes, String> {
    text.parse().map_err(|_| format!("`size={text}` is no number of bytes, such as `65536k`"))
}
