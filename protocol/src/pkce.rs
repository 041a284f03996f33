//! Proof Key for Code Exchange (RFC 7636). Only S256: `plain` is refused (RFC 9700 §2.1.1).

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::refusal::{ErrorCode, Refusal};

/// An S256 challenge: the SHA-256 of the verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Reads `code_challenge` and `code_challenge_method` of an authorization request.
    ///
    /// # Errors
    /// `invalid_request` for `plain`, an unknown method, a challenge that isn't 32 octets in base64url, or a method
    /// without a challenge.
    pub fn from_request(challenge: Option<&str>, method: Option<&str>) -> Result<Option<Self>, Refusal> {
        let Some(challenge) = challenge else {
            // RFC 7636 §4.3: the method means nothing without a challenge; a client that sends it believes in PKCE.
            return match method {
                None => Ok(None),
                Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "PKCE: code_challenge is missing.")),
            };
        };
        // RFC 7636 §4.3: the method defaults to plain, which RFC 9700 §2.1.1 rules out.
        if method != Some("S256") {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "PKCE: code_challenge_method must be S256."));
        }
        // RFC 7636 §4.2: BASE64URL-ENCODE(SHA256(…)) has 43 characters and no padding.
        let octets = BASE64_URL_SAFE_NO_PAD.decode(challenge).ok().and_then(|octets| octets.try_into().ok());
        octets
            .map(|octets| Some(Self(octets)))
            .ok_or(Refusal::new(ErrorCode::InvalidRequest, "PKCE: code_challenge must be 43 base64url characters."))
    }

    /// From the 32 octets of a stored challenge.
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The 32 octets, for storing.
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// RFC 7636 §4.6, RFC 9700 §4.8.2: a code with a challenge needs the verifier; one without refuses a verifier.
///
/// # Errors
/// `invalid_request` for a verifier that breaks RFC 7636 §4.1, `invalid_grant` for one that doesn't fit or is missing.
pub fn check_verifier(challenge: Option<&CodeChallenge>, verifier: Option<&str>) -> Result<(), Refusal> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Refusal::new(
            ErrorCode::InvalidGrant,
            "PKCE: code_verifier was sent for a code that was requested without code_challenge.",
        )),
        (Some(_), None) => Err(Refusal::new(ErrorCode::InvalidGrant, "PKCE: code_verifier is missing.")),
        (Some(challenge), Some(verifier)) => {
            // RFC 7636 §4.1: 43 to 128 unreserved characters.
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(allowed) {
                return Err(Refusal::new(
                    ErrorCode::InvalidGrant,
                    "PKCE: code_verifier must have 43 to 128 unreserved characters.",
                ));
            }
            let digest = digest::digest(&digest::SHA256, verifier.as_bytes());
            constant_time::verify_slices_are_equal(digest.as_ref(), &challenge.0)
                .map_err(|_| Refusal::new(ErrorCode::InvalidGrant, "PKCE: code_verifier does not fit."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_fits() {
        let challenge = CodeChallenge::from_request(Some(CHALLENGE), Some("S256")).unwrap();
        assert!(check_verifier(challenge.as_ref(), Some(VERIFIER)).is_ok());
        let other = VERIFIER.replace('X', "Y");
        assert_eq!(check_verifier(challenge.as_ref(), Some(&other)).unwrap_err().code, ErrorCode::InvalidGrant);
    }

    #[test]
    fn downgrades_fail_in_both_directions() {
        let challenge = CodeChallenge::from_request(Some(CHALLENGE), Some("S256")).unwrap();
        assert!(check_verifier(challenge.as_ref(), None).is_err());
        assert!(check_verifier(None, Some(VERIFIER)).is_err());
        assert!(check_verifier(None, None).is_ok());
    }

    #[test]
    fn plain_and_misshapen_challenges_are_refused() {
        assert!(CodeChallenge::from_request(Some(CHALLENGE), Some("plain")).is_err());
        assert!(CodeChallenge::from_request(Some(CHALLENGE), None).is_err());
        assert!(CodeChallenge::from_request(Some("short"), Some("S256")).is_err());
        assert!(CodeChallenge::from_request(None, Some("S256")).is_err());
        let padded = format!("{CHALLENGE}=");
        assert!(CodeChallenge::from_request(Some(&padded), Some("S256")).is_err());
    }

    #[test]
    fn a_short_verifier_is_refused_even_if_its_hash_fits() {
        let digest = digest::digest(&digest::SHA256, b"x");
        let challenge = CodeChallenge::from_octets(digest.as_ref().try_into().unwrap());
        assert!(check_verifier(Some(&challenge), Some("x")).is_err());
    }
}
