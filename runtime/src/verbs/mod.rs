//! The verbs: each takes one noun to the next. The only folder that knows every room.

mod compile;
mod doctor;
mod launch;
mod occupy;
mod prepare;
mod roles;
mod room;
mod runtime;

pub use doctor::Finding;
pub use doctor::Standing;
pub use prepare::Artifact;
pub use prepare::Source;
pub use roles::close_inherited;
pub use roles::roles;
pub use runtime::Runtime;
pub use runtime::RuntimeBuilder;
