//! The public keys that a client registered, and the assertions that it signs with them (`private_key_jwt`; RFC 7523
//! §3, OpenID Connect Core §9, RFC 7517 §5).
//!
//! Verified here: form, kind, key, algorithm, signature. Left out: the claims (`iss`, `sub`, `aud`, `exp`, `jti`), the
//! fetching of a `jwks_uri`, keys for encryption.

use std::fmt;

use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::compact::{Compact, JwsHeader, VerifyError};
use crate::verification_key::{JwkError, VerificationKey};

/// How many keys a client's set may have.
pub const MAX_CLIENT_KEYS: usize = 20;

/// The members of a JWK that hold private or secret numbers (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a client's JWK Set isn't accepted. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeysError {
    /// Not an object with an array `keys`.
    #[error("a JWK Set is an object with an array `keys`")]
    NotASet,
    /// Too many keys.
    #[error("a client's JWK Set has at most {MAX_CLIENT_KEYS} keys, not {0}")]
    TooMany(usize),
    /// An element that is no object, or has no `kty`.
    #[error("keys[{0}] is not a JWK")]
    NotAKey(usize),
    /// A key that should never have left its owner: it must be replaced.
    #[error("keys[{position}] holds the private member `{member}`; register the public key only, and replace this one")]
    PrivateKey {
        /// Which key.
        position: usize,
        /// The first such member.
        member: &'static str,
    },
    /// A secret key (`oct`).
    #[error("keys[{0}] is a symmetric key; only public keys can be registered")]
    Symmetric(usize),
    /// A `kid`, `use` or `alg` that isn't a string.
    #[error("keys[{position}]: the member `{member}` is not a string")]
    Member {
        /// Which key.
        position: usize,
        /// The member.
        member: &'static str,
    },
    /// A key of a known kind that can't be used.
    #[error("keys[{position}]: {reason}")]
    Unusable {
        /// Which key.
        position: usize,
        /// What is wrong with it.
        reason: JwkError,
    },
    /// Two keys with the same `kid` for the same algorithm.
    #[error("two keys for {algorithm} have the same kid")]
    Duplicate {
        /// The algorithm of both.
        algorithm: Algorithm,
    },
}

/// The public signature keys of one client, parsed.
pub struct ClientKeys {
    keys: Vec<(Option<String>, VerificationKey)>,
}

impl ClientKeys {
    /// Reads a JWK Set. Keys for encryption, and kinds, curves and algorithms that aren't known, are passed over
    /// (RFC 7517 §5); so the result may be empty. What is dangerous or broken refuses the whole set.
    ///
    /// A key with `alg` verifies by that algorithm alone. An RSA key without it verifies by RS256 and PS256, which the
    /// caller's list of allowed algorithms narrows.
    ///
    /// # Errors
    /// [`ClientKeysError`] names the key and what is wrong with it.
    pub fn parse(set: &Value) -> Result<Self, ClientKeysError> {
        let members = set.get("keys").and_then(Value::as_array).ok_or(ClientKeysError::NotASet)?;
        if members.len() > MAX_CLIENT_KEYS {
            return Err(ClientKeysError::TooMany(members.len()));
        }
        let mut keys: Vec<(Option<String>, VerificationKey)> = Vec::new();
        for (position, jwk) in members.iter().enumerate() {
            let jwk = jwk.as_object().ok_or(ClientKeysError::NotAKey(position))?;
            for algorithm in algorithms(jwk, position)? {
                let key = VerificationKey::from_jwk(jwk, algorithm)
                    .map_err(|reason| ClientKeysError::Unusable { position, reason })?;
                let kid = text(jwk, "kid", position)?.map(str::to_owned);
                // RFC 7517 §4.5: keys in a set should have distinct names. The same one for two algorithms stays
                // unambiguous.
                if kid.is_some() && keys.iter().any(|(other, of)| *other == kid && of.algorithm() == algorithm) {
                    return Err(ClientKeysError::Duplicate { algorithm });
                }
                keys.push((kid, key));
            }
        }
        Ok(Self { keys })
    }

