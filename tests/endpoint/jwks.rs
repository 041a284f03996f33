//! The published keys (RFC 7517): what a client needs to check our tokens, and nothing that could sign one.

use std::collections::BTreeSet;

use crate::security::forge::part;
use crate::support::server::Answer;
use crate::support::{ClientSpec, TestDatabase, TestServer};

/// What a JWK may have besides its public numbers (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
const ALLOWED: [&str; 10] = ["kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e"];

#[tokio::test(flavor = "multi_thread")]
async fn only_public_keys_each_with_its_name_and_algorithm() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.keys.algorithms = vec!["ES256".into(), "EdDSA".into(), "RS256".into()];
    })
    .await;
    let answer = Answer::of(server.http.get(server.endpoint("/jwks"))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jwk-set+json"));
    let set = answer.json();
    assert_eq!(set.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"]);
    let mut kinds = BTreeSet::new();
    let mut kids = BTreeSet::new();
    for key in set["keys"].as_array().unwrap() {
        let key = key.as_object().unwrap();
        for name in key.keys() {
            assert!(ALLOWED.contains(&name.as_str()), "{name} is published");
        }
        let text = |name: &str| key[name].as_str().unwrap();
        assert_eq!(text("use"), "sig");
        assert!(kids.insert(text("kid")), "two keys have one name");
        for name in match text("kty") {
            "EC" => &["x", "y", "crv"][..],
            "OKP" => &["x", "crv"],
            "RSA" => &["n", "e"],
            other => panic!("{other}"),
        } {
            assert!(!text(name).is_empty() && !text(name).contains('='), "{name}");
        }
        kinds.insert((text("kty"), text("alg")));
    }
    assert_eq!(kinds, [("EC", "ES256"), ("OKP", "EdDSA"), ("RSA", "RS256")].into());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_names_a_published_key_that_verifies_it() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server
        .add_client(ClientSpec::web("shop").with(|client| {
            client.id_token_signed_response_alg = keyward_keys::Algorithm::EdDsa;
        }))
        .await;
    let tokens = server.tokens("shop", "ada").await;
    let set: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(Answer::of(server.http.get(server.endpoint("/jwks"))).await.json()).unwrap();
    for (kind, audience, alg) in [("access_token", server.url.as_str(), "ES256"), ("id_token", "shop", "EdDSA")] {
        let token = tokens[kind].as_str().unwrap();
        let header = part(token, 0);
        assert_eq!(header["alg"], alg, "{kind}");
        let jwk = set.find(header["kid"].as_str().unwrap()).unwrap_or_else(|| panic!("{kind} names no published key"));
        let mut validation = jsonwebtoken::Validation::new(alg.parse().unwrap());
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&server.url]);
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
        jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_for_minutes_and_known_by_its_tag() {
    let server = TestServer::sqlite().await;
    let first = Answer::of(server.http.get(server.endpoint("/jwks"))).await;
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    let etag = first.header("etag").to_owned();
    let again = Answer::of(server.http.get(server.endpoint("/jwks")).header("if-none-match", &etag)).await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", etag.as_str()));
    let other = Answer::of(server.http.get(server.endpoint("/jwks")).header("if-none-match", "\"other\"")).await;
    assert_eq!((other.status, other.text), (200, first.text));
    server.stop().await;
}
