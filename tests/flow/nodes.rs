//! Two nodes of one installation on PostgreSQL, with and without Redis: each race has one winner wherever its runners go,
//! and what one node changes the other knows within a second.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use keyward::app::App;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::clock::Clock;
use keyward_keys::{Algorithm, SigningKey};
use keyward_protocol::client_metadata::AuthMethod;
use serde_json::json;

use crate::security::forge;
use crate::support::binary::pause;
use crate::support::server::Answer;
use crate::support::service::Service;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// A story of two nodes: `name::postgres` and `name::redis`.
macro_rules! on_two_nodes {
    ($(async fn $name:ident($first:ident, $second:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn story($first: &TestServer, $second: &TestServer) $body

            async fn run(database: TestDatabase) {
                let first = TestServer::on(database).await;
                let second = first.second_node().await;
                story(&first, &second).await;
                second.stop().await;
                first.stop().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
            async fn postgres() {
                run(TestDatabase::postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
            async fn redis() {
                run(TestDatabase::postgres().await.with_redis()).await;
            }
        }
    )*};
}

fn outcomes(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let outcome = match answer.status {
            200 => "200".to_owned(),
            status => format!("{status} {}", answer.error()),
        };
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

/// Waits until something is so, and gives how long that took; a second is the bound.
#[allow(clippy::disallowed_methods, reason = "measures real time")]
async fn within_a_second(what: &str, mut so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        if so().await {
            return begun.elapsed();
        }
        pause(Duration::from_millis(2)).await;
    }
    panic!("not seen within a second: {what}");
}

async fn machine(node: &TestServer) -> Answer {
    node.token("batch", &[("grant_type", "client_credentials")]).await
}

async fn delete_client(node: &TestServer, client_id: &str) {
    let app: &App = &node.app;
    let client = app.store.find_client(client_id).await.unwrap().unwrap();
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientDeleted)).unwrap();
    app.store.delete_client(client.id, event).await.unwrap();
}

/// A machine client that signs its assertions.
pub(super) struct AssertionClient(SigningKey);

impl AssertionClient {
    pub(super) async fn add(server: &TestServer) -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
        let jwks = json!({"keys": [key.public_jwk()]});
        let spec = ClientSpec::machine("signed").with(|client| {
            client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
            client.jwks = Some(jwks);
        });
        server.add_client(spec).await;
        Self(key)
    }

    pub(super) async fn token(&self, server: &TestServer) -> Answer {
        let header = json!({"alg": "ES256", "kid": self.0.kid()});
        let expires = server.app.clock.now().seconds() + 60;
        let jti = server.app.random.name().unwrap();
        let claims =
            json!({"iss": "signed", "sub": "signed", "aud": server.app.settings.issuer(), "exp": expires, "jti": jti});
        let assertion = forge::sign(&self.0, &header, &claims);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        Answer::of(server.http.post(server.endpoint("/token")).form(&form)).await
    }
}

