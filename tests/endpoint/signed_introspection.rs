//! Signed introspection answers (RFC 9701).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::Algorithm;
use serde_json::{Value, json};

use crate::security::forge::part;
use crate::support::server::{Answer, SECRET};
use crate::support::{ClientSpec, TestServer};

const TYPE: &str = "application/token-introspection+jwt";

async fn ask(server: &TestServer, caller: &str, token: &str, accept: &str) -> Answer {
    let request = server.http.post(server.endpoint("/introspect")).basic_auth(caller, Some(SECRET));
    Answer::of(request.header("accept", accept).form(&[("token", token)])).await
}

/// The claims of a signed answer, its signature and header checked.
fn verified(server: &TestServer, answer: &Answer, algorithm: Algorithm) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, TYPE), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let key = server.app.key_ring.load().active(algorithm).cloned().unwrap();
    let (signed, signature) = answer.text.rsplit_once('.').unwrap();
    key.verify(signed.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let header = part(&answer.text, 0);
    assert_eq!(header, json!({"alg": algorithm.as_str(), "typ": "token-introspection+jwt", "kid": key.kid()}));
    part(&answer.text, 1)
}

fn api(id: &'static str, audience: &str, algorithm: Algorithm) -> ClientSpec {
    ClientSpec::api(id, audience).with(|client| client.introspection_signed_response_alg = algorithm)
}

on_each_database! {
    async fn the_answer_is_in_a_claim_of_its_own(server) {
        server.add_user("ada").await;
        server.add_client(api("api", "https://api.example", Algorithm::Es256)).await;
        server.add_client(api("ed", "https://ed.example", Algorithm::EdDsa)).await;
        server.add_client(ClientSpec::web("shop").with(|client| {
            client.resources = vec!["https://api.example".into()];
            client.introspection_signed_response_alg = Algorithm::Es256;
        })).await;
        let tokens = server.tokens("shop", "ada").await;
        let access = tokens["access_token"].as_str().unwrap();
        let plain = server.introspect("api", access).await.json();
        assert_eq!(plain["active"], true);
        let said = verified(server, &ask(server, "api", access, TYPE).await, Algorithm::Es256);
        let expected = json!({
            "iss": server.url,
            "aud": "api",
            "iat": server.app.clock.now().seconds(),
            "token_introspection": plain,
        });
        assert_eq!(said, expected, "RFC 9701 §5: no exp and no sub beside");
        let weighed = ask(server, "api", access, &format!("application/json;q=0.5, {TYPE}")).await;
        assert_eq!(verified(server, &weighed, Algorithm::Es256)["token_introspection"], plain);

        let foreign = verified(server, &ask(server, "ed", access, TYPE).await, Algorithm::EdDsa);
        assert_eq!(foreign["token_introspection"], json!({"active": false}), "the token isn't for it");
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let own = verified(server, &ask(server, "shop", refresh, TYPE).await, Algorithm::Es256);
        assert_eq!(own["token_introspection"]["active"], true);
        assert_eq!(own["token_introspection"]["token_use"], "refresh_token");
        assert_eq!(plain["token_use"], "access_token");
        let others = verified(server, &ask(server, "api", refresh, TYPE).await, Algorithm::Es256);
        assert_eq!(others["token_introspection"], json!({"active": false}));
        for accept in ["application/json", "*/*", "application/*"] {
            let answer = ask(server, "api", access, accept).await;
            assert_eq!(answer.header("content-type"), "application/json", "{accept}");
        }
        // It can't be used as the token that it tells of (RFC 8725 §3.11).
        let signed = ask(server, "api", access, TYPE).await.text;
        assert_eq!(server.userinfo(&signed).await.status, 401);
        assert_eq!(server.introspect("api", &signed).await.json(), json!({"active": false}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_unsigned_for_who_asked_for_a_signature() {
    let server = TestServer::sqlite().await;
    // RFC 9701 §6: RS256 unless another is registered; this server has no such key.
    server.add_client(ClientSpec::api("api", "https://api.example")).await;
    let answer = ask(&server, "api", "x", TYPE).await;
    assert_eq!((answer.status, answer.error().as_str()), (406, "invalid_request"), "{answer:?}");
    let request = server.http.post(server.endpoint("/introspect")).basic_auth("api", Some("wrong"));
    let refused = Answer::of(request.header("accept", TYPE).form(&[("token", "x")])).await;
    assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_client"), "errors are JSON");
    let metadata = Answer::of(server.http.get(server.endpoint("/.well-known/oauth-authorization-server"))).await;
    assert_eq!(metadata.json()["introspection_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
    server.stop().await;
}
