//! The shim of containerd, `containerd-shim-aril-v1`: how it is called, and how it answers.

pub mod bootstrap;
pub mod flags;
