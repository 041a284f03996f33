//! What a JWT access token must say (RFC 9068 §4, RFC 8725). Pure: keys and time go in, claims or a refusal come out.
//!
//! Signature and header are [`signed`](crate::signed)'s part. Left out: opaque tokens, the proof of a bound token (`cnf`
//! is handed on), revocation.

use std::sync::Arc;

use crate::access_token::AccessToken;
use crate::claims::{Claims, RawClaims};
use crate::keys::KeySet;
use crate::refusal::TokenRefusal;
use crate::signed::{Kind, Signed};

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
        self.verify_signed(keys, &Signed::split(token, Kind::ACCESS_TOKEN)?, now)
    }

    /// As [`verify`](Self::verify), of a token that was split already.
    pub(crate) fn verify_signed(
        &self,
        keys: &KeySet,
        token: &Signed<'_>,
        now: u64,
    ) -> Result<AccessToken, TokenRefusal> {
        let claims_json = token.open(keys, Kind::ACCESS_TOKEN)?;
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
        if !self.is_meant(&claims.aud) {
            return Err(TokenRefusal::WrongAudience);
        }
        self.judge_times(claims, now)
    }

    /// Whether an audience of the token is this resource server's.
    pub(crate) fn is_meant(&self, audiences: &[String]) -> bool {
        match &self.audience {
            Audience::Any => true,
            Audience::OneOf(accepted) => audiences.iter().any(|aud| accepted.iter().any(|own| **own == **aud)),
        }
    }

    /// What changes while time passes, for a token that was verified before.
    pub(crate) fn judge_times(&self, claims: &Claims, now: u64) -> Result<(), TokenRefusal> {
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
