//! Linux.

pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod overlay;
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod stdio;
pub(crate) mod tree;