    /// Whether no key can verify anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The algorithms that some key verifies by.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| self.keys.iter().any(|(_, key)| key.algorithm() == *algorithm))
            .collect()
    }

    /// Verifies a client's assertion and gives its header and claims, which aren't judged. `allowed` is what the server
    /// and the client's registration (`token_endpoint_auth_signing_alg`) agree on.
    ///
    /// # Errors
    /// [`VerifyError::UnknownKey`] when no key fits (a reason to fetch a `jwks_uri` again), and the others.
    pub fn verify(&self, compact: &str, allowed: &[Algorithm]) -> Result<(JwsHeader, Map<String, Value>), VerifyError> {
        let token = Compact::parse(compact)?;
        let header = &token.header;
        if !allowed.contains(&header.algorithm) {
            return Err(VerifyError::Algorithm);
        }
        // RFC 8725 §3.11: an assertion may lack a type or say `JWT`; one that names another kind isn't an assertion.
        // An empty `typ` names nothing that is known either.
        if header.typ.is_some() && !header.is_typed("JWT") && !header.is_typed("client-authentication+jwt") {
            return Err(VerifyError::TokenType);
        }
        // RFC 7515 §4.1.4: `kid` selects. Without it every key that fits is tried (appendix D).
        let named = || self.keys.iter().filter(|(kid, _)| header.key_id.is_none() || *kid == header.key_id);
        let mut fitting = named().filter(|(_, key)| key.algorithm() == header.algorithm).peekable();
        if fitting.peek().is_none() {
            // The named key exists, but for another algorithm (RFC 8725 §3.1): fetching anew wouldn't help.
            let exists = header.key_id.is_some() && named().next().is_some();
            return Err(if exists { VerifyError::Algorithm } else { VerifyError::UnknownKey });
        }
        if !fitting.any(|(_, key)| key.verify(token.signed, &token.signature).is_ok()) {
            return Err(VerifyError::Signature);
        }
        let claims = token.claims()?;
        Ok((token.header, claims))
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.keys.iter().map(|(_, key)| key)).finish()
    }
}

/// The algorithms that a JWK is for; none if it is passed over.
fn algorithms(jwk: &Map<String, Value>, position: usize) -> Result<Vec<Algorithm>, ClientKeysError> {
    let kind = jwk.get("kty").and_then(Value::as_str).ok_or(ClientKeysError::NotAKey(position))?;
    // RFC 7591 §2: `jwks` holds public keys. Whoever sends another has published a secret.
    if kind == "oct" {
        return Err(ClientKeysError::Symmetric(position));
    }
    if let Some(member) = PRIVATE_MEMBERS.into_iter().find(|member| jwk.contains_key(*member)) {
        return Err(ClientKeysError::PrivateKey { position, member });
    }
    // RFC 7517 §4.2, §4.3: a key for something else isn't for signatures.
    if text(jwk, "use", position)?.is_some_and(|purpose| purpose != "sig") {
        return Ok(Vec::new());
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or(ClientKeysError::Member { position, member: "key_ops" })?;
        if !operations.iter().any(|operation| operation.as_str() == Some("verify")) {
            return Ok(Vec::new());
        }
    }
    let fitting: &[Algorithm] = match (kind, jwk.get("crv").and_then(Value::as_str)) {
        ("EC", Some("P-256")) => &[Algorithm::Es256],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
        ("RSA", _) => &[Algorithm::Rs256, Algorithm::Ps256],
        _ => &[],
    };
    let Some(named) = text(jwk, "alg", position)? else {
        return Ok(fitting.to_vec());
    };
    match named.parse() {
        Ok(algorithm) if fitting.contains(&algorithm) => Ok(vec![algorithm]),
        // RFC 7517 §4.4: `alg` says what the key is for. One that its kind can't do is a mistake to be told of.
        Ok(algorithm) if !fitting.is_empty() => {
            Err(ClientKeysError::Unusable { position, reason: JwkError::WrongKind(algorithm) })
        }
        // For an algorithm that isn't known: RS384, RSA-OAEP.
        _ => Ok(Vec::new()),
    }
}

