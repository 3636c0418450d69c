//! One binary with every promise, so that the engine is linked once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// How tests find programs, guests and folders.
mod support;

// The house keeps its own rules.
mod architecture;
