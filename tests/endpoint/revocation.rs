//! Revocation (RFC 7009): what a client may end, and that everything else is answered alike and changes nothing.

use crate::support::server::{Answer, SECRET};
use crate::support::{Browser, ClientSpec, TestServer};

async fn live(server: &TestServer, token: &str) -> bool {
    match server.userinfo(token).await.status {
        200 => true,
        401 => false,
        status => panic!("userinfo answered {status}"),
    }
}

on_each_database! {
    async fn a_refresh_token_takes_its_family_along(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (access, first) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        let bystander = server.tokens("shop", "ada").await;
        let second = server.refresh("shop", first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        let answer = server.revoke("shop", &second).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
        assert!(!live(server, access).await, "RFC 7009 §2.1: the access tokens of the grant go with it");
        assert!(live(server, bystander["access_token"].as_str().unwrap()).await, "and of no other grant");
        assert_eq!(server.revoke("shop", &second).await.status, 200, "once more is no error");
        assert_eq!(server.app.store.audit_events("token_revoked", 10).await.unwrap().len(), 1);
    }

    async fn a_spent_refresh_token_ends_its_family_too(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let first = tokens["refresh_token"].as_str().unwrap();
        let second = server.refresh("shop", first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.revoke("shop", first).await.status, 200);
        assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
    }

    async fn an_access_token_ends_alone(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        assert!(live(server, access).await);
        assert_eq!(server.revoke("shop", access).await.status, 200);
        assert!(!live(server, access).await);
        assert_eq!(server.introspect("shop", access).await.text, "{\"active\":false}");
        let fresh = server.refresh("shop", refresh).await.json();
        assert!(live(server, fresh["access_token"].as_str().unwrap()).await);
    }

    async fn a_foreign_client_ends_nothing_and_learns_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("other")).await;
        server.add_client(ClientSpec::spa("spa")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        let unknown = server.revoke("other", "unknown").await;
        for token in [access, refresh, tokens["id_token"].as_str().unwrap(), "a.b.c", "garbage"] {
            let answer = server.revoke("other", token).await;
            assert_eq!((answer.status, answer.text), (unknown.status, unknown.text.clone()));
            let public = server.http.post(server.endpoint("/revoke")).form(&[("token", token), ("client_id", "spa")]);
            assert_eq!(Answer::of(public).await.status, 200);
        }
        assert!(live(server, access).await);
        assert_eq!(server.refresh("shop", refresh).await.status, 200);
    }

    async fn a_public_client_ends_its_own(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::spa("spa")).await;
        let code = Browser::new(server).code(&server.authorize_url("spa", &[]), "ada").await;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "spa"),
            ("code", &code),
            ("code_verifier", crate::support::server::VERIFIER),
        ];
        let tokens = Answer::of(server.http.post(server.endpoint("/token")).form(&form)).await.json();
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let revoke = server.http.post(server.endpoint("/revoke")).form(&[("token", refresh), ("client_id", "spa")]);
        assert_eq!(Answer::of(revoke).await.status, 200);
        assert!(!live(server, tokens["access_token"].as_str().unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let post = |form: &[(&str, &str)]| server.http.post(server.endpoint("/revoke")).form(form);
    for (what, request, status, error) in [
        ("nobody", post(&[("token", "x")]), 401, "invalid_client"),
        ("a wrong secret", post(&[("token", "x")]).basic_auth("shop", Some("wrong")), 401, "invalid_client"),
        ("no secret", post(&[("token", "x"), ("client_id", "shop")]), 401, "invalid_client"),
        ("no token", post(&[]).basic_auth("shop", Some(SECRET)), 400, "invalid_request"),
        ("an empty token", post(&[("token", "")]).basic_auth("shop", Some(SECRET)), 400, "invalid_request"),
        (
            "two tokens",
            post(&[("token", "x"), ("token", "y")]).basic_auth("shop", Some(SECRET)),
            400,
            "invalid_request",
        ),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{what}: {answer:?}");
    }
    let hinted = post(&[("token", "x"), ("token_type_hint", "unknown")]).basic_auth("shop", Some(SECRET));
    assert_eq!(Answer::of(hinted).await.status, 200, "RFC 7009 §2.1: an unknown hint is no error");
    assert_eq!(Answer::of(server.http.get(server.endpoint("/revoke?token=x"))).await.status, 405);
    server.stop().await;
}
