//! What cleaning up must leave, and what it must not.

use keyward_protocol::client_metadata::ClientMetadata;

use super::Tables;
use crate::support::{Browser, ClientSpec, TestServer};

/// A refresh token that outlives the session.
async fn offline(server: &TestServer, client_id: &str) -> serde_json::Value {
    server.tokens_for(client_id, "ada", &[("scope", "openid offline_access"), ("prompt", "consent")]).await
}

fn refresh_token(tokens: &serde_json::Value) -> String {
    tokens["refresh_token"].as_str().unwrap_or_else(|| panic!("{tokens}")).to_owned()
}

/// Of two nodes one cleans up while the other passes by.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn one_node_at_a_time() {
    let server = TestServer::on(crate::support::TestDatabase::postgres().await).await;
    // Its own cleaning doesn't come in between, for the clock stands.
    let now = server.app.clock.now();
    server.app.store.use_once([1; 32], now, now).await.unwrap();
    let tables = Tables::of(&server).await;
    tables.run("BEGIN").await;
    tables.run("SELECT 1 FROM server_facts WHERE name = 'seals_cleared_until' FOR UPDATE").await;
    let later = now.plus_seconds(2 * 3600);
    assert_eq!(server.app.store.remove_expired(10, later).await.unwrap(), 0, "another is at it");
    tables.run("ROLLBACK").await;
    assert_eq!(server.app.store.remove_expired(10, later).await.unwrap(), 1);
    server.stop().await;
}