on_two_nodes! {
    async fn a_hundred_redemptions_of_one_code(first, second) {
        first.add_user("ada").await;
        first.add_client(ClientSpec::web("shop")).await;
        let code = Browser::new(first).code(&first.authorize_url("shop", &[]), "ada").await;
        let nodes = [first, second];
        let answers = join_all((0..100).map(|index| nodes[index % 2].redeem("shop", &code))).await;
        assert_eq!(outcomes(&answers), [("200".to_owned(), 1), ("400 invalid_grant".to_owned(), 99)].into());
        let won = answers.iter().find(|answer| answer.status == 200).unwrap().json();
        for node in nodes {
            assert_eq!(node.userinfo(won["access_token"].as_str().unwrap()).await.status, 401);
            assert_eq!(node.refresh("shop", won["refresh_token"].as_str().unwrap()).await.error(), "invalid_grant");
        }
    }

    async fn a_hundred_refreshes_of_one_token(first, second) {
        first.add_user("ada").await;
        first.add_client(ClientSpec::web("shop")).await;
        let token = first.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let nodes = [first, second];
        let answers = join_all((0..100).map(|index| nodes[index % 2].refresh("shop", &token))).await;
        assert_eq!(outcomes(&answers), [("200".to_owned(), 100)].into());
        let mut successors: Vec<_> = answers.iter().map(|answer| answer.json()["refresh_token"].to_string()).collect();
        successors.sort();
        successors.dedup();
        assert_eq!(successors.len(), 1, "one successor");
        let successor = answers[0].json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(second.refresh("shop", &successor).await.status, 200);
    }

    async fn a_hundred_uses_of_one_mark(first, second) {
        let now = first.app.clock.now();
        let stores = [&first.app.store, &second.app.store];
        let uses = join_all((0..100).map(|index| stores[index % 2].use_once([9; 32], now.plus_seconds(60), now))).await;
        assert_eq!(uses.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
        assert!(!second.app.store.use_once([9; 32], now.plus_seconds(60), now).await.unwrap());
    }

    // The clock of the nodes stands, so that nobody polls: only the notice can tell.
    async fn a_change_is_heard_at_once(first, second) {
        first.add_client(ClientSpec::machine("batch")).await;
        assert_eq!(machine(second).await.status, 200);
        delete_client(first, "batch").await;
        let heard = within_a_second("the client is gone", async || machine(second).await.status == 401).await;
        eprintln!("a deleted client was refused on the other node after {heard:?}");
    }

    async fn the_end_of_a_session_holds_on_both(first, second) {
        first.add_user("ada").await;
        first.add_client(ClientSpec::web("shop")).await;
        let tokens = first.tokens("shop", "ada").await;
        let access = tokens["access_token"].as_str().unwrap();
        assert_eq!(second.userinfo(access).await.status, 200);
        assert_eq!(first.revoke("shop", tokens["refresh_token"].as_str().unwrap()).await.status, 200);
        assert_eq!(second.userinfo(access).await.status, 401);
    }
}

/// Where notices can't come, polling tells within the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
async fn without_notices_polling_tells() {
    let mut redis = Service::redis().await;
    let database = TestDatabase::postgres().await.with_redis_at(format!("redis://127.0.0.1:{}", redis.port));
    let first = TestServer::at(database, Clock::system(), |_| {}).await;
    let second = first.second_node_with(Clock::system()).await;
    first.add_client(ClientSpec::machine("batch")).await;
    assert_eq!(machine(&second).await.status, 200);
    redis.kill();
    delete_client(&first, "batch").await;
    within_a_second("the client is gone", async || machine(&second).await.status == 401).await;
    second.stop().await;
    first.stop().await;
}

/// While Redis is away what needs its marks is refused, and all else goes on; it is back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
async fn redis_away() {
    let mut redis = Service::redis().await;
    let database = TestDatabase::postgres().await.with_redis_at(format!("redis://127.0.0.1:{}", redis.port));
    let server = TestServer::on(database).await;
    let batch = AssertionClient::add(&server).await;
    server.add_client(ClientSpec::machine("batch")).await;
    assert_eq!(batch.token(&server).await.status, 200);
    redis.kill();
    let refused = batch.token(&server).await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"), "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(machine(&server).await.status, 200, "what needs no mark goes on");
    redis.start().await;
    within_a_second("Redis is back", async || batch.token(&server).await.status == 200).await;
    server.stop().await;
}

/// Two nodes that start at once on an empty database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn nodes_that_start_together_share_the_migration() {
    for _ in 0..3 {
        let database = TestDatabase::empty_postgres().await;
        let mut settings = keyward::settings::Settings::default();
        database.apply(&mut settings);
        settings.keys.algorithms = vec!["ES256".into()];
        std::fs::write(
            database.folder().join("master.key"),
            keyward_keys::MasterKey::generate().unwrap().encode().as_str(),
        )
        .unwrap();
        let nodes = join_all((0..4).map(|_| App::start(settings.clone(), Clock::system()))).await;
        let kids: Vec<_> =
            nodes.iter().map(|node| node.as_ref().unwrap().key_ring.load().jwks_json().to_vec()).collect();
        assert!(kids.windows(2).all(|pair| pair[0] == pair[1]), "one set of keys");
        drop(nodes);
        database.remove().await;
    }
}

on_each_database! {
    async fn a_newer_schema_is_taken_while_it_can_be(server) {
        use keyward::store::schema::SchemaState;
        let tables = crate::store::Tables::of(server).await;
        assert_eq!(server.app.store.schema_state().await.unwrap(), SchemaState::Current);
        tables.run("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_expands', 0)").await;
        assert_eq!(server.app.store.schema_state().await.unwrap(), SchemaState::Newer(1));
        let again = App::start(server.app.settings.clone(), server.app.clock.clone()).await;
        assert!(again.is_ok(), "{:?}", again.err());
        // The next release contracted: this program no longer knows enough.
        tables.run("UPDATE server_facts SET value = '9999' WHERE name = 'schema_least_changes'").await;
        assert_eq!(server.app.store.schema_state().await.unwrap(), SchemaState::TooNew);
        let refused = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("too new"), "{refused}");
        assert!(server.app.store.migrate().await.is_err());
    }

    async fn an_older_schema_is_refused_where_it_may_not_be_changed(server) {
        let tables = crate::store::Tables::of(server).await;
        tables.run("DELETE FROM seaql_migrations").await;
        let mut settings = server.app.settings.clone();
        settings.database.migrate_at_start = false;
        let refused = App::start(settings, server.app.clock.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("keyward migrate"), "{refused}");
    }
}
