//! One suite on every database, for what HTTP doesn't show.

use keyward::audit::{AuditEvent, AuditKind};
use keyward::store::role::{Link, LinkOutcome};
use keyward_entities::role;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

mod authorization;
mod cleanup;
mod client;
mod directory;
mod grant;
mod lock_order;
mod opaque_token;
mod root_seal;
mod session;
mod signing_key;
mod status_list;
mod unlocked;

/// The tables as they are, past the store.
pub struct Tables(DatabaseConnection);

impl Tables {
    pub async fn of(server: &TestServer) -> Self {
        Self::in_database(server.database()).await
    }

    async fn in_database(database: &TestDatabase) -> Self {
        match database.url() {
            url if url.starts_with("postgres") => Self::at(&url).await,
            _ => Self::at(&format!("sqlite://{}?mode=rwc", database.folder().join("keyward.db").display())).await,
        }
    }

    async fn at(url: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).sqlx_logging(false);
        Self(Database::connect(options).await.unwrap())
    }

    /// The first number of the first row.
    pub async fn number(&self, query: &str) -> i64 {
        let statement = Statement::from_string(self.0.get_database_backend(), query);
        self.0.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// How the database goes about a statement, in its words.
    pub async fn plan(&self, statement: &str) -> String {
        let backend = self.0.get_database_backend();
        let (explain, column) = match backend {
            DbBackend::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
            _ => ("EXPLAIN", "QUERY PLAN"),
        };
        let rows = self.0.query_all_raw(Statement::from_string(backend, format!("{explain} {statement}"))).await;
        let lines = rows.unwrap().into_iter().map(|row| row.try_get::<String>("", column).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    pub async fn run(&self, statement: &str) {
        self.0.execute_unprepared(statement).await.unwrap();
    }
}

on_each_database! {
    async fn a_second_migration_does_nothing(server) {
        assert_eq!(server.app.store.pending_migrations().await.unwrap(), 0);
        server.app.store.migrate().await.unwrap();
        assert_eq!(server.app.store.pending_migrations().await.unwrap(), 0);
    }

    async fn inclusions_never_close_a_circle(server) {
        let app = &server.app;
        let now = app.clock.now();
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            let id = app.random.uuid_v7(now).unwrap();
            let row = role::Model {
                id,
                organization_id: keyward::store::DEFAULT_ORGANIZATION,
                client: None,
                name: name.into(),
                description: String::new(),
                permissions: "[]".into(),
                created_at: now.micros(),
            };
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::RoleChanged)).unwrap();
            assert!(app.store.add_role(row.clone(), Vec::new(), event.clone()).await.unwrap());
            let twin = role::Model { id: app.random.uuid_v7(now).unwrap(), ..row };
            assert!(!app.store.add_role(twin, Vec::new(), event).await.unwrap(), "the name is taken");
            ids.push(id);
        }
        let include = async |role: usize, included: usize| {
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::RoleChanged)).unwrap();
            let link = Link::Inclusion { role: ids[role], included: ids[included] };
            app.store.link(link, app.random.uuid_v7(now).unwrap(), event).await.unwrap()
        };
        assert_eq!(include(0, 1).await, LinkOutcome::Changed);
        assert_eq!(include(0, 1).await, LinkOutcome::AlreadySo);
        assert_eq!(include(1, 2).await, LinkOutcome::Changed);
        assert_eq!(include(2, 0).await, LinkOutcome::Circle);
        assert_eq!(include(1, 1).await, LinkOutcome::Circle);
    }

    async fn expired_rows_go_and_living_ones_stay(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let unspent = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let spent = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let tokens = server.redeem("shop", &spent).await.json();
        let now = server.app.clock.now();
        server.app.store.use_once([1; 32], now.plus_seconds(10), now).await.unwrap();
        server.advance(2 * 3600);
        server.clean_up(2).await;
        assert!(!server.app.store.is_marked([1; 32]).await.unwrap());
        assert_eq!(server.redeem("shop", &unspent).await.error(), "invalid_grant");
        // The family lives, and so its code must still be known: a replay ends the family.
        let refreshed = server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text);
        assert_eq!(server.redeem("shop", &spent).await.error(), "invalid_grant");
        let successor = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("shop", &successor).await.error(), "invalid_grant");
        // When the family is long over, everything goes.
        server.advance(100 * 86_400);
        server.clean_up(2).await;
        assert_eq!(server.app.store.remove_expired(2, server.app.clock.now()).await.unwrap(), 0);
    }

    async fn search_takes_wild_cards_as_letters(server) {
        for name in ["ada", "a_a", "a%a"] {
            server.add_user(name).await;
        }
        let found = async |part: &str| {
            let users = server.app.store.list_users("", Some(part), 10).await.unwrap();
            users.into_iter().map(|user| user.username).collect::<Vec<_>>()
        };
        assert_eq!(found("_").await, ["a_a"]);
        assert_eq!(found("%").await, ["a%a"]);
        assert_eq!(found("a").await.len(), 3);
    }
}
