//! A revoked key opens nothing: not at userinfo, not at introspection, not at a logout, and not from a cache.

use std::sync::Arc;

use keyward::app::App;
use keyward::signing_keys::KeyActor;
use keyward_keys::Algorithm;
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{self, KeyWaits, ScheduledKey};

use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec};

use super::forge::{part, server_key, sign};

async fn revoke(app: &App, kid: String) {
    let algorithms = app.key_algorithms().unwrap();
    let rule = move |keys: &[ScheduledKey], _: &KeyWaits, _: Timestamp| key_schedule::revoke(keys, &kid, &algorithms);
    app.change_keys(KeyActor::Cli, Arc::new(rule)).await.unwrap().unwrap();
}

on_each_database! {
    async fn its_tokens_are_refused_on_every_node_and_the_next_key_signs(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::machine("batch").with(|client| client.resources = vec!["https://api.example".into()])).await;
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        let browser = Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        let access = text("access_token");
        let machine = server
            .token("batch", &[("grant_type", "client_credentials"), ("resource", "https://api.example")])
            .await
            .json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let key = server_key(server);
        assert_eq!(server.userinfo(&access).await.status, 200);
        for (client, token) in [("shop", &access), ("api", &machine)] {
            assert_eq!(server.introspect(client, token).await.json()["active"], true, "{client}");
        }
        // Another node does it; this one has the tokens in its cache of verified ones.
        let other = App::start(server.app.settings.clone(), server.app.clock.clone()).await.unwrap();
        revoke(&other, key.kid().to_owned()).await;
        // The node's look at the version, which its background makes four times a second.
        server.app.reload_if_changed().await.unwrap();
        assert_eq!(server.userinfo(&access).await.status, 401);
        for (client, token) in [("shop", &access), ("api", &machine)] {
            assert_eq!(server.introspect(client, token).await.text, "{\"active\":false}", "{client}");
        }
        let forged = sign(&key, &part(&access, 0), &part(&access, 1));
        assert_eq!(server.userinfo(&forged).await.status, 401, "what the thief signs");
        let jwks = Answer::of(server.http.get(server.endpoint("/jwks"))).await.text;
        assert!(!jwks.contains(key.kid()));
        let hint = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("id_token_hint", text("id_token").as_str()), ("post_logout_redirect_uri", "https://app.example/bye")])
            .finish();
        let answer = browser.get(&format!("/end_session?{hint}")).await;
        assert!(answer.status == 200 && answer.text.contains("/end_session/confirm"), "the person is asked: {answer:?}");

        // Nobody signs in anew: the refresh token gives tokens of the next key.
        let refreshed = server.refresh("shop", &text("refresh_token")).await.json();
        let fresh = refreshed["access_token"].as_str().unwrap();
        assert_ne!(part(fresh, 0)["kid"], *key.kid());
        assert!(jwks.contains(part(fresh, 0)["kid"].as_str().unwrap()));
        assert_eq!(server.userinfo(fresh).await.status, 200);
        let ring = server.app.key_ring.load();
        assert!(ring.active(Algorithm::Es256).is_some() && ring.find(key.kid()).is_none());
    }
}
