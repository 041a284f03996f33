//! Storage stays flat: months of sign-ins, codes and refreshes leave a database that is no larger than its living rows
//! need. Through the store's acts, with a clock that a test moves; `KEYWARD_TEST_STORAGE_LOGINS` says how many sign-ins.

use std::sync::Arc;

use futures_util::future::join_all;
use keyward::app::App;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::store::access_token::{PlannedForm, PlannedToken, TokenPlanner};
use keyward::store::authorization::{Issue, Issued, PresentedCode, Redeemed, Redemption};
use keyward::store::refresh_token::{NewRefreshToken, PresentedRefreshToken, Refresh, Refreshed};
use keyward::store::session::SessionLimit;
use keyward_entities::{authorization_code, session};
use keyward_protocol::Timestamp;
use keyward_protocol::refresh_token::Place;
use uuid::Uuid;

use crate::store::Tables;
use crate::support::{ClientSpec, TestServer};

/// Refreshes of each sign-in.
const REFRESHES: usize = 3;
/// Sign-ins at once, and in an hour of the test's clock.
const WAVE: usize = 50;

#[allow(clippy::disallowed_methods, reason = "the full count is for a run by hand")]
fn logins() -> usize {
    std::env::var("KEYWARD_TEST_STORAGE_LOGINS").ok().and_then(|text| text.parse().ok()).unwrap_or(2500)
}

/// A JWT of half an hour, of which nothing is remembered.
fn planner(app: &App, now: Timestamp) -> TokenPlanner {
    TokenPlanner::new(app.directory.load_full(), move |_, scope, audience| {
        Ok(PlannedToken {
            jti: "one-of-many".into(),
            scope: scope.clone(),
            audience: audience.to_vec(),
            issued_at: now,
            expires_at: now.plus_seconds(1800),
            form: PlannedForm::Jwt,
        })
    })
}

/// Signs in, redeems a code, and refreshes.
async fn live(app: Arc<App>, user: Uuid, password_hash: Option<String>, client: Uuid) {
    let now = app.clock.now();
    let id = || app.random.uuid_v7(now).unwrap();
    let event = || app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
    let hash = || app.random.bytes::<32>().unwrap();
    let session = session::Model {
        id: id(),
        session_hash: hash().to_vec(),
        public_id: app.random.name().unwrap(),
        user_id: user,
        auth_time: now.micros(),
        acr: "urn:keyward:acr:1".into(),
        amr: r#"["pwd"]"#.into(),
        created_at: now.micros(),
        last_seen_at: now.micros(),
        expires_at: now.plus_seconds(3 * 86_400).micros(),
        ended_at: None,
        end_reason: None,
        user_agent: "Mozilla/5.0 (X11; Linux x86_64)".into(),
        address: "192.0.2.1".into(),
    };
    let session_id = session.id;
    let limit = SessionLimit { most: u32::MAX, event: event() };
    assert!(app.store.start_session(session, password_hash, None, limit, event()).await.unwrap());
    let (code_id, code_hash, grant_id) = (id(), hash(), id());
    let code = authorization_code::Model {
        id: code_id,
        code_hash: code_hash.to_vec(),
        client,
        user_id: user,
        session_id,
        grant_id,
        redirect_uri: "https://app.example/cb".into(),
        redirect_uri_named: true,
        challenge: None,
        scope: "openid profile offline_access".into(),
        resources: "[]".into(),
        nonce: Some("n-1".into()),
        requested_claims: None,
        auth_time: now.micros(),
        acr: "urn:keyward:acr:1".into(),
        amr: r#"["pwd"]"#.into(),
        needs_consent: false,
        issued_at: now.micros(),
        expires_at: now.plus_seconds(60).micros(),
        spent_at: None,
        look_again_at: None,
        hash_only: None,
    };
    let issued = app.store.issue_code(Issue { code, consent: None, touch_session: false, owner: None }).await.unwrap();
    assert_eq!(issued, Issued::Stored);
    let token = |expires_at: Timestamp| NewRefreshToken { id: id(), token_hash: hash(), expires_at };
    let mut last = token(now.plus_seconds(7 * 86_400));
    let redemption = Redemption {
        presented: PresentedCode { place: Some(code_id), secret_hash: code_hash },
        client,
        redirect_uri: Some("https://app.example/cb".into()),
        verifier: None,
        resources: Vec::new(),
        refresh_token: Some(last.clone()),
        grant_expires_at: now.plus_seconds(90 * 86_400),
        planner: planner(&app, now),
        idle_timeout: 43_200,
        replay_event: event(),
    };
    assert!(matches!(app.store.redeem_code(redemption, now).await.unwrap(), Redeemed::Granted { .. }));
    for _ in 0..REFRESHES {
        let successor = token(now.plus_seconds(7 * 86_400));
        let refresh = Refresh {
            presented: PresentedRefreshToken {
                place: Some(Place { grant: grant_id, token: last.id }),
                secret_hash: last.token_hash,
            },
            client,
            scope: None,
            resources: Vec::new(),
            rotates: true,
            grace: 30,
            successor: successor.clone(),
            sealed_successor: Some(vec![7; 80]),
            idle_timeout: 43_200,
            touch_interval: 60,
            planner: planner(&app, now),
            reuse_event: event(),
        };
        assert!(matches!(app.store.rotate_refresh_token(refresh, now).await.unwrap(), Refreshed::Rotated(..)));
        last = successor;
    }
}

