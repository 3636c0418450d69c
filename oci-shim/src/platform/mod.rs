//! What only an operating system gives a shim: processes of others, their groups, mounts and FIFOs.
//!
//! No other room of this crate names an operating system or opens `unsafe`.

pub(crate) mod groups;
pub(crate) mod mounts;
pub(crate) mod processes;
pub(crate) mod root;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod stdio;
