//! Refresh tokens: what they hang on, and how long they last.

use keyward::app::App;

use super::Tables;
use crate::support::{Browser, ClientSpec};

/// What takes a database back to before tokens said their place.
fn before_places(url: &str) -> Vec<&'static str> {
    let forget = [
        "DELETE FROM seaql_migrations WHERE version = 'm0007_places'",
        "DELETE FROM server_facts WHERE name = 'schema_least_changes'",
    ];
    let tables: &[&str] = if url.starts_with("postgres") {
        &[
            "ALTER TABLE refresh_tokens DROP COLUMN hash_only",
            "CREATE UNIQUE INDEX uq_refresh_tokens_token_hash ON refresh_tokens (token_hash)",
        ]
    } else {
        &[
            "CREATE TABLE tokens AS SELECT id, token_hash, grant_id, issued_at, expires_at, spent_at, successor_id, \
             sealed_successor FROM refresh_tokens",
            "DROP TABLE refresh_tokens",
            "ALTER TABLE tokens RENAME TO refresh_tokens",
            "CREATE UNIQUE INDEX uq_refresh_tokens_token_hash ON refresh_tokens (token_hash)",
            "CREATE INDEX ix_refresh_tokens_grant_id ON refresh_tokens (grant_id)",
            "CREATE TABLE families AS SELECT * FROM grants",
            "DROP TABLE grants",
            "ALTER TABLE families RENAME TO grants",
            "CREATE INDEX ix_grants_user_id ON grants (user_id)",
        ]
    };
    [&forget[..], tables].concat()
}

on_each_database! {
    async fn a_tied_token_keeps_its_session_alive_and_ends_with_it(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let code = Browser::new(server).code(&server.authorize_url("shop", &[("scope", "openid")]), "ada").await;
        let mut token = server.redeem("shop", &code).await.json()["refresh_token"].as_str().unwrap().to_owned();
        let tables = Tables::of(server).await;
        let start = server.app.clock.now().micros();
        // A use is written down once in a minute at the most.
        for (seconds, seen) in [(30, 0), (31, 61), (30, 61), (31, 122)] {
            server.advance(seconds);
            token = server.refresh("shop", &token).await.json()["refresh_token"].as_str().unwrap().to_owned();
            assert_eq!(tables.number("SELECT last_seen_at FROM sessions").await, start + seen * 1_000_000);
        }
        // The idle limit of twelve hours counts from the last use of the token.
        for _ in 0..3 {
            server.advance(11 * 3600);
            assert_eq!(server.introspect("shop", &token).await.json()["active"], true);
            token = server.refresh("shop", &token).await.json()["refresh_token"].as_str().unwrap().to_owned();
        }
        server.advance(12 * 3600);
        assert_eq!(server.introspect("shop", &token).await.json()["active"], false);
        assert_eq!(server.refresh("shop", &token).await.error(), "invalid_grant");
    }

    async fn an_idle_session_ends_its_access_tokens(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        for (scope, outlives) in [("openid", false), ("openid offline_access", true)] {
            let code = Browser::new(server).code(&server.authorize_url("shop", &[("scope", scope)]), "ada").await;
            let access = server.redeem("shop", &code).await.json()["access_token"].as_str().unwrap().to_owned();
            assert_eq!(server.userinfo(&access).await.status, 200);
            // The token is younger than the last use of the session would have to be.
            let past = server.app.clock.now().minus_seconds(12 * 3600).micros();
            Tables::of(server).await.run(&format!("UPDATE sessions SET last_seen_at = {past}")).await;
            assert_eq!(server.userinfo(&access).await.status, if outlives { 200 } else { 401 });
        }
    }

    async fn a_token_that_does_not_rotate_lives_on_by_use(server) {
        server.add_user("ada").await;
        server
            .add_client(ClientSpec::web("shop").with(|metadata| {
                metadata.rotate_refresh_tokens = false;
                metadata.refresh_token_idle_lifetime = Some(1000);
            }))
            .await;
        let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let tables = Tables::of(server).await;
        let end = async || tables.number("SELECT expires_at FROM refresh_tokens").await;
        let first = end().await;
        server.advance(59);
        assert_eq!(server.refresh("shop", &token).await.status, 200);
        assert_eq!(end().await, first, "not worth a write");
        for _ in 0..3 {
            server.advance(900);
            assert_eq!(server.refresh("shop", &token).await.status, 200);
        }
        server.advance(1000);
        assert_eq!(server.refresh("shop", &token).await.error(), "invalid_grant");
    }

    async fn a_retry_without_its_seal_is_a_reuse(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let second = server.refresh("shop", &first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        Tables::of(server).await.run("UPDATE refresh_tokens SET sealed_successor = NULL").await;
        assert_eq!(server.refresh("shop", &first).await.error(), "invalid_grant");
        assert_eq!(server.refresh("shop", &second).await.error(), "invalid_grant");
        assert_eq!(server.app.store.audit_events("refresh_token_reused", 10).await.unwrap().len(), 1);
    }

    async fn a_token_of_before_goes_on(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let second = server.refresh("shop", &first).await.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!((first.len(), second.len()), (86, 86));
        // What proves it is the rest behind its place: alone it was a token once.
        let [first, second] = [&first[43..], &second[43..]];
        assert_eq!(server.refresh("shop", second).await.error(), "invalid_grant", "it isn't one any more");
        let tables = Tables::of(server).await;
        for statement in before_places(&server.database().url()) {
            tables.run(statement).await;
        }
        App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
        assert_eq!(tables.number("SELECT COUNT(*) FROM refresh_tokens WHERE hash_only").await, 2);
        // The retry of the last use before gives the token of before again.
        assert_eq!(server.refresh("shop", first).await.json()["refresh_token"], second);
        assert_eq!(server.introspect("shop", second).await.json()["active"], true);
        let third = server.refresh("shop", second).await.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(third.len(), 86);
        assert_eq!(server.refresh("shop", second).await.json()["refresh_token"], third);
        assert_eq!(server.refresh("shop", &third).await.status, 200);
        server.advance(31);
        assert_eq!(server.refresh("shop", second).await.error(), "invalid_grant");
        let reused = server.app.store.audit_events("refresh_token_reused", 10).await.unwrap();
        assert_eq!(reused.len(), 1, "a use after its rotation ends the family");
    }

    async fn a_place_without_its_secret_is_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mine = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let other = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let mixed = format!("{}{}", &mine[..43], &other[43..]);
        for wrong in [&mixed, &mine[43..], &format!("{}{}", "A".repeat(43), &mine[43..]), &mine[..85]] {
            assert_eq!(server.refresh("shop", wrong).await.error(), "invalid_grant");
            assert_eq!(server.introspect("shop", wrong).await.json()["active"], false);
            assert_eq!(server.revoke("shop", wrong).await.status, 200);
        }
        for token in [mine, other] {
            assert_eq!(server.refresh("shop", &token).await.status, 200, "nothing was ended");
        }
    }
}
