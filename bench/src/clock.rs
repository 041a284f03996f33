//! The one place of this crate that reads the monotonic clock and waits.
//!
//! A load generator measures real time, so it has no test clock; the functions are gathered here to keep every other
//! file free of direct reads.

use std::time::{Duration, Instant};

/// The monotonic time now.
#[allow(clippy::disallowed_methods, reason = "the crate's only clock read: a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for `duration` and lets other tasks run meanwhile.
#[allow(clippy::disallowed_methods, reason = "the crate's only timer: a benchmark waits in real time")]
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Blocks this thread for `duration`; used only while nothing is being measured (a child is ending).
pub fn block(duration: Duration) {
    std::thread::sleep(duration);
}
