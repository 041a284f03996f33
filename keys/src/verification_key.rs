//! Public keys for verifying signatures: parsed once, as JWK in and out (RFC 7517, RFC 7518 §6, RFC 8037 §2), with
//! their thumbprint (RFC 7638).
//!
//! A key is made for one algorithm and verifies by no other (RFC 8725 §3.1). Left out: certificates (`x5c`, `x5u`),
//! symmetric keys, other curves.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::compact::VerifyError;

/// The least size of an RSA modulus, in bits (RFC 7518 §3.3).
pub const MIN_RSA_BITS: usize = 2048;
/// The greatest size of an RSA modulus, in bits: beyond it a verification costs too much.
pub const MAX_RSA_BITS: usize = 8192;

/// Why a JWK, or its parts, aren't a usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// A member that the kind of key needs is absent or not a string.
    #[error("the member `{0}` is missing or not a string")]
    Missing(&'static str),
    /// A member isn't base64url without padding.
    #[error("the member `{0}` is not base64url without padding")]
    Encoding(&'static str),
    /// A coordinate hasn't the length of its curve (RFC 7518 §6.2.1.2).
    #[error("the member `{0}` does not have the length of its curve")]
    CoordinateLength(&'static str),
    /// The key's kind (`kty`, `crv`) doesn't fit the algorithm.
    #[error("the key's kind does not fit the algorithm {0}")]
    WrongKind(Algorithm),
    /// The RSA modulus is too short or too long.
    #[error("the RSA modulus has {0} bits; from {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")]
    RsaBits(usize),
    /// The RSA exponent is even, less than 3, or longer than 32 bits.
    #[error("the RSA exponent must be odd, at least 3 and at most 32 bits long")]
    RsaExponent,
    /// The numbers are no key: a point off the curve, for example.
    #[error("the numbers do not make a valid key")]
    Invalid,
}

/// The public numbers, base64url as in a JWK.
enum Material {
    Ec { x: String, y: String },
    Okp { x: String },
    Rsa { n: String, e: String },
}

/// A public key, parsed, for one algorithm.
pub struct VerificationKey {
    algorithm: Algorithm,
    material: Material,
    parsed: ParsedPublicKey,
}

impl VerificationKey {
    /// Reads the public part of a JWK, as a key for `algorithm`. Members that don't belong to the key's numbers aren't
    /// looked at: `alg`, `use`, `key_ops` and private members are the caller's to judge.
    ///
    /// # Errors
    /// [`JwkError`], which names the member that is wrong.
    pub fn from_jwk(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<Self, JwkError> {
        let kind = member(jwk, "kty")?;
        match (algorithm, kind) {
            (Algorithm::Es256, "EC") => {
                if member(jwk, "crv")? != "P-256" {
                    return Err(JwkError::WrongKind(algorithm));
                }
                Self::from_p256(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?)
            }
            (Algorithm::EdDsa, "OKP") => {
                if member(jwk, "crv")? != "Ed25519" {
                    return Err(JwkError::WrongKind(algorithm));
                }
                Self::from_ed25519(&coordinate(jwk, "x")?)
            }
            (Algorithm::Rs256 | Algorithm::Ps256, "RSA") => {
                Self::from_rsa(algorithm, &octets(jwk, "n")?, &octets(jwk, "e")?)
            }
            _ => Err(JwkError::WrongKind(algorithm)),
        }
    }

    /// An ES256 key from a point's coordinates.
    pub(crate) fn from_p256(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, JwkError> {
        // SEC 1 §2.3.3: an uncompressed point is 4, x, y. Parsing refuses a point that isn't on the curve.
        let mut point = Vec::with_capacity(65);
        point.push(4);
        point.extend_from_slice(x);
        point.extend_from_slice(y);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| JwkError::Invalid)?;
        let material = Material::Ec { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) };
        Ok(Self { algorithm: Algorithm::Es256, material, parsed })
    }

    /// An Ed25519 key from its 32 octets.
    pub(crate) fn from_ed25519(x: &[u8; 32]) -> Result<Self, JwkError> {
        let parsed = ParsedPublicKey::new(&ED25519, x).map_err(|_| JwkError::Invalid)?;
        Ok(Self { algorithm: Algorithm::EdDsa, material: Material::Okp { x: URL_SAFE_NO_PAD.encode(x) }, parsed })
    }

    /// An RSA key for `algorithm` from modulus and exponent, big-endian.
    pub(crate) fn from_rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, JwkError> {
        // RFC 7518 §6.3.1.1 warns of producers that put a zero octet in front; it changes nothing, so it is dropped.
        let n = without_leading_zeros(n);
        let e = without_leading_zeros(e);
        // RFC 7518 §3.3, §3.5: at least 2048 bits.
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(JwkError::RsaBits(bits));
        }
        // RFC 8017 §3.1: e is odd and at least 3. A long one only costs time.
        let exponent = e.iter().try_fold(0_u32, |sum, octet| Some(sum.checked_mul(256)? | u32::from(*octet)));
        if exponent.is_none_or(|exponent| exponent < 3 || exponent.is_multiple_of(2)) {
            return Err(JwkError::RsaExponent);
        }
        // RFC 8017 §3.1: n is a product of odd primes.
        if n.last().is_none_or(|last| last.is_multiple_of(2)) {
            return Err(JwkError::Invalid);
        }
        let parameters = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Es256 | Algorithm::EdDsa => return Err(JwkError::WrongKind(algorithm)),
        };
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| JwkError::Invalid)?;
        let material = Material::Rsa { n: URL_SAFE_NO_PAD.encode(n), e: URL_SAFE_NO_PAD.encode(e) };
        Ok(Self { algorithm, material, parsed })
    }

    /// The one algorithm that this key verifies by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies a raw signature (ES256: `r || s`) over `message`.
    ///
    /// # Errors
    /// [`VerifyError::Signature`] when it doesn't verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.parsed.verify_sig(message, signature).map_err(|_| VerifyError::Signature)
    }

    /// The JWK's SHA-256 thumbprint, base64url (RFC 7638 §3; the members of `OKP` by RFC 8037 §2).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // The required members alone, in the order of their names, without white space (§3.1, §3.3). All values are
        // base64url, so none needs an escape. Written by hand because the octets matter, not the JSON.
        let canonical = match &self.material {
            Material::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Material::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Material::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    /// The public JWK under the name `kid`, for signatures (RFC 7517 §4).
    #[must_use]
    pub fn to_jwk(&self, kid: &str) -> Value {
        let mut jwk = match &self.material {
            Material::Ec { x, y } => serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
            Material::Okp { x } => serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            Material::Rsa { n, e } => serde_json::json!({"kty": "RSA", "n": n, "e": e}),
        };
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".to_owned(), kid.into());
            members.insert("alg".to_owned(), self.algorithm.as_str().into());
            members.insert("use".to_owned(), "sig".into());
        }
        jwk
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerificationKey({}, {})", self.algorithm, self.thumbprint())
    }
}

