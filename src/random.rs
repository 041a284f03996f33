//! Chance: the only place that draws it for the server. Key generation draws its own inside the cryptographic library.

use std::cell::RefCell;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use keyward_protocol::Timestamp;
use uuid::Uuid;

use crate::fault::Fault;

/// Labels that are drawn at once.
const DRAWN_LABELS: usize = 64;

thread_local! {
    /// Labels that this thread has yet to give.
    static LABELS: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

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

    /// A label of 128 bits in 22 characters of base64url, for what is no secret and guards nothing: requests. The system
    /// is asked once for many labels.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn label(self) -> Result<HeaderValue, Fault> {
        LABELS.with_borrow_mut(|labels| {
            let octets = match labels.pop() {
                Some(octets) => octets,
                None => {
                    let drawn = self.bytes::<{ 16 * DRAWN_LABELS }>()?;
                    let (chunks, _) = drawn.as_chunks::<16>();
                    labels.extend_from_slice(chunks);
                    labels.pop().ok_or_else(|| Fault::broken("no label was drawn"))?
                }
            };
            let mut text = [0; 22];
            let length = BASE64_URL_SAFE_NO_PAD.encode_slice(octets, &mut text).map_err(Fault::broken)?;
            HeaderValue::from_bytes(text.get(..length).unwrap_or_default()).map_err(Fault::broken)
        })
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_differ_on_every_thread() {
        let draw = || (0..500).map(|_| Random::system().label().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let labels: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(labels.iter().all(|label| label.len() == 22));
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), 2000);
    }
}
