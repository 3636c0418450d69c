//! System calls: which of them are left to a runner of one guest, and what they are called.

use libc::c_int;
use libc::c_long;

/// What an argument must be for a call to be allowed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// None of these bits is set.
    Without { argument: u8, bits: u32 },
    /// None of these bits is set in either.
    WithoutEither { first: (u8, u32), second: (u8, u32) },
    /// It is something else.
    Not { argument: u8, value: u32 },
    /// It is one of these.
    OneOf { argument: u8, values: &'static [u32] },
    /// The same, of a descriptor that is not the leash.
    OneOfUnleashed { argument: u8, values: &'static [u32] },
    /// It is this process.
    Own { argument: u8 },
    /// It is 0, in all its 64 bits.
    Null { argument: u8 },
    /// Both are 0, in all their 64 bits.
    Nulls { arguments: [u8; 2] },
    /// It makes a thread of this process, and that is allowed; and no process in any case.
    Thread,
}

/// What the C library makes a thread with.
pub(super) const THREAD: u32 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID)
    .cast_unsigned();

/// The call that makes processes and threads by a structure that the list cannot see. It is not
/// there, so that the C library makes a thread by the older one.
pub(super) const HIDDEN: c_long = libc::SYS_clone3;

/// Stands for the descriptor of the leash until that is known. No descriptor has it.
pub(super) const LEASH: u32 = u32::MAX - 2;

const EXECUTABLE: u32 = libc::PROT_EXEC.cast_unsigned();

/// What may be asked of a terminal, a pipe or a socket. Numbers of this call have 32 bits, whatever
/// is passed.
#[expect(clippy::cast_possible_truncation, reason = "the kernel does the same")]
const ASKED: &[u32] =
    &[libc::TCGETS as u32, libc::TIOCGWINSZ as u32, libc::FIONREAD as u32, libc::FIONBIO as u32];

/// Memory that `RLIMIT_DATA` does not count: what others could share, and what grows like a stack.
const UNCOUNTED: u32 = (libc::MAP_SHARED | libc::MAP_GROWSDOWN).cast_unsigned();

const FCNTL: &[u32] = &[
    libc::F_GETFL.cast_unsigned(),
    libc::F_SETFL.cast_unsigned(),
    libc::F_GETFD.cast_unsigned(),
    libc::F_SETFD.cast_unsigned(),
    libc::F_DUPFD_CLOEXEC.cast_unsigned(),
];

/// Names of threads, and of memory, which newer C libraries give.
const PRCTL: &[u32] = &[libc::PR_SET_NAME.cast_unsigned(), libc::PR_SET_VMA.cast_unsigned()];

/// Calls whose arguments count. Machine code is mapped before the list holds, and nothing becomes
/// executable after; what is mapped after counts against the bound on memory. The leash stays as it
/// is, so that no process outlives its keeper, and so does the handler that tells of a trapped call.
pub(super) const CHECKED: &[(c_long, Check)] = &[
    (libc::SYS_mmap, Check::WithoutEither { first: (2, EXECUTABLE), second: (3, UNCOUNTED) }),
    (libc::SYS_mprotect, Check::Without { argument: 2, bits: EXECUTABLE }),
    (libc::SYS_fcntl, Check::OneOfUnleashed { argument: 1, values: FCNTL }),
    (libc::SYS_close, Check::Not { argument: 0, value: LEASH }),
    (libc::SYS_rt_sigaction, Check::Not { argument: 0, value: libc::SIGSYS.cast_unsigned() }),
    // Of a file that is open. By its path it would be any that this user owns: landlock does not hold
    // times.
    (libc::SYS_utimensat, Check::Null { argument: 1 }),
    (libc::SYS_ioctl, Check::OneOf { argument: 1, values: ASKED }),
    // To who is connected already.
    (libc::SYS_sendto, Check::Null { argument: 4 }),
    (libc::SYS_prctl, Check::OneOf { argument: 0, values: PRCTL }),
    // To ask what bounds this process has, and not to change one.
    (libc::SYS_prlimit64, Check::Nulls { arguments: [0, 2] }),
    (libc::SYS_tgkill, Check::Own { argument: 0 }),
    (libc::SYS_clone, Check::Thread),
];

/// Calls that are allowed, whatever their arguments: a kernel since 5.11 answers them without
/// looking further.
pub(super) const ALLOWED: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    // Waiting.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_sched_yield,
    // What is said on a socket that is open.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // What threads and handlers need, to begin and to end.
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that only an attack makes.
pub(super) const KILLED: &[c_long] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    // Other walls.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_personality,
    libc::SYS_vmsplice,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// A call that ended a process, as the process wrote it down. A claim, as all that a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trapped {
    number: i32,
}

impl Trapped {
    /// How many bytes one is.
    pub(crate) const SIZE: usize = size_of::<c_int>();

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { number: i32::from_le_bytes(bytes) }
    }

    /// The name of the call, where it has one.
    pub(crate) fn name(self) -> Option<&'static str> {
        syscalls::Sysno::new(usize::try_from(self.number).ok()?).map(|call| call.name())
    }
}

impl std::fmt::Display for Trapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "the system call `{name}` ({})", self.number),
            None => write!(f, "the system call {}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trapped_call_is_named() {
        let call =
            |number: c_long| Trapped::from_bytes(i32::try_from(number).unwrap().to_le_bytes());
        let shown = call(libc::SYS_socket).to_string();
        assert_eq!(shown, format!("the system call `socket` ({})", libc::SYS_socket));
        assert_eq!(call(-7).to_string(), "the system call -7");
        assert_eq!(call(99_999).name(), None);
    }
}
