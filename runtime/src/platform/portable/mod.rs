//! Any system: what the standard library gives, and a sentence for what it does not.

pub(crate) mod child;
pub(crate) mod calls;
#[expect(dead_code, reason = "nothing can be made of it here")]
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod landlock;
pub(crate) mod machine;
pub(crate) mod numbers;
pub(crate) mod mounts;
pub(crate) mod namespaces;
#[cfg(any(test, feature = "hostile"))]
pub(crate) mod native;
pub(crate) mod overlay;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod room;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod spare;
pub(crate) mod start;
pub(crate) mod stdio;
pub(crate) mod terminal;
pub(crate) mod tree;
pub(crate) mod twin;
