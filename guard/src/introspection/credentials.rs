//! How the resource server proves who it is at the introspection endpoint (RFC 6749 §2.3.1, RFC 7523 §2.2).
//!
//! Left out: client certificates, `client_secret_jwt`; private keys other than ES256 and Ed25519.

use std::fmt;

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::{Serializer, byte_serialize};
use reqwest::header::HeaderValue;
use serde_json::json;
use zeroize::Zeroizing;

/// How long an assertion is good, in seconds.
const ASSERTION_LIFE: u64 = 60;

/// What is proven with. `Debug` shows the kind alone.
pub(super) enum Credentials {
    Basic(Zeroizing<String>),
    Post(Zeroizing<String>),
    PrivateKey(PrivateKey),
}

/// A key for `private_key_jwt`, and its name in the client's JWK set.
pub(super) struct PrivateKey {
    pair: Pair,
    kid: Option<String>,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::PrivateKey(_) => "private_key_jwt",
        })
    }
}

impl PrivateKey {
    /// Reads a PKCS#8 key in PEM.
    pub(super) fn read(pem: &str, kid: Option<String>) -> Option<Self> {
        let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
        let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
        let text: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
        let pair = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
            Ok(pair) => Pair::Es256(pair),
            Err(_) => Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?),
        };
        Some(Self { pair, kid })
    }

    /// RFC 7523 §3: an assertion for the authorization server. `None` where the system has no chance to give.
    fn assertion(&self, client_id: &str, issuer: &str, now: u64) -> Option<String> {
        let random = SystemRandom::new();
        let mut jti = [0_u8; 16];
        rand::fill(&mut jti).ok()?;
        let alg = match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        };
        let mut header = json!({ "typ": "JWT", "alg": alg });
        if let (Some(kid), Some(members)) = (&self.kid, header.as_object_mut()) {
            members.insert("kid".to_owned(), kid.as_str().into());
        }
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": issuer, "jti": URL_SAFE_NO_PAD.encode(jti),
            "iat": now, "exp": now.saturating_add(ASSERTION_LIFE),
        });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, token.as_bytes()).ok()?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(token.as_bytes()).as_ref().to_vec(),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

impl Credentials {
    /// The form of a question about `token` (RFC 7662 §2.1), and the `Authorization` header if there is one.
    pub(super) fn form(
        &self,
        token: &str,
        client_id: &str,
        issuer: &str,
        now: u64,
    ) -> Option<(String, Option<HeaderValue>)> {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        let mut authorization = None;
        match self {
            // RFC 6749 §2.3.1: both are form-encoded before they are joined.
            Self::Basic(secret) => {
                let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let joined = Zeroizing::new(format!("{}:{}", encode(client_id), encode(secret)));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(joined.as_bytes()))).ok()?;
                value.set_sensitive(true);
                authorization = Some(value);
            }
            Self::Post(secret) => {
                form.append_pair("client_id", client_id).append_pair("client_secret", secret);
            }
            Self::PrivateKey(key) => {
                form.append_pair("client_id", client_id)
                    .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    .append_pair("client_assertion", &key.assertion(client_id, issuer, now)?);
            }
        }
        Some((form.finish(), authorization))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded_first() {
        let secret = Credentials::Basic(Zeroizing::new("p:ä s+".to_owned()));
        let (form, header) = secret.form("a.b+c", "my app", "https://id.example", 0).unwrap();
        assert_eq!(form, "token=a.b%2Bc&token_type_hint=access_token");
        let header = header.unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"my+app:p%3A%C3%A4+s%2B");
        assert!(header.is_sensitive());
    }

    #[test]
    fn posted_credentials_are_in_the_form_and_nothing_prints_a_secret() {
        let secret = Credentials::Post(Zeroizing::new("canary&".to_owned()));
        let (form, header) = secret.form("t", "id", "https://id.example", 0).unwrap();
        assert!(form.ends_with("&client_id=id&client_secret=canary%26") && header.is_none());
        assert_eq!(format!("{secret:?}"), "client_secret_post");
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        for pem in ["", "canary", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(PrivateKey::read(pem, None).is_none(), "{pem}");
        }
    }
}
