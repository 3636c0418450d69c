//! What a guest used.

use std::time::Duration;

use crate::units::Bytes;

/// What a guest used, up to the moment of asking, or to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Time on the wall clock since launch, also while the guest was paused.
    pub elapsed: Duration,
    /// Processor time of the guest, and of the host on its behalf; in a shared process without what
    /// file calls take on tokio's own threads.
    pub cpu_time: Duration,
    /// Memory now, as the memory limit counts it.
    pub memory: Bytes,
    /// The most memory at any moment.
    pub memory_peak: Bytes,
    /// How often the guest asked for more memory and was told no.
    pub memory_refusals: u64,
    /// Bytes read from standard input.
    pub bytes_in: u64,
    /// Bytes written to standard output and standard error.
    pub bytes_out: u64,
    /// Units of work, where a fuel limit is set, once the guest has ended. Where the end came from
    /// outside, up to a million less than it was; nothing where the process ended with it.
    pub fuel: Option<u64>,
    /// Calls of the guest to the host.
    pub host_calls: u64,
    /// Times that the guest was refused something it was not granted.
    pub denials: u64,
    /// Time from launch to the guest's first instruction, once it got there.
    pub first_instruction: Option<Duration>,
    /// Bytes in files of the guest's own, where a limit holds them.
    pub disk: Option<Bytes>,
    /// What the control group of its process counts; nothing where it has none.
    pub group: Option<GroupStats>,
}

/// What the kernel counts for the guest's process as a whole: the guest, and what runs it. A group
/// counts what it is held to, and what comes with that: on cgroup v1 memory, and processors, processes
/// and devices where there is a limit on them; on v2 all that is handed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Memory in use now, without content of files that was not used lately. After the guest's end,
    /// what is left of files.
    pub memory: Option<Bytes>,
    /// The most memory that there was at any moment, with all content of files. Linux before 5.19
    /// does not tell on v2.
    pub memory_peak: Option<Bytes>,
    /// What was swapped out, where the kernel counts that.
    pub swap: Option<Bytes>,
    /// Processor time in programs.
    pub cpu_user: Option<Duration>,
    /// Processor time in the kernel.
    pub cpu_system: Option<Duration>,
    /// How many periods of its share of processors there were in which it wanted to run.
    pub periods: Option<u64>,
    /// In how many of them it used all of its share.
    pub throttled_periods: Option<u64>,
    /// How long it stood still for that.
    pub throttled: Option<Duration>,
    /// Processes and threads now: none after the end.
    pub pids: Option<u64>,
    /// Bytes read from devices.
    pub read: Option<Bytes>,
    /// Bytes written to devices; on cgroup v1 without what was written by way of memory.
    pub written: Option<Bytes>,
    /// How often something was read from a device.
    pub reads: Option<u64>,
    /// How often something was written to a device.
    pub writes: Option<u64>,
}
