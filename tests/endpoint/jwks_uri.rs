//! private_key_jwt with keys that the client publishes (RFC 7591 §2, OpenID Connect Core §10.1.1, protocol decision 22).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use http::StatusCode;
use http::header::{self, HeaderMap};
use keyward_keys::{Algorithm, SigningKey};
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata};
use serde_json::{Value, json};

use crate::security::forge::sign;
use crate::support::server::Answer;
use crate::support::{ClientSpec, TestDatabase, TestServer};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client's own server.
#[derive(Clone)]
struct KeyServer {
    said: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    not_modified: Arc<AtomicUsize>,
    max_age: Arc<AtomicUsize>,
    url: String,
}

impl KeyServer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            said: Arc::new(Mutex::new((StatusCode::OK, String::new()))),
            asked: Arc::default(),
            not_modified: Arc::default(),
            max_age: Arc::new(AtomicUsize::new(600)),
            url: format!("http://localhost:{}/jwks", listener.local_addr().unwrap().port()),
        };
        let router = Router::new().route("/jwks", get(Self::answer)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    async fn answer(State(server): State<Self>, headers: HeaderMap) -> Response {
        server.asked.fetch_add(1, Ordering::SeqCst);
        let (status, text) = server.said.lock().unwrap().clone();
        let max_age = format!("max-age={}", server.max_age.load(Ordering::SeqCst));
        let etag = format!("\"{}\"", text.len());
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == etag.as_str()) && status == StatusCode::OK {
            server.not_modified.fetch_add(1, Ordering::SeqCst);
            return StatusCode::NOT_MODIFIED.into_response();
        }
        (status, [(header::ETAG, etag), (header::CACHE_CONTROL, max_age)], text).into_response()
    }

    fn says(&self, status: StatusCode, text: impl Into<String>) {
        *self.said.lock().unwrap() = (status, text.into());
    }

    fn publishes(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
        self.says(StatusCode::OK, json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap().0
}

/// A server that may ask `localhost` by plain http, and a client whose keys are there.
async fn server(keys: &KeyServer) -> TestServer {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.outbound.allowed_hosts = vec!["localhost".into()];
        settings.outbound.http_hosts = vec!["localhost".into()];
    })
    .await;
    add_client(&server, keys).await;
    server
}

/// The client's server, which publishes this one key, and ours.
async fn publishing() -> (KeyServer, TestServer, SigningKey) {
    let (keys, first) = (KeyServer::start().await, key());
    keys.publishes(&[&first]);
    let server = server(&keys).await;
    (keys, server, first)
}

async fn add_client(server: &TestServer, keys: &KeyServer) {
    let url = keys.url.clone();
    let client = ClientSpec::machine("batch").with(|client| {
        client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
        client.jwks_uri = Some(url);
    });
    server.add_client(client).await;
}

