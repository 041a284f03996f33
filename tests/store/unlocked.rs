//! Acts that decide on PostgreSQL from rows which they didn't lock: what another transaction changes between the look and
//! the write undoes the decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use keyward::audit::{AuditEvent, AuditKind};
use keyward::store::access_token::{PlannedForm, PlannedToken, TokenPlanner};
use keyward::store::authorization::{PresentedCode, Redeemed, Redemption};
use keyward::store::refresh_token::{NewRefreshToken, PresentedRefreshToken, Refresh, Refreshed};
use keyward_entities::audit_event;
use keyward_protocol::{authorization_code, refresh_token};
use uuid::Uuid;

use super::Tables;
use crate::support::server::VERIFIER;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// Runs this in a thread of its own, for who may not wait where it is called.
fn elsewhere(run: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run);
    })
}

/// A planner before whose first answer this change is made and committed, and the number of its answers.
fn interrupted(server: &TestServer, change: &'static str) -> (TokenPlanner, Arc<AtomicUsize>) {
    let url = server.database().url();
    planner(server, move |answer| {
        if answer == 0 {
            let url = url.clone();
            elsewhere(async move { Tables::at(&url).await.run(change).await }).join().unwrap();
        }
    })
}

/// A planner that does this before each of its answers, which are numbered from 0, and how many there were.
fn planner(server: &TestServer, before: impl Fn(usize) + Send + Sync + 'static) -> (TokenPlanner, Arc<AtomicUsize>) {
    let answers = Arc::new(AtomicUsize::new(0));
    let (counted, now) = (Arc::clone(&answers), server.app.clock.now());
    let planner = TokenPlanner::new(server.app.directory.load_full(), move |_, scope, audience| {
        before(counted.fetch_add(1, Ordering::SeqCst));
        Ok(PlannedToken {
            jti: "one".into(),
            scope: scope.clone(),
            audience: audience.to_vec(),
            issued_at: now,
            expires_at: now.plus_seconds(60),
            form: PlannedForm::Jwt,
        })
    });
    (planner, answers)
}

fn event(server: &TestServer) -> audit_event::Model {
    server.app.audit_record(AuditEvent::by_cli(AuditKind::CodeReplayed)).unwrap()
}

fn redemption(server: &TestServer, code: &str, client: Uuid, planner: TokenPlanner) -> Redemption {
    Redemption {
        presented: PresentedCode::of(authorization_code::parse(code).unwrap(), &server.app.secrets.token_hash),
        client,
        redirect_uri: Some("https://app.example/cb".into()),
        verifier: Some(VERIFIER.into()),
        resources: Vec::new(),
        refresh_token: Some(fresh(server)),
        grant_expires_at: server.app.clock.now().plus_seconds(600),
        planner,
        idle_timeout: 43_200,
        replay_event: event(server),
    }
}

fn refresh(server: &TestServer, token: &str, client: Uuid, planner: TokenPlanner) -> Refresh {
    Refresh {
        presented: PresentedRefreshToken::of(refresh_token::parse(token).unwrap(), &server.app.secrets.token_hash),
        client,
        scope: None,
        resources: Vec::new(),
        rotates: true,
        grace: 0,
        successor: fresh(server),
        sealed_successor: None,
        idle_timeout: 43_200,
        touch_interval: 60,
        planner,
        reuse_event: event(server),
    }
}

/// A server on PostgreSQL with Ada and this client, the client's row, and the tables.
async fn server_with(client: ClientSpec) -> (TestServer, Uuid, Tables) {
    let server = TestServer::on(TestDatabase::postgres().await).await;
    server.add_user("ada").await;
    let client_id = client.id;
    server.add_client(client).await;
    let client = server.app.store.find_client(client_id).await.unwrap().unwrap().id;
    let tables = Tables::of(&server).await;
    (server, client, tables)
}

