//! A hundred at once, over HTTP: one winner, and the losers get an answer of the protocol.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::settings::Seconds;

use crate::store::Tables;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// How often each outcome came.
fn count(outcomes: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

on_each_database! {
    async fn a_hundred_redemptions_of_one_code(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let code = Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        let answers = join_all((0..100).map(|_| server.redeem("shop", &code))).await;
        let outcomes = count(answers.iter().map(|answer| match answer.status {
            200 => "200".to_owned(),
            status => format!("{status} {}", answer.error()),
        }));
        assert_eq!(outcomes, [("200".to_owned(), 1), ("400 invalid_grant".to_owned(), 99)].into());
        let won = answers.iter().find(|answer| answer.status == 200).unwrap().json();
        assert_eq!(server.userinfo(won["access_token"].as_str().unwrap()).await.status, 401);
        assert_eq!(server.refresh("shop", won["refresh_token"].as_str().unwrap()).await.error(), "invalid_grant");
    }

    async fn a_hundred_refreshes_with_one_token_and_grace(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let answers = join_all((0..100).map(|_| server.refresh("shop", &token))).await;
        let successors = count(answers.iter().map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()["refresh_token"].as_str().unwrap().to_owned()
        }));
        assert_eq!(successors.len(), 1, "one successor");
        let successor = successors.into_keys().next().unwrap();
        assert_eq!(server.refresh("shop", &successor).await.status, 200);
    }
}

/// Refreshes, one after the other, until it is refused.
async fn refresh_on(server: &TestServer, first: String) {
    let mut token = first;
    loop {
        let answer = server.refresh("shop", &token).await;
        match answer.status {
            200 => answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut token),
            400 | 401 => return,
            _ => panic!("{answer:?}"),
        }
    }
}

on_each_database! {
    async fn what_is_given_beside_a_deletion_goes_with_it(server) {
        let tables = Tables::of(server).await;
        for round in 0..8 {
            let user = server.add_user("ada").await;
            server.add_client(ClientSpec::web("shop")).await;
            let client = server.app.store.find_client("shop").await.unwrap().unwrap().id;
            let browser = Browser::new(server);
            let mut codes = Vec::new();
            for _ in 0..12 {
                codes.push(browser.code(&server.authorize_url("shop", &[]), "ada").await);
            }
            let later = codes.split_off(6);
            let mut refreshing = Vec::new();
            for code in &codes {
                refreshing.push(server.redeem("shop", code).await.json()["refresh_token"].as_str().unwrap().to_owned());
            }
            let refreshes = join_all(refreshing.into_iter().map(|token| refresh_on(server, token)));
            let redemptions = join_all(later.iter().map(async |code| {
                let answer = server.redeem("shop", code).await;
                match answer.status {
                    200 => refresh_on(server, answer.json()["refresh_token"].as_str().unwrap().to_owned()).await,
                    400 | 401 => {}
                    _ => panic!("{answer:?}"),
                }
            }));
            let deletion = async {
                for _ in 0..round {
                    server.userinfo("nothing").await;
                }
                let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
                match round % 2 {
                    0 => server.app.store.delete_client(client, event).await.unwrap(),
                    _ => server.app.store.delete_user(user.id, event).await.unwrap(),
                }
            };
            tokio::join!(refreshes, redemptions, deletion);
            for table in ["refresh_tokens", "grants", "authorization_codes", "consents"] {
                let left = tables.number(&format!("SELECT COUNT(*) FROM {table}")).await;
                assert_eq!(left, 0, "round {round}: {table}");
            }
            let event = || server.app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
            match round % 2 {
                0 => server.app.store.delete_user(user.id, event()).await.unwrap(),
                _ => server.app.store.delete_client(client, event()).await.unwrap(),
            }
            server.app.reload().await.unwrap();
        }
    }
}

on_each_database! {
    async fn what_is_given_beside_a_disabling_ends_with_it(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let set = async |disabled: bool| {
            let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::ClientChanged)).unwrap();
            let now = server.app.clock.now();
            assert_eq!(server.app.store.set_client_disabled("shop", disabled, now, event).await.unwrap(), Some(true));
        };
        for round in 0..6 {
            let browser = Browser::new(server);
            let mut codes = Vec::new();
            for _ in 0..12 {
                codes.push(browser.code(&server.authorize_url("shop", &[]), "ada").await);
            }
            let disabling = async {
                for _ in 0..round {
                    server.userinfo("nothing").await;
                }
                set(true).await;
            };
            let redemptions = join_all(codes.iter().map(|code| server.redeem("shop", code)));
            let (answers, ()) = tokio::join!(redemptions, disabling);
            set(false).await;
            server.app.reload().await.unwrap();
            for (answer, code) in answers.iter().zip(&codes) {
                match answer.status {
                    200 => {
                        let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                        assert_eq!(server.refresh("shop", &refresh).await.error(), "invalid_grant", "round {round}");
                    }
                    400 | 401 => {
                        assert_eq!(server.redeem("shop", code).await.error(), "invalid_grant", "round {round}");
                    }
                    _ => panic!("{answer:?}"),
                }
            }
        }
    }
}

on_each_store! {
    async fn a_hundred_uses_of_one_assertion_mark(server) {
        let now = server.app.clock.now();
        let until = now.plus_seconds(60);
        let uses = join_all((0..100).map(|_| server.app.store.use_once([7; 32], until, now))).await;
        assert_eq!(uses.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
    }
}

async fn a_hundred_refreshes_without_grace(database: TestDatabase) {
    let server = TestServer::with(database, |settings| settings.tokens.refresh_grace = Seconds(0)).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let answers = join_all((0..100).map(|_| server.refresh("shop", &token))).await;
    let outcomes = count(answers.iter().map(|answer| match answer.status {
        200 => "200".to_owned(),
        status => format!("{status} {}", answer.error()),
    }));
    assert_eq!(outcomes, [("200".to_owned(), 1), ("400 invalid_grant".to_owned(), 99)].into());
    let won = answers.iter().find(|answer| answer.status == 200).unwrap().json();
    assert_eq!(server.refresh("shop", won["refresh_token"].as_str().unwrap()).await.error(), "invalid_grant");
    server.stop().await;
}

mod without_grace {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite() {
        a_hundred_refreshes_without_grace(TestDatabase::sqlite()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
    async fn postgres() {
        a_hundred_refreshes_without_grace(TestDatabase::postgres().await).await;
    }
}
