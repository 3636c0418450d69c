//! How a guest ended: a value, and not an error.

use std::fmt;

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself, with this code. Zero is success.
    Exited(u32),
    /// It did what no program may do.
    Trapped(Trap),
    /// It was told no when it asked for more memory, and ended of it.
    OutOfMemory(MemoryWall),
    /// Its time on the wall clock was over.
    Deadline,
    /// Its processor time was over.
    CpuTime,
    /// Its fuel was spent.
    Fuel,
    /// It wrote more than it may.
    Output,
    /// It was asked to stop, and did not end by itself within its grace.
    Stopped,
    /// It was killed, as if by this signal.
    Killed(i32),
    /// It was refused at its start: this says what it needed.
    Denied(String),
}

/// The wall that memory ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryWall {
    /// Aril's own total, before anything grew.
    Meter,
    /// The kernel's, when it already had.
    Cgroup,
}

impl MemoryWall {
    pub(super) const ALL: [Self; 2] = [Self::Meter, Self::Cgroup];

    /// The word for it in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Cgroup => "cgroup",
        }
    }
}

/// What a guest did that no program may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What it did.
    pub kind: TrapKind,
    /// The engine's sentence for it.
    pub message: String,
    /// The guest's calls at that moment, innermost first; at most 64.
    pub backtrace: Vec<Frame>,
}

/// One call of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, where the wasm has one; `$7` where it has none.
    pub function: String,
    /// The offset in the wasm file, in bytes, where it is known.
    pub offset: Option<u64>,
}

/// What a guest did that no program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// It executed `unreachable`: an abort, a panic, a failed assertion.
    Unreachable,
    /// It used memory that it does not have.
    MemoryOutOfBounds,
    /// It used a table element that does not exist.
    TableOutOfBounds,
    /// It called through a pointer to nothing, or to a function of another type.
    BadCall,
    /// It divided by zero, or overflowed in a way that has no result.
    Arithmetic,
    /// It called too deeply.
    StackOverflow,
    /// It asked for more of the host than the host holds for a guest.
    HostRefused,
    /// It waits for something that cannot happen.
    Deadlock,
    /// Anything else.
    Other,
}

impl TrapKind {
    pub(super) const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::MemoryOutOfBounds,
        Self::TableOutOfBounds,
        Self::BadCall,
        Self::Arithmetic,
        Self::StackOverflow,
        Self::HostRefused,
        Self::Deadlock,
        Self::Other,
    ];

    /// The word for it in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "memory_out_of_bounds",
            Self::TableOutOfBounds => "table_out_of_bounds",
            Self::BadCall => "bad_call",
            Self::Arithmetic => "arithmetic",
            Self::StackOverflow => "stack_overflow",
            Self::HostRefused => "host_refused",
            Self::Deadlock => "deadlock",
            Self::Other => "other",
        }
    }
}

/// What is in front of what was denied.
pub(super) const DENIED: &str = "denied at start: ";

impl Exit {
    /// The word for it in records.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Trapped(_) => "trapped",
            Self::OutOfMemory(_) => "out_of_memory",
            Self::Deadline => "deadline",
            Self::CpuTime => "cpu_time",
            Self::Fuel => "fuel",
            Self::Output => "output",
            Self::Stopped => "stopped",
            Self::Killed(_) => "killed",
            Self::Denied(_) => "denied",
        }
    }

    /// The code that a process which ran this guest ends with.
    ///
    /// The guest's own code is cut to its low eight bits, as every system does. A code may coincide
    /// with a guest's own: the reason tells.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(code) => code.to_le_bytes()[0],
            Self::Deadline | Self::CpuTime | Self::Fuel => 124,
            Self::Denied(_) => 126,
            Self::Trapped(_) => 134,
            Self::OutOfMemory(_) => 137,
            Self::Stopped => 143,
            Self::Output => 153,
            Self::Killed(signal) => {
                signal.checked_add(128).and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
            }
        }
    }

    /// Whether the host made the end.
    pub(crate) const fn was_ordered(&self) -> bool {
        match self {
            Self::Deadline | Self::CpuTime | Self::Stopped | Self::Killed(_) => true,
            Self::Exited(_)
            | Self::Trapped(_)
            | Self::OutOfMemory(_)
            | Self::Fuel
            | Self::Output
            | Self::Denied(_) => false,
        }
    }

    /// Whether the guest ended by itself and said that it succeeded.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Trapped(trap) => write!(f, "trapped: {}", trap.message),
            Self::OutOfMemory(MemoryWall::Meter) => f.write_str("out of memory (meter)"),
            Self::OutOfMemory(MemoryWall::Cgroup) => f.write_str("out of memory (cgroup)"),
            Self::Deadline => f.write_str("reached its deadline"),
            Self::CpuTime => f.write_str("used up its processor time"),
            Self::Fuel => f.write_str("used up its fuel"),
            Self::Output => f.write_str("wrote more than its output limit"),
            Self::Stopped => f.write_str("stopped"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
            Self::Denied(what) => write!(f, "{DENIED}{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_code() {
        let trap = Trap { kind: TrapKind::Other, message: String::new(), backtrace: Vec::new() };
        for (exit, code) in [
            (Exit::Exited(0), 0),
            (Exit::Exited(200), 200),
            (Exit::Exited(256), 0),
            (Exit::Exited(257), 1),
            (Exit::Deadline, 124),
            (Exit::CpuTime, 124),
            (Exit::Fuel, 124),
            (Exit::Denied(String::new()), 126),
            (Exit::Trapped(trap), 134),
            (Exit::OutOfMemory(MemoryWall::Meter), 137),
            (Exit::Killed(9), 137),
            (Exit::Killed(2), 130),
            (Exit::Killed(i32::MAX), 255),
            (Exit::Stopped, 143),
            (Exit::Output, 153),
        ] {
            assert_eq!(exit.code(), code, "{exit}");
        }
    }
}
