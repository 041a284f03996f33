//! Codes and consents: what is decided from while something else changes it.

use futures_util::future::join_all;
use keyward::app::App;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::store::authorization::{Issue, Issued};
use keyward::store::session::SessionLimit;
use keyward_entities::{authorization_code, session};
use keyward_protocol::consent::Consented;
use keyward_protocol::scope::ScopeSet;

use super::Tables;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// What takes a database back to before codes said their place.
fn before_places(url: &str) -> Vec<&'static str> {
    let forget = ["DELETE FROM seaql_migrations WHERE version = 'm0009_codes_say_their_place'"];
    let table: &[&str] = if url.starts_with("postgres") {
        &[
            "ALTER TABLE authorization_codes DROP COLUMN hash_only",
            "CREATE UNIQUE INDEX uq_authorization_codes_code_hash ON authorization_codes (code_hash)",
        ]
    } else {
        &[
            "CREATE TABLE codes AS SELECT * FROM authorization_codes",
            "ALTER TABLE codes DROP COLUMN hash_only",
            "DROP TABLE authorization_codes",
            "ALTER TABLE codes RENAME TO authorization_codes",
            "CREATE UNIQUE INDEX uq_authorization_codes_code_hash ON authorization_codes (code_hash)",
        ]
    };
    [&forget[..], table].concat()
}

on_each_database! {
    async fn a_replayed_code_leaves_one_event_with_its_subject(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let code = Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        assert_eq!(server.redeem("shop", &code).await.status, 200);
        for _ in 0..3 {
            assert_eq!(server.redeem("shop", &code).await.error(), "invalid_grant");
        }
        let events = server.app.store.audit_events("code_replayed", 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].subject.as_deref(), Some(user.subject.as_str()));
    }

    async fn a_code_of_before_is_redeemed_once(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let code = Browser::new(server).code(&server.authorize_url("shop", &[]), "ada").await;
        assert_eq!(code.len(), 65);
        // What proves it is the rest behind its place: alone it was a code once.
        let proof = &code[22..];
        assert_eq!(server.redeem("shop", proof).await.error(), "invalid_grant", "it isn't one any more");
        let tables = Tables::of(server).await;
        for statement in before_places(&server.database().url()) {
            tables.run(statement).await;
        }
        App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
        assert_eq!(tables.number("SELECT COUNT(*) FROM authorization_codes WHERE hash_only").await, 1);
        assert_eq!(server.redeem("shop", proof).await.status, 200);
        assert_eq!(server.redeem("shop", proof).await.error(), "invalid_grant");
        assert_eq!(server.app.store.audit_events("code_replayed", 10).await.unwrap().len(), 1);
    }

    async fn a_place_without_its_secret_redeems_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let url = server.authorize_url("shop", &[]);
        let browser = Browser::new(server);
        let [mine, other] = [browser.code(&url, "ada").await, browser.code(&url, "ada").await];
        let forged = format!("{}{}", &mine[..22], &other[22..]);
        assert_eq!(server.redeem("shop", &forged).await.error(), "invalid_grant");
        // Nothing was spent by it, and nothing ended.
        assert_eq!(server.redeem("shop", &mine).await.status, 200);
        assert_eq!(server.redeem("shop", &forged).await.error(), "invalid_grant");
        assert_eq!(server.redeem("shop", &other).await.status, 200);
        assert_eq!(server.app.store.audit_events("code_replayed", 10).await.unwrap().len(), 0);
        let grants = Tables::of(server).await.number("SELECT COUNT(*) FROM grants WHERE ended_at IS NULL").await;
        assert_eq!(grants, 2);
    }

    async fn consents_given_at_once_add_up(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let app = &server.app;
        let now = app.clock.now();
        let client = app.store.find_client("shop").await.unwrap().unwrap().id;
        let session = session_of(server, user.id);
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::SignIn)).unwrap();
        let started = app.store.start_session(session.clone(), user.password_hash.clone(), None, no_limit(server), event).await;
        assert!(started.unwrap());
        let issues = (0..12).map(|number| {
            let scope = ScopeSet::parse(&format!("scope-{number}")).unwrap();
            let code = authorization_code::Model {
                id: app.random.uuid_v7(now).unwrap(),
                code_hash: app.random.bytes::<32>().unwrap().to_vec(),
                client,
                user_id: user.id,
                session_id: session.id,
                grant_id: app.random.uuid_v7(now).unwrap(),
                redirect_uri: "https://app.example/cb".into(),
                redirect_uri_named: true,
                challenge: None,
                scope: scope.to_string(),
                resources: "[]".into(),
                nonce: None,
                auth_time: now.micros(),
                acr: String::new(),
                amr: "[]".into(),
                needs_consent: true,
                issued_at: now.micros(),
                expires_at: now.plus_seconds(60).micros(),
                spent_at: None,
                requested_claims: None,
                look_again_at: None,
                hash_only: None,
            };
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::ConsentGiven)).unwrap();
            let claims = [format!("claim-{number}")].into();
            let consent = Some((app.random.uuid_v7(now).unwrap(), Consented { scope, claims }, event));
            app.store.issue_code(Issue { code, consent, touch_session: number % 2 == 0, owner: None })
        });
        for issued in join_all(issues).await {
            assert_eq!(issued.unwrap(), Issued::Stored);
        }
        let consented = app.store.find_consent(user.id, client).await.unwrap().unwrap();
        for number in 0..12 {
            assert!(consented.scope.contains(&format!("scope-{number}")), "{consented:?}");
            assert!(consented.claims.contains(&format!("claim-{number}")), "{consented:?}");
        }
    }
}

