//! The walls of the operating system that a process puts around itself before a guest runs in it,
//! in their order.

use std::fs::File;
use std::io;

use crate::platform::Lack;
use crate::platform::Reach;
use crate::platform::Threads;
use crate::platform::calls::Trapped;
use crate::platform::landlock;
use crate::platform::namespaces;
use crate::platform::namespaces::Namespaces;
use crate::platform::privileges;
use crate::platform::privileges::ParentsEnd;
use crate::platform::privileges::User;
use crate::platform::seccomp;

use super::wall::Need;
use super::wall::Wall;
use super::wall::WallStanding;
use super::wall::Walls;

/// What is left to a process, and what is put around it. Nothing happens before
/// [`enclose`](Self::enclose).
#[derive(Debug)]
pub(crate) struct Jail {
    /// How all others were closed: see `Kept::close_others`. Before anything else was opened,
    /// because who opens much does not know all of it.
    pub(crate) closed: Option<String>,
    /// Who the process becomes.
    pub(crate) who: Who,
    /// Its other groups, where it is another user.
    pub(crate) groups: Vec<u32>,
    pub(crate) walls: Walls,
}

/// Whom a process that runs a guest belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever started it. Root is that inside of a user namespace only: where there is none, it
    /// becomes nobody.
    Caller,
    /// This user, with no other groups than those that are named. Only root can become another.
    User(User),
}

/// Why a process could not be walled in as it was asked for.
///
/// A part of the walls may stand then: the process must end, and not run a guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JailError {
    #[error("the wall `{wall}` is required and missing: {reason}; {remedy}")]
    Missing { wall: Wall, reason: String, remedy: String },
    #[error("cannot become the user {} of group {}", to.user, to.group)]
    Become { to: User, source: io::Error },
    #[error("cannot see to it that this process ends with its parent")]
    ParentsEnd(#[source] io::Error),
}

/// A process in namespaces of its own. [`restrict`](Self::restrict) leaves it to what was granted.
#[derive(Debug)]
#[must_use = "files are not restricted yet"]
pub(crate) struct Enclosed {
    building: Building,
    who: Who,
    user: User,
    parents_end: ParentsEnd,
}

/// A process within its first walls. [`seal`](Self::seal) leaves it to run a guest.
#[derive(Debug)]
#[must_use = "system calls are not restricted yet"]
pub(crate) struct Entered {
    report: Report,
    walls: Walls,
}

/// How each wall stands, in the order of [`Wall::ALL`].
pub(crate) type Report = Vec<(Wall, WallStanding)>;

impl Jail {
    /// The first step, while this process has one thread and nothing of the guest has been looked
    /// at: descriptors and namespaces. `within` is called where there is a namespace of mounts, and
    /// may mount there what is for this process alone; files are opened by their paths there for the
    /// last time. It says of how many directories that stay open there is a way up.
    ///
    /// # Errors
    ///
    /// Fails where a required wall is missing, or the process cannot become who it is to be.
    pub(crate) fn enclose(self, within: impl FnOnce() -> usize) -> Result<Enclosed, JailError> {
        let walls = self.walls;
        let parents_end = ParentsEnd::remembered();
        let mut building = Building { walls, report: Vec::with_capacity(Wall::ALL.len()) };
        building.build(Wall::Descriptors, || {
            let unsaid = || Lack { reason: "nobody said what stays open".to_owned(), remedy: KEEP };
            self.closed.clone().ok_or_else(unsaid)
        })?;
        let user = self.settle_user()?;
        building.note_namespaces(namespaces::enter(wanted(&walls), within))?;
        Ok(Enclosed { building, who: self.who, user, parents_end })
    }

    /// Becomes the user that was asked for, where that is another one.
    fn settle_user(&self) -> Result<User, JailError> {
        let current = User::current();
        match self.who {
            Who::User(to) if to != current || !self.groups.is_empty() => {
                let became = privileges::become_user(to, &self.groups);
                became.map_err(|source| JailError::Become { to, source })?;
                Ok(to)
            }
            Who::User(_) | Who::Caller => Ok(current),
        }
    }
}

impl Enclosed {
    /// How a wall stands that was built by now.
    pub(crate) fn standing(&self, wall: Wall) -> Option<&WallStanding> {
        let mut report = self.building.report.iter();
        report.find(|(built, _)| *built == wall).map(|(_, standing)| standing)
    }

    /// The second step: everything but the list of system calls. Of files, what lies beneath
    /// `grants` may be reached, which are open: nothing is opened by its path after.
    ///
    /// # Errors
    ///
    /// Fails where a required wall is missing.
    pub(crate) fn restrict(self, grants: &[(&File, Reach)]) -> Result<Entered, JailError> {
        let Self { mut building, who, user, parents_end } = self;
        building.build(Wall::NoNewPrivs, || {
            privileges::no_new_privileges().map_err(|error| lack(&error))?;
            Ok("set, for good".to_owned())
        })?;
        let user = building.leave_root(who, user);
        building.build(Wall::Capabilities, || {
            let left = privileges::drop_capabilities().map_err(|error| lack(&error))?;
            Ok(format!("{left}; {user}"))
        })?;
        building.build(Wall::Rlimits, || {
            privileges::bound_needless().map_err(|error| lack(&error))?;
            Ok("no core files, no queues, no locked memory".to_owned())
        })?;
        building.build(Wall::Landlock, || landlock::restrict(grants))?;
        parents_end.order_again().map_err(JailError::ParentsEnd)?;
        // Last, because what is found by this process's number is root's from then on.
        building.build(Wall::NoDump, || {
            privileges::hide_memory().map_err(|error| lack(&error))?;
            Ok("not dumpable".to_owned())
        })?;
        Ok(Entered { report: building.report, walls: building.walls })
    }
}

