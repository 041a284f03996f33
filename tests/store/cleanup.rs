//! What cleaning up must leave, and what it must not.

use super::Tables;
use crate::support::{Browser, ClientSpec, TestServer};

async fn clean_up(server: &TestServer) {
    let now = server.app.clock.now();
    while server.app.store.remove_expired(2, now).await.unwrap() > 0 {}
}

on_each_database! {
    async fn a_spent_token_is_still_a_reuse_after_its_own_end(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let first = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("shop", &first).await.status, 200);
        server.advance(8 * 86_400);
        clean_up(server).await;
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
        clean_up(server).await;
        assert_eq!((count("refresh_tokens").await, count("grants").await), (6, 1), "the one that was ended has gone");
        assert_eq!(count("authorization_codes").await, 2, "codes stay as long as their grants could have lived");
        server.advance(91 * 86_400);
        clean_up(server).await;
        for table in ["refresh_tokens", "grants", "authorization_codes", "sessions"] {
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
        clean_up(server).await;
        assert_eq!(tables.number(sealed).await, 3);
        server.advance(2 * 3600);
        let young = server.refresh("shop", &token).await;
        assert_eq!(young.status, 200);
        clean_up(server).await;
        assert_eq!(tables.number(sealed).await, 1, "the retry of the last is still forgiven");
        let again = server.refresh("shop", &token).await;
        assert_eq!(again.json()["refresh_token"], young.json()["refresh_token"]);
        server.advance(2 * 3600);
        clean_up(server).await;
        assert_eq!(tables.number(sealed).await, 0);
        // The rest of the rows stays: who uses the first token again is still found out.
        assert_eq!(tables.number("SELECT COUNT(*) FROM refresh_tokens").await, 5);
    }

    async fn an_unredeemed_code_goes_without_a_grant(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        server.advance(2 * 3600);
        clean_up(server).await;
        assert_eq!(Tables::of(server).await.number("SELECT COUNT(*) FROM authorization_codes").await, 0);
    }
}
