//! Namespaces of this process's own: of users, mounts, queues and names, and a root with nothing
//! in it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::OpenTreeFlags;
use rustix::thread::UnshareFlags;

use crate::platform::Lack;
use crate::platform::Reach;

/// Which namespaces are wanted. That of mounts comes with an empty root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of its own")]
pub(crate) struct Namespaces {
    pub(crate) user: bool,
    pub(crate) mount: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
}

/// What became of each: nothing for one that was not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) user: Option<Result<String, Lack>>,
    pub(crate) mount: Option<Result<String, Lack>>,
    pub(crate) ipc: Option<Result<String, Lack>>,
    pub(crate) uts: Option<Result<String, Lack>>,
}

/// Where making a namespace failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Make = 1,
    Map = 2,
    Seclude = 3,
    Mount = 4,
    Root = 5,
}

impl Step {
    const ALL: [Self; 5] = [Self::Make, Self::Map, Self::Seclude, Self::Mount, Self::Root];

    const fn doing(self) -> &'static str {
        match self {
            Self::Make => "the system refuses to make one",
            Self::Map => "it was made, and this user could not be mapped into it",
            Self::Seclude => "it was made, and mounts could not be made private",
            Self::Mount => "it was made, and an empty root could not be mounted",
            Self::Root => "it was made, and its empty root could not be entered",
        }
    }
}

/// How one ended: told without memory of its own, because a child of a process with threads tells.
type Tried = Option<Result<(), (Step, Errno)>>;

/// In the order of [`Entered`].
type All = [Tried; 4];

/// The flags, in the order of [`Entered`].
const FLAGS: [UnshareFlags; 4] =
    [UnshareFlags::NEWUSER, UnshareFlags::NEWNS, UnshareFlags::NEWIPC, UnshareFlags::NEWUTS];

const USER: usize = 0;
const MOUNT: usize = 1;

/// Enters what is wanted and can be had. This process must have one thread.
///
/// In a user namespace of its own, the process is the same user as before, nobody else exists, and
/// what it may do ends at the namespace: root outside is root inside alone. What lies in the old
/// root is reached by no path any more, and by open descriptors as before.
///
/// `within` is called where there is a namespace of mounts, once nothing that is mounted there is seen
/// outside, and as long as the old root is the root: what it mounts is for this process alone. It says
/// of how many directories that stay open there is a way up.
pub(crate) fn enter(wanted: Namespaces, within: impl FnOnce() -> usize) -> Entered {
    let mut open = 0;
    let mut entered = told(try_all(wanted, &Maps::of_this_process(), || open = within()));
    if let (Some(Ok(detail)), 1..) = (&mut entered.mount, open) {
        *detail = format!("{detail}; {open} of the grants lead upwards, by names alone");
    }
    entered
}

/// Has every descriptor of a directory that is granted lead into a mount of that directory alone: there
/// is no way up from it, and what is granted for reading is read-only to every call. Landlock would
/// hold only those calls that open, make, move or remove. Says of how many it could not be done and
/// there is a way up.
///
/// To be called by what [`enter`] calls.
pub(crate) fn seclude(grants: &[(&File, Reach)]) -> usize {
    let leads_up = |grant: &&(&File, Reach)| match Place::of(grant.0) {
        // From a file there is no way at all.
        Err(Errno::NOTDIR) => false,
        _ => seclude_one(**grant, grants).is_err() && has_above(grant.0),
    };
    grants.iter().filter(leads_up).count()
}

/// What [`enter`] would find, tried by a child, whatever threads this process has.
pub(crate) fn probe(wanted: Namespaces) -> io::Result<Entered> {
    let maps = Maps::of_this_process();
    let (mut reader, writer) = io::pipe()?;
    // JUSTIFICATION: whoever tries is in the namespaces then, and this process must not be.
    // SAFETY: the child makes system calls alone, with arguments that need no memory of the heap,
    // and ends by `_exit`, so that no lock that another thread held is waited for.
    #[expect(unsafe_code, reason = "makes a child")]
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let tried = try_all(wanted, &maps, || ());
            let said = rustix::io::write(&writer, &packed(&tried));
            super::process::exit_now(u8::from(said != Ok(PACKED)))
        }
        child => {
            drop(writer);
            let mut bytes = [0; PACKED];
            let read = io::Read::read_exact(&mut reader, &mut bytes);
            if let Some(pid) = rustix::process::Pid::from_raw(child) {
                let options = rustix::process::WaitOptions::empty();
                let _ended = rustix::process::waitpid(Some(pid), options);
            }
            read.map_err(|_| io::Error::other("whoever tried was killed"))?;
            Ok(told(unpacked(&bytes)))
        }
    }
}

/// What is written to map this user, and nobody else, into a namespace: made beforehand.
struct Maps {
    user: String,
    group: String,
}

