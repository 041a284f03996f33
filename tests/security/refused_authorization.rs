//! Every refused authorization is in the audit trail, with who, what and why (requirement RB-5).

use keyward_entities::audit_event;
use serde_json::Value;

use crate::support::{Browser, ClientSpec, TestServer};

/// The events so far.
async fn refused(server: &TestServer) -> Vec<audit_event::Model> {
    server.app.flush_audit().await;
    server.app.store.audit_events("authorization_refused", 100).await.unwrap()
}

/// The one event that came since these.
async fn next(server: &TestServer, known: &mut Vec<audit_event::Model>) -> audit_event::Model {
    let events = refused(server).await;
    let new: Vec<_> = events.iter().filter(|event| !known.contains(event)).cloned().collect();
    assert_eq!(new.len(), 1, "{new:?}");
    *known = events;
    new[0].clone()
}

fn said(event: &audit_event::Model, name: &str) -> String {
    let detail: Value = serde_json::from_str(&event.detail).unwrap();
    detail[name].as_str().unwrap_or_default().to_owned()
}

on_each_database! {
    async fn each_refusal_leaves_one_event(server) {
        let user = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let browser = Browser::new(server);
        let cases = [
            (("prompt", "none"), "login_required", true),
            (("response_type", "token"), "unsupported_response_type", true),
            (("code_challenge", ""), "invalid_request", true),
            (("claims", "{"), "invalid_request", true),
            (("redirect_uri", "https://evil.example/"), "invalid_request", false),
            (("client_id", "nobody"), "invalid_request", false),
        ];
        let mut known = Vec::new();
        for (extra, error, proven) in cases {
            browser.open(&server.authorize_url("shop", &[extra])).await;
            let event = &next(server, &mut known).await;
            assert_eq!((event.actor.as_str(), event.outcome.as_str()), ("anonymous", "failure"));
            assert_eq!(said(event, "error"), error);
            assert!(!said(event, "reason").is_empty() && event.request_id.is_some(), "{event:?}");
            assert_eq!(event.client_id.as_deref(), proven.then_some("shop"), "{extra:?}");
            assert_eq!(said(event, "claimed_client_id").is_empty(), proven);
        }
        // With a person: who declines the login is nobody yet, and who is signed in is named.
        let page = browser.open(&server.authorize_url("shop", &[])).await;
        browser.submit(&page, &[("action", "cancel"), ("username", ""), ("password", "")]).await;
        assert_eq!(said(&next(server, &mut known).await, "error"), "access_denied");
        let page = browser.open(&server.authorize_url("shop", &[])).await;
        let consent = browser.sign_in(&page, "ada").await;
        browser.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        let event = next(server, &mut known).await;
        assert_eq!(event.actor, format!("user:{}", user.subject));
        assert_eq!(event.subject.as_deref(), Some(user.subject.as_str()));
        assert_eq!(said(&event, "error"), "consent_required");
        // A denied consent has an event of its own kind, and no second one.
        browser.submit(&consent, &[("decision", "deny")]).await;
        assert_eq!(refused(server).await.len(), 8);
        assert_eq!(server.app.store.audit_events("consent_denied", 10).await.unwrap().len(), 1);
    }
}