/// A member that must be a string.
fn member<'jwk>(jwk: &'jwk Map<String, Value>, name: &'static str) -> Result<&'jwk str, JwkError> {
    jwk.get(name).and_then(Value::as_str).ok_or(JwkError::Missing(name))
}

/// A member that must be base64url.
fn octets(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    URL_SAFE_NO_PAD.decode(member(jwk, name)?).map_err(|_| JwkError::Encoding(name))
}

/// A member that must be base64url of 32 octets, leading zeros included (RFC 7518 §6.2.1.2, RFC 8037 §2).
fn coordinate(jwk: &Map<String, Value>, name: &'static str) -> Result<[u8; 32], JwkError> {
    octets(jwk, name)?.try_into().map_err(|_| JwkError::CoordinateLength(name))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let mut rest = number;
    while let Some((0, tail)) = rest.split_first() {
        rest = tail;
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    /// The modulus of RFC 7638 §3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    /// The public key of RFC 7515 appendix A.3.
    fn p256() -> Map<String, Value> {
        object(json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }))
    }

    #[test]
    fn the_thumbprint_of_rfc_7638() {
        let jwk = object(json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}));
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
            let key = VerificationKey::from_jwk(&jwk, algorithm).unwrap();
            assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        }
    }

    /// RFC 8037 appendix A.3 and A.4.
    #[test]
    fn the_thumbprint_and_signature_of_rfc_8037() {
        let jwk = object(json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }));
        let key = VerificationKey::from_jwk(&jwk, Algorithm::EdDsa).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        key.verify(message, &signature).unwrap();
        assert_eq!(key.verify(b"other", &signature), Err(VerifyError::Signature));
    }

    #[test]
    fn a_jwk_survives_the_way_in_and_out() {
        let jwk = VerificationKey::from_jwk(&p256(), Algorithm::Es256).unwrap().to_jwk("one");
        let mut expected = p256();
        expected.extend(object(json!({"kid": "one", "alg": "ES256", "use": "sig"})));
        assert_eq!(jwk, Value::Object(expected));
    }

    #[test]
    fn a_leading_zero_changes_nothing() {
        let mut n = vec![0];
        n.extend(URL_SAFE_NO_PAD.decode(N).unwrap());
        let key = VerificationKey::from_rsa(Algorithm::Rs256, &n, &[0, 1, 0, 1]).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn malformed_points_are_refused() {
        let refused = |name: &str, value: Value| {
            let mut jwk = p256();
            jwk.insert(name.to_owned(), value);
            VerificationKey::from_jwk(&jwk, Algorithm::Es256).unwrap_err()
        };
        assert_eq!(refused("x", json!(URL_SAFE_NO_PAD.encode([1; 32]))), JwkError::Invalid);
        assert_eq!(refused("x", json!(URL_SAFE_NO_PAD.encode([1; 31]))), JwkError::CoordinateLength("x"));
        assert_eq!(refused("y", json!(URL_SAFE_NO_PAD.encode([1; 33]))), JwkError::CoordinateLength("y"));
        assert_eq!(refused("y", json!("a+b/")), JwkError::Encoding("y"));
        assert_eq!(refused("y", json!(7)), JwkError::Missing("y"));
        assert_eq!(refused("crv", json!("P-384")), JwkError::WrongKind(Algorithm::Es256));
        assert_eq!(refused("kty", json!("RSA")), JwkError::WrongKind(Algorithm::Es256));
        assert_eq!(refused("kty", Value::Null), JwkError::Missing("kty"));
        let jwk = p256();
        let wrong = VerificationKey::from_jwk(&jwk, Algorithm::EdDsa).unwrap_err();
        assert_eq!(wrong, JwkError::WrongKind(Algorithm::EdDsa));
    }

    #[test]
    fn weak_rsa_keys_are_refused() {
        let n = URL_SAFE_NO_PAD.decode(N).unwrap();
        let refused = |n: &[u8], e: &[u8]| VerificationKey::from_rsa(Algorithm::Rs256, n, e).unwrap_err();
        assert_eq!(refused(&n[1..], &[1, 0, 1]), JwkError::RsaBits(2040));
        let mut short = n.clone();
        short[0] = 0x7f;
        assert_eq!(refused(&short, &[1, 0, 1]), JwkError::RsaBits(2047));
        assert_eq!(refused(&[0xff; 1025], &[1, 0, 1]), JwkError::RsaBits(8200));
        assert_eq!(refused(&[], &[1, 0, 1]), JwkError::RsaBits(0));
        for exponent in [&[][..], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(refused(&n, exponent), JwkError::RsaExponent, "{exponent:?}");
        }
        let mut even = n;
        *even.last_mut().unwrap() &= 0xfe;
        assert_eq!(refused(&even, &[1, 0, 1]), JwkError::Invalid);
    }
}
