//! The root secret: what the database's hashes and seals really depend on. It lies in the database itself, sealed under
//! the master key, so that the master key can change while every hash, session and sealed key stays what it is.
//!
//! One database has one root secret and any number of sealed copies of it, one for each master key that may open it:
//! two while nodes are moved from one master key to another. Left out: where the copies are stored.

use std::fmt;

use crate::master::{DerivedKey, MasterKey, Purpose};
use crate::sealing::{OpenError, SealError, SealingKey};
use crate::signing::KeyError;

/// Ties a sealed copy to its use; the fingerprint of its master key follows.
const ASSOCIATED: &str = "keyward root secret 1 under ";

/// 32 octets from which HKDF makes the keys of all purposes but [`Purpose::RootSealing`]; wiped when dropped, never
/// printed.
pub struct RootSecret {
    /// It has the form and the derivations of a master key: in a database from before there were root secrets, the
    /// master key of then is the root secret.
    secret: MasterKey,
}

impl RootSecret {
    /// A new root secret from the operating system's chance.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self { secret: MasterKey::generate()? })
    }

    /// The root secret of a database whose keys were derived from this master key itself.
    #[must_use]
    pub fn of_master(master: &MasterKey) -> Self {
        Self { secret: MasterKey::from_bytes(*master.octets()) }
    }

    /// The key for one purpose. The same root secret and purpose always give the same key.
    #[must_use]
    pub fn derive(&self, purpose: Purpose) -> DerivedKey {
        self.secret.derive(purpose)
    }

    /// Sixteen hexadecimal digits that tell root secrets apart and reveal nothing of them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.secret.fingerprint()
    }

    /// A copy that only this master key opens. `nonce` must be random and fresh for each seal.
    ///
    /// # Errors
    /// [`SealError`] when the library fails.
    pub fn seal(&self, master: &MasterKey, nonce: [u8; 12]) -> Result<Vec<u8>, SealError> {
        let key = SealingKey::new(master.derive(Purpose::RootSealing)).map_err(|_| SealError)?;
        key.seal(nonce, &associated(master), self.secret.octets())
    }

    /// Opens a sealed copy.
    ///
    /// # Errors
    /// [`OpenError`] when it was sealed under another master key or changed.
    pub fn open(master: &MasterKey, sealed: &[u8]) -> Result<Self, OpenError> {
        let key = SealingKey::new(master.derive(Purpose::RootSealing)).map_err(|_| OpenError::NotAuthentic)?;
        let octets = zeroize::Zeroizing::new(key.open(&associated(master), sealed)?);
        let octets = <[u8; 32]>::try_from(octets.as_slice()).map_err(|_| OpenError::TooShort)?;
        Ok(Self { secret: MasterKey::from_bytes(octets) })
    }
}

fn associated(master: &MasterKey) -> Vec<u8> {
    format!("{ASSOCIATED}{}", master.fingerprint()).into_bytes()
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_master_key_opens_a_copy() {
        let (root, one, two) =
            (RootSecret::generate().unwrap(), MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let (under_one, under_two) = (root.seal(&one, [1; 12]).unwrap(), root.seal(&two, [2; 12]).unwrap());
        for (master, sealed) in [(&one, &under_one), (&two, &under_two)] {
            let opened = RootSecret::open(master, sealed).unwrap();
            assert_eq!(opened.fingerprint(), root.fingerprint());
            assert_eq!(opened.derive(Purpose::TokenHash).octets(), root.derive(Purpose::TokenHash).octets());
        }
        assert_eq!(RootSecret::open(&two, &under_one).unwrap_err(), OpenError::NotAuthentic);
        let mut changed = under_one.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(RootSecret::open(&one, &changed).unwrap_err(), OpenError::NotAuthentic);
        assert_eq!(RootSecret::open(&one, &[]).unwrap_err(), OpenError::TooShort);
        assert!(!under_one.windows(32).any(|window| window == root.secret.octets()));
    }

    #[test]
    fn a_master_key_of_before_derives_as_it_did() {
        let master = MasterKey::generate().unwrap();
        let root = RootSecret::of_master(&master);
        for purpose in Purpose::ALL {
            assert_eq!(root.derive(purpose).octets(), master.derive(purpose).octets());
        }
        assert_eq!(root.fingerprint(), master.fingerprint());
        assert_eq!(format!("{root:?}"), "RootSecret(..)");
    }
}
