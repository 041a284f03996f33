//! Status lists: a token that was revoked before its time, and lists that lie, swell, vanish or are someone else's.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_guard::testing::TestIssuer;
use keyward_guard::{Discovery, Guard, StatusLists, TokenRefusal, Verifier};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, Answer, JWKS, Key, NOW, Server, claims_of, jwks};
use crate::{advance, until};

const LIST: &str = "/status/1";

fn guard(issuer: &str, lists: StatusLists) -> Guard {
    let builder = Guard::builder(Verifier::new(issuer).audience(AUDIENCE)).clock(|| NOW);
    builder.status_lists(lists).discover(Discovery::new().timeout(Duration::from_millis(500))).unwrap()
}

fn list_claims(server: &Server, bytes: &[u8]) -> Value {
    let lst = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(bytes, 9));
    json!({
        "iss": server.url, "sub": format!("{}{LIST}", server.url), "iat": NOW, "exp": NOW + 600, "ttl": 5,
        "status_list": { "bits": 1, "lst": lst },
    })
}

fn list(server: &Server, key: &Key, bytes: &[u8]) -> Answer {
    Answer::ok(key.of_kind("statuslist+jwt", &list_claims(server, bytes)))
}

/// A key, and an issuer that publishes it and a list of these bytes.
async fn published(bytes: &[u8]) -> (Key, Server) {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    server.set(LIST, list(&server, &key, bytes));
    (key, server)
}

fn token(server: &Server, key: &Key, index: u64) -> String {
    token_at(server, key, index, &format!("{}{LIST}", server.url))
}

fn token_at(server: &Server, key: &Key, index: u64, uri: &str) -> String {
    let mut claims = claims_of(&server.url);
    claims["status"] = json!({ "status_list": { "idx": index, "uri": uri } });
    key.token(&claims)
}

async fn outcome(guard: &Guard, token: &str) -> Result<String, TokenRefusal> {
    guard.verify(token).await.map(|token| token.sub.clone()).map_err(|denied| denied.refusal().clone())
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_five_seconds() {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = issuer.builder().discover(Discovery::new()).unwrap();
    let (ended, other) = (issuer.token("alice").revocable().mint(), issuer.token("bob").revocable().mint());
    assert_eq!(outcome(&guard, &ended).await, Ok("alice".into()));
    issuer.revoke(&ended);
    assert_eq!(outcome(&guard, &ended).await, Ok("alice".into()), "the copy is still good");
    let asked = issuer.asked("/status-lists/1");
    advance(Duration::from_secs(4)).await;
    until(|| issuer.asked("/status-lists/1") > asked).await;
    let mut judged = outcome(&guard, &ended).await;
    for _ in 0..50 {
        if judged.is_err() {
            break;
        }
        crate::pause(Duration::from_millis(5)).await;
        judged = outcome(&guard, &ended).await;
    }
    assert_eq!(judged, Err(TokenRefusal::Revoked));
    assert_eq!(outcome(&guard, &other).await, Ok("bob".into()));
}

#[tokio::test]
async fn the_first_token_of_a_list_waits_for_it_and_the_next_ones_do_not_wait() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    server.set(LIST, list(&server, &key, &[0b0000_0010]).after(Duration::from_millis(50)));
    let guard = guard(&server.url, StatusLists::new());
    assert_eq!(outcome(&guard, &token(&server, &key, 1)).await, Err(TokenRefusal::Revoked));
    for (index, expected) in [(0, true), (1, false), (7, true)] {
        let token = token(&server, &key, index);
        let mut judged = Box::pin(outcome(&guard, &token));
        let polled = std::future::poll_fn(|context| Poll::Ready(judged.as_mut().poll(context))).await;
        let Poll::Ready(judged) = polled else { panic!("a fresh copy needs no wait") };
        assert_eq!(judged.is_ok(), expected, "{index}");
    }
    assert_eq!(server.asked(LIST), 1);
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    server.set(LIST, list(&server, &key, &[0]).etag("\"v1\""));
    let guard = guard(&server.url, StatusLists::new().refuse_when_unavailable());
    for round in 0..5 {
        assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()));
        assert_eq!(server.unchanged(LIST), round);
        advance(Duration::from_secs(4)).await;
        until(|| server.unchanged(LIST) > round).await;
    }
    server.set(LIST, list(&server, &key, &[1]).etag("\"v2\""));
    let asked = server.asked(LIST);
    advance(Duration::from_secs(4)).await;
    until(|| server.asked(LIST) > asked).await;
    crate::pause(Duration::from_millis(50)).await;
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Err(TokenRefusal::Revoked));
}

