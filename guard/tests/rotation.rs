//! Keys through their life: found by discovery, rotated, unknown, gone bad, and their issuer away.

use std::future::Future as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keyward_guard::{Discovery, Guard, TokenRefusal, Verifier};
use serde_json::json;

use crate::issuer::{AUDIENCE, Answer, JWKS, Key, METADATA, NOW, OPENID, Server, claims_of, jwks};
use crate::{advance, pause, until};

fn guard(issuer: &str, discovery: Discovery) -> Guard {
    let verifier = Verifier::new(issuer).audience(AUDIENCE);
    Guard::builder(verifier).clock(|| NOW).discover(discovery).unwrap()
}

/// A guard that has its first keys.
async fn ready(issuer: &str, discovery: Discovery) -> Guard {
    let guard = guard(issuer, discovery);
    until(|| guard.issuer_keys().unwrap().current().is_some()).await;
    guard
}

async fn outcome(guard: &Guard, token: &str) -> Result<String, TokenRefusal> {
    guard.verify(token).await.map(|token| token.sub.clone()).map_err(|denied| denied.refusal().clone())
}

#[tokio::test]
async fn a_new_key_is_fetched_when_its_first_token_comes() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let server = Server::start(&[&old]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    let claims = claims_of(&server.url);
    assert_eq!(outcome(&guard, &old.token(&claims)).await, Ok("alice".into()));
    assert_eq!(server.asked(JWKS), 1);
    server.set(JWKS, Answer::ok(jwks(&[&old, &new])));
    let (a, b) = (new.token(&claims), old.token(&claims));
    // Twenty at once, one fetch.
    let all = (0..20).map(|_| {
        let (guard, token) = (guard.clone(), a.clone());
        tokio::spawn(async move { outcome(&guard, &token).await })
    });
    for task in all.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), Ok("alice".into()));
    }
    assert_eq!(outcome(&guard, &b).await, Ok("alice".into()));
    assert_eq!(server.asked(JWKS), 2);
}

#[tokio::test]
async fn the_background_follows_a_rotation_and_forgets_what_was_withdrawn() {
    let (old, new) = (Key::es256("old"), Key::ed25519("new"));
    let server = Server::start(&[&old]).await;
    let guard = ready(&server.url, Discovery::new().refresh_every(Duration::from_millis(20))).await;
    server.set(JWKS, Answer::ok(jwks(&[&new])));
    until(|| guard.issuer_keys().unwrap().current().is_some_and(|keys| keys.contains("new"))).await;
    let claims = claims_of(&server.url);
    assert_eq!(outcome(&guard, &new.token(&claims)).await, Ok("alice".into()));
    assert_eq!(outcome(&guard, &old.token(&claims)).await, Err(TokenRefusal::UnknownKey));
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_in_ten_seconds_for_all_of_them() {
    let key = Key::ed25519("known");
    let server = Server::start(&[&key]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    let claims = claims_of(&server.url);
    let forged: Vec<_> = (0..50)
        .map(|number| {
            let mut header = key.header();
            header["kid"] = format!("guess-{number}").into();
            key.token_of(&header.to_string(), &claims.to_string())
        })
        .collect();
    for token in &forged {
        assert_eq!(outcome(&guard, token).await, Err(TokenRefusal::UnknownKey));
    }
    assert_eq!(server.asked(JWKS), 2);
    assert_eq!(outcome(&guard, &key.token(&claims)).await, Ok("alice".into()));
    assert_eq!(server.asked(JWKS), 2);
}

#[tokio::test]
async fn after_the_pause_an_unknown_key_is_looked_for_again() {
    let (old, new) = (Key::ed25519("old"), Key::ed25519("new"));
    let server = Server::start(&[&old]).await;
    let interval = Duration::from_millis(100);
    let guard = ready(&server.url, Discovery::new().refetch_at_most_every(interval)).await;
    let token = new.token(&claims_of(&server.url));
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::UnknownKey));
    server.set(JWKS, Answer::ok(jwks(&[&old, &new])));
    pause(interval).await;
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
}

