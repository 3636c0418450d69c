//! Child processes that hold: this program again, in a role of its own, with bounds it cannot
//! lift. Knows bytes, not specs.

mod channel;
mod child;
mod jail;
mod role;
mod spare;
mod wall;

pub(crate) use channel::MESSAGE_SIZE_MAX;
pub(crate) use channel::receive;
pub(crate) use channel::receive_async;
pub(crate) use channel::send;
pub(crate) use channel::send_async;
pub(crate) use child::ChildError;
pub(crate) use child::run;
pub(crate) use jail::Enclosed;
pub(crate) use jail::Entered;
pub(crate) use jail::Jail;
pub(crate) use jail::JailError;
pub(crate) use jail::Who;
pub(crate) use jail::last_call;
pub(crate) use jail::probe;
pub(crate) use role::Call;
pub(crate) use role::Role;
pub(crate) use role::called;
pub(crate) use role::note_roles_are_served;
pub(crate) use role::program;
pub(crate) use spare::keep_spare;
pub(crate) use spare::take_spare;
pub use wall::InvalidWall;
pub use wall::Need;
pub use wall::Wall;
pub use wall::WallStanding;
pub use wall::Walls;
