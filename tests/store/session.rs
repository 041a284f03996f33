//! Sessions: what a new authentication changes.

use super::Tables;
use crate::support::{Browser, ClientSpec};

on_each_database! {
    async fn authenticating_again_moves_the_end(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let tables = Tables::of(server).await;
        let first = tables.number("SELECT expires_at FROM sessions").await;
        server.advance(3600);
        browser.code(&server.authorize_url("shop", &[("prompt", "login")]), "ada").await;
        assert_eq!(tables.number("SELECT COUNT(*) FROM sessions").await, 1);
        assert_eq!(tables.number("SELECT expires_at FROM sessions").await, first + 3600 * 1_000_000);
    }
}
