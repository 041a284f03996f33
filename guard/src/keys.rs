//! A JWK set (RFC 7517 §5) as keys that can verify signatures of access tokens.
//!
//! Each key is pinned to one signature algorithm when it is read: by its `alg`, else by its `kty` and `crv`. A token can
//! never choose another (RFC 8725 §3.1). Symmetric keys are never taken, for then everyone who can check a token could
//! make one. Left out: encryption keys, certificate chains (`x5c`, `x5u`), curves other than P-256 and Ed25519.

use std::sync::OnceLock;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// A set with more keys than this is refused: no issuer rotates among so many.
const MAX_KEYS: usize = 256;

/// A key id longer than this is refused, in a set and in a token's header. In bytes.
pub(crate) const MAX_KID_BYTES: usize = 512;

/// A signature algorithm that an access token may have (RFC 7518 §3.1, RFC 8037, RFC 9864).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// EdDSA on Ed25519; its name is `EdDSA` or, by RFC 9864, `Ed25519`.
    Ed25519,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

impl SignatureAlgorithm {
    /// The algorithm of this `alg` value. `none`, every symmetric algorithm and all others have none.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::Ed25519),
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }

    /// The `kty` of keys for this algorithm (RFC 7518 §6.1).
    fn key_type(self) -> &'static str {
        match self {
            Self::Es256 => "EC",
            Self::Ed25519 => "OKP",
            Self::Rs256 | Self::Ps256 => "RSA",
        }
    }
}

/// Why a JWK set can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not a JSON object with an array `keys` of objects.
    #[error("not a JWK set: {0}")]
    Malformed(String),
    /// More keys than this crate takes (256).
    #[error("the JWK set has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// No key in it can verify an access token.
    #[error("no key of the JWK set can verify a signature with ES256, EdDSA, RS256 or PS256")]
    NoUsableKey,
}

/// One key: its id, its only algorithm, its public part, parsed once: parsing costs a fifth of an RSA check.
pub(crate) struct VerifyingKey {
    kid: Option<String>,
    algorithm: SignatureAlgorithm,
    public: ParsedPublicKey,
    /// The header, in base64url, of the first access token that this key was found to have signed. An issuer gives all
    /// tokens of a key the same, and what was judged good octet for octet needn't be judged again.
    header: OnceLock<Box<str>>,
}

impl VerifyingKey {
    /// Whether `signature` is this key's signature of `message`, whose SHA-256 may be known.
    pub(crate) fn signed(&self, message: &[u8], sha256: Option<&Digest>, signature: &[u8]) -> bool {
        match (self.algorithm, sha256) {
            // Ed25519 hashes the message by itself (RFC 8032 §5.1).
            (SignatureAlgorithm::Ed25519, _) | (_, None) => self.public.verify_sig(message, signature).is_ok(),
            (_, Some(sha256)) => self.public.verify_digest_sig(sha256, signature).is_ok(),
        }
    }

    /// Remembers the header of an access token that was found good and for which no other key came into question.
    pub(crate) fn remember_header(&self, header: &str) {
        if self.header.get().is_none() {
            // Somebody else's of the same moment is as good.
            let _ = self.header.set(header.into());
        }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.public.as_ref() == other.public.as_ref()
    }
}

/// The keys of an issuer, parsed once and immutable.
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    ignored: usize,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.iter().map(|key| (key.kid.as_deref(), key.algorithm));
        f.debug_struct("KeySet").field("keys", &keys.collect::<Vec<_>>()).field("ignored", &self.ignored).finish()
    }
}

