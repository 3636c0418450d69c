//! Calls of the system as an attacker makes them, for tests of the walls: natively, in a child.

use std::io;
use std::panic::AssertUnwindSafe;

use libc::c_int;
use libc::c_long;
use libc::sock_filter;
use rustix::process::DumpableBehavior;
use rustix::process::Gid;
use rustix::process::Pid;
use rustix::process::Uid;
use rustix::process::WaitOptions;

/// A child that runs a part of a test.
#[derive(Debug)]
pub(crate) struct Child(Pid);

/// How one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

impl Child {
    pub(crate) fn id(&self) -> i32 {
        self.0.as_raw_pid()
    }

    pub(crate) fn wait(self) -> Ended {
        let (_, status) =
            rustix::process::waitpid(Some(self.0), WaitOptions::empty()).unwrap().unwrap();
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Code(code),
            (_, signal) => Ended::Signal(signal.unwrap()),
        }
    }
}

/// Runs `part` in a child with one thread, which ends with code 0, or with 101 where it panics.
pub(crate) fn in_child(part: impl FnOnce()) -> Child {
    // JUSTIFICATION: walls are put around a whole process, and must not be around this one.
    // SAFETY: the C library makes its heap usable in the child; the child uses nothing else that
    // another thread could hold, and ends by `_exit`.
    #[expect(unsafe_code, reason = "makes a child")]
    match unsafe { libc::fork() } {
        -1 => panic!("{}", io::Error::last_os_error()),
        0 => {
            let done = std::panic::catch_unwind(AssertUnwindSafe(part));
            super::process::exit_now(if done.is_ok() { 0 } else { 101 })
        }
        child => Child(Pid::from_raw(child).unwrap()),
    }
}

/// Makes a call, whatever it is.
pub(crate) fn call(number: c_long, arguments: &[u64]) -> io::Result<i64> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: the tests pass numbers, and pointers to what lives through the call.
    #[expect(unsafe_code, reason = "makes any call")]
    match unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

/// The same as the kernel has it: the number of an error is negative.
#[cfg(feature = "hostile")]
pub(crate) fn raw(number: i64, arguments: [i64; 6]) -> i64 {
    match call(number, &arguments.map(i64::cast_unsigned)) {
        Ok(answer) => answer,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or_default()),
    }
}

/// What the list says of each number that is a call's, and its name.
#[cfg(feature = "hostile")]
pub(crate) fn list() -> Vec<(i64, &'static str, &'static str)> {
    use super::calls::ALLOWED;
    use super::calls::CHECKED;
    use super::calls::HIDDEN;
    use super::calls::KILLED;

    let said = |number: i64| match number {
        HIDDEN => "hidden",
        _ if ALLOWED.contains(&number) => "allowed",
        _ if KILLED.contains(&number) => "killed",
        _ if CHECKED.iter().any(|(checked, _)| *checked == number) => "checked",
        _ => "trapped",
    };
    let name = |number: i64| {
        let number = syscalls::Sysno::new(usize::try_from(number).ok()?)?;
        Some(number.name())
    };
    (0..1024).filter_map(|number| Some((number, name(number)?, said(number)))).collect()
}

/// Has this process make no namespace of users, as some hosts do to everybody.
pub(crate) fn refuse_user_namespaces() {
    refuse(libc::SYS_unshare, Some((0, libc::CLONE_NEWUSER)), libc::EPERM);
}

/// Becomes an ordinary user, as if it had been started by one.
pub(crate) fn become_ordinary(number: u32) {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_res_gid(group, group, group).unwrap();
    rustix::thread::set_thread_res_uid(user, user, user).unwrap();
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
}

/// Has a call refused with an error from now on, as an older kernel or a container does: always, or
/// where the lower half of the argument of that index has one of the bits.
pub(crate) fn refuse(number: c_long, where_set: Option<(u32, c_int)>, error: c_int) {
    let step = |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let jump = |test, k, jt, jf| step(libc::BPF_JMP | test | libc::BPF_K, jt, jf, k);
    let answer = |action| step(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let mut program = vec![load(0)];
    match where_set {
        None => program.push(jump(libc::BPF_JEQ, u32::try_from(number).unwrap(), 0, 1)),
        Some((argument, bits)) => program.extend([
            jump(libc::BPF_JEQ, u32::try_from(number).unwrap(), 0, 3),
            load(16 + 8 * argument),
            jump(libc::BPF_JSET, bits.cast_unsigned(), 0, 1),
        ]),
    }
    program.push(answer(libc::SECCOMP_RET_ERRNO | error.cast_unsigned()));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let len = u16::try_from(program.len()).unwrap();
    let described = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true).unwrap();
    let described = (&raw const described).addr() as u64;
    call(libc::SYS_seccomp, &[u64::from(libc::SECCOMP_SET_MODE_FILTER), 0, described]).unwrap();
}

/// A number for a descriptor, as calls take it.
pub(crate) fn number_of(open: &impl std::os::fd::AsRawFd) -> u64 {
    u64::try_from(open.as_raw_fd()).unwrap()
}

/// The descriptor that means the working directory.
pub(crate) const HERE: u64 = (-100_i64).cast_unsigned();

/// Says aloud that a test, or a part of one, was skipped; fails where nothing may be.
#[expect(clippy::print_stdout, reason = "what a test says is shown to who runs it")]
pub(crate) fn skip(reason: &str) {
    #[expect(clippy::disallowed_methods, reason = "how strict tests are is said by who runs them")]
    let required = std::env::var("ARIL_TEST_REQUIRE").is_ok_and(|value| value == "all");
    assert!(!required, "required, and missing: {reason}");
    println!("SKIPPED: {reason}");
}
