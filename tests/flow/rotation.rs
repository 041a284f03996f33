//! Ten rotations by schedule, on one node and on two, with a client that keeps the JWK Set for its full lifetime and a
//! resource server that refreshes its keys as often as `keyward-guard` does by default: no token is refused.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use keyward::account::client::{ClientProblem, edit, register};
use keyward::app::App;
use keyward::fault::Fault;
use keyward::issuer;
use keyward_guard::{Discovery, Guard, Verifier};
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::ClientMetadata;
use serde_json::Value;

use crate::security::forge::{self, part};
use crate::support::server::Answer;
use crate::support::{ClientSpec, TestDatabase, TestServer};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A resource server that fetches the keys only when its copy is too old, and never for an unknown name.
struct CachingClient {
    keys: JwkSet,
    fetched: i64,
    fetches: usize,
}

impl CachingClient {
    async fn new(server: &TestServer) -> Self {
        let keys = Self::fetch(server).await.0;
        Self { keys, fetched: server.app.clock.now().seconds(), fetches: 1 }
    }

    async fn fetch(server: &TestServer) -> (JwkSet, i64) {
        let answer = Answer::of(server.http.get(server.endpoint("/jwks"))).await;
        let max_age = answer.header("cache-control").rsplit_once("max-age=").unwrap().1.parse().unwrap();
        (serde_json::from_value(answer.json()).unwrap(), max_age)
    }

    async fn verify(&mut self, server: &TestServer, token: &str, audience: &str) {
        let now = server.app.clock.now().seconds();
        let (fresh, max_age) = Self::fetch(server).await;
        if now - self.fetched > max_age {
            (self.keys, self.fetched) = (fresh, now);
            self.fetches += 1;
        }
        let header = part(token, 0);
        let kid = header["kid"].as_str().unwrap();
        let jwk =
            self.keys.find(kid).unwrap_or_else(|| panic!("{kid} isn't in the set of {} s ago", now - self.fetched));
        let mut validation = Validation::new(header["alg"].as_str().unwrap().parse().unwrap());
        validation.set_audience(&[audience]);
        // The library's own clock isn't the test's.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap();
        assert!(claims.claims["exp"].as_i64().unwrap() > now, "the test asks for live tokens only");
    }
}

