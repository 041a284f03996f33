//! Compact JWS, as far as it can be read before a key is known (RFC 7515 §3.1, §5.2; RFC 7519 §7.2).
//!
//! The header is only a hint at which key to try: the key says which algorithm verifies (RFC 8725 §3.1). Keys and
//! addresses in a header (`jwk`, `jku`, `x5c`, `x5u`) are never used (§3.10). Left out: the JSON serialisations,
//! detached and unencoded payloads, JWE.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;

/// The longest compact JWS that is looked at, in octets.
pub const MAX_COMPACT_OCTETS: usize = 16 * 1024;

/// Why a JWS wasn't accepted. No variant carries any of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Longer than [`MAX_COMPACT_OCTETS`].
    #[error("the token is longer than {MAX_COMPACT_OCTETS} octets")]
    TooLong,
    /// Not three parts of base64url.
    #[error("the token is not a compact JWS")]
    Malformed,
    /// The header isn't a JSON object with an `alg`, or names a member twice.
    #[error("the token's header is malformed")]
    Header,
    /// The header has `crit`: it asks for an extension, and none is known.
    #[error("the token's header asks for an extension that is not supported")]
    Critical,
    /// No key fits the header, or its key was revoked.
    #[error("no key is known that fits the token's header")]
    UnknownKey,
    /// An algorithm that isn't known, isn't allowed, or isn't the key's.
    #[error("the token's algorithm is not accepted for its key")]
    Algorithm,
    /// `typ` names another kind of token.
    #[error("the token is of another kind")]
    TokenType,
    /// The signature doesn't verify.
    #[error("the token's signature is not valid")]
    Signature,
    /// The signed part isn't a JSON object.
    #[error("the token's claims are not a JSON object")]
    Claims,
}

/// What the header of a JWS said, as far as it matters (RFC 7515 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwsHeader {
    /// `alg`. Once a token was verified, this is the algorithm of the key.
    #[serde(rename = "alg")]
    pub algorithm: Algorithm,
    /// `kid`, if there was one.
    #[serde(rename = "kid", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `typ` as written, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
}

impl JwsHeader {
    /// Whether `typ` says `kind`. Media types have no case, and `application/` may be left out (RFC 7515 §4.1.9).
    #[must_use]
    pub fn is_typed(&self, kind: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            let bare = match typ.split_at_checked("application/".len()) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") && !rest.contains('/') => rest,
                _ => typ,
            };
            bare.eq_ignore_ascii_case(kind)
        })
    }
}

/// The members that are looked at. Derived, so that naming one of them twice is an error (RFC 7515 §4).
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for any value at all, `null` too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A compact JWS with its header read and its signature not yet verified.
pub(crate) struct Compact<'token> {
    pub(crate) header: JwsHeader,
    /// What is signed: header, dot, payload, as received (RFC 7515 §5.2 step 8).
    pub(crate) signed: &'token [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'token str,
}

