//! Runs WASI programs in sandboxes with enforced limits and granted capabilities.
//!
//! The path of the data is the reading order: a file of wasm is *prepared* into an [`Artifact`],
//! which is *launched* by a [`SandboxSpec`] into a [`Sandbox`], whose end is an [`Exit`].
//!
//! ```no_run
//! use aril::{Limits, Output, Runtime, SandboxSpec};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all, before there is a second thread.
//!     aril::roles();
//!     tokio::runtime::Runtime::new()?.block_on(run())
//! }
//!
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     let runtime = Runtime::open("/var/cache/my-service/aril")?;
//!     let artifact = runtime.prepare("plugin.wasm").await?;
//!     let limits = Limits { memory: "64m".parse::<aril::Bytes>()?.into(), ..Limits::default() };
//!     let spec = SandboxSpec::new("plugin").arg("--year=2026").limits(limits);
//!     let sandbox = runtime.launch(&artifact, spec.stdout(Output::Capture)).await?;
//!     println!("{}", sandbox.wait().await?);
//!     Ok(())
//! }
//! ```
//!
//! Everything is denied until it is granted, every limit is enforced or refused, and a guest's end
//! is a value that says why.

// Words: values that every room speaks.
mod digest;
mod dockerfile;
mod image;
mod units;

// Rooms: each knows one thing.
mod capabilities;
mod content;
mod engine;
mod limits;
mod platform;
mod process;
mod registry;
mod rootfs;
mod trust;

// One guest, alive.
mod sandbox;

// The sandboxes of this host that go on alone.
mod roster;

// The path.
mod error;
mod verbs;

// For fuzz targets alone.
#[cfg(fuzzing)]
#[expect(missing_docs, reason = "nobody else can name it")]
pub mod fuzz;

pub use capabilities::Access;
pub use capabilities::Denial;
pub use capabilities::Directory;
pub use capabilities::GrantError;
pub use capabilities::Input;
pub use capabilities::Output;
pub use capabilities::Refusal;
pub use capabilities::SingleFile;
pub use capabilities::Tmpfs;
pub use digest::Digest;
pub use digest::InvalidDigest;
pub use error::Cause;
pub use error::Error;
pub use error::ErrorKind;
pub use image::Descriptor;
pub use image::Execution;
pub use image::Image;
pub use image::InvalidReference;
pub use image::Platform;
pub use image::Reference;
pub use limits::Device;
pub use limits::DeviceError;
pub use limits::Hold;
pub use limits::Limit;
pub use limits::LimitError;
pub use limits::Limits;
pub use limits::Rates;
pub use limits::Rung;
pub use process::InvalidWall;
pub use process::Need;
pub use process::Wall;
pub use process::WallStanding;
pub use process::Walls;
pub use rootfs::InvalidVolumeName;
pub use rootfs::VolumeName;
pub use roster::Ending;
pub use roster::Happening;
pub use roster::InvalidRestart;
pub use roster::InvalidSandboxName;
pub use roster::Life;
pub use roster::Line;
pub use roster::LogPlan;
pub use roster::LogQuery;
pub use roster::Plan;
pub use roster::Resident;
pub use roster::Restart;
pub use roster::SandboxId;
pub use roster::SandboxName;
pub use sandbox::Event;
pub use sandbox::Events;
pub use sandbox::Exit;
pub use sandbox::Frame;
pub use sandbox::GroupStats;
pub use sandbox::Invocation;
pub use sandbox::Isolation;
pub use sandbox::LaunchError;
pub use sandbox::MemoryWall;
pub use sandbox::Occupation;
pub use sandbox::PauseError;
pub use sandbox::Record;
pub use sandbox::Sandbox;
pub use sandbox::SandboxSpec;
pub use sandbox::Stats;
pub use sandbox::Trap;
pub use sandbox::TrapKind;
pub use sandbox::User;
pub use sandbox::WindowSize;
#[cfg(feature = "hostile")]
pub use sandbox::hostile;
pub use sandbox::printable;
pub use trust::InvalidKey;
pub use trust::SigningKey;
pub use units::Bytes;
pub use units::Cpus;
pub use units::Fuel;
pub use units::InvalidQuantity;
pub use units::parse_span;
pub use verbs::Artifact;
pub use verbs::AttachedInput;
pub use verbs::Attachment;
pub use verbs::Beside;
pub use verbs::Build;
pub use verbs::Enrolment;
pub use verbs::Finding;
pub use verbs::ForkedWorker;
pub use verbs::Freed;
pub use verbs::ImageFiles;
pub use verbs::ImageFormat;
pub use verbs::Listed;
pub use verbs::Notice;
pub use verbs::Notices;
pub use verbs::Piece;
pub use verbs::Progress;
pub use verbs::Reading;
pub use verbs::Registries;
pub use verbs::Removed;
pub use verbs::Runtime;
pub use verbs::RuntimeBuilder;
pub use verbs::Source;
pub use verbs::Split;
pub use verbs::Standing;
pub use verbs::StoreReport;
pub use verbs::Twin;
pub use verbs::Usage;
pub use verbs::Volume;
pub use verbs::clear_control_group;
pub use verbs::close_inherited;
pub use verbs::fork_worker;
pub use verbs::keep_secrets;
pub use verbs::others_may_read;
pub use verbs::others_may_write;
pub use verbs::roles;
pub use verbs::split;
pub use verbs::split_first;