fn fresh(server: &TestServer) -> NewRefreshToken {
    let now = server.app.clock.now();
    NewRefreshToken {
        id: server.app.random.uuid_v7(now).unwrap(),
        token_hash: server.app.random.bytes().unwrap(),
        expires_at: now.plus_seconds(600),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_code_is_redeemed_only_as_it_was_seen() {
    let shop = ClientSpec::web("shop").with(|metadata| metadata.first_party = false);
    let (server, client, tables) = server_with(shop).await;
    for (change, undo, replayed) in [
        ("SELECT 1", "", None),
        ("DELETE FROM consents", "", Some(false)),
        // Withdrawn, and given anew for less.
        (
            "UPDATE consents SET id = '00000000-0000-7000-8000-00000000000a', scope = 'openid'",
            "DELETE FROM consents",
            Some(false),
        ),
        ("UPDATE users SET disabled_at = 1", "UPDATE users SET disabled_at = NULL", Some(false)),
        ("UPDATE sessions SET ended_at = 1", "", Some(false)),
        ("UPDATE authorization_codes SET expires_at = 1", "", Some(false)),
        ("DELETE FROM authorization_codes", "", Some(false)),
        ("UPDATE authorization_codes SET spent_at = 1", "", Some(true)),
    ] {
        let code = Browser::new(&server).code(&server.authorize_url("shop", &[]), "ada").await;
        let (planner, answers) = interrupted(&server, change);
        let now = server.app.clock.now();
        let redemption = redemption(&server, &code, client, planner);
        let outcome = server.app.store.redeem_code(redemption, now).await.unwrap();
        assert_eq!(answers.load(Ordering::SeqCst), 1, "{change}: {outcome:?}");
        match replayed {
            None => assert!(matches!(outcome, Redeemed::Granted { .. }), "{change}: {outcome:?}"),
            Some(false) => assert!(matches!(outcome, Redeemed::Refused(_)), "{change}: {outcome:?}"),
            Some(true) => assert!(matches!(outcome, Redeemed::Replayed), "{change}: {outcome:?}"),
        }
        let expected = i64::from(replayed.is_none());
        for table in ["grants", "refresh_tokens"] {
            assert_eq!(tables.number(&format!("SELECT COUNT(*) FROM {table}")).await, expected, "{change}: {table}");
            tables.run(&format!("DELETE FROM {table}")).await;
        }
        tables.run(undo).await;
    }
    server.stop().await;
}

/// What the database says of a code that this node has issued and still knows, and what comes of it.
enum Said {
    /// Tokens, after so many plans: the second one is of who has looked.
    Tokens(usize),
    Refused,
    Replayed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_code_that_is_still_known_is_redeemed_only_as_it_is_now() {
    let (server, client, tables) = server_with(ClientSpec::web("shop")).await;
    let claims = r#"{"name":"Ada King"}"#;
    for (change, undo, said) in [
        ("SELECT 1", "", Said::Tokens(1)),
        // What never changes isn't looked at, and so this shows that nothing was.
        ("UPDATE authorization_codes SET nonce = 'another'", "", Said::Tokens(1)),
        (
            r#"UPDATE users SET claims = '{"name":"Ada King"}', updated_at = updated_at + 1"#,
            "UPDATE users SET claims = '{}'",
            Said::Tokens(2),
        ),
        ("UPDATE users SET disabled_at = 1", "UPDATE users SET disabled_at = NULL", Said::Refused),
        ("UPDATE sessions SET ended_at = 1", "", Said::Refused),
        ("UPDATE authorization_codes SET expires_at = 1", "", Said::Refused),
        ("DELETE FROM authorization_codes", "", Said::Refused),
        ("UPDATE authorization_codes SET spent_at = 1", "", Said::Replayed),
    ] {
        for before in [true, false] {
            let code = Browser::new(&server).code(&server.authorize_url("shop", &[]), "ada").await;
            if before {
                tables.run(change).await;
            }
            let (planner, plans) = interrupted(&server, if before { "SELECT 1" } else { change });
            let redemption = redemption(&server, &code, client, planner);
            let outcome = server.app.store.redeem_code(redemption, server.app.clock.now()).await.unwrap();
            let case = format!("{change}, {before}: {outcome:?}");
            match (&said, &outcome) {
                (Said::Tokens(expected), Redeemed::Granted { live, nonce, .. }) => {
                    assert_eq!(plans.load(Ordering::SeqCst), *expected, "{case}");
                    assert_ne!(nonce.as_deref(), Some("another"), "{case}");
                    assert_eq!(live.claims == claims, change.contains("claims"), "{case}");
                }
                (Said::Refused, Redeemed::Refused(_)) | (Said::Replayed, Redeemed::Replayed) => {}
                _ => panic!("{case}"),
            }
            let expected = i64::from(matches!(said, Said::Tokens(_)));
            for table in ["grants", "refresh_tokens"] {
                assert_eq!(tables.number(&format!("SELECT COUNT(*) FROM {table}")).await, expected, "{case}: {table}");
                tables.run(&format!("DELETE FROM {table}")).await;
            }
            tables.run(undo).await;
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_refresh_token_is_used_only_as_it_was_seen() {
    let (server, client, tables) = server_with(ClientSpec::web("shop")).await;
    for (change, reused) in [
        ("SELECT 1", None),
        ("DELETE FROM refresh_tokens", Some(false)),
        ("UPDATE refresh_tokens SET spent_at = 1", Some(true)),
    ] {
        let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let (planner, answers) = interrupted(&server, change);
        let now = server.app.clock.now();
        let refresh = refresh(&server, &token, client, planner);
        let outcome = server.app.store.rotate_refresh_token(refresh, now).await.unwrap();
        assert_eq!(answers.load(Ordering::SeqCst), 1, "{change}: {outcome:?}");
        match reused {
            None => assert!(matches!(outcome, Refreshed::Rotated(..)), "{change}: {outcome:?}"),
            Some(false) => assert!(matches!(outcome, Refreshed::Refused(_)), "{change}: {outcome:?}"),
            Some(true) => assert!(matches!(outcome, Refreshed::Reused), "{change}: {outcome:?}"),
        }
        let standing = "SELECT COUNT(*) FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id \
                        WHERE g.ended_at IS NULL AND t.spent_at IS NULL";
        assert_eq!(tables.number(standing).await, i64::from(reused.is_none()), "{change}");
        tables.run("DELETE FROM refresh_tokens").await;
        tables.run("DELETE FROM grants").await;
    }
    server.stop().await;
}

/// Somebody who holds the session and wants the token, while a refresh holds the token and wants the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_refresh_that_the_database_undoes_is_done_again() {
    let (server, client, tables) = server_with(ClientSpec::web("shop")).await;
    // Tied to the session, whose use is to be written down.
    let extra = [("scope", "openid profile")];
    let token = server.tokens_for("shop", "ada", &extra).await["refresh_token"].as_str().unwrap().to_owned();
    server.advance(120);
    let url = server.database().url();
    // The first answer is outside of a transaction.
    let (planner, answers) = planner(&server, move |answer| {
        if answer != 1 {
            return;
        }
        let (holder, watcher) = (url.clone(), url.clone());
        // PostgreSQL undoes that one of a circle who notices it first.
        let circle = "BEGIN; SET LOCAL deadlock_timeout = '1h'; UPDATE sessions SET acr = acr; \
                      UPDATE refresh_tokens SET issued_at = issued_at; COMMIT";
        elsewhere(async move { Tables::at(&holder).await.run(circle).await });
        let waits = async move {
            let tables = Tables::at(&watcher).await;
            let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while tables.number(waiting).await == 0 {}
        };
        elsewhere(waits).join().unwrap();
    });
    let refresh = refresh(&server, &token, client, planner);
    let outcome = server.app.store.rotate_refresh_token(refresh, server.app.clock.now()).await;
    assert!(matches!(outcome, Ok(Refreshed::Rotated(..))), "{outcome:?}");
    assert_eq!(answers.load(Ordering::SeqCst), 3, "without a transaction, undone, and done");
    assert_eq!(tables.number("SELECT COUNT(*) FROM refresh_tokens").await, 2);
    assert_eq!(tables.number("SELECT COUNT(*) FROM refresh_tokens WHERE spent_at IS NULL").await, 1);
    server.stop().await;
}
