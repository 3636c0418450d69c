//! Child processes that hold: this program again, in a role of its own, with bounds it cannot
//! lift. Knows bytes, not specs.

mod child;
#[cfg_attr(
    any(not(test), aril_portable),
    expect(dead_code, reason = "the worker, which enters it, is being built")
)]
mod jail;
mod role;
mod wall;

pub(crate) use child::ChildError;
pub(crate) use child::run;
pub(crate) use role::Call;
pub(crate) use role::Role;
pub(crate) use role::called;
pub(crate) use role::note_roles_are_served;
pub(crate) use role::program;
pub use wall::InvalidWall;
pub use wall::Need;
pub use wall::Wall;
pub use wall::WallStanding;
pub use wall::Walls;
