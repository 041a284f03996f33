//! A SQLite file has one server at a time.

use crate::support::TestDatabase;
use crate::support::binary::Binary;
use crate::support::server::http_client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_ends_and_a_successor_waits() {
    let (database, http) = (TestDatabase::sqlite(), http_client());
    let server =
        || Binary::new(&database).with("KEYWARD_SERVER_DRAIN_DELAY", "1s").with("KEYWARD_SERVER_SHUTDOWN_GRACE", "2s");
    let mut first = server();
    first.start(&http).await;
    let second = server();
    let said = tokio::task::block_in_place(|| second.refuse(&["serve"], ""));
    assert!(said.contains("another server has this database"), "{said}");
    first.ready(&http).await;
    // A command is no server.
    first.add_web_app("shop", &[]);
    let mut successor = server();
    successor.spawn();
    first.signal("TERM");
    assert!(first.ended().await.success());
    successor.ready(&http).await;
    // Nor does one that is killed keep the file.
    successor.kill();
    first.start(&http).await;
}