/// Bytes of the tables that come and go with their indexes, or of the SQLite file.
async fn size(server: &TestServer, tables: &Tables) -> i64 {
    if server.database().url().starts_with("sqlite") {
        return tables.number("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").await;
    }
    for table in ["sessions", "grants", "refresh_tokens", "authorization_codes"] {
        tables.run(&format!("VACUUM {table}")).await;
    }
    tables
        .number(
            "SELECT SUM(pg_total_relation_size(name::regclass))::bigint \
             FROM unnest(ARRAY['sessions', 'grants', 'refresh_tokens', 'authorization_codes']) name",
        )
        .await
}

async fn clean_up(server: &TestServer) {
    let store = &server.app.store;
    server.clean_up(500).await;
    while store.give_back_pages().await.unwrap() > 0 {}
}

on_each_database! {
    async fn months_of_sign_ins(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let client = server.app.store.find_client("shop").await.unwrap().unwrap().id;
        let tables = Tables::of(server).await;
        let waves = logins().div_ceil(WAVE);
        let wave = async || {
            let lives = (0..WAVE)
                .map(|_| tokio::spawn(live(Arc::clone(&server.app), user.id, user.password_hash.clone(), client)));
            for outcome in join_all(lives).await {
                outcome.unwrap();
            }
            // The trail is kept for good: it isn't what is measured here.
            tables.run("DELETE FROM audit_events").await;
        };
        // Two weeks fill the database with as many living rows as it ever has: a family lives for eight days.
        let day = 86_400;
        for _ in 0..14 {
            wave().await;
            server.advance(day);
            clean_up(server).await;
        }
        let (full, rows) = (size(server, &tables).await, tables.number("SELECT COUNT(*) FROM refresh_tokens").await);
        let mut largest = full;
        for index in 0..waves {
            wave().await;
            server.advance(day);
            clean_up(server).await;
            if index % 10 == 9 {
                largest = largest.max(size(server, &tables).await);
            }
        }
        let living = tables.number("SELECT COUNT(*) FROM refresh_tokens").await;
        assert_eq!(living, rows, "as many rows as after two weeks");
        assert!(largest <= full + full / 2, "the database grew from {full} to {largest} bytes");
        // And when all have gone, so has what they took.
        server.advance(100 * day);
        clean_up(server).await;
        for table in ["sessions", "grants", "refresh_tokens", "authorization_codes"] {
            assert_eq!(tables.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        let empty = size(server, &tables).await;
        eprintln!(
            "{} sign-ins, {} refreshes: {full} bytes after two weeks, {largest} at the most, {empty} when all have gone",
            waves * WAVE,
            waves * WAVE * REFRESHES,
        );
        assert!(empty < full, "{empty} bytes are left of {full}");
    }
}