/// What the search for a token's key came to.
pub(crate) enum Search<'a> {
    /// The key to try, and others of the same id and algorithm: nearly always none.
    Found(&'a VerifyingKey, Vec<&'a VerifyingKey>),
    /// No key has this id, or none without an id fits: a newer set may have one.
    Unknown,
    /// The key with this id has another algorithm.
    OtherAlgorithm,
    /// The token names no key, and several fit.
    Ambiguous,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5).
    ///
    /// A key that can't serve is left out, as RFC 7517 §5 advises: an unknown `kty`, `crv` or `alg`, `use` other than
    /// `sig`, `key_ops` without `verify`, a missing or malformed member, a symmetric key. An RSA key without `alg` is
    /// taken for RS256. Two keys may share a `kid`: the algorithm chooses, and where that is the same too, both are tried.
    ///
    /// # Errors
    /// [`KeySetError`] when the document is malformed, too large or has no usable key at all.
    pub fn from_jwks_json(json: &[u8]) -> Result<Self, KeySetError> {
        let document: JwkSet =
            serde_json::from_slice(json).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let offered = document.keys.len();
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok().and_then(VerifyingKey::from_jwk))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self { ignored: offered - keys.len(), keys })
    }

    /// Whether a usable key has this id.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// How many usable keys the set has; at least one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the set has no usable key; never so for a set that was read without error.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the document were left out because they can't verify access tokens.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// The key that an access token with this header must be signed by, where one was found good before.
    pub(crate) fn of_header(&self, header: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.header.get().is_some_and(|known| **known == *header))
    }

    /// Finds the key for a token's header.
    pub(crate) fn search(&self, kid: Option<&str>, algorithm: SignatureAlgorithm) -> Search<'_> {
        match kid {
            Some(kid) => {
                let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
                if named.peek().is_none() {
                    return Search::Unknown;
                }
                let mut fitting = named.filter(|key| key.algorithm == algorithm);
                match fitting.next() {
                    Some(key) => Search::Found(key, fitting.collect()),
                    None => Search::OtherAlgorithm,
                }
            }
            None => {
                let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
                match (fitting.next(), fitting.next()) {
                    (None, _) => Search::Unknown,
                    (Some(key), None) => Search::Found(key, Vec::new()),
                    (Some(_), Some(_)) => Search::Ambiguous,
                }
            }
        }
    }

    /// Whether both sets hold the same keys under the same names.
    #[cfg(feature = "discovery")]
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

/// The members of a JWK that matter here (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    public_key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl VerifyingKey {
    fn from_jwk(jwk: Jwk) -> Option<Self> {
        // RFC 7517 §4.2, §4.3: a key made for another purpose isn't used for signatures.
        if jwk.public_key_use.as_deref().is_some_and(|purpose| purpose != "sig")
            || jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify"))
            || jwk.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES)
        {
            return None;
        }
        // RFC 8725 §3.1: one algorithm for a key, settled before any token is seen.
        let algorithm = match (&jwk.alg, jwk.kty.as_str(), jwk.crv.as_deref()) {
            (Some(alg), kty, _) => SignatureAlgorithm::from_name(alg).filter(|found| found.key_type() == kty)?,
            (None, "EC", Some("P-256")) => SignatureAlgorithm::Es256,
            (None, "OKP", Some("Ed25519")) => SignatureAlgorithm::Ed25519,
            (None, "RSA", _) => SignatureAlgorithm::Rs256,
            _ => return None,
        };
        let public = match algorithm {
            SignatureAlgorithm::Es256 => {
                // RFC 7518 §6.2.1: both coordinates have the full length of the curve's field.
                let (x, y) = (octets(&jwk.x)?, octets(&jwk.y)?);
                if jwk.crv.as_deref() != Some("P-256") || x.len() != 32 || y.len() != 32 {
                    return None;
                }
                // SEC 1 §2.3.3: an uncompressed point. One that isn't on the curve fails the parse.
                let point: Vec<u8> = [&[4][..], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            SignatureAlgorithm::Ed25519 => {
                let x = octets(&jwk.x)?;
                if jwk.crv.as_deref() != Some("Ed25519") || x.len() != 32 {
                    return None;
                }
                ParsedPublicKey::new(&ED25519, x)
            }
            SignatureAlgorithm::Rs256 | SignatureAlgorithm::Ps256 => {
                let (n, e) = (octets(&jwk.n)?, octets(&jwk.e)?);
                // RFC 7518 §3.3, §3.5: 2048 bits or more. The upper bound keeps a check cheap.
                if !(256..=1024).contains(&n.len()) || n.first().is_none_or(|first| *first == 0) || e.is_empty() {
                    return None;
                }
                let parameters = match algorithm {
                    SignatureAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters)
            }
        };
        Some(Self { kid: jwk.kid, algorithm, public: public.ok()?, header: OnceLock::new() })
    }
}

