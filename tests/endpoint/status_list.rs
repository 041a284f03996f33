//! Status lists (draft-ietf-oauth-status-list-21): what a token names, what is served, and to whom it costs nothing.

use keyward::app::App;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::status_list;

use crate::support::server::{Answer, claims};
use crate::support::status::{bits, is_revoked, reference, verified};
use crate::support::{Browser, ClientSpec, TestServer};

fn listed(id: &'static str) -> ClientSpec {
    ClientSpec::web(id).with(|client| client.access_token_status_list = true)
}

async fn token(server: &TestServer, client: &str) -> String {
    server.tokens(client, "ada").await["access_token"].as_str().unwrap().to_owned()
}

/// A client's token for itself.
async fn own_token(server: &TestServer, client: &str) -> String {
    let answer = server.token(client, &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn lists(server: &TestServer) -> Vec<String> {
    let answer = Answer::of(server.http.get(server.endpoint("/status-lists"))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    serde_json::from_value(answer.json()["status_lists"].clone()).unwrap()
}

on_each_database! {
    async fn a_list_is_served_as_the_draft_has_it(server) {
        server.add_user("ada").await;
        server.add_client(listed("shop")).await;
        let token = token(server, "shop").await;
        let (uri, index) = reference(&token).unwrap();
        assert!(uri.starts_with(&server.endpoint("/status-lists/")), "{uri}");
        assert!(index < 1 << 17);
        assert_eq!(lists(server).await, std::slice::from_ref(&uri));

        let get = || server.http.get(&uri);
        let answer = Answer::of(get()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/statuslist+jwt");
        assert_eq!(answer.header("cache-control"), "public, max-age=5");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.headers.get_all("vary").iter().any(|value| value == "Accept"));
        let list = verified(server, &answer.text);
        let now = server.app.clock.now().seconds();
        assert_eq!((list["iss"].as_str(), list["sub"].as_str()), (Some(server.url.as_str()), Some(uri.as_str())));
        assert_eq!((list["iat"].as_i64(), list["exp"].as_i64()), (Some(now), Some(now + 600)));
        assert_eq!(list["ttl"], 5);
        assert_eq!(list["status_list"]["aggregation_uri"], server.endpoint("/status-lists"));
        assert!(bits(&list).iter().all(|octet| *octet == 0), "nothing was revoked");

        let etag = answer.header("etag").to_owned();
        let known = Answer::of(get().header("if-none-match", &etag)).await;
        assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", etag.as_str()));
        for accept in ["application/statuslist+jwt", "application/*", "*/*", "text/html, */*;q=0.1"] {
            assert_eq!(Answer::of(get().header("accept", accept)).await.text, answer.text, "{accept}");
        }
        for accept in ["application/statuslist+cwt", "application/json", "application/statuslist+jwt;q=0"] {
            assert_eq!(Answer::of(get().header("accept", accept)).await.status, 406, "{accept}");
        }
        assert_eq!(Answer::of(server.http.get(format!("{uri}?time=1686925000"))).await.status, 501);
        assert_eq!(Answer::of(server.http.get(format!("{uri}x"))).await.status, 404);
        assert_eq!(Answer::of(server.http.post(&uri)).await.status, 405);
        let metadata = Answer::of(server.http.get(server.endpoint("/.well-known/oauth-authorization-server"))).await;
        assert_eq!(metadata.json()["status_list_aggregation_endpoint"], server.endpoint("/status-lists"));
    }

    async fn it_is_signed_anew_only_where_it_must_be(server) {
        server.add_user("ada").await;
        server.add_client(listed("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let (uri, _) = reference(tokens["access_token"].as_str().unwrap()).unwrap();
        let get = async || Answer::of(server.http.get(&uri)).await;
        let first = get().await;
        server.advance(2);
        token(server, "shop").await;
        server.advance(2);
        assert_eq!(get().await.text, first.text, "issuing changes no bit");
        assert_eq!(server.revoke("shop", tokens["refresh_token"].as_str().unwrap()).await.status, 200);
        server.advance(1);
        let second = get().await;
        assert_ne!(second.header("etag"), first.header("etag"));
        server.advance(299);
        assert_eq!(get().await.text, second.text);
        server.advance(1);
        let third = get().await;
        assert_ne!(third.text, second.text, "before its end nears");
        assert_eq!(bits(&claims(&third.text)), bits(&claims(&second.text)));
    }

    async fn indices_tell_neither_order_nor_number(server) {
        server.add_user("ada").await;
        server.add_client(listed("shop")).await;
        let refresh = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
        let mut indices = Vec::new();
        let mut refresh = refresh;
        for _ in 0..20 {
            let next = server.refresh("shop", &refresh).await.json();
            indices.push(reference(next["access_token"].as_str().unwrap()).unwrap().1);
            refresh = next["refresh_token"].as_str().unwrap().to_owned();
        }
        let mut sorted = indices.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), indices.len(), "each its own");
        assert_ne!(sorted, indices);
        assert!(sorted.last().unwrap() - sorted.first().unwrap() > 10_000, "{sorted:?}");
    }

    async fn who_does_not_ask_for_it_pays_nothing(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        // What an API wishes for its users' tokens makes no write of those that its clients have for themselves.
        server.add_client(ClientSpec::api("api", "https://api.example").with(|client| {
            client.resource_tokens.access_token_status_list = true;
        })).await;
        server.add_client(ClientSpec::machine("batch").with(|client| {
            client.resources = vec!["https://api.example".into()];
        })).await;
        assert!(reference(&token(server, "shop").await).is_none());
        let (_, acts) = server.app.store.uses();
        assert!(reference(&own_token(server, "batch").await).is_none());
        assert_eq!(server.app.store.uses().1, acts, "and is written nowhere");
        assert!(lists(server).await.is_empty());
    }

    async fn a_clients_token_for_itself_is_in_one_where_the_client_asks_for_it(server) {
        let machine = || ClientSpec::machine("batch").with(|client| client.access_token_status_list = true);
        server.add_client(machine()).await;
        let (first, second) = (own_token(server, "batch").await, own_token(server, "batch").await);
        assert_ne!(reference(&first), reference(&second), "each its own place");
        assert!(!is_revoked(server, &first).await);
        assert_eq!(server.revoke("batch", &first).await.status, 200);
        server.advance(1);
        assert!(is_revoked(server, &first).await);
        assert!(!is_revoked(server, &second).await);
        assert_eq!(server.introspect("batch", &second).await.json()["active"], true);
        // Disabled, and enabled again: what was given before doesn't come back, neither here nor there.
        for disabled in [true, false] {
            let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::ClientChanged)).unwrap();
            let now = server.app.clock.now();
            server.app.store.set_client_disabled("batch", disabled, now, event).await.unwrap();
        }
        server.app.reload().await.unwrap();
        server.advance(1);
        assert!(is_revoked(server, &second).await);
        assert_eq!(server.introspect("batch", &second).await.text, "{\"active\":false}");
        let third = own_token(server, "batch").await;
        assert!(!is_revoked(server, &third).await);
        let client = server.app.store.find_client("batch").await.unwrap().unwrap().id;
        let event = server.app.audit_record(AuditEvent::by_cli(AuditKind::ClientDeleted)).unwrap();
        server.app.store.delete_client(client, event).await.unwrap();
        server.advance(1);
        assert!(is_revoked(server, &third).await);
        let later = server.second_node().await;
        assert!(is_revoked(&later, &third).await, "at a node that starts later");
        later.stop().await;
        // The server believes for a moment that the client stands; no token comes behind its deletion.
        let answer = server.token("batch", &[("grant_type", "client_credentials")]).await;
        assert_eq!((answer.status, answer.error()), (401, "invalid_client".to_owned()));
    }

    async fn a_resource_may_ask_for_it(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::api("plain", "https://plain.example")).await;
        server.add_client(ClientSpec::api("api", "https://api.example").with(|client| {
            client.resource_tokens.access_token_status_list = true;
        })).await;
        server.add_client(ClientSpec::web("shop").with(|client| {
            client.resources = vec!["https://plain.example".into(), "https://api.example".into()];
        })).await;
        assert!(reference(&token(server, "shop").await).is_none(), "the default resource doesn't");
        let address = server.authorize_url("shop", &[("resource", "https://api.example")]);
        let code = Browser::new(server).code(&address, "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        let asked = tokens["access_token"].as_str().unwrap();
        assert!(!is_revoked(server, asked).await);
        assert_eq!(server.revoke("shop", asked).await.status, 200);
        server.advance(1);
        assert!(is_revoked(server, asked).await);
    }

    async fn an_api_that_stands_for_the_issuer_has_its_wishes(server) {
        server.add_user("ada").await;
        let issuer = server.app.settings.issuer().to_owned();
        server.add_client(ClientSpec::api("api", &issuer).with(|client| {
            client.resource_tokens.access_token_status_list = true;
        })).await;
        server.add_client(ClientSpec::web("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        assert!(reference(tokens["access_token"].as_str().unwrap()).is_some());
        assert_eq!(server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await.status, 200);
    }

    async fn one_token_is_revoked_by_itself(server) {
        server.add_user("ada").await;
        server.add_client(listed("shop")).await;
        let tokens = server.tokens("shop", "ada").await;
        let first = tokens["access_token"].as_str().unwrap();
        let next = server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await.json();
        let second = next["access_token"].as_str().unwrap();
        assert!(!is_revoked(server, first).await && !is_revoked(server, second).await);
        assert_eq!(server.revoke("shop", first).await.status, 200);
        server.advance(1);
        assert!(is_revoked(server, first).await);
        assert!(!is_revoked(server, second).await, "and no other");
    }

    async fn another_node_shows_it_within_a_second(server) {
        server.add_user("ada").await;
        server.add_client(listed("shop")).await;
        let other = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
        let tokens = server.tokens("shop", "ada").await;
        let (uri, index) = reference(tokens["access_token"].as_str().unwrap()).unwrap();
        let name = uri.rsplit('/').next().unwrap();
        let set = async || {
            let list = status_list::signed(&other, name).await.unwrap().unwrap();
            let list = claims(std::str::from_utf8(&list.token).unwrap());
            bits(&list)[index / 8] >> (index % 8) & 1 == 1
        };
        assert!(!set().await);
        assert_eq!(server.revoke("shop", tokens["refresh_token"].as_str().unwrap()).await.status, 200);
        server.advance(1);
        assert!(set().await);
        // Both hand out places of one list, and never the same.
        let ours = status_list::next_slot(&server.app).await.unwrap();
        let theirs = status_list::next_slot(&other).await.unwrap();
        assert_eq!(ours.list(), theirs.list());
        assert_ne!(ours, theirs);
    }
}
