//! Why a limit cannot be held.

use crate::units::Bytes;

use super::HOST_HELD;
use super::STACK_MAX;
use super::STACK_MIN;

/// A limit that cannot be held as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Zero of something is not a limit but a refusal to start.
    #[error("a `{name}` limit of zero lets nothing run; leave it out for the default")]
    Zero {
        /// The limit's name.
        name: &'static str,
    },
    /// The memory does not even hold what the host keeps for a guest.
    #[error(
        "a memory limit of {amount} leaves the guest nothing: {HOST_HELD} of it is what the host \
         holds for the guest"
    )]
    MemoryTooSmall {
        /// What was asked for.
        amount: Bytes,
    },
    /// The stack is out of range.
    #[error("a stack of {amount} is out of range: it can be from {STACK_MIN} to {STACK_MAX}")]
    Stack {
        /// What was asked for.
        amount: Bytes,
    },
    /// A limit is out of range, or makes no sense beside another one.
    #[error("a `{name}` limit of {amount} is out of range: {range}")]
    OutOfRange {
        /// The limit's name.
        name: &'static str,
        /// What was asked for.
        amount: String,
        /// What can be.
        range: String,
    },
    /// A native stack always ends somewhere.
    #[error("a stack cannot be unlimited: it can be from {STACK_MIN} to {STACK_MAX}")]
    UnlimitedStack,
    /// This way of running a guest cannot hold the limit.
    #[error("this host cannot hold the `{name}` limit here: {missing}")]
    NoRung {
        /// The limit's name.
        name: &'static str,
        /// What is missing, and what to do.
        missing: String,
    },
    /// The limit is fixed at launch.
    #[error("the `{name}` limit is fixed at launch; start another sandbox to change it")]
    Fixed {
        /// The limit's name.
        name: &'static str,
    },
}