on_each_database! {
    async fn a_spent_token_is_still_a_reuse_after_its_own_end(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let first = refresh_token(&offline(server, "shop").await);
        server.advance(6 * 86_400);
        assert_eq!(server.refresh("shop", &first).await.status, 200);
        // The first has ended by itself long ago; its successor lives.
        server.advance(6 * 86_400);
        server.clean_up(2).await;
        assert_eq!(server.refresh("shop", &first).await.error(), "invalid_grant");
        let events = server.app.store.audit_events("refresh_token_reused", 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].subject.as_deref(), Some(user.subject.as_str()));
        let tables = Tables::of(server).await;
        assert_eq!(tables.number("SELECT COUNT(*) FROM grants WHERE ended_at IS NOT NULL").await, 1);
    }

    async fn a_family_larger_than_the_batch_leaves_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let expired = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let ended = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        for first in [expired, ended.clone()] {
            let mut token = first;
            for _ in 0..5 {
                token = server.refresh("shop", &token).await.json()["refresh_token"].as_str().unwrap().to_owned();
            }
        }
        let tables = Tables::of(server).await;
        let count = async |table: &str| tables.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert_eq!((count("refresh_tokens").await, count("grants").await), (12, 2));
        server.advance(31);
        assert_eq!(server.refresh("shop", &ended).await.error(), "invalid_grant");
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert_eq!((count("refresh_tokens").await, count("grants").await), (6, 1), "the one that was ended has gone");
        assert_eq!(count("authorization_codes").await, 2, "codes stay as long as the refresh token could have lived");
        server.advance(31 * 86_400);
        server.clean_up(2).await;
        for table in ["refresh_tokens", "grants", "authorization_codes", "sessions"] {
            assert_eq!(count(table).await, 0, "{table}");
        }
    }

    async fn a_family_goes_when_nothing_of_it_can_be_used(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("long").with(|client| {
            client.refresh_token_idle_lifetime = Some(600);
            client.access_token_lifetime = Some(20 * 86_400);
        }))
        .await;
        let tables = Tables::of(server).await;
        let count = async |table: &str| tables.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        let used = refresh_token(&offline(server, "shop").await);
        offline(server, "shop").await;
        let long = offline(server, "long").await["access_token"].as_str().unwrap().to_owned();
        server.advance(5 * 86_400);
        let next = refresh_token(&server.refresh("shop", &used).await.json());
        // Past the week of the one that was never used, and the day of an access token that it may have brought.
        server.advance(3 * 86_400 + 2 * 3600);
        server.clean_up(2).await;
        assert_eq!((count("grants").await, count("authorization_codes").await), (2, 2));
        // An access token outlives the refresh token it came with.
        assert_eq!(server.introspect("long", &long).await.json()["active"], true);
        // The used family goes on, and its spent token is still found out.
        let third = server.refresh("shop", &next).await;
        assert_eq!(third.status, 200, "{}", third.text);
        assert_eq!(server.refresh("shop", &used).await.error(), "invalid_grant");
        let third = third.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("shop", &third).await.error(), "invalid_grant");
        server.advance(13 * 86_400);
        server.clean_up(2).await;
        for table in ["grants", "refresh_tokens", "authorization_codes"] {
            assert_eq!(count(table).await, 0, "{table}");
        }
    }

    async fn a_shorter_life_ends_no_token_that_was_given_before(server) {
        server.add_user("ada").await;
        for (id, life) in [("long", Some(20 * 86_400)), ("plain", None)] {
            server.add_client(ClientSpec::web(id).with(|client| {
                client.refresh_token_idle_lifetime = Some(600);
                client.access_token_lifetime = life;
                client.access_token_status_list = true;
            }))
            .await;
        }
        let token = async |client: &str| offline(server, client).await["access_token"].as_str().unwrap().to_owned();
        let (long, plain) = (token("long").await, token("plain").await);
        // Twice: what is remembered isn't what the last change replaced.
        for seconds in [600, 300] {
            for id in ["long", "plain"] {
                let shorter = move |client: &mut ClientMetadata| client.access_token_lifetime = Some(seconds);
                keyward::account::client::edit(&server.app, id, shorter).await.unwrap();
            }
        }
        server.app.reload().await.unwrap();
        let tables = Tables::of(server).await;
        let grants = async || tables.number("SELECT COUNT(*) FROM grants").await;
        let ended = async || tables.number("SELECT COUNT(*) FROM status_entries WHERE ended_at IS NOT NULL").await;
        server.advance(1500);
        server.clean_up(2).await;
        assert_eq!(server.introspect("plain", &plain).await.json()["active"], true);
        // An hour beyond its end the row is still kept; so this is some days later.
        server.advance(3 * 86_400);
        server.clean_up(2).await;
        assert_eq!(grants().await, 1, "that of the long life");
        assert_eq!(server.introspect("long", &long).await.json()["active"], true);
        assert_eq!(ended().await, 0, "in the status list too");
        server.advance(18 * 86_400);
        server.clean_up(2).await;
        assert_eq!(grants().await, 0);
    }

    async fn a_spent_code_keeps_its_expiry(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tables = Tables::of(server).await;
        let column = async |name: &str| tables.number(&format!("SELECT {name} FROM authorization_codes")).await;
        offline(server, "shop").await;
        let expiry = server.app.clock.now().plus_seconds(60).micros();
        assert_eq!(column("expires_at").await, expiry, "what it was issued with");
        assert_eq!(column("look_again_at").await, column("(SELECT MAX(expires_at) FROM refresh_tokens)").await);
        // It isn't taken for an unused one when it has expired.
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert_eq!(column("COUNT(*)").await, 1);
        // Looked at when its refresh token would have ended, the family lives by a later one.
        let used = server.app.clock.now().plus_seconds(8 * 86_400).micros();
        tables.run(&format!("UPDATE refresh_tokens SET expires_at = {used}")).await;
        server.advance(7 * 86_400 + 3600);
        server.clean_up(2).await;
        assert_eq!(column("expires_at").await, expiry);
        assert!(column("look_again_at").await > used, "noted for when the access token of the last refresh has ended");
    }

    // A version that had no column for it wrote into `expires_at` when to look again: rows that it left, and those that
    // its nodes write while they run beside newer ones.
    async fn codes_that_an_older_version_spent_are_looked_at_too(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tables = Tables::of(server).await;
        let count = async |table: &str| tables.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        let code = Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        assert_eq!(server.redeem("shop", &code).await.status, 200);
        tables.run("UPDATE authorization_codes SET expires_at = look_again_at, look_again_at = NULL").await;
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert_eq!((count("authorization_codes").await, count("grants").await), (1, 1));
        assert_eq!(server.redeem("shop", &code).await.error(), "invalid_grant");
        assert_eq!(tables.number("SELECT COUNT(*) FROM grants WHERE ended_at IS NOT NULL").await, 1, "a replay");
        server.advance(31 * 86_400);
        server.clean_up(2).await;
        for table in ["grants", "refresh_tokens", "authorization_codes"] {
            assert_eq!(count(table).await, 0, "{table}");
        }
    }

    async fn seals_go_when_no_retry_is_forgiven(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let sealed = "SELECT COUNT(*) FROM refresh_tokens WHERE sealed_successor IS NOT NULL";
        let tables = Tables::of(server).await;
        let mut token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        for _ in 0..3 {
            token = server.refresh("shop", &token).await.json()["refresh_token"].as_str().unwrap().to_owned();
        }
        server.clean_up(2).await;
        assert_eq!(tables.number(sealed).await, 3);
        server.advance(2 * 3600);
        let young = server.refresh("shop", &token).await;
        assert_eq!(young.status, 200);
        server.clean_up(2).await;
        assert_eq!(tables.number(sealed).await, 1, "the retry of the last is still forgiven");
        let again = server.refresh("shop", &token).await;
        assert_eq!(again.json()["refresh_token"], young.json()["refresh_token"]);
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert_eq!(tables.number(sealed).await, 0);
        // The rest of the rows stays: who uses the first token again is still found out.
        assert_eq!(tables.number("SELECT COUNT(*) FROM refresh_tokens").await, 5);
    }

    async fn an_unredeemed_code_goes_without_a_grant(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert_eq!(Tables::of(server).await.number("SELECT COUNT(*) FROM authorization_codes").await, 0);
    }
}
