//! The master key, and the keys that HKDF-SHA256 (RFC 5869) derives from a secret, one for each purpose.
//!
//! The master key never seals or hashes anything itself: separate uses have separate keys, so that a weakness or a
//! leak of one use doesn't reach the others. Its own one use is to seal the root secret ([`crate::root`]), from which
//! the keys of all other purposes come. Left out: where the key file lies and who may read it.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize as _, Zeroizing};

use crate::signing::KeyError;

/// What stands before the key's octets in a key file: the kind of file and the version of its form.
const KEY_FILE_PREFIX: &str = "keyward-master-key-1:";

/// The salt of every derivation from a master key. It is public; it keeps these derivations apart from those that
/// another program may make from the same octets (RFC 5869 §3.1).
const DERIVATION_SALT: &[u8] = b"keyward master key derivation 1";

/// The use that a derived key is for. Each has its own HKDF `info`; a label is never reused or changed, for that would
/// make sealed or hashed data unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Seals private signing keys at rest.
    SigningKeySealing,
    /// Seals client secrets whose octets are needed as a key.
    ClientSecretSealing,
    /// Seals the pending authorization request that travels in the login page's form.
    RequestSealing,
    /// Seals the successor of a spent refresh token, together with that token.
    SuccessorSealing,
    /// Hashes codes, refresh tokens and other references before they are stored.
    TokenHash,
    /// Hashes session cookies before they are stored.
    SessionHash,
    /// Hashes generated client secrets before they are stored.
    ClientSecretHash,
    /// Makes and checks the forms' tokens against cross-site request forgery.
    Csrf,
    /// Derives pairwise subjects (OpenID Connect Core §8.1). This key must never rotate.
    PairwiseSubject,
    /// Derives the public session id (`sid`) that a client sees.
    SessionId,
    /// Seals the root secret. The only purpose of a master key.
    RootSealing,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 11] = [
        Self::SigningKeySealing,
        Self::ClientSecretSealing,
        Self::RequestSealing,
        Self::SuccessorSealing,
        Self::TokenHash,
        Self::SessionHash,
        Self::ClientSecretHash,
        Self::Csrf,
        Self::PairwiseSubject,
        Self::SessionId,
        Self::RootSealing,
    ];

    /// The `info` of the derivation (RFC 5869 §3.2). Written into data at rest: never change one.
    const fn label(self) -> &'static str {
        match self {
            Self::SigningKeySealing => "keyward/1/signing-key-sealing",
            Self::ClientSecretSealing => "keyward/1/client-secret-sealing",
            Self::RequestSealing => "keyward/1/request-sealing",
            Self::SuccessorSealing => "keyward/1/successor-sealing",
            Self::TokenHash => "keyward/1/token-hash",
            Self::SessionHash => "keyward/1/session-hash",
            Self::ClientSecretHash => "keyward/1/client-secret-hash",
            Self::Csrf => "keyward/1/csrf",
            Self::PairwiseSubject => "keyward/1/pairwise-subject",
            Self::SessionId => "keyward/1/session-id",
            Self::RootSealing => "keyward/1/root-sealing",
        }
    }
}

/// The `info` of [`MasterKey::fingerprint`]; different from every purpose's.
const FINGERPRINT_LABEL: &str = "keyward/1/fingerprint";

/// The one secret that an operator keeps: 32 octets, wiped when dropped, never printed.
pub struct MasterKey {
    octets: Zeroizing<[u8; 32]>,
}

/// Why a key file's text isn't a master key. No variant carries any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// Nothing but white space.
    #[error("the master key is empty; expected one line `{KEY_FILE_PREFIX}<43 characters of base64url>`")]
    Empty,
    /// Text after the first line.
    #[error("the master key has more than one line; expected exactly one")]
    MoreThanOneLine,
    /// The line starts with something else.
    #[error("the master key doesn't start with `{KEY_FILE_PREFIX}`")]
    Prefix,
    /// The part after the colon isn't 43 characters long.
    #[error("the master key has {found} characters after the colon; 32 octets in base64url without padding have 43")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A character that base64url doesn't have, or padding.
    #[error("the master key isn't base64url without padding (A-Z a-z 0-9 - _)")]
    Encoding,
    /// All octets are equal: a placeholder that somebody forgot to replace.
    #[error("the master key is a placeholder: all its octets are equal; generate one")]
    Placeholder,
}

impl MasterKey {
    /// Takes 32 octets of good chance as the key.
    #[must_use]
    pub fn from_bytes(mut octets: [u8; 32]) -> Self {
        let key = Self { octets: Zeroizing::new(octets) };
        octets.zeroize();
        key
    }

