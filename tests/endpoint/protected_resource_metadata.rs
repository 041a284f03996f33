//! Metadata of our own protected resource (RFC 9728).

use crate::support::server::Answer;
use crate::support::{TestDatabase, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn it_names_this_server_as_the_one_whose_tokens_are_taken() {
    for base in ["", "/auth"] {
        let server = TestServer::with(TestDatabase::sqlite(), |settings| {
            settings.public_url = format!("{}{base}", settings.public_url.as_str()).parse().unwrap();
        })
        .await;
        let (issuer, origin) = (server.app.settings.issuer(), server.app.settings.public_url.origin());
        // RFC 9728 §3.1: the well-known part is inserted before the resource's path.
        let answer = Answer::of(server.http.get(format!("{origin}/.well-known/oauth-protected-resource{base}"))).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
        let document = answer.json();
        assert_eq!(document["resource"], issuer);
        assert_eq!(document["authorization_servers"], serde_json::json!([issuer]));
        let jwks = Answer::of(server.http.get(document["jwks_uri"].as_str().unwrap())).await;
        assert_eq!(jwks.status, 200);
        server.stop().await;
    }
}
