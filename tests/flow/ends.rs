//! Every way in which a token ends, for every form of access token: seen at once by introspection and userinfo, and
//! within a second in the status list.

use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::join_all;
use keyward::audit::{AuditEvent, AuditKind};
use keyward_protocol::client_metadata::AccessTokenFormat;

use crate::support::status::is_revoked;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// What ends the tokens of an authorization.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    RefreshTokenRevoked,
    AccessTokenRevoked,
    CodeReplayed,
    RefreshTokenReused,
    SignedOut,
    PasswordChanged,
    ConsentWithdrawn,
    UserDisabled,
    UserDeleted,
    ClientDisabled,
    ClientDeleted,
}

impl End {
    const ALL: [Self; 11] = [
        Self::RefreshTokenRevoked,
        Self::AccessTokenRevoked,
        Self::CodeReplayed,
        Self::RefreshTokenReused,
        Self::SignedOut,
        Self::PasswordChanged,
        Self::ConsentWithdrawn,
        Self::UserDisabled,
        Self::UserDeleted,
        Self::ClientDisabled,
        Self::ClientDeleted,
    ];
}

/// Lets a person sign in and get tokens, and ends them. Gives the access token.
async fn issue_and_end(server: &TestServer, end: End, client: &str, index: usize) -> String {
    let app = &server.app;
    let name = format!("ada{index}");
    let user = server.add_user(&name).await;
    let browser = Browser::new(server);
    let code = browser.code(&server.authorize_url(client, &[]), &name).await;
    let tokens = server.redeem(client, &code).await.json();
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap().to_owned(), tokens["refresh_token"].as_str().unwrap().to_owned());
    assert_eq!(server.introspect(client, &access).await.json()["active"], true, "{end:?}");
    assert_eq!(server.userinfo(&access).await.status, 200, "{end:?}");
    if access.contains('.') {
        assert!(!is_revoked(server, &access).await, "{end:?}");
    }
    let event = || app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
    let now = app.clock.now();
    let id = app.store.find_client(client).await.unwrap().unwrap().id;
    match end {
        End::RefreshTokenRevoked => assert_eq!(server.revoke(client, &refresh).await.status, 200),
        End::AccessTokenRevoked => assert_eq!(server.revoke(client, &access).await.status, 200),
        End::CodeReplayed => assert_eq!(server.redeem(client, &code).await.error(), "invalid_grant"),
        End::RefreshTokenReused => {
            assert_eq!(server.refresh(client, &refresh).await.status, 200);
            server.advance(31);
            // Found live a moment before it ends, as in all other cases.
            assert_eq!(server.introspect(client, &access).await.json()["active"], true, "{end:?}");
            assert_eq!(server.refresh(client, &refresh).await.error(), "invalid_grant");
        }
        End::SignedOut => {
            let home = browser.open("/").await;
            browser.submit(&home, &[]).await;
        }
        End::PasswordChanged => {
            app.store.set_password(user.id, user.password_hash.unwrap(), now, event()).await.unwrap();
        }
        End::ConsentWithdrawn => app.store.disconnect_app(user.id, id, now, event()).await.unwrap(),
        End::UserDisabled => app.store.set_user_disabled(user.id, true, now, event()).await.unwrap(),
        End::UserDeleted => app.store.delete_user(user.id, event()).await.unwrap(),
        End::ClientDisabled => {
            assert_eq!(app.store.set_client_disabled(client, true, now, event()).await.unwrap(), Some(true));
            app.reload().await.unwrap();
        }
        End::ClientDeleted => {
            app.store.delete_client(id, event()).await.unwrap();
            app.reload().await.unwrap();
        }
    }
    access
}

/// What is left of an ended token: nothing, for its audience and at userinfo.
async fn assert_ended(server: &TestServer, end: End, token: &str) {
    assert_eq!(server.introspect("api", token).await.text, "{\"active\":false}", "{end:?}");
    assert_eq!(server.userinfo(token).await.status, 401, "{end:?}");
}

