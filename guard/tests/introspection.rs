//! Introspection: opaque tokens, JWTs that must be alive, signed answers, and a server that is slow, wrong or away.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyward_guard::testing::{ServedIssuer, TestIssuer};
use keyward_guard::{Discovery, DiscoveryError, Guard, Introspection, SignatureAlgorithm, TokenRefusal, Verifier};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Answer, JWKS, Key, METADATA, NOW, Seen, Server, claims_of};
use crate::{advance, pause, until};

const INTROSPECT: &str = "/introspect";

fn client() -> Introspection {
    Introspection::new("notes-api", "s3cret")
}

async fn outcome(guard: &Guard, token: &str) -> Result<String, TokenRefusal> {
    guard.verify(token).await.map(|token| token.sub.clone()).map_err(|denied| denied.refusal().clone())
}

fn guard_of(issuer: &ServedIssuer, introspection: Introspection) -> Guard {
    issuer.builder().introspect(introspection, Discovery::new()).unwrap()
}

/// A guard of a server whose answers can be bent.
fn bent(server: &Server, introspection: Introspection) -> Guard {
    server.set(
        METADATA,
        Answer::ok(
            json!({
                "issuer": server.url, "jwks_uri": format!("{}{JWKS}", server.url),
                "introspection_endpoint": format!("{}{INTROSPECT}", server.url),
            })
            .to_string(),
        ),
    );
    let builder = Guard::builder(Verifier::new(server.url.clone()).audience(AUDIENCE)).clock(|| NOW);
    builder.introspect(introspection, Discovery::new()).unwrap()
}

fn active() -> Value {
    json!({ "active": true, "sub": "alice", "aud": AUDIENCE, "exp": NOW + 60, "client_id": "web", "scope": "a b" })
}

fn unavailable(judged: &Result<String, TokenRefusal>) -> bool {
    matches!(judged, Err(TokenRefusal::IntrospectionUnavailable { .. }))
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_and_a_jwt_is_not() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = guard_of(&issuer, client());
    let opaque = issuer.token("alice").scope("notes.read").role("admin").mint_opaque();
    let token = guard.verify(&opaque).await.unwrap();
    assert!(token.scope.contains("notes.read") && token.has_role("admin") && token.client_id == "test-client");
    assert_eq!(issuer.asked(INTROSPECT), 1);
    assert_eq!(outcome(&guard, &issuer.token("bob").mint()).await, Ok("bob".into()));
    assert_eq!(issuer.asked(INTROSPECT), 1);
    assert_eq!(outcome(&guard, "unheard-of").await, Err(TokenRefusal::Inactive));
    let foreign = issuer.token("alice").audience("https://other.example").mint_opaque();
    assert_eq!(outcome(&guard, &foreign).await, Err(TokenRefusal::WrongAudience));
    let bound = issuer.token("alice").claim("cnf", json!({ "jkt": "x" })).mint_opaque();
    assert_eq!(outcome(&guard, &bound).await, Err(TokenRefusal::BoundToKey));
    // A bad JWT isn't sent anywhere.
    let asked = issuer.asked(INTROSPECT);
    assert_eq!(outcome(&guard, &issuer.token("bob").expired().mint()).await, Err(TokenRefusal::Expired));
    assert_eq!(issuer.asked(INTROSPECT), asked);
}

#[tokio::test]
async fn a_question_has_the_form_that_rfc_7662_asks_for() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    let guard = bent(&server, client());
    assert_eq!(outcome(&guard, "opaque.token~+/==").await, Ok("alice".into()));
    let Seen { authorization, accept, body } = server.last(INTROSPECT);
    let basic = format!("Basic {}", STANDARD.encode("notes-api:s3cret"));
    assert_eq!((authorization, accept.as_deref()), (Some(basic), Some("application/json")));
    assert_eq!(body, "token=opaque.token%7E%2B%2F%3D%3D&token_type_hint=access_token");
    let guard = bent(&server, client().secret_in_form());
    assert_eq!(outcome(&guard, "t").await, Ok("alice".into()));
    let Seen { authorization, body, .. } = server.last(INTROSPECT);
    assert_eq!(authorization, None);
    assert_eq!(body, "token=t&token_type_hint=access_token&client_id=notes-api&client_secret=s3cret");
}

