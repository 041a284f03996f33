//! Enumeration: nobody learns from an answer which accounts and which clients exist (requirement AC-4).

use keyward::account::login_name::login_key;
use keyward::account::profile::new_user;
use keyward::audit::{AuditEvent, AuditKind};
use keyward_protocol::claims::StandardClaims;

use crate::support::ClientSpec;
use crate::support::server::Answer;

use super::visitor::Visitor;

/// A page without what differs at each showing: the values of hidden fields, and the name that was typed.
fn bare(answer: &Answer, name: &str) -> String {
    let mut pieces = answer.text.split("value=\"");
    let mut bare = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        bare.push_str("value=\"");
        bare.push_str(piece.split_once('"').map_or(piece, |(_, rest)| rest));
    }
    assert!(!bare.contains(name), "{name} stands outside of its field: {bare}");
    bare
}

/// The headers of an answer without what differs each time.
fn headers(answer: &Answer) -> Vec<String> {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(header, _)| !matches!(header.as_str(), "x-request-id" | "date" | "content-length" | "location"))
        .map(|(header, value)| format!("{header}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    headers
}

on_each_database! {
    async fn all_failed_logins_look_alike(server) {
        let app = &server.app;
        server.add_user("present-user").await;
        let disabled = server.add_user("disabled-user").await;
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
        app.store.set_user_disabled(disabled.id, true, app.clock.now(), event).await.unwrap();
        let without =
            new_user(app, "bare-user", login_key("bare-user").unwrap(), StandardClaims::default(), None).unwrap();
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::UserAdded)).unwrap();
        assert!(app.store.add_user(without, Vec::new(), Vec::new(), event).await.unwrap());
        server.add_client(ClientSpec::web("shop")).await;
        let right = crate::support::server::PASSWORD;
        let long = "x".repeat(5000);
        let mut seen: Option<(u16, usize, Vec<String>, String)> = None;
        let mut cost: Option<(u64, u64)> = None;
        for (name, password) in [
            ("present-user", "wrong"),
            ("present-user", ""),
            ("present-user", long.as_str()),
            ("nobody-here", "wrong"),
            ("nobody-here", right),
            ("no name at all", right),
            ("disabled-user", right),
            ("disabled-user", "wrong"),
            ("bare-user", "wrong"),
            ("bare-user", ""),
        ] {
            let mut visitor = Visitor::new(server);
            let page = visitor.open(&server.authorize_url("shop", &[])).await;
            app.flush_audit().await;
            let (hashes, uses) = (app.passwords.computed(), app.store.uses());
            let sent = visitor.submit(&page, &[("username", name), ("password", password)]).await;
            app.flush_audit().await;
            // Requirement AC-4: as many hashes, reads and writes, whoever is asked for.
            assert_eq!(app.passwords.computed() - hashes, 1, "{name}");
            let work = (app.store.uses().0 - uses.0, app.store.uses().1 - uses.1);
            assert_eq!(*cost.get_or_insert(work), work, "{name} {password:.20}");
            let (path, sealed) = sent.header("location").split_once('=').unwrap();
            assert_eq!((sent.status, path, sent.text.as_str()), (303, "/authorize?resume", ""), "{name}");
            // The sealed text repeats the name, and nothing else makes it longer or shorter.
            let carried = sealed.len() * 3 / 4 - name.len();
            let mut headers = headers(&sent);
            let answer = visitor.follow(sent).await;
            assert!(answer.text.contains("role=\"alert\""), "{name}: {}", answer.text);
            headers.extend(self::headers(&answer));
            let now = (answer.status, carried, headers, bare(&answer, name));
            match &seen {
                None => seen = Some(now),
                Some(first) => assert_eq!(*first, now, "{name} {password:.20}"),
            }
        }
        // The right password of a live account is another matter: the comparison above can fail.
        let mut visitor = Visitor::new(server);
        assert_eq!(visitor.sign_in("present-user").await.status, 303);
    }

    async fn all_failed_client_authentications_look_alike(server) {
        server.add_client(ClientSpec::machine("batch")).await;
        server.add_client(ClientSpec::spa("spa")).await;
        let mut seen: Option<(u16, String, String)> = None;
        for (id, secret) in
            [("batch", "wrong"), ("nobody", "wrong"), ("spa", "wrong"), ("nobody", crate::support::server::SECRET)]
        {
            let form = [("grant_type", "client_credentials")];
            let answer =
                Answer::of(server.http.post(server.endpoint("/token")).basic_auth(id, Some(secret)).form(&form)).await;
            let now = (answer.status, answer.header("www-authenticate").to_owned(), answer.text.clone());
            assert_eq!(answer.status, 401, "{answer:?}");
            match &seen {
                None => seen = Some(now),
                Some(first) => assert_eq!(*first, now, "{id}"),
            }
        }
    }
}
