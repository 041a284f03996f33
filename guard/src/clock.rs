//! The places where this crate reads clocks and waits. A guard runs in programs that have no clock of ours; a program
//! may give the guard its own time by [`GuardBuilder::clock`](crate::GuardBuilder::clock).

#[cfg(feature = "discovery")]
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// The system's time, in Unix seconds. A clock before 1970 counts as the end of time, so that every token has expired
/// rather than none.
#[allow(clippy::disallowed_methods, reason = "the default clock of a guard; programs may give another")]
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

/// A time that only ever grows, for intervals.
#[cfg(feature = "discovery")]
pub(crate) fn monotonic_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Lets other tasks run for a while.
#[cfg(feature = "discovery")]
#[allow(clippy::disallowed_methods, reason = "the guard runs in programs that have no clock of ours")]
pub(crate) async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}