#[tokio::test]
async fn a_private_key_proves_who_asks() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    let mut seen = Vec::new();
    for token in ["one", "two"] {
        let introspection = Introspection::with_private_key("notes-api", &pem, Some("key-1")).unwrap();
        assert_eq!(outcome(&bent(&server, introspection), token).await, Ok("alice".into()));
        let body = server.last(INTROSPECT).body;
        let pairs: Vec<(&str, &str)> = body.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        assert_eq!(pairs[2], ("client_id", "notes-api"));
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        assert_eq!((pairs[3], pairs[4].0), (("client_assertion_type", kind), "client_assertion"));
        let (message, signature) = pairs[4].1.rsplit_once('.').unwrap();
        let public = pair.public_key().as_ref();
        UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, public)
            .verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(part(header), json!({ "typ": "JWT", "alg": "ES256", "kid": "key-1" }));
        let claims = part(claims);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"], &claims["exp"]),
            (&json!("notes-api"), &json!("notes-api"), &json!(server.url), &json!(NOW + 60))
        );
        seen.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_ne!(seen[0], seen[1]);
    for pem in
        ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &pem.replace("PRIVATE", "EC PRIVATE")]
    {
        let refused = Introspection::with_private_key("notes-api", pem, None);
        assert!(matches!(refused, Err(DiscoveryError::PrivateKey)));
    }
}

#[tokio::test]
async fn simultaneous_questions_about_one_token_are_one_question() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::ok(active().to_string()).after(Duration::from_millis(100)));
    let guard = bent(&server, client());
    let ask = |token: &'static str| {
        let guard = guard.clone();
        tokio::spawn(async move { outcome(&guard, token).await })
    };
    let first = ask("one");
    let all: Vec<_> = (0..50).map(|_| ask("one")).collect();
    let other = ask("two");
    until(|| server.asked(INTROSPECT) == 2).await;
    // The one that asked is given up; the others still get the answer.
    first.abort();
    for task in all {
        assert_eq!(task.await.unwrap(), Ok("alice".into()));
    }
    assert_eq!(other.await.unwrap(), Ok("alice".into()));
    assert_eq!(outcome(&guard, "one").await, Ok("alice".into()));
    assert_eq!(server.asked(INTROSPECT), 2);
}

#[tokio::test]
async fn an_answer_is_remembered_briefly_and_a_revocation_noticed() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = guard_of(&issuer, client());
    let token = issuer.token("alice").mint_opaque();
    for _ in 0..5 {
        assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    }
    assert_eq!(issuer.asked(INTROSPECT), 1);
    issuer.revoke(&token);
    advance(Duration::from_secs(4)).await;
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    advance(Duration::from_secs(1)).await;
    for _ in 0..5 {
        assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::Inactive));
    }
    assert_eq!(issuer.asked(INTROSPECT), 2, "a refusal is remembered as well");
    advance(Duration::from_secs(2)).await;
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::Inactive));
    assert_eq!(issuer.asked(INTROSPECT), 3);
}

#[tokio::test]
async fn an_answer_is_never_used_past_the_tokens_end() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = guard_of(&issuer, client().remember_for(Duration::from_secs(3600)));
    let token = issuer.token("alice").expires_in(30).mint_opaque();
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    issuer.clock().advance(29);
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    assert_eq!(issuer.asked(INTROSPECT), 1);
    issuer.clock().advance(1);
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::Inactive));
    assert_eq!(issuer.asked(INTROSPECT), 2);
}

#[tokio::test]
async fn every_token_can_be_asked_about_after_its_signature_was_checked() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = guard_of(&issuer, client().every_token().remember_at_most(0));
    let token = issuer.token("alice").mint();
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    assert_eq!(issuer.asked(INTROSPECT), 1);
    let forged = TestIssuer::named(issuer.issuer(), AUDIENCE).token("alice").mint();
    assert_eq!(outcome(&guard, &forged).await, Err(TokenRefusal::BadSignature));
    assert_eq!(issuer.asked(INTROSPECT), 1, "a forged token isn't sent anywhere");
    issuer.revoke(&token);
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::Inactive));
}

