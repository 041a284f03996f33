//! Opens a JWT in JWS compact form (RFC 7515 §7.1): its header judged, its signature checked, its payload handed out.
//!
//! One door for all that an issuer signs and this crate reads: access tokens, status lists, introspection answers. The
//! kind of JWT is always demanded, so that none passes for another (RFC 8725 §3.11). Left out: encrypted JWTs, detached
//! payloads.

use std::borrow::Cow;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeSliceError, Engine as _};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::keys::{KeySet, MAX_KID_BYTES, Search, SignatureAlgorithm, VerifyingKey};
use crate::refusal::TokenRefusal;

/// The longest signature that any key here could have made, RSA's with 8192 bits, in whole groups of base64. In bytes.
const MAX_SIGNATURE_BYTES: usize = 1026;

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

    /// Whether headers of this kind are remembered: only of one, as a header that is good for one isn't for another.
    fn is_access_token(self) -> bool {
        self.typ == Self::ACCESS_TOKEN.typ
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

/// A JWS in compact form, split but not judged.
pub(crate) struct Signed<'t> {
    header: &'t str,
    payload: &'t str,
    /// What the signature is of: header and payload with the dot between them (RFC 7515 §5.1).
    message: &'t str,
    /// The signature in base64url.
    pub(crate) signature: &'t str,
    /// The SHA-256 of the message, where somebody has needed it already.
    digest: Option<Digest>,
}

impl<'t> Signed<'t> {
    /// Splits a token. Bounded work: nothing is read before the size is known.
    pub(crate) fn split(token: &'t str, kind: Kind) -> Result<Self, TokenRefusal> {
        if token.len() > kind.max_bytes {
            return Err(TokenRefusal::TooLarge);
        }
        // RFC 7515 §7.1: a signed token has three parts. An encrypted one has five and isn't taken here.
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
        if header.is_empty() || payload.is_empty() || payload.contains('.') {
            return Err(TokenRefusal::Malformed);
        }
        Ok(Self { header, payload, message, signature, digest: None })
    }

    /// The SHA-256 of what is signed, which the check of the signature then needn't compute again.
    pub(crate) fn hash(&mut self) -> &Digest {
        self.digest.get_or_insert_with(|| digest(&SHA256, self.message.as_bytes()))
    }

    /// The payload of a JWT whose kind, algorithm and signature are right.
    pub(crate) fn open(&self, keys: &KeySet, kind: Kind) -> Result<Vec<u8>, TokenRefusal> {
        let (key, others) = match keys.of_header(self.header).filter(|_| kind.is_access_token()) {
            Some(known) => (known, Vec::new()),
            None => self.key(keys, kind)?,
        };
        let mut octets = [0; MAX_SIGNATURE_BYTES];
        let signature = match URL_SAFE_NO_PAD.decode_slice(self.signature, &mut octets) {
            Ok(length) => octets.get(..length).unwrap_or_default(),
            Err(DecodeSliceError::DecodeError(_)) => return Err(TokenRefusal::Malformed),
            Err(DecodeSliceError::OutputSliceTooSmall) => return Err(TokenRefusal::BadSignature),
        };
        let is_by = |key: &VerifyingKey| key.signed(self.message.as_bytes(), self.digest.as_ref(), signature);
        if !is_by(key) && !others.iter().any(|other| is_by(other)) {
            return Err(TokenRefusal::BadSignature);
        }
        if others.is_empty() && kind.is_access_token() {
            key.remember_header(self.header);
        }
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| TokenRefusal::Malformed)
    }

    /// Judges the header, and finds the key that it names and the others of the same name and algorithm.
    fn key<'k>(&self, keys: &'k KeySet, kind: Kind) -> Result<(&'k VerifyingKey, Vec<&'k VerifyingKey>), TokenRefusal> {
        let header_json = URL_SAFE_NO_PAD.decode(self.header).map_err(|_| TokenRefusal::Malformed)?;
        let header: Header<'_> = serde_json::from_slice(&header_json).map_err(|_| TokenRefusal::Malformed)?;
        let algorithm = header.check(kind)?;
        // RFC 8725 §3.1: the key decides which algorithm is right. The header's own keys and URLs (`jwk`, `jku`, `x5c`,
        // `x5u`) aren't even read.
        match keys.search(header.kid.as_deref(), algorithm) {
            Search::Found(key, others) => Ok((key, others)),
            Search::Unknown => Err(TokenRefusal::UnknownKey),
            Search::OtherAlgorithm => Err(TokenRefusal::AlgorithmMismatch),
            Search::Ambiguous => Err(TokenRefusal::AmbiguousKey),
        }
    }
}

/// The payload of a JWT whose kind, algorithm and signature are right.
#[cfg(feature = "discovery")]
pub(crate) fn open(keys: &KeySet, token: &str, kind: Kind) -> Result<Vec<u8>, TokenRefusal> {
    Signed::split(token, kind)?.open(keys, kind)
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
