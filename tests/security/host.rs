//! A forged host: every address that the server writes comes from its settings, never from the request.

use crate::support::server::Answer;
use crate::support::{ClientSpec, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_repeats_a_forged_host() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let authorize = server.authorize_url("shop", &[("prompt", "none")]);
    let path = |address: &str| address.strip_prefix(&server.url).unwrap().to_owned();
    for path in [
        "/".to_owned(),
        "/login".to_owned(),
        "/end_session".to_owned(),
        "/.well-known/openid-configuration".to_owned(),
        path(&authorize),
        path(&server.authorize_url("shop", &[])),
        "/nothing".to_owned(),
    ] {
        let plain = Answer::of(server.http.get(server.endpoint(&path))).await;
        let request = server
            .http
            .get(server.endpoint(&path))
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/evil")
            .header("forwarded", "host=evil.example;proto=https");
        let forged = Answer::of(request).await;
        assert_eq!(forged.status, plain.status, "{path}");
        assert_eq!(forged.header("location"), plain.header("location"), "{path}");
        assert!(!forged.text.contains("evil"), "{path}: {}", forged.text);
        assert!(!format!("{:?}", forged.headers).contains("evil"), "{path}: {:?}", forged.headers);
    }
    server.stop().await;
}
