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
}
