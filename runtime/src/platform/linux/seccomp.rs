//! The list of system calls that are left to this process: what a runner of one guest needs.
//!
//! The program that the kernel checks each call with is made when this crate is compiled.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

use libc::c_int;
use libc::c_long;
use libc::sock_filter;

use crate::platform::Lack;
use crate::platform::Threads;

use super::calls::ALLOWED;
use super::calls::CHECKED;
use super::calls::Check;
use super::calls::HIDDEN;
use super::calls::KILLED;
use super::calls::LEASH;
use super::calls::THREAD;

/// Leaves to this process, on all its threads, the calls of the list alone.
///
/// A call that is not in it is the process's last: its number is written to `report`, as
/// [`Trapped`](super::calls::Trapped) reads it, and the process ends by the signal `SIGSYS`. One that only an attack makes
/// ends it without a word. `report` must stay open. `leash` is a descriptor that no call closes or
/// changes from here on.
///
/// The flag by which a filter asks for less protection against speculation is not set: kernels
/// since 5.16 do not slow a filtered process down, and what an older one does by its own default
/// is its owner's decision.
pub(crate) fn restrict(
    report: &File,
    leash: Option<&File>,
    threads: Threads,
) -> Result<String, Lack> {
    REPORT.store(report.as_raw_fd(), Relaxed);
    let leash = leash.map_or(LEASH, |leash| leash.as_raw_fd().cast_unsigned());
    try_restrict(leash, threads).map_err(|error| {
        let remedy = match error.raw_os_error() {
            Some(libc::EACCES) => "do not leave `no_new_privs` out",
            _ => REMEDY,
        };
        Lack { reason: format!("the kernel takes no filter: {error}"), remedy }
    })?;
    Ok(described(threads))
}

/// What to do where there is no seccomp.
const REMEDY: &str = "use a kernel of Linux 4.14 or newer with `CONFIG_SECCOMP_FILTER`, and let \
                      processes set filters";

fn described(threads: Threads) -> String {
    // One of the checked calls is the one that makes threads.
    let calls = ALLOWED.len() + CHECKED.len() - 1;
    match threads {
        Threads::None => format!("{calls} calls are left"),
        Threads::More => format!("{calls} calls are left, and threads"),
    }
}

fn try_restrict(leash: u32, threads: Threads) -> io::Result<()> {
    handle_traps()?;
    let mut program = match threads {
        Threads::None => PROGRAM,
        Threads::More => PROGRAM_WITH_THREADS,
    };
    // What may be sent to this process itself alone cannot be known before it exists, and neither can
    // the number of a descriptor.
    let own = rustix::process::getpid().as_raw_pid().cast_unsigned();
    for step in &mut program {
        for (stands_in, number) in [(OWN_PROCESS, own), (LEASH, leash)] {
            if compares_with(*step, stands_in) {
                *step = jump(libc::BPF_JEQ, number, step.jt, step.jf);
                break;
            }
        }
    }
    let described = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    // JUSTIFICATION: there is no safe wrapper that takes a program.
    // SAFETY: the description and the program that it points to live through the call, which
    // copies them.
    #[expect(unsafe_code, reason = "sets a filter of system calls")]
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const described,
        )
    };
    match set {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has a filter of its own"))),
    }
}

/// What [`restrict`] would find, without doing it.
pub(crate) fn probe() -> Result<String, Lack> {
    for action in [libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_KILL_PROCESS] {
        // SAFETY: with this operation the call reads one number, which lives through it.
        #[expect(unsafe_code, reason = "asks whether the kernel knows an action")]
        let known = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
        };
        if known != 0 {
            let error = io::Error::last_os_error();
            return Err(Lack {
                reason: format!("the kernel has no filters: {error}"),
                remedy: REMEDY,
            });
        }
    }
    Ok(described(Threads::None))
}

/// Where the last call is written to.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// How the kernel tells of a call that was trapped: `siginfo_t`, as it is for `SIGSYS`.
#[repr(C)]
struct TrapInfo {
    signal: c_int,
    error: c_int,
    code: c_int,
    address: *const libc::c_void,
    number: c_int,
    architecture: libc::c_uint,
}

