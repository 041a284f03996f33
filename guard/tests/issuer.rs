//! An issuer for the tests: keys, tokens that can be bent at will, and a server on loopback whose answers can be changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_guard::SignatureAlgorithm;
use keyward_guard::testing::TestKey;
use serde_json::{Value, json};

/// The time at which the tests live, in Unix seconds.
pub const NOW: u64 = 1_800_000_000;
/// The issuer of tests that need no server.
pub const ISSUER: &str = "https://id.example";
/// The audience of every test.
pub const AUDIENCE: &str = "https://api.example";

/// A key pair of the test issuer.
pub struct Key(TestKey);

impl Key {
    pub fn es256(kid: &str) -> Self {
        Self(TestKey::new(kid, SignatureAlgorithm::Es256))
    }

    pub fn ed25519(kid: &str) -> Self {
        Self(TestKey::new(kid, SignatureAlgorithm::Ed25519))
    }

    pub fn rs256(kid: &str) -> Self {
        Self(TestKey::new(kid, SignatureAlgorithm::Rs256))
    }

    pub fn ps256(kid: &str) -> Self {
        Self(TestKey::new(kid, SignatureAlgorithm::Ps256))
    }

    pub fn alg(&self) -> &'static str {
        self.0.alg()
    }

    pub fn jwk(&self) -> Value {
        self.0.jwk()
    }

    pub fn header(&self) -> Value {
        self.0.header("at+jwt")
    }

    /// Signs whatever it is given.
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        self.0.sign_text(header, claims)
    }

    /// A token with these claims under a proper header.
    pub fn token(&self, claims: &Value) -> String {
        self.of_kind("at+jwt", claims)
    }

    /// A JWT of another kind.
    pub fn of_kind(&self, typ: &str, claims: &Value) -> String {
        self.0.sign(&self.0.header(typ), claims)
    }

    /// What an attacker would take for the secret of an HMAC: the public key in whatever form it is published.
    pub fn public_forms(&self) -> Vec<Vec<u8>> {
        let jwk = self.jwk();
        let octets = |name: &str| jwk[name].as_str().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        let mut forms = vec![jwk.to_string().into_bytes(), Vec::new()];
        for name in ["n", "x", "y"] {
            forms.extend(octets(name));
            forms.extend(jwk[name].as_str().map(|text| text.as_bytes().to_vec()));
        }
        if let (Some(n), Some(e)) = (octets("n"), octets("e")) {
            use aws_lc_rs::encoding::AsDer as _;
            let der = aws_lc_rs::signature::RsaPublicKeyComponents { n, e }.as_der().unwrap();
            let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
            let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
            forms.extend([der.as_ref().to_vec(), pem.trim_end().as_bytes().to_vec(), pem.into_bytes()]);
        }
        forms
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
#[derive(Clone, Default)]
pub struct Answer {
    status: u16,
    location: Option<String>,
    etag: Option<&'static str>,
    /// Waits before it answers.
    delay: Duration,
    body: String,
}

impl Answer {
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self { status: 302, location: Some(to.into()), ..Self::default() }
    }

    pub fn etag(self, etag: &'static str) -> Self {
        Self { etag: Some(etag), ..self }
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub authorization: Option<String>,
    pub accept: Option<String>,
    pub body: String,
}

#[derive(Default)]
struct Served {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
    unchanged: HashMap<String, usize>,
    last: HashMap<String, Seen>,
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
        let router = Router::new().fallback(move |request: Request| answer(Arc::clone(&served), request));
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

    /// How often 304 was answered.
    pub fn unchanged(&self, path: &str) -> usize {
        self.served.lock().unwrap().unchanged.get(path).copied().unwrap_or(0)
    }

    pub fn last(&self, path: &str) -> Seen {
        self.served.lock().unwrap().last.get(path).cloned().unwrap_or_default()
    }
}

async fn answer(served: Arc<Mutex<Served>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let seen = Seen {
        authorization: header("authorization"),
        accept: header("accept"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let answer = {
        let mut served = served.lock().unwrap();
        *served.asked.entry(path.clone()).or_default() += 1;
        served.last.insert(path.clone(), seen);
        let answer = served.answers.get(&path).cloned().unwrap_or(Answer::status(404));
        if answer.etag.is_some() && header("if-none-match").as_deref() == answer.etag {
            *served.unchanged.entry(path).or_default() += 1;
            return StatusCode::NOT_MODIFIED.into_response();
        }
        answer
    };
    if !answer.delay.is_zero() {
        crate::pause(answer.delay).await;
    }
    let mut response = (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response();
    for (name, value) in [("location", answer.location.as_deref()), ("etag", answer.etag)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}
