//! Signing keys where several nodes move them, and what is remembered of the life of tokens.

use std::sync::Arc;

use keyward::app::App;

use super::Tables;
use crate::support::{ClientSpec, TestServer};

/// Another node on the same database and clock.
async fn node(server: &TestServer) -> Arc<App> {
    App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap()
}

async fn states(server: &TestServer) -> Vec<(String, String)> {
    let keys = server.app.store.signing_keys().await.unwrap();
    let mut states: Vec<_> = keys.into_iter().map(|key| (key.algorithm, key.state)).collect();
    states.sort();
    states
}

on_each_database! {
    async fn two_nodes_that_fire_at_once_move_once(server) {
        let nodes = [Arc::clone(&server.app), node(server).await, node(server).await];
        for round in 1..=3_usize {
            server.advance(90 * 86_400 - 1);
            for app in &nodes {
                app.run_key_schedule().await.unwrap();
            }
            let tables = Tables::of(server).await;
            let before = tables.number("SELECT count(*) FROM audit_events WHERE kind = 'key_rotated'").await;
            server.advance(1);
            let fired = nodes.iter().map(|app| {
                let app = Arc::clone(app);
                tokio::spawn(async move { app.run_key_schedule().await.unwrap() })
            });
            let mut moved = 0;
            for node in fired.collect::<Vec<_>>() {
                moved += node.await.unwrap().len();
            }
            // The server's own schedule runs too, and may have been the one.
            assert!(moved == 0 || moved == 6, "both algorithms retire, promote and publish once: {moved}");
            let after = tables.number("SELECT count(*) FROM audit_events WHERE kind = 'key_rotated'").await;
            assert_eq!(after - before, 2, "round {round}");
            for algorithm in ["ES256", "EdDSA"] {
                for state in ["active", "next"] {
                    let count = states(server).await.iter().filter(|key| key.0 == algorithm && key.1 == state).count();
                    assert_eq!(count, 1, "{algorithm} {state}");
                }
            }
        }
    }

    async fn nothing_due_writes_nothing(server) {
        let version = server.app.store.directory_version().await.unwrap();
        let acts = server.app.store.uses().1;
        for _ in 0..3 {
            assert!(server.app.run_key_schedule().await.unwrap().is_empty());
        }
        assert_eq!(server.app.store.directory_version().await.unwrap(), version);
        assert_eq!(server.app.store.uses().1, acts);
    }

    async fn nodes_that_start_at_once_make_one_set_of_keys(server) {
        let tables = Tables::of(server).await;
        tables.run("DELETE FROM signing_keys").await;
        let starts = [(); 3].map(|()| {
            let (settings, clock) = (server.app.settings.clone(), server.app.clock.clone());
            tokio::spawn(async move { App::start(settings, clock).await.unwrap() })
        });
        let mut rings = Vec::new();
        for started in starts {
            let app = started.await.unwrap();
            app.reload().await.unwrap();
            rings.push(app.key_ring.load().etag().to_owned());
        }
        rings.dedup();
        assert_eq!(rings.len(), 1, "one set for all");
        assert_eq!(states(server).await.len(), 4);
    }

    async fn the_longest_life_is_remembered(server) {
        let life = async || server.app.remembered_waits().await.unwrap().longest_life;
        assert_eq!(life().await, 1800);
        server.add_client(ClientSpec::web("long").with(|client| client.access_token_lifetime = Some(7200))).await;
        assert_eq!(life().await, 7200);
        keyward::account::client::edit(&server.app, "long", |client| client.access_token_lifetime = Some(9000))
            .await
            .unwrap();
        assert_eq!(life().await, 9000);
        // A token of two hours and a half may still live when the client has a shorter life or is gone.
        keyward::account::client::edit(&server.app, "long", |client| client.access_token_lifetime = None).await.unwrap();
        assert_eq!(life().await, 9000);
    }
}
