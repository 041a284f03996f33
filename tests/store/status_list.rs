//! Leases of places in status lists, and when their rows go.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use keyward_protocol::status_list::ENTRIES;

use super::Tables;
use crate::support::ClientSpec;

on_each_database! {
    async fn no_place_is_leased_twice_and_a_full_list_is_followed_by_another(server) {
        let now = server.app.clock.now();
        let leases = join_all((0..200).map(|_| server.app.store.lease_status_block(now))).await;
        let mut seen = BTreeSet::new();
        for lease in leases {
            let lease = lease.unwrap();
            assert!(lease.to <= ENTRIES);
            assert!(seen.insert((lease.list, lease.from)), "{lease:?}");
            assert_eq!(lease.to - lease.from, 1024);
        }
        assert_eq!(server.app.store.status_lists().await.unwrap(), [0, 1], "128 blocks fill a list");
    }

    async fn entries_and_lists_go_after_the_last_token_and_no_number_comes_again(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.access_token_status_list = true)).await;
        server.tokens("shop", "ada").await;
        let tables = Tables::of(server).await;
        let entries = "SELECT COUNT(*) FROM status_entries";
        let lists = async || server.app.store.status_lists().await.unwrap();
        let now = server.app.clock.now();
        for _ in 0..128 {
            server.app.store.lease_status_block(now).await.unwrap();
        }
        assert_eq!(lists().await, [0, 1]);
        server.advance(1800 + 3599);
        server.clean_up(2).await;
        assert_eq!((tables.number(entries).await, lists().await), (1, vec![0, 1]), "a leeway is allowed for");
        server.advance(2);
        server.clean_up(2).await;
        assert_eq!((tables.number(entries).await, lists().await), (0, vec![1]), "the newest stays");
        for _ in 0..128 {
            server.app.store.lease_status_block(server.app.clock.now()).await.unwrap();
        }
        assert_eq!(lists().await, [1, 2]);
    }
}
