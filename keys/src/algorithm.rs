//! The signature algorithms that Keyward signs with and accepts (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
//!
//! Left out on purpose: `none` and the `HS*` family, so that no code path can select them by a header; P-384, P-521,
//! secp256k1 and the SHA-384 and SHA-512 variants of RSA, which no profile that we follow asks for.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// An asymmetric signature algorithm. As a string (and in serde) it is the JOSE name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256; signatures are `r || s`, 64 bytes (RFC 7518 §3.4).
    Es256,
    /// Ed25519 under its older, polymorphic name `EdDSA` (RFC 8037 §3.1).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes (RFC 7518 §3.5).
    Ps256,
}

/// A name that is none of [`Algorithm::ALL`]. It doesn't repeat the name, which comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown signature algorithm; known are ES256, EdDSA (also called Ed25519), RS256 and PS256")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// Every algorithm, in the order in which metadata should list them.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Rs256, Self::Ps256];

    /// The name in a JWS header's and a JWK's `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// Whether the key is an RSA key, whose size is a choice.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Ps256)
    }

    /// The value of `at_hash`, `c_hash` or `s_hash` for `value` in an ID token signed by this algorithm: base64url of
    /// the left half of the hash that the algorithm uses (OpenID Connect Core §3.1.3.6, §3.3.2.11). Ed25519 hashes by
    /// SHA-512 inside (RFC 8032 §5.1), so its half has 32 bytes; all others use SHA-256 and give 16.
    #[must_use]
    pub fn left_half_hash(&self, value: &[u8]) -> String {
        let hash = match self {
            Self::EdDsa => digest::digest(&digest::SHA512, value),
            Self::Es256 | Self::Rs256 | Self::Ps256 => digest::digest(&digest::SHA256, value),
        };
        let hash = hash.as_ref();
        let (left, _) = hash.split_at(hash.len() / 2);
        URL_SAFE_NO_PAD.encode(left)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Names are case-sensitive (RFC 7515 §4.1.1). `Ed25519` is the fully specified name of RFC 9864 §2.2 for what
    /// [`Algorithm::EdDsa`] does here.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ES256" => Ok(Self::Es256),
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            "RS256" => Ok(Self::Rs256),
            "PS256" => Ok(Self::Ps256),
            _ => Err(UnknownAlgorithm),
        }
    }
}

impl From<Algorithm> for &'static str {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.as_str()
    }
}

impl TryFrom<String> for Algorithm {
    type Error = UnknownAlgorithm;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_the_way_out_and_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(json, format!("\"{algorithm}\""));
            assert_eq!(serde_json::from_str::<Algorithm>(&json).unwrap(), algorithm);
        }
    }

    #[test]
    fn the_name_of_rfc_9864_is_understood() {
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDsa));
        assert_eq!(serde_json::from_str::<Algorithm>("\"Ed25519\"").unwrap(), Algorithm::EdDsa);
    }

    #[test]
    fn none_symmetric_and_misspelt_names_are_refused() {
        for name in ["none", "None", "HS256", "es256", "ES384", "ES256 ", "RS512", "Ed448", ""] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
        assert!(serde_json::from_str::<Algorithm>("\"none\"").is_err());
    }

    /// The access token and code of OpenID Connect Core's appendix A, with the hashes printed there.
    #[test]
    fn hashes_of_the_openid_connect_core_examples() {
        for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256] {
            assert_eq!(
                algorithm.left_half_hash(b"jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
                "77QmUPtjPfzWtF2AnpK9RQ"
            );
            assert_eq!(
                algorithm.left_half_hash(b"Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"),
                "LDktKdoQak3Pk0cnXxCltA"
            );
        }
    }

    /// Expected value computed by another program (Python's hashlib) for the same access token.
    #[test]
    fn ed25519_takes_half_of_sha_512() {
        assert_eq!(
            Algorithm::EdDsa.left_half_hash(b"jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM"
        );
    }
}
