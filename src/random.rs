//! Chance: the only place that draws it for the server. Key generation draws its own inside the cryptographic library.

use std::cell::RefCell;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use keyward_protocol::Timestamp;
use uuid::Uuid;

use crate::fault::Fault;

/// Octets that are drawn at once: a request needs some hundred, in five draws or so.
const DRAWN: usize = 2048;

thread_local! {
    /// What this thread has drawn and yet to give.
    static STORE: RefCell<Drawn> = const { RefCell::new(Drawn { octets: [0; DRAWN], given: DRAWN }) };
}

/// Octets of the operating system's generator, each of which is given once. The system is asked for many at once, for a
/// call costs more than the octets do.
struct Drawn {
    octets: [u8; DRAWN],
    given: usize,
}

impl Drawn {
    /// Fills this with octets that nobody was given before, and keeps none of them.
    #[allow(clippy::disallowed_methods, reason = "the one place that draws chance")]
    fn give(&mut self, wanted: &mut [u8]) -> Result<(), Fault> {
        if wanted.len() > DRAWN - self.given {
            if wanted.len() > DRAWN {
                return getrandom::fill(wanted).map_err(Fault::broken);
            }
            // Until it has succeeded there is nothing to give.
            self.given = DRAWN;
            getrandom::fill(&mut self.octets).map_err(Fault::broken)?;
            self.given = 0;
        }
        let end = self.given + wanted.len();
        let next =
            self.octets.get_mut(self.given..end).ok_or_else(|| Fault::broken("chance was drawn past its end"))?;
        wanted.copy_from_slice(next);
        next.fill(0);
        self.given = end;
        Ok(())
    }
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
    pub fn bytes<const N: usize>(self) -> Result<[u8; N], Fault> {
        let mut octets = [0; N];
        STORE.with_borrow_mut(|store| store.give(&mut octets))?;
        Ok(octets)
    }

    /// A name of 128 bits in 22 characters of base64url: `sub`, `sid`, `jti`.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn name(self) -> Result<String, Fault> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.bytes::<16>()?))
    }

    /// A name of 128 bits as the value of a header: of requests.
    ///
    /// # Errors
    /// As [`Random::bytes`].
    pub fn label(self) -> Result<HeaderValue, Fault> {
        let mut text = [0; 22];
        let length = BASE64_URL_SAFE_NO_PAD.encode_slice(self.bytes::<16>()?, &mut text).map_err(Fault::broken)?;
        HeaderValue::from_bytes(text.get(..length).unwrap_or_default()).map_err(Fault::broken)
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
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_twice_on_any_thread() {
        let draw = || (0..500).map(|_| Random::system().label().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let labels: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(labels.iter().all(|label| label.len() == 22));
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), 2000);
    }

    #[test]
    fn what_was_given_is_not_kept() {
        let mut store = Drawn { octets: [0; DRAWN], given: DRAWN };
        let mut seen = HashSet::new();
        for length in [1, 10, 16, 32, 1000, 1000, 32, DRAWN, DRAWN + 1, 3] {
            let mut wanted = vec![0; length];
            store.give(&mut wanted).unwrap();
            assert!(store.octets[..store.given].iter().all(|&octet| octet == 0), "{length}");
            assert!(length < 10 || seen.insert(wanted), "{length}");
        }
    }
}
