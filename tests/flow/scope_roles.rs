//! Who may give which scope (requirement RB-2): a scope that names roles is for their holders, at the first token and at
//! each later one.

use keyward::audit::{AuditEvent, AuditKind};
use keyward::store::DEFAULT_ORGANIZATION;
use keyward::store::role::Link;
use keyward_entities::role;
use keyward_protocol::scope::ScopeSet;
use uuid::Uuid;

use crate::support::browser::parameters;
use crate::support::{Browser, ClientSpec, TestServer};

fn event(server: &TestServer) -> keyward_entities::audit_event::Model {
    server.app.audit_record(AuditEvent::by_cli(AuditKind::RoleChanged)).unwrap()
}

async fn add_role(server: &TestServer, name: &str) -> Uuid {
    let app = &server.app;
    let now = app.clock.now();
    let id = app.random.uuid_v7(now).unwrap();
    let row = role::Model {
        id,
        organization_id: DEFAULT_ORGANIZATION,
        client: None,
        name: name.into(),
        description: String::new(),
        permissions: "[]".into(),
        created_at: now.micros(),
    };
    assert!(app.store.add_role(row, Vec::new(), event(server)).await.unwrap());
    id
}

async fn link(server: &TestServer, link: Link) {
    let id = server.app.random.uuid_v7(server.app.clock.now()).unwrap();
    server.app.store.link(link, id, event(server)).await.unwrap();
    server.app.reload().await.unwrap();
}

/// Makes a scope one for holders of this role.
async fn restrict(server: &TestServer, scope: &str, role: Uuid) {
    let roles = serde_json::to_string(&[role]).unwrap();
    assert!(server.app.store.change_scope(scope, event(server), move |row| row.role_ids = roles).await.unwrap());
    server.app.reload().await.unwrap();
}

/// A client that asks, the scope `api` for moderators, and admins who are moderators too.
async fn setting(server: &TestServer) -> (Uuid, Uuid) {
    let (admin, moderator) = (add_role(server, "admin").await, add_role(server, "moderator").await);
    link(server, Link::Inclusion { role: admin, included: moderator }).await;
    restrict(server, "api", moderator).await;
    server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
    (admin, moderator)
}

on_each_database! {
    async fn only_holders_of_the_role_give_the_scope(server) {
        let (admin, moderator) = setting(server).await;
        for (name, role) in [("ada", Some(admin)), ("grace", Some(moderator)), ("alan", None)] {
            let user = server.add_user(name).await;
            if let Some(role) = role {
                link(server, Link::UserRole { user: user.id, role }).await;
            }
            let browser = Browser::new(server);
            let page = browser.open(&server.authorize_url("shop", &[("scope", "openid api")])).await;
            let page = browser.sign_in(&page, name).await;
            assert_eq!(page.text.contains("data-scope=\"api\""), role.is_some(), "{name}: the page shows what is given");
            let answer = browser.submit(&page, &[("decision", "allow")]).await;
            let code = parameters(answer.header("location"))["code"].clone();
            let granted = server.redeem("shop", &code).await.json()["scope"].clone();
            assert_eq!(granted, if role.is_some() { "openid api" } else { "openid" }, "{name}");
            server.app.flush_audit().await;
            let withheld = server.app.store.audit_events("scope_withheld", 10).await.unwrap();
            let of_this: Vec<_> =
                withheld.iter().filter(|event| event.subject.as_deref() == Some(&user.subject)).collect();
            assert_eq!(of_this.len(), usize::from(role.is_none()), "{name}");
            assert!(of_this.iter().all(|event| event.detail.contains("api") && event.client_id.as_deref() == Some("shop")));
        }
    }

    async fn a_lost_role_takes_the_scope_from_the_next_token(server) {
        let (admin, _) = setting(server).await;
        let user = server.add_user("ada").await;
        link(server, Link::UserRole { user: user.id, role: admin }).await;
        let browser = Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[("scope", "openid api")]), "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        assert_eq!(tokens["scope"], "openid api");
        server.app.store.unlink(Link::UserRole { user: user.id, role: admin }, event(server)).await.unwrap();
        let refreshed = server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await.json();
        assert_eq!(refreshed["scope"], "openid");
        // And it comes back with the role: the grant says what was allowed, the roles what holds now.
        link(server, Link::UserRole { user: user.id, role: admin }).await;
        let again = server.refresh("shop", refreshed["refresh_token"].as_str().unwrap()).await.json();
        assert_eq!(again["scope"], "openid api");
    }

    async fn who_may_give_nothing_is_refused_and_it_is_audited(server) {
        setting(server).await;
        let user = server.add_user("alan").await;
        let browser = Browser::new(server);
        let answer = browser.arrive(&server.authorize_url("shop", &[("scope", "api")]), "alan").await;
        assert_eq!(parameters(answer.header("location"))["error"], "access_denied");
        server.app.flush_audit().await;
        let refused = server.app.store.audit_events("authorization_refused", 10).await.unwrap();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].actor, format!("user:{}", user.subject));
        assert!(refused[0].detail.contains("access_denied") && refused[0].detail.contains("api"), "{refused:?}");
    }

    async fn claims_dont_go_round_a_scope_that_is_for_roles(server) {
        let (_, moderator) = setting(server).await;
        restrict(server, "email", moderator).await;
        server.add_user("alan").await;
        let address = server.authorize_url(
            "shop",
            &[("scope", "openid"), ("claims", r#"{"userinfo":{"email":null},"id_token":{"email":null}}"#)],
        );
        let browser = Browser::new(server);
        let page = browser.sign_in(&browser.open(&address).await, "alan").await;
        assert!(!page.text.contains("data-claim=\"email\""));
        let answer = browser.submit(&page, &[("decision", "allow")]).await;
        let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        let said = server.userinfo(tokens["access_token"].as_str().unwrap()).await.json();
        assert!(said.get("email").is_none(), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_no_role_and_a_deleted_role_opens_nothing() {
    let server = TestServer::sqlite().await;
    let (_, moderator) = setting(&server).await;
    server.add_scope("read").await;
    server
        .add_client(ClientSpec::machine("batch").with(|client| client.scope = ScopeSet::parse("api read").unwrap()))
        .await;
    let ask = async |scope| server.token("batch", &[("grant_type", "client_credentials"), ("scope", scope)]).await;
    assert_eq!(ask("api read").await.json()["scope"], "read");
    assert_eq!(ask("api").await.error(), "invalid_scope");
    server.app.store.delete_role(moderator, event(&server)).await.unwrap();
    server.app.reload().await.unwrap();
    assert_eq!(ask("api").await.error(), "invalid_scope");
    server.stop().await;
}
