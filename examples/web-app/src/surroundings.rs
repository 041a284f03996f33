//! Time and chance: the one place of this program that asks the operating system for either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Seconds since 1970-01-01 UTC.
#[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Waits.
#[allow(clippy::disallowed_methods, reason = "the one wait of this program: between attempts to reach the issuer")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A value that nobody can guess: 256 bits as base64url, 43 characters.
///
/// # Errors
/// When the operating system gives no random bytes.
#[allow(clippy::disallowed_methods, reason = "the one source of chance of this program")]
pub(crate) fn random_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
