//! What only an operating system gives a shim: processes of others, their groups, mounts, terminals and
//! FIFOs.
//!
//! No other room of this crate names an operating system or opens `unsafe`.

pub(crate) mod bounds;
pub(crate) mod console;
pub(crate) mod fifo;
pub(crate) mod folders;
pub(crate) mod groups;
pub(crate) mod inherit;
pub(crate) mod mounts;
pub(crate) mod places;
pub(crate) mod processes;
pub(crate) mod pty;
pub(crate) mod reaper;
pub(crate) mod root;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod stdio;
pub(crate) mod talk;
#[cfg(test)]
pub(crate) mod traces;
