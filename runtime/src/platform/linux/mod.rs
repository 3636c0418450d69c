//! Linux.

pub(crate) mod child;
pub(crate) mod calls;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "pauses, statistics and records come with sandboxes that go on alone"
    )
)]
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod landlock;
pub(crate) mod machine;
pub(crate) mod numbers;
pub(crate) mod mounts;
pub(crate) mod namespaces;
#[cfg(any(test, feature = "hostile"))]
#[cfg_attr(not(test), expect(dead_code, reason = "a hostile worker makes calls, and no tests"))]
#[expect(clippy::unwrap_used, clippy::panic, reason = "for tests alone, which fail by panicking")]
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
