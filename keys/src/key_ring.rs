//! All signing keys of the server at one moment: which sign, which are published (RFC 7517 §5), which still verify.
//!
//! A ring never changes; a rotation builds a new one and swaps it in. The states of a rotation that no client with a
//! cached JWK Set notices: a key is published as *next* before it signs, signs as *active*, stays published as
//! *retired* until the last token that it signed has expired, and is then *archived*: kept only to recognise ID tokens
//! that come back as hints at a logout. *Revoked* ends a key at once. Left out: when a key moves, and its storage.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::compact::{Compact, VerifyError};
use crate::jwt::TokenType;
use crate::signing::SigningKey;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum KeyState {
    /// Signs; published. At most one for each algorithm.
    Active,
    /// Published, so that clients know it before it signs.
    Next,
    /// Doesn't sign any more; published while tokens that it signed live.
    Retired,
    /// Neither signs nor is published; verifies ID tokens that come back as hints.
    Archived,
    /// Ended: nothing that it signed is accepted.
    Revoked,
}

/// A name that is no [`KeyState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown key state; known are next, active, retired, archived and revoked")]
pub struct UnknownKeyState;

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Active, Self::Next, Self::Retired, Self::Archived, Self::Revoked];

    /// The state's name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retired => "retired",
            Self::Archived => "archived",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the key stands in the JWK Set.
    #[must_use]
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Next | Self::Active | Self::Retired)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for KeyState {
    type Err = UnknownKeyState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or(UnknownKeyState)
    }
}

impl From<KeyState> for &'static str {
    fn from(state: KeyState) -> Self {
        state.as_str()
    }
}

impl TryFrom<String> for KeyState {
    type Error = UnknownKeyState;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

/// Why keys can't make a ring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// Two keys have one name, so a token's `kid` wouldn't say which to use.
    #[error("two keys have the id `{0}`")]
    DuplicateKid(String),
    /// Two keys want to sign by one algorithm.
    #[error("two active keys for {algorithm}: `{first}` and `{second}`; retire one")]
    TwoActive {
        /// The algorithm of both.
        algorithm: Algorithm,
        /// The first one's `kid`.
        first: String,
        /// The other one's `kid`.
        second: String,
    },
}

/// An immutable set of signing keys with their states and the finished JWK Set.
pub struct KeyRing {
    keys: Vec<(Arc<SigningKey>, KeyState)>,
    /// In the order of [`Algorithm::ALL`].
    active: [Option<Arc<SigningKey>>; Algorithm::ALL.len()],
    jwks: Arc<[u8]>,
    etag: String,
}

