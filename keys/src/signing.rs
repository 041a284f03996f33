//! The server's private signing keys: made, read from PKCS#8 (RFC 5958), parsed once, used for every signature.
//!
//! Parsing at each signature would cost more than half of an RSA signature's time; so the key pair stays parsed.
//! Left out: sealing at rest ([`crate::sealing`]) and states ([`crate::key_ring`]).

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair, Signature,
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::compact::VerifyError;
use crate::jwt::EncodedHeaders;
use crate::verification_key::{JwkError, VerificationKey};

/// The size of an RSA key when none is asked for, in bits. It signs far faster than a longer one, and NIST SP
/// 800-57 allows it to 2030, beyond the life of a rotating key.
pub const DEFAULT_RSA_BITS: u32 = 2048;

/// What can go wrong with a private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The library couldn't make a key or find chance for it.
    #[error("a key could not be generated")]
    Generate,
    /// The library couldn't prepare a derived key or write a public one.
    #[error("a key could not be prepared")]
    Prepare,
    /// The octets aren't a PKCS#8 private key for the algorithm.
    #[error("the octets are not a PKCS#8 private key for {algorithm}: {reason}")]
    Rejected {
        /// The algorithm that the key was read for.
        algorithm: Algorithm,
        /// The library's word for what is wrong; nothing of the key.
        reason: String,
    },
    /// The public half isn't acceptable.
    #[error("the public half of the key is not acceptable: {0}")]
    PublicHalf(#[from] JwkError),
    /// A size that RSA keys aren't made in.
    #[error("RSA keys are made with 2048, 3072 or 4096 bits, not {0}")]
    RsaBits(u32),
    /// A size was asked for, but the algorithm has only one.
    #[error("{0} keys have one size")]
    NotRsa(Algorithm),
    /// A key id that isn't 1 to 255 visible ASCII characters.
    #[error("a key id has 1 to 255 visible ASCII characters")]
    KeyId,
    /// The library failed to sign.
    #[error("the signature could not be made")]
    Sign,
    /// The claims couldn't be written as JSON.
    #[error("the claims could not be written as JSON")]
    Claims(#[source] serde_json::Error),
    /// The claims are JSON, but no object (RFC 7519 §3).
    #[error("the claims are not a JSON object")]
    ClaimsNoObject,
}

/// The parsed private half.
enum KeyPair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

/// A signature's octets. The library's own type has room for the longest of all schemes, 4.6 KB; this one is moved
/// cheaply.
pub(crate) enum RawSignature {
    Curve([u8; 64]),
    Rsa(Vec<u8>),
}

impl AsRef<[u8]> for RawSignature {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Curve(signature) => signature,
            Self::Rsa(signature) => signature,
        }
    }
}

/// A private signing key with its name (`kid`) and its public half.
pub struct SigningKey {
    kid: String,
    pair: KeyPair,
    public: VerificationKey,
    /// What the library's interface asks for; it draws its chance by itself.
    random: SystemRandom,
    pub(crate) headers: EncodedHeaders,
}

