//! Wasm to machine code: what kinds there are, how they are compiled, kept and loaded.

mod artifact;
mod cache;
mod compiler;
mod config;
mod describe;
mod held;
mod index;
mod instrument;
mod kind;

pub(crate) use artifact::Code;
pub(crate) use artifact::LoadError;
pub(crate) use artifact::Verified;
pub(crate) use cache::Cache;
pub(crate) use compiler::Job;
pub(crate) use compiler::Report;
pub(crate) use compiler::compile;
pub(crate) use config::POOL_TABLE_ELEMENTS_MAX;
pub(crate) use config::Pool;
pub(crate) use config::running_engine;
pub(crate) use describe::describe;
pub(crate) use index::Known;
#[cfg(fuzzing)]
pub(crate) use index::read_entry;
pub(crate) use instrument::DUE;
pub(crate) use instrument::MODULE as INTERRUPT;
pub(crate) use instrument::REST;
pub(crate) use instrument::SHIFT;
pub(crate) use kind::Form;
pub(crate) use kind::Interruption;
pub(crate) use kind::Kind;

/// The engine that artifacts are made for. An artifact of another one is never looked up.
pub(crate) const ENGINE: &str = concat!("wasmtime-48.0.8/aril-", env!("CARGO_PKG_VERSION"));

/// The largest wasm file that is read, in bytes.
///
/// A file is hashed, and compiled whole in memory, before anything of it runs. The largest programs
/// in the field (language runtimes with their libraries) are below 100 MiB.
pub(crate) const WASM_SIZE_MAX: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    #[test]
    fn the_engine_is_the_one_that_is_locked() {
        let lock = include_str!("../../../Cargo.lock");
        let version = super::ENGINE.split(['-', '/']).nth(1).expect("the name holds a version");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{version}\"")));
    }
}
