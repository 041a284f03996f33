//! Opens a JWT in JWS compact form (RFC 7515 §7.1): its header judged, its signature checked, its payload handed out.
//!
//! One door for all that an issuer signs and this crate reads: access tokens, status lists, introspection answers. The
//! kind of JWT is always demanded, so that none passes for another (RFC 8725 §3.11). Left out: encrypted JWTs, detached
//! payloads.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::keys::{KeySet, MAX_KID_BYTES, Search, SignatureAlgorithm};
use crate::refusal::TokenRefusal;

/// A kind of JWT: the `typ` it must have and the size it may have.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// The media type without its `application/`.
    typ: &'static str,
    /// A longer one is refused unread. In bytes.
    max_bytes: usize,
    /// The only algorithm that is taken; `None` takes whatever the key is pinned to.
    algorithm: Option<SignatureAlgorithm>,
}

impl Kind {
    /// RFC 9068 §2.1.
    pub(crate) const ACCESS_TOKEN: Self = Self { typ: "at+jwt", max_bytes: 16 * 1024, algorithm: None };

    /// Token Status List §5.1; what arrives has been capped before.
    #[cfg(feature = "discovery")]
    pub(crate) const STATUS_LIST: Self = Self { typ: "statuslist+jwt", max_bytes: usize::MAX, algorithm: None };

    /// RFC 9701 §5, with the algorithm that the resource server registered; what arrives has been capped before.
    #[cfg(feature = "introspection")]
    pub(crate) fn introspection(algorithm: SignatureAlgorithm) -> Self {
        Self { typ: "token-introspection+jwt", max_bytes: usize::MAX, algorithm: Some(algorithm) }
    }

    /// RFC 7515 §4.1.9: media types don't depend on case, and `application/` may be left out.
    fn is(self, typ: &str) -> bool {
        const PREFIX: &str = "application/";
        let bare = match typ.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => typ.get(PREFIX.len()..).unwrap_or_default(),
            _ => typ,
        };
        bare.eq_ignore_ascii_case(self.typ)
    }
}

/// The payload of a JWT whose kind, algorithm and signature are right.
pub(crate) fn open(keys: &KeySet, token: &str, kind: Kind) -> Result<Vec<u8>, TokenRefusal> {
    // Bounded work: nothing is decoded before the size is known.
    if token.len() > kind.max_bytes {
        return Err(TokenRefusal::TooLarge);
    }
    // RFC 7515 §7.1: a signed token has three parts. An encrypted one has five and isn't taken here.
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
    if header.is_empty() || payload.is_empty() || payload.contains('.') {
        return Err(TokenRefusal::Malformed);
    }
    let header_json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenRefusal::Malformed)?;
    let header: Header<'_> = serde_json::from_slice(&header_json).map_err(|_| TokenRefusal::Malformed)?;
    let algorithm = header.check(kind)?;

    // RFC 8725 §3.1: the key decides which algorithm is right. The header's own keys and URLs (`jwk`, `jku`, `x5c`,
    // `x5u`) aren't even read.
    let (key, others) = match keys.search(header.kid.as_deref(), algorithm) {
        Search::Found(key, others) => (key, others),
        Search::Unknown => return Err(TokenRefusal::UnknownKey),
        Search::OtherAlgorithm => return Err(TokenRefusal::AlgorithmMismatch),
        Search::Ambiguous => return Err(TokenRefusal::AmbiguousKey),
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenRefusal::Malformed)?;
    let message = message.as_bytes();
    if !key.signed(message, &signature) && !others.iter().any(|other| other.signed(message, &signature)) {
        return Err(TokenRefusal::BadSignature);
    }
    URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenRefusal::Malformed)
}

/// Whether a token says of itself that it is a signed JWT: three parts, the first of them a JSON object with `alg`. An
/// opaque token (RFC 6750 §2.1 lets it hold dots) isn't taken for one by chance.
#[cfg(feature = "introspection")]
pub(crate) fn looks_like_jwt(token: &str) -> bool {
    #[derive(Deserialize)]
    struct AnyHeader {
        #[serde(rename = "alg")]
        _alg: IgnoredAny,
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    token.len() <= Kind::ACCESS_TOKEN.max_bytes
        && URL_SAFE_NO_PAD.decode(header).is_ok_and(|json| serde_json::from_slice::<AnyHeader>(&json).is_ok())
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
    fn check(&self, kind: Kind) -> Result<SignatureAlgorithm, TokenRefusal> {
        // RFC 9068 §4, RFC 8725 §3.11: `typ` must name the kind, so that an ID token never passes for an access token.
        let typ = self.typ.as_deref().ok_or(TokenRefusal::WrongType)?;
        if !kind.is(typ) {
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
        let algorithm = SignatureAlgorithm::from_name(&self.alg).ok_or(TokenRefusal::UnsupportedAlgorithm)?;
        match kind.algorithm {
            Some(only) if only != algorithm => Err(TokenRefusal::UnsupportedAlgorithm),
            _ => Ok(algorithm),
        }
    }
}

/// Whether a parameter is there at all, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
