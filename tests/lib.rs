//! What Aril promises across its crates, as tests through the real binaries: see `suite/`.
