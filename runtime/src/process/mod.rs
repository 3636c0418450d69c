//! Child processes that hold: this program again, in a role of its own, with bounds it cannot
//! lift. Knows bytes, not specs.

mod child;
mod role;

pub(crate) use child::ChildError;
pub(crate) use child::run;
pub(crate) use role::Call;
pub(crate) use role::Role;
pub(crate) use role::called;
pub(crate) use role::note_roles_are_served;
pub(crate) use role::program;
