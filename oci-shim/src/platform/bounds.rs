//! What this process may have, and hands on to those that it starts.

use rustix::process::Resource;
use rustix::process::Rlimit;

/// How many descriptors a process has for itself beside those that are counted.
const OWN: u64 = 128;

/// Lets processes that are started from here have so many files open, where this one may say so: an engine
/// asks for what it had itself, and may have given less to who it calls. Who may not is told when the
/// guest is launched.
pub(crate) fn allow_open_files(count: u32) {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let wanted = u64::from(count).saturating_add(OWN);
    if now.maximum.is_some_and(|most| most < wanted) {
        let raised = Rlimit { current: now.current, maximum: Some(wanted) };
        let _not_allowed = rustix::process::setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bound_is_lowered() {
        let before = rustix::process::getrlimit(Resource::Nofile);
        allow_open_files(1);
        let after = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.current, before.maximum));
    }
}
