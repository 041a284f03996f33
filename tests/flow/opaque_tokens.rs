//! Opaque access tokens (requirement TK-4): who gets them, what they are good for, and what is kept of them.

use keyward_protocol::client_metadata::AccessTokenFormat;
use serde_json::json;

use crate::security::forge::part;
use crate::store::Tables;
use crate::support::server::claims;
use crate::support::{Browser, ClientSpec, TestServer};

const API: &str = "https://api.example";
const OTHER: &str = "https://other.example";

fn opaque(spec: ClientSpec) -> ClientSpec {
    spec.with(|client| client.access_token_format = Some(AccessTokenFormat::Opaque))
}

async fn tokens_for(server: &TestServer, client: &str, resource: &str) -> serde_json::Value {
    let address = server.authorize_url(client, &[("resource", resource), ("scope", "openid roles profile api")]);
    let code = Browser::new(server).code(&address, "ada").await;
    let answer = server.redeem(client, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

on_each_database! {
    async fn an_opaque_token_is_introspected_as_a_jwt_would_be(server) {
        let ada = server.add_user("ada").await;
        server.add_client(ClientSpec::api("api", API)).await;
        server.add_client(ClientSpec::api("other", OTHER)).await;
        server.add_client(ClientSpec::web("jwts").with(|client| client.resources = vec![API.into()])).await;
        server.add_client(opaque(ClientSpec::web("refs").with(|client| client.resources = vec![API.into()]))).await;
        let tokens = tokens_for(server, "refs", API).await;
        let token = tokens["access_token"].as_str().unwrap();
        assert!(token.starts_with("kw_at_") && token.len() == 53 && !token.contains('.'), "{token}");
        assert_eq!(claims(tokens["id_token"].as_str().unwrap())["at_hash"].as_str().unwrap().len(), 22);
        let said = server.introspect("api", token).await.json();
        assert_eq!(said["sub"], ada.subject.as_str());
        assert_eq!(said["aud"], json!([API, server.url]));
        // The same members with the same kinds of values, but for names and ids.
        let jwt = tokens_for(server, "jwts", API).await;
        let mut as_jwt = server.introspect("api", jwt["access_token"].as_str().unwrap()).await.json();
        as_jwt["client_id"] = "refs".into();
        as_jwt["jti"] = said["jti"].clone();
        assert_eq!(said, as_jwt);
        assert_eq!(server.introspect("refs", token).await.json(), said, "its client may ask too");
        for foreign in ["other", "jwts"] {
            assert_eq!(server.introspect(foreign, token).await.text, "{\"active\":false}");
        }
        assert_eq!(server.userinfo(token).await.json()["sub"], ada.subject.as_str());

        let next = server.refresh("refs", tokens["refresh_token"].as_str().unwrap()).await.json();
        let second = next["access_token"].as_str().unwrap();
        assert_ne!(second, token);
        assert_eq!(server.userinfo(second).await.status, 200);
        assert_eq!(server.revoke("jwts", second).await.status, 200);
        assert_eq!(server.userinfo(second).await.status, 200, "a foreign client ends nothing");
        assert_eq!(server.revoke("refs", second).await.status, 200);
        assert_eq!(server.userinfo(second).await.status, 401);
        assert_eq!(server.introspect("refs", second).await.text, "{\"active\":false}");
        assert_eq!(server.userinfo(token).await.status, 200, "and no other token");
        assert_eq!(server.app.store.audit_events("token_revoked", 10).await.unwrap().len(), 1);

        server.advance(1799);
        assert_eq!(server.userinfo(token).await.status, 200);
        server.advance(1);
        assert_eq!(server.userinfo(token).await.status, 401);
        assert_eq!(server.introspect("api", token).await.text, "{\"active\":false}");
    }

    async fn a_clients_own_token_can_be_opaque(server) {
        server.add_client(ClientSpec::api("api", API)).await;
        server.add_client(opaque(ClientSpec::machine("batch").with(|client| client.resources = vec![API.into()]))).await;
        let answer = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
        let token = answer["access_token"].as_str().unwrap();
        let said = server.introspect("api", token).await.json();
        assert_eq!((said["active"].as_bool(), said["sub"].as_str()), (Some(true), Some("batch")));
        for absent in ["auth_time", "acr", "amr", "roles"] {
            assert!(said.get(absent).is_none(), "{said}");
        }
        assert_eq!(server.userinfo(token).await.status, 401, "there is no person");
        // Who is given the identifier later isn't given the tokens.
        let event = || {
            let event = keyward::audit::AuditEvent::by_cli(keyward::audit::AuditKind::ClientDeleted);
            server.app.audit_record(event).unwrap()
        };
        let id = server.app.store.find_client("batch").await.unwrap().unwrap().id;
        server.app.store.delete_client(id, event()).await.unwrap();
        server.app.reload().await.unwrap();
        assert_eq!(server.introspect("api", token).await.text, "{\"active\":false}");
        server.add_client(opaque(ClientSpec::machine("batch"))).await;
        assert_eq!(server.introspect("api", token).await.text, "{\"active\":false}");
    }

    async fn the_resource_decides_on_form_and_life(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::api("api", API).with(|client| {
            client.resource_tokens.access_token_format = Some(AccessTokenFormat::Opaque);
            client.resource_tokens.access_token_lifetime = Some(120);
        })).await;
        server.add_client(ClientSpec::api("other", OTHER).with(|client| {
            client.resource_tokens.access_token_format = Some(AccessTokenFormat::Jwt);
            client.resource_tokens.access_token_lifetime = Some(7200);
        })).await;
        let resources = |spec: ClientSpec| spec.with(|client| client.resources = vec![API.into(), OTHER.into()]);
        server.add_client(resources(ClientSpec::web("jwts"))).await;
        server.add_client(resources(opaque(ClientSpec::web("refs")))).await;
        for client in ["jwts", "refs"] {
            let short = tokens_for(server, client, API).await;
            assert!(short["access_token"].as_str().unwrap().starts_with("kw_at_"), "{client}");
            assert_eq!(short["expires_in"], 120);
            let long = tokens_for(server, client, OTHER).await;
            let jwt = part(long["access_token"].as_str().unwrap(), 1);
            assert_eq!(long["expires_in"], 1800, "a resource shortens and doesn't lengthen");
            assert_eq!(jwt["exp"].as_i64().unwrap() - jwt["iat"].as_i64().unwrap(), 1800);
            // A refresh for another resource of the grant follows that one.
            server.advance(119);
            assert_eq!(server.introspect("api", short["access_token"].as_str().unwrap()).await.json()["active"], true);
            server.advance(1);
            assert_eq!(server.introspect("api", short["access_token"].as_str().unwrap()).await.json()["active"], false);
        }
    }

    async fn no_token_outlives_its_session(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.access_token_lifetime = Some(14 * 3600))).await;
        let online = Browser::new(server);
        let code = online.code(&server.authorize_url("shop", &[("scope", "openid")]), "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        assert_eq!(tokens["expires_in"], 12 * 3600, "the session is over when it wasn't used for so long");
        let offline = Browser::new(server);
        let address = server.authorize_url("shop", &[("scope", "openid offline_access"), ("prompt", "consent")]);
        let code = offline.code(&address, "ada").await;
        assert_eq!(server.redeem("shop", &code).await.json()["expires_in"], 14 * 3600);
    }

    async fn one_form_never_passes_for_another(server) {
        server.add_user("ada").await;
        server.add_client(opaque(ClientSpec::web("refs"))).await;
        server.add_client(ClientSpec::web("jwts")).await;
        let tokens = server.tokens("refs", "ada").await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        let jwt = server.tokens("jwts", "ada").await["access_token"].as_str().unwrap().to_owned();
        assert_eq!(server.refresh("refs", access).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(refresh).await.status, 401);
        let mut changed = access.to_owned();
        let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
        changed.push(last);
        for wrong in [
            changed,
            format!("{access}."),
            format!("{access}.{access}.{access}"),
            format!("kw_at_{refresh}"),
            keyward_protocol::opaque_token::form(refresh),
            keyward_protocol::opaque_token::form(&jwt[..43]),
            access.trim_start_matches("kw_at_").to_owned(),
        ] {
            assert_eq!(server.userinfo(&wrong).await.status, 401, "{wrong}");
            assert_eq!(server.introspect("refs", &wrong).await.text, "{\"active\":false}", "{wrong}");
            assert_eq!(server.refresh("refs", &wrong).await.error(), "invalid_grant", "{wrong}");
            assert_eq!(server.revoke("refs", &wrong).await.status, 200, "{wrong}");
        }
        assert_eq!(server.userinfo(access).await.status, 200, "nothing of this ended it");
    }

    async fn what_is_remembered_goes_when_it_has_expired(server) {
        server.add_user("ada").await;
        server.add_client(opaque(ClientSpec::web("refs"))).await;
        let mut refresh = server.tokens("refs", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        for _ in 0..4 {
            refresh = server.refresh("refs", &refresh).await.json()["refresh_token"].as_str().unwrap().to_owned();
        }
        let tables = Tables::of(server).await;
        let rows = "SELECT COUNT(*) FROM opaque_tokens";
        server.clean_up(2).await;
        assert_eq!(tables.number(rows).await, 5);
        server.advance(1801);
        server.clean_up(2).await;
        assert_eq!(tables.number(rows).await, 0);
        assert_eq!(server.refresh("refs", &refresh).await.status, 200, "the family goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_holds_only_the_hash() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(opaque(ClientSpec::web("refs"))).await;
    let token = server.tokens("refs", "ada").await["access_token"].as_str().unwrap().to_owned();
    server.introspect("refs", &token).await;
    server.revoke("refs", server.tokens("refs", "ada").await["access_token"].as_str().unwrap()).await;
    let secret = &token["kw_at_".len()..];
    for entry in std::fs::read_dir(server.database().folder()).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!octets.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    server.stop().await;
}