impl Maps {
    fn of_this_process() -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { user: format!("{uid} {uid} 1"), group: format!("{gid} {gid} 1") }
    }

    fn write(&self) -> Result<(), Errno> {
        says("/proc/self/setgroups", "deny")?;
        says("/proc/self/uid_map", &self.user)?;
        says("/proc/self/gid_map", &self.group)
    }
}

fn says(path: &str, text: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

fn try_all(wanted: Namespaces, maps: &Maps, within: impl FnOnce()) -> All {
    let wanted = [wanted.user, wanted.mount, wanted.ipc, wanted.uts];
    let mut tried = make(wanted);
    // Before anything is mounted: without a user in the namespace there is no right to.
    if let Some(Ok(())) = tried[USER] {
        tried[USER] = Some(maps.write().map_err(|error| (Step::Map, error)));
    }
    if let Some(Ok(())) = tried[MOUNT] {
        tried[MOUNT] = Some(empty_root(within));
    }
    tried
}

/// Makes all at once, which is one call; or, where one of them is refused, each by itself.
fn make(wanted: [bool; 4]) -> All {
    let chosen = FLAGS.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
    let together = chosen.fold(UnshareFlags::empty(), |all, (flag, _)| all | flag);
    let mut tried = wanted.map(|wanted| wanted.then_some(Ok(())));
    if !together.is_empty() && unshare(together).is_err() {
        for (tried, flag) in tried.iter_mut().zip(FLAGS) {
            if tried.is_some() {
                *tried = Some(unshare(flag).map_err(|error| (Step::Make, error)));
            }
        }
    }
    tried
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: descriptors and memory are not unshared, only namespaces.
    #[expect(unsafe_code, reason = "the safe one is deprecated: other flags are not safe")]
    unsafe {
        rustix::thread::unshare_unsafe(flags)
    }
}

/// Covers the root of the namespace with an empty, read-only one, and makes that the root of this
/// process.
///
/// The old root is below it and not unmounted, which would take as long as all the rest together:
/// the kernel waits for all processors then. To lift the cover, or to leave the new root, needs
/// capabilities that are dropped next and cannot come back.
fn empty_root(within: impl FnOnce()) -> Result<(), (Step, Errno)> {
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    // Without this, what is mounted here would be mounted for everybody.
    rustix::mount::mount_change("/", all).map_err(|error| (Step::Seclude, error))?;
    within();
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("aril", "/", "tmpfs", flags, c"size=4k,nr_inodes=2,mode=555")
        .map_err(|error| (Step::Mount, error))?;
    // The root of this process is still the one below; the parent of a root is what covers it.
    rustix::process::chdir("/..").map_err(|error| (Step::Root, error))?;
    rustix::process::chroot(".").map_err(|error| (Step::Root, error))?;
    rustix::process::chdir("/").map_err(|error| (Step::Root, error))
}

/// Has all descriptors of a granted directory lead into a mount of its own.
///
/// That is made from the directory's path, because a mount of another namespace cannot be copied; where
/// the path leads elsewhere by now, or the kernel is older than 5.12, it fails.
fn seclude_one((grant, _): (&File, Reach), grants: &[(&File, Reach)]) -> io::Result<()> {
    let place = Place::of(grant)?;
    let descriptors = of_this_process()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", grant.as_raw_fd()))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mount = rustix::mount::open_tree(rustix::fs::CWD, &path, clone)?;
    if !Place::of(&mount)?.is_same_directory(place) {
        return Err(io::Error::other("its path leads elsewhere by now"));
    }
    // A directory that is granted twice is what the two allow together, as for landlock.
    let mut same = grants.iter().filter(|(other, _)| Place::of(other).is_ok_and(|at| at == place));
    let is_read_only = same.all(|(_, reach)| *reach == Reach::Read);
    set_attributes(&mount, is_read_only)?;
    for number in descriptors {
        // SAFETY: nothing else runs in this process, and nobody closes it meanwhile.
        #[expect(unsafe_code, reason = "looks at what is open, whoever owns it")]
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        if Place::of(open).is_ok_and(|at| at == place) {
            let flags = rustix::fs::fcntl_getfl(open)?;
            let same = if flags.contains(OFlags::PATH) {
                mount.try_clone()?
            } else {
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::openat(&mount, c".", flags, Mode::empty())?
            };
            replace(number, &same)?;
        }
    }
    Ok(())
}

/// Whether a way up leads out of a directory: not out of a mount that nobody else has, such as a view of
/// an image's files.
fn has_above(grant: &File) -> bool {
    let above = rustix::fs::openat(grant, c"..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let (above, place) = (above.and_then(Place::of), Place::of(grant));
    !above.is_ok_and(|above| place.is_ok_and(|place| above.is_same_directory(place)))
}

/// What tells a directory, in a mount, from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    /// The mount that it was opened in, which may show other things in the same directory.
    mount: u64,
}

impl Place {
    fn of(directory: impl AsFd) -> Result<Self, Errno> {
        let status = rustix::fs::fstat(&directory)?;
        if !FileType::from_raw_mode(status.st_mode).is_dir() {
            return Err(Errno::NOTDIR);
        }
        let flags = AtFlags::EMPTY_PATH;
        let found = rustix::fs::statx(directory, c"", flags, StatxFlags::MNT_ID)?;
        // Linux before 5.8 does not say.
        let mount =
            if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { found.stx_mnt_id };
        Ok(Self { device: status.st_dev, inode: status.st_ino, mount })
    }

    fn is_same_directory(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// What this process has open, and the list itself, which is not any more.
fn of_this_process() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.flatten().filter_map(number).collect())
}

/// Has nobody become another by what is in a mount, and nobody change what is in it where that is so.
fn set_attributes(mount: &OwnedFd, is_read_only: bool) -> io::Result<()> {
    let read_only = if is_read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // JUSTIFICATION: no safe wrapper exists.
    // SAFETY: the path is empty and ends with null; the attributes live through the call, and their
    // size is what is passed.
    #[expect(unsafe_code, reason = "sets attributes of a mount")]
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a number stand for another open file from here on, which leads to the same.
fn replace(number: RawFd, by: &OwnedFd) -> io::Result<()> {
    // JUSTIFICATION: whoever owns the number goes on to, and there is no handle of it here.
    // SAFETY: the number is open and stays so, and what it stands for is of the same kind.
    #[expect(unsafe_code, reason = "changes what a descriptor stands for")]
    let done = unsafe { libc::dup3(by.as_raw_fd(), number, libc::O_CLOEXEC) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn told(tried: All) -> Entered {
    let details = [
        "its own, with this user alone",
        "its own, with an empty, read-only root",
        "its own",
        "its own",
    ];
    let mut all = tried.into_iter().zip(details).map(|(tried, detail)| {
        tried.map(|tried| match tried {
            Ok(()) => Ok(detail.to_owned()),
            Err((step, error)) => Err(lack(step, error)),
        })
    });
    let mut next = || all.next().flatten();
    Entered { user: next(), mount: next(), ipc: next(), uts: next() }
}

fn lack(step: Step, error: Errno) -> Lack {
    let reason = format!("{}: {}", step.doing(), io::Error::from(error));
    let remedy = match error {
        Errno::NOSPC | Errno::USERS => {
            "raise its bound below `/proc/sys/user`, such as `user.max_user_namespaces`"
        }
        Errno::INVAL | Errno::NOSYS => "use a kernel that has this kind of namespace built in",
        Errno::NOENT => "mount `/proc`, by which users are mapped",
        _ => {
            "allow namespaces to this user (`kernel.unprivileged_userns_clone`, \
             `kernel.apparmor_restrict_unprivileged_userns`, or what starts Aril in a container), \
             and do not start it in a chroot"
        }
    };
    Lack { reason, remedy }
}

/// Each as a step, or what stands for it, and the number of an error.
const PACKED: usize = 4 * 5;

const NOT_WANTED: u8 = u8::MAX;

fn packed(tried: &All) -> [u8; PACKED] {
    let mut bytes = [0; PACKED];
    for (bytes, tried) in bytes.chunks_exact_mut(5).zip(tried) {
        let (step, error) = match tried {
            None => (NOT_WANTED, 0),
            Some(Ok(())) => (0, 0),
            Some(Err((step, error))) => (*step as u8, error.raw_os_error()),
        };
        bytes[0] = step;
        bytes[1..].copy_from_slice(&error.to_le_bytes());
    }
    bytes
}

fn unpacked(bytes: &[u8; PACKED]) -> All {
    let mut all = [None; 4];
    for (tried, bytes) in all.iter_mut().zip(bytes.chunks_exact(5)) {
        let error = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let step = Step::ALL.into_iter().find(|step| *step as u8 == bytes[0]);
        *tried = match (bytes[0], step) {
            (NOT_WANTED, _) => None,
            (_, Some(step)) => Some(Err((step, Errno::from_raw_os_error(error)))),
            (_, None) => Some(Ok(())),
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_tried_survives_the_pipe() {
        let all = [
            None,
            Some(Ok(())),
            Some(Err((Step::Mount, Errno::PERM))),
            Some(Err((Step::Make, Errno::NOSPC))),
        ];
        assert_eq!(unpacked(&packed(&all)), all);
    }

    #[test]
    fn a_bound_that_is_reached_is_told_apart_from_a_ban() {
        let remedy = |error| lack(Step::Make, error).remedy;
        assert!(remedy(Errno::NOSPC).contains("max_user_namespaces"));
        assert!(remedy(Errno::PERM).contains("unprivileged_userns_clone"));
        assert!(lack(Step::Mount, Errno::ACCESS).reason.contains("could not be mounted"));
    }
}