/// Waits until the server's own background has noticed what the moved clock made due, without moving it further.
async fn settled(server: &TestServer) {
    for _ in 0..200 {
        let due = server.app.run_key_schedule().await.unwrap();
        server.app.reload_if_changed().await.unwrap();
        if due.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("there is always something due");
}

/// A resource server that refreshes its keys every five minutes, and once for a key that it doesn't know.
struct ResourceServer {
    guard: Guard,
    refreshed: i64,
}

impl ResourceServer {
    async fn new(server: &TestServer) -> Self {
        let clock = server.app.clock.clone();
        let guard = Guard::builder(Verifier::new(server.url.clone()).audience(server.url.clone()))
            .clock(move || clock.now().seconds().try_into().unwrap())
            // Its own intervals are of real time, in which no hour passes here.
            .discover(Discovery::new().client(server.http.clone()).refetch_at_most_every(Duration::from_secs(DAY)))
            .unwrap();
        // Uses up the one fetch for an unknown key: from now on only a refresh tells it of new ones.
        let foreign = keyward_keys::SigningKey::generate(Algorithm::Es256).unwrap().0;
        let header = serde_json::json!({"typ": "at+jwt", "alg": "ES256", "kid": foreign.kid()});
        let unknown = forge::sign(&foreign, &header, &serde_json::json!({}));
        guard.issuer_keys().unwrap().refresh().await.unwrap();
        assert_eq!(guard.verify(&unknown).await.unwrap_err().refusal(), &keyward_guard::TokenRefusal::UnknownKey);
        Self { guard, refreshed: server.app.clock.now().seconds() }
    }

    async fn takes(&mut self, server: &TestServer, token: &str) {
        let now = server.app.clock.now().seconds();
        if now - self.refreshed >= 300 {
            self.guard.issuer_keys().unwrap().refresh().await.unwrap();
            self.refreshed = now;
        }
        let judged = self.guard.verify(token).await;
        assert!(judged.is_ok(), "keys of {} s ago: {:?}", now - self.refreshed, judged.unwrap_err().refusal());
    }
}

async fn ten_rotations(database: TestDatabase, nodes: usize) {
    let server = TestServer::with(database, |settings| {
        settings.keys.algorithms = vec!["ES256".into(), "EdDSA".into()];
        settings.keys.rotation_interval = "2d".parse().unwrap();
        settings.sessions.absolute_timeout = "7d".parse().unwrap();
        settings.sessions.idle_timeout = "7d".parse().unwrap();
    })
    .await;
    server.add_user("ada").await;
    server
        .add_client(ClientSpec::web("shop").with(|client| {
            client.id_token_signed_response_alg = Algorithm::EdDsa;
            client.access_token_lifetime = Some(5400);
        }))
        .await;
    let browser = crate::support::Browser::new(&server);
    let offline = [("scope", "openid offline_access"), ("prompt", "consent")];
    let code = browser.code(&server.authorize_url("shop", &offline), "ada").await;
    let mut tokens = server.redeem("shop", &code).await.json();
    let second = if nodes == 2 { Some(server.second_node().await) } else { None };
    let mut client = CachingClient::new(&server).await;
    let mut resource_server = ResourceServer::new(&server).await;
    let (mut live, mut kids) = (Vec::new(), std::collections::BTreeSet::new());
    // Around each rotation in steps of a minute or two, elsewhere in steps of hours.
    for _ in 0..10 {
        let hours = std::iter::repeat_n(HOUR, 46);
        let minutes = std::iter::repeat_n(97, 130);
        for (index, step) in hours.chain(minutes).enumerate() {
            server.advance(step);
            match &second {
                // Both schedules fire at once.
                Some(second) => _ = tokio::join!(settled(&server), second.app.run_key_schedule()).1.unwrap(),
                None => settled(&server).await,
            }
            if index >= 46 || index % 15 == 0 {
                let signer = second.as_ref().filter(|_| index % 2 == 0).unwrap_or(&server);
                signer.app.reload_if_changed().await.unwrap();
                let answer = signer.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                tokens = answer.json();
                let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
                kids.insert(part(&text("access_token"), 0)["kid"].as_str().unwrap().to_owned());
                for (token, audience) in [(text("access_token"), server.url.as_str()), (text("id_token"), "shop")] {
                    live.push((token, audience.to_owned()));
                }
                assert_eq!(server.userinfo(&text("access_token")).await.status, 200);
            }
            let now = server.app.clock.now().seconds();
            live.retain(|(token, _)| part(token, 1)["exp"].as_i64().unwrap() > now + 1);
            // The oldest live token and the newest one.
            for (token, audience) in live.first().into_iter().chain(live.last()) {
                client.verify(&server, token, audience).await;
                if audience != "shop" {
                    resource_server.takes(&server, token).await;
                }
            }
            if let Some((token, _)) = live.iter().find(|(_, audience)| audience != "shop") {
                assert_eq!(server.userinfo(token).await.status, 200, "an access token that lives");
            }
        }
    }
    assert!(kids.len() >= 10, "{} keys have signed", kids.len());
    assert!(client.fetches > 100);
    // What is over is gone: nothing is published for longer than its tokens live, nothing kept beyond the sessions.
    let published = CachingClient::fetch(&server).await.0.keys.len();
    assert!(published <= 6, "{published} keys are published");
    let kept = server.app.store.signing_keys().await.unwrap();
    assert!(kept.len() <= 2 * (2 + 1 + 5), "{} keys are kept", kept.len());
    assert!(kept.iter().any(|key| key.state == "archived"));
    if let Some(second) = second {
        second.stop().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_rotations_sqlite() {
    ten_rotations(TestDatabase::sqlite(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn ten_rotations_of_two_nodes_postgres() {
    ten_rotations(TestDatabase::postgres().await, 2).await;
}

on_each_database! {
    async fn a_new_algorithm_signs_when_everybody_can_have_seen_its_key(server) {
        let settings = |algorithms: &[&str], of_tokens: &str| {
            let mut settings = server.app.settings.clone();
            settings.keys.algorithms = algorithms.iter().map(|name| (*name).to_owned()).collect();
            settings.tokens.access_token_algorithm = of_tokens.to_owned();
            settings
        };
        // The same installation, started anew with one algorithm more, which is to sign access tokens too.
        let wanted = settings(&["ES256", "EdDSA", "RS256"], "RS256");
        let app = App::start(wanted, server.app.clock.clone()).await.unwrap();
        app.run_key_schedule().await.unwrap();
        let state = async || {
            let keys = app.store.signing_keys().await.unwrap();
            let mut states: Vec<_> =
                keys.into_iter().filter(|key| key.algorithm == "RS256").map(|key| key.state).collect();
            states.sort();
            states
        };
        assert_eq!(state().await, ["next"], "published before it signs");
        let listed = || {
            let document: Value = serde_json::from_slice(&app.provider_metadata.load()).unwrap();
            document["id_token_signing_alg_values_supported"].as_array().unwrap().contains(&"RS256".into())
        };
        assert!(!listed());
        assert_eq!(app.access_token_algorithm(), Algorithm::Es256, "what resource servers know already");
        let asks = ClientSpec::web("asks").with(|client| client.id_token_signed_response_alg = Algorithm::Rs256).metadata;
        let refused = register(&app, Some("asks".into()), &asks).await.unwrap_err();
        let from = match &refused {
            ClientProblem::KeyNotReady { from, .. } => *from,
            other => panic!("{other}"),
        };
        let waits = app.key_waits().publication;
        assert_eq!(from, app.clock.now().plus_seconds(waits));
        assert!(refused.to_string().starts_with("the RS256 key of this server signs from 20"), "{refused}");
        // A client that had asked for it when there was a key is told to come again.
        server.add_client(ClientSpec::web("shop")).await;
        let earlier = |client: &mut ClientMetadata| client.access_token_signed_response_alg = Some(Algorithm::EdDsa);
        edit(&app, "shop", earlier).await.unwrap();
        let later = |client: &mut ClientMetadata| client.id_token_signed_response_alg = Algorithm::Rs256;
        assert!(matches!(edit(&app, "shop", later).await, Err(ClientProblem::KeyNotReady { .. })));
        assert!(matches!(issuer::active(&app, Algorithm::Rs256), Err(Fault::Unavailable(_))));
        assert!(matches!(issuer::active(&app, Algorithm::Ps256), Err(Fault::Broken(_))));

        server.advance(waits - 1);
        app.run_key_schedule().await.unwrap();
        assert_eq!(state().await, ["next"]);
        server.advance(1);
        app.run_key_schedule().await.unwrap();
        app.reload_if_changed().await.unwrap();
        assert_eq!(state().await, ["active", "next"]);
        assert!(listed());
        assert_eq!(app.access_token_algorithm(), Algorithm::Rs256);
        register(&app, Some("asks".into()), &asks).await.unwrap();
        edit(&app, "shop", later).await.unwrap();
    }

    async fn a_hint_of_an_archived_key_is_a_hint(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = crate::support::Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let id_token = server.redeem("shop", &code).await.json()["id_token"].as_str().unwrap().to_owned();
        let kid = part(&id_token, 0)["kid"].as_str().unwrap().to_owned();
        let state = async || {
            let keys = server.app.store.signing_keys().await.unwrap();
            keys.into_iter().find(|key| key.kid == kid).map(|key| key.state)
        };
        // The session lives on by its use; the key is rotated and withdrawn meanwhile.
        server.advance(90 * DAY);
        settled(server).await;
        assert_eq!(state().await.as_deref(), Some("retired"));
        server.advance(HOUR);
        settled(server).await;
        assert_eq!(state().await.as_deref(), Some("archived"));
        assert!(!Answer::of(server.http.get(server.endpoint("/jwks"))).await.text.contains(&kid), "not published");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("id_token_hint", id_token.as_str()), ("post_logout_redirect_uri", "https://app.example/bye")])
            .finish();
        let answer = browser.get(&format!("/end_session?{query}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "https://app.example/bye"), "{answer:?}");
        server.advance(30 * DAY);
        settled(server).await;
        assert_eq!(state().await, None, "no session is that old");
    }
}
