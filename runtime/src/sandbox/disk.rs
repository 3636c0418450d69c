//! The bytes that a guest may have in files that are its own: what holds them.

use std::io;
use std::sync::Arc;

use crate::capabilities::Directory;
use crate::limits::LimitError;
use crate::limits::Limits;
use crate::platform::room::Room;
use crate::units::Bytes;

use super::spec::SandboxSpec;

/// The name of the limit.
const DISK: &str = "disk";

/// The room that a guest has for files of its own, if that is bounded, and as large as its limits say
/// from here on.
///
/// # Errors
///
/// Fails where a limit was asked for, and there is nothing that could hold it.
pub(super) fn room_of(spec: &SandboxSpec) -> Result<Option<Arc<Room>>, LimitError> {
    let own: Vec<&Directory> =
        spec.capabilities.directories.iter().filter(|one| one.is_own_to_write()).collect();
    let room = own.iter().find_map(|one| one.room());
    if spec.limits.disk.is_asked() {
        let Some(room) = room else {
            return Err(no_rung(if own.is_empty() { NOTHING_OF_ITS_OWN } else { UNBOUNDED }));
        };
        let is_there = |one: &&Directory| one.room().is_some_and(|its| Arc::ptr_eq(its, room));
        if !own.iter().all(is_there) {
            return Err(no_rung(TWO_ROOMS));
        }
    }
    if let Some(room) = room {
        resize(room, &spec.limits)?;
    }
    Ok(room.cloned())
}

/// Changes how much there is room for, where the limits of a guest that runs change.
pub(super) fn update(
    room: Option<&Arc<Room>>,
    before: &Limits,
    changed: &Limits,
) -> Result<(), LimitError> {
    match room {
        _ if before.disk == changed.disk => Ok(()),
        Some(room) => resize(room, changed),
        None if changed.disk.is_asked() => Err(no_rung(LAUNCHED_WITHOUT)),
        None => Ok(()),
    }
}

/// How much of it is in use, where it is bounded.
pub(super) fn used(room: Option<&Arc<Room>>) -> Option<Bytes> {
    room?.used().ok().map(Bytes::new)
}

fn resize(room: &Room, limits: &Limits) -> Result<(), LimitError> {
    let size = limits.disk.or(None).map(Bytes::get);
    room.resize(size).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => LimitError::OutOfRange {
            name: DISK,
            amount: limits.disk.or(None).map_or_else(String::new, |amount| amount.to_string()),
            range: error.to_string(),
        },
        _ => no_rung(&format!("the room for it cannot be changed: {error}")),
    })
}

fn no_rung(missing: &str) -> LimitError {
    LimitError::NoRung { name: DISK, missing: missing.to_owned() }
}

const NOTHING_OF_ITS_OWN: &str = "it bounds the files of an image that only this guest writes to, and there are none: directories \
     and volumes that are granted are not its own, a directory in memory has a size of its own \
     (`--tmpfs PATH:size=SIZE`), and nothing is written to with `--read-only`; leave the limit out, or \
     run an image that may write";

const UNBOUNDED: &str = "the image's files were made without it; make them by \
                         `Runtime::image_files_within` with the same limits";

const TWO_ROOMS: &str = "files of several images were granted to be written to, and not all of them \
                         are in the same room; grant those of one";

const LAUNCHED_WITHOUT: &str = "it was launched without one, and so without room that has a bound; \
                                launch it with `disk`";
