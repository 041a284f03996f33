//! Time as the server counts it: whole microseconds since 1970-01-01T00:00:00Z.

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From seconds since the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down: a NumericDate of RFC 7519 §2 that never lies ahead.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment and `seconds` more; stops at the largest moment there is.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        let micros = if seconds > i64::MAX as u64 / 1_000_000 { i64::MAX } else { seconds as i64 * 1_000_000 };
        Self(self.0.saturating_add(micros))
    }

    /// This moment, `seconds` earlier.
    #[must_use]
    pub const fn minus_seconds(self, seconds: u64) -> Self {
        let micros = if seconds > i64::MAX as u64 / 1_000_000 { i64::MAX } else { seconds as i64 * 1_000_000 };
        Self(self.0.saturating_sub(micros))
    }

    /// Whole seconds from `earlier` to this moment; zero if `earlier` is later.
    pub const fn seconds_since(self, earlier: Timestamp) -> u64 {
        let micros = self.0.saturating_sub(earlier.0);
        if micros < 0 { 0 } else { (micros / 1_000_000) as u64 }
    }
}
