//! Room for sandboxes that share a process: how many mappings they take, and how many there are.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::platform::machine;
use crate::sandbox::LaunchError;

/// Mappings of a process that one sandbox takes at most: its memory, guards, stack and tables.
pub(super) const MAPPINGS_EACH: u64 = 6;

/// Mappings that are left for the rest of the process: threads, allocators, files.
pub(super) const MAPPINGS_SPARE: u64 = 256;

/// How many mappings this process has and may have.
///
/// The engine would find out in the middle of a launch that there is none left. Counting reads a
/// list of tens of thousands of lines, so that it is done only when an estimate says that the end
/// is near.
#[derive(Debug)]
pub(super) struct Room {
    /// Read when it is first asked for: a process with one guest never does.
    max: OnceLock<Option<u64>>,
    counted: Mutex<Counted>,
}

/// A count, and how many sandboxes were alive then.
#[derive(Clone, Copy, Debug)]
struct Counted {
    mappings: u64,
    alive: u32,
}

impl Room {
    pub(super) fn new() -> Self {
        // What a process has before its first sandbox is in what is spared.
        let counted = Counted { mappings: 0, alive: 0 };
        Self { max: OnceLock::new(), counted: Mutex::new(counted) }
    }

    /// Refuses one sandbox more than there are mappings for, where `alive` are alive.
    pub(super) fn check(&self, alive: u32) -> Result<(), LaunchError> {
        let Some(max) = *self.max.get_or_init(machine::mappings_max) else { return Ok(()) };
        let fits = |used: u64| used + MAPPINGS_EACH + MAPPINGS_SPARE <= max;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = u64::from(alive.saturating_sub(counted.alive));
        if counted.alive <= alive && fits(counted.mappings + since * MAPPINGS_EACH) {
            return Ok(());
        }
        let Some(mappings) = machine::mappings_in_use() else { return Ok(()) };
        *counted = Counted { mappings, alive };
        if fits(mappings) {
            return Ok(());
        }
        Err(LaunchError::Exhausted {
            reason: format!(
                "this process has {mappings} of the {max} mappings that {} allows, with {alive} \
                 sandboxes alive; {}",
                machine::MAPPINGS_BOUND,
                machine::MAPPINGS_ADVICE
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_fits_is_let_in_and_the_next_is_told_why_not() {
        let used = machine::mappings_in_use().unwrap_or(0);
        let room = |max: u64| Room { max: Some(max).into(), ..Room::new() };

        room(used + 1_000).check(1_000_000).expect("it was counted, and there is room");
        let refused = room(MAPPINGS_SPARE).check(10);

        // What a system cannot count is not refused.
        assert_eq!(refused.is_err(), 0 < used);
        if let Err(error) = refused {
            assert!(error.to_string().contains(machine::MAPPINGS_BOUND), "{error}");
            assert!(error.to_string().contains(machine::MAPPINGS_ADVICE), "{error}");
        }
    }
}