    /// A new key from the operating system's chance.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut octets = Zeroizing::new([0_u8; 32]);
        SystemRandom::new().fill(octets.as_mut_slice()).map_err(|_| KeyError::Generate)?;
        Ok(Self { octets })
    }

    /// Reads the text of a key file: one line, `keyward-master-key-1:` and 43 characters of base64url. A line break
    /// after it is fine, for editors and `echo` put one there; nothing else is.
    ///
    /// # Errors
    /// [`MasterKeyError`] says what is wrong without repeating any of the text.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        if text.trim().is_empty() {
            return Err(MasterKeyError::Empty);
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains(['\n', '\r']) {
            return Err(MasterKeyError::MoreThanOneLine);
        }
        let encoded = line.strip_prefix(KEY_FILE_PREFIX).ok_or(MasterKeyError::Prefix)?;
        let found = encoded.chars().count();
        if found != 43 {
            return Err(MasterKeyError::Length { found });
        }
        // The decoder wants room for its estimate, which is one octet more than the 32 that 43 characters hold.
        let mut buffer = Zeroizing::new([0_u8; 33]);
        URL_SAFE_NO_PAD.decode_slice(encoded, buffer.as_mut_slice()).map_err(|_| MasterKeyError::Encoding)?;
        let octets = Zeroizing::new(*buffer.first_chunk::<32>().ok_or(MasterKeyError::Encoding)?);
        if octets.windows(2).all(|pair| pair.first() == pair.last()) {
            return Err(MasterKeyError::Placeholder);
        }
        Ok(Self { octets })
    }

    /// The line that [`MasterKey::parse`] reads, without a line break. It is the secret itself: write it to a file that
    /// only the server's user can read.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(KEY_FILE_PREFIX.len() + 43));
        line.push_str(KEY_FILE_PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.octets.as_slice(), &mut line);
        line
    }

    /// The octets, for this crate's own use.
    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.octets
    }

    /// The key for one purpose. The same master key and purpose always give the same key.
    #[must_use]
    pub fn derive(&self, purpose: Purpose) -> DerivedKey {
        DerivedKey {
            octets: hkdf_sha256(DERIVATION_SALT, self.octets.as_slice(), purpose.label().as_bytes()),
            label: purpose.label(),
        }
    }

    /// Sixteen hexadecimal digits that tell master keys apart and reveal nothing of them: stored beside sealed data, so
    /// that a server which starts with another key can say so instead of failing at each seal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let octets = hkdf_sha256(DERIVATION_SALT, self.octets.as_slice(), FINGERPRINT_LABEL.as_bytes());
        octets.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(..)")
    }
}

/// A key of 32 octets that HKDF made for one use; wiped when dropped, never printed.
#[derive(Clone)]
pub struct DerivedKey {
    octets: Zeroizing<[u8; 32]>,
    label: &'static str,
}

impl DerivedKey {
    /// The octets, for this crate's own primitives.
    pub(crate) fn octets(&self) -> &[u8; 32] {
        &self.octets
    }

    /// A key that only someone with this key and `presented` can compute: HKDF with this key as the (secret) salt and
    /// `presented` as the keying material.
    pub(crate) fn mix(&self, presented: &[u8], label: &'static str) -> Self {
        Self { octets: hkdf_sha256(self.octets.as_slice(), presented, label.as_bytes()), label }
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DerivedKey({}, ..)", self.label)
    }
}

/// HKDF-SHA256 (RFC 5869 §2) for exactly one block of output, 32 octets: extract, then the first round of expand.
///
/// Written over HMAC because with a fixed length nothing can fail, whereas the library's own interface answers a
/// `Result` for lengths that don't occur here. The tests hold it against that interface and against the RFC's vectors.
fn hkdf_sha256(salt: &[u8], keying_material: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let extracted = hmac_sha256(&hmac::Key::new(hmac::HMAC_SHA256, salt), &[keying_material]);
    let pseudorandom = hmac::Key::new(hmac::HMAC_SHA256, extracted.as_slice());
    hmac_sha256(&pseudorandom, &[info, &[1]])
}