#[tokio::test]
async fn without_keys_everything_is_asked_about_and_nothing_is_fetched() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let endpoint = format!("{}{INTROSPECT}", issuer.issuer());
    let guard = guard_of(&issuer, client().without_keys().endpoint(endpoint));
    for token in [issuer.token("alice").mint(), issuer.token("alice").mint_opaque()] {
        assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    }
    assert_eq!((issuer.asked(INTROSPECT), issuer.asked("/jwks")), (2, 0));
    let start = |introspection| issuer.builder().introspect(introspection, Discovery::new());
    assert!(matches!(start(client().without_keys()), Err(DiscoveryError::IntrospectionEndpoint)));
    for endpoint in ["http://id.example/introspect", "introspect", "ftp://127.0.0.1/x"] {
        let refused = start(client().endpoint(endpoint));
        assert!(matches!(refused, Err(DiscoveryError::IntrospectionEndpoint)), "{endpoint}");
    }
    let signed = client().without_keys().endpoint("https://id.example/x").signed_answers(SignatureAlgorithm::Rs256);
    assert!(matches!(start(signed), Err(DiscoveryError::SignedWithoutKeys)));
}

#[tokio::test]
async fn an_answer_that_says_nothing_makes_no_token_valid() {
    let server = Server::start(&[&Key::es256("k")]).await;
    let foreign = Server::start(&[&Key::es256("k")]).await;
    foreign.set(INTROSPECT, Answer::ok(active().to_string()));
    for (name, answer) in [
        ("empty", Answer::ok("")),
        ("no JSON", Answer::ok("<html>")),
        ("no object", Answer::ok("[true]")),
        ("no active", Answer::ok(json!({ "sub": "alice", "aud": AUDIENCE }).to_string())),
        ("active as text", Answer::ok(json!({ "active": "true", "aud": AUDIENCE }).to_string())),
        ("wrong type", Answer::ok(json!({ "active": true, "aud": AUDIENCE, "exp": "never" }).to_string())),
        ("unauthorized", Answer::status(401)),
        ("forbidden", Answer::status(403)),
        ("failing", Answer::status(500)),
        ("busy", Answer::status(429)),
        ("created", Answer::status(201)),
        ("elsewhere", Answer::redirect(format!("{}{INTROSPECT}", foreign.url))),
        ("huge", Answer::ok(format!("{}{}", active(), " ".repeat(64 * 1024)))),
        ("slow", Answer::ok(active().to_string()).after(Duration::from_secs(2))),
    ] {
        server.set(INTROSPECT, answer);
        let guard = bent(&server, client().timeout(Duration::from_millis(200)));
        let judged = outcome(&guard, "opaque").await;
        assert!(unavailable(&judged), "{name}: {judged:?}");
    }
    assert_eq!(foreign.asked(INTROSPECT), 0, "credentials and token stay here");
    let too_long = "x".repeat(16 * 1024 + 1);
    let asked = server.asked(INTROSPECT);
    assert_eq!(outcome(&bent(&server, client()), &too_long).await, Err(TokenRefusal::TooLarge));
    assert_eq!(server.asked(INTROSPECT), asked);
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_and_tried_again() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::status(500));
    let guard = bent(&server, client());
    for number in 0..5 {
        assert!(unavailable(&outcome(&guard, &format!("token-{number}")).await));
    }
    // While time stands still nothing is due, however slow the machine is.
    tokio::time::pause();
    for number in 0..20 {
        assert!(unavailable(&outcome(&guard, &format!("more-{number}")).await));
    }
    assert_eq!(server.asked(INTROSPECT), 5, "after five failures nobody asks");
    let denied = guard.verify("another").await.unwrap_err();
    assert_eq!((denied.refusal().status(), denied.refusal().retry_after()), (503, Some(1)));
    assert_eq!(denied.www_authenticate(), None);
    tokio::time::resume();
    // One tries, and fails: twice the pause.
    advance(Duration::from_secs(1)).await;
    for number in 0..5 {
        assert!(unavailable(&outcome(&guard, &format!("later-{number}")).await));
    }
    assert_eq!(server.asked(INTROSPECT), 6);
    assert_eq!(guard.verify("another").await.unwrap_err().refusal().retry_after(), Some(2));
    // Back again.
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    advance(Duration::from_secs(2)).await;
    assert_eq!(outcome(&guard, "token-1").await, Ok("alice".into()));
    assert_eq!(outcome(&guard, "token-2").await, Ok("alice".into()));
}

