//! Redirect matching over HTTP: addresses close to a registered one, at the authorization endpoint and after logout
//! (RFC 9700 §4.1.3, RFC 8252 §7.3).

use crate::support::server::CHALLENGE;
use crate::support::{Browser, ClientSpec, TestServer};

/// Each is close to `https://good.example/cb`, and none is it.
const FOREIGN: [&str; 36] = [
    "https://good.example.evil.example/cb",
    "https://good.example@evil.example/cb",
    "https://good.example@@evil.example/cb",
    "https://good.example%40evil.example/cb",
    "https://good.example:80@evil.example/cb",
    "https://evil.example/cb",
    "https://evil.example\\@good.example/cb",
    "https://good.example\\.evil.example/cb",
    "https://good.example/cb/",
    "https://good.example/cb/../../evil",
    "https://good.example/cb%2f..%2fevil",
    "https://good.example/cb?x=1",
    "https://good.example/cb?",
    "https://good.example/cb#x",
    "https://good.example/cb#",
    "https://good.example/CB",
    "https://GOOD.example/cb",
    "HTTPS://good.example/cb",
    "https://good.example:443/cb",
    "https://good.example./cb",
    "https://good.example/x/../cb",
    "https://good.example/%2e%2e/cb",
    "https://good.example/%252e%252e/cb",
    "https://good.example/cb%0d%0aX: y",
    "https://good.example/cb\r\nX: y",
    "https://good.example/c%62",
    "https://user@good.example/cb",
    "https://user:pw@good.example/cb",
    "http://good.example/cb",
    "//good.example/cb",
    "/cb",
    "javascript:alert(1)//https://good.example/cb",
    "data:text/html,https://good.example/cb",
    " https://good.example/cb",
    "https://good.example/cb ",
    "https://good.exаmple/cb",
];

fn query(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn authorize(server: &TestServer, redirect_uri: &str) -> String {
    let parameters = [
        ("client_id", "shop"),
        ("redirect_uri", redirect_uri),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "st-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        // Silent requests are answered at once: whatever is wrong would show as a redirect.
        ("prompt", "none"),
    ];
    server.endpoint(&format!("/authorize?{}", query(&parameters)))
}

fn shop() -> ClientSpec {
    ClientSpec::web("shop").with(|client| {
        client.redirect_uris = vec!["https://good.example/cb".into()];
        client.post_logout_redirect_uris = vec!["https://good.example/cb".into()];
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorization_endpoint_sends_nobody_to_a_foreign_address() {
    for spec in
        [shop(), shop().with(|client| client.client_type = keyward_protocol::client_metadata::ClientType::Public)]
    {
        let server = TestServer::sqlite().await;
        server.add_client(spec).await;
        let browser = Browser::new(&server);
        let good = browser.get(&authorize(&server, "https://good.example/cb")).await;
        assert!(good.header("location").starts_with("https://good.example/cb?error=login_required"), "{good:?}");
        for foreign in FOREIGN {
            let answer = browser.get(&authorize(&server, foreign)).await;
            assert_eq!(answer.status, 400, "{foreign:?}");
            assert!(answer.headers.get("location").is_none(), "{foreign:?}");
            assert!(!answer.text.contains("evil"), "{foreign:?} is shown: {}", answer.text);
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_sends_nobody_to_a_foreign_address() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(shop()).await;
    let browser = Browser::new(&server);
    let address = server.authorize_url("shop", &[("redirect_uri", "https://good.example/cb")]);
    let code = browser.code(&address, "ada").await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://good.example/cb"),
        ("code_verifier", crate::support::server::VERIFIER),
    ];
    let tokens = server.token("shop", &form).await.json();
    let hint = tokens["id_token"].as_str().unwrap();
    // Nobody is signed in at this browser: with a good hint every logout is answered at once.
    let stranger = Browser::new(&server);
    let leave = |uri: &str| {
        server
            .endpoint(&format!("/end_session?{}", query(&[("id_token_hint", hint), ("post_logout_redirect_uri", uri)])))
    };
    let good = stranger.get(&leave("https://good.example/cb")).await;
    assert_eq!((good.status, good.header("location")), (303, "https://good.example/cb"));
    for foreign in FOREIGN {
        let answer = stranger.get(&leave(foreign)).await;
        assert_eq!(answer.status, 200, "{foreign:?}");
        assert!(answer.headers.get("location").is_none(), "{foreign:?}");
        assert!(!answer.text.contains("evil"), "{foreign:?} is shown: {}", answer.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_differs_by_the_port_and_by_nothing_else() {
    let server = TestServer::sqlite().await;
    let registered = "http://127.0.0.1:7000/cb";
    server.add_client(ClientSpec::spa("shop").with(|client| client.redirect_uris = vec![registered.into()])).await;
    let browser = Browser::new(&server);
    for good in [registered, "http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", "http://127.0.0.1:1/cb"] {
        let answer = browser.get(&authorize(&server, good)).await;
        assert!(answer.header("location").starts_with(&format!("{good}?error=login_required")), "{good}: {answer:?}");
    }
    for foreign in [
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004/cb?x=1",
        "http://127.0.0.1:51004/cb#x",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:080/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://x@127.0.0.1:51004/cb",
        "https://127.0.0.1:51004/cb",
        "http://127.0.0.2:51004/cb",
        "http://127.1:51004/cb",
        "http://2130706433:51004/cb",
        "http://localhost:51004/cb",
        "http://[::1]:51004/cb",
    ] {
        let answer = browser.get(&authorize(&server, foreign)).await;
        assert_eq!(answer.status, 400, "{foreign}");
        assert!(answer.headers.get("location").is_none(), "{foreign}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_has_no_freedom_in_the_port() {
    let server = TestServer::sqlite().await;
    let registered = "http://127.0.0.1:7000/cb";
    server.add_client(ClientSpec::web("shop").with(|client| client.redirect_uris = vec![registered.into()])).await;
    let browser = Browser::new(&server);
    assert_eq!(browser.get(&authorize(&server, registered)).await.status, 303);
    assert_eq!(browser.get(&authorize(&server, "http://127.0.0.1:7001/cb")).await.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn line_ends_in_state_stay_in_the_address() {
    let server = TestServer::sqlite().await;
    server.add_client(shop()).await;
    let browser = Browser::new(&server);
    let address =
        authorize(&server, "https://good.example/cb").replace("state=st-1", "state=a%0d%0aSet-Cookie:+evil=1");
    let answer = browser.get(&address).await;
    assert_eq!(answer.status, 303);
    assert!(answer.headers.get("set-cookie").is_none());
    let sent = crate::support::browser::parameters(answer.header("location"));
    assert_eq!(sent["state"], "a\r\nSet-Cookie: evil=1");
    server.stop().await;
}
