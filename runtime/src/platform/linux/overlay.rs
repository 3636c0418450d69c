//! A writable directory over one that stays as it is, by the kernel's overlay.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

/// Whether this process can mount without becoming the master of a namespace of its own first.
pub(crate) fn needs_namespace() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Enters a user and a mount namespace of this process's own, in which it may mount. Nothing that
/// it owns changes its owner by that, and it may do nothing more to what others own.
///
/// This process must have one thread.
pub(crate) fn enter_namespace() -> io::Result<()> {
    has_one_thread()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    let says = |path: &str, text: String| std::fs::write(path, text);
    says("/proc/self/setgroups", "deny".to_owned())?;
    says("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    says("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Sees to it that what this process mounts from here on is seen by itself alone, and goes with it. One
/// that had to enter a namespace before it could mount has that already; another must have one thread.
pub(crate) fn own_mounts() -> io::Result<()> {
    if needs_namespace() {
        return Ok(());
    }
    has_one_thread()?;
    unshare(UnshareFlags::NEWNS)?;
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", all)?)
}

fn has_one_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        threads => Err(io::Error::other(format!("this process has {threads} threads already"))),
    }
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: descriptors and memory are not unshared, only namespaces.
    #[expect(unsafe_code, reason = "the safe one is deprecated: other flags are not safe")]
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// What `lower` has, to be written to: what changes is kept in `upper`. `work` is an empty directory
/// on the file system of `upper`.
///
/// The directory that is returned is mounted nowhere: it has no path, nobody else sees it, and it is
/// gone when the last handle of it is closed. The other handle is that of the mount, by which it can be
/// given a place. What was written need not survive that, and so is not
/// waited for: without being told, the kernel would write out all of the disk that `upper` is on.
pub(crate) fn overlay(lower: &Path, upper: &Path, work: &Path) -> io::Result<(File, File)> {
    // Linux before 5.10 takes no such word.
    lay(lower, upper, work, true).or_else(|_| lay(lower, upper, work, false))
}

fn lay(lower: &Path, upper: &Path, work: &Path, is_volatile: bool) -> io::Result<(File, File)> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &Path| -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_string(&context, key, escaped(value))?)
    };
    set("lowerdir", lower)?;
    set("upperdir", upper)?;
    set("workdir", work)?;
    if needs_namespace() {
        rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
    }
    if is_volatile {
        rustix::mount::fsconfig_set_flag(&context, "volatile")?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&mounted, ".", flags, Mode::empty())?;
    Ok((directory.into(), mounted.into()))
}

/// A path as the overlay reads it, which lists several with colons between.
fn escaped(path: &Path) -> OsString {
    let mut text = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    OsString::from_vec(text)
}

/// Why this process could not enter a namespace of its own, found out by a child that tries.
pub(crate) fn try_namespace() -> io::Result<()> {
    // JUSTIFICATION: whoever tries is in the namespace then, and this process must not be.
    // SAFETY: the child makes system calls alone, with arguments that need no memory, and ends by
    // `_exit`, so that no lock that another thread held when it was made is waited for.
    #[expect(unsafe_code, reason = "makes a child")]
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let error = match unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(255),
            };
            super::process::exit_now(u8::try_from(error).unwrap_or(255))
        }
        child => {
            let pid = rustix::process::Pid::from_raw(child).expect("it is a child's");
            let options = rustix::process::WaitOptions::empty();
            let ended = rustix::process::waitpid(Some(pid), options)?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => Err(io::Error::other("whoever tried was killed")),
            }
        }
    }
}