#[tokio::test]
async fn a_token_that_the_server_chokes_on_stops_no_other() {
    let server = Server::start(&[&Key::es256("k")]).await;
    let guard = bent(&server, client());
    for status in [400, 403, 413, 414] {
        server.set(INTROSPECT, Answer::status(status));
        for number in 0..6 {
            let judged = outcome(&guard, &format!("odd-{status}-{number}")).await;
            assert!(unavailable(&judged), "{status}: {judged:?}");
        }
    }
    assert_eq!(server.asked(INTROSPECT), 24);
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    assert_eq!(outcome(&guard, "good").await, Ok("alice".into()));
    // The odd one isn't sent again at once, though the server would take it by now.
    server.set(INTROSPECT, Answer::status(400));
    tokio::time::pause();
    for _ in 0..3 {
        assert!(unavailable(&outcome(&guard, "odd").await));
    }
    assert_eq!(server.asked(INTROSPECT), 26);
    tokio::time::resume();
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    advance(Duration::from_secs(2)).await;
    assert_eq!(outcome(&guard, "odd").await, Ok("alice".into()));
    for status in [401, 429, 500] {
        server.set(INTROSPECT, Answer::status(status));
        let guard = bent(&server, client());
        let asked = server.asked(INTROSPECT);
        for number in 0..8 {
            assert!(unavailable(&outcome(&guard, &format!("{status}-{number}")).await));
        }
        assert_eq!(server.asked(INTROSPECT), asked + 5, "{status} is about the server");
    }
}

#[tokio::test]
async fn an_answer_that_may_be_a_refresh_tokens_is_refused_though_audiences_may_be_absent() {
    let server = Server::start(&[&Key::es256("k")]).await;
    let bare = json!({ "active": true, "sub": "alice", "exp": NOW + 60, "client_id": "web", "scope": "a b" });
    for (member, value, expected) in [
        ("iss", json!(server.url), Err(TokenRefusal::WrongType)),
        ("token_use", json!("refresh_token"), Err(TokenRefusal::WrongType)),
        ("token_use", json!("access_token"), Ok("alice".to_owned())),
        ("token_type", json!("Bearer"), Ok("alice".to_owned())),
        ("aud", json!(AUDIENCE), Ok("alice".to_owned())),
    ] {
        let mut answer = bare.clone();
        answer[member] = value;
        server.set(INTROSPECT, Answer::ok(answer.to_string()));
        let guard = bent(&server, client().accept_absent_audience());
        assert_eq!(outcome(&guard, "opaque").await, expected, "{answer}");
    }
}

#[tokio::test]
async fn what_was_answered_is_used_while_the_server_is_away() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::ok(active().to_string()));
    let guard = bent(&server, client());
    assert_eq!(outcome(&guard, "known").await, Ok("alice".into()));
    server.set(INTROSPECT, Answer::status(500));
    for number in 0..10 {
        assert!(unavailable(&outcome(&guard, &format!("new-{number}")).await));
        assert_eq!(outcome(&guard, "known").await, Ok("alice".into()));
    }
    advance(Duration::from_secs(6)).await;
    assert!(unavailable(&outcome(&guard, "known").await), "but not for longer than it is good");
}

