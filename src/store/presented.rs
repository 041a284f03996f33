//! Secrets that say their place ([`keyward_protocol::placed_secret`]), as they are looked for.

use keyward_keys::MacKey;
use keyward_protocol::placed_secret::Presented;

/// A secret that somebody presents: where it says that what it proves is kept, and what of it is stored.
#[derive(Debug, Clone, Copy)]
pub struct PresentedSecret<P> {
    /// The place; what says none is found by its hash.
    pub place: Option<P>,
    /// The keyed hash of the secret.
    pub secret_hash: [u8; 32],
}

impl<P> PresentedSecret<P> {
    /// What a client presents, its secret hashed by this key.
    pub fn of(presented: Presented<'_, P>, key: &MacKey) -> Self {
        Self { place: presented.place, secret_hash: key.hash(presented.secret.as_bytes()) }
    }

    /// Whether it is the secret of this hash, said in constant time: the place alone proves nothing.
    pub(super) fn proves(&self, stored_hash: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(stored_hash, self.secret_hash.as_slice()).into()
    }
}
