//! The files of an image: its layers unpacked once, and views of them that a run may write to.

mod archive;
mod blob;
mod bounds;
mod copy;
mod exchange;
mod error;
mod gzip;
mod layer;
mod locks;
mod names;
mod remove;
mod roots;
mod tree;
mod unpack;
mod volumes;
mod walk;
mod writable;

#[cfg(fuzzing)]
pub(crate) use bounds::Bounds;
pub(crate) use exchange::ExchangeError;
pub(crate) use exchange::Thing;
pub(crate) use gzip::compress;
pub(crate) use layer::LayerError;
pub(crate) use layer::open;
pub(crate) use layer::write_layer;
pub(crate) use roots::Root;
pub(crate) use roots::Roots;
pub(crate) use roots::RootsError;
pub(crate) use roots::WeakRoot;
pub(crate) use tree::Changes;
pub(crate) use tree::Entry;
pub(crate) use tree::HostFile;
pub(crate) use tree::Node;
pub(crate) use tree::Tree;
pub(crate) use tree::Wanted;
pub(crate) use unpack::unpack;
#[cfg(fuzzing)]
pub(crate) use unpack::unpack_within;
pub use volumes::InvalidVolumeName;
pub(crate) use volumes::VolumeError;
pub use volumes::VolumeName;
pub(crate) use volumes::Volumes;
pub(crate) use writable::Means;
pub(crate) use writable::Writable;
pub(crate) use writable::WritableError;
pub(crate) use writable::Writables;

#[cfg(test)]
mod tests;
