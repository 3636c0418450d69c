//! The mounts that containerd has a shim make for the files of a container.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

/// The most mounts one over the other that are taken away.
const DEPTH_MAX: usize = 64;

/// The kernel takes one page of options.
const OPTIONS_SIZE_MAX: usize = 4096;

/// Mounts something, as the words of a mount table say it.
pub(crate) fn mount(kind: &str, source: &str, options: &[String], target: &Path) -> io::Result<()> {
    let (flags, rest) = read(options);
    let data = rest.join(",");
    if OPTIONS_SIZE_MAX <= data.len() {
        let reason = "the kernel takes no such long list of layers; give the image fewer layers";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, target, kind, flags, &*data)?;
    let more = flags.difference(MountFlags::BIND | MountFlags::REC);
    // A bind is made as what it binds: the rest is a second step.
    if flags.contains(MountFlags::BIND) && !more.is_empty() {
        let flags = more | MountFlags::BIND;
        if let Err(error) = rustix::mount::mount_remount(target, flags, "") {
            let _undone = rustix::mount::unmount(target, UnmountFlags::DETACH);
            return Err(error.into());
        }
    }
    Ok(())
}

/// Takes away all that is mounted at a place: nothing, where nothing is.
pub(crate) fn unmount_all(target: &Path) -> io::Result<()> {
    for _ in 0..DEPTH_MAX {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BUSY.into())
}

/// What of options are flags of the kernel's, and what is left for the file system.
fn read(options: &[String]) -> (MountFlags, Vec<&str>) {
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options {
        let (flag, is_on) = match option.as_str() {
            "" | "defaults" | "async" | "rw" | "suid" | "dev" | "exec" | "atime" | "diratime" => {
                continue;
            }
            "ro" => (MountFlags::RDONLY, true),
            "bind" => (MountFlags::BIND, true),
            "rbind" => (MountFlags::BIND | MountFlags::REC, true),
            "nosuid" => (MountFlags::NOSUID, true),
            "nodev" => (MountFlags::NODEV, true),
            "noexec" => (MountFlags::NOEXEC, true),
            "noatime" => (MountFlags::NOATIME, true),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "nostrictatime" => (MountFlags::STRICTATIME, false),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "dirsync" => (MountFlags::DIRSYNC, true),
            other => {
                rest.push(other);
                continue;
            }
        };
        flags.set(flag, is_on);
    }
    (flags, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_of_the_kernel_or_words_for_the_file_system() {
        let options = ["index=off", "ro", "rbind", "lowerdir=/a:/b", "rw", "nosuid"];
        let options = options.map(str::to_owned);
        let (flags, rest) = read(&options);
        let expected = MountFlags::RDONLY | MountFlags::BIND | MountFlags::REC | MountFlags::NOSUID;
        assert_eq!((flags, rest), (expected, vec!["index=off", "lowerdir=/a:/b"]));
    }

    #[test]
    fn taking_away_what_is_not_mounted_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        unmount_all(dir.path()).unwrap();
        unmount_all(&dir.path().join("missing")).unwrap();
    }
}
