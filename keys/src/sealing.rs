//! Sealing (AES-256-GCM, RFC 5116 §5.2) for what must be read again, and keyed hashes (HMAC-SHA256, RFC 2104) for what
//! must only be recognised.
//!
//! A sealed value is `version (1 octet) | nonce (12) | ciphertext | tag (16)`. The version names this form, so that a
//! later one can stand beside it in the same column. The nonce is an argument, for chance comes from the caller: it must
//! be random and fresh for each seal. Associated data isn't stored; it ties a sealed value to its row or use, so that
//! one can't be moved to another place. Left out: compression, and hiding the length.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroize as _;

use crate::master::{DerivedKey, hmac_sha256};
use crate::signing::KeyError;

/// The first octet of what this file seals.
const VERSION: u8 = 1;
/// Octets of the nonce (RFC 5116 §5.2).
const NONCE_OCTETS: usize = 12;
/// Octets of the tag (RFC 5116 §5.1).
const TAG_OCTETS: usize = 16;

/// The `info` of the key that a refresh token and the server's key make together.
const UNDER_TOKEN_LABEL: &str = "keyward/1/under-token";

/// A value couldn't be sealed: it is longer than AES-GCM allows (64 GiB), or the library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value could not be sealed")]
pub struct SealError;

/// Why a sealed value can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to be a sealed value.
    #[error("the sealed value is cut short")]
    TooShort,
    /// Sealed in a form that this version doesn't know.
    #[error("the sealed value has the unknown form {0}")]
    UnknownVersion(u8),
    /// Changed, sealed under another key, or for another place.
    #[error("the sealed value was changed, or sealed under another key or for another place")]
    NotAuthentic,
}

/// An AES-256-GCM key with its schedule prepared.
pub struct SealingKey {
    prepared: LessSafeKey,
}

impl SealingKey {
    /// Prepares a derived key.
    ///
    /// # Errors
    /// [`KeyError::Prepare`] when the library can't, which no key of 32 octets is known to cause.
    pub fn new(key: DerivedKey) -> Result<Self, KeyError> {
        let prepared = UnboundKey::new(&AES_256_GCM, key.octets()).map_err(|_| KeyError::Prepare)?;
        Ok(Self { prepared: LessSafeKey::new(prepared) })
    }

    /// Seals `plain` and ties it to `associated`. `nonce` must be random and fresh: under one key, a repeated nonce
    /// gives away both values (RFC 5116 §5.1.1).
    ///
    /// # Errors
    /// [`SealError`] when `plain` is beyond AES-GCM's limit.
    pub fn seal(&self, nonce: [u8; 12], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::with_capacity(1 + NONCE_OCTETS + plain.len() + TAG_OCTETS);
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(1 + NONCE_OCTETS);
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.prepared.seal_in_place_separate_tag(nonce, Aad::from(associated), text) {
            Ok(tag) => {
                sealed.extend_from_slice(tag.as_ref());
                Ok(sealed)
            }
            Err(_) => {
                sealed.zeroize();
                Err(SealError)
            }
        }
    }

    /// Opens what [`SealingKey::seal`] made with the same key and `associated`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the value is given out unless all of it is authentic.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (version, rest) = sealed.split_first().ok_or(OpenError::TooShort)?;
        if *version != VERSION {
            return Err(OpenError::UnknownVersion(*version));
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_OCTETS>().ok_or(OpenError::TooShort)?;
        if text.len() < TAG_OCTETS {
            return Err(OpenError::TooShort);
        }
        let mut opened = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = match self.prepared.open_in_place(nonce, Aad::from(associated), &mut opened) {
            Ok(plain) => plain.len(),
            Err(_) => {
                opened.zeroize();
                return Err(OpenError::NotAuthentic);
            }
        };
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealingKey(..)")
    }
}

