//! Namespaces of a process's own: none here.

use std::fs::File;
use std::io;

use crate::platform::Lack;
use crate::platform::Reach;

/// Which namespaces are wanted. That of mounts comes with an empty root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of its own")]
pub(crate) struct Namespaces {
    pub(crate) user: bool,
    pub(crate) mount: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
}

/// What became of each: nothing for one that was not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) user: Option<Result<String, Lack>>,
    pub(crate) mount: Option<Result<String, Lack>>,
    pub(crate) ipc: Option<Result<String, Lack>>,
    pub(crate) uts: Option<Result<String, Lack>>,
}

/// Nothing: this platform has no namespaces, so that `within` is not called.
pub(crate) fn enter(wanted: Namespaces, _within: impl FnOnce() -> usize) -> Entered {
    let tried = |wanted: bool| {
        let reason = "this platform has no namespaces".to_owned();
        wanted.then_some(Err(Lack { reason, remedy: "use Linux" }))
    };
    Entered {
        user: tried(wanted.user),
        mount: tried(wanted.mount),
        ipc: tried(wanted.ipc),
        uts: tried(wanted.uts),
    }
}

/// None: nothing is mounted here.
pub(crate) fn seclude(_grants: &[(&File, Reach)]) -> usize {
    0
}

/// What [`enter`] would find.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(crate) fn probe(wanted: Namespaces) -> io::Result<Entered> {
    Ok(enter(wanted, || 0))
}