#[tokio::test]
async fn no_token_makes_the_guard_ask_anyone_but_its_issuer() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    let stranger = Server::start(&[&key]).await;
    stranger.set(LIST, list(&server, &key, &[0]));
    let guard = guard(&server.url, StatusLists::new());
    let host = server.url.strip_prefix("http://").unwrap();
    for uri in [
        format!("{}{LIST}", stranger.url),
        format!("http://{host}@{}{LIST}", stranger.url.strip_prefix("http://").unwrap()),
        format!("http://user:secret@{host}{LIST}"),
        format!("https://{host}{LIST}"),
        format!("{}{LIST}#x", server.url),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        LIST.to_owned(),
        String::new(),
    ] {
        let judged = outcome(&guard, &token_at(&server, &key, 0, &uri)).await;
        assert_eq!(judged, Err(TokenRefusal::UnusableStatus), "{uri}");
    }
    assert_eq!((stranger.asked(LIST), server.asked(LIST)), (0, 0));
}

#[tokio::test]
async fn an_origin_that_the_program_allows_may_publish_the_issuers_lists() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    let mirror = Server::start(&[&key]).await;
    let uri = format!("{}{LIST}", mirror.url);
    let mut claims = list_claims(&server, &[0b10]);
    claims["sub"] = json!(uri);
    mirror.set(LIST, Answer::ok(key.of_kind("statuslist+jwt", &claims)));
    let lists = StatusLists::new().allow_origin(mirror.url.clone()).refuse_when_unavailable();
    let guard = guard(&server.url, lists);
    assert_eq!(outcome(&guard, &token_at(&server, &key, 0, &uri)).await, Ok("alice".into()));
    assert_eq!(outcome(&guard, &token_at(&server, &key, 1, &uri)).await, Err(TokenRefusal::Revoked));
}

#[tokio::test]
async fn a_list_that_cannot_be_had_is_open_by_default_and_closed_by_a_setting() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    let foreign = Key::es256("k");
    let unsigned = |claims: &Value| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"statuslist+jwt","alg":"none"}"#);
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let good = list_claims(&server, &[0]);
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        Answer::ok(key.of_kind("statuslist+jwt", &claims))
    };
    let bomb = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&vec![0; 5 << 20], 1));
    for (name, answer) in [
        ("missing", Answer::status(404)),
        ("failing", Answer::status(500)),
        ("no copy to be unchanged", Answer::status(304)),
        ("elsewhere", Answer::redirect(format!("{}{JWKS}", server.url))),
        ("no JWT", Answer::ok("<html>")),
        ("unsigned", Answer::ok(unsigned(&good))),
        ("signed by another", Answer::ok(foreign.of_kind("statuslist+jwt", &good))),
        ("an access token", Answer::ok(key.token(&good))),
        ("another kind", Answer::ok(key.of_kind("JWT", &good))),
        ("another list", changed("sub", json!(format!("{}/status/2", server.url)))),
        ("another issuer", changed("iss", json!("https://evil.example"))),
        ("expired", changed("exp", json!(NOW - 60))),
        ("odd bits", changed("status_list", json!({ "bits": 3, "lst": "eNrbuRgAAhcBXQ" }))),
        ("a bomb", changed("status_list", json!({ "bits": 1, "lst": bomb }))),
        ("huge", Answer::ok("x".repeat(9 << 20))),
        ("slow", list(&server, &key, &[0]).after(Duration::from_secs(2))),
    ] {
        server.set(LIST, answer);
        let open = guard(&server.url, StatusLists::new());
        let closed = guard(&server.url, StatusLists::new().refuse_when_unavailable());
        let token = token(&server, &key, 0);
        assert_eq!(outcome(&open, &token).await, Ok("alice".into()), "{name}");
        assert_eq!(outcome(&closed, &token).await, Err(TokenRefusal::StatusUnavailable), "{name}");
    }
    server.set(LIST, list(&server, &key, &[0]));
    let closed = guard(&server.url, StatusLists::new().refuse_when_unavailable());
    assert_eq!(outcome(&closed, &token(&server, &key, 0)).await, Ok("alice".into()));
}

