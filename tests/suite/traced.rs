//! A program under a tracer: each call of it that changes something beneath a folder is counted, and
//! may be looked at, be made to fail, or be its last.
//!
//! Threads are traced as well, and counted together; processes that the program starts are not.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::support::Run;

/// A call that changes something, about to be made or made.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// From one on; zero for a lock, which may be made to fail all the same.
    pub(crate) number: usize,
    pub(crate) call: &'static str,
    pub(crate) path: PathBuf,
    /// What a descriptor leads to that the call was given.
    pub(crate) inode: Option<u64>,
    /// Whether it succeeded, once it is made.
    pub(crate) done: bool,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    /// The process is killed, and the call never made.
    Kill,
    /// The call is not made, and fails with this error.
    Fail(i32),
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// How many calls changed something.
    pub(crate) changes: usize,
    pub(crate) stderr: String,
}

/// Whether calls can be made to fail on this processor.
pub(crate) const CAN_FAIL: bool = cfg!(target_arch = "x86_64");

/// One request of the tracer.
fn ptrace(request: libc::c_uint, tid: i32, addr: usize, data: usize) -> io::Result<i64> {
    // SAFETY: of the requests made here, one writes memory of this process: GET_SYSCALL_INFO, to
    // the buffer that `syscall_info` gives it with its size.
    #[expect(unsafe_code, reason = "there is no safe crate for it that does not change the others")]
    let result = unsafe { libc::ptrace(request, tid, addr, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What a stop at a call is about: 1 for one that begins and 2 for one that ends; and its number
/// and arguments, or its result.
fn syscall_info(tid: i32) -> io::Result<(u8, [u64; 7])> {
    /// As `linux/ptrace.h` has `ptrace_syscall_info`: what it is about, two addresses, the rest.
    const WORDS: usize = 11;
    let mut words = [0_u64; WORDS];
    let size = size_of_val(&words);
    ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, words.as_mut_ptr() as usize)?;
    let [about, _, _, rest @ ..] = words;
    let mut told = [0; 7];
    told.copy_from_slice(&rest[..7]);
    Ok((about.to_le_bytes()[0], told))
}

/// A register as the kernel keeps it for a tracer, by its place.
fn set_register(tid: i32, place: usize, value: i64) {
    let value = usize::from_ne_bytes(value.to_ne_bytes());
    ptrace(libc::PTRACE_POKEUSER, tid, place * size_of::<usize>(), value).unwrap();
}

/// On x86-64, the number of the call, and its result.
const NUMBER: usize = 15;
const RESULT: usize = 10;

/// Waits for a process of a group to stop or end.
fn wait(group: i32) -> (i32, i32) {
    let mut status = 0;
    // SAFETY: it writes to the number that it is given.
    #[expect(unsafe_code, reason = "rustix has no way to wait for threads")]
    let tid = unsafe { libc::waitpid(-group, &raw mut status, libc::__WALL) };
    assert!(0 < tid, "{}", io::Error::last_os_error());
    (tid, status)
}

/// The text at an address of a traced process.
fn text_at(memory: &File, mut at: u64) -> Option<String> {
    /// No read may go beyond what is mapped.
    const PAGE: u64 = 4096;
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        let mut piece = vec![0; usize::try_from(PAGE - at % PAGE).unwrap()];
        memory.read_exact_at(&mut piece, at).ok()?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend(&piece[..end]);
            return String::from_utf8(text).ok();
        }
        at += piece.len() as u64;
        text.extend(piece);
    }
    None
}

/// What a call changes.
enum Target {
    Descriptor(u64),
    /// A path, at an address, from the directory that a descriptor leads to.
    Path(u64, u64),
}

/// The working directory, `AT_FDCWD`, as the kernel is given it.
const HERE: u64 = u64::MAX - 99;