/// A member that must be a string if it is there.
fn text<'jwk>(
    jwk: &'jwk Map<String, Value>,
    member: &'static str,
    position: usize,
) -> Result<Option<&'jwk str>, ClientKeysError> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ClientKeysError::Member { position, member }),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::signing::SigningKey;

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(algorithm).unwrap().0
    }

    /// The key's JWK with some members replaced (`null` removes one).
    fn jwk(key: &SigningKey, changes: Value) -> Value {
        let mut jwk = key.public_jwk();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                jwk.as_object_mut().unwrap().remove(name);
            } else {
                jwk[name] = value.clone();
            }
        }
        jwk
    }

    fn keys(members: &[Value]) -> ClientKeys {
        ClientKeys::parse(&json!({ "keys": members })).unwrap()
    }

    fn refused(members: &[Value]) -> ClientKeysError {
        ClientKeys::parse(&json!({ "keys": members })).unwrap_err()
    }

    fn assertion(key: &SigningKey, header: &Value) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(r#"{"iss":"client","sub":"client"}"#)
        );
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    /// RFC 7515 appendix A.3: key and token as printed there.
    #[test]
    fn the_es256_example_of_rfc_7515() {
        let keys = keys(&[json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })]);
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let (header, claims) = keys.verify(token, &Algorithm::ALL).unwrap();
        assert_eq!(header, JwsHeader { algorithm: Algorithm::Es256, key_id: None, typ: None });
        assert_eq!(claims["iss"], "joe");
        let changed = token.replace(".eyJpc3MiOiJqb2Ui", ".eyJpc3MiOiJqb2Yi");
        assert_ne!(changed, token);
        assert_eq!(keys.verify(&changed, &Algorithm::ALL), Err(VerifyError::Signature));
    }

    /// Another implementation signs; we verify by the JWK that it gives.
    #[test]
    fn assertions_of_another_implementation_verify() {
        for (algorithm, foreign) in [
            (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
            (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
            (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
            (Algorithm::Ps256, jsonwebtoken::Algorithm::PS256),
        ] {
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            let private = match algorithm {
                Algorithm::Es256 => jsonwebtoken::EncodingKey::from_ec_der(&pkcs8),
                Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_der(&pkcs8),
                Algorithm::Rs256 | Algorithm::Ps256 => jsonwebtoken::EncodingKey::from_rsa_der(pkcs1(&pkcs8)),
            };
            let mut header = jsonwebtoken::Header::new(foreign);
            header.kid = Some(key.kid().to_owned());
            let claims = json!({"iss": "client", "sub": "client", "jti": "1"});
            let token = jsonwebtoken::encode(&header, &claims, &private).unwrap();
            let (read, verified) = keys(&[key.public_jwk()]).verify(&token, &[algorithm]).unwrap();
            assert_eq!(read.algorithm, algorithm);
            assert_eq!(Value::Object(verified), claims);
        }
    }

    /// The RSA key inside PKCS#8 starts at its second sequence: after the header of 26 octets for these sizes.
    fn pkcs1(pkcs8: &[u8]) -> &[u8] {
        &pkcs8[26..]
    }

    #[test]
    fn the_key_id_selects() {
        let (one, two) = (key(Algorithm::Es256), key(Algorithm::Es256));
        let keys = keys(&[jwk(&one, json!({"kid": "1"})), jwk(&two, json!({"kid": "2"}))]);
        let verify = |token: &str| keys.verify(token, &Algorithm::ALL).map(|(header, _)| header.key_id);
        assert_eq!(verify(&assertion(&one, &json!({"alg": "ES256", "kid": "1"}))), Ok(Some("1".to_owned())));
        assert_eq!(verify(&assertion(&one, &json!({"alg": "ES256", "kid": "2"}))), Err(VerifyError::Signature));
        assert_eq!(verify(&assertion(&one, &json!({"alg": "ES256", "kid": "3"}))), Err(VerifyError::UnknownKey));
        assert_eq!(verify(&assertion(&one, &json!({"alg": "ES256", "kid": ""}))), Err(VerifyError::UnknownKey));
        // Without a name, both are tried.
        assert_eq!(verify(&assertion(&one, &json!({"alg": "ES256"}))), Ok(None));
        assert_eq!(verify(&assertion(&two, &json!({"alg": "ES256"}))), Ok(None));
        let stranger = key(Algorithm::Es256);
        assert_eq!(verify(&assertion(&stranger, &json!({"alg": "ES256"}))), Err(VerifyError::Signature));
        let eddsa = key(Algorithm::EdDsa);
        assert_eq!(verify(&assertion(&eddsa, &json!({"alg": "EdDSA"}))), Err(VerifyError::UnknownKey));
    }

    #[test]
    fn a_key_that_names_no_id_is_not_found_by_one() {
        let one = key(Algorithm::Es256);
        let keys = keys(&[jwk(&one, json!({"kid": null}))]);
        let named = assertion(&one, &json!({"alg": "ES256", "kid": "1"}));
        assert_eq!(keys.verify(&named, &Algorithm::ALL), Err(VerifyError::UnknownKey));
        assert!(keys.verify(&assertion(&one, &json!({"alg": "ES256"})), &Algorithm::ALL).is_ok());
    }

    #[test]
    fn the_algorithm_is_pinned_and_must_be_allowed() {
        let (rs256, pkcs8) = SigningKey::generate(Algorithm::Rs256).unwrap();
        let ps256 = SigningKey::from_pkcs8("k", Algorithm::Ps256, &pkcs8).unwrap();
        let by_rs256 = assertion(&rs256, &json!({"alg": "RS256", "kid": "k"}));
        let by_ps256 = assertion(&ps256, &json!({"alg": "PS256", "kid": "k"}));

        let pinned = keys(&[jwk(&rs256, json!({"kid": "k"}))]);
        assert_eq!(pinned.algorithms(), [Algorithm::Rs256]);
        assert!(pinned.verify(&by_rs256, &Algorithm::ALL).is_ok());
        assert_eq!(pinned.verify(&by_ps256, &Algorithm::ALL), Err(VerifyError::Algorithm));
        assert_eq!(pinned.verify(&by_rs256, &[Algorithm::Ps256]), Err(VerifyError::Algorithm));
        assert_eq!(pinned.verify(&by_rs256, &[]), Err(VerifyError::Algorithm));

        let open = keys(&[jwk(&rs256, json!({"kid": "k", "alg": null}))]);
        assert_eq!(open.algorithms(), [Algorithm::Rs256, Algorithm::Ps256]);
        assert!(open.verify(&by_rs256, &Algorithm::ALL).is_ok());
        assert!(open.verify(&by_ps256, &Algorithm::ALL).is_ok());
        assert_eq!(open.verify(&by_rs256, &[Algorithm::Ps256]), Err(VerifyError::Algorithm));
        // One signature scheme under the other's name.
        let posing = assertion(&rs256, &json!({"alg": "PS256", "kid": "k"}));
        assert_eq!(open.verify(&posing, &Algorithm::ALL), Err(VerifyError::Signature));

        let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#) + ".e30.";
        assert_eq!(open.verify(&unsigned, &Algorithm::ALL), Err(VerifyError::Algorithm));
    }

    #[test]
    fn ed25519_goes_by_both_names() {
        let one = key(Algorithm::EdDsa);
        for name in ["EdDSA", "Ed25519"] {
            let keys = keys(&[jwk(&one, json!({"alg": name}))]);
            for header in ["EdDSA", "Ed25519"] {
                let token = assertion(&one, &json!({"alg": header, "kid": one.kid()}));
                assert!(keys.verify(&token, &[Algorithm::EdDsa]).is_ok(), "{name} {header}");
            }
        }
    }

    #[test]
    fn an_assertion_may_lack_a_type_but_not_have_another() {
        let one = key(Algorithm::Es256);
        let keys = keys(&[one.public_jwk()]);
        let typed = |typ: &str| {
            let token = assertion(&one, &json!({"alg": "ES256", "kid": one.kid(), "typ": typ}));
            keys.verify(&token, &[Algorithm::Es256]).map(|_| ())
        };
        for typ in ["JWT", "jwt", "application/jwt", "client-authentication+jwt"] {
            assert_eq!(typed(typ), Ok(()), "{typ}");
        }
        for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "JOSE", ""] {
            assert_eq!(typed(typ), Err(VerifyError::TokenType), "{typ}");
        }
    }

    #[test]
    fn keys_and_addresses_in_the_header_are_ignored_and_extensions_refused() {
        let (one, stranger) = (key(Algorithm::Es256), key(Algorithm::Es256));
        let keys = keys(&[one.public_jwk()]);
        let header = json!({
            "alg": "ES256", "jwk": stranger.public_jwk(), "jku": "https://evil.example/jwks",
            "x5u": "https://evil.example/x5u", "x5c": ["AAAA"],
        });
        assert!(keys.verify(&assertion(&one, &header), &[Algorithm::Es256]).is_ok());
        assert_eq!(keys.verify(&assertion(&stranger, &header), &[Algorithm::Es256]), Err(VerifyError::Signature));
        let critical = assertion(&one, &json!({"alg": "ES256", "crit": ["exp"], "exp": 1}));
        assert_eq!(keys.verify(&critical, &[Algorithm::Es256]), Err(VerifyError::Critical));
        let long = assertion(&one, &json!({"alg": "ES256", "kid": "k".repeat(1 << 20)}));
        assert_eq!(keys.verify(&long, &[Algorithm::Es256]), Err(VerifyError::TooLong));
    }

    #[test]
    fn private_and_symmetric_keys_are_refused() {
        let one = key(Algorithm::Es256);
        for member in PRIVATE_MEMBERS {
            for purpose in ["sig", "enc"] {
                let leaked = jwk(&one, json!({member: "AAAA", "use": purpose}));
                let expected = ClientKeysError::PrivateKey { position: 1, member };
                assert_eq!(refused(&[one.public_jwk(), leaked]), expected);
            }
        }
        assert_eq!(refused(&[json!({"kty": "oct", "k": "AAAA"})]), ClientKeysError::Symmetric(0));
    }

    #[test]
    fn weak_and_broken_keys_are_refused_and_named() {
        let rsa = key(Algorithm::Rs256);
        let short = jwk(&rsa, json!({"n": URL_SAFE_NO_PAD.encode([0xff; 128])}));
        let expected = ClientKeysError::Unusable { position: 0, reason: JwkError::RsaBits(1024) };
        assert_eq!(refused(&[short]), expected);
        assert_eq!(expected.to_string(), "keys[0]: the RSA modulus has 1024 bits; from 2048 to 8192 are accepted");

        let one = key(Algorithm::Es256);
        let missing = ClientKeysError::Unusable { position: 0, reason: JwkError::Missing("y") };
        assert_eq!(refused(&[jwk(&one, json!({"y": null}))]), missing);
        let wrong = ClientKeysError::Unusable { position: 0, reason: JwkError::WrongKind(Algorithm::Rs256) };
        assert_eq!(refused(&[jwk(&one, json!({"alg": "RS256"}))]), wrong);
        for member in ["kid", "use", "alg", "key_ops"] {
            let expected = ClientKeysError::Member { position: 0, member };
            assert_eq!(refused(&[jwk(&one, json!({member: 7}))]), expected);
        }
    }

    #[test]
    fn a_set_has_a_form_and_a_limit() {
        for set in [json!(null), json!([]), json!({}), json!({"keys": {}}), json!({"keys": "a"})] {
            assert_eq!(ClientKeys::parse(&set).unwrap_err(), ClientKeysError::NotASet);
        }
        assert_eq!(refused(&[json!("a")]), ClientKeysError::NotAKey(0));
        assert_eq!(refused(&[json!({"kid": "a"})]), ClientKeysError::NotAKey(0));
        let one = key(Algorithm::Es256);
        let many: Vec<Value> = (0..=MAX_CLIENT_KEYS).map(|at| jwk(&one, json!({"kid": at.to_string()}))).collect();
        assert_eq!(refused(&many), ClientKeysError::TooMany(21));
        assert_eq!(keys(&many[..MAX_CLIENT_KEYS]).keys.len(), MAX_CLIENT_KEYS);
    }

    #[test]
    fn duplicate_ids_are_refused_unless_the_algorithm_tells_them_apart() {
        let (one, two, other) = (key(Algorithm::Es256), key(Algorithm::Es256), key(Algorithm::EdDsa));
        let named = |key: &SigningKey| jwk(key, json!({"kid": "k"}));
        assert_eq!(refused(&[named(&one), named(&two)]), ClientKeysError::Duplicate { algorithm: Algorithm::Es256 });
        let both = keys(&[named(&one), named(&other)]);
        assert!(both.verify(&assertion(&one, &json!({"alg": "ES256", "kid": "k"})), &Algorithm::ALL).is_ok());
        assert!(both.verify(&assertion(&other, &json!({"alg": "EdDSA", "kid": "k"})), &Algorithm::ALL).is_ok());
    }

    #[test]
    fn keys_for_other_uses_and_unknown_kinds_are_passed_over() {
        let one = key(Algorithm::Es256);
        let rsa = key(Algorithm::Rs256);
        let passed = keys(&[
            jwk(&one, json!({"use": "enc"})),
            jwk(&one, json!({"use": null, "key_ops": ["encrypt"]})),
            jwk(&one, json!({"crv": "P-384", "alg": "ES384"})),
            jwk(&one, json!({"crv": "P-521", "alg": null})),
            jwk(&rsa, json!({"alg": "RSA-OAEP", "use": null})),
            jwk(&rsa, json!({"alg": "RS512"})),
            json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        ]);
        assert!(passed.is_empty());
        let token = assertion(&one, &json!({"alg": "ES256"}));
        assert_eq!(passed.verify(&token, &Algorithm::ALL), Err(VerifyError::UnknownKey));
        assert!(!keys(&[jwk(&one, json!({"use": null, "key_ops": ["verify"]}))]).is_empty());
    }
}
