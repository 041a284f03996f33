//! Confused tokens: what isn't exactly an access token of ours opens nothing, at userinfo and at introspection
//! (RFC 8725, RFC 9068 §4; the attack classes "algorithm and claim types" and "kid, jku, jwk, x5u").

use std::net::TcpListener;

use keyward_keys::Algorithm;
use serde_json::{Value, json};

use crate::support::{ClientSpec, TestServer};

use super::forge::{encode, foreign_key, part, server_key, sign, sign_hs256, sign_text, strange_kids, with, with_null};

/// A right token, taken apart.
struct Original {
    token: String,
    header: Value,
    claims: Value,
}

async fn original(server: &TestServer) -> Original {
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let token = server.tokens("shop", "ada").await["access_token"].as_str().unwrap().to_owned();
    let (header, claims) = (part(&token, 0), part(&token, 1));
    Original { token, header, claims }
}

async fn accepted(server: &TestServer, what: &str, token: &str) {
    let userinfo = server.userinfo(token).await;
    assert_eq!(userinfo.status, 200, "{what}: {userinfo:?}");
    assert_eq!(server.introspect("shop", token).await.json()["active"], true, "{what}");
}

async fn refused(server: &TestServer, what: &str, token: &str) {
    let userinfo = server.userinfo(token).await;
    assert_eq!(userinfo.status, 401, "{what}: {userinfo:?}");
    assert!(userinfo.header("www-authenticate").contains("error=\"invalid_token\""), "{what}: {userinfo:?}");
    let answer = server.introspect("shop", token).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "{\"active\":false}"), "{what}");
}