/// A base64url member of a JWK.
fn octets(member: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of RFC 7515 A.3.
    const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn rsa(extra: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode([0xC5; 256]);
        format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"{extra}}}"#)
    }

    fn set(keys: &[String]) -> Result<KeySet, KeySetError> {
        KeySet::from_jwks_json(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn an_algorithm_is_pinned_by_alg_or_by_the_kind_of_key() {
        let x = URL_SAFE_NO_PAD.encode([1; 32]);
        let read = set(&[
            rsa(r#","kid":"plain""#),
            rsa(r#","kid":"pss","alg":"PS256""#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"ed"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"ed-named","alg":"Ed25519"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{EC_X}","y":"{EC_Y}","kid":"ec"}}"#),
        ])
        .unwrap();
        let pinned = |kid: &str| read.keys.iter().find(|key| key.kid.as_deref() == Some(kid)).unwrap().algorithm;
        assert_eq!(pinned("plain"), SignatureAlgorithm::Rs256);
        assert_eq!(pinned("pss"), SignatureAlgorithm::Ps256);
        assert_eq!(pinned("ed"), SignatureAlgorithm::Ed25519);
        assert_eq!(pinned("ed-named"), SignatureAlgorithm::Ed25519);
        assert_eq!(pinned("ec"), SignatureAlgorithm::Es256);
        assert_eq!((read.len(), read.ignored(), read.contains("pss"), read.contains("PSS")), (5, 0, true, false));
    }

    #[test]
    fn keys_that_must_not_verify_are_left_out() {
        let x = URL_SAFE_NO_PAD.encode([1; 32]);
        let short = URL_SAFE_NO_PAD.encode([0xC5; 128]);
        let bad = [
            rsa(r#","use":"enc""#),
            rsa(r#","alg":"RSA-OAEP""#),
            rsa(r#","alg":"RS512""#),
            rsa(r#","alg":"none""#),
            rsa(r#","alg":"HS256""#),
            rsa(r#","alg":"ES256""#),
            rsa(r#","key_ops":["encrypt"]"#),
            rsa(r#","alg":7"#),
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            r#"{"kty":"RSA","e":"AQAB"}"#.to_owned(),
            format!(r#"{{"kty":"oct","k":"{x}"}}"#),
            format!(r#"{{"kty":"oct","k":"{x}","alg":"HS256"}}"#),
            format!(r#"{{"kty":"oct","k":"{x}","alg":"RS256"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}","alg":"ES256"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"AQ","y":"{x}"}}"#),
            // Not on the curve.
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{EC_X}","y":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}=="}}"#),
            rsa(&format!(r#","kid":"{}""#, "k".repeat(MAX_KID_BYTES + 1))),
            "7".to_owned(),
        ];
        for key in &bad {
            assert_eq!(set(std::slice::from_ref(key)).unwrap_err(), KeySetError::NoUsableKey, "{key}");
        }
        let mut with_a_good_one = bad.to_vec();
        with_a_good_one.push(rsa(r#","kid":"good","key_ops":["verify"],"use":"sig""#));
        let read = set(&with_a_good_one).unwrap();
        assert_eq!((read.len(), read.ignored()), (1, bad.len()));
    }

    #[test]
    fn a_document_that_is_no_key_set_is_refused() {
        for document in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html>", r#"{"keys":["#] {
            let refused = KeySet::from_jwks_json(document.as_bytes());
            assert!(matches!(refused, Err(KeySetError::Malformed(_))), "{document}");
        }
        assert_eq!(set(&[]).unwrap_err(), KeySetError::NoUsableKey);
        assert_eq!(set(&vec![rsa(""); MAX_KEYS + 1]).unwrap_err(), KeySetError::TooManyKeys);
    }

    #[test]
    fn a_token_without_kid_finds_a_key_only_when_one_fits() {
        let read = set(&[rsa(r#","kid":"a""#), rsa(r#","kid":"b","alg":"PS256""#), rsa(r#","kid":"c""#)]).unwrap();
        assert!(matches!(read.search(None, SignatureAlgorithm::Ps256), Search::Found(_, others) if others.is_empty()));
        assert!(matches!(read.search(None, SignatureAlgorithm::Rs256), Search::Ambiguous));
        assert!(matches!(read.search(None, SignatureAlgorithm::Es256), Search::Unknown));
        assert!(matches!(read.search(Some("a"), SignatureAlgorithm::Ps256), Search::OtherAlgorithm));
        assert!(matches!(read.search(Some(""), SignatureAlgorithm::Rs256), Search::Unknown));
    }
}
