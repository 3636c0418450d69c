//! Waiting for what should be so soon, in tests of the library.

use std::time::Duration;
use std::time::Instant;

use aril::Exit;
use aril::Sandbox;

/// The longest that a test waits for something that should be there at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a guest's end.
pub(crate) async fn end_of(sandbox: &Sandbox) -> Exit {
    tokio::time::timeout(PATIENCE, sandbox.wait()).await.expect("it did not end").unwrap()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