/// What to do where nobody said what stays open.
const KEEP: &str = "leave this wall out where it is known what is open";

fn wanted(walls: &Walls) -> Namespaces {
    Namespaces {
        user: walls.is_wanted(Wall::UserNamespace),
        mount: walls.is_wanted(Wall::MountNamespace),
        ipc: walls.is_wanted(Wall::IpcNamespace),
        uts: walls.is_wanted(Wall::UtsNamespace),
    }
}

fn lack(error: &io::Error) -> Lack {
    let remedy = "let processes of this user do that, or leave this wall out";
    Lack { reason: error.to_string(), remedy }
}

/// The walls as they are built, one by one.
#[derive(Debug)]
struct Building {
    walls: Walls,
    report: Report,
}

impl Building {
    /// Builds a wall where it is wanted, and notes how it stands.
    fn build(
        &mut self,
        wall: Wall,
        build: impl FnOnce() -> Result<String, Lack>,
    ) -> Result<(), JailError> {
        let built = self.walls.is_wanted(wall).then(build);
        self.note(wall, built)
    }

    fn note(&mut self, wall: Wall, built: Option<Result<String, Lack>>) -> Result<(), JailError> {
        let standing = standing(built);
        if let (Need::Required, WallStanding::Missing { reason, remedy }) =
            (self.walls.need(wall), &standing)
        {
            let (reason, remedy) = (reason.clone(), remedy.clone());
            return Err(JailError::Missing { wall, reason, remedy });
        }
        self.report.push((wall, standing));
        self.report.sort_by_key(|(wall, _)| *wall);
        Ok(())
    }

    fn note_namespaces(&mut self, entered: namespaces::Entered) -> Result<(), JailError> {
        let namespaces::Entered { user, mount, ipc, uts } = entered;
        self.note(Wall::UserNamespace, user)?;
        self.note(Wall::MountNamespace, mount)?;
        self.note(Wall::IpcNamespace, ipc)?;
        self.note(Wall::UtsNamespace, uts)
    }

    /// Makes root nobody where no namespace holds it. Says who this process is, for people.
    fn leave_root(&self, who: Who, user: User) -> String {
        let inside = self
            .report
            .iter()
            .any(|(wall, standing)| *wall == Wall::UserNamespace && standing.is_held());
        let drops = self.walls.is_wanted(Wall::Capabilities);
        match who {
            Who::Caller if user.is_root() && !inside && drops => {
                let to = User::NOBODY;
                // It may be nobody else, where its own rights or its namespace leave it none.
                match privileges::become_user(to, &[]) {
                    Ok(()) => format!("user {}, because root is held by no namespace", to.user),
                    Err(error) => {
                        format!("user 0 without rights, which cannot become another here ({error})")
                    }
                }
            }
            _ if user.is_root() && inside => "user 0 inside of the namespace".to_owned(),
            _ => format!("user {}", user.user),
        }
    }
}

fn standing(built: Option<Result<String, Lack>>) -> WallStanding {
    match built {
        None => WallStanding::LeftOut,
        Some(Ok(detail)) => WallStanding::Held { detail },
        Some(Err(Lack { reason, remedy })) => {
            WallStanding::Missing { reason, remedy: remedy.to_owned() }
        }
    }
}

impl Entered {
    /// The third step, after all threads were started: leaves to them the system calls of the
    /// list. What a call that is not in it was is written to `trapped`, which must stay open. Nothing
    /// closes or changes `leash` from here on.
    ///
    /// A thread that may not be made is an error for who makes it, as where there are too many.
    ///
    /// # Errors
    ///
    /// Fails where the list is required and missing.
    pub(crate) fn seal(
        self,
        trapped: &File,
        leash: Option<&File>,
        threads: Threads,
    ) -> Result<Report, JailError> {
        let mut building = Building { walls: self.walls, report: self.report };
        if self.walls.is_wanted(Wall::Rlimits) && threads == Threads::None {
            // Where it fails, the list holds.
            let _unbounded = privileges::bound_processes();
        }
        building.build(Wall::Seccomp, || seccomp::restrict(trapped, leash, threads))?;
        Ok(building.report)
    }
}

/// The call that ended a process, as `trapped` of [`Entered::seal`] holds it: nothing where it ended
/// otherwise. It is what that process says, and perhaps not true.
pub(crate) fn last_call(mut trapped: impl io::Read) -> Option<Trapped> {
    let mut bytes = [0; Trapped::SIZE];
    trapped.read_exact(&mut bytes).ok()?;
    Some(Trapped::from_bytes(bytes))
}