fn handle_traps() -> io::Result<()> {
    // JUSTIFICATION: rustix sets no signals.
    // SAFETY: all zeros is a value of this structure of numbers.
    #[expect(unsafe_code, reason = "makes an empty description of a handler")]
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *const TrapInfo, *const libc::c_void) = trapped;
    action.sa_sigaction = handler as *const () as usize;
    // On the stack for handlers: a guest's own may be used up.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the description lives through the call; `trapped` has the arguments that the flag
    // `SA_SIGINFO` promises, and does only what a handler may.
    #[expect(unsafe_code, reason = "sets a handler")]
    let set = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the number of the call down, and ends the process. Makes system calls and nothing else.
extern "C" fn trapped(_signal: c_int, info: *const TrapInfo, _context: *const libc::c_void) {
    // SAFETY: the kernel calls this with a `siginfo_t` that lives until it returns, which is
    // larger than this; what is no number in it for another reason to be called is some number.
    #[expect(unsafe_code, reason = "reads what the kernel tells a handler")]
    let number = unsafe { (*info).number };
    let bytes = number.to_le_bytes();
    // SAFETY: writes some bytes that live through the call. A descriptor that is not open is an
    // error.
    #[expect(unsafe_code, reason = "writes the number of the call")]
    unsafe {
        libc::write(REPORT.load(Relaxed), bytes.as_ptr().cast(), bytes.len());
    }
    // This call ends the process, by the very signal, wherever a filter is set.
    // SAFETY: with this operation, of no process, it does nothing where none is.
    #[expect(unsafe_code, reason = "makes a call that ends the process")]
    unsafe {
        libc::syscall(libc::SYS_ptrace, -1, 0, 0, 0);
    }
    super::process::exit_now(TRAPPED_CODE)
}

/// The code of a process that was told of a trap and has no filter: 128 and the signal.
const TRAPPED_CODE: u8 = 159;

/// The architecture that the numbers of calls are of.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// From where on numbers are of another way to call on the same architecture: x32. No number of
/// any other reaches as far.
const FOREIGN_NUMBERS: u32 = 0x4000_0000;

/// Where a program finds what a call is: `struct seccomp_data`.
const DATA_NUMBER: u32 = 0;
const DATA_ARCHITECTURE: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;

/// The lower half of an argument: what the kernel takes of one that it has as `int`.
const fn argument(index: u8) -> u32 {
    let upper_first = if cfg!(target_endian = "big") { 4 } else { 0 };
    DATA_ARGUMENTS + 8 * index as u32 + upper_first
}

#[expect(clippy::cast_possible_truncation, reason = "codes of BPF have 16 bits")]
const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[expect(clippy::cast_possible_truncation, reason = "codes of BPF have 16 bits")]
const fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | condition | libc::BPF_K) as u16, jt, jf, k }
}

const fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const fn answer(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

/// Stands for this process's number until that is known. No process and no call has it.
const OWN_PROCESS: u32 = u32::MAX - 1;

fn compares_with(step: sock_filter, number: u32) -> bool {
    u32::from(step.code) == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K && step.k == number
}

/// What a thread is answered that may not be made: as if there were too many.
const NO_THREAD: u32 = libc::SECCOMP_RET_ERRNO | libc::EAGAIN.cast_unsigned();

/// What a call is answered that is not there.
const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

/// The number of a call that a tracer has taken away, so that the kernel makes none.
const NO_CALL: u32 = u32::MAX;

/// Numbers end below this, for all calls that Linux has or will have soon.
const NUMBERS: usize = 1024;

/// What is answered to a call of a number, and of those above it up to the next range.
#[derive(Clone, Copy)]
struct Range {
    from: u32,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Answer {
    Always(u32),
    /// What this check of the table says.
    Check(usize),
}

impl Answer {
    const fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Always(one), Self::Always(other)) => one == other,
            _ => false,
        }
    }
}

/// What is answered to each number.
const fn answers() -> [Answer; NUMBERS] {
    let mut answers = [Answer::Always(libc::SECCOMP_RET_TRAP); NUMBERS];
    let mut i = 0;
    while i < ALLOWED.len() {
        answers[number(ALLOWED[i]) as usize] = Answer::Always(libc::SECCOMP_RET_ALLOW);
        i += 1;
    }
    i = 0;
    while i < KILLED.len() {
        answers[number(KILLED[i]) as usize] = Answer::Always(libc::SECCOMP_RET_KILL_PROCESS);
        i += 1;
    }
    i = 0;
    while i < CHECKED.len() {
        answers[number(CHECKED[i].0) as usize] = Answer::Check(i);
        i += 1;
    }
    answers[number(HIDDEN) as usize] = Answer::Always(NOT_THERE);
    answers
}

