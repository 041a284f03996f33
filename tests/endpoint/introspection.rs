//! Introspection (RFC 7662): who is told what of a token, and that everybody else is told nothing.

use serde_json::json;

use crate::security::forge::{foreign_key, part, server_key, sign, with};
use crate::support::server::{Answer, SECRET};
use crate::support::{ClientSpec, TestServer};

/// RFC 7662 §2.2: nothing but this of a token that isn't active, or isn't the caller's to see.
const INACTIVE: &str = "{\"active\":false}";

async fn assert_inactive(server: &TestServer, caller: &str, token: &str, what: &str) {
    let answer = server.introspect(caller, token).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, INACTIVE), "{what}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// Tokens of ada for `shop`, whose access tokens are for `https://api.example` and userinfo.
async fn tokens(server: &TestServer) -> (String, serde_json::Value) {
    let ada = server.add_user("ada").await;
    server.add_client(ClientSpec::api("api", "https://api.example")).await;
    server.add_client(ClientSpec::api("other", "https://other.example")).await;
    server.add_client(ClientSpec::web("bank")).await;
    server
        .add_client(ClientSpec::web("shop").with(|client| client.resources = vec!["https://api.example".into()]))
        .await;
    (ada.subject, server.tokens("shop", "ada").await)
}

on_each_database! {
    async fn an_access_token_is_shown_to_its_audience_and_its_client(server) {
        let (subject, tokens) = tokens(server).await;
        let token = tokens["access_token"].as_str().unwrap();
        let claims = part(token, 1);
        for caller in ["api", "shop"] {
            let answer = server.introspect(caller, token).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
            let said = answer.json();
            assert_eq!(said["active"], true, "{caller}");
            assert_eq!((said["sub"].as_str(), said["client_id"].as_str()), (Some(subject.as_str()), Some("shop")));
            assert_eq!(
                (said["token_type"].as_str(), said["iss"].as_str()),
                (Some("Bearer"), Some(server.url.as_str()))
            );
            assert_eq!(said["token_use"], "access_token");
            for name in ["scope", "aud", "exp", "iat", "jti", "auth_time", "acr", "amr"] {
                assert_eq!(said[name], claims[name], "{name}");
            }
            assert!(said.get("grant_id").is_none(), "what only we need stays with us");
        }
        for caller in ["other", "bank"] {
            assert_inactive(server, caller, token, caller).await;
        }
        // The hint is only a hint (RFC 7662 §2.1).
        for hint in ["access_token", "refresh_token", "unknown"] {
            let request = server.http.post(server.endpoint("/introspect")).basic_auth("api", Some(SECRET));
            let answer = Answer::of(request.form(&[("token", token), ("token_type_hint", hint)])).await;
            assert_eq!(answer.json()["active"], true, "{hint}");
        }
    }

    async fn a_refresh_token_is_shown_to_its_client_alone(server) {
        let (subject, tokens) = tokens(server).await;
        let token = tokens["refresh_token"].as_str().unwrap();
        let said = server.introspect("shop", token).await.json();
        assert_eq!((said["active"].as_bool(), said["sub"].as_str()), (Some(true), Some(subject.as_str())));
        assert_eq!((said["client_id"].as_str(), said["scope"].as_str()), (Some("shop"), tokens["scope"].as_str()));
        assert!(said["exp"].as_i64().unwrap() > server.app.clock.now().seconds());
        assert!(said.get("token_type").is_none(), "it is no Bearer token");
        assert_eq!(said["token_use"], "refresh_token");
        for caller in ["api", "other", "bank"] {
            assert_inactive(server, caller, token, caller).await;
        }
        let next = server.refresh("shop", token).await.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_inactive(server, "shop", token, "spent").await;
        assert_eq!(server.introspect("shop", &next).await.json()["active"], true);
        server.revoke("shop", &next).await;
        assert_inactive(server, "shop", &next, "revoked").await;
    }

    async fn a_machines_token_is_shown_too(server) {
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        server
            .add_client(
                ClientSpec::machine("batch").with(|client| client.resources = vec!["https://api.example".into()]),
            )
            .await;
        let answer = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
        let token = answer["access_token"].as_str().unwrap();
        let said = server.introspect("api", token).await.json();
        assert_eq!((said["active"].as_bool(), said["sub"].as_str()), (Some(true), Some("batch")));
        for absent in ["auth_time", "acr", "amr", "roles"] {
            assert!(said.get(absent).is_none(), "{said}");
        }
        let lifetime = server.app.settings.tokens.access_token_lifetime.as_secs();
        server.advance(lifetime - 1);
        assert_eq!(server.introspect("api", token).await.json()["active"], true);
        server.advance(1);
        assert_inactive(server, "api", token, "expired").await;
    }

    async fn a_machines_token_does_not_come_back_with_its_identifier(server) {
        use keyward::audit::{AuditEvent, AuditKind};
        let app = &server.app;
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        let batch =
            || ClientSpec::machine("batch").with(|client| client.resources = vec!["https://api.example".into()]);
        let mint = async || {
            let answer = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
            answer["access_token"].as_str().unwrap().to_owned()
        };
        server.add_client(batch()).await;
        let old = mint().await;
        assert_eq!(server.introspect("api", &old).await.json()["active"], true);
        let client = app.store.find_client("batch").await.unwrap().unwrap();
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientDeleted)).unwrap();
        app.store.delete_client(client.id, event).await.unwrap();
        app.reload().await.unwrap();
        assert_inactive(server, "api", &old, "its client is gone").await;
        server.advance(1);
        server.add_client(batch()).await;
        assert_inactive(server, "api", &old, "the identifier is another client's").await;
        assert_eq!(server.introspect("api", &mint().await).await.json()["active"], true, "the new client's own");
    }

    async fn what_is_not_a_live_token_is_inactive(server) {
        let (_, tokens) = tokens(server).await;
        let token = tokens["access_token"].as_str().unwrap();
        let (header, claims) = (part(token, 0), part(token, 1));
        let key = server_key(server);
        assert_eq!(server.introspect("api", &sign(&key, &header, &claims)).await.json()["active"], true, "the control");
        let foreign = foreign_key(keyward_keys::Algorithm::Es256);
        for (what, bad) in [
            ("garbage", "garbage".to_owned()),
            ("dots", "a.b.c".to_owned()),
            ("a cut token", token[..token.len() - 5].to_owned()),
            ("half of it", token[..token.len() / 2].to_owned()),
            ("an ID token", tokens["id_token"].as_str().unwrap().to_owned()),
            ("another issuer's", sign(&key, &header, &with(&claims, "iss", json!("https://other.example")))),
            ("another key's", sign(&foreign, &header, &claims)),
            ("a cut refresh token", tokens["refresh_token"].as_str().unwrap()[1..].to_owned()),
            ("a long one", "x".repeat(30_000)),
        ] {
            for caller in ["api", "shop"] {
                assert_inactive(server, caller, &bad, what).await;
            }
        }
        server.advance(server.app.settings.tokens.access_token_lifetime.as_secs());
        assert_inactive(server, "api", token, "expired").await;
    }

    async fn a_token_ends_with_its_grant_session_user_and_client(server) {
        use keyward::audit::{AuditEvent, AuditKind};
        let app = &server.app;
        let event = |kind| app.audit_record(AuditEvent::by_cli(kind)).unwrap();
        let (subject, first) = tokens(server).await;
        let active = async |tokens: &serde_json::Value| {
            server.introspect("api", tokens["access_token"].as_str().unwrap()).await.json()["active"].as_bool().unwrap()
        };
        assert!(active(&first).await);
        server.revoke("shop", first["refresh_token"].as_str().unwrap()).await;
        assert!(!active(&first).await, "the grant");

        let second = server.tokens("shop", "ada").await;
        let user = app.store.find_user_by_subject(&subject).await.unwrap().unwrap();
        assert!(active(&second).await);
        app.store.set_user_disabled(user.id, true, app.clock.now(), event(AuditKind::UserChanged)).await.unwrap();
        assert!(!active(&second).await, "the user");
        app.store.set_user_disabled(user.id, false, app.clock.now(), event(AuditKind::UserChanged)).await.unwrap();
        assert!(!active(&second).await, "what has ended doesn't come back");

        let third = server.tokens("shop", "ada").await;
        assert!(active(&third).await);
        let client = app.store.find_client("shop").await.unwrap().unwrap();
        app.store.delete_client(client.id, event(AuditKind::ClientDeleted)).await.unwrap();
        app.reload().await.unwrap();
        assert!(!active(&third).await, "the client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_secret_may_ask() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::spa("spa")).await;
    server.add_client(ClientSpec::api("api", "https://api.example")).await;
    let post = |form: &[(&str, &str)]| server.http.post(server.endpoint("/introspect")).form(form);
    let token = ("token", "x");
    for (what, request) in [
        ("nobody", post(&[token])),
        ("a public client", post(&[token, ("client_id", "spa")])),
        ("a confidential one without its secret", post(&[token, ("client_id", "api")])),
        ("a wrong secret", post(&[token]).basic_auth("api", Some("wrong"))),
        ("a wrong secret in the body", post(&[token, ("client_id", "api"), ("client_secret", "wrong")])),
        ("an unknown client", post(&[token]).basic_auth("nobody", Some(SECRET))),
        ("a Bearer token", post(&[token]).bearer_auth("x")),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{what}: {answer:?}");
        assert!(!answer.text.contains("active"), "{what}");
    }
    let answer = Answer::of(post(&[]).basic_auth("api", Some(SECRET))).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "no token");
    let twice = post(&[token, token]).basic_auth("api", Some(SECRET));
    assert_eq!(Answer::of(twice).await.error(), "invalid_request", "two tokens");
    let get = server.http.get(server.endpoint("/introspect?token=x")).basic_auth("api", Some(SECRET));
    assert_eq!(Answer::of(get).await.status, 405, "a token has no place in an address");
    server.stop().await;
}
