//! Linux.

pub(crate) mod calls;
#[cfg_attr(not(test), expect(dead_code, reason = "the keeper of a guest's process will use it"))]
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod landlock;
pub(crate) mod machine;
pub(crate) mod namespaces;
#[cfg(test)]
pub(crate) mod native;
pub(crate) mod overlay;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod stdio;
pub(crate) mod tree;