impl<'token> Compact<'token> {
    /// Takes a token apart. Nothing of it is proven by that.
    pub(crate) fn parse(token: &'token str) -> Result<Self, VerifyError> {
        if token.len() > MAX_COMPACT_OCTETS {
            return Err(VerifyError::TooLong);
        }
        // RFC 7515 §7.1: exactly two dots. A JWE has four.
        let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(VerifyError::Malformed)?;
        if payload.contains('.') {
            return Err(VerifyError::Malformed);
        }
        // RFC 7515 §2: base64url without padding, white space or other characters.
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| VerifyError::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| VerifyError::Malformed)?;
        // RFC 7515 §4: a JSON object. (The derived reader would take an array too.)
        if header.trim_ascii_start().first() != Some(&b'{') {
            return Err(VerifyError::Header);
        }
        let header: RawHeader = serde_json::from_slice(&header).map_err(|_| VerifyError::Header)?;
        // RFC 7515 §4.1.11: an extension that isn't understood makes the JWS invalid. None is.
        if header.crit {
            return Err(VerifyError::Critical);
        }
        let algorithm = header.alg.parse().map_err(|_| VerifyError::Algorithm)?;
        let header = JwsHeader { algorithm, key_id: header.kid, typ: header.typ };
        Ok(Self { header, signed: signed.as_bytes(), signature, payload })
    }

    /// The claims (RFC 7519 §7.2 step 10). Call it after the signature was verified.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, VerifyError> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| VerifyError::Malformed)?;
        serde_json::from_slice(&payload).map_err(|_| VerifyError::Claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<JwsHeader, VerifyError> {
        let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        Compact::parse(&token).map(|compact| compact.header)
    }

    #[test]
    fn a_header_is_read() {
        let header = parse(r#" {"alg":"ES256","kid":"a","typ":"JWT","jku":"https://evil.example","x":[1]} "#).unwrap();
        assert_eq!(header.algorithm, Algorithm::Es256);
        assert_eq!(header.key_id.as_deref(), Some("a"));
        assert_eq!(header.typ.as_deref(), Some("JWT"));
    }

    #[test]
    fn bad_headers_are_refused() {
        for (header, error) in [
            ("", VerifyError::Header),
            ("null", VerifyError::Header),
            ("{}", VerifyError::Header),
            (r#"["ES256",null,null]"#, VerifyError::Header),
            (r#"{"alg":7}"#, VerifyError::Header),
            (r#"{"alg":null}"#, VerifyError::Header),
            (r#"{"alg":"ES256","kid":7}"#, VerifyError::Header),
            (r#"{"alg":"ES256","typ":["JWT"]}"#, VerifyError::Header),
            (r#"{"alg":"ES256","alg":"none"}"#, VerifyError::Header),
            (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, VerifyError::Header),
            (r#"{"alg":"ES256"} x"#, VerifyError::Header),
            (r#"{"alg":"none"}"#, VerifyError::Algorithm),
            (r#"{"alg":"HS256"}"#, VerifyError::Algorithm),
            (r#"{"alg":"es256"}"#, VerifyError::Algorithm),
            (r#"{"alg":"ES256","crit":["exp"]}"#, VerifyError::Critical),
            (r#"{"alg":"ES256","crit":[]}"#, VerifyError::Critical),
            (r#"{"alg":"ES256","crit":null}"#, VerifyError::Critical),
            (r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#, VerifyError::Critical),
        ] {
            assert_eq!(parse(header), Err(error), "{header}");
        }
    }

    #[test]
    fn bad_shapes_are_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        let shape = |token: &str| Compact::parse(token).map(|_| ()).unwrap_err();
        assert_eq!(shape(""), VerifyError::Malformed);
        assert_eq!(shape(&header), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.e30")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}=.e30.AAAA")), VerifyError::Malformed);
        assert_eq!(shape(&format!(" {header}.e30.AAAA")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.e30.AAA=")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.e30.AAA+")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.e30.AAAA\n")), VerifyError::Malformed);
        // The last two bits of this signature belong to no octet: a second spelling of the same signature.
        assert_eq!(shape(&format!("{header}.e30.AAB")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.{}.AAAA", "A".repeat(MAX_COMPACT_OCTETS))), VerifyError::TooLong);
        assert_eq!(shape(&"é".repeat(MAX_COMPACT_OCTETS)), VerifyError::TooLong);
        assert_eq!(shape(&format!("{header}.e30.AAAA.AAAA")), VerifyError::Malformed);
        assert_eq!(shape(&format!("{header}.AAAA.AAAA.AAAA.AAAA")), VerifyError::Malformed, "a JWE");
    }

    #[test]
    fn only_json_objects_are_claims() {
        let claims = |payload: &str| {
            let token = format!("eyJhbGciOiJFUzI1NiJ9.{}.AAAA", URL_SAFE_NO_PAD.encode(payload));
            Compact::parse(&token).and_then(|compact| compact.claims())
        };
        assert_eq!(claims(r#"{"sub":"a"}"#).unwrap().get("sub"), Some(&Value::from("a")));
        for payload in ["", "[]", "\"a\"", "null", "{", "{} {}"] {
            assert_eq!(claims(payload), Err(VerifyError::Claims), "{payload}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
        assert_eq!(claims(&deep), Err(VerifyError::Claims), "nesting has an end");
    }

    #[test]
    fn a_type_has_no_case_and_its_prefix_may_be_left_out() {
        let typed = |typ: &str, kind| {
            JwsHeader { algorithm: Algorithm::Es256, key_id: None, typ: Some(typ.to_owned()) }.is_typed(kind)
        };
        assert!(typed("at+jwt", "at+jwt"));
        assert!(typed("application/at+jwt", "at+jwt"));
        assert!(typed("Application/AT+JWT", "at+jwt"));
        assert!(!typed("JWT", "at+jwt"));
        assert!(!typed("application/application/at+jwt", "at+jwt"));
        assert!(!typed("", "JWT"));
        assert!(!typed("ééééééé", "JWT"));
        assert!(!JwsHeader { algorithm: Algorithm::Es256, key_id: None, typ: None }.is_typed("JWT"));
    }
}