/// More than there are ranges, and more than there are steps.
const STEPS_MAX: usize = 512;

/// The ranges in their order, and how many they are.
#[expect(clippy::cast_possible_truncation, reason = "numbers are small")]
const RANGES: ([Range; STEPS_MAX], usize) = {
    let answers = answers();
    let mut ranges = [Range { from: 0, answer: answers[0] }; STEPS_MAX];
    let (mut count, mut at) = (1, 1);
    while at < NUMBERS {
        if !answers[at].is(answers[at - 1]) {
            ranges[count] = Range { from: at as u32, answer: answers[at] };
            count += 1;
        }
        at += 1;
    }
    let kill = Answer::Always(libc::SECCOMP_RET_KILL_PROCESS);
    ranges[count] = Range { from: FOREIGN_NUMBERS, answer: kill };
    let allow = Answer::Always(libc::SECCOMP_RET_ALLOW);
    ranges[count + 1] = Range { from: NO_CALL, answer: allow };
    (ranges, count + 2)
};

/// A program as it is written, and how long it is so far.
struct Draft {
    steps: [sock_filter; STEPS_MAX],
    length: usize,
    /// What a thread is answered.
    thread: u32,
}

impl Draft {
    /// The program, where a thread is answered so.
    ///
    /// A call is found by halves. Where a kernel takes a program, it works out beforehand what is
    /// answered to each number (since 5.11, and does not run it then for what depends on the
    /// number alone): with a list from one end to the other that takes half a millisecond of
    /// each start, ten times as long.
    const fn program(thread: u32) -> Self {
        let steps = [answer(libc::SECCOMP_RET_KILL_PROCESS); STEPS_MAX];
        let mut draft = Self { steps, length: 4, thread };
        draft.steps[0] = load(DATA_ARCHITECTURE);
        draft.steps[1] = jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0);
        // 2: another architecture ends it.
        draft.steps[3] = load(DATA_NUMBER);
        draft.write(0, RANGES.1);
        draft
    }

    /// Writes what answers the ranges from `first` to before `last`.
    const fn write(&mut self, first: usize, last: usize) {
        if last - first == 1 {
            return self.write_answer(RANGES.0[first].answer);
        }
        let middle = first + (last - first) / 2;
        let at = self.length;
        self.length += 1;
        self.write(first, middle);
        let upper = distance(at, self.length);
        self.steps[at] = jump(libc::BPF_JGE, RANGES.0[middle].from, upper, 0);
        self.write(middle, last);
    }

    const fn write_answer(&mut self, given: Answer) {
        match given {
            Answer::Always(action) => {
                self.steps[self.length] = answer(action);
                self.length += 1;
            }
            Answer::Check(i) => {
                CHECKED[i].1.write(&mut self.steps, self.length, self.thread);
                self.length += CHECKED[i].1.steps();
            }
        }
    }
}

const LENGTH: usize = Draft::program(NO_THREAD).length;

const fn whole(draft: &Draft) -> [sock_filter; LENGTH] {
    let mut program = [answer(libc::SECCOMP_RET_KILL_PROCESS); LENGTH];
    let mut at = 0;
    while at < LENGTH {
        program[at] = draft.steps[at];
        at += 1;
    }
    program
}

const PROGRAM: [sock_filter; LENGTH] = whole(&Draft::program(NO_THREAD));
const PROGRAM_WITH_THREADS: [sock_filter; LENGTH] = whole(&Draft::program(libc::SECCOMP_RET_ALLOW));

