//! The verbs: each takes one noun to the next. The only folder that knows every room.

mod assets;
mod build;
mod compile;
mod doctor;
mod images;
mod import;
mod launch;
mod load;
mod occupy;
mod prepare;
mod pull;
mod push;
mod registries;
mod roles;
mod room;
mod root;
mod runtime;
mod save;
mod sign;
mod verify;

pub use build::Build;
pub use build::ImageFormat;
pub use doctor::Finding;
pub use doctor::Standing;
pub use images::Freed;
pub use images::Listed;
pub use prepare::Artifact;
pub use prepare::Source;
pub use pull::Progress;
pub use registries::Registries;
pub use roles::close_inherited;
pub use roles::roles;
pub use root::ImageFiles;
pub use runtime::Runtime;
pub use runtime::RuntimeBuilder;