#[tokio::test]
async fn bad_answers_never_replace_good_keys() {
    let (key, evil) = (Key::ed25519("good"), Key::ed25519("evil"));
    let server = Server::start(&[&key]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    let keys = guard.issuer_keys().unwrap();
    let other = Server::start(&[&evil]).await;
    let metadata =
        |issuer: &str, jwks_uri: &str| Answer::ok(json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string());
    let oversized = format!("{}{}", " ".repeat(512 * 1024), jwks(&[&evil]));
    for (path, answer) in [
        (JWKS, Answer::ok("")),
        (JWKS, Answer::ok(r#"{"keys":[]}"#)),
        (JWKS, Answer::ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#)),
        (JWKS, Answer::ok("<html>maintenance</html>")),
        (JWKS, Answer::status(500)),
        (JWKS, Answer::status(204)),
        (JWKS, Answer::redirect(format!("{}{JWKS}", other.url))),
        (JWKS, Answer::ok(oversized)),
        (METADATA, Answer::status(503)),
        (METADATA, Answer::ok("{}")),
        (METADATA, Answer::redirect(format!("{}{METADATA}", other.url))),
        (METADATA, metadata(&format!("{}/", server.url), &format!("{}{JWKS}", other.url))),
        (METADATA, metadata(&other.url, &format!("{}{JWKS}", other.url))),
        (METADATA, metadata(&server.url, "http://keys.example/keys")),
        (METADATA, metadata(&server.url, "file:///keys")),
    ] {
        server.set(METADATA, Answer::ok(server.metadata()));
        server.set(JWKS, Answer::ok(jwks(&[&key])));
        keys.refresh().await.unwrap();
        server.set(path, answer);
        let error = keys.refresh().await.expect_err("a bad answer is an error");
        assert!(keys.current().unwrap().contains("good"), "{error}");
        assert!(!keys.current().unwrap().contains("evil"), "{error}");
        assert_eq!(outcome(&guard, &key.token(&claims_of(&server.url))).await, Ok("alice".into()), "{error}");
    }
    assert_eq!(other.asked(JWKS) + other.asked(METADATA), 0, "no redirect may be followed");
}

#[tokio::test]
async fn openid_discovery_is_the_fallback_and_keeps_the_issuer_rule() {
    let key = Key::ed25519("k");
    let server = Server::start(&[&key]).await;
    server.set(METADATA, Answer::status(404));
    server.set(OPENID, Answer::ok(server.metadata()));
    let guard = ready(&server.url, Discovery::new()).await;
    assert_eq!(outcome(&guard, &key.token(&claims_of(&server.url))).await, Ok("alice".into()));
    server.set(OPENID, Answer::ok(json!({ "issuer": "https://id.example", "jwks_uri": server.url }).to_string()));
    assert!(guard.issuer_keys().unwrap().refresh().await.is_err());
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_metadata_inserted_before_it() {
    let key = Key::ed25519("k");
    let server = Server::start(&[&key]).await;
    let issuer = format!("{}/tenant", server.url);
    let document = json!({ "issuer": issuer, "jwks_uri": format!("{}{JWKS}", server.url) });
    server.set(METADATA, Answer::status(404));
    server.set(&format!("{METADATA}/tenant"), Answer::ok(document.to_string()));
    let guard = ready(&issuer, Discovery::new()).await;
    assert_eq!(outcome(&guard, &key.token(&claims_of(&issuer))).await, Ok("alice".into()));
}

#[tokio::test]
async fn an_issuer_may_come_up_later() {
    let key = Key::ed25519("k");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let issuer = format!("http://{address}");
    let guard = guard(&issuer, Discovery::new().refetch_at_most_every(Duration::from_millis(1)));
    let token = key.token(&claims_of(&issuer));
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::KeysUnavailable));
    let server = Server::on(tokio::net::TcpListener::bind(address).await.unwrap());
    server.set(METADATA, Answer::ok(server.metadata()));
    server.set(JWKS, Answer::ok(jwks(&[&key])));
    pause(Duration::from_millis(5)).await;
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
}

#[tokio::test]
async fn while_the_issuer_is_away_known_keys_serve_and_unknown_ones_are_not_judged() {
    let (known, unknown) = (Key::ed25519("known"), Key::ed25519("unknown"));
    let server = Server::start(&[&known]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    server.set(METADATA, Answer::status(502));
    let claims = claims_of(&server.url);
    for _ in 0..3 {
        assert_eq!(outcome(&guard, &known.token(&claims)).await, Ok("alice".into()));
        assert_eq!(outcome(&guard, &unknown.token(&claims)).await, Err(TokenRefusal::KeysUnavailable));
    }
    assert_eq!(server.asked(METADATA), 2, "the failed fetch is limited as well");
}

#[tokio::test]
async fn a_request_with_a_known_key_never_waits_for_a_fetch() {
    let (known, unknown) = (Key::ed25519("known"), Key::ed25519("unknown"));
    let server = Server::start(&[&known]).await;
    // Answers nothing, ever: the listener's queue takes the connection and nobody reads it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let guard = ready(&server.url, Discovery::new().timeout(Duration::from_secs(2))).await;
    let silent_uri = format!("http://{}/keys", silent.local_addr().unwrap());
    server.set(METADATA, Answer::ok(json!({ "issuer": server.url, "jwks_uri": silent_uri }).to_string()));
    let claims = claims_of(&server.url);
    let waiting = {
        let (guard, token) = (guard.clone(), unknown.token(&claims));
        tokio::spawn(async move { outcome(&guard, &token).await })
    };
    until(|| server.asked(METADATA) == 2).await;
    let good = known.token(&claims);
    let at_once = tokio::time::timeout(Duration::from_millis(500), outcome(&guard, &good)).await;
    assert_eq!(at_once.expect("it mustn't wait"), Ok("alice".into()));
    assert!(!waiting.is_finished());
    assert_eq!(waiting.await.unwrap(), Err(TokenRefusal::KeysUnavailable), "the timeout ends the wait");
}

#[tokio::test]
async fn a_request_that_is_given_up_does_not_stop_the_fetch() {
    let (old, new) = (Key::ed25519("old"), Key::ed25519("new"));
    let server = Server::start(&[&old]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    server.set(JWKS, Answer::ok(jwks(&[&old, &new])));
    let token = new.token(&claims_of(&server.url));
    {
        // One poll starts the fetch; then the request is gone.
        let mut request = Box::pin(outcome(&guard, &token));
        let polled = std::future::poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    until(|| guard.issuer_keys().unwrap().current().is_some_and(|keys| keys.contains("new"))).await;
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    assert_eq!(server.asked(JWKS), 2);
}

/// An issuer behind TLS; gives the authority's certificate in PEM and the issuer's URL.
fn serve_over_tls(key: &Key) -> (String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let server_key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}{JWKS}") }).to_string();
    let keys = jwks(&[key]);
    let router = axum::Router::new()
        .route(METADATA, axum::routing::get(|| async { metadata }))
        .route(JWKS, axum::routing::get(|| async { keys }));
    let tls = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(tls));
    let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    (authority_pem, url)
}

#[tokio::test]
async fn an_issuer_behind_a_private_authority_needs_that_authority() {
    let key = Key::ed25519("k");
    let (authority, issuer) = serve_over_tls(&key);
    let token = key.token(&claims_of(&issuer));
    let trusting = ready(&issuer, Discovery::new().extra_root_ca(authority)).await;
    assert_eq!(outcome(&trusting, &token).await, Ok("alice".into()));
    let stranger = guard(&issuer, Discovery::new());
    assert_eq!(outcome(&stranger, &token).await, Err(TokenRefusal::KeysUnavailable));
}

#[tokio::test]
async fn an_issuer_that_is_away_for_an_hour_is_survived() {
    let (known, new) = (Key::es256("known"), Key::es256("new"));
    let server = Server::start(&[&known]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    let claims = claims_of(&server.url);
    server.set(METADATA, Answer::status(503));
    server.set(OPENID, Answer::status(503));
    for minute in 1..=60 {
        advance(Duration::from_secs(60)).await;
        pause(Duration::from_millis(5)).await;
        assert_eq!(outcome(&guard, &known.token(&claims)).await, Ok("alice".into()), "minute {minute}");
    }
    assert!(server.asked(METADATA) > 20, "it was looked for all the time: {}", server.asked(METADATA));
    // Back, with another key: it is met at once by its first token.
    server.set(METADATA, Answer::ok(server.metadata()));
    server.set(JWKS, Answer::ok(jwks(&[&known, &new])));
    advance(Duration::from_secs(10)).await;
    assert_eq!(outcome(&guard, &new.token(&claims)).await, Ok("alice".into()));
}

#[tokio::test]
async fn two_guards_pass_through_a_rotation_though_one_has_old_keys() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let server = Server::start(&[&old]).await;
    let behind = ready(&server.url, Discovery::new().refresh_every(Duration::from_secs(3600))).await;
    let claims = claims_of(&server.url);
    let old_token = old.token(&claims);
    assert_eq!(outcome(&behind, &old_token).await, Ok("alice".into()));
    // Published before it is used, then used, then the old one is withdrawn.
    server.set(JWKS, Answer::ok(jwks(&[&old, &new])));
    let fresh = ready(&server.url, Discovery::new()).await;
    let new_token = new.token(&claims);
    for guard in [&behind, &fresh] {
        assert_eq!(outcome(guard, &old_token).await, Ok("alice".into()));
        assert_eq!(outcome(guard, &new_token).await, Ok("alice".into()));
    }
    server.set(JWKS, Answer::ok(jwks(&[&new])));
    fresh.issuer_keys().unwrap().refresh().await.unwrap();
    assert_eq!(outcome(&fresh, &old_token).await, Err(TokenRefusal::UnknownKey), "though it was remembered");
    assert_eq!(outcome(&fresh, &new_token).await, Ok("alice".into()));
    assert_eq!(outcome(&behind, &old_token).await, Ok("alice".into()), "its keys are still the old ones");
}

/// Sends an endless answer, or one that drips, to every connection.
async fn misbehave(body: &'static [u8], pause_between: Option<Duration>) -> String {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n";
                drop(stream.write_all(head).await);
                while stream.write_all(body).await.is_ok() {
                    if let Some(between) = pause_between {
                        pause(between).await;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_endless_or_dripping_jwks_does_not_replace_good_keys_and_holds_nobody_up() {
    let key = Key::ed25519("good");
    let server = Server::start(&[&key]).await;
    let guard = ready(&server.url, Discovery::new().timeout(Duration::from_millis(300))).await;
    let keys = guard.issuer_keys().unwrap();
    let token = key.token(&claims_of(&server.url));
    let endless = misbehave(&[b' '; 16 * 1024], None).await;
    let dripping = misbehave(b" ", Some(Duration::from_millis(20))).await;
    for uri in [endless, dripping] {
        server.set(METADATA, Answer::ok(json!({ "issuer": server.url, "jwks_uri": uri }).to_string()));
        let (refreshed, judged) = tokio::join!(keys.refresh(), outcome(&guard, &token));
        let error = refreshed.expect_err("no key can be read from it");
        assert_eq!(judged, Ok("alice".into()), "{error}");
        assert!(keys.current().unwrap().contains("good"));
    }
}

#[tokio::test]
async fn keys_that_did_not_change_stay_the_same_object() {
    let key = Key::ed25519("k");
    let server = Server::start(&[&key]).await;
    let guard = ready(&server.url, Discovery::new()).await;
    let keys = guard.issuer_keys().unwrap();
    let before = keys.current().unwrap();
    keys.refresh().await.unwrap();
    assert!(Arc::ptr_eq(&before, &keys.current().unwrap()));
    server.set(JWKS, Answer::ok(jwks(&[&Key::ed25519("k")])));
    keys.refresh().await.unwrap();
    assert!(!Arc::ptr_eq(&before, &keys.current().unwrap()), "another key under the same name");
}