#[tokio::test]
async fn a_bad_answer_never_replaces_a_good_copy() {
    let (key, server) = published(&[0b1]).await;
    let guard = guard(&server.url, StatusLists::new());
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Err(TokenRefusal::Revoked));
    // An old list, signed well, in which nothing had been revoked yet.
    let mut replayed = list_claims(&server, &[0]);
    replayed["iat"] = json!(NOW - 61);
    let replayed = Answer::ok(key.of_kind("statuslist+jwt", &replayed));
    for answer in [replayed, Answer::ok(""), Answer::status(500), list(&server, &Key::es256("k"), &[0])] {
        server.set(LIST, answer);
        let asked = server.asked(LIST);
        advance(Duration::from_secs(4)).await;
        until(|| server.asked(LIST) > asked).await;
        crate::pause(Duration::from_millis(50)).await;
        assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Err(TokenRefusal::Revoked));
    }
}

#[tokio::test]
async fn a_copy_that_grew_old_counts_as_unavailable() {
    let (key, server) = published(&[0b10]).await;
    let (open, closed) =
        (guard(&server.url, StatusLists::new()), guard(&server.url, StatusLists::new().refuse_when_unavailable()));
    let (good, revoked) = (token(&server, &key, 0), token(&server, &key, 1));
    for guard in [&open, &closed] {
        assert_eq!(outcome(guard, &good).await, Ok("alice".into()));
    }
    server.set(LIST, Answer::status(503));
    advance(Duration::from_secs(6)).await;
    assert_eq!(outcome(&closed, &good).await, Ok("alice".into()), "one lost answer stops nobody");
    advance(Duration::from_secs(6)).await;
    assert_eq!(outcome(&closed, &good).await, Err(TokenRefusal::StatusUnavailable));
    assert_eq!(outcome(&open, &good).await, Ok("alice".into()));
    for guard in [&open, &closed] {
        assert_eq!(outcome(guard, &revoked).await, Err(TokenRefusal::Revoked), "what was revoked stays so");
    }
}

#[tokio::test]
async fn an_index_beyond_the_copy_is_looked_for_once_a_second_and_then_refused() {
    let (key, server) = published(&[0]).await;
    let guard = guard(&server.url, StatusLists::new());
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()));
    for index in [8, 9, u64::MAX] {
        assert_eq!(outcome(&guard, &token(&server, &key, index)).await, Err(TokenRefusal::UnusableStatus));
    }
    assert_eq!(server.asked(LIST), 1, "the copy was only just fetched");
    // The list grows; a token that is newer than the copy doesn't wait for the next refresh.
    server.set(LIST, list(&server, &key, &[0, 0b10]));
    advance(Duration::from_secs(1)).await;
    assert_eq!(outcome(&guard, &token(&server, &key, 8)).await, Ok("alice".into()));
    assert_eq!(outcome(&guard, &token(&server, &key, 9)).await, Err(TokenRefusal::Revoked));
    assert_eq!(server.asked(LIST), 2);
}

