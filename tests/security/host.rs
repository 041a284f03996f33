//! A forged host: every address that the server writes comes from its settings, never from the request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::server::Answer;
use crate::support::{ClientSpec, TestDatabase, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_host_is_refused_and_forwarding_headers_count_for_nothing() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let path = |address: &str| address.strip_prefix(&server.url).unwrap().to_owned();
    for path in [
        "/".to_owned(),
        "/login".to_owned(),
        "/end_session".to_owned(),
        "/jwks".to_owned(),
        "/.well-known/openid-configuration".to_owned(),
        path(&server.authorize_url("shop", &[("prompt", "none")])),
        path(&server.authorize_url("shop", &[])),
        "/nothing".to_owned(),
    ] {
        let get = || server.http.get(server.endpoint(&path));
        let plain = Answer::of(get()).await;
        assert!(plain.status < 421, "{path}: {plain:?}");
        let forwarded = get()
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/evil")
            .header("forwarded", "host=evil.example;proto=https");
        let forwarded = Answer::of(forwarded).await;
        assert_eq!(forwarded.status, plain.status, "{path}");
        assert_eq!(forwarded.header("location"), plain.header("location"), "{path}");
        assert!(!forwarded.text.contains("evil"), "{path}: {}", forwarded.text);
        assert!(!format!("{:?}", forwarded.headers).contains("evil"), "{path}: {:?}", forwarded.headers);

        for host in ["evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.1", ""] {
            let forged = Answer::of(get().header("host", host)).await;
            assert_eq!(forged.status, 421, "{path} for {host:?}");
            assert!(forged.headers.get("location").is_none() && forged.headers.get("set-cookie").is_none(), "{path}");
            assert!(forged.header("content-type").starts_with("text/plain"), "{path}: {forged:?}");
            // The one who set up the proxy learns which host came and which is expected.
            assert!(forged.text.contains(host) && forged.text.contains(&server.url), "{path}: {}", forged.text);
        }
    }
    // Probes come by address.
    let probe = server.http.get(server.endpoint("/health/live")).header("host", "10.0.0.7:4000");
    assert_eq!(Answer::of(probe).await.status, 200);
    // What comes back of a hostile name can't be markup.
    let hostile = server.http.get(server.endpoint("/login")).header("host", "<script>alert(1)</script>");
    let answer = Answer::of(hostile).await;
    assert!(matches!(answer.status, 400 | 421) && !answer.text.contains('<'), "{answer:?}");
    server.stop().await;
}

/// HTTP/2 names the host in the address, and so does the absolute form of HTTP/1: the port counts there too.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_in_the_address_is_taken_with_its_port() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.server.trusted_hosts = vec!["id.example:8443".into()];
    })
    .await;
    for (target, host, status) in [
        ("http://id.example:8443/login", "id.example:8443", "200"),
        ("/login", "id.example:8443", "200"),
        ("http://id.example:9999/login", "id.example:9999", "421"),
        ("http://id.example/login", "id.example", "421"),
        ("/login", "id.example", "421"),
        // RFC 9112 §3.2.2: the address goes before the header.
        ("http://evil.example:8443/login", "id.example:8443", "421"),
        ("http://id.example:8443/login", "evil.example", "200"),
    ] {
        let address = server.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        let mut line = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        line.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {host}: {answer:.300}");
    }
    server.stop().await;
}