/// The number of a descriptor, which has 32 bits, whatever is above.
fn descriptor_of(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// What this call changes; nothing where it changes no file.
fn target(number: i64, args: &[u64], memory: &File) -> Option<(&'static str, Target)> {
    use Target::Descriptor;
    use Target::Path;

    let opens = |flags: u64| {
        let changing =
            (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
        flags & changing != 0
    };
    Some(match number {
        libc::SYS_openat if opens(args[2]) => ("openat", Path(args[0], args[1])),
        libc::SYS_openat2 => {
            let mut flags = [0; 8];
            memory.read_exact_at(&mut flags, args[2]).ok()?;
            if !opens(u64::from_ne_bytes(flags)) {
                return None;
            }
            ("openat2", Path(args[0], args[1]))
        }
        libc::SYS_mkdirat => ("mkdirat", Path(args[0], args[1])),
        libc::SYS_unlinkat => ("unlinkat", Path(args[0], args[1])),
        libc::SYS_symlinkat => ("symlinkat", Path(args[1], args[2])),
        libc::SYS_linkat => ("linkat", Path(args[2], args[3])),
        libc::SYS_renameat | libc::SYS_renameat2 => ("renameat", Path(args[2], args[3])),
        libc::SYS_fchmodat => ("fchmodat", Path(args[0], args[1])),
        libc::SYS_utimensat if args[1] == 0 => ("utimensat", Descriptor(args[0])),
        libc::SYS_utimensat => ("utimensat", Path(args[0], args[1])),
        libc::SYS_write => ("write", Descriptor(args[0])),
        libc::SYS_pwrite64 => ("pwrite64", Descriptor(args[0])),
        libc::SYS_writev => ("writev", Descriptor(args[0])),
        libc::SYS_copy_file_range => ("copy_file_range", Descriptor(args[2])),
        libc::SYS_sendfile => ("sendfile", Descriptor(args[0])),
        libc::SYS_ftruncate => ("ftruncate", Descriptor(args[0])),
        libc::SYS_fallocate => ("fallocate", Descriptor(args[0])),
        libc::SYS_fchmod => ("fchmod", Descriptor(args[0])),
        libc::SYS_fchown => ("fchown", Descriptor(args[0])),
        libc::SYS_fsync => ("fsync", Descriptor(args[0])),
        libc::SYS_fdatasync => ("fdatasync", Descriptor(args[0])),
        libc::SYS_flock => ("flock", Descriptor(args[0])),
        libc::SYS_syncfs => ("syncfs", Descriptor(args[0])),
        _ => return older(number, args),
    })
}

/// The calls that only older processors have.
#[cfg(target_arch = "x86_64")]
fn older(number: i64, args: &[u64]) -> Option<(&'static str, Target)> {
    use Target::Path;

    let opens = |flags: u64| flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
    Some(match number {
        libc::SYS_open if opens(args[1]) => ("open", Path(HERE, args[0])),
        libc::SYS_creat => ("creat", Path(HERE, args[0])),
        libc::SYS_mkdir => ("mkdir", Path(HERE, args[0])),
        libc::SYS_rmdir => ("rmdir", Path(HERE, args[0])),
        libc::SYS_unlink => ("unlink", Path(HERE, args[0])),
        libc::SYS_symlink => ("symlink", Path(HERE, args[1])),
        libc::SYS_link => ("link", Path(HERE, args[1])),
        libc::SYS_rename => ("rename", Path(HERE, args[1])),
        libc::SYS_chmod => ("chmod", Path(HERE, args[0])),
        libc::SYS_truncate => ("truncate", Path(HERE, args[0])),
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_number: i64, _args: &[u64]) -> Option<(&'static str, Target)> {
    None
}

/// What a call of a thread changes beneath `folder`.
fn change(tid: i32, told: &[u64; 7], folder: &Path) -> Option<Change> {
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    let number = i64::from_ne_bytes(told[0].to_ne_bytes());
    let (call, target) = target(number, &told[1..], &memory)?;
    let of = |word: u64| PathBuf::from(format!("/proc/{tid}/fd/{}", descriptor_of(word)));
    let (path, inode) = match target {
        Target::Descriptor(descriptor) => {
            let link = of(descriptor);
            (fs::read_link(&link).ok()?, fs::metadata(link).ok().map(|found| found.ino()))
        }
        Target::Path(from, at) => {
            let from = match descriptor_of(from) {
                libc::AT_FDCWD => PathBuf::from(format!("/proc/{tid}/cwd")),
                _ => of(from),
            };
            (fs::read_link(from).ok()?.join(text_at(&memory, at)?), None)
        }
    };
    path.starts_with(folder).then_some(Change { number: 0, call, path, inode, done: false })
}

/// Runs a program to its end, and asks `before` each change what becomes of it. `after` is told of
/// each that was made.
#[expect(clippy::zombie_processes, reason = "`wait` waits for all of its group")]
pub(crate) fn traced(
    run: Run,
    folder: &Path,
    mut before: impl FnMut(&Change) -> Then,
    mut after: impl FnMut(&Change),
) -> Ended {
    // It waits to be traced, and only then becomes what it is to be.
    let mut command: Command = run.after("read go").command;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    ptrace(libc::PTRACE_SEIZE, pid, 0, usize::try_from(options).unwrap()).unwrap();
    ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();

    let mut changes = 0;
    let mut begun: BTreeMap<i32, Change> = BTreeMap::new();
    let mut failing: BTreeMap<i32, i32> = BTreeMap::new();
    let status = loop {
        let (tid, status) = wait(pid);
        if !libc::WIFSTOPPED(status) {
            if tid == pid {
                break status;
            }
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut deliver = 0;
        if signal == libc::SIGTRAP | 0x80 {
            match syscall_info(tid) {
                Ok((1, told)) => {
                    if let Some(mut change) = change(tid, &told, folder) {
                        // A lock is no change, and is told of as number zero.
                        if change.call != "flock" {
                            changes += 1;
                            change.number = changes;
                        }
                        match before(&change) {
                            Then::GoOn => {
                                begun.insert(tid, change);
                            }
                            Then::Kill => {
                                crate::support::signal(child.id(), "KILL");
                                continue;
                            }
                            Then::Fail(error) => {
                                set_register(tid, NUMBER, -1);
                                failing.insert(tid, error);
                            }
                        }
                    }
                }
                Ok((2, told)) => {
                    if let Some(error) = failing.remove(&tid) {
                        set_register(tid, RESULT, -i64::from(error));
                    } else if let Some(mut change) = begun.remove(&tid) {
                        change.done = 0 <= i64::from_ne_bytes(told[0].to_ne_bytes());
                        after(&change);
                    }
                }
                // It was killed meanwhile.
                _ => {}
            }
        } else if event == 0 {
            deliver = signal;
        }
        let _killed_meanwhile =
            ptrace(libc::PTRACE_SYSCALL, tid, 0, usize::try_from(deliver).unwrap());
    };
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    Ended { code, signal, changes, stderr }
}
