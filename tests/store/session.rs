//! Sessions: what a new authentication changes, and how many there are.

use futures_util::future::join_all;

use super::Tables;
use crate::support::{Browser, ClientSpec, TestServer};

/// From now on so many sessions a person.
fn limit_sessions(server: &TestServer, most: u32) {
    let mut settings = server.app.settings.clone();
    settings.sessions.max_per_user = most;
    assert!(server.app.take_settings(settings).unwrap().is_empty(), "it takes effect at once");
}

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

    async fn one_too_many_ends_the_one_that_was_used_the_longest_ago(server) {
        let ada = server.add_user("ada").await;
        server.add_user("grace").await;
        server.add_client(ClientSpec::web("shop")).await;
        limit_sessions(server, 3);
        let address = server.authorize_url("shop", &[("scope", "openid")]);
        let grace = Browser::new(server);
        grace.code(&address, "grace").await;
        let mut browsers = Vec::new();
        let mut tokens = Vec::new();
        for _ in 0..3 {
            server.advance(100);
            let browser = Browser::new(server);
            let code = browser.code(&address, "ada").await;
            tokens.push(server.redeem("shop", &code).await.json()["refresh_token"].as_str().unwrap().to_owned());
            browsers.push(browser);
        }
        let stands = async |browser: &Browser| browser.get(&address).await.header("location").contains("code=");
        // The first is used, and so the second is the one that goes.
        server.advance(100);
        assert!(stands(&browsers[0]).await);
        assert_eq!(server.app.store.audit_events("sign_out", 10).await.unwrap().len(), 0);
        server.advance(100);
        let fourth = Browser::new(server);
        fourth.code(&address, "ada").await;
        for (browser, expected) in [(&browsers[0], true), (&browsers[1], false), (&browsers[2], true), (&fourth, true)] {
            assert_eq!(stands(browser).await, expected);
        }
        assert!(stands(&grace).await, "somebody else's count by themselves");
        assert_eq!(server.refresh("shop", &tokens[1]).await.error(), "invalid_grant", "and what hung on it is over");
        assert_eq!(server.refresh("shop", &tokens[2]).await.status, 200);
        let events = server.app.store.audit_events("sign_out", 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].actor.as_str(), events[0].subject.as_deref()), ("server", Some(ada.subject.as_str())));
        assert!(events[0].detail.contains("too_many_sessions"), "{}", events[0].detail);
        // A lower limit holds from the next sign-in on.
        limit_sessions(server, 1);
        let fifth = Browser::new(server);
        fifth.code(&address, "ada").await;
        let living = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL";
        assert_eq!(Tables::of(server).await.number(living).await, 2, "hers and Grace's");
        assert!(stands(&fifth).await);
    }

    async fn sign_ins_at_once_are_counted_exactly(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        limit_sessions(server, 3);
        let address = server.authorize_url("shop", &[]);
        let browsers: Vec<_> = (0..12).map(|_| Browser::new(server)).collect();
        // Whose session ended before the code was given is at the login page again.
        join_all(browsers.iter().map(|browser| browser.arrive(&address, "ada"))).await;
        assert_eq!(Tables::of(server).await.number("SELECT COUNT(*) FROM sessions").await, 12);
        let living = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL";
        assert_eq!(Tables::of(server).await.number(living).await, 3);
    }
}
