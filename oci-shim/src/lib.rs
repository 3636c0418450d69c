//! The doors of container engines: `containerd-shim-aril-v1` and `aril-oci`.
//!
//! Only this crate knows containers, tasks and bundles: it translates them into the `aril` library's
//! specs, and the library's ends into theirs.

pub mod bundle;
mod guest;
mod hooks;
pub mod native;
pub mod oci;
mod platform;
pub mod shim;
mod signals;
