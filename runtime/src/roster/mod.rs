//! The sandboxes of this host that go on alone: what is known of each, what they wrote, and how
//! their keepers are spoken to.

mod control;
mod entry;
mod journal;
mod links;
mod log;
mod look;
mod name;
mod place;

pub use entry::Ending;
pub use entry::InvalidRestart;
pub use entry::Life;
pub use entry::LogPlan;
pub use entry::Plan;
pub use entry::Resident;
pub use entry::Restart;
pub use journal::Happening;
pub use log::Line;
pub use log::LogQuery;
pub use name::InvalidSandboxName;
pub use name::SandboxId;
pub use name::SandboxName;

pub(crate) use control::Answer;
pub(crate) use control::Asker;
pub(crate) use control::Desk;
pub(crate) use control::Exec;
pub(crate) use control::FRAME_MAX;
pub(crate) use control::Frame;
pub(crate) use control::Line as KeeperLine;
pub(crate) use control::Request;
pub(crate) use control::answer;
pub(crate) use control::give;
pub(crate) use control::hand_on;
pub(crate) use control::hear;
pub(crate) use control::next_frame;
pub(crate) use entry::FAILED;
pub(crate) use log::FOLLOWING;
pub(crate) use log::Log;
pub(crate) use log::Logs;
pub(crate) use look::Looked;
pub(crate) use place::Held;
pub(crate) use place::Roster;
pub(crate) use place::RosterError;
