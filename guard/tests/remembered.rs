//! Tokens that were verified before: what a remembered one skips, and what it never skips.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward_guard::testing::TestIssuer;
use keyward_guard::{Discovery, Guard, KeySet, TokenRefusal, Verifier};
use serde_json::json;

use crate::issuer::{AUDIENCE, Answer, ISSUER, JWKS, Key, NOW, Server, claims, claims_of, jwks};
use crate::until;

async fn outcome(guard: &Guard, token: &str) -> Result<String, TokenRefusal> {
    guard.verify(token).await.map(|token| token.sub.clone()).map_err(|denied| denied.refusal().clone())
}

#[tokio::test]
async fn times_are_looked_at_each_time() {
    let key = Key::ed25519("k");
    let now = Arc::new(AtomicU64::new(NOW));
    let clock = Arc::clone(&now);
    let guard = Guard::builder(Verifier::new(ISSUER).audience(AUDIENCE))
        .clock(move || clock.load(Ordering::Relaxed))
        .with_keys(KeySet::from_jwks_json(jwks(&[&key]).as_bytes()).unwrap());
    let mut claims = claims();
    claims["exp"] = json!(NOW + 100);
    claims["nbf"] = json!(NOW - 100);
    let token = key.token(&claims);
    for (at, expected) in [
        (NOW, Ok("alice".into())),
        (NOW + 159, Ok("alice".into())),
        (NOW + 160, Err(TokenRefusal::Expired)),
        (NOW - 161, Err(TokenRefusal::NotYetValid)),
        (NOW, Ok("alice".into())),
    ] {
        now.store(at, Ordering::Relaxed);
        assert_eq!(outcome(&guard, &token).await, expected, "{at}");
    }
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_remembered_tokens_with_it() {
    let (old, new) = (Key::ed25519("old"), Key::ed25519("new"));
    let server = Server::start(&[&old, &new]).await;
    let guard = Guard::builder(Verifier::new(server.url.clone()).audience(AUDIENCE)).clock(|| NOW);
    let guard = guard.discover(Discovery::new()).unwrap();
    let keys = guard.issuer_keys().unwrap();
    let (gone, stays) = (old.token(&claims_of(&server.url)), new.token(&claims_of(&server.url)));
    until(|| keys.current().is_some()).await;
    for token in [&gone, &stays, &gone, &stays] {
        assert_eq!(outcome(&guard, token).await, Ok("alice".into()));
    }
    server.set(JWKS, Answer::ok(jwks(&[&new])));
    keys.refresh().await.unwrap();
    assert_eq!(outcome(&guard, &gone).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(outcome(&guard, &stays).await, Ok("alice".into()));
    // The same name, but not the same key.
    server.set(JWKS, Answer::ok(jwks(&[&Key::ed25519("new")])));
    keys.refresh().await.unwrap();
    assert_eq!(outcome(&guard, &stays).await, Err(TokenRefusal::BadSignature));
}

#[tokio::test]
async fn a_token_that_resembles_a_remembered_one_is_judged_for_itself() {
    let issuer = TestIssuer::new(AUDIENCE);
    let guard = issuer.guard();
    let token = issuer.token("alice").mint();
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{message}.{flipped}{}", &signature[1..]);
    assert_eq!(outcome(&guard, &forged).await, Err(TokenRefusal::BadSignature));
    assert_eq!(outcome(&guard, message).await, Err(TokenRefusal::Malformed));
    assert_eq!(outcome(&guard, &token).await, Ok("alice".into()));
}

#[tokio::test]
async fn a_bad_token_is_never_remembered_as_good_and_a_guard_may_remember_nothing() {
    let issuer = TestIssuer::new(AUDIENCE);
    for guard in [issuer.guard(), issuer.builder().remember_at_most(0).with_keys(issuer.key_set())] {
        let (good, bad) = (issuer.token("alice").mint(), issuer.token("alice").expired().mint());
        for _ in 0..3 {
            assert_eq!(outcome(&guard, &good).await, Ok("alice".into()));
            assert_eq!(outcome(&guard, &bad).await, Err(TokenRefusal::Expired));
        }
    }
}
