//! Acts that lock many rows at once never wait for each other: the order is in `docs/architecture.md`.

use keyward::audit::{AuditEvent, AuditKind};
use keyward::settings::Seconds;
use keyward_entities::audit_event;

use super::Tables;
use crate::support::{ClientSpec, TestDatabase, TestServer};

/// Families that are to be removed; half of them by each of two users, all of one client.
const FAMILIES: u32 = 300;

/// Families that ended two hours ago, each with a spent code, three tokens and a place in a status list, stored in
/// another order than that of their ids.
async fn fill(tables: &Tables, users: [uuid::Uuid; 2], client: uuid::Uuid, now: i64) {
    let ended = now - 2 * 3_600_000_000;
    let [ada, bob] = users;
    tables
        .run(&format!(
            "CREATE TEMPORARY TABLE family ON COMMIT DROP AS
             SELECT gen_random_uuid() AS id, number, CASE WHEN number % 2 = 0 THEN '{ada}' ELSE '{bob}' END::uuid AS owner
             FROM generate_series(1, {FAMILIES}) number ORDER BY random();
             INSERT INTO grants (id, user_id, client, session_id, tied_to_session, scope, resources, auth_time, acr, amr,
                                 created_at, expires_at, ended_at)
             SELECT id, owner, '{client}', gen_random_uuid(), false, 'openid', '[]', 0, '', '[]', 0, {now},
                    CASE WHEN number % 3 = 0 THEN {ended} END FROM family;
             INSERT INTO authorization_codes (id, code_hash, client, user_id, session_id, grant_id, redirect_uri,
                                 redirect_uri_named, scope, resources, auth_time, acr, amr, needs_consent, issued_at,
                                 expires_at, spent_at, look_again_at)
             SELECT gen_random_uuid(), decode(replace(id::text, '-', ''), 'hex'), '{client}', owner, gen_random_uuid(), id,
                    'https://app.example/cb', true, 'openid', '[]', 0, '', '[]', false, 0, 0, 0, {ended}
             FROM family ORDER BY random();
             INSERT INTO refresh_tokens (id, token_hash, grant_id, issued_at, expires_at)
             SELECT gen_random_uuid(), decode(replace(id::text, '-', '') || lpad(token::text, 2, '0'), 'hex'), id, 0, 0
             FROM family, generate_series(1, 3) token ORDER BY random();
             INSERT INTO status_entries (slot, grant_id, expires_at)
             SELECT 1000000 + number, id, {now} FROM family ORDER BY random();"
        ))
        .await;
}

/// Cleaning up, deleting users and clients, and ending all that a user has, at once and on the same rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn nobody_waits_in_a_circle() {
    let server = TestServer::with(TestDatabase::postgres().await, |settings| {
        // Of two who wait in a circle PostgreSQL refuses one after a second, which must not be taken for a lost database.
        settings.database.busy_timeout = Seconds(30);
    })
    .await;
    let tables = Tables::of(&server).await;
    let app = &server.app;
    for round in 0..12 {
        let mut users = Vec::new();
        for name in ["ada", "bob"] {
            users.push(server.add_user(&format!("{name}-{round}")).await);
        }
        let [ada, bob] = [users[0].id, users[1].id];
        server.add_client(ClientSpec::web("shop")).await;
        let client = app.store.find_client("shop").await.unwrap().unwrap().id;
        let now = app.clock.now();
        fill(&tables, [ada, bob], client, now.micros()).await;
        let event = || -> audit_event::Model { app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap() };
        let clean = async || {
            // A look finds nothing where another is at it.
            for _ in 0..20 {
                app.store.remove_expired(100, now).await?;
            }
            Ok(())
        };
        let disable = async || app.store.set_client_disabled("shop", true, now, event()).await.map(drop);
        let outcomes = tokio::join!(
            clean(),
            disable(),
            app.store.delete_user(ada, event()),
            app.store.set_password(bob, "new".into(), now, event()),
            app.store.disconnect_app(bob, client, now, event()),
            app.store.delete_client(client, event()),
            clean(),
        );
        let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3, outcomes.4, outcomes.5, outcomes.6];
        assert!(outcomes.iter().all(Result::is_ok), "round {round}: {outcomes:?}");
        for table in ["grants", "refresh_tokens", "authorization_codes"] {
            assert_eq!(tables.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "round {round}: {table}");
        }
        let unmarked = "SELECT COUNT(*) FROM status_entries WHERE ended_at IS NULL";
        assert_eq!(tables.number(unmarked).await, 0, "round {round}");
        tables.run("DELETE FROM status_entries").await;
    }
    server.stop().await;
}
