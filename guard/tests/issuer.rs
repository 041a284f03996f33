//! An issuer for the tests: keys, tokens that can be bent at will, and a server on loopback whose answers can be changed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use axum::Router;
use axum::http::{StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The time at which the tests live, in Unix seconds.
pub const NOW: u64 = 1_800_000_000;
/// The issuer of tests that need no server.
pub const ISSUER: &str = "https://id.example";
/// The audience of every test.
pub const AUDIENCE: &str = "https://api.example";

/// RSA keys take long to make; all tests share this one.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

enum Private {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256,
    Ps256,
}

/// A key pair of the test issuer.
pub struct Key {
    pub kid: &'static str,
    private: Private,
}

impl Key {
    pub fn es256(kid: &'static str) -> Self {
        Self { kid, private: Private::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub fn ed25519(kid: &'static str) -> Self {
        Self { kid, private: Private::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    pub fn rs256(kid: &'static str) -> Self {
        Self { kid, private: Private::Rs256 }
    }

    pub fn ps256(kid: &'static str) -> Self {
        Self { kid, private: Private::Ps256 }
    }

    pub fn alg(&self) -> &'static str {
        match self.private {
            Private::Es256(_) => "ES256",
            Private::Ed25519(_) => "EdDSA",
            Private::Rs256 => "RS256",
            Private::Ps256 => "PS256",
        }
    }

    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.private {
            Private::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
            Private::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            Private::Rs256 | Private::Ps256 => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(RSA.public_key());
                json!({ "kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e) })
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["alg"] = self.alg().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The DER of the public key: what an attacker would take for the secret of an HMAC.
    pub fn public_octets(&self) -> Vec<u8> {
        match &self.private {
            Private::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Private::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Private::Rs256 | Private::Ps256 => RSA.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |encoding| {
            let mut signature = vec![0; RSA.public_modulus_len()];
            RSA.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match &self.private {
            Private::Es256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Private::Ps256 => rsa(&RSA_PSS_SHA256),
        }
    }

    pub fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": self.alg(), "kid": self.kid })
    }

    /// Signs whatever it is given.
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with these claims under a proper header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(&self.header().to_string(), &claims.to_string())
    }
}

pub fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Claims that nobody could complain about.
pub fn claims() -> Value {
    claims_of(ISSUER)
}

pub fn claims_of(issuer: &str) -> Value {
    json!({
        "iss": issuer, "sub": "alice", "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW - 5, "jti": "j-1",
        "client_id": "web", "scope": "openid notes.read",
    })
}

/// What one path answers.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

impl Answer {
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, location: None, body: body.into() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, location: None, body: String::new() }
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self { status: 302, location: Some(to.into()), body: String::new() }
    }
}

#[derive(Default)]
struct Served {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
}

/// A server on loopback.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    served: Arc<Mutex<Served>>,
}

pub const METADATA: &str = "/.well-known/oauth-authorization-server";
pub const OPENID: &str = "/.well-known/openid-configuration";
pub const JWKS: &str = "/keys";

impl Server {
    /// Starts with metadata and these keys.
    pub async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::on(listener);
        server.set(METADATA, Answer::ok(server.metadata()));
        server.set(JWKS, Answer::ok(jwks(keys)));
        server
    }

    /// Starts without any answer.
    pub fn on(listener: tokio::net::TcpListener) -> Self {
        let server =
            Self { url: format!("http://{}", listener.local_addr().unwrap()), served: Arc::new(Mutex::default()) };
        let served = Arc::clone(&server.served);
        let router = Router::new().fallback(move |uri: Uri| {
            let answer = {
                let mut served = served.lock().unwrap();
                *served.asked.entry(uri.path().to_owned()).or_default() += 1;
                served.answers.get(uri.path()).cloned().unwrap_or(Answer::status(404))
            };
            let location = answer.location.map(|to| [("location", to)]);
            async move {
                let status = StatusCode::from_u16(answer.status).unwrap();
                match location {
                    Some(location) => axum::response::IntoResponse::into_response((status, location)),
                    None => axum::response::IntoResponse::into_response((status, answer.body)),
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub fn metadata(&self) -> String {
        json!({ "issuer": self.url, "jwks_uri": format!("{}{JWKS}", self.url) }).to_string()
    }

    pub fn set(&self, path: &str, answer: Answer) {
        self.served.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    pub fn asked(&self, path: &str) -> usize {
        self.served.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }
}
