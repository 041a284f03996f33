//! Signed tokens in compact form (RFC 7515 §3.1, RFC 7519 §7.1): the hot path of the server.
//!
//! The encoded header of each kind of token is made once for each key; a token costs one buffer for its claims, one
//! string for the result, and the signature. Left out: the claims themselves, and encryption.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::algorithm::Algorithm;
use crate::signing::{KeyError, SigningKey};

/// The kind of a token that the server signs. It decides `typ`, which keeps one kind from passing as another
/// (RFC 8725 §3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// An access token (RFC 9068 §2.1).
    AccessToken,
    /// An ID token (OpenID Connect Core §2).
    IdToken,
    /// A logout token (OpenID Connect Back-Channel Logout §2.4).
    LogoutToken,
    /// A signed introspection answer (RFC 9701 §5).
    Introspection,
    /// A status list (Token Status List §5.1).
    StatusList,
    /// A signed userinfo answer (OpenID Connect Core §5.3.2).
    UserInfo,
    /// A signed authorization answer (JARM §2.1).
    AuthorizationResponse,
}

impl TokenType {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::AccessToken,
        Self::IdToken,
        Self::LogoutToken,
        Self::Introspection,
        Self::StatusList,
        Self::UserInfo,
        Self::AuthorizationResponse,
    ];

    /// The value of `typ`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            // The three that OpenID specifies without a kind of their own; clients know no other `typ` for them.
            Self::IdToken | Self::UserInfo | Self::AuthorizationResponse => "JWT",
            Self::LogoutToken => "logout+jwt",
            Self::Introspection => "token-introspection+jwt",
            Self::StatusList => "statuslist+jwt",
        }
    }
}

/// The base64url headers of one key, each with the dot that follows it.
pub(crate) struct EncodedHeaders {
    access_token: String,
    plain: String,
    logout_token: String,
    introspection: String,
    status_list: String,
}

impl EncodedHeaders {
    pub(crate) fn new(algorithm: Algorithm, kid: &str) -> Self {
        // A `Value` prints itself as JSON, with escapes, and can't fail.
        let kid = serde_json::Value::from(kid);
        let encode = |typ: TokenType| {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{}","kid":{kid}}}"#, typ.as_str());
            let mut encoded = URL_SAFE_NO_PAD.encode(header);
            encoded.push('.');
            encoded
        };
        Self {
            access_token: encode(TokenType::AccessToken),
            plain: encode(TokenType::IdToken),
            logout_token: encode(TokenType::LogoutToken),
            introspection: encode(TokenType::Introspection),
            status_list: encode(TokenType::StatusList),
        }
    }

    fn of(&self, typ: TokenType) -> &str {
        match typ {
            TokenType::AccessToken => &self.access_token,
            TokenType::IdToken | TokenType::UserInfo | TokenType::AuthorizationResponse => &self.plain,
            TokenType::LogoutToken => &self.logout_token,
            TokenType::Introspection => &self.introspection,
            TokenType::StatusList => &self.status_list,
        }
    }
}

/// Room for the claims of a usual token, so that writing them doesn't grow the buffer. In octets.
const USUAL_CLAIMS: usize = 1024;

impl SigningKey {
    /// Signs claims, which must serialise to a JSON object, as a token of the given kind.
    ///
    /// # Errors
    /// [`KeyError::Claims`] or [`KeyError::ClaimsNoObject`] when the claims aren't such, [`KeyError::Sign`] when the
    /// library fails.
    pub fn sign_jwt(&self, typ: TokenType, claims: &impl Serialize) -> Result<String, KeyError> {
        let mut json = Vec::with_capacity(USUAL_CLAIMS);
        serde_json::to_writer(&mut json, claims).map_err(KeyError::Claims)?;
        // RFC 7519 §3: a claims set is a JSON object.
        if json.first() != Some(&b'{') {
            return Err(KeyError::ClaimsNoObject);
        }
        let header = self.headers.of(typ);
        let capacity = header.len() + base64_length(json.len()) + 1 + base64_length(self.signature_octets());
        let mut token = String::with_capacity(capacity);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(&json, &mut token);
        // What is signed is what stands there so far (RFC 7515 §5.1 step 5).
        let signature = self.raw_signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// Characters of so many octets in base64url without padding.
const fn base64_length(octets: usize) -> usize {
    (octets * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn foreign(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
        match algorithm {
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        }
    }

    /// Another implementation reads our JWK, computes our thumbprint and verifies our token.
    #[test]
    fn tokens_verify_elsewhere() {
        for algorithm in Algorithm::ALL {
            let (key, _) = SigningKey::generate(algorithm).unwrap();
            let claims = json!({"iss": "https://id.example", "sub": "ä\"b", "exp": 4_102_444_800_u64, "aud": "a"});
            let token = key.sign_jwt(TokenType::AccessToken, &claims).unwrap();

            let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.public_jwk()).unwrap();
            assert_eq!(jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(), key.kid());
            let mut validation = jsonwebtoken::Validation::new(foreign(algorithm));
            validation.set_audience(&["a"]);
            let public = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
            let read = jsonwebtoken::decode::<Value>(&token, &public, &validation).unwrap();
            assert_eq!(read.claims, claims);
            assert_eq!(read.header.alg, foreign(algorithm));
            assert_eq!(read.header.typ.as_deref(), Some("at+jwt"));
            assert_eq!(read.header.kid.as_deref(), Some(key.kid()));

            let (other, _) = SigningKey::generate(algorithm).unwrap();
            let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(other.public_jwk()).unwrap();
            let public = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
            assert!(jsonwebtoken::decode::<Value>(&token, &public, &validation).is_err());
        }
    }

    #[test]
    fn each_kind_has_its_type_and_its_exact_header() {
        let (key, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        for (typ, name) in [
            (TokenType::AccessToken, "at+jwt"),
            (TokenType::IdToken, "JWT"),
            (TokenType::LogoutToken, "logout+jwt"),
            (TokenType::Introspection, "token-introspection+jwt"),
            (TokenType::StatusList, "statuslist+jwt"),
            (TokenType::UserInfo, "JWT"),
            (TokenType::AuthorizationResponse, "JWT"),
        ] {
            assert!(TokenType::ALL.contains(&typ));
            assert_eq!(typ.as_str(), name);
            let token = key.sign_jwt(typ, &json!({"a": 1})).unwrap();
            let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            let expected = format!(r#"{{"alg":"EdDSA","typ":"{name}","kid":"{}"}}"#, key.kid());
            assert_eq!(String::from_utf8(header).unwrap(), expected);
        }
    }

    #[test]
    fn a_token_is_allocated_once() {
        for algorithm in Algorithm::ALL {
            let (key, _) = SigningKey::generate(algorithm).unwrap();
            for length in 0..4 {
                let token = key.sign_jwt(TokenType::IdToken, &json!({"a": "b".repeat(length)})).unwrap();
                assert_eq!(token.capacity(), token.len());
            }
        }
    }

    #[test]
    fn only_objects_are_claims() {
        let (key, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        for claims in [json!([]), json!("a"), json!(1), Value::Null] {
            assert!(matches!(key.sign_jwt(TokenType::IdToken, &claims), Err(KeyError::ClaimsNoObject)));
        }
        let no_json = std::collections::HashMap::from([(vec![1_u8], 1)]);
        assert!(matches!(key.sign_jwt(TokenType::IdToken, &no_json), Err(KeyError::Claims(_))));
    }
}
