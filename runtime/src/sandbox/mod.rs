//! One guest, alive: what is decided before it runs, what it is while it runs, and how it ended.

mod alone;
mod apart;
mod end;
mod event;
mod exit;
mod filesystem;
mod group;
mod guest;
mod handle;
#[cfg(feature = "hostile")]
pub mod hostile;
mod interrupt;
mod invoke;
mod linking;
mod missing;
mod order;
mod output;
mod pipes;
mod preview1;
mod record;
mod refusal;
mod shared;
mod single;
mod spec;
mod state;
mod stats;
mod vitals;
mod wire;
mod worker;

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
pub use handle::Sandbox;
pub use record::Record;
pub use spec::Invocation;
pub use spec::Isolation;
pub use spec::SandboxSpec;
pub use stats::Stats;

pub(crate) use alone::occupy;
pub(crate) use apart::Place;
pub(crate) use apart::launch as launch_apart;
pub(crate) use linking::Loaded;
pub(crate) use shared::launch;
pub(crate) use worker::serve as serve_worker;
