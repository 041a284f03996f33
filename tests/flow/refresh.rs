//! Refresh tokens: rotation, the grace time of a retry, reuse, and what ends a family (protocol decisions 12 to 14).

use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

on_each_database! {
    async fn a_retry_within_the_grace_time_gets_the_same_successor(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let answer = server.refresh("shop", &first).await.json();
        let second = answer["refresh_token"].as_str().unwrap().to_owned();
        assert_ne!(first, second);
        server.advance(29);
        let retry = server.refresh("shop", &first).await;
        assert_eq!(retry.status, 200, "{}", retry.text);
        assert_eq!(retry.json()["refresh_token"], second.as_str());
        // The successor works, and with that the retry is over.
        let third = server.refresh("shop", &second).await.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("shop", &first).await.error(), "invalid_grant");
        // That was reuse: the family has ended.
        assert_eq!(server.refresh("shop", &third).await.error(), "invalid_grant");
        assert_eq!(server.app.store.audit_events("refresh_token_reused", 10).await.unwrap().len(), 1);
    }

    async fn after_the_grace_time_it_is_reuse(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let first = tokens["refresh_token"].as_str().unwrap();
        let second = server.refresh("shop", first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        server.advance(30);
        assert_eq!(server.refresh("shop", first).await.error(), "invalid_grant");
        assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(tokens["access_token"].as_str().unwrap()).await.status, 401);
    }

    async fn another_client_ends_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("other")).await;
        let tokens = server.tokens("shop", "ada").await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        assert_eq!(server.refresh("other", refresh).await.error(), "invalid_grant");
        assert_eq!(server.revoke("other", refresh).await.status, 200);
        assert_eq!(server.refresh("shop", refresh).await.status, 200);
    }

    async fn idle_and_absolute_lifetimes(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| {
            client.refresh_token_idle_lifetime = Some(1000);
            client.refresh_token_absolute_lifetime = Some(1500);
        })).await;
        let idle = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        server.advance(1000);
        assert_eq!(server.refresh("shop", &idle).await.error(), "invalid_grant");
        let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        server.advance(999);
        let second = server.refresh("shop", &first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        server.advance(501);
        assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
    }

    async fn without_offline_access_it_ends_with_the_session(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let online = browser.code(&server.authorize_url("shop", &[("scope", "openid")]), "ada").await;
        let online = server.redeem("shop", &online).await.json();
        let scope = ("scope", "openid profile offline_access");
        let offline = browser.code(&server.authorize_url("shop", &[scope]), "ada").await;
        let offline = server.redeem("shop", &offline).await.json();
        let home = browser.open("/").await;
        assert!(home.text.contains("sign-out"), "{}", home.text);
        browser.submit(&home, &[]).await;
        assert_eq!(server.refresh("shop", online["refresh_token"].as_str().unwrap()).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(online["access_token"].as_str().unwrap()).await.status, 401);
        assert_eq!(server.refresh("shop", offline["refresh_token"].as_str().unwrap()).await.status, 200);
    }

    async fn a_narrower_scope_is_given_and_a_wider_one_refused(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let ask = |scope: &'static str| {
            [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", scope)]
        };
        assert_eq!(server.token("shop", &ask("openid email")).await.error(), "invalid_scope");
        let narrow = server.token("shop", &ask("profile")).await;
        assert_eq!(narrow.status, 200, "{}", narrow.text);
        assert_eq!(narrow.json()["scope"], "profile");
        assert!(narrow.json().get("id_token").is_none());
    }

    async fn a_password_change_and_disabling_end_everything_at_once(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        for disable in [false, true] {
            let tokens = server.tokens("shop", "ada").await;
            let event = || {
                let event = keyward::audit::AuditEvent::by_cli(keyward::audit::AuditKind::UserChanged);
                server.app.audit_record(event).unwrap()
            };
            let now = server.app.clock.now();
            if disable {
                server.app.store.set_user_disabled(user.id, true, now, event()).await.unwrap();
            } else {
                let hash = user.password_hash.clone().unwrap();
                server.app.store.set_password(user.id, hash, now, event()).await.unwrap();
            }
            assert_eq!(server.userinfo(tokens["access_token"].as_str().unwrap()).await.status, 401);
            let refused = server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await;
            assert_eq!(refused.error(), "invalid_grant");
            let introspected = server.introspect("shop", tokens["access_token"].as_str().unwrap()).await;
            assert_eq!(introspected.json(), serde_json::json!({"active": false}));
        }
    }

    async fn revocation_ends_the_family_or_the_one_access_token(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        assert_eq!(server.introspect("shop", refresh).await.json()["active"], true);
        assert_eq!(server.revoke("shop", access).await.status, 200);
        assert_eq!(server.userinfo(access).await.status, 401);
        assert_eq!(server.introspect("shop", access).await.json()["active"], false);
        let next = server.refresh("shop", refresh).await.json();
        let (access, refresh) = (next["access_token"].as_str().unwrap(), next["refresh_token"].as_str().unwrap());
        assert_eq!(server.userinfo(access).await.status, 200);
        assert_eq!(server.revoke("shop", refresh).await.status, 200);
        assert_eq!(server.userinfo(access).await.status, 401);
        assert_eq!(server.introspect("shop", refresh).await.json()["active"], false);
        assert_eq!(server.revoke("shop", "garbage").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_grace_zero_every_second_use_is_reuse() {
    let change = |settings: &mut keyward::settings::Settings| {
        settings.tokens.refresh_grace = keyward::settings::Seconds(0);
    };
    let server = TestServer::with(TestDatabase::sqlite(), change).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let second = server.refresh("shop", &first).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(server.refresh("shop", &first).await.error(), "invalid_grant");
    assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
    server.stop().await;
}
