//! The root secret under its master keys: databases from before there was one, and master keys that don't fit.

use std::sync::Arc;

use keyward::app::App;
use keyward::secret::Secrets;
use keyward::store::{Store, StoreOptions};
use keyward_keys::{MasterKey, RootSecret};

use super::Tables;
use crate::support::{ClientSpec, TestDatabase, TestServer};

/// Takes the schema back to the one before there were root secrets.
const BEFORE: [&str; 6] = [
    "DROP TABLE root_seals",
    "ALTER TABLE signing_keys DROP COLUMN thumbprint",
    "ALTER TABLE signing_keys DROP COLUMN archived_at",
    "ALTER TABLE signing_keys DROP COLUMN revoked_at",
    "DELETE FROM server_facts WHERE name = 'longest_token_life'",
    "DELETE FROM seaql_migrations WHERE version = 'm0002_key_life'",
];

/// A database whose master key is its root secret, as it was before.
async fn a_database_of_before_goes_on(database: TestDatabase) {
    let master = MasterKey::generate().unwrap();
    std::fs::write(database.folder().join("master.key"), &*master.encode()).unwrap();
    if !database.url().starts_with("postgres") {
        let path = database.folder().join("keyward.db");
        Store::open_sqlite(&path, &StoreOptions::default()).unwrap().migrate().await.unwrap();
    }
    let tables = Tables::in_database(&database).await;
    let fact = format!("INSERT INTO server_facts VALUES ('master_key_fingerprint', '{}')", master.fingerprint());
    tables.run(&fact).await;
    let server = TestServer::on(database).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop").with(|client| client.access_token_lifetime = Some(5400))).await;
    let refresh = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let kids = |app: &App| {
        let mut kids: Vec<_> = app.key_ring.load().keys().map(|(key, _)| key.kid().to_owned()).collect();
        kids.sort();
        kids
    };
    for statement in BEFORE {
        tables.run(statement).await;
    }

    let upgraded = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
    let of_before = Secrets::derive(&RootSecret::of_master(&master)).unwrap();
    for secrets in [&server.app.secrets, &upgraded.secrets] {
        assert_eq!(secrets.token_hash.hash(b"x"), of_before.token_hash.hash(b"x"));
        assert_eq!(secrets.client_secret_hash.hash(b"x"), of_before.client_secret_hash.hash(b"x"));
        assert_eq!(secrets.session_hash.hash(b"x"), of_before.session_hash.hash(b"x"));
        assert_eq!(secrets.sid("s", "c"), of_before.sid("s", "c"));
    }
    assert_eq!(kids(&upgraded), kids(&server.app));
    assert_eq!(upgraded.store.root_state().await.unwrap().seals.len(), 1);
    assert_eq!(upgraded.remembered_waits().await.unwrap().longest_life, 5400, "the client's own life is found");
    // The node that was running is not disturbed, and what it gave out works.
    assert_eq!(server.refresh("shop", &refresh).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_before_goes_on_sqlite() {
    a_database_of_before_goes_on(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_database_of_before_goes_on_postgres() {
    a_database_of_before_goes_on(TestDatabase::postgres().await).await;
}

/// Every row that depends on the root secret, as a number that changes when anything does.
async fn fingerprint_of_all(server: &TestServer) -> Vec<Vec<u8>> {
    let state = server.app.store.root_state().await.unwrap();
    let keys = server.app.store.signing_keys().await.unwrap();
    let seals = state.seals.into_iter().map(|seal| [seal.fingerprint.into_bytes(), seal.sealed_root].concat());
    seals.chain(keys.into_iter().map(|key| [key.kid.into_bytes(), key.sealed_private].concat())).collect()
}

on_each_database! {
    async fn a_missing_or_foreign_master_key_starts_nothing_and_writes_nothing(server) {
        let before = fingerprint_of_all(server).await;
        let file = server.database().folder().join("master.key");
        let kept = std::fs::read(&file).unwrap();
        let right = MasterKey::parse(std::str::from_utf8(&kept).unwrap().trim()).unwrap().fingerprint();
        let start = async || {
            let refused = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap_err();
            refused.to_string()
        };
        std::fs::remove_file(&file).unwrap();
        let said = start().await;
        assert!(said.contains("missing") && said.contains(&right), "{said}");
        assert!(said.contains("docs/runbooks/lost-master-key.md"), "{said}");
        assert!(!file.exists(), "no new key beside sealed rows");
        assert_eq!(std::fs::read_dir(server.database().folder()).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().contains("master")
        }).count(), 0);

        let foreign = MasterKey::generate().unwrap();
        std::fs::write(&file, &*foreign.encode()).unwrap();
        let said = start().await;
        assert!(said.contains(&foreign.fingerprint()) && said.contains(&right), "{said}");
        assert!(said.contains("docs/runbooks/lost-master-key.md"), "{said}");
        assert_eq!(fingerprint_of_all(server).await, before, "nothing was overwritten");

        // Keys without any word of their root secret: a damaged or half restored database makes no new one either.
        let tables = Tables::of(server).await;
        tables.run("DELETE FROM server_facts WHERE name = 'master_key_fingerprint'").await;
        tables.run("DELETE FROM root_seals").await;
        std::fs::remove_file(&file).unwrap();
        assert!(start().await.contains("missing"));
        std::fs::write(&file, &kept).unwrap();
        assert!(start().await.contains("docs/runbooks/lost-master-key.md"));
        assert!(server.app.store.root_state().await.unwrap().seals.is_empty());
    }

    async fn the_runbook_of_a_lost_master_key_works(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let refresh = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        std::fs::remove_file(server.database().folder().join("master.key")).unwrap();
        let runbook = include_str!("../../docs/runbooks/lost-master-key.md");
        let statements = runbook.split("```sql").nth(1).unwrap().split("```").next().unwrap();
        let tables = Tables::of(server).await;
        let mut count = 0;
        for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            tables.run(statement).await;
            count += 1;
        }
        assert_eq!(count, 9);
        let anew = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
        assert_ne!(anew.secrets.token_hash.hash(b"x"), server.app.secrets.token_hash.hash(b"x"));
        assert!(anew.key_ring.load().active(keyward_keys::Algorithm::Es256).is_some());
        assert_eq!(tables.number("SELECT count(*) FROM users").await, 1);
        assert!(anew.client("shop").await.unwrap().unwrap().secrets.is_empty());
        assert_ne!(server.refresh("shop", &refresh).await.status, 200);
    }

    async fn a_changed_seal_is_refused(server) {
        let tables = Tables::of(server).await;
        tables.run("UPDATE root_seals SET fingerprint = 'x'").await;
        let start = async || App::start(server.app.settings.clone(), server.app.clock.clone()).await;
        assert!(start().await.unwrap_err().to_string().contains("lost-master-key.md"));
        let right = MasterKey::parse(
            std::fs::read_to_string(server.database().folder().join("master.key")).unwrap().trim(),
        )
        .unwrap();
        // Another root secret under the right master key isn't this database's.
        let other = RootSecret::generate().unwrap();
        let seal = keyward::secret::sealed_copy(&other, &right, server.app.random, server.app.clock.now()).unwrap();
        let event = keyward::audit::AuditEvent::by_cli(keyward::audit::AuditKind::MasterKeyAdded);
        let event = server.app.audit_record(event).unwrap();
        assert!(server.app.store.add_root_seal(seal, event).await.unwrap());
        assert!(start().await.unwrap_err().to_string().contains("isn't the one of this database"));
    }

    async fn nodes_that_start_together_agree(server) {
        let tables = Tables::of(server).await;
        for statement in ["DELETE FROM root_seals", "DELETE FROM signing_keys",
            "DELETE FROM server_facts WHERE name = 'master_key_fingerprint'"] {
            tables.run(statement).await;
        }
        std::fs::remove_file(server.database().folder().join("master.key")).unwrap();
        let starts = [(); 4].map(|()| {
            let (settings, clock) = (server.app.settings.clone(), server.app.clock.clone());
            tokio::spawn(async move { App::start(settings, clock).await.unwrap() })
        });
        let mut hashes = Vec::new();
        for started in starts {
            let app: Arc<App> = started.await.unwrap();
            hashes.push(app.secrets.token_hash.hash(b"x"));
        }
        hashes.dedup();
        assert_eq!(hashes.len(), 1, "one root secret for all");
    }
}
