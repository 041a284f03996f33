//! The API over HTTP, from before its issuer is up.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy spares only the test functions themselves, not what they call"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_example_resource_server::{Config, run};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const SPA: &str = "http://127.0.0.1:4002";

struct World {
    key: Ed25519KeyPair,
    issuer: String,
    api: String,
    client: Client,
}

#[allow(clippy::disallowed_methods, reason = "the program under test runs on real time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[allow(clippy::disallowed_methods, reason = "a client of the test's own")]
fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

#[allow(clippy::disallowed_methods, reason = "the program under test runs on real time")]
async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

impl World {
    /// Starts the API. Its issuer gets an address, but nobody serves it yet.
    async fn start() -> (Self, std::net::SocketAddr) {
        let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("http://{address}");
        let config = Config {
            issuer: issuer.clone(),
            audience: format!("{api}/notes"),
            web_origins: vec![SPA.to_owned()],
            ..Config::default()
        };
        tokio::spawn(run(listener, config));
        (Self { key: Ed25519KeyPair::generate().unwrap(), issuer, api, client: client() }, address)
    }

    async fn serve_issuer(&self, address: std::net::SocketAddr) {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        let metadata = json!({ "issuer": self.issuer, "jwks_uri": format!("{}/jwks", self.issuer) });
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] });
        let router = Router::new()
            .route("/.well-known/oauth-authorization-server", get(|| async { Json(metadata) }))
            .route("/jwks", get(|| async { Json(keys) }));
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn token(&self, subject: &str, scope: &str, roles: &[&str]) -> String {
        let claims = json!({
            "iss": self.issuer, "aud": format!("{}/notes", self.api), "sub": subject, "client_id": "spa",
            "iat": now(), "exp": now() + 60, "jti": "1", "scope": scope, "roles": roles,
        });
        let header = r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k"}"#;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes())))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.api))
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let response = self.request(Method::GET, path).bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn post(&self, token: &str, body: Value) -> u16 {
        let request = self.request(Method::POST, "/api/notes").bearer_auth(token).json(&body);
        request.send().await.unwrap().status().as_u16()
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn notes_from_before_the_issuer_is_up_to_the_last_refusal() {
    let (world, address) = World::start().await;
    let alice = world.token("alice", "notes.read notes.write", &[]);

    let early = world.request(Method::GET, "/api/me").bearer_auth(&alice).send().await.unwrap();
    assert_eq!((early.status().as_u16(), header(&early, "retry-after")), (503, Some("5")));
    world.serve_issuer(address).await;
    let mut answer = world.get("/api/me", &alice).await;
    for _ in 0..60 {
        if answer.0 == 200 {
            break;
        }
        pause(100).await;
        answer = world.get("/api/me", &alice).await;
    }
    assert_eq!(answer, (200, json!({ "sub": "alice", "client_id": "spa", "scope": "notes.read notes.write" })));

    assert_eq!(world.post(&alice, json!({ "text": "milk" })).await, 201);
    assert_eq!(world.get("/api/notes", &alice).await, (200, json!({ "notes": [{ "id": 1, "text": "milk" }] })));
    let bob = world.token("bob", "notes.read", &["moderator"]);
    assert_eq!(world.get("/api/notes", &bob).await, (200, json!({ "notes": [] })), "notes are their owner's alone");
    assert_eq!(world.post(&bob, json!({ "text": "x" })).await, 403);
    assert_eq!(world.post(&alice, json!({ "text": "  " })).await, 422);
    assert_eq!(world.post(&alice, json!({ "text": "x".repeat(1001) })).await, 422);
    assert_eq!(world.post(&alice, json!({ "text": "x".repeat(9000) })).await, 413);
    assert_eq!(world.post(&alice, json!({ "txt": "x" })).await, 422);
    assert_eq!(world.post("broken", json!({ "txt": "x" })).await, 401, "strangers' bodies aren't judged");

    assert_eq!(world.get("/api/admin", &bob).await.0, 403);
    let root = world.token("root", "", &["admin"]);
    assert_eq!(world.get("/api/admin", &root).await, (200, json!({ "people": 1, "notes": 1 })));
    assert_eq!(world.get("/api/notes", &root).await.0, 403, "a role is no scope");
}

#[tokio::test]
async fn a_client_finds_the_authorization_server_from_a_refusal() {
    let (world, _) = World::start().await;
    let refused = world.request(Method::GET, "/api/notes").send().await.unwrap();
    let url = format!("{}/.well-known/oauth-protected-resource/notes", world.api);
    assert_eq!(refused.status().as_u16(), 401);
    assert_eq!(header(&refused, "www-authenticate"), Some(format!("Bearer resource_metadata=\"{url}\"").as_str()));
    assert_eq!(header(&refused, "cache-control"), Some("no-store"));
    for path in ["", "/notes"] {
        let found = world.request(Method::GET, &format!("/.well-known/oauth-protected-resource{path}"));
        let found = found.send().await.unwrap();
        assert_eq!(header(&found, "access-control-allow-origin"), Some("*"));
        let document: Value = found.json().await.unwrap();
        assert_eq!(document["resource"], format!("{}/notes", world.api));
        assert_eq!(document["authorization_servers"], json!([world.issuer]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert_eq!(document["scopes_supported"], json!(["notes.read", "notes.write"]));
    }
    let other = world.request(Method::GET, "/.well-known/oauth-protected-resource/other").send().await.unwrap();
    assert_eq!(other.status().as_u16(), 404);
    let about = world.request(Method::GET, "/").send().await.unwrap();
    assert!(about.status().is_success() && about.text().await.unwrap().contains("/api/notes"));
}

#[tokio::test]
async fn only_listed_origins_may_read() {
    let (world, _) = World::start().await;
    let preflight = |origin: &str| {
        world
            .request(Method::OPTIONS, "/api/notes")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .send()
    };
    let good = preflight(SPA).await.unwrap();
    assert_eq!(good.status().as_u16(), 204);
    assert_eq!(header(&good, "access-control-allow-origin"), Some(SPA));
    assert_eq!(header(&good, "access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(header(&good, "access-control-allow-headers"), Some("authorization, content-type"));
    assert_eq!(header(&good, "access-control-max-age"), Some("86400"));
    assert_eq!(header(&good, "access-control-allow-credentials"), None);
    for origin in ["http://127.0.0.1:40021", "https://127.0.0.1:4002", "null", "http://127.0.0.1:4002.evil.example"] {
        let refused = preflight(origin).await.unwrap();
        assert_eq!(header(&refused, "access-control-allow-origin"), None, "{origin}");
        let real = world.request(Method::GET, "/api/notes").header("origin", origin).send().await.unwrap();
        assert_eq!(header(&real, "access-control-allow-origin"), None, "{origin}");
        assert_eq!(header(&real, "vary"), Some("Origin"));
    }
    let real = world.request(Method::GET, "/api/notes").header("origin", SPA).send().await.unwrap();
    assert_eq!(real.status().as_u16(), 401);
    assert_eq!(header(&real, "access-control-allow-origin"), Some(SPA), "refusals can be read too");
    assert_eq!(header(&real, "access-control-expose-headers"), Some("www-authenticate, retry-after"));
}
