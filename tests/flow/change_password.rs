//! A person chooses a new password: what rested on the old one ends, everywhere and at once (requirement AC-10;
//! W3C, A Well-Known URL for Changing Passwords).

use crate::security::visitor::Visitor;
use crate::support::ClientSpec;
use crate::support::server::{PASSWORD, TestServer};

const NEW: &str = "quite another sentence";

fn filled<'a>(current: &'a str, password: &'a str, again: &'a str) -> [(&'a str, &'a str); 3] {
    [("current", current), ("password", password), ("password_again", again)]
}

async fn signs_in(server: &TestServer, password: &str) -> bool {
    let mut visitor = Visitor::new(server);
    let page = visitor.get("/login").await;
    visitor.submit(&page, &[("username", "ada"), ("password", password)]).await;
    visitor.is_signed_in().await
}

on_each_database! {
    async fn everything_but_this_browser_is_signed_out(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        let (mut other, mut visitor) = (Visitor::new(server), Visitor::new(server));
        other.sign_in("ada").await;
        visitor.sign_in("ada").await;
        let before = visitor.session().unwrap();
        let page = visitor.get("/account/password").await;
        assert_eq!(page.status, 200);
        let answer = visitor.submit(&page, &filled(PASSWORD, NEW, NEW)).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/?done=password-changed"));
        let home = visitor.follow(answer).await;
        assert!(home.text.contains("Your password is new"), "{}", home.text);
        assert_ne!(visitor.session().unwrap(), before, "a new id");
        assert!(visitor.is_signed_in().await && !other.is_signed_in().await);
        assert_eq!(server.refresh("shop", refresh).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(access).await.status, 401);
        assert!(signs_in(server, NEW).await && !signs_in(server, PASSWORD).await);
        let events = server.app.store.audit_events("password_set", 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((&*events[0].outcome, events[0].actor.starts_with("user:")), ("success", true));
    }

    async fn what_is_wrong_changes_nothing(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.get("/account/password").await;
        for (fields, says) in [
            (filled("not the password", NEW, NEW), "current password isn"),
            (filled(PASSWORD, NEW, "another"), "same"),
            (filled(PASSWORD, "short", "short"), "at least 8"),
            (filled(PASSWORD, PASSWORD, PASSWORD), "same as the current"),
            (filled(PASSWORD, "", ""), "at least 8"),
        ] {
            let answer = visitor.submit(&page, &fields).await;
            assert_eq!(answer.status, 422, "{fields:?}");
            assert!(answer.text.contains(says), "{fields:?}: {}", answer.text);
            assert!(!answer.text.contains(PASSWORD), "no password comes back");
        }
        let long = "x".repeat(5000);
        assert_eq!(visitor.submit(&page, &filled(&long, NEW, NEW)).await.status, 422);
        assert!(visitor.is_signed_in().await && signs_in(server, PASSWORD).await);
        server.app.flush_audit().await;
        let failed = server.app.store.audit_events("password_set", 10).await.unwrap();
        assert_eq!(failed.iter().filter(|event| event.outcome == "failure").count(), 2, "the wrong and the overlong one");
        assert_eq!(failed.len(), 2);
    }

    async fn the_well_known_address_leads_there_through_the_login(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        let answer = visitor.get("/.well-known/change-password").await;
        assert_eq!((answer.status, answer.header("location")), (303, "/account/password"));
        let login = visitor.open(&server.endpoint("/account/password")).await;
        assert!(login.text.contains("name=\"username\""), "{}", login.text);
        // A slip on the way doesn't lose the way.
        let answer = visitor.submit(&login, &[("username", "ada"), ("password", "wrong")]).await;
        let login = visitor.follow(answer).await;
        let answer = visitor.submit(&login, &[("username", "ada"), ("password", PASSWORD)]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/account/password"));
        assert_eq!(visitor.follow(answer).await.status, 200);
    }

    async fn two_changes_at_once_leave_one_password(server) {
        server.add_user("ada").await;
        let mut visitors = Vec::new();
        for _ in 0..4 {
            let mut visitor = Visitor::new(server);
            visitor.sign_in("ada").await;
            let page = visitor.get("/account/password").await;
            visitors.push((visitor, page));
        }
        let changes = visitors.iter_mut().enumerate().map(|(index, (visitor, page))| async move {
            let password = format!("{NEW} {index}");
            let answer = visitor.submit(page, &filled(PASSWORD, &password, &password)).await;
            (answer.header("location") == "/?done=password-changed").then_some(password)
        });
        let changed: Vec<_> = futures_util::future::join_all(changes).await.into_iter().flatten().collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert!(signs_in(server, &changed[0]).await);
    }
}
