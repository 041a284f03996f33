//! The check of a JWT access token (RFC 9068 §4, RFC 8725). Pure: keys and time go in, claims or a refusal come out.
//!
//! The library `jsonwebtoken` only checks the signature. Header and claims are read here, once each and strictly typed,
//! so that a claim of a wrong type can't count as absent. Left out: encrypted tokens, opaque tokens, the proof of a
//! bound token (`cnf` is handed on), revocation.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::access_token::{AccessToken, Claims, RawClaims};
use crate::keys::{KeySet, MAX_KID_BYTES, Search, SignatureAlgorithm, signature_is_good};
use crate::refusal::TokenRefusal;

/// A longer token is refused unread. In bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How far clocks may disagree unless the program says otherwise. In seconds.
const DEFAULT_LEEWAY: u64 = 60;

/// What a token must say to be accepted. Cheap to clone.
///
/// Without [`audience`](Self::audience) or [`any_audience`](Self::any_audience) every token is refused.
#[derive(Debug, Clone)]
pub struct Verifier {
    issuer: Arc<str>,
    audience: Audience,
    leeway: u64,
}

#[derive(Debug, Clone)]
enum Audience {
    OneOf(Vec<Arc<str>>),
    Any,
}

impl Verifier {
    /// Accepts tokens of this issuer: its `iss`, compared byte for byte.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into().into(), audience: Audience::OneOf(Vec::new()), leeway: DEFAULT_LEEWAY }
    }

    /// Accepts tokens for this audience, an identifier of this resource server. May be called for several.
    #[must_use]
    pub fn audience(mut self, aud: impl Into<String>) -> Self {
        match &mut self.audience {
            Audience::OneOf(accepted) => accepted.push(aud.into().into()),
            Audience::Any => self.audience = Audience::OneOf(vec![aud.into().into()]),
        }
        self
    }

    /// Accepts tokens for any audience.
    ///
    /// Only for the authorization server itself, which looks at tokens for others (introspection, token exchange). A
    /// resource server that does this accepts tokens that its users gave to someone else (RFC 9068 §5).
    #[must_use]
    pub fn any_audience(mut self) -> Self {
        self.audience = Audience::Any;
        self
    }

    /// How far `exp` and `nbf` may be passed or ahead, in seconds; 60 by default.
    #[must_use]
    pub fn leeway(mut self, seconds: u64) -> Self {
        self.leeway = seconds;
        self
    }

    /// The issuer whose tokens are accepted.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Checks a token as RFC 9068 §4 and RFC 8725 §3 demand. `now` is the Unix time in seconds.
    ///
    /// # Errors
    /// [`TokenRefusal`]: the first rule that the token breaks. [`TokenRefusal::UnknownKey`] may mean that `keys` is old.
    pub fn verify(&self, keys: &KeySet, token: &str, now: u64) -> Result<AccessToken, TokenRefusal> {
        // Bounded work: nothing is decoded before the size is known.
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLarge);
        }
        // RFC 7515 §7.1: a signed token has three parts. An encrypted one has five and isn't taken here.
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
        if header.is_empty() || claims.is_empty() || claims.contains('.') {
            return Err(TokenRefusal::Malformed);
        }
        let header_json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenRefusal::Malformed)?;
        let header: Header<'_> = serde_json::from_slice(&header_json).map_err(|_| TokenRefusal::Malformed)?;
        let algorithm = header.check()?;

        // RFC 8725 §3.1: the key decides which algorithm is right. The header's own keys and URLs (`jwk`, `jku`, `x5c`,
        // `x5u`) aren't even read.
        let candidates = match keys.search(header.kid.as_deref(), algorithm) {
            Search::Found(found) => found,
            Search::Unknown => return Err(TokenRefusal::UnknownKey),
            Search::OtherAlgorithm => return Err(TokenRefusal::AlgorithmMismatch),
            Search::Ambiguous => return Err(TokenRefusal::AmbiguousKey),
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenRefusal::Malformed)?;
        if !candidates.iter().any(|key| signature_is_good(key, algorithm, message.as_bytes(), &signature)) {
            return Err(TokenRefusal::BadSignature);
        }

        let claims_json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenRefusal::Malformed)?;
        let raw: RawClaims = serde_json::from_slice(&claims_json).map_err(|_| TokenRefusal::MalformedClaims)?;
        let claims = raw.complete()?;
        self.judge(&claims, now)?;
        Ok(AccessToken::new(claims))
    }

    fn judge(&self, claims: &Claims, now: u64) -> Result<(), TokenRefusal> {
        // RFC 9068 §4: "The issuer identifier … MUST exactly match the value of the iss claim."
        if *claims.iss != *self.issuer {
            return Err(TokenRefusal::WrongIssuer);
        }
        // RFC 9068 §4: `aud` must name this resource server.
        let meant = match &self.audience {
            Audience::Any => true,
            Audience::OneOf(accepted) => claims.aud.iter().any(|aud| accepted.iter().any(|own| **own == **aud)),
        };
        if !meant {
            return Err(TokenRefusal::WrongAudience);
        }
        // RFC 7519 §4.1.4: the current time must be before `exp`.
        if now >= claims.exp.saturating_add(self.leeway) {
            return Err(TokenRefusal::Expired);
        }
        // RFC 7519 §4.1.5: the current time must be after or equal to `nbf`.
        if claims.nbf.is_some_and(|nbf| now.saturating_add(self.leeway) < nbf) {
            return Err(TokenRefusal::NotYetValid);
        }
        Ok(())
    }
}

/// The header parameters that matter (RFC 7515 §4.1). A parameter that occurs twice fails the parse.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl Header<'_> {
    fn check(&self) -> Result<SignatureAlgorithm, TokenRefusal> {
        // RFC 9068 §4: `typ` must be `at+jwt` or `application/at+jwt`, so that an ID token never passes for an access
        // token. Media types don't depend on case (RFC 7515 §4.1.9).
        let typ = self.typ.as_deref().ok_or(TokenRefusal::WrongType)?;
        if !typ.eq_ignore_ascii_case("at+jwt") && !typ.eq_ignore_ascii_case("application/at+jwt") {
            return Err(TokenRefusal::WrongType);
        }
        // RFC 7515 §4.1.11: an extension that isn't understood and marked critical makes the token invalid. None is.
        if self.crit {
            return Err(TokenRefusal::CriticalHeader);
        }
        if self.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(TokenRefusal::Malformed);
        }
        // RFC 9068 §4: `none` must be refused. Symmetric algorithms have no name here either.
        SignatureAlgorithm::from_name(&self.alg).ok_or(TokenRefusal::UnsupportedAlgorithm)
    }
}

/// Whether a parameter is there at all, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
