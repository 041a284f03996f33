//! Signed texts that clients and browsers send, an assertion and an ID token hint: headers that confuse and keys that they
//! bring along open nothing (RFC 8725; the attack classes "algorithm and claim types" and "kid, jku, jwk, x5u").

use std::net::TcpListener;

use keyward_keys::{Algorithm, SigningKey};
use keyward_protocol::client_metadata::AuthMethod;
use serde_json::{Value, json};

use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec, TestServer};

use super::forge::{encode, foreign_key, part, server_key, sign, sign_hs256, sign_text, strange_kids, with, with_null};

/// Texts that are wrong for their header alone. `key` is the right one, `name` its name; `address` is where a thief has
/// put keys of his own.
fn forged(key: &SigningKey, header: &Value, claims: &Value, address: &str) -> Vec<(String, String)> {
    let payload = encode(claims.to_string());
    let mut all = Vec::new();
    let mut add = |what: &str, text: String| all.push((what.to_owned(), text));
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = format!("{}.{payload}", encode(with(header, "alg", json!(alg)).to_string()));
        add(&format!("alg {alg:?}, no signature"), format!("{unsigned}."));
        add(&format!("alg {alg:?}, two parts"), unsigned);
        add(&format!("alg {alg:?}, signed"), sign(key, &with(header, "alg", json!(alg)), claims));
    }
    let jwk = key.public_jwk();
    let hs256 = with(header, "alg", json!("HS256"));
    let spki = key.public_spki().unwrap();
    for secret in [jwk.to_string().as_bytes(), &spki, keyward_keys::pem::public_key(&spki).as_bytes(), b""] {
        add("HS256 with what is public", sign_hs256(secret, &hs256, claims));
    }
    for alg in ["EdDSA", "RS256", "PS256", "ES384", "ES512", "HS256", "es256"] {
        add(&format!("alg {alg}"), sign(key, &with(header, "alg", json!(alg)), claims));
    }
    add("no alg", sign(key, &with(header, "alg", Value::Null), claims));
    add("alg as a list", sign(key, &with(header, "alg", json!(["ES256"])), claims));
    for typ in ["at+jwt", "logout+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", ""] {
        add(&format!("typ {typ}"), sign(key, &with(header, "typ", json!(typ)), claims));
    }
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp")] {
        add("crit", sign(key, &with(header, "crit", crit), claims));
    }
    add("crit null", sign(key, &with_null(header, "crit"), claims));
    for kid in strange_kids(3000) {
        let name: String = kid.chars().take(20).collect();
        add(&format!("kid {name:?}"), sign(key, &with(header, "kid", json!(kid)), claims));
    }
    add("kid as a number", sign(key, &with(header, "kid", json!(1)), claims));
    let text = header.to_string();
    let twice = format!("{},\"alg\":\"ES256\"}}", text.trim_end_matches('}'));
    add("alg twice", sign_text(key, &twice, &claims.to_string()));
    add("a header that is a list", sign_text(key, "[\"ES256\"]", &claims.to_string()));
    let own = foreign_key(Algorithm::Es256);
    for (name, value) in
        [("jwk", own.public_jwk()), ("jku", json!(address)), ("x5u", json!(address)), ("x5c", json!(["MIIB"]))]
    {
        for kid in [header["kid"].clone(), json!(own.kid()), Value::Null] {
            let header = with(&with(header, name, value.clone()), "kid", kid);
            add(&format!("{name} of a thief"), sign(&own, &header, claims));
        }
    }
    add("another key by the right name", sign(&own, header, claims));
    for text in ["[]", "null", "\"claims\"", "{", ""] {
        add("claims that are no object", sign_text(key, &header.to_string(), text));
    }
    all
}

async fn assert_by(server: &TestServer, assertion: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    Answer::of(server.http.post(server.endpoint("/token")).form(&form)).await
}

/// Somewhere to fetch keys from, where nobody must come.
fn trap() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    (listener, address)
}

on_each_database! {
    async fn assertions_of_a_client(server) {
        let key = foreign_key(Algorithm::Es256);
        server
            .add_client(ClientSpec::machine("batch").with(|client| {
                client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
                client.jwks = Some(json!({"keys": [key.public_jwk()]}));
            }))
            .await;
        let (listener, address) = trap();
        let now = server.app.clock.now().seconds();
        let header = json!({"alg": "ES256", "kid": key.kid(), "typ": "JWT"});
        let good = || {
            json!({"iss": "batch", "sub": "batch", "aud": server.url, "iat": now, "exp": now + 60,
                "jti": server.app.random.name().unwrap()})
        };
        assert_eq!(assert_by(server, &sign(&key, &header, &good())).await.status, 200);
        for (what, assertion) in forged(&key, &header, &good(), &address) {
            let answer = assert_by(server, &assertion).await;
            assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{what}: {answer:?}");
        }
        let huge = sign(&key, &with(&header, "kid", json!("k".repeat(30_000))), &good());
        assert_eq!(assert_by(server, &huge).await.status, 401, "a huge kid");
        // 1 MB doesn't even come in.
        let million = sign(&key, &with(&header, "kid", json!("k".repeat(1_000_000))), &good());
        assert_eq!(assert_by(server, &million).await.status, 413);
        for exp in [json!((now + 60).to_string()), json!(1e300), json!(-1), json!([now + 60]), json!(true), Value::Null] {
            let answer = assert_by(server, &sign(&key, &header, &with(&good(), "exp", exp.clone()))).await;
            assert_eq!(answer.status, 401, "exp {exp}");
        }
        assert!(listener.accept().is_err(), "the server fetched what an assertion named");
        assert_eq!(assert_by(server, &sign(&key, &header, &good())).await.status, 200);
    }

    async fn hints_at_logout_and_authorization(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let good = server.redeem("shop", &code).await.json()["id_token"].as_str().unwrap().to_owned();
        let (header, claims) = (part(&good, 0), part(&good, 1));
        let (listener, address) = trap();
        let query = |hint: &str| form_urlencoded::Serializer::new(String::new()).append_pair("id_token_hint", hint).finish();
        let key = server_key(server);
        assert_eq!(header["kid"], *key.kid());
        for (what, hint) in forged(&key, &header, &claims, &address) {
            let answer = browser.get(&format!("/end_session?{}", query(&hint))).await;
            assert!(answer.status == 200 && answer.text.contains("/end_session/confirm"), "{what}: {answer:?}");
            // Core §3.1.2.1: with prompt=none a hint that isn't good is an error, whoever is signed in.
            let silent = format!("{}&{}", server.authorize_url("shop", &[("prompt", "none")]), query(&hint));
            let answer = browser.get(&silent).await;
            let back = crate::support::browser::parameters(answer.header("location"));
            assert!(!back.contains_key("code") && back.contains_key("error"), "{what}: {answer:?}");
        }
        assert!(listener.accept().is_err(), "the server fetched what a hint named");
        let silent = format!("{}&{}", server.authorize_url("shop", &[("prompt", "none")]), query(&good));
        let answer = browser.get(&silent).await;
        assert!(crate::support::browser::parameters(answer.header("location")).contains_key("code"), "{answer:?}");
        assert_eq!(browser.get(&format!("/end_session?{}", query(&good))).await.status, 200);
        let answer = browser.get(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert!(!crate::support::browser::parameters(answer.header("location")).contains_key("code"), "signed out");
    }
}