async fn assert_by(server: &TestServer, key: &SigningKey) -> Answer {
    let now = server.app.clock.now().seconds();
    let jti = server.app.random.name().unwrap();
    let claims = json!({"iss": "batch", "sub": "batch", "aud": server.url, "exp": now + 60, "jti": jti});
    let assertion = sign(key, &json!({"alg": "ES256", "kid": key.kid()}), &claims);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion.as_str()),
    ];
    Answer::of(server.http.post(server.endpoint("/token")).form(&form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn published_keys_are_kept_and_asked_for_anew() {
    let ((keys, server, first), second) = (publishing().await, key());
    for _ in 0..3 {
        assert_eq!(assert_by(&server, &first).await.status, 200);
    }
    assert_eq!(keys.asked(), 1, "kept");
    // An unknown key is a reason to ask again, but not within ten seconds.
    keys.publishes(&[&first, &second]);
    for _ in 0..5 {
        let answer = assert_by(&server, &second).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    }
    assert_eq!(keys.asked(), 1, "just asked");
    server.advance(10);
    assert_eq!(assert_by(&server, &second).await.status, 200);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    assert_eq!(keys.asked(), 2);
    // Strangers with made-up keys bring one request in ten seconds, and the client isn't disturbed.
    server.advance(10);
    let strange = key();
    for _ in 0..10 {
        assert_eq!(assert_by(&server, &strange).await.status, 401);
        assert_eq!(assert_by(&server, &first).await.status, 200);
    }
    assert_eq!(keys.asked(), 3);
    // After max-age they are confirmed by their tag.
    server.advance(600);
    let confirmed = keys.not_modified.load(Ordering::SeqCst);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    assert_eq!(keys.not_modified.load(Ordering::SeqCst), confirmed + 1);
    // What was withdrawn is gone with the next look.
    keys.publishes(&[&second]);
    server.advance(600);
    assert_eq!(assert_by(&server, &first).await.status, 401);
    assert_eq!(assert_by(&server, &second).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_at_once_shares_one_request() {
    let (keys, server, first) = publishing().await;
    let all = join_all((0..20).map(|_| assert_by(&server, &first))).await;
    assert!(all.iter().all(|answer| answer.status == 200), "{all:?}");
    assert_eq!(keys.asked(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_keys_serve_for_a_day_while_the_clients_server_is_away() {
    let (keys, server, first) = publishing().await;
    assert_eq!(assert_by(&server, &first).await.status, 200);
    for (status, text) in
        [(StatusCode::INTERNAL_SERVER_ERROR, ""), (StatusCode::OK, "junk"), (StatusCode::NOT_FOUND, "")]
    {
        keys.says(status, text);
        server.advance(3600);
        assert_eq!(assert_by(&server, &first).await.status, 200, "{status}");
    }
    server.advance(86_400);
    assert_eq!(assert_by(&server, &first).await.status, 401, "for a day and not for ever");
    keys.publishes(&[&first]);
    server.advance(10);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_set_of_public_keys_authenticates_nobody() {
    let ((keys, server, first), strange) = (publishing().await, key());
    let wrong = assert_by(&server, &strange).await;
    let mut private = first.public_jwk();
    private["d"] = json!("AAAA");
    let many: Vec<Value> = (0..21).map(|_| key().public_jwk()).collect();
    for (what, status, text) in [
        ("no JSON", StatusCode::OK, "<html>".to_owned()),
        ("no set", StatusCode::OK, "{}".to_owned()),
        ("a private key", StatusCode::OK, json!({ "keys": [private] }).to_string()),
        ("too many keys", StatusCode::OK, json!({ "keys": many }).to_string()),
        ("too long", StatusCode::OK, " ".repeat(300 * 1024)),
        ("a redirect", StatusCode::FOUND, String::new()),
        ("an error", StatusCode::BAD_GATEWAY, String::new()),
    ] {
        keys.says(status, text);
        // Past what is believed of before.
        server.advance(86_401);
        let answer = assert_by(&server, &first).await;
        assert_eq!(answer.status, 401, "{what}");
        assert_eq!(answer.text, wrong.text, "{what}: the answer tells nothing of why");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwks_uri_leads_to_nothing_near_the_server() {
    let keys = KeyServer::start().await;
    let first = key();
    keys.publishes(&[&first]);
    let server = TestServer::sqlite().await;
    add_client(&server, &keys).await;
    let answer = assert_by(&server, &first).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    assert!(!answer.text.contains("localhost"), "{}", answer.text);
    assert_eq!(keys.asked(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_is_believed_for_a_quarter_of_an_hour_at_the_most() {
    let keys = KeyServer::start().await;
    keys.max_age.store(86_400, Ordering::SeqCst);
    let server = server(&keys).await;
    let (first, second) = (key(), key());
    keys.publishes(&[&first]);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    // Another length, and so another tag.
    keys.publishes(&[&second, &key()]);
    server.advance(899);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    server.advance(1);
    assert_eq!(assert_by(&server, &first).await.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_client_has_its_keys_asked_for_anew() {
    let ((keys, server, first), second) = (publishing().await, key());
    assert_eq!(assert_by(&server, &first).await.status, 200);
    // Another length, and so another tag.
    keys.publishes(&[&second, &key()]);
    server.advance(10);
    assert_eq!(assert_by(&server, &first).await.status, 200, "nothing was changed here");
    let rename = |client: &mut ClientMetadata| client.client_name = "Batches".to_owned();
    keyward::account::client::edit(&server.app, "batch", rename).await.unwrap();
    server.app.reload().await.unwrap();
    assert_eq!(assert_by(&server, &first).await.status, 401);
    assert_eq!(assert_by(&server, &second).await.status, 200);
    assert_eq!(keys.asked(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_counts_at_once() {
    let (keys, other) = (KeyServer::start().await, KeyServer::start().await);
    let server = server(&keys).await;
    let (first, second) = (key(), key());
    keys.publishes(&[&first]);
    other.publishes(&[&second]);
    assert_eq!(assert_by(&server, &first).await.status, 200);
    let url = other.url.clone();
    keyward::account::client::edit(&server.app, "batch", move |client| client.jwks_uri = Some(url)).await.unwrap();
    server.app.reload().await.unwrap();
    assert_eq!(assert_by(&server, &second).await.status, 200);
    assert_eq!(assert_by(&server, &first).await.status, 401);
    server.stop().await;
}