on_each_database! {
    async fn what_a_client_was_granted_stays_ended_when_it_is_enabled_again(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        server.add_client(ClientSpec::machine("batch").with(|client| {
            client.access_token_format = Some(AccessTokenFormat::Opaque);
        })).await;
        let own = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
        let own = own["access_token"].as_str().unwrap();
        assert_eq!(server.introspect("batch", own).await.json()["active"], true);
        for disabled in [true, false] {
            let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
            server.app.store.set_client_disabled("batch", disabled, server.app.clock.now(), event).await.unwrap();
        }
        server.app.reload().await.unwrap();
        assert_eq!(server.introspect("batch", own).await.text, "{\"active\":false}", "an opaque token of its own");
        for (disabled, status) in [(true, 401), (false, 400)] {
            let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::ClientChanged)).unwrap();
            let now = server.app.clock.now();
            assert_eq!(server.app.store.set_client_disabled("shop", disabled, now, event).await.unwrap(), Some(true));
            server.app.reload().await.unwrap();
            assert_eq!(server.refresh("shop", refresh).await.status, status, "disabled: {disabled}");
            assert_eq!(server.userinfo(tokens["access_token"].as_str().unwrap()).await.status, 401);
        }
        assert_eq!(server.app.store.audit_events("client_changed", 10).await.unwrap().len(), 2);
        // It works again, for what is granted anew.
        let fresh = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("shop", &fresh).await.status, 200);
    }

    // What this node ends is ended at once; what another process ends is so when that process says it, for it waits.
    async fn what_another_process_ends_is_ended_when_it_says_so(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let token = server.tokens("shop", "ada").await["access_token"].as_str().unwrap().to_owned();
        assert_eq!(server.introspect("shop", &token).await.json()["active"], true);
        let other = server.second_node().await;
        let event = other.app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
        other.app.store.set_user_disabled(user.id, true, server.app.clock.now(), event).await.unwrap();
        {
            let mut says = pin!(other.app.until_ended());
            if server.app.store.endings().is_some() {
                let looked = says.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(looked.is_pending(), "it was said too early");
                server.advance(1);
            }
            says.await;
        }
        assert_eq!(server.introspect("shop", &token).await.text, "{\"active\":false}");
        other.stop().await;
    }

    async fn of_jwts_in_a_list(server) {
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        for (index, end) in End::ALL.into_iter().enumerate() {
            let client = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10"][index];
            server.add_client(ClientSpec::web(client).with(|client| {
                client.access_token_status_list = true;
                client.access_token_lifetime = Some(4 * 3600);
                client.resources = vec!["https://api.example".into()];
            })).await;
            let token = issue_and_end(server, end, client, index).await;
            assert_ended(server, end, &token).await;
            server.advance(1);
            assert!(is_revoked(server, &token).await, "{end:?}");
            // The rows of what has ended are removed before the token's own end, and the bit stays: on this node, and on
            // one that starts later and has seen none of it.
            server.advance(3700);
            server.clean_up(100).await;
            server.advance(1);
            assert!(is_revoked(server, &token).await, "{end:?}, after the clean-up");
            let later = server.second_node().await;
            assert!(is_revoked(&later, &token).await, "{end:?}, at a node that starts later");
            later.stop().await;
        }
    }

    async fn of_opaque_tokens(server) {
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        for (index, end) in End::ALL.into_iter().enumerate() {
            let client = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10"][index];
            server.add_client(ClientSpec::web(client).with(|client| {
                client.access_token_format = Some(AccessTokenFormat::Opaque);
                client.resources = vec!["https://api.example".into()];
            })).await;
            let token = issue_and_end(server, end, client, index).await;
            assert!(token.starts_with("kw_at_"), "{token}");
            assert_ended(server, end, &token).await;
        }
    }

    async fn revoking_while_refreshing_leaves_no_live_token(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.access_token_status_list = true)).await;
        server.add_client(ClientSpec::web("refs").with(|client| {
            client.access_token_format = Some(AccessTokenFormat::Opaque);
        })).await;
        for round in 0..8 {
            let client = if round % 2 == 0 { "shop" } else { "refs" };
            let tokens = server.tokens(client, "ada").await;
            let refresh = tokens["refresh_token"].as_str().unwrap();
            let refreshes = join_all((0..10).map(|_| server.refresh(client, refresh)));
            let (answers, revoked) = tokio::join!(refreshes, server.revoke(client, refresh));
            assert_eq!(revoked.status, 200);
            server.advance(1);
            let mut issued = vec![tokens["access_token"].as_str().unwrap().to_owned()];
            for answer in answers {
                match answer.status {
                    200 => issued.push(answer.json()["access_token"].as_str().unwrap().to_owned()),
                    _ => assert_eq!(answer.error(), "invalid_grant"),
                }
            }
            for token in issued {
                assert_eq!(server.introspect(client, &token).await.text, "{\"active\":false}");
                if client == "shop" {
                    assert!(is_revoked(server, &token).await);
                }
            }
        }
    }
}

/// On SQLite a JWT that was found live is looked for again when something may have ended, or a second later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_to_be_live_is_not_looked_for() {
    let server = TestServer::on(TestDatabase::sqlite()).await;
    for user in ["ada", "bob"] {
        server.add_user(user).await;
    }
    server.add_client(ClientSpec::web("shop")).await;
    server.add_client(ClientSpec::machine("batch")).await;
    let own = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
    let tokens = server.tokens("shop", "ada").await;
    for (client, token) in [("shop", &tokens), ("batch", &own)] {
        let token = token["access_token"].as_str().unwrap();
        let looks = async || {
            let before = server.app.store.uses().0;
            assert_eq!(server.introspect(client, token).await.json()["active"], true, "{client}");
            server.app.store.uses().0 - before
        };
        assert!(looks().await > 0, "{client}");
        assert_eq!((looks().await, looks().await), (0, 0), "{client}");
        // Who refreshes ends nothing, and who revokes might.
        let refreshed = server.tokens("shop", "bob").await;
        looks().await;
        let refreshed = server.refresh("shop", refreshed["refresh_token"].as_str().unwrap()).await;
        assert_eq!((refreshed.status, looks().await), (200, 0), "{client}");
        let refresh = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.revoke("shop", &refresh).await.status, 200);
        assert!(looks().await > 0, "{client}");
        assert_eq!(looks().await, 0, "{client}");
        server.advance(1);
        assert!(looks().await > 0, "{client}");
    }
    server.stop().await;
}
