//! WebFinger (RFC 7033, OpenID Connect Discovery §2).

use crate::support::server::Answer;
use crate::support::{TestDatabase, TestServer};

const ISSUER: &str = "http://openid.net/specs/connect/1.0/issuer";

async fn ask(server: &TestServer, path: &str, query: &[(&str, &str)]) -> Answer {
    let origin = server.app.settings.public_url.origin().to_owned();
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    Answer::of(server.http.get(format!("{origin}{path}?{query}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_issuer_and_tells_no_account() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    let path = "/.well-known/webfinger";
    for resource in ["acct:ada@localhost", "acct:nobody@localhost", "https://localhost/x"] {
        let answer = ask(&server, path, &[("resource", resource), ("rel", ISSUER)]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/jrd+json"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let wanted = serde_json::json!({"subject": resource, "links": [{"rel": ISSUER, "href": server.url}]});
        assert_eq!(answer.json(), wanted);
    }
    let all = ask(&server, path, &[("resource", "acct:ada@localhost")]).await;
    assert_eq!(all.json()["links"].as_array().unwrap().len(), 1);
    let other = ask(&server, path, &[("resource", "acct:ada@localhost"), ("rel", "avatar")]).await;
    assert_eq!(other.json()["links"], serde_json::json!([]));
    let two = [("resource", "acct:ada@localhost"), ("rel", "avatar"), ("rel", ISSUER)];
    assert_eq!(ask(&server, path, &two).await.json()["links"].as_array().unwrap().len(), 1);
    for bad in [&[][..], &[("resource", "")], &[("resource", "a"), ("resource", "b")]] {
        let answer = ask(&server, path, bad).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{bad:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_issuer_with_a_path_it_is_at_the_root() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.public_url = format!("{}/auth", settings.public_url.as_str()).parse().unwrap();
    })
    .await;
    let answer = ask(&server, "/.well-known/webfinger", &[("resource", "acct:ada@localhost")]).await;
    assert_eq!(answer.json()["links"][0]["href"], server.app.settings.issuer());
    server.stop().await;
}