#[tokio::test]
async fn a_list_signed_by_a_new_key_is_read() {
    let (old, new) = (Key::es256("old"), Key::ed25519("new"));
    let server = Server::start(&[&old]).await;
    server.set(LIST, list(&server, &new, &[0b1]));
    let guard = guard(&server.url, StatusLists::new());
    until(|| guard.issuer_keys().unwrap().current().is_some()).await;
    server.set(JWKS, Answer::ok(jwks(&[&old, &new])));
    assert_eq!(outcome(&guard, &token(&server, &old, 0)).await, Err(TokenRefusal::Revoked));
}

#[tokio::test]
async fn a_hundred_tokens_of_a_new_list_cause_one_request() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    server.set(LIST, list(&server, &key, &[0; 16]).after(Duration::from_millis(50)));
    let guard = Arc::new(guard(&server.url, StatusLists::new()));
    let all: Vec<_> = (0..100)
        .map(|index| {
            let (guard, token) = (Arc::clone(&guard), token(&server, &key, index));
            tokio::spawn(async move { outcome(&guard, &token).await })
        })
        .collect();
    for task in all {
        assert_eq!(task.await.unwrap(), Ok("alice".into()));
    }
    assert_eq!(server.asked(LIST), 1);
}

#[tokio::test]
async fn a_list_that_nobody_names_is_not_followed_for_ever() {
    let (key, server) = published(&[0]).await;
    let guard = guard(&server.url, StatusLists::new());
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()));
    advance(Duration::from_secs(901)).await;
    crate::pause(Duration::from_millis(100)).await;
    let asked = server.asked(LIST);
    advance(Duration::from_secs(60)).await;
    crate::pause(Duration::from_millis(100)).await;
    assert_eq!(server.asked(LIST), asked);
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()), "and it comes back when named");
    assert_eq!(server.asked(LIST), asked + 1);
}

#[tokio::test]
async fn what_was_revoked_stays_so_after_a_rest_while_the_issuer_is_away() {
    let (key, server) = published(&[0b10]).await;
    let open = guard(&server.url, StatusLists::new());
    let closed = guard(&server.url, StatusLists::new().refuse_when_unavailable());
    let (good, revoked) = (token(&server, &key, 0), token(&server, &key, 1));
    for guard in [&open, &closed] {
        assert_eq!(outcome(guard, &good).await, Ok("alice".into()));
    }
    server.set(LIST, Answer::status(503));
    for rest in [901, 3 * 3600] {
        advance(Duration::from_secs(rest)).await;
        crate::pause(Duration::from_millis(100)).await;
        for guard in [&open, &closed] {
            assert_eq!(outcome(guard, &revoked).await, Err(TokenRefusal::Revoked), "{rest}");
        }
        assert_eq!(outcome(&open, &good).await, Ok("alice".into()));
        assert_eq!(outcome(&closed, &good).await, Err(TokenRefusal::StatusUnavailable));
    }
    // Back, the list is asked for before an old copy calls anything valid.
    server.set(LIST, list(&server, &key, &[0b11]));
    advance(Duration::from_secs(901)).await;
    crate::pause(Duration::from_millis(100)).await;
    server.set(LIST, list(&server, &key, &[0b111]).after(Duration::from_millis(50)));
    advance(Duration::from_secs(60)).await;
    assert_eq!(outcome(&open, &token(&server, &key, 2)).await, Err(TokenRefusal::Revoked));
}