/// How far a jump is: what is skipped. One byte must hold it.
#[expect(clippy::cast_possible_truncation, reason = "checked right here, at compile time")]
const fn distance(from: usize, to: usize) -> u8 {
    let steps = to - from - 1;
    assert!(steps <= u8::MAX as usize, "the list is too long for a jump");
    steps as u8
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
const fn number(call: c_long) -> u32 {
    assert!(0 <= call && call < FOREIGN_NUMBERS as c_long, "a number of a call");
    call as u32
}

impl Check {
    /// How many steps it takes: to look at an argument, and to answer.
    const fn steps(&self) -> usize {
        match self {
            Self::Without { .. } | Self::Not { .. } | Self::Own { .. } | Self::Thread => 4,
            Self::OneOf { values, .. } => values.len() + 3,
            Self::OneOfUnleashed { values, .. } => values.len() + 5,
            Self::Null { .. } | Self::WithoutEither { .. } => 6,
            Self::Nulls { .. } => 10,
        }
    }

    /// Writes it. Its last steps are the two answers: to trap, and to allow.
    const fn write(&self, program: &mut [sock_filter; STEPS_MAX], at: usize, thread: u32) {
        let end = at + self.steps();
        let (allow, trap) = (end - 1, end - 2);
        program[trap] = answer(libc::SECCOMP_RET_TRAP);
        program[allow] = answer(libc::SECCOMP_RET_ALLOW);
        match self {
            Self::Without { argument: index, bits } => {
                program[at] = load(argument(*index));
                program[at + 1] = jump(libc::BPF_JSET, *bits, 0, 1);
            }
            Self::WithoutEither { first, second } => {
                program[at] = load(argument(first.0));
                program[at + 1] = jump(libc::BPF_JSET, first.1, 2, 0);
                program[at + 2] = load(argument(second.0));
                program[at + 3] = jump(libc::BPF_JSET, second.1, 0, 1);
            }
            Self::Not { argument: index, value } => {
                program[at] = load(argument(*index));
                program[at + 1] = jump(libc::BPF_JEQ, *value, 0, 1);
            }
            Self::OneOf { argument: index, values } => {
                write_one_of(program, at, *index, values, allow);
            }
            Self::OneOfUnleashed { argument: index, values } => {
                program[at] = load(argument(0));
                program[at + 1] = jump(libc::BPF_JEQ, LEASH, distance(at + 1, trap), 0);
                write_one_of(program, at + 2, *index, values, allow);
            }
            Self::Own { argument: index } => {
                program[at] = load(argument(*index));
                program[at + 1] = jump(libc::BPF_JEQ, OWN_PROCESS, 1, 0);
            }
            Self::Null { argument: index } => {
                program[at] = load(argument(*index));
                program[at + 1] = jump(libc::BPF_JEQ, 0, 0, 2);
                program[at + 2] = load(argument(*index) ^ 4);
                program[at + 3] = jump(libc::BPF_JEQ, 0, 1, 0);
            }
            Self::Nulls { arguments: [first, second] } => {
                let halves = [
                    argument(*first),
                    argument(*first) ^ 4,
                    argument(*second),
                    argument(*second) ^ 4,
                ];
                let mut i = 0;
                while i < halves.len() {
                    let step = at + 2 * i + 1;
                    program[step - 1] = load(halves[i]);
                    let is_last = i + 1 == halves.len();
                    let next = if is_last { distance(step, allow) } else { 0 };
                    program[step] = jump(libc::BPF_JEQ, 0, next, distance(step, trap));
                    i += 1;
                }
            }
            Self::Thread => {
                program[at] = load(argument(0));
                program[at + 1] = jump(libc::BPF_JEQ, THREAD, 1, 0);
                program[allow] = answer(thread);
            }
        }
    }
}

/// Writes the steps that allow a call where an argument is one of these.
const fn write_one_of(
    program: &mut [sock_filter; STEPS_MAX],
    at: usize,
    index: u8,
    values: &[u32],
    allow: usize,
) {
    program[at] = load(argument(index));
    let mut i = 0;
    while i < values.len() {
        let step = at + 1 + i;
        program[step] = jump(libc::BPF_JEQ, values[i], distance(step, allow), 0);
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, and in how many steps.
    fn run(architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        run_in(&PROGRAM, architecture, number, arguments)
    }

    fn run_in(
        program: &[sock_filter],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> (u32, usize) {
        let word = |offset: u32| match offset {
            DATA_NUMBER => number,
            DATA_ARCHITECTURE => architecture,
            _ => {
                let argument = arguments[usize::try_from((offset - DATA_ARGUMENTS) / 8).unwrap()];
                let half = if offset.is_multiple_of(8) { argument } else { argument >> 32 };
                u32::try_from(half & u64::from(u32::MAX)).unwrap()
            }
        };
        let (mut a, mut at, mut steps) = (0, 0, 0);
        loop {
            let step = program[at];
            steps += 1;
            at += 1;
            let code = u32::from(step.code);
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                a = word(step.k);
            } else if code == libc::BPF_RET | libc::BPF_K {
                return (step.k, steps);
            } else {
                let holds = match code & !libc::BPF_JMP {
                    libc::BPF_JEQ => a == step.k,
                    libc::BPF_JGE => step.k <= a,
                    libc::BPF_JSET => a & step.k != 0,
                    other => panic!("an unknown step {other}"),
                };
                at += usize::from(if holds { step.jt } else { step.jf });
            }
        }
    }

    fn says(call: c_long, arguments: [u64; 6]) -> u32 {
        run(ARCHITECTURE, number(call), arguments).0
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const TRAP: u32 = libc::SECCOMP_RET_TRAP;
    const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

    /// An argument at its place.
    fn with(index: usize, value: u64) -> [u64; 6] {
        let mut arguments = [0; 6];
        arguments[index] = value;
        arguments
    }

    #[test]
    fn every_call_is_answered_as_the_table_says_and_what_is_in_no_table_is_trapped() {
        for call in 0..1024 {
            let is_checked = CHECKED.iter().any(|(checked, _)| *checked == call);
            let expected = match call {
                _ if ALLOWED.contains(&call) => ALLOW,
                _ if KILLED.contains(&call) => KILL,
                _ if is_checked => continue,
                HIDDEN => NOT_THERE,
                _ => TRAP,
            };
            assert_eq!(says(call, [0; 6]), expected, "call {call}");
            assert_eq!(says(call, [u64::MAX; 6]), expected, "call {call}");
        }
    }

    #[test]
    fn a_thread_is_made_where_that_is_allowed_and_a_process_never() {
        let makes = |program: &[sock_filter], flags: u32| {
            run_in(program, ARCHITECTURE, number(libc::SYS_clone), with(0, u64::from(flags))).0
        };
        assert_eq!(makes(&PROGRAM, THREAD), NO_THREAD);
        assert_eq!(makes(&PROGRAM_WITH_THREADS, THREAD), ALLOW);
        let namespace = libc::CLONE_NEWUSER.cast_unsigned();
        for program in [&PROGRAM, &PROGRAM_WITH_THREADS] {
            for flags in [0, 17, 0x4100, THREAD | namespace, THREAD & !0x1_0000] {
                assert_eq!(makes(program, flags), TRAP, "{flags:#x}");
            }
        }
    }

    #[test]
    fn a_call_that_a_tracer_took_away_is_none() {
        assert_eq!(run(ARCHITECTURE, NO_CALL, [0; 6]).0, ALLOW);
    }

    #[test]
    fn no_call_is_in_two_tables() {
        let mut all: Vec<c_long> = CHECKED.iter().map(|(call, _)| *call).collect();
        all.extend(ALLOWED.iter().chain(KILLED).chain([&HIDDEN]));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn another_architecture_and_numbers_of_another_way_to_call_end_the_process() {
        let i386 = 0x4000_0003;
        for call in [0, 1, 11, 59, 231] {
            assert_eq!(run(i386, call, [0; 6]).0, KILL);
            assert_eq!(run(ARCHITECTURE, call | FOREIGN_NUMBERS, [0; 6]).0, KILL);
            assert_eq!(run(ARCHITECTURE, call | 0xc000_0000, [0; 6]).0, KILL);
        }
    }

    #[test]
    fn nothing_becomes_executable() {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert_eq!(says(call, with(2, 3)), ALLOW);
            assert_eq!(says(call, with(2, 5)), TRAP);
            assert_eq!(says(call, with(2, 7 | 1 << 40)), TRAP);
        }
        assert_eq!(says(libc::SYS_pkey_mprotect, [0; 6]), TRAP);
    }

    #[test]
    fn a_terminal_is_asked_and_never_typed_into() {
        let asks = |request: u64| says(libc::SYS_ioctl, with(1, request));
        assert_eq!(asks(libc::TCGETS), ALLOW);
        assert_eq!(asks(libc::TIOCSTI), TRAP);
        // The kernel takes 32 bits: what is above them must not hide the number.
        assert_eq!(asks(libc::TIOCSTI | 1 << 32), TRAP);
        assert_eq!(asks(libc::TCGETS | 1 << 32), ALLOW);
    }

    #[test]
    fn nobody_else_is_addressed() {
        assert_eq!(says(libc::SYS_sendto, with(4, 0)), ALLOW);
        assert_eq!(says(libc::SYS_sendto, with(4, 0x1000)), TRAP);
        assert_eq!(says(libc::SYS_sendto, with(4, 1 << 32)), TRAP);
        assert_eq!(says(libc::SYS_prlimit64, with(2, 0)), ALLOW);
        assert_eq!(says(libc::SYS_prlimit64, with(0, 1)), TRAP, "another process");
        assert_eq!(says(libc::SYS_prlimit64, with(2, 1 << 32)), TRAP);
        assert_eq!(says(libc::SYS_prlimit64, with(2, 0x1000)), TRAP, "a new bound");
        assert_eq!(says(libc::SYS_tgkill, with(0, u64::from(OWN_PROCESS))), ALLOW);
        assert_eq!(says(libc::SYS_tgkill, with(0, 1)), TRAP);
        assert_eq!(says(libc::SYS_fcntl, with(1, 8)), TRAP, "F_SETOWN");
    }

    #[test]
    fn what_stands_for_a_number_stands_where_it_is_compared_and_nowhere_else() {
        let count =
            |number| PROGRAM.into_iter().filter(|step| compares_with(*step, number)).count();
        assert_eq!((count(OWN_PROCESS), count(LEASH)), (1, 2));
        let anywhere = PROGRAM.iter().filter(|step| [OWN_PROCESS, LEASH].contains(&step.k));
        assert_eq!(anywhere.count(), 3);
    }

    #[test]
    fn the_leash_and_the_handler_of_traps_stay_as_they_are() {
        let get_flags = libc::F_GETFL.cast_unsigned().into();
        for number in [0, 3, 1000] {
            assert_eq!(says(libc::SYS_close, with(0, number)), ALLOW);
            assert_eq!(says(libc::SYS_fcntl, [number, get_flags, 0, 0, 0, 0]), ALLOW);
        }
        for leash in [LEASH.into(), u64::from(LEASH) | 1 << 32] {
            assert_eq!(says(libc::SYS_close, with(0, leash)), TRAP);
            assert_eq!(says(libc::SYS_fcntl, [leash, get_flags, 0, 0, 0, 0]), TRAP);
        }
        let handled =
            |signal: i32| says(libc::SYS_rt_sigaction, with(0, signal.cast_unsigned().into()));
        assert_eq!((handled(libc::SIGSEGV), handled(libc::SIGSYS)), (ALLOW, TRAP));
    }

    #[test]
    fn memory_that_no_bound_counts_is_not_mapped() {
        let maps = |flags: i32| says(libc::SYS_mmap, with(3, flags.cast_unsigned().into()));
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        assert_eq!(maps(private | libc::MAP_STACK | libc::MAP_NORESERVE), ALLOW);
        for flags in [libc::MAP_SHARED, libc::MAP_SHARED_VALIDATE, private | libc::MAP_GROWSDOWN] {
            assert_eq!(maps(flags | libc::MAP_ANONYMOUS), TRAP, "{flags:#x}");
        }
    }

    #[test]
    fn times_are_those_of_an_open_file() {
        assert_eq!(says(libc::SYS_utimensat, with(1, 0)), ALLOW);
        assert_eq!(says(libc::SYS_utimensat, with(1, 4096)), TRAP);
        assert_eq!(says(libc::SYS_utimensat, with(1, 1 << 32)), TRAP);
    }

    #[test]
    fn every_call_is_answered_in_a_few_steps() {
        // What starts with it pays for the steps of all calls together.
        for call in 0..1024 {
            let (_, steps) = run(ARCHITECTURE, call, [u64::MAX; 6]);
            assert!(steps <= 3 + 8 + 9, "call {call} takes {steps} steps");
        }
    }
}