#[tokio::test]
async fn a_signed_answer_is_checked_whole() {
    let (key, stranger) = (Key::rs256("k"), Key::rs256("k"));
    let server = Server::start(&[&key, &Key::es256("ec")]).await;
    let claims = |changes: Value| {
        let mut claims = json!({ "iss": server.url, "aud": "notes-api", "iat": NOW, "token_introspection": active() });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let introspection = || client().signed_answers(SignatureAlgorithm::Rs256);
    let kind = "token-introspection+jwt";
    server.set(INTROSPECT, Answer::ok(key.of_kind(kind, &claims(json!({})))));
    assert_eq!(outcome(&bent(&server, introspection()), "t").await, Ok("alice".into()));
    assert_eq!(server.last(INTROSPECT).accept.as_deref(), Some("application/token-introspection+jwt"));
    let inactive = json!({ "token_introspection": { "active": false } });
    server.set(INTROSPECT, Answer::ok(key.of_kind(kind, &claims(inactive))));
    assert_eq!(outcome(&bent(&server, introspection()), "t").await, Err(TokenRefusal::Inactive));

    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"typ":"token-introspection+jwt","alg":"none"}"#);
    let unsigned = format!("{unsigned}.{}.", URL_SAFE_NO_PAD.encode(claims(json!({})).to_string()));
    for (name, body) in [
        ("plain", active().to_string()),
        ("unsigned", unsigned),
        ("signed by a stranger", stranger.of_kind(kind, &claims(json!({})))),
        ("another kind", key.of_kind("JWT", &claims(json!({})))),
        ("an access token", key.token(&claims_of(&server.url))),
        ("for another", key.of_kind(kind, &claims(json!({ "aud": "other-api" })))),
        ("of another issuer", key.of_kind(kind, &claims(json!({ "iss": "https://evil.example" })))),
        ("old", key.of_kind(kind, &claims(json!({ "iat": NOW - 301 })))),
        (
            "claims outside",
            key.of_kind(kind, &{
                let mut outside = active();
                outside["iss"] = json!(server.url);
                outside
            }),
        ),
    ] {
        server.set(INTROSPECT, Answer::ok(body));
        let judged = outcome(&bent(&server, introspection()), "t").await;
        assert!(unavailable(&judged), "{name}: {judged:?}");
    }
    // The algorithm is the registered one, though the issuer has a key for the other.
    let pinned = client().signed_answers(SignatureAlgorithm::Ps256);
    server.set(INTROSPECT, Answer::ok(key.of_kind(kind, &claims(json!({})))));
    assert!(unavailable(&outcome(&bent(&server, pinned), "t").await));
}

#[tokio::test]
async fn more_questions_than_can_be_borne_are_turned_away() {
    let server = Server::start(&[&Key::es256("k")]).await;
    server.set(INTROSPECT, Answer::ok(active().to_string()).after(Duration::from_millis(1_000)));
    let guard = bent(&server, client().timeout(Duration::from_secs(20)));
    until(|| guard.issuer_keys().unwrap().current().is_some()).await;
    let all: Vec<_> = (0..300)
        .map(|number| {
            let guard = guard.clone();
            tokio::spawn(async move { outcome(&guard, &format!("token-{number}")).await })
        })
        .collect();
    let (mut good, mut refused) = (0, 0);
    for task in all {
        match task.await.unwrap() {
            Ok(_) => good += 1,
            Err(TokenRefusal::IntrospectionUnavailable { retry_after: 1 }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((good, refused), (256, 44));
    assert_eq!(outcome(&guard, "later").await, Ok("alice".into()));
}

/// What would be written to a log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_token_nor_secret_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    let guard = bent(&server, Introspection::new("notes-api", "canary-secret").every_token());
    let jwt = key.token(&claims_of(&server.url));
    for answer in [Answer::ok(active().to_string()), Answer::status(500), Answer::ok("{}"), Answer::ok("")] {
        server.set(INTROSPECT, answer);
        for token in ["canary-token", jwt.as_str()] {
            drop(guard.verify(token).await);
        }
        advance(Duration::from_secs(10)).await;
        pause(Duration::from_millis(20)).await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("a token can't be introspected"), "{text}");
    let signature = jwt.rsplit_once('.').unwrap().1;
    for secret in ["canary-token", "canary-secret", &STANDARD.encode("notes-api:canary-secret"), signature] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(!format!("{guard:?}{:?}", client()).contains("s3cret"));
}