impl SigningKey {
    /// Makes a key, of [`DEFAULT_RSA_BITS`] if RSA. Its `kid` is its thumbprint (RFC 7638). The second value is the key
    /// as PKCS#8, for sealing; it is wiped when dropped. An RSA key takes some 100 ms or more: not on a thread that
    /// answers requests.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the library or the system's chance fails.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        named_well(|| Self::generate_one(algorithm))
    }

    fn generate_one(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let pkcs8 = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?;
                let document = pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
                Zeroizing::new(document.as_ref().to_vec())
            }
            Algorithm::EdDsa => {
                // Version 1, without the public half, is what every other tool reads (RFC 8410 §7).
                let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
                let document = pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
                Zeroizing::new(document.as_ref().to_vec())
            }
            Algorithm::Rs256 | Algorithm::Ps256 => return Self::generate_rsa(algorithm, DEFAULT_RSA_BITS),
        };
        Ok((Self::import_pkcs8(algorithm, &pkcs8)?, pkcs8))
    }

    /// As [`SigningKey::generate`], for an RSA algorithm and a size of 2048, 3072 or 4096 bits.
    ///
    /// # Errors
    /// [`KeyError::NotRsa`], [`KeyError::RsaBits`], [`KeyError::Generate`].
    pub fn generate_rsa(algorithm: Algorithm, bits: u32) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        if !algorithm.is_rsa() {
            return Err(KeyError::NotRsa(algorithm));
        }
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(KeyError::RsaBits(bits)),
        };
        named_well(|| {
            let pair = RsaKeyPair::generate(size).map_err(|_| KeyError::Generate)?;
            let document: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| KeyError::Generate)?;
            let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
            Ok((Self::import_pkcs8(algorithm, &pkcs8)?, pkcs8))
        })
    }

    /// Reads a key and keeps the name that it was stored under.
    ///
    /// # Errors
    /// [`KeyError::KeyId`], [`KeyError::Rejected`] or [`KeyError::PublicHalf`].
    pub fn from_pkcs8(kid: &str, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let (pair, public) = read(algorithm, pkcs8)?;
        Self::assemble(kid.to_owned(), pair, public)
    }

    /// Reads a key that was made elsewhere and names it by its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// [`KeyError::Rejected`] or [`KeyError::PublicHalf`].
    pub fn import_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let (pair, public) = read(algorithm, pkcs8)?;
        Self::assemble(public.thumbprint(), pair, public)
    }

    fn assemble(kid: String, pair: KeyPair, public: VerificationKey) -> Result<Self, KeyError> {
        // A key id goes into every token, log and URL of an admin page: keep it to what needs no care there.
        if kid.is_empty() || kid.len() > 255 || !kid.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(KeyError::KeyId);
        }
        let headers = EncodedHeaders::new(public.algorithm(), &kid);
        Ok(Self { kid, pair, public, random: SystemRandom::new(), headers })
    }

    /// The key's name: `kid` in headers and in the JWK Set.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm that this key signs by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &VerificationKey {
        &self.public
    }

    /// The public half as a JWK with `kid`, `alg` and `use` (RFC 7517 §4).
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        self.public.to_jwk(&self.kid)
    }

    /// The public half as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
    ///
    /// # Errors
    /// [`KeyError::Prepare`] when the library can't write it.
    pub fn public_spki(&self) -> Result<Vec<u8>, KeyError> {
        let der: Result<PublicKeyX509Der<'static>, Unspecified> = match &self.pair {
            KeyPair::Ecdsa(pair) => pair.public_key().as_der(),
            KeyPair::Ed25519(pair) => pair.public_key().as_der(),
            KeyPair::Rsa(pair, _) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec()).map_err(|_| KeyError::Prepare)
    }

    /// Signs a message; the raw signature as JWS wants it (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1).
    ///
    /// # Errors
    /// [`KeyError::Sign`] when the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.raw_signature(message)?.as_ref().to_vec())
    }

    /// As [`SigningKey::sign`], without an allocation for the elliptic curves.
    pub(crate) fn raw_signature(&self, message: &[u8]) -> Result<RawSignature, KeyError> {
        let curve = |signature: Result<Signature, Unspecified>| {
            let signature = signature.map_err(|_| KeyError::Sign)?;
            signature.as_ref().try_into().map(RawSignature::Curve).map_err(|_| KeyError::Sign)
        };
        match &self.pair {
            KeyPair::Ecdsa(pair) => curve(pair.sign(&self.random, message)),
            KeyPair::Ed25519(pair) => curve(pair.try_sign(message)),
            KeyPair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &self.random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(RawSignature::Rsa(signature))
            }
        }
    }

    /// How many octets a signature of this key has.
    pub(crate) fn signature_octets(&self) -> usize {
        match &self.pair {
            KeyPair::Ecdsa(_) | KeyPair::Ed25519(_) => 64,
            KeyPair::Rsa(pair, _) => pair.public_modulus_len(),
        }
    }

    /// Verifies a raw signature of this key.
    ///
    /// # Errors
    /// [`VerifyError::Signature`] when it doesn't verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.public.verify(message, signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({}, {}, ..)", self.algorithm(), self.kid)
    }
}

