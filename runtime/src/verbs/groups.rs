//! What is left of a guest that a process kept which is no more.

use std::time::Duration;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::platform::cgroup::Cgroups;

use super::residents::failed;

/// How long what was killed may take to be gone.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// Ends all that is in the control group at this path, as
/// [`SandboxSpec::control_group`](crate::SandboxSpec::control_group) takes it, and removes it: for those
/// who clear behind a process that was killed. One that is not there is as good as removed.
///
/// # Errors
///
/// Fails where it cannot be removed within five seconds.
pub fn clear_control_group(path: &str) -> Result<(), Error> {
    Cgroups::clear_at(path, ENDING_MAX).map_err(|error| {
        let reason = crate::error::whole(&error);
        failed("clear", format!("the control group `{path}`"), ErrorKind::Unavailable, reason)
    })
}