/// Seals `plain` under a key that needs both the server's key and a token that only its holder has: whoever reads the
/// database, even with the server's key, can't open it without the token. It keeps a spent refresh token's successor,
/// so that a retry within the grace time gets the same one though only hashes of tokens are stored.
///
/// # Errors
/// [`SealError`], as of [`SealingKey::seal`].
pub fn seal_under_token(
    server: &DerivedKey,
    presented: &[u8],
    nonce: [u8; 12],
    associated: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let key = SealingKey::new(server.mix(presented, UNDER_TOKEN_LABEL)).map_err(|_| SealError)?;
    key.seal(nonce, associated, plain)
}

/// Opens what [`seal_under_token`] sealed with the same server key, token and associated data.
///
/// # Errors
/// [`OpenError`], as of [`SealingKey::open`].
pub fn open_under_token(
    server: &DerivedKey,
    presented: &[u8],
    associated: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, OpenError> {
    let key = SealingKey::new(server.mix(presented, UNDER_TOKEN_LABEL)).map_err(|_| OpenError::NotAuthentic)?;
    key.open(associated, sealed)
}

/// An HMAC-SHA256 key, prepared once: hashes tokens, cookies and generated secrets before they are stored.
///
/// A plain hash would do for 256 bits of chance; the key makes a stolen database useless for testing guesses too.
pub struct MacKey {
    prepared: hmac::Key,
}

impl MacKey {
    /// Prepares a derived key.
    #[must_use]
    pub fn new(key: DerivedKey) -> Self {
        Self { prepared: hmac::Key::new(hmac::HMAC_SHA256, key.octets()) }
    }

    /// The keyed hash of `value`.
    #[must_use]
    pub fn hash(&self, value: &[u8]) -> [u8; 32] {
        *hmac_sha256(&self.prepared, &[value])
    }

    /// The keyed hash of a list of values, each preceded by its length (8 octets, big-endian), so that no two lists
    /// give the same input: for a pairwise subject (sector, user) or a form's token (session, form). Don't mix it with
    /// [`MacKey::hash`] under one key where an outsider chooses the values.
    #[must_use]
    pub fn hash_list(&self, values: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.prepared);
        for value in values {
            // A length fits 64 bits on every machine that Rust knows.
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
        let mut octets = [0_u8; 32];
        for (to, from) in octets.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        octets
    }

    /// Whether `tag` is the keyed hash of `value`, compared in constant time.
    #[must_use]
    pub fn verify(&self, value: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.prepared, value, tag).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{MasterKey, Purpose};

    const NONCE: [u8; 12] = [9; 12];
    const PLAIN: &[u8] = b"a private key, say";

    fn derived(purpose: Purpose) -> DerivedKey {
        MasterKey::from_bytes([3; 32]).derive(purpose)
    }

    fn key() -> SealingKey {
        SealingKey::new(derived(Purpose::SigningKeySealing)).unwrap()
    }

    #[test]
    fn what_was_sealed_can_be_opened() {
        for plain in [&b""[..], b"x", PLAIN, &[0; 8192]] {
            let sealed = key().seal(NONCE, b"kid-1", plain).unwrap();
            assert_eq!(sealed.len(), 1 + 12 + plain.len() + 16);
            assert_eq!(sealed[0], VERSION);
            assert_eq!(sealed[1..13], NONCE);
            assert_eq!(key().open(b"kid-1", &sealed).unwrap(), plain);
        }
    }

    #[test]
    fn each_changed_bit_is_noticed() {
        let sealed = key().seal(NONCE, b"kid-1", PLAIN).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                let expected = if at == 0 { OpenError::UnknownVersion(changed[0]) } else { OpenError::NotAuthentic };
                assert_eq!(key().open(b"kid-1", &changed), Err(expected), "octet {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn each_shorter_or_longer_value_is_refused() {
        let sealed = key().seal(NONCE, b"kid-1", PLAIN).unwrap();
        for length in 0..sealed.len() {
            let expected = if length < 29 { OpenError::TooShort } else { OpenError::NotAuthentic };
            assert_eq!(key().open(b"kid-1", &sealed[..length]), Err(expected), "{length}");
        }
        let mut longer = sealed;
        longer.push(0);
        assert_eq!(key().open(b"kid-1", &longer), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn another_place_another_purpose_or_another_master_key_does_not_open() {
        let sealed = key().seal(NONCE, b"kid-1", PLAIN).unwrap();
        assert_eq!(key().open(b"kid-2", &sealed), Err(OpenError::NotAuthentic));
        assert_eq!(key().open(b"", &sealed), Err(OpenError::NotAuthentic));
        let other = SealingKey::new(derived(Purpose::ClientSecretSealing)).unwrap();
        assert_eq!(other.open(b"kid-1", &sealed), Err(OpenError::NotAuthentic));
        let other = MasterKey::from_bytes([4; 32]).derive(Purpose::SigningKeySealing);
        assert_eq!(SealingKey::new(other).unwrap().open(b"kid-1", &sealed), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn a_successor_opens_only_with_its_predecessor() {
        let server = derived(Purpose::SuccessorSealing);
        let sealed = seal_under_token(&server, b"predecessor", NONCE, b"family-1", b"successor").unwrap();
        assert_eq!(open_under_token(&server, b"predecessor", b"family-1", &sealed).unwrap(), b"successor");
        assert_eq!(open_under_token(&server, b"predecessos", b"family-1", &sealed), Err(OpenError::NotAuthentic));
        assert_eq!(open_under_token(&server, b"", b"family-1", &sealed), Err(OpenError::NotAuthentic));
        assert_eq!(open_under_token(&server, b"predecessor", b"family-2", &sealed), Err(OpenError::NotAuthentic));
        let other = MasterKey::from_bytes([4; 32]).derive(Purpose::SuccessorSealing);
        assert_eq!(open_under_token(&other, b"predecessor", b"family-1", &sealed), Err(OpenError::NotAuthentic));
        // The server's key alone isn't enough.
        assert_eq!(SealingKey::new(server).unwrap().open(b"family-1", &sealed), Err(OpenError::NotAuthentic));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x80;
            let server = derived(Purpose::SuccessorSealing);
            assert!(open_under_token(&server, b"predecessor", b"family-1", &changed).is_err(), "octet {at}");
        }
    }

    /// RFC 4231 §4.2 and §4.3.
    #[test]
    fn keyed_hashes_are_hmac_sha_256() {
        let short = MacKey { prepared: hmac::Key::new(hmac::HMAC_SHA256, b"Jefe") };
        let hash = short.hash(b"what do ya want for nothing?");
        let hex: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let other = MacKey { prepared: hmac::Key::new(hmac::HMAC_SHA256, &[0x0b; 20]) };
        let hex: String = other.hash(b"Hi There").iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn a_hash_is_recognised_and_nothing_else_is() {
        let key = MacKey::new(derived(Purpose::TokenHash));
        let hash = key.hash(b"token");
        assert!(key.verify(b"token", &hash));
        assert!(!key.verify(b"tokem", &hash));
        assert!(!key.verify(b"token", &hash[..31]));
        assert!(!key.verify(b"token", b""));
        for at in 0..32 {
            let mut changed = hash;
            changed[at] ^= 1;
            assert!(!key.verify(b"token", &changed));
        }
        assert!(!MacKey::new(derived(Purpose::SessionHash)).verify(b"token", &hash));
    }

    #[test]
    fn lists_that_only_read_alike_hash_differently() {
        let key = MacKey::new(derived(Purpose::PairwiseSubject));
        let lists: [&[&[u8]]; 6] = [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"], &[]];
        for (at, list) in lists.iter().enumerate() {
            for other in &lists[at + 1..] {
                assert_ne!(key.hash_list(list), key.hash_list(other));
            }
        }
        assert_eq!(key.hash_list(&[b"ab", b"c"]), key.hash_list(&[b"ab", b"c"]));
    }

    #[test]
    fn debug_prints_no_key() {
        assert_eq!(format!("{:?}", key()), "SealingKey(..)");
        assert_eq!(format!("{:?}", MacKey::new(derived(Purpose::Csrf))), "MacKey(..)");
    }
}
