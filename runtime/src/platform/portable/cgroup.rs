//! Control groups: this platform has none, and each call says so.

use std::fs::File;
use std::io;
use std::time::Duration;

use crate::platform::groups::Bound;
use crate::platform::groups::Controller;
use crate::platform::groups::CpuLimits;
use crate::platform::groups::GroupError;
use crate::platform::groups::GroupRecord;
use crate::platform::groups::IoLimits;
use crate::platform::groups::Layout;
use crate::platform::groups::MemoryLimits;
use crate::platform::groups::Missing;
use crate::platform::groups::Usage;

/// That there are none.
#[derive(Debug)]
pub(crate) struct Cgroups(());

impl Cgroups {
    /// Finds none.
    pub(crate) fn find(_parent: Option<&str>) -> Self {
        Self(())
    }

    /// None.
    pub(crate) fn layout(&self) -> Layout {
        let Self(()) = self;
        Layout::None
    }

    /// Says that control groups are missing.
    pub(crate) fn can(&self, _controller: Controller) -> Result<(), Missing> {
        let Self(()) = self;
        Err(missing())
    }

    /// Says that control groups are missing.
    pub(crate) fn counts_swap(&self) -> Result<(), Missing> {
        let Self(()) = self;
        Err(missing())
    }

    /// Does nothing: nobody leaves any.
    pub(crate) fn sweep(
        &self,
        _controllers: &[Controller],
        _turn: Option<u32>,
        _is_left: impl Fn(&str) -> bool,
    ) -> usize {
        let Self(()) = self;
        0
    }

    /// Refuses: there are none.
    pub(crate) fn make(
        &self,
        _name: &str,
        controllers: &[Controller],
    ) -> Result<Group, GroupError> {
        let Self(()) = self;
        let controller = controllers.first().copied().unwrap_or(Controller::Memory);
        Err(GroupError::Missing { controller, source: missing() })
    }
}

impl Cgroups {
    /// Refuses: there are none.
    pub(crate) fn make_at(_path: &str) -> Result<Group, GroupError> {
        Err(GroupError::Missing { controller: Controller::Memory, source: missing() })
    }

    /// Nothing: there is none.
    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(crate) fn clear_at(_path: &str, _limit: Duration) -> Result<(), GroupError> {
        Ok(())
    }
}

fn missing() -> Missing {
    Missing {
        what: "this system has no control groups".to_owned(),
        advice: "leave such limits out, or run on Linux".to_owned(),
    }
}

/// Refuses: no group has a door here.
pub(crate) fn walk_in(_door: &File) -> io::Result<()> {
    Err(io::Error::other(missing()))
}

/// A group, which nobody can have here.
#[derive(Debug)]
pub(crate) enum Group {}

impl Group {
    /// Refuses: there are none.
    pub(crate) fn open(_record: &GroupRecord) -> Result<Self, GroupError> {
        Err(GroupError::Missing { controller: Controller::Memory, source: missing() })
    }

    pub(crate) fn record(&self) -> GroupRecord {
        match *self {}
    }

    pub(crate) fn join(
        &mut self,
        _cgroups: &Cgroups,
        _controller: Controller,
    ) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn has(&self, _controller: Controller) -> bool {
        match *self {}
    }

    pub(crate) fn doors(&self) -> Result<Vec<File>, GroupError> {
        match *self {}
    }

    pub(crate) fn add_where_no_door_is(&self, _pid: u32) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn processes(&self) -> Result<Vec<u32>, GroupError> {
        match *self {}
    }

    pub(crate) fn set_memory(&self, _limits: &MemoryLimits) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn set_cpu(&self, _limits: &CpuLimits) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn set_pids(&self, _max: Bound<u64>) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn set_io(&self, _limits: &IoLimits) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn usage(&self) -> Result<Usage, GroupError> {
        match *self {}
    }

    pub(crate) fn oom_kills(&self) -> Result<u64, GroupError> {
        match *self {}
    }

    pub(crate) fn freeze(&self, _limit: Duration) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn freeze_once(&self) -> Result<bool, GroupError> {
        match *self {}
    }

    pub(crate) fn let_go(&self) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn can_be_frozen_and_killed(&self) -> bool {
        match *self {}
    }

    pub(crate) fn thaw(&self, _limit: Duration) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn kill(&self, _limit: Duration) -> Result<(), GroupError> {
        match *self {}
    }

    pub(crate) fn remove(&self, _limit: Duration) -> Result<(), GroupError> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_control_groups_is_refused_with_what_to_do() {
        let cgroups = Cgroups::find(None);
        assert_eq!(cgroups.layout(), Layout::None);
        let missing = cgroups.can(Controller::Memory).unwrap_err();
        assert!(
            missing.to_string().starts_with("this system has no control groups; "),
            "{missing}"
        );
        let error = cgroups.make("x", &[Controller::Pids]).unwrap_err();
        assert!(matches!(error, GroupError::Missing { controller: Controller::Pids, .. }));
        let error = Group::open(&GroupRecord { places: Vec::new() }).unwrap_err();
        assert!(matches!(error, GroupError::Missing { .. }));
    }
}