/// How each wall would stand around a process of this user's on this host. Nothing about this
/// process changes, whatever threads it has.
pub(crate) fn probe() -> Report {
    let all = Namespaces { user: true, mount: true, ipc: true, uts: true };
    let tried = namespaces::probe(all).unwrap_or_else(|error| {
        let reason = format!("cannot be tried: {error}");
        let lack = Some(Err(Lack { reason, remedy: "let this process start others" }));
        let [user, mount, ipc, uts] = [(); 4].map(|()| lack.clone());
        namespaces::Entered { user, mount, ipc, uts }
    });
    let always = || Some(Ok("by every kernel".to_owned()));
    Wall::ALL
        .into_iter()
        .map(|wall| {
            let found = match wall {
                Wall::UserNamespace => tried.user.clone(),
                Wall::MountNamespace => tried.mount.clone(),
                Wall::IpcNamespace => tried.ipc.clone(),
                Wall::UtsNamespace => tried.uts.clone(),
                Wall::Landlock => Some(landlock::probe()),
                Wall::Seccomp => Some(seccomp::probe()),
                Wall::NoNewPrivs
                | Wall::Capabilities
                | Wall::Rlimits
                | Wall::NoDump
                | Wall::Descriptors => always(),
            };
            (wall, standing(found))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![cfg(all(target_os = "linux", not(aril_portable)))]
    #![expect(clippy::mixed_attributes_style, reason = "no other line may name a system")]

    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Read as _;
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use libc::c_long;

    use crate::platform::native;
    use crate::platform::native::Child;
    use crate::platform::native::Ended;
    use crate::platform::native::HERE;
    use crate::platform::native::in_child;
    use crate::platform::native::number_of;
    use crate::platform::process::Kept;

    use super::*;

    /// Whoever tests as root tries an ordinary user as well, this one.
    const ORDINARY: u32 = 12_345;

    fn is_root() -> bool {
        User::current().is_root()
    }

    /// Whether this host gives every wall; said aloud where it does not.
    fn host_gives_all() -> bool {
        let missing = probe().into_iter().find(|(_, standing)| !standing.is_held());
        if let Some((wall, standing)) = &missing {
            native::skip(&format!("{wall}: {standing}"));
        }
        missing.is_none()
    }

    /// The users that a test can be: 0 is whoever runs it.
    fn users() -> Vec<u32> {
        if !host_gives_all() {
            return Vec::new();
        }
        if is_root() {
            return vec![0, ORDINARY];
        }
        native::skip("only root can try another user as well");
        vec![0]
    }

    /// Whether a test can be run that needs root; said aloud where not.
    fn can_be_root() -> bool {
        if !is_root() {
            native::skip("only root can become other users and look into processes");
        }
        is_root() && host_gives_all()
    }

    fn become_one(user: u32) {
        if user != 0 {
            native::become_ordinary(user);
        }
    }

    /// A directory with what grants need: `read` and `write`, and `outside` of both.
    struct Ground {
        folder: tempfile::TempDir,
    }

    impl Ground {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["", "read", "write", "write/inner", "outside"] {
                let path = folder.path().join(name);
                let _there = fs::create_dir(&path);
                open_to_all(&path);
            }
            for name in ["read/file", "write/file", "outside/secret"] {
                let path = folder.path().join(name);
                fs::write(&path, name).unwrap();
                open_to_all(&path);
            }
            Self { folder }
        }

        fn open(&self, name: &str) -> File {
            File::open(self.folder.path().join(name)).unwrap()
        }
    }

    fn open_to_all(path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }

    /// What an attempt has in its hands.
    struct Inside {
        read: File,
        write: File,
    }

    /// A pipe, as files.
    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().unwrap();
        (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
    }

    /// How an attempt ended, and the call that the list ended it for.
    type Outcome = (Ended, Option<String>);

    /// Runs `attempt` in a child within `walls`, as `user`, after `before`.
    fn within(
        user: u32,
        walls: Walls,
        before: impl FnOnce(),
        attempt: impl FnOnce(&Inside, &Report),
    ) -> Outcome {
        let ground = Ground::new();
        let (trapped, writer) = pipe();
        let child = in_child(|| {
            become_one(user);
            before();
            let inside = Inside { read: ground.open("read"), write: ground.open("write") };
            let report = enter(&inside, walls).seal(&writer, None, Threads::None).unwrap();
            attempt(&inside, &report);
        });
        drop(writer);
        let ended = child.wait();
        let call = last_call(trapped);
        (ended, call.map(|call| call.name().unwrap().to_owned()))
    }

    fn entered(jail: Jail, grants: &[(&File, Reach)]) -> Result<Entered, JailError> {
        jail.enclose(|| namespaces::seclude(grants))?.restrict(grants)
    }

    fn enter(inside: &Inside, walls: Walls) -> Entered {
        let grants = vec![(&inside.read, Reach::Read), (&inside.write, Reach::Write)];
        entered(Jail { closed: None, who: Who::Caller, groups: Vec::new(), walls }, &grants)
            .unwrap()
    }

    /// All walls but that of descriptors, because the tests hold what they need.
    const MOST: Walls = Walls::ALL.with(Wall::Descriptors, Need::LeftOut);

    fn standing_of(report: &Report, wall: Wall) -> &WallStanding {
        &report.iter().find(|(of, _)| *of == wall).unwrap().1
    }

    /// Asserts that a part of a test came to its end.
    fn assert_done(outcome: &Outcome, user: u32) {
        assert_eq!(*outcome, (Ended::Code(0), None), "as user {user}");
    }

    /// Tries a call in a child within all walls, which must be its last.
    fn assert_ends(told: bool, number: c_long, arguments: &[u64]) {
        let bytes = i32::try_from(number).unwrap().to_le_bytes();
        let name = Trapped::from_bytes(bytes).name().unwrap();
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |_, _| {
                    let answer = native::call(number, arguments);
                    panic!("`{name}` answered {answer:?}");
                },
            );
            let told = told.then(|| name.to_owned());
            assert_eq!(outcome, (Ended::Signal(libc::SIGSYS), told), "`{name}` as user {user}");
        }
    }

    fn parent() -> u64 {
        u64::try_from(rustix::process::getpid().as_raw_pid()).unwrap()
    }

    #[test]
    fn a_call_that_a_runner_never_makes_is_its_last_and_is_told() {
        let trapped: &[(c_long, &[u64])] = &[
            (libc::SYS_socket, &[1, 1, 0]),
            (libc::SYS_connect, &[0, 0, 0]),
            (libc::SYS_bind, &[0, 0, 0]),
            (libc::SYS_sendmsg, &[0, 0, 0]),
            (libc::SYS_clone, &[17, 0, 0, 0, 0]),
            (libc::SYS_clone, &[0x4100, 0, 0, 0, 0]),
            (libc::SYS_kill, &[parent(), 0]),
            (libc::SYS_kill, &[u64::MAX, 9]),
            (libc::SYS_tkill, &[parent(), 0]),
            (libc::SYS_tgkill, &[parent(), parent(), 0]),
            (libc::SYS_memfd_create, &[0, 0]),
            (libc::SYS_pkey_mprotect, &[0, 0, 0, 0]),
            (libc::SYS_mmap, &[0, 4096, 5, 34, u64::MAX, 0]),
            (libc::SYS_ioctl, &[0, libc::TIOCSTI, 0]),
            (libc::SYS_fcntl, &[0, 8, 1]),
            (libc::SYS_prctl, &[4, 1, 0, 0, 0]),
            (libc::SYS_prlimit64, &[parent(), 7, 0, 0]),
            (libc::SYS_setuid, &[0]),
            (libc::SYS_capset, &[0, 0]),
            (libc::SYS_chdir, &[0]),
            (libc::SYS_mknodat, &[HERE, 0, 0, 0]),
            (libc::SYS_fchmodat, &[HERE, 0, 0]),
            (libc::SYS_name_to_handle_at, &[HERE, 0, 0, 0, 0]),
            (libc::SYS_shmget, &[0, 4096, 0o1600]),
            (libc::SYS_sethostname, &[0, 0]),
            (libc::SYS_clock_settime, &[0, 0]),
            (libc::SYS_seccomp, &[2, 0, 0]),
            (libc::SYS_landlock_create_ruleset, &[0, 0, 1]),
        ];
        for (number, arguments) in trapped {
            assert_ends(true, *number, arguments);
        }
        #[cfg(target_arch = "x86_64")]
        for number in [libc::SYS_fork, libc::SYS_vfork] {
            assert_ends(true, number, &[]);
        }
    }

    #[test]
    fn a_call_that_only_an_attack_makes_is_its_last() {
        let program = (&raw const *c"/bin/true").addr() as u64;
        let killed: &[(c_long, &[u64])] = &[
            (libc::SYS_execve, &[program, 0, 0]),
            (libc::SYS_execveat, &[HERE, program, 0, 0, 0]),
            (libc::SYS_ptrace, &[16, parent(), 0, 0]),
            (libc::SYS_process_vm_readv, &[parent(), 0, 0, 0, 0, 0]),
            (libc::SYS_process_vm_writev, &[parent(), 0, 0, 0, 0, 0]),
            (libc::SYS_pidfd_getfd, &[0, 0, 0]),
            (libc::SYS_pidfd_send_signal, &[0, 9, 0, 0]),
            (libc::SYS_unshare, &[0x1000_0000]),
            (libc::SYS_setns, &[0, 0]),
            (libc::SYS_chroot, &[0]),
            (libc::SYS_pivot_root, &[0, 0]),
            (libc::SYS_mount, &[0, 0, 0, 0, 0]),
            (libc::SYS_umount2, &[0, 2]),
            (libc::SYS_open_tree, &[HERE, 0, 1]),
            (libc::SYS_open_by_handle_at, &[HERE, 0, 0]),
            (libc::SYS_bpf, &[0, 0, 0]),
            (libc::SYS_io_uring_setup, &[1, 0]),
            (libc::SYS_userfaultfd, &[1]),
            (libc::SYS_perf_event_open, &[0, 0, 0, 0, 0]),
            (libc::SYS_keyctl, &[0, 0, 0, 0, 0]),
            (libc::SYS_init_module, &[0, 0, 0]),
            (libc::SYS_kexec_load, &[0, 0, 0, 0]),
            (libc::SYS_personality, &[0]),
        ];
        for (number, arguments) in killed {
            assert_ends(false, *number, arguments);
        }
    }

    #[test]
    fn memory_does_not_become_executable() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |_, _| {
                    let page =
                        native::call(libc::SYS_mmap, &[0, 4096, 3, 34, u64::MAX, 0]).unwrap();
                    let page = u64::try_from(page).unwrap();
                    native::call(libc::SYS_mprotect, &[page, 4096, 1]).unwrap();
                    let answer = native::call(libc::SYS_mprotect, &[page, 4096, 5]);
                    panic!("it answered {answer:?}");
                },
            );
            assert_eq!(outcome, (Ended::Signal(libc::SIGSYS), Some("mprotect".to_owned())));
        }
    }

    #[test]
    fn a_thread_is_refused_or_made_within_the_same_walls_as_was_said() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |_, _| {
                    let started = std::thread::Builder::new().spawn(|| ());
                    assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
                    assert_eq!(failure(libc::SYS_clone3, &[0, 0]), libc::ENOSYS);
                },
            );
            assert_done(&outcome, user);

            let (trapped, writer) = pipe();
            let ground = Ground::new();
            let child = in_child(|| {
                become_one(user);
                let inside = Inside { read: ground.open("read"), write: ground.open("write") };
                enter(&inside, MOST).seal(&writer, None, Threads::More).unwrap();
                std::thread::spawn(|| ()).join().unwrap();
                let attack = || native::call(libc::SYS_socket, &[1, 1, 0]);
                panic!("the thread came back: {:?}", std::thread::spawn(attack).join());
            });
            drop(writer);
            assert_eq!(child.wait(), Ended::Signal(libc::SIGSYS), "as user {user}");
            assert_eq!(last_call(trapped).unwrap().name(), Some("socket"));
        }
    }

    #[test]
    fn a_thread_that_was_started_before_is_within_the_list_as_well() {
        if !host_gives_all() {
            return;
        }
        let (trapped, writer) = pipe();
        let ground = Ground::new();
        let child = in_child(|| {
            let inside = Inside { read: ground.open("read"), write: ground.open("write") };
            let entered = enter(&inside, MOST);
            let (go, wait) = std::sync::mpsc::channel();
            let watchdog = std::thread::spawn(move || {
                wait.recv().unwrap();
                native::call(libc::SYS_socket, &[1, 1, 0]).unwrap();
            });
            entered.seal(&writer, None, Threads::None).unwrap();
            go.send(()).unwrap();
            watchdog.join().unwrap();
            panic!("the thread came back");
        });
        drop(writer);
        assert_eq!(child.wait(), Ended::Signal(libc::SIGSYS));
        assert_eq!(last_call(trapped).unwrap().name(), Some("socket"));
    }

    /// The error of a call that must fail.
    fn failure(number: c_long, arguments: &[u64]) -> i32 {
        match native::call(number, arguments) {
            Ok(answer) => panic!("call {number} answered {answer}"),
            Err(error) => error.raw_os_error().unwrap(),
        }
    }

    fn text(path: &std::ffi::CStr) -> u64 {
        path.as_ptr().addr() as u64
    }

    fn opens(directory: u64, path: &std::ffi::CStr, flags: i32) -> io::Result<i64> {
        let flags = u64::try_from(flags).unwrap();
        native::call(libc::SYS_openat, &[directory, text(path), flags, 0o600])
    }

    fn open_failure(directory: u64, path: &std::ffi::CStr, flags: i32) -> i32 {
        opens(directory, path, flags).unwrap_err().raw_os_error().unwrap()
    }

    #[test]
    fn no_path_leads_to_a_file_of_the_host() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |_, _| {
                    for path in
                        [c"/etc/shadow", c"/proc/self/status", c"/sys/fs/cgroup", c"/dev/null"]
                    {
                        assert_eq!(
                            open_failure(HERE, path, libc::O_RDONLY),
                            libc::ENOENT,
                            "{path:?}"
                        );
                    }
                    // The root is there, and cannot be read: nothing was granted in it.
                    assert_eq!(open_failure(HERE, c"/", libc::O_RDONLY), libc::EACCES);
                    assert_eq!(
                        open_failure(HERE, c"/new", libc::O_CREAT | libc::O_WRONLY),
                        libc::EROFS
                    );
                },
            );
            assert_done(&outcome, user);
        }
    }

    #[test]
    fn a_descriptor_of_a_grant_leads_nowhere_else() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |inside, _| {
                    for grant in [&inside.read, &inside.write] {
                        let grant = number_of(grant);
                        for path in [c"../outside", c"../../../../../../etc/passwd"] {
                            for flags in [libc::O_RDONLY, libc::O_PATH] {
                                assert_eq!(open_failure(grant, path, flags), libc::ENOENT);
                            }
                        }
                        // The way up leads back to where it began.
                        let inner = opens(grant, c"../file", libc::O_RDONLY).unwrap();
                        native::call(libc::SYS_close, &[u64::try_from(inner).unwrap()]).unwrap();
                        let error = open_failure(grant, c"../outside/new", libc::O_CREAT | 1);
                        assert_eq!(error, libc::ENOENT);
                    }
                },
            );
            assert_done(&outcome, user);
        }
    }

    #[test]
    fn a_grant_is_what_its_reach_says_in_the_kernel_too() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |inside, _| {
                    let (read, write) = (number_of(&inside.read), number_of(&inside.write));
                    opens(read, c"file", libc::O_RDONLY).unwrap();
                    let refused = |number, arguments: &[u64]| {
                        let error = failure(number, arguments);
                        let refused = [libc::EACCES, libc::EXDEV, libc::EROFS];
                        assert!(refused.contains(&error), "{number}: {error}");
                    };
                    refused(libc::SYS_openat, &[read, text(c"file"), 1]);
                    refused(libc::SYS_openat, &[read, text(c"file"), 0o1000]);
                    refused(libc::SYS_openat, &[read, text(c"new"), 0o101, 0o600]);
                    refused(libc::SYS_mkdirat, &[read, text(c"new"), 0o700]);
                    refused(libc::SYS_unlinkat, &[read, text(c"file"), 0]);
                    refused(libc::SYS_symlinkat, &[text(c"x"), read, text(c"new")]);
                    refused(libc::SYS_linkat, &[write, text(c"file"), read, text(c"new"), 0]);
                    refused(libc::SYS_renameat2, &[write, text(c"file"), read, text(c"new"), 0]);
                    refused(libc::SYS_renameat2, &[read, text(c"file"), write, text(c"new"), 0]);

                    opens(write, c"new", libc::O_CREAT | libc::O_RDWR | libc::O_TRUNC).unwrap();
                    native::call(libc::SYS_mkdirat, &[write, text(c"made"), 0o700]).unwrap();
                    native::call(libc::SYS_symlinkat, &[text(c"x"), write, text(c"link")]).unwrap();
                    let moved = [write, text(c"new"), write, text(c"inner/new"), 0];
                    native::call(libc::SYS_renameat2, &moved).unwrap();
                    native::call(libc::SYS_unlinkat, &[write, text(c"inner/new"), 0]).unwrap();
                },
            );
            assert_done(&outcome, user);
        }
    }

    /// One wall, and what it needs to be built.
    fn alone(wall: Wall) -> Walls {
        let walls = Walls::NONE.with(Wall::NoNewPrivs, Need::Wanted);
        walls.with(Wall::UserNamespace, Need::Wanted).with(wall, Need::Required)
    }

    #[test]
    fn landlock_holds_without_the_others() {
        for user in users() {
            let outcome = within(
                user,
                alone(Wall::Landlock),
                || (),
                |inside, _| {
                    let read = number_of(&inside.read);
                    for path in [c"/etc/passwd", c"/proc/self/status", c"/dev/null"] {
                        assert_eq!(
                            open_failure(HERE, path, libc::O_RDONLY),
                            libc::EACCES,
                            "{path:?}"
                        );
                    }
                    assert_eq!(
                        failure(libc::SYS_mkdirat, &[read, text(c"a"), 0o700]),
                        libc::EACCES
                    );
                    let program = [text(c"/bin/true"), 0, 0];
                    assert_eq!(failure(libc::SYS_execve, &program), libc::EACCES);
                    let signal = native::call(libc::SYS_kill, &[parent_inside(), 0]);
                    assert_eq!(signal.unwrap_err().raw_os_error(), Some(libc::EPERM));
                    let to = std::net::TcpStream::connect(("127.0.0.1", 9));
                    assert_eq!(to.unwrap_err().raw_os_error(), Some(libc::EACCES));
                },
            );
            assert_done(&outcome, user);
        }
    }

    /// The process that made this child.
    fn parent_inside() -> u64 {
        u64::try_from(rustix::process::getppid().unwrap().as_raw_pid()).unwrap()
    }

    #[test]
    fn an_empty_root_holds_without_the_others() {
        for user in users() {
            let outcome = within(
                user,
                alone(Wall::MountNamespace),
                || (),
                |_, _| {
                    assert_eq!(open_failure(HERE, c"/etc/passwd", libc::O_RDONLY), libc::ENOENT);
                    assert_eq!(open_failure(HERE, c"/proc", libc::O_RDONLY), libc::ENOENT);
                    assert_eq!(fs::read_dir("/").unwrap().count(), 0);
                    // Where the way up ends as well.
                    assert_eq!(fs::read_dir("/../..").unwrap().count(), 0);
                    let made = fs::create_dir("/new").unwrap_err();
                    assert_eq!(made.raw_os_error(), Some(libc::EROFS));
                },
            );
            assert_done(&outcome, user);
        }
        // What was mounted there was mounted there alone.
        assert!(fs::exists("/proc/self/status").unwrap());
    }

    #[test]
    fn an_ordinary_user_starts_no_thread_once_it_is_sealed() {
        if !can_be_root() {
            return;
        }
        let walls = Walls::NONE.with(Wall::Rlimits, Need::Required);
        let outcome = within(
            ORDINARY,
            walls,
            || (),
            |_, _| {
                let started = std::thread::Builder::new().spawn(|| ());
                assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
            },
        );
        assert_done(&outcome, ORDINARY);
    }

    #[test]
    fn every_wall_holds_on_this_host() {
        for user in users() {
            let outcome = within(
                user,
                MOST,
                || (),
                |_, report| {
                    let order: Vec<Wall> = report.iter().map(|(wall, _)| *wall).collect();
                    assert_eq!(order, Wall::ALL);
                    for (wall, standing) in
                        report.iter().filter(|(wall, _)| *wall != Wall::Descriptors)
                    {
                        assert!(standing.is_held(), "{wall}: {standing}");
                    }
                    assert_eq!(*standing_of(report, Wall::Descriptors), WallStanding::LeftOut);
                },
            );
            assert_done(&outcome, user);
        }
    }

    /// A child within walls that waits to be looked at, and its pipe to the end of it.
    fn sitter(user: u32, who: Who, walls: Walls, before: impl FnOnce()) -> (Child, File) {
        let ground = Ground::new();
        let ((mut ready, mut go), (mut goes, readies)) = {
            let (ready, readies) = pipe();
            let (goes, go) = pipe();
            ((ready, go), (goes, readies))
        };
        let (_trapped, writer) = pipe();
        let child = in_child(|| {
            become_one(user);
            before();
            let inside = Inside { read: ground.open("read"), write: ground.open("write") };
            let mut kept = Kept::standard();
            for open in [&inside.read, &inside.write, &writer, &goes, &readies] {
                kept.keep(open);
            }
            let grants = vec![(&inside.read, Reach::Read), (&inside.write, Reach::Write)];
            let jail =
                Jail { closed: Some(kept.close_others().unwrap()), who, groups: Vec::new(), walls };
            entered(jail, &grants).unwrap().seal(&writer, None, Threads::None).unwrap();
            (&readies).write_all(b"!").unwrap();
            goes.read_to_end(&mut Vec::new()).unwrap();
        });
        drop(readies);
        let mut said = [0];
        ready.read_exact(&mut said).unwrap();
        go.flush().unwrap();
        (child, go)
    }

    fn seen(child: &Child, what: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{what}", child.id())).unwrap()
    }

    /// A line of what the kernel says of a process.
    fn status(child: &Child, field: &str) -> String {
        let all = seen(child, "status");
        let mut lines = all.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).unwrap().1.trim().to_owned()
    }

    fn assert_powerless(child: &Child) {
        for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(child, field), "0000000000000000", "{field}");
        }
        assert_eq!(status(child, "NoNewPrivs"), "1");
        assert_eq!(status(child, "Seccomp"), "2");
    }

    #[test]
    fn it_is_walled_in_as_others_see_it() {
        if !can_be_root() {
            return;
        }
        for user in users() {
            let (child, go) = sitter(user, Who::Caller, Walls::ALL, || ());
            assert_powerless(&child);
            assert_eq!(status(&child, "CapBnd"), "0000000000000000");
            for namespace in ["user", "mnt", "ipc", "uts"] {
                let of = |id: &str| fs::read_link(format!("/proc/{id}/ns/{namespace}")).unwrap();
                assert_ne!(of(&child.id().to_string()), of("self"), "{namespace}");
            }
            let mounts = seen(&child, "mountinfo");
            assert_eq!(mounts.lines().count(), 1, "{mounts}");
            let fields: Vec<&str> = mounts.split_whitespace().collect();
            assert_eq!((fields[4], fields[5]), ("/", "ro,nosuid,nodev,noexec,relatime"));
            let folder =
                |what: &str| fs::read_link(format!("/proc/{}/{what}", child.id())).unwrap();
            assert_eq!((folder("cwd"), folder("root")), ("/".into(), "/".into()));
            let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
            let open: BTreeSet<String> =
                open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(open.len(), 3 + 5, "{open:?}");
            assert_eq!(
                seen(&child, "limits")
                    .lines()
                    .filter(|line| {
                        line.starts_with("Max core file size        0                    0 ")
                            || line.starts_with("Max msgqueue size         0                    0 ")
                            || line.starts_with("Max processes             0                    0 ")
                    })
                    .count(),
                3
            );
            drop(go);
            assert_eq!(child.wait(), Ended::Code(0));
        }
    }

    #[test]
    fn root_becomes_who_it_is_told_to_be() {
        if !can_be_root() {
            return;
        }
        let to = User { user: 4_321, group: 1_234 };
        for walls in [Walls::ALL, Walls::ALL.with(Wall::UserNamespace, Need::LeftOut)] {
            let (child, go) = sitter(0, Who::User(to), walls, || ());
            assert_eq!(status(&child, "Uid"), "4321\t4321\t4321\t4321");
            assert_eq!(status(&child, "Gid"), "1234\t1234\t1234\t1234");
            assert_eq!(status(&child, "Groups"), "");
            assert_powerless(&child);
            assert_eq!(status(&child, "CapBnd"), "0000000000000000");
            drop(go);
            assert_eq!(child.wait(), Ended::Code(0));
        }
    }

    #[test]
    fn an_ordinary_user_cannot_become_another() {
        if !can_be_root() {
            return;
        }
        let child = in_child(|| {
            become_one(ORDINARY);
            let who = Who::User(User { user: 4_321, group: 1_234 });
            let jail = Jail { closed: None, who, groups: Vec::new(), walls: MOST };
            let error = entered(jail, &[]).unwrap_err();
            assert_eq!(error.to_string(), "cannot become the user 4321 of group 1234");
        });
        assert_eq!(child.wait(), Ended::Code(0));
    }

    #[test]
    fn without_user_namespaces_root_is_nobody_behind_the_other_walls() {
        if !can_be_root() {
            return;
        }
        let (child, go) = sitter(0, Who::Caller, Walls::ALL, native::refuse_user_namespaces);
        assert_eq!(status(&child, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(status(&child, "Groups"), "");
        assert_powerless(&child);
        assert_eq!(status(&child, "CapBnd"), "0000000000000000");
        assert_eq!(seen(&child, "mountinfo").lines().count(), 1);
        drop(go);
        assert_eq!(child.wait(), Ended::Code(0));
        let outcome = within(0, MOST, native::refuse_user_namespaces, |_, report| {
            let user = standing_of(report, Wall::UserNamespace).to_string();
            assert!(user.starts_with("missing: the system refuses to make one"), "{user}");
            assert!(user.contains("kernel.unprivileged_userns_clone"), "{user}");
            assert!(standing_of(report, Wall::MountNamespace).is_held());
            let capabilities = standing_of(report, Wall::Capabilities).to_string();
            assert!(capabilities.contains("user 65534, because"), "{capabilities}");
        });
        assert_done(&outcome, 0);
    }

    #[test]
    fn without_user_namespaces_an_ordinary_user_has_the_walls_that_need_none() {
        if !host_gives_all() {
            return;
        }
        let user = if is_root() { ORDINARY } else { 0 };
        let outcome = within(user, MOST, native::refuse_user_namespaces, |inside, report| {
            for wall in
                [Wall::UserNamespace, Wall::MountNamespace, Wall::IpcNamespace, Wall::UtsNamespace]
            {
                assert!(!standing_of(report, wall).is_held(), "{wall}");
            }
            for wall in [Wall::Capabilities, Wall::Landlock, Wall::Seccomp, Wall::NoDump] {
                assert!(standing_of(report, wall).is_held(), "{wall}");
            }
            // The old root is there, and landlock holds.
            assert_eq!(open_failure(HERE, c"/etc/passwd", libc::O_RDONLY), libc::EACCES);
            let error = open_failure(number_of(&inside.read), c"..", libc::O_RDONLY);
            assert_eq!(error, libc::EACCES);
        });
        assert_done(&outcome, user);
    }

    #[test]
    fn namespaces_without_rights_in_them_are_not_taken_for_walls() {
        // As a host's own policy for programs has it: one can be made, and nothing done in it.
        let refuse = || native::refuse(libc::SYS_mount, None, libc::EACCES);
        for user in users() {
            let outcome = within(user, MOST, refuse, |inside, report| {
                let mount = standing_of(report, Wall::MountNamespace).to_string();
                assert!(mount.starts_with("missing: it was made, and mounts"), "{mount}");
                let error = open_failure(number_of(&inside.read), c"..", libc::O_RDONLY);
                assert_eq!(error, libc::EACCES);
            });
            assert_done(&outcome, user);
        }
    }

    #[test]
    fn without_landlock_the_others_hold_and_it_is_said() {
        let refuse = || native::refuse(libc::SYS_landlock_create_ruleset, None, libc::ENOSYS);
        for user in users() {
            let outcome = within(user, MOST, refuse, |_, report| {
                let landlock = standing_of(report, Wall::Landlock).to_string();
                let expected = "missing: the kernel does not have it; use a kernel of Linux 5.13";
                assert!(landlock.starts_with(expected), "{landlock}");
                assert!(standing_of(report, Wall::Seccomp).is_held());
                assert_eq!(open_failure(HERE, c"/etc/passwd", libc::O_RDONLY), libc::ENOENT);
            });
            assert_done(&outcome, user);
        }
    }

    #[test]
    fn without_seccomp_the_others_hold_and_it_is_said() {
        let refuse = || native::refuse(libc::SYS_seccomp, None, libc::EINVAL);
        for user in users() {
            let outcome = within(user, MOST, refuse, |_, report| {
                let seccomp = standing_of(report, Wall::Seccomp).to_string();
                assert!(seccomp.starts_with("missing: the kernel takes no filter"), "{seccomp}");
                assert!(standing_of(report, Wall::Landlock).is_held());
            });
            assert_done(&outcome, user);
        }
    }

    #[test]
    fn without_the_call_that_closes_ranges_the_same_is_closed() {
        if !can_be_root() {
            return;
        }
        let refuse = || native::refuse(libc::SYS_close_range, None, libc::ENOSYS);
        let (child, go) = sitter(0, Who::Caller, Walls::ALL, refuse);
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
        assert_eq!(open, 3 + 5);
        drop(go);
        assert_eq!(child.wait(), Ended::Code(0));
    }

    #[test]
    fn what_is_required_and_missing_is_an_error_that_says_what_to_do() {
        let child = in_child(|| {
            native::refuse_user_namespaces();
            let walls = MOST.with(Wall::UserNamespace, Need::Required);
            let jail = Jail { closed: None, who: Who::Caller, groups: Vec::new(), walls };
            let error = entered(jail, &[]).unwrap_err().to_string();
            let expected = "the wall `user_namespace` is required and missing: the system refuses";
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("allow namespaces"), "{error}");
        });
        assert_eq!(child.wait(), Ended::Code(0));
        let child = in_child(|| {
            native::refuse(libc::SYS_seccomp, None, libc::ENOSYS);
            let walls = MOST.with(Wall::Seccomp, Need::Required);
            let jail = Jail { closed: None, who: Who::Caller, groups: Vec::new(), walls };
            let error = entered(jail, &[])
                .unwrap()
                .seal(&pipe().1, None, Threads::None)
                .unwrap_err()
                .to_string();
            let expected = "the wall `seccomp` is required and missing";
            assert!(error.starts_with(expected), "{error}");
        });
        assert_eq!(child.wait(), Ended::Code(0));
    }

    #[test]
    fn it_still_ends_with_its_parent_when_it_became_another() {
        let child = in_child(|| {
            let kill = rustix::process::Signal::KILL;
            rustix::process::set_parent_process_death_signal(Some(kill)).unwrap();
            let walls = Walls::NONE.with(Wall::Capabilities, Need::Wanted);
            let jail = Jail { closed: None, who: Who::Caller, groups: Vec::new(), walls };
            let _entered = entered(jail, &[]).unwrap();
            assert_eq!(rustix::process::parent_process_death_signal(), Ok(Some(kill)));
            let expected = if is_root() { 65534 } else { User::current().user };
            assert_eq!(User::current().user, expected);
        });
        assert_eq!(child.wait(), Ended::Code(0));
    }

    #[test]
    fn what_a_host_would_give_is_found_without_taking_it() {
        let namespaces = || {
            ["user", "mnt", "ipc", "uts"]
                .map(|kind| fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap())
        };
        let before = namespaces();
        if !host_gives_all() {
            return;
        }
        let found = probe();
        let order: Vec<Wall> = found.iter().map(|(wall, _)| *wall).collect();
        assert_eq!(order, Wall::ALL);
        for (wall, standing) in &found {
            assert!(standing.is_held(), "{wall}: {standing}");
        }
        assert_eq!(namespaces(), before);
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("Seccomp:\t0") && status.contains("NoNewPrivs:\t0"), "{status}");
    }

    #[test]
    fn what_a_host_would_not_give_is_found_as_well() {
        let child = in_child(|| {
            native::refuse_user_namespaces();
            native::refuse(libc::SYS_landlock_create_ruleset, None, libc::EOPNOTSUPP);
            let found = probe();
            let user = standing_of(&found, Wall::UserNamespace).to_string();
            assert!(user.starts_with("missing: the system refuses to make one"), "{user}");
            let landlock = standing_of(&found, Wall::Landlock).to_string();
            assert!(landlock.contains("did not start it"), "{landlock}");
        });
        assert_eq!(child.wait(), Ended::Code(0));
    }
}
