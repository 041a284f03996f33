//! How clients are found where many are looked for at once.

use futures_util::future::join_all;
use keyward::fault::Fault;
use keyward_protocol::client_metadata::ClientMetadata;

use super::Tables;
use crate::support::{ClientSpec, TestDatabase, TestServer};

on_each_database! {
    // On PostgreSQL they go together (`src/store/joint_looks.rs`), and each gets its own.
    async fn many_clients_are_looked_for_at_once(server) {
        for client in ["shop", "bank", "mail"] {
            server.add_client(ClientSpec::machine(client)).await;
        }
        server.add_client(ClientSpec::spa("page")).await;
        let ids = ["shop", "page", "nobody", "bank", "mail", "Shop", "shop'--", ""];
        let store = &server.app.store;
        let looks = (0..200).map(|number| async move {
            let id = ids[number % ids.len()];
            (id, store.find_kept_client(id).await.unwrap())
        });
        for (id, found) in join_all(looks).await {
            let found = found.map(|client| (client.client_id.clone(), client.secrets.len()));
            let expected = match id {
                "shop" | "bank" | "mail" => Some((id.to_owned(), 1)),
                "page" => Some((id.to_owned(), 0)),
                _ => None,
            };
            assert_eq!(found, expected, "{id:?}");
        }
    }

    async fn each_of_many_looks_at_once_finds_its_own(server) {
        let metadata = ClientMetadata::default().to_stored().unwrap();
        let postgres = server.database().url().starts_with("postgres");
        let (id, numbers) = if postgres {
            ("('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid", "SELECT generate_series(1, 150) AS number")
        } else {
            (
                "unhex(printf('00000000000070008000%012d', number))",
                "WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < 150) \
                 SELECT number FROM counted",
            )
        };
        let tables = Tables::of(server).await;
        tables
            .run(&format!(
                "INSERT INTO clients (id, organization_id, client_id, metadata, created_at, updated_at) SELECT {id}, \
                 (SELECT id FROM organizations), 'client-' || number, '{metadata}', number, 0 FROM ({numbers}) AS numbers"
            ))
            .await;
        let store = &server.app.store;
        let looks = (1..=150).map(|number| async move {
            (number, store.find_kept_client(&format!("client-{number}")).await.unwrap().unwrap())
        });
        for (number, client) in join_all(looks).await {
            assert_eq!((client.created_at.micros(), client.client_id), (number, format!("client-{number}")));
        }
    }
}

/// SQLite goes from an index that finds one row to the key that finds it too, a page more for each look.
#[tokio::test]
async fn what_a_key_finds_is_found_by_no_other_index() {
    let server = TestServer::sqlite().await;
    let tables = Tables::of(&server).await;
    // As the statements of `src/store/refresh_token.rs` and `src/store/client.rs` do.
    let (place, owner) = ("grant_id = x'01' AND refresh_tokens.id = x'02'", "clients.client_id IN ('shop')");
    for (statement, key) in [
        (
            format!("SELECT * FROM refresh_tokens JOIN grants ON grants.id = grant_id WHERE {place}"),
            "grant_id=? AND id=?",
        ),
        (format!("UPDATE refresh_tokens SET spent_at = 1 WHERE {place} AND spent_at IS NULL"), "grant_id=? AND id=?"),
        (
            format!(
                "SELECT clients.*, secret_hash FROM clients LEFT JOIN client_secrets ON client = clients.id WHERE {owner}"
            ),
            "client=?",
        ),
    ] {
        let plan = tables.plan(&statement).await;
        assert!(plan.contains(&format!("USING PRIMARY KEY ({key})")), "{statement}: {plan}");
    }
}

/// Who looks for others doesn't wait for ever, and who comes afterwards is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_look_that_is_not_answered_is_given_up() {
    let server = TestServer::with(TestDatabase::postgres().await, |settings| {
        settings.database.busy_timeout = keyward::settings::Seconds(1);
    })
    .await;
    server.add_client(ClientSpec::machine("shop")).await;
    let tables = Tables::of(&server).await;
    tables.run("BEGIN; LOCK TABLE clients IN ACCESS EXCLUSIVE MODE").await;
    let store = &server.app.store;
    // Two statements are underway, the third look waits for one of them and is given up after it.
    for outcome in join_all(["shop", "bank", "mail"].map(|id| store.find_kept_client(id))).await {
        assert!(matches!(outcome, Err(Fault::Unavailable(_))), "{outcome:?}");
    }
    tables.run("ROLLBACK").await;
    assert!(store.find_kept_client("shop").await.unwrap().is_some());
}
