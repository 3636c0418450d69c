//! The copy of this process that waits to be a worker, until somebody takes it.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::platform::spare::Spare;

static SPARE: Mutex<Option<Spare>> = Mutex::new(None);

/// Keeps one until it is taken, or this process ends.
pub(crate) fn keep_spare(spare: Spare) {
    *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(spare);
}

/// Takes the one that is kept, if there is one.
pub(crate) fn take_spare() -> Option<Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner).take()
}
