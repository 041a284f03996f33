//! The version of the directory under changes at once.

use futures_util::future::join_all;

on_each_database! {
    async fn every_change_raises_the_version_by_one(server) {
        let before = server.app.store.directory_version().await.unwrap();
        let names: Vec<String> = (0..20).map(|number| format!("scope-{number}")).collect();
        join_all(names.iter().map(|name| server.add_scope(name))).await;
        assert_eq!(server.app.store.directory_version().await.unwrap(), before + 20);
    }
}
