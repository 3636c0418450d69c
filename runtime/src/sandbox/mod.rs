//! One guest, alive: what is decided before it runs, what it is while it runs, and how it ended.

mod alone;
mod end;
mod event;
mod exit;
mod filesystem;
mod guest;
mod interrupt;
mod invoke;
mod linking;
mod missing;
mod output;
mod preview1;
mod record;
mod refusal;
mod shared;
mod spec;
mod state;
mod stats;
mod vitals;

pub use alone::Occupation;
pub use end::printable;
pub use event::Event;
pub use event::Events;
pub use exit::Exit;
pub use exit::Frame;
pub use exit::MemoryWall;
pub use exit::Trap;
pub use exit::TrapKind;
pub use guest::LaunchError;
pub use record::Record;
pub use shared::Sandbox;
pub use spec::Invocation;
pub use spec::Isolation;
pub use spec::SandboxSpec;
pub use stats::Stats;

pub(crate) use alone::occupy;
pub(crate) use linking::Loaded;
pub(crate) use shared::launch;