on_each_database! {
    async fn consenting_to_a_client_that_has_gone_shows_a_page(server) {
        server.add_user("ada").await;
        for ends in ["DELETE FROM clients", "UPDATE clients SET disabled_at = 1"] {
            server.add_client(ClientSpec::web("shop").with(|metadata| metadata.first_party = false)).await;
            let browser = Browser::new(server);
            let page = consent_page(server, &browser).await;
            // Past the store: the server believes for a while that the client stands.
            Tables::of(server).await.run(ends).await;
            let answer = browser.submit(&page, &[("decision", "allow")]).await;
            assert_eq!(answer.status, 400, "{ends}: {}", answer.text);
            for table in ["authorization_codes", "consents"] {
                assert_eq!(Tables::of(server).await.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0);
            }
            server.app.reload().await.unwrap();
        }
    }
}

/// The consent page of the client "shop", for ada.
async fn consent_page(server: &TestServer, browser: &Browser) -> crate::support::server::Answer {
    let login = browser.open(&server.authorize_url("shop", &[])).await;
    let page = browser.sign_in(&login, "ada").await;
    let page = browser.follow(page).await;
    assert!(page.text.contains("decision"), "{}", page.text);
    page
}

/// A client whose deletion is under way is waited for: no code comes behind it, and nothing is broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn consenting_waits_for_the_deletion_of_the_client() {
    let server = TestServer::on(TestDatabase::postgres().await).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop").with(|metadata| metadata.first_party = false)).await;
    let browser = Browser::new(&server);
    let page = consent_page(&server, &browser).await;
    let answer = during(&server, &["DELETE FROM clients"], browser.submit(&page, &[("decision", "allow")])).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(Tables::of(&server).await.number("SELECT COUNT(*) FROM authorization_codes").await, 0);
    server.stop().await;
}

fn session_of(server: &TestServer, user_id: uuid::Uuid) -> session::Model {
    let app = &server.app;
    let now = app.clock.now();
    session::Model {
        id: app.random.uuid_v7(now).unwrap(),
        session_hash: app.random.bytes::<32>().unwrap().to_vec(),
        public_id: app.random.name().unwrap(),
        user_id,
        auth_time: now.micros(),
        acr: String::new(),
        amr: "[]".into(),
        created_at: now.micros(),
        last_seen_at: now.micros(),
        expires_at: now.plus_seconds(3600).micros(),
        ended_at: None,
        end_reason: None,
        user_agent: String::new(),
        address: String::new(),
    }
}

fn no_limit(server: &TestServer) -> SessionLimit {
    let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::SignOut)).unwrap();
    SessionLimit { most: u32::MAX, event }
}

/// Runs an act while another transaction has made these changes and not committed them; the act must wait for it.
async fn during<T>(server: &TestServer, changes: &[&str], act: impl Future<Output = T>) -> T {
    let (other, watch) = (Tables::of(server).await, Tables::of(server).await);
    other.run("BEGIN").await;
    for change in changes {
        other.run(change).await;
    }
    let release = async {
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock'";
        for _ in 0..2000 {
            if watch.number(waiting).await > 0 {
                other.run("COMMIT").await;
                return true;
            }
            tokio::task::yield_now().await;
        }
        other.run("COMMIT").await;
        false
    };
    let (waited, outcome) = tokio::join!(release, act);
    assert!(waited, "the act went by a change that wasn't committed yet");
    outcome
}

/// A disabled account, a new password, a sign-out and a withdrawn consent that are under way are never gone round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn what_is_being_ended_is_waited_for() {
    let server = TestServer::on(TestDatabase::postgres().await).await;
    let user = server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop").with(|metadata| metadata.first_party = false)).await;
    let browser = Browser::new(&server);
    let consent = ["SELECT id FROM users FOR UPDATE", "DELETE FROM consents"];
    let sign_out = ["UPDATE sessions SET ended_at = 1"];
    let password = [
        "UPDATE users SET password_hash = 'new'",
        "UPDATE sessions SET ended_at = 1",
        "UPDATE grants SET ended_at = 1",
    ];
    for changes in [&consent[..], &sign_out[..], &password[..]] {
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let answer = during(&server, changes, server.redeem("shop", &code)).await;
        assert_eq!(answer.error(), "invalid_grant", "{changes:?}: {}", answer.text);
    }
    let grants = Tables::of(&server).await.number("SELECT COUNT(*) FROM grants WHERE ended_at IS NULL").await;
    assert_eq!(grants, 0);

    let session = session_of(&server, user.id);
    let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::SignIn)).unwrap();
    let start = server.app.store.start_session(session, Some("new".into()), None, no_limit(&server), event);
    let disabled = ["UPDATE users SET disabled_at = 1"];
    assert!(!during(&server, &disabled, start).await.unwrap(), "a session of a disabled user");
    server.stop().await;
}