/// HMAC-SHA256 over the concatenation of `parts`.
pub(crate) fn hmac_sha256(key: &hmac::Key, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    let mut octets = Zeroizing::new([0_u8; 32]);
    // SHA-256's tag has 32 octets, so this copies all of them.
    for (to, from) in octets.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    octets
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use aws_lc_rs::hkdf;

    use super::*;

    fn key(first: u8) -> MasterKey {
        let mut octets = [7_u8; 32];
        octets[0] = first;
        MasterKey::from_bytes(octets)
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 5869 appendix A, cases 1 and 3; a shorter output is a prefix of a longer one (§2.3).
    #[test]
    fn hkdf_gives_the_values_of_rfc_5869() {
        let one = hkdf_sha256(&unhex("000102030405060708090a0b0c"), &[0x0b; 22], &unhex("f0f1f2f3f4f5f6f7f8f9"));
        assert_eq!(one.to_vec(), unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"));
        let three = hkdf_sha256(&[], &[0x0b; 22], &[]);
        assert_eq!(three.to_vec(), unhex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"));
    }

    #[test]
    fn hkdf_agrees_with_the_library() {
        for length in [0_usize, 1, 31, 32, 33, 64, 65, 200] {
            let salt = vec![0xa5; length];
            let material: Vec<u8> = (0..length).map(|octet| u8::try_from(octet).unwrap()).collect();
            let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&material);
            let mut expected = [0_u8; 32];
            extracted.expand(&[b"some ", b"info"], hkdf::HKDF_SHA256).unwrap().fill(&mut expected).unwrap();
            assert_eq!(*hkdf_sha256(&salt, &material, b"some info"), expected, "{length}");
        }
    }

    #[test]
    fn every_purpose_has_a_key_of_its_own() {
        let master = key(1);
        let mut seen: HashSet<[u8; 32]> =
            Purpose::ALL.iter().map(|purpose| *master.derive(*purpose).octets()).collect();
        assert_eq!(seen.len(), Purpose::ALL.len());
        seen.extend(Purpose::ALL.iter().map(|purpose| *key(2).derive(*purpose).octets()));
        assert_eq!(seen.len(), 2 * Purpose::ALL.len(), "another master key gives other keys");
        assert_eq!(master.derive(Purpose::Csrf).octets(), key(1).derive(Purpose::Csrf).octets());
    }

    /// Data at rest depends on these; the expected values were computed by another program (Python's hmac).
    #[test]
    fn derivations_stay_what_they_were() {
        let master = MasterKey::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(master.derive(Purpose::SigningKeySealing).octets().to_vec(), unhex(SIGNING_KEY_SEALING));
        assert_eq!(master.derive(Purpose::PairwiseSubject).octets().to_vec(), unhex(PAIRWISE_SUBJECT));
        assert_eq!(master.fingerprint(), FINGERPRINT);
    }
    const SIGNING_KEY_SEALING: &str = "58fbb0bec38f212549baf91f619084515afd2ce11f26088f74d415f8a7e948bf";
    const PAIRWISE_SUBJECT: &str = "05684a8662b6ef23e168a4cfbc63feabf506d8fac1aa2906f0ddf3aa4ef46ab8";
    const FINGERPRINT: &str = "a660307c8377c847";

    #[test]
    fn a_key_file_can_be_written_and_read() {
        let master = MasterKey::generate().unwrap();
        let line = master.encode();
        assert_eq!(line.len(), KEY_FILE_PREFIX.len() + 43);
        for text in [line.to_string(), format!("{}\n", *line), format!("{}\r\n", *line)] {
            let read = MasterKey::parse(&text).unwrap();
            assert_eq!(*read.octets, *master.octets);
            assert_eq!(read.fingerprint(), master.fingerprint());
        }
    }

    #[test]
    fn a_malformed_key_file_is_refused_with_its_reason() {
        let good = key(1).encode().to_string();
        let encoded = good.strip_prefix(KEY_FILE_PREFIX).unwrap();
        let refused = |text: &str| MasterKey::parse(text).unwrap_err();
        assert_eq!(refused(""), MasterKeyError::Empty);
        assert_eq!(refused(" \n"), MasterKeyError::Empty);
        assert_eq!(refused(encoded), MasterKeyError::Prefix);
        assert_eq!(refused(&format!(" {good}")), MasterKeyError::Prefix);
        assert_eq!(refused(&good.replace("key-1", "key-2")), MasterKeyError::Prefix);
        assert_eq!(refused(&format!("{good}\n\n")), MasterKeyError::MoreThanOneLine);
        assert_eq!(refused(&format!("{good}\n{good}")), MasterKeyError::MoreThanOneLine);
        assert_eq!(refused(&format!("{good}=")), MasterKeyError::Length { found: 44 });
        assert_eq!(refused(&good[..good.len() - 1]), MasterKeyError::Length { found: 42 });
        assert_eq!(refused(&format!("{KEY_FILE_PREFIX}{}", "+".repeat(43))), MasterKeyError::Encoding);
        // The last character's two lowest bits don't belong to any octet and must be zero.
        assert_eq!(refused(&format!("{KEY_FILE_PREFIX}{}B", "Q".repeat(42))), MasterKeyError::Encoding);
        assert_eq!(refused(&format!("{KEY_FILE_PREFIX}{}", "A".repeat(43))), MasterKeyError::Placeholder);
    }

    #[test]
    fn the_fingerprint_is_short_and_differs() {
        assert_eq!(key(1).fingerprint().len(), 16);
        assert_ne!(key(1).fingerprint(), key(2).fingerprint());
        let derived = hkdf_sha256(DERIVATION_SALT, key(1).octets.as_slice(), FINGERPRINT_LABEL.as_bytes());
        for purpose in Purpose::ALL {
            assert_ne!(key(1).derive(purpose).octets(), &*derived);
        }
    }

    #[test]
    fn debug_prints_no_key() {
        assert_eq!(format!("{:?}", key(1)), "MasterKey(..)");
        assert_eq!(format!("{:?}", key(1).derive(Purpose::Csrf)), "DerivedKey(keyward/1/csrf, ..)");
    }
}