/// Parses the private key and takes its public half out.
fn read(algorithm: Algorithm, pkcs8: &[u8]) -> Result<(KeyPair, VerificationKey), KeyError> {
    let rejected = |reason: &str| KeyError::Rejected { algorithm, reason: reason.to_owned() };
    match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .map_err(|error| rejected(&error.to_string()))?;
            // SEC 1 §2.3.3: 4, then both coordinates of 32 octets.
            let (x, y) = pair
                .public_key()
                .as_ref()
                .strip_prefix(&[4])
                .and_then(|point| point.split_first_chunk::<32>())
                .and_then(|(x, rest)| Some((x, <&[u8; 32]>::try_from(rest).ok()?)))
                .ok_or_else(|| rejected("the public point has an unknown form"))?;
            let public = VerificationKey::from_p256(x, y)?;
            Ok((KeyPair::Ecdsa(pair), public))
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|error| rejected(&error.to_string()))?;
            let x = <&[u8; 32]>::try_from(pair.public_key().as_ref())
                .map_err(|_| rejected("the public key hasn't 32 octets"))?;
            let public = VerificationKey::from_ed25519(x)?;
            Ok((KeyPair::Ed25519(pair), public))
        }
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|error| rejected(&error.to_string()))?;
            let (n, e) = rsa_numbers(pair.public_key().as_ref())
                .ok_or_else(|| rejected("the public key has an unknown form"))?;
            let public = VerificationKey::from_rsa(algorithm, n, e)?;
            let encoding: &'static dyn RsaEncoding =
                if algorithm == Algorithm::Ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
            Ok((KeyPair::Rsa(pair, encoding), public))
        }
    }
}

/// Modulus and exponent of an `RSAPublicKey` in DER: a sequence of two integers (RFC 8017 §A.1.1). The library gives
/// the public half in this form; its own accessors need a feature that brings another dependency.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = der_value(der, 0x30)?;
    let (n, sequence) = der_value(sequence, 0x02)?;
    let (e, sequence) = der_value(sequence, 0x02)?;
    (rest.is_empty() && sequence.is_empty()).then_some((n, e))
}

