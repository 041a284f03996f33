//! Chance: the only place that draws it for the server. Key generation draws its own inside the cryptographic library.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_protocol::Timestamp;
use uuid::Uuid;

use crate::fault::Fault;

/// Draws from the operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random(());

impl Random {
    /// The operating system's generator.
    pub const fn system() -> Self {
        Self(())
    }

    /// Some octets.
    ///
    /// # Errors
    /// A fault where the operating system gives none.
    #[allow(clippy::disallowed_methods, reason = "the one place that draws chance")]
    pub fn bytes<const N: usize>(self) -> Result<[u8; N], Fault> {
        let mut octets = [0; N];
        getrandom::fill(&mut octets).map_err(Fault::broken)?;
        Ok(octets)
    }

    /// A name of 128 bits in 22 characters of base64url: `sub`, `sid`, `jti`.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn name(self) -> Result<String, Fault> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.bytes::<16>()?))
    }

    /// A secret of 256 bits in 43 characters of base64url.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn secret(self) -> Result<String, Fault> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.bytes::<32>()?))
    }

    /// A UUIDv7 (RFC 9562 §5.7) for this moment.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn uuid_v7(self, now: Timestamp) -> Result<Uuid, Fault> {
        let millis = u64::try_from(now.micros() / 1000).unwrap_or_default();
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes::<10>()?).into_uuid())
    }

    /// A random UUID (RFC 9562 §5.4).
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn uuid_v4(self) -> Result<Uuid, Fault> {
        Ok(uuid::Builder::from_random_bytes(self.bytes::<16>()?).into_uuid())
    }
}
