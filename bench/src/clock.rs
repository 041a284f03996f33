//! The one place of this crate that reads the clocks and waits.
//!
//! A load generator measures real time, so it has no test clock; the functions are gathered here to keep every other
//! file free of direct reads.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time now.
#[allow(clippy::disallowed_methods, reason = "the crate's only clock read: a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The calendar's time in microseconds since 1970, as the server's tables have it; 0 on a clock before that.
#[allow(clippy::disallowed_methods, reason = "rows that are written beside the server carry the machine's own time")]
pub fn calendar_microseconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}

/// Waits until a moment; the timer's grain is a millisecond.
pub async fn pause_until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
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