/// The content of the element with `tag` that `der` starts with, and what follows it (X.690 §8.1).
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        // §8.1.3.5: the long form; two octets of length are enough for any key that is accepted.
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = match octets {
            [one] => usize::from(*one),
            [high, low] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
        (length, rest)
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

/// Makes keys until one has a name that a command line doesn't take for a flag: one in 64 begins with a hyphen.
fn named_well(
    make: impl Fn() -> Result<(SigningKey, Zeroizing<Vec<u8>>), KeyError>,
) -> Result<(SigningKey, Zeroizing<Vec<u8>>), KeyError> {
    loop {
        let made = make()?;
        if !made.0.kid().starts_with('-') {
            return Ok(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_of_each_algorithm_signs_and_survives_storage() {
        for algorithm in Algorithm::ALL {
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.kid(), key.public().thumbprint());
            let signature = key.sign(b"message").unwrap();
            assert_eq!(signature.len(), if algorithm.is_rsa() { 256 } else { 64 });
            key.verify(b"message", &signature).unwrap();
            assert_eq!(key.verify(b"massage", &signature), Err(VerifyError::Signature));
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert_eq!(key.verify(b"message", &changed), Err(VerifyError::Signature), "{algorithm} {at}");
            }
            assert_eq!(key.verify(b"message", &[]), Err(VerifyError::Signature));

            let read = SigningKey::from_pkcs8("another-name", algorithm, &pkcs8).unwrap();
            assert_eq!(read.kid(), "another-name");
            assert_eq!(read.public().thumbprint(), key.kid());
            read.verify(b"message", &signature).unwrap();
            key.verify(b"message", &read.sign(b"message").unwrap()).unwrap();
        }
    }

    #[test]
    fn one_rsa_key_under_two_algorithms_verifies_only_by_its_own() {
        let (pkcs1, pkcs8) = SigningKey::generate(Algorithm::Rs256).unwrap();
        let pss = SigningKey::from_pkcs8("pss", Algorithm::Ps256, &pkcs8).unwrap();
        let signature = pkcs1.sign(b"message").unwrap();
        assert_eq!(pss.verify(b"message", &signature), Err(VerifyError::Signature));
        let signature = pss.sign(b"message").unwrap();
        assert_eq!(pkcs1.verify(b"message", &signature), Err(VerifyError::Signature));
    }

    #[test]
    fn rsa_keys_come_in_three_sizes() {
        let (key, _) = SigningKey::generate_rsa(Algorithm::Ps256, 3072).unwrap();
        assert_eq!(key.sign(b"message").unwrap().len(), 384);
        let n = key.public_jwk()["n"].as_str().map(|n| URL_SAFE_NO_PAD.decode(n).unwrap().len());
        assert_eq!(n, Some(384));
        for bits in [0, 1024, 2047, 8192] {
            assert!(matches!(SigningKey::generate_rsa(Algorithm::Rs256, bits), Err(KeyError::RsaBits(_))));
        }
        assert!(matches!(SigningKey::generate_rsa(Algorithm::Es256, 2048), Err(KeyError::NotRsa(Algorithm::Es256))));
    }

    #[test]
    fn a_key_of_another_kind_or_cut_short_is_refused() {
        let (_, es256) = SigningKey::generate(Algorithm::Es256).unwrap();
        for algorithm in [Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
            let refused = SigningKey::from_pkcs8("kid", algorithm, &es256).unwrap_err();
            assert!(matches!(refused, KeyError::Rejected { algorithm: at, .. } if at == algorithm), "{refused}");
        }
        assert!(SigningKey::import_pkcs8(Algorithm::Es256, &es256[..es256.len() - 1]).is_err());
        assert!(SigningKey::import_pkcs8(Algorithm::Es256, &[]).is_err());
        let (_, ed25519) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert!(SigningKey::import_pkcs8(Algorithm::Es256, &ed25519).is_err());
    }

    #[test]
    fn key_ids_are_visible_ascii() {
        let (_, pkcs8) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        for kid in ["", " ", "a b", "a\n", "ä", &"a".repeat(256)] {
            assert!(matches!(SigningKey::from_pkcs8(kid, Algorithm::EdDsa, &pkcs8), Err(KeyError::KeyId)), "{kid:?}");
        }
        // Quotes are visible; the header must still be JSON.
        let key = SigningKey::from_pkcs8("a\"b\\c", Algorithm::EdDsa, &pkcs8).unwrap();
        let token = key.sign_jwt(crate::TokenType::IdToken, &json!({})).unwrap();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&header).unwrap()["kid"], "a\"b\\c");
    }

    /// RFC 8037 appendix A: the private key, its public half, and the signature, which Ed25519 makes without chance.
    #[test]
    fn ed25519_signs_as_in_rfc_8037() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        // RFC 8410 §7: version 0, the algorithm, and the seed as an octet string within an octet string.
        let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        pkcs8.extend(seed);
        let key = SigningKey::import_pkcs8(Algorithm::EdDsa, &pkcs8).unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.public_jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signature),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn the_public_jwk_has_its_members_and_no_private_one() {
        for (algorithm, expected) in [
            (Algorithm::Es256, vec!["alg", "crv", "kid", "kty", "use", "x", "y"]),
            (Algorithm::EdDsa, vec!["alg", "crv", "kid", "kty", "use", "x"]),
            (Algorithm::Rs256, vec!["alg", "e", "kid", "kty", "n", "use"]),
            (Algorithm::Ps256, vec!["alg", "e", "kid", "kty", "n", "use"]),
        ] {
            let (key, _) = SigningKey::generate(algorithm).unwrap();
            let jwk = key.public_jwk();
            let mut members: Vec<&str> = jwk.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, expected);
            assert_eq!(jwk["alg"], algorithm.as_str());
            assert_eq!(jwk["use"], "sig");
            assert_eq!(jwk["kid"], key.kid());
        }
    }

    #[test]
    fn der_with_wrong_lengths_or_tags_is_refused() {
        assert_eq!(rsa_numbers(&[0x30, 6, 2, 1, 7, 2, 1, 3]), Some((&[7][..], &[3][..])));
        assert_eq!(rsa_numbers(&[0x30, 0x81, 6, 2, 1, 7, 2, 1, 3]), Some((&[7][..], &[3][..])));
        assert_eq!(rsa_numbers(&[0x30, 0x82, 0, 6, 2, 1, 7, 2, 1, 3]), Some((&[7][..], &[3][..])));
        for wrong in [
            &[][..],
            &[0x30],
            &[0x31, 6, 2, 1, 7, 2, 1, 3],
            &[0x30, 7, 2, 1, 7, 2, 1, 3],
            &[0x30, 6, 2, 1, 7, 2, 1, 3, 0],
            &[0x30, 6, 2, 1, 7, 2, 2, 3],
            &[0x30, 6, 2, 1, 7, 3, 1, 3],
            &[0x30, 3, 2, 1, 7],
            &[0x30, 0x83, 0, 0, 6, 2, 1, 7, 2, 1, 3],
            &[0x30, 0x80, 2, 1, 7, 2, 1, 3, 0, 0],
        ] {
            assert_eq!(rsa_numbers(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn debug_prints_no_key() {
        let (key, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey(EdDSA, {}, ..)", key.kid()));
    }

    #[test]
    fn no_generated_name_looks_like_a_flag() {
        // Of a thousand names some fifteen would begin with a hyphen.
        for _ in 0..1000 {
            let (key, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
            assert!(!key.kid().starts_with('-'), "{}", key.kid());
        }
    }
}