#[tokio::test]
async fn a_list_that_says_nothing_is_forgotten_before_one_that_does() {
    let (key, server) = published(&[0b10]).await;
    let guard = guard(&server.url, StatusLists::new());
    let revoked = token(&server, &key, 1);
    assert_eq!(outcome(&guard, &revoked).await, Err(TokenRefusal::Revoked));
    let listed = async |number: u64| {
        let path = format!("/status/{number}");
        let uri = format!("{}{path}", server.url);
        let mut claims = list_claims(&server, &[0]);
        claims["sub"] = json!(uri);
        server.set(&path, Answer::ok(key.of_kind("statuslist+jwt", &claims)));
        assert_eq!(outcome(&guard, &token_at(&server, &key, 0, &uri)).await, Ok("alice".into()));
    };
    for number in 2..=300 {
        listed(number).await;
    }
    server.set(LIST, Answer::status(503));
    assert_eq!(outcome(&guard, &revoked).await, Err(TokenRefusal::Revoked));
}

#[tokio::test]
async fn a_copy_goes_when_an_hour_and_its_last_token_are_over() {
    let key = Key::es256("k");
    let server = Server::start(&[&key]).await;
    let clock = Arc::new(AtomicU64::new(NOW));
    let guard = {
        let clock = Arc::clone(&clock);
        let builder = Guard::builder(Verifier::new(server.url.clone()).audience(AUDIENCE));
        let builder = builder.clock(move || clock.load(Ordering::SeqCst));
        builder.status_lists(StatusLists::new()).discover(Discovery::new()).unwrap()
    };
    let ending = |end: u64, index: u64, uri: &str| {
        let mut claims = claims_of(&server.url);
        claims["iat"] = json!(NOW);
        claims["exp"] = json!(end);
        claims["status"] = json!({ "status_list": { "idx": index, "uri": uri } });
        key.token(&claims)
    };
    let first = format!("{}{LIST}", server.url);
    let token = ending(NOW + 6 * 3600, 1, &first);
    server.set(LIST, list(&server, &key, &[0b10]));
    assert_eq!(outcome(&guard, &token).await, Err(TokenRefusal::Revoked));
    server.set(LIST, Answer::status(503));
    // Whenever another list comes, what isn't needed goes.
    for (hours, expected) in [(2, Err(TokenRefusal::Revoked)), (2, Err(TokenRefusal::Revoked)), (3, Ok("alice".into()))]
    {
        let now = clock.fetch_add(hours * 3600, Ordering::SeqCst) + hours * 3600;
        advance(Duration::from_secs(hours * 3600)).await;
        crate::pause(Duration::from_millis(100)).await;
        let other = ending(now + 60, 0, &format!("{}/status/{now}", server.url));
        assert_eq!(outcome(&guard, &other).await, Ok("alice".into()));
        // A later token of the same list, which the issuer can't be asked about.
        let later = ending(NOW + 6 * 3600, 1, &first);
        let named = if now < NOW + 6 * 3600 { later } else { ending(now + 60, 1, &first) };
        assert_eq!(outcome(&guard, &named).await, expected, "{now}");
    }
}

#[tokio::test]
async fn a_guard_may_be_told_not_to_look() {
    let (key, server) = published(&[1]).await;
    let builder = Guard::builder(Verifier::new(server.url.clone()).audience(AUDIENCE)).clock(|| NOW);
    let guard = builder.ignore_status_lists().discover(Discovery::new()).unwrap();
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()));
    assert_eq!(server.asked(LIST), 0);
}

#[tokio::test]
async fn a_guard_that_is_gone_asks_for_nothing_more() {
    let (key, server) = published(&[0]).await;
    let guard = guard(&server.url, StatusLists::new());
    assert_eq!(outcome(&guard, &token(&server, &key, 0)).await, Ok("alice".into()));
    advance(Duration::from_secs(4)).await;
    until(|| server.asked(LIST) == 2).await;
    crate::pause(Duration::from_millis(50)).await;
    drop(guard);
    let asked = (server.asked(LIST), server.asked(JWKS));
    for _ in 0..10 {
        advance(Duration::from_secs(60)).await;
        crate::pause(Duration::from_millis(10)).await;
    }
    assert_eq!((server.asked(LIST), server.asked(JWKS)), asked);
}