impl KeyRing {
    /// Builds a ring; the order of `keys` doesn't matter, except that equals stay in it. An empty ring is fine: it
    /// publishes an empty set and signs nothing.
    ///
    /// # Errors
    /// [`KeyRingError`] when two keys have one `kid`, or two active ones have one algorithm.
    pub fn new<K: Into<Arc<SigningKey>>>(keys: impl IntoIterator<Item = (K, KeyState)>) -> Result<Self, KeyRingError> {
        let mut keys: Vec<(Arc<SigningKey>, KeyState)> =
            keys.into_iter().map(|(key, state)| (key.into(), state)).collect();
        // Active keys first: some clients take the first key of a kind and never look at `kid`.
        keys.sort_by_key(|(_, state)| *state);
        let mut kids = std::collections::HashSet::new();
        if let Some((key, _)) = keys.iter().find(|(key, _)| !kids.insert(key.kid())) {
            return Err(KeyRingError::DuplicateKid(key.kid().to_owned()));
        }
        let signs = |algorithm: Algorithm| {
            keys.iter()
                .filter(move |(key, state)| *state == KeyState::Active && key.algorithm() == algorithm)
                .map(|(key, _)| key)
        };
        for algorithm in Algorithm::ALL {
            if let (Some(first), Some(second)) = (signs(algorithm).next(), signs(algorithm).nth(1)) {
                return Err(KeyRingError::TwoActive {
                    algorithm,
                    first: first.kid().to_owned(),
                    second: second.kid().to_owned(),
                });
            }
        }
        let active = Algorithm::ALL.map(|algorithm| signs(algorithm).next().map(Arc::clone));
        let published: Vec<Value> =
            keys.iter().filter(|(_, state)| state.is_published()).map(|(key, _)| key.public_jwk()).collect();
        let jwks = serde_json::json!({ "keys": published }).to_string();
        let hash = digest::digest(&digest::SHA256, jwks.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash));
        Ok(Self { keys, active, jwks: Arc::from(jwks.into_bytes()), etag })
    }

    /// The key that signs by `algorithm`, if there is one.
    #[must_use]
    pub fn active(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.active.iter().flatten().find(|key| key.algorithm() == algorithm)
    }

    /// The key named `kid` in any state but revoked.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        self.keys().find(|(key, state)| key.kid() == kid && *state != KeyState::Revoked).map(|(key, _)| key)
    }

    /// The state of the key named `kid`.
    #[must_use]
    pub fn state(&self, kid: &str) -> Option<KeyState> {
        self.keys().find(|(key, _)| key.kid() == kid).map(|(_, state)| state)
    }

    /// All keys with their states: active, next, retired, archived, revoked.
    pub fn keys(&self) -> impl Iterator<Item = (&Arc<SigningKey>, KeyState)> {
        self.keys.iter().map(|(key, state)| (key, *state))
    }

    /// The JWK Set as octets ready to be sent (`application/jwk-set+json`, RFC 7517 §8.5).
    #[must_use]
    pub fn jwks_json(&self) -> &Arc<[u8]> {
        &self.jwks
    }

    /// A strong entity tag of the JWK Set, quotes included (RFC 9110 §8.8.3).
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The algorithms that have an active key, in the order of [`Algorithm::ALL`].
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.active.iter().flatten().map(|key| key.algorithm()).collect()
    }

    /// Verifies a token that this server signed, as an `id_token_hint` is one (OpenID Connect Core §3.1.2.1,
    /// RP-Initiated Logout §2), and gives its claims. Times and audience aren't judged: an expired hint is a good hint.
    ///
    /// ID tokens, userinfo answers and JARM answers share the type `JWT`, so the caller checks the claims that only
    /// the expected one has.
    ///
    /// # Errors
    /// [`VerifyError`]: no key by this `kid` or a revoked one, another algorithm than the key's, another `typ`, a
    /// signature that doesn't verify, or no compact JWS at all.
    pub fn verify_own(&self, compact: &str, typ: TokenType) -> Result<Map<String, Value>, VerifyError> {
        let token = Compact::parse(compact)?;
        let kid = token.header.key_id.as_deref().ok_or(VerifyError::UnknownKey)?;
        let key = self.find(kid).ok_or(VerifyError::UnknownKey)?;
        // RFC 8725 §3.1: the key decides the algorithm.
        if token.header.algorithm != key.algorithm() {
            return Err(VerifyError::Algorithm);
        }
        // RFC 8725 §3.11: each kind has its type. Ours always have one.
        if !token.header.is_typed(typ.as_str()) {
            return Err(VerifyError::TokenType);
        }
        key.verify(token.signed, &token.signature)?;
        token.claims()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(algorithm: Algorithm) -> Arc<SigningKey> {
        Arc::new(SigningKey::generate(algorithm).unwrap().0)
    }

    fn kids(ring: &KeyRing) -> Vec<String> {
        let set: Value = serde_json::from_slice(ring.jwks_json()).unwrap();
        set["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// A token with a header of the test's choosing, properly signed.
    fn token(key: &SigningKey, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    #[test]
    fn the_set_has_the_published_keys_with_the_active_ones_first() {
        let keys: Vec<_> = (0..5).map(|_| key(Algorithm::Es256)).collect();
        let states = [KeyState::Revoked, KeyState::Archived, KeyState::Retired, KeyState::Next, KeyState::Active];
        let ring = KeyRing::new(keys.iter().cloned().zip(states)).unwrap();
        assert_eq!(kids(&ring), [keys[4].kid(), keys[3].kid(), keys[2].kid()]);
        let text = std::str::from_utf8(ring.jwks_json()).unwrap();
        assert!(!text.contains("\"d\""), "no private member is published");
        for (key, state) in keys.iter().zip(states) {
            assert_eq!(ring.state(key.kid()), Some(state));
            assert_eq!(ring.find(key.kid()).is_some(), state != KeyState::Revoked);
        }
        assert!(ring.find("unknown").is_none());
        assert_eq!(ring.state("unknown"), None);
    }

    #[test]
    fn the_active_key_of_each_algorithm_is_found() {
        let es256 = key(Algorithm::Es256);
        let eddsa = key(Algorithm::EdDsa);
        let ring = KeyRing::new([(eddsa.clone(), KeyState::Active), (es256.clone(), KeyState::Active)]).unwrap();
        assert_eq!(ring.algorithms(), [Algorithm::Es256, Algorithm::EdDsa]);
        assert_eq!(ring.active(Algorithm::Es256).unwrap().kid(), es256.kid());
        assert_eq!(ring.active(Algorithm::EdDsa).unwrap().kid(), eddsa.kid());
        assert!(ring.active(Algorithm::Rs256).is_none());
        let ring = KeyRing::new([(es256, KeyState::Next), (eddsa, KeyState::Retired)]).unwrap();
        assert!(ring.algorithms().is_empty());
    }

    #[test]
    fn an_empty_ring_publishes_an_empty_set() {
        let ring = KeyRing::new(Vec::<(SigningKey, KeyState)>::new()).unwrap();
        assert_eq!(&**ring.jwks_json(), br#"{"keys":[]}"#);
    }

    #[test]
    fn the_entity_tag_follows_the_set() {
        let (one, two) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
        let ring = |state| KeyRing::new([(one.clone(), KeyState::Active), (two.clone(), state)]).unwrap();
        let tag = ring(KeyState::Next).etag().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 45);
        assert_eq!(ring(KeyState::Retired).etag(), tag, "the same octets");
        assert_ne!(ring(KeyState::Revoked).etag(), tag);
    }

    #[test]
    fn ambiguous_keys_are_refused() {
        let (one, pkcs8) = SigningKey::generate(Algorithm::Es256).unwrap();
        let again = SigningKey::import_pkcs8(Algorithm::Es256, &pkcs8).unwrap();
        let kid = one.kid().to_owned();
        let refused = KeyRing::new([(one, KeyState::Active), (again, KeyState::Revoked)]).unwrap_err();
        assert_eq!(refused, KeyRingError::DuplicateKid(kid));

        let (one, two) = (key(Algorithm::Es256), key(Algorithm::Es256));
        let refused = KeyRing::new([(one.clone(), KeyState::Active), (two.clone(), KeyState::Active)]).unwrap_err();
        let expected = KeyRingError::TwoActive {
            algorithm: Algorithm::Es256,
            first: one.kid().to_owned(),
            second: two.kid().to_owned(),
        };
        assert_eq!(refused, expected);
    }

    #[test]
    fn own_tokens_verify_while_their_key_is_not_revoked() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let hint = key.sign_jwt(TokenType::IdToken, &json!({"sub": "a", "exp": 1})).unwrap();
            for state in KeyState::ALL {
                let ring = KeyRing::new([(key.clone(), state)]).unwrap();
                let verified = ring.verify_own(&hint, TokenType::IdToken);
                if state == KeyState::Revoked {
                    assert_eq!(verified, Err(VerifyError::UnknownKey));
                } else {
                    assert_eq!(Value::Object(verified.unwrap()), json!({"sub": "a", "exp": 1}));
                }
            }
        }
    }

    #[test]
    fn a_token_of_another_kind_is_not_a_hint() {
        let key = key(Algorithm::Es256);
        let ring = KeyRing::new([(key.clone(), KeyState::Active)]).unwrap();
        for typ in [TokenType::AccessToken, TokenType::LogoutToken, TokenType::Introspection, TokenType::StatusList] {
            let other = key.sign_jwt(typ, &json!({"sub": "a"})).unwrap();
            assert_eq!(ring.verify_own(&other, TokenType::IdToken), Err(VerifyError::TokenType));
            assert!(ring.verify_own(&other, typ).is_ok());
        }
        let untyped = token(&key, &json!({"alg": "ES256", "kid": key.kid()}), "{}");
        assert_eq!(ring.verify_own(&untyped, TokenType::IdToken), Err(VerifyError::TokenType));
    }

    #[test]
    fn a_token_that_was_changed_or_signed_by_strangers_is_refused() {
        let key = key(Algorithm::Es256);
        let ring = KeyRing::new([(key.clone(), KeyState::Active)]).unwrap();
        let good = key.sign_jwt(TokenType::IdToken, &json!({"sub": "a"})).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'E' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(ring.verify_own(&changed, TokenType::IdToken).is_err(), "character {at}");
        }
        let stranger = SigningKey::generate(Algorithm::Es256).unwrap().0;
        let foreign = stranger.sign_jwt(TokenType::IdToken, &json!({"sub": "a"})).unwrap();
        assert_eq!(ring.verify_own(&foreign, TokenType::IdToken), Err(VerifyError::UnknownKey));
        let posing = token(&stranger, &json!({"alg": "ES256", "typ": "JWT", "kid": key.kid()}), r#"{"sub":"a"}"#);
        assert_eq!(ring.verify_own(&posing, TokenType::IdToken), Err(VerifyError::Signature));
    }

    #[test]
    fn headers_do_not_choose_the_algorithm_or_the_key() {
        let (key, pkcs8) = SigningKey::generate(Algorithm::Rs256).unwrap();
        // The same RSA key, misused for PSS under the name of the RS256 one.
        let misused = SigningKey::from_pkcs8(key.kid(), Algorithm::Ps256, &pkcs8).unwrap();
        let stranger = SigningKey::generate(Algorithm::Rs256).unwrap().0;
        let kid = key.kid().to_owned();
        let ring = KeyRing::new([(key, KeyState::Active)]).unwrap();
        let verify = |token: &str| ring.verify_own(token, TokenType::IdToken);

        let pss = token(&misused, &json!({"alg": "PS256", "typ": "JWT", "kid": kid}), "{}");
        assert_eq!(verify(&pss), Err(VerifyError::Algorithm));
        let renamed = token(&misused, &json!({"alg": "RS256", "typ": "JWT", "kid": kid}), "{}");
        assert_eq!(verify(&renamed), Err(VerifyError::Signature));
        let nameless = token(&misused, &json!({"alg": "RS256", "typ": "JWT"}), "{}");
        assert_eq!(verify(&nameless), Err(VerifyError::UnknownKey));
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid, "jwk": stranger.public_jwk()});
        assert_eq!(verify(&token(&stranger, &header, "{}")), Err(VerifyError::Signature));
        for kid in ["../../dev/null", "' OR 1=1 --", &"k".repeat(12_000)] {
            let odd = token(&stranger, &json!({"alg": "RS256", "typ": "JWT", "kid": kid}), "{}");
            assert!(matches!(verify(&odd), Err(VerifyError::UnknownKey | VerifyError::TooLong)));
        }

        // No algorithm, and HMAC with the public key as the secret.
        let unsigned = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT", "kid": kid}).to_string());
        assert_eq!(verify(&format!("{unsigned}.e30.")), Err(VerifyError::Algorithm));
        let signed = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "typ": "JWT", "kid": kid}).to_string()) + ".e30";
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, ring.jwks_json());
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, signed.as_bytes()));
        assert_eq!(verify(&format!("{signed}.{tag}")), Err(VerifyError::Algorithm));
    }

    #[test]
    fn states_have_names() {
        for state in KeyState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<KeyState>(&json).unwrap(), state);
        }
        assert_eq!("Active".parse::<KeyState>(), Err(UnknownKeyState));
    }
}
