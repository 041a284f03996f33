//! Userinfo (OpenID Connect Core §5.3, RFC 6750): which tokens open it, how they are sent, what it says.

use keyward_protocol::scope::ScopeSet;

use crate::support::browser::parameters;
use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec, TestServer};

/// A refusal with its challenge (RFC 6750 §3).
fn assert_refused(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with(&format!("Bearer error=\"{error}\"")), "{what}: {answer:?}");
    assert_eq!(answer.error(), error, "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert!(answer.json().get("sub").is_none(), "{what}");
}

/// An access token of ada for `shop` with this scope and resource.
async fn token(server: &TestServer, scope: &str, resource: &str) -> String {
    let address = server.authorize_url("shop", &[("scope", scope), ("resource", resource)]);
    let answer = Browser::new(server).arrive(&address, "ada").await;
    let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
    assert_eq!(tokens["scope"], scope);
    tokens["access_token"].as_str().unwrap().to_owned()
}

async fn shop(server: &TestServer) -> String {
    let ada = server.add_user("ada").await;
    server.add_client(ClientSpec::api("api", "https://api.example")).await;
    server
        .add_client(ClientSpec::web("shop").with(|client| client.resources = vec!["https://api.example".into()]))
        .await;
    ada.subject
}

on_each_database! {
    async fn it_says_what_the_scope_allows(server) {
        let subject = shop(server).await;
        for (scope, has, has_not) in [
            ("openid", &[][..], &["name", "email", "preferred_username", "roles", "groups", "permissions"][..]),
            ("openid profile", &["name", "preferred_username", "updated_at"], &["email"]),
            ("openid email", &["email", "email_verified"], &["name"]),
            ("openid roles groups permissions", &["roles", "groups", "permissions"], &["name"]),
        ] {
            let answer = server.userinfo(&token(server, scope, "").await).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
            let said = answer.json();
            assert_eq!(said["sub"], subject.as_str(), "OpenID Connect Core §5.3.2: sub is always there");
            for name in has {
                assert!(!said[*name].is_null(), "{scope}: no {name} in {said}");
            }
            for name in has_not {
                assert!(said.get(*name).is_none(), "{scope}: {name} in {said}");
            }
            assert!(said.as_object().unwrap().values().all(|value| !value.is_null()), "§5.3.2: no null: {said}");
        }
    }

    async fn tokens_that_do_not_open_it(server) {
        shop(server).await;
        let good = token(server, "openid", "").await;
        assert_eq!(server.userinfo(&good).await.status, 200);
        for bad in ["garbage", "a.b.c", &good[..good.len() - 4], &format!("{good}x")] {
            assert_refused(&server.userinfo(bad).await, 401, "invalid_token", bad);
        }
        // A token for another audience, without openid: it isn't for us.
        let elsewhere = token(server, "api", "https://api.example").await;
        assert_refused(&server.userinfo(&elsewhere).await, 401, "invalid_token", "another audience");
        // With openid the same resource leaves userinfo open (protocol decision 16).
        assert_eq!(server.userinfo(&token(server, "openid api", "https://api.example").await).await.status, 200);
        server.advance(server.app.settings.tokens.access_token_lifetime.as_secs());
        assert_refused(&server.userinfo(&good).await, 401, "invalid_token", "expired");
    }

    async fn a_token_for_us_without_openid_lacks_a_scope(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let answer = server.userinfo(&token(server, "profile", "").await).await;
        assert_refused(&answer, 403, "insufficient_scope", "no openid");
        assert!(answer.header("www-authenticate").contains("scope=\"openid\""), "{answer:?}");
    }

    async fn ways_to_send_a_token(server) {
        shop(server).await;
        let token = token(server, "openid", "").await;
        let at = server.endpoint("/userinfo");
        let header = format!("Bearer {token}");
        for good in [
            server.http.get(&at).header("authorization", &header),
            server.http.get(&at).header("authorization", format!("bearer {token}")),
            server.http.post(&at).header("authorization", &header),
            server.http.post(&at).form(&[("access_token", &token)]),
        ] {
            let answer = Answer::of(good).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let query = format!(
            "{at}?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("access_token", &token).finish()
        );
        // RFC 6750 §3.1: who brings nothing is told the scheme and no error.
        for (what, nothing) in [
            ("nothing", server.http.get(&at)),
            ("nothing by POST", server.http.post(&at)),
            ("a token in the address", server.http.get(&query)),
            ("an empty token in a form", server.http.post(&at).form(&[("access_token", "")])),
        ] {
            let answer = Answer::of(nothing).await;
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{what}: {answer:?}");
            assert!(!answer.text.contains("sub"), "{what}");
        }
        for (what, bad) in [
            (
                "two ways at once",
                server.http.post(&at).header("authorization", &header).form(&[("access_token", &token)]),
            ),
            ("no token after the scheme", server.http.get(&at).header("authorization", "Bearer")),
            ("a blank token", server.http.get(&at).header("authorization", "Bearer  ")),
            ("another scheme", server.http.get(&at).basic_auth("shop", Some("x"))),
            ("two headers", server.http.get(&at).header("authorization", &header).header("authorization", &header)),
            ("two tokens in a form", server.http.post(&at).form(&[("access_token", &token), ("access_token", &token)])),
        ] {
            assert_refused(&Answer::of(bad).await, 400, "invalid_request", what);
        }
        let json = server
            .http
            .post(&at)
            .header("content-type", "application/json")
            .body(format!("{{\"access_token\":\"{token}\"}}"));
        assert!(Answer::of(json).await.status >= 400, "RFC 6750 §2.2: only a form");
    }

    async fn other_tokens_are_none(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server
            .add_client(
                ClientSpec::machine("batch").with(|client| client.scope = ScopeSet::parse("api openid").unwrap()),
            )
            .await;
        let tokens = server.tokens("shop", "ada").await;
        for kind in ["id_token", "refresh_token"] {
            assert_refused(&server.userinfo(tokens[kind].as_str().unwrap()).await, 401, "invalid_token", kind);
        }
        let machine =
            server.token("batch", &[("grant_type", "client_credentials"), ("scope", "api openid")]).await.json();
        assert_refused(
            &server.userinfo(machine["access_token"].as_str().unwrap()).await,
            401,
            "invalid_token",
            "a machine's",
        );
    }
}
