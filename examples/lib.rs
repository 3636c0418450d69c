//! Host programs, each a runnable lesson: see the `[[example]]` list in `Cargo.toml`.