on_each_database! {
    async fn headers_that_confuse(server) {
        let Original { token, header, claims } = original(server).await;
        let key = server_key(server);
        let sign = |header: &Value| sign(&key, header, &claims);
        // What follows is refused for its one change alone: put together anew without it, the token is good.
        accepted(server, "the token", &token).await;
        accepted(server, "the token, signed by hand", &sign(&header)).await;

        let body = token.rsplit_once('.').unwrap().0;
        let (_, payload) = body.split_once('.').unwrap();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let unsigned = format!("{}.{payload}", encode(with(&header, "alg", json!(alg)).to_string()));
            refused(server, alg, &format!("{unsigned}.")).await;
            refused(server, alg, &unsigned).await;
            refused(server, alg, &sign(&with(&header, "alg", json!(alg)))).await;
        }
        let jwk = key.public_jwk();
        let hs256 = with(&header, "alg", json!("HS256"));
        let octets = |name: &str| {
            base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, jwk[name].as_str().unwrap()).unwrap()
        };
        let point = [vec![4], octets("x"), octets("y")].concat();
        let mut spki = vec![
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        spki.extend(&point);
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &spki)
        );
        for secret in
            [jwk.to_string().as_bytes(), &octets("x"), &point, &spki, pem.as_bytes(), b"", key.kid().as_bytes()]
        {
            refused(server, "HS256 with what is public", &sign_hs256(secret, &hs256, &claims)).await;
        }
        for alg in ["EdDSA", "RS256", "PS256", "ES384", "ES512", "HS256", "es256"] {
            refused(server, alg, &sign(&with(&header, "alg", json!(alg)))).await;
        }
        refused(server, "no alg", &sign(&with(&header, "alg", Value::Null))).await;
        refused(server, "alg as a list", &sign(&with(&header, "alg", json!(["ES256"])))).await;

        for typ in [
            "JWT",
            "logout+jwt",
            "dpop+jwt",
            "token-introspection+jwt",
            "statuslist+jwt",
            "at+jwtx",
            "",
            "application/jwt",
        ] {
            refused(server, typ, &sign(&with(&header, "typ", json!(typ)))).await;
        }
        refused(server, "no typ", &sign(&with(&header, "typ", Value::Null))).await;
        refused(server, "typ null", &sign(&with_null(&header, "typ"))).await;
        accepted(server, "the long form", &sign(&with(&header, "typ", json!("application/at+jwt")))).await;

        for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!({})] {
            refused(server, "crit", &sign(&with(&header, "crit", crit))).await;
        }
        refused(server, "crit null", &sign(&with_null(&header, "crit"))).await;
        let extended =
            with(&with(&header, "crit", json!(["https://evil.example/x"])), "https://evil.example/x", json!(1));
        refused(server, "crit with its extension", &sign(&extended)).await;

        for kid in strange_kids(20_000) {
            refused(server, "kid", &sign(&with(&header, "kid", json!(kid)))).await;
        }
        refused(server, "kid as a number", &sign(&with(&header, "kid", json!(1)))).await;
        let text = header.to_string();
        let twice = format!("{},\"alg\":\"ES256\"}}", text.trim_end_matches('}'));
        refused(server, "alg twice", &sign_text(&key, &twice, &claims.to_string())).await;
        refused(server, "a header that is a list", &sign_text(&key, "[\"ES256\"]", &claims.to_string())).await;
        accepted(server, "the token, at last", &token).await;
    }

    async fn keys_that_the_token_brings_along(server) {
        let Original { token, header, claims } = original(server).await;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}/keys", listener.local_addr().unwrap());
        let own = foreign_key(Algorithm::Es256);
        let jwk = own.public_jwk();
        for (name, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!(address)),
            ("x5u", json!(address)),
            ("x5c", json!(["MIIB"])),
            ("iss", json!(address)),
        ] {
            for kid in [header["kid"].clone(), json!(own.kid()), Value::Null] {
                let header = with(&with(&header, name, value.clone()), "kid", kid);
                refused(server, name, &sign(&own, &header, &claims)).await;
            }
            // Signed by the real key the member is noise: neither followed nor an error.
            accepted(server, name, &sign(&server_key(server), &with(&header, name, value), &claims)).await;
        }
        assert!(listener.accept().is_err(), "the server fetched what a token named");
        refused(server, "another key by the name of ours", &sign(&own, &header, &claims)).await;
        let elsewhere = foreign_key(Algorithm::EdDsa);
        let theirs = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": elsewhere.kid()});
        refused(
            server,
            "another issuer's key",
            &sign(&elsewhere, &theirs, &with(&claims, "iss", json!("https://other.example"))),
        )
        .await;
        refused(server, "our name, another issuer's key", &sign(&elsewhere, &theirs, &claims)).await;
        accepted(server, "the token", &token).await;
    }

    async fn claims_that_confuse(server) {
        let Original { header, claims, .. } = original(server).await;
        let key = server_key(server);
        let sign = |claims: &Value| sign(&key, &header, claims);
        accepted(server, "unchanged", &sign(&claims)).await;
        let now = server.app.clock.now().seconds();
        for exp in [
            json!((now + 600).to_string()),
            json!(now as f64 + 600.5),
            json!(1e300),
            json!(-1),
            json!(now),
            json!(now - 1),
            json!(0),
            json!([now + 600]),
            json!({"seconds": now + 600}),
            json!(true),
        ] {
            refused(server, "exp", &sign(&with(&claims, "exp", exp))).await;
        }
        for name in ["exp", "iss", "aud", "sub", "client_id", "iat", "jti"] {
            refused(server, name, &sign(&with(&claims, name, Value::Null))).await;
            refused(server, name, &sign(&with_null(&claims, name))).await;
            refused(server, name, &sign(&with(&claims, name, json!({})))).await;
            refused(server, name, &sign(&with(&claims, name, json!([])))).await;
            if name != "aud" {
                refused(server, name, &sign(&with(&claims, name, json!("")))).await;
            }
        }
        for issuer in ["https://other.example", &format!("{}/", server.url), &server.url.to_uppercase()] {
            refused(server, issuer, &sign(&with(&claims, "iss", json!(issuer)))).await;
        }
        refused(server, "nbf ahead", &sign(&with(&claims, "nbf", json!(now + 600)))).await;
        refused(server, "nbf as text", &sign(&with(&claims, "nbf", json!("0")))).await;
        refused(server, "scope as a list", &sign(&with(&claims, "scope", json!(["openid"])))).await;
        refused(server, "roles as text", &sign(&with(&claims, "roles", json!("admin")))).await;
        refused(server, "a grant that there isn't", &sign(&with(&claims, "grant_id", json!(encode([7; 16]))))).await;
        refused(server, "a grant of another shape", &sign(&with(&claims, "grant_id", json!(7)))).await;
        refused(server, "no grant", &sign(&with(&claims, "grant_id", Value::Null))).await;
        refused(server, "a client that there isn't", &sign(&with(&claims, "client_id", json!("nobody")))).await;
        for text in ["[]", "null", "\"claims\"", "1", "", "{", "{} {}"] {
            refused(server, text, &sign_text(&key, &header.to_string(), text)).await;
        }
        let twice = format!("{},\"sub\":\"somebody\"}}", claims.to_string().trim_end_matches('}'));
        refused(server, "sub twice", &sign_text(&key, &header.to_string(), &twice)).await;
    }

    async fn shapes_that_confuse(server) {
        let Original { token, .. } = original(server).await;
        let (body, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
        for (what, bad) in [
            ("no signature", body.to_owned()),
            ("an empty signature", format!("{body}.")),
            ("half a signature", format!("{body}.{}", &signature[..signature.len() / 2])),
            ("a changed signature", format!("{body}.{flipped}{}", &signature[1..])),
            ("zeros for a signature", format!("{body}.{}", encode([0; 64]))),
            ("padding", format!("{token}=")),
            ("a fourth part", format!("{token}.{signature}")),
            ("five parts", "a.b.c.d.e".to_owned()),
            ("dots", "..".to_owned()),
            ("a cut token", token[..token.len() - 1].to_owned()),
            ("a cut body", format!("{}.{signature}", &body[..body.len() - 3])),
            ("no token at all", "garbage".to_owned()),
            ("a huge token", format!("{body}{}.{signature}", "A".repeat(20_000))),
        ] {
            refused(server, what, &bad).await;
        }
    }

    async fn each_kind_of_token_only_where_it_belongs(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::machine("batch")).await;
        let tokens = server.tokens("shop", "ada").await;
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        refused(server, "an ID token", &text("id_token")).await;
        // A refresh token is no Bearer token, whatever introspection says of it to its own client.
        assert_eq!(server.userinfo(&text("refresh_token")).await.status, 401);
        for kind in ["access_token", "id_token"] {
            assert_eq!(server.refresh("shop", &text(kind)).await.error(), "invalid_grant", "{kind} as refresh token");
            assert_eq!(server.redeem("shop", &text(kind)).await.error(), "invalid_grant", "{kind} as code");
        }
        assert_eq!(server.redeem("shop", &text("refresh_token")).await.error(), "invalid_grant");
        let code = crate::support::Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        assert_eq!(server.refresh("shop", &code).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(&code).await.status, 401);
        assert_eq!(server.introspect("shop", &code).await.text, "{\"active\":false}");
        // An access token isn't a hint (they're of another type), nor is it a client's assertion.
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("id_token_hint", &text("access_token"))
            .finish();
        let address = format!("{}&{query}", server.authorize_url("shop", &[("prompt", "none")]));
        let answer = crate::support::Browser::new(server).open(&address).await;
        assert_eq!(crate::support::browser::parameters(answer.header("location"))["error"], "invalid_request");
        for assertion in [text("access_token"), text("id_token")] {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", assertion.as_str()),
            ];
            let request = server.http.post(server.endpoint("/token")).form(&form);
            let answer = crate::support::server::Answer::of(request).await;
            assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
        }
        // A machine's token names no person.
        let machine = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
        assert_eq!(server.userinfo(machine["access_token"].as_str().unwrap()).await.status, 401);
        // One more: all of these are good where they belong.
        assert_eq!(server.redeem("shop", &code).await.status, 200);
    }
}
