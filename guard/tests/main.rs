//! Tests of the guard against attacks, over HTTP, and through rotations and outages of its issuer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy spares only the test functions themselves, not what they call"
)]

mod attacks;
mod footprint;
mod http;
mod introspection;
mod issuer;
mod remembered;
mod rotation;
mod status;

use std::time::Duration;

#[allow(clippy::disallowed_methods, reason = "a real server runs on real time")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Moves the guard's monotonic time, by which it waits and measures intervals.
async fn advance(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Waits until something holds, but not for ever.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        pause(Duration::from_millis(10)).await;
    }
    panic!("it didn't happen within 5 s");
}
