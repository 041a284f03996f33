//! More load than can be served: those who are let in keep their pace, the others hear 503 at once, and nobody loses
//! anything (requirement RL-3).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::ORIGIN;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::store::Tables;
use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, SECRET, http_client, redemption};
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

const CHAINS: usize = 48;
const CALLERS: usize = 100;

async fn refused_requests_lose_nothing(database: TestDatabase) {
    let server = TestServer::with(database, |settings| settings.database.max_waiting = 1).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    server.add_client(ClientSpec::machine("batch")).await;
    let mut tokens = Vec::new();
    for _ in 0..CHAINS {
        tokens.push(server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned());
    }
    let (refused, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let chains = tokens.into_iter().map(|mut token| {
        let (server, refused, served) = (&server, &refused, &served);
        async move {
            // Until the gate has closed and a good many were refused.
            while refused.load(Ordering::Relaxed) < 200 {
                assert!(served.load(Ordering::Relaxed) < 20_000, "nobody was ever refused");
                let answer = server.refresh("shop", &token).await;
                if answer.status == 503 {
                    assert_eq!(answer.error(), "temporarily_unavailable");
                    assert_eq!(answer.header("retry-after"), "2");
                    assert_eq!(answer.header("content-type"), "application/json");
                    assert_eq!(answer.header("cache-control"), "no-store");
                    assert_eq!(answer.header("x-content-type-options"), "nosniff");
                    assert!(!answer.header("x-request-id").is_empty());
                    refused.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
            token
        }
    });
    // A client's own token needs no act, and nobody who asks for one is sent away.
    let beside = async {
        let mut served = 0;
        while refused.load(Ordering::Relaxed) < 200 {
            let answer = server.token("batch", &[("grant_type", "client_credentials")]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            served += 1;
        }
        served
    };
    // Another process that writes a lot: all others are at the database while it does.
    let slow = async {
        let tables = Tables::of(&server).await;
        let begin = match server.database().url().starts_with("sqlite") {
            true => "BEGIN IMMEDIATE",
            false => "BEGIN; LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE",
        };
        while refused.load(Ordering::Relaxed) < 200 {
            tables.run(begin).await;
            pause(Duration::from_millis(20)).await;
            tables.run("COMMIT").await;
            pause(Duration::from_millis(2)).await;
        }
    };
    let (tokens, beside, ()) = tokio::join!(join_all(chains), beside, slow);
    assert!(beside > 0);
    for token in tokens {
        assert_eq!(server.refresh("shop", &token).await.status, 200, "each family goes on");
    }
    assert_eq!(shed(&server), refused.into_inner());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    refused_requests_lose_nothing(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres() {
    refused_requests_lose_nothing(TestDatabase::postgres().await).await;
}

on_each_database! {
    // A hundred callers who come again as soon as they are answered are no overload: they are served in turn.
    async fn callers_without_pause_are_all_served(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut tokens = Vec::new();
        for _ in 0..CALLERS {
            tokens.push(server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned());
        }
        let callers = tokens.into_iter().map(|mut token| async move {
            // More than those over whom the mean is taken.
            for _ in 0..30 {
                let answer = server.refresh("shop", &token).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
            }
        });
        join_all(callers).await;
        assert_eq!(shed(server), 0);
    }
}

fn shed(server: &TestServer) -> usize {
    let counted = server.app.metrics.text();
    let shed = counted.lines().find_map(|line| line.strip_prefix("keyward_shed_requests_total "));
    shed.map_or(0, |number| number.parse().unwrap())
}

fn assert_shed(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(!answer.header("x-request-id").is_empty());
}

/// While one in eight of those who begin is let in, the first seven are refused, and who goes on is served.
#[tokio::test(flavor = "multi_thread")]
async fn who_begins_is_refused_before_who_goes_on() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    server.add_client(ClientSpec::machine("batch")).await;
    server
        .add_client(ClientSpec::spa("notes").with(|metadata| {
            metadata.redirect_uris = vec!["https://notes.example/cb".into()];
        }))
        .await;
    let tokens = server.tokens("shop", "ada").await;
    let (refresh, access) = (tokens["refresh_token"].as_str().unwrap(), tokens["access_token"].as_str().unwrap());
    let browser = Browser::new(&server);
    let address = server.authorize_url("shop", &[]);
    let code = browser.code(&address, "ada").await;
    let from_page = |token: &'static str| {
        let form = [("grant_type", "refresh_token"), ("client_id", "notes"), ("refresh_token", token)];
        Answer::of(server.http.post(server.endpoint("/token")).header(ORIGIN, "https://notes.example").form(&form))
    };

    server.app.admission.limit(1.0 / 8.0);
    let refused = server.refresh("shop", refresh).await;
    assert_shed(&refused);
    assert_eq!(refused.error(), "temporarily_unavailable");
    assert_eq!(refused.header("content-type"), "application/json");
    assert_shed(&server.token("batch", &[("grant_type", "client_credentials")]).await);
    // A web page hears of it too: its answer may be read.
    let refused = from_page("rt").await;
    assert_shed(&refused);
    assert_eq!(refused.header("access-control-allow-origin"), "https://notes.example");
    // A person gets a page, in their language, with the id that whoever helps asks for.
    for (language, words) in [("en", "Too much at once"), ("de-AT,de;q=0.9", "<html lang=\"de\"")] {
        let request = browser.request(reqwest::Method::GET, &address).header("accept-language", language);
        let page = Answer::of(request).await;
        assert_shed(&page);
        assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
        assert!(page.header("content-security-policy").contains("style-src 'self'"), "{page:?}");
        assert!(page.headers.get("cross-origin-opener-policy").is_none(), "a pop-up keeps its opener");
        assert!(page.text.contains(words) && page.text.contains("<h1>"), "{}", page.text);
        assert!(page.text.contains(page.header("x-request-id")), "{}", page.text);
    }
    // No spelling of a request gets around it.
    let posted = browser.request(reqwest::Method::POST, "/authorize").form(&[("client_id", "shop")]);
    assert_shed(&Answer::of(posted).await);
    server.app.admission.limit(0.0);
    let query = address.split_once('?').unwrap().1;
    assert_shed(&browser.get(&format!("/authorize?resume=&{query}")).await);
    assert_shed(&browser.get(&format!("/authorize/?{query}")).await);
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let with_slash = server.http.post(server.endpoint("/token/")).basic_auth("shop", Some(SECRET)).form(&form);
    assert_shed(&Answer::of(with_slash).await);
    let long = "a".repeat(9000);
    assert_shed(&server.token("shop", &[form[0], form[1], ("padding", &long)]).await);
    let page = server.http.post(server.endpoint("/introspect")).header(ORIGIN, "https://app.example");
    assert_shed(&Answer::of(page.basic_auth("shop", Some(SECRET)).form(&[("token", access)])).await);
    assert_eq!(shed(&server), 11);
    server.app.admission.limit(1.0 / 8.0);

    // These go on with what was let in before, or others depend on them.
    assert_eq!(server.introspect("shop", access).await.json()["active"], true);
    assert_eq!(server.userinfo(access).await.status, 200);
    assert_eq!(server.redeem("shop", &code).await.status, 200);
    assert_eq!(browser.get("/authorize?resume=unknown").await.status, 400, "it was looked at");
    for path in ["/jwks", "/.well-known/openid-configuration", "/health/ready", "/login"] {
        assert_ne!(Answer::of(server.http.get(server.endpoint(path))).await.status, 503, "{path}");
    }
    // Below that, they are refused as well: of sixteen shares one, of two of these one.
    server.app.admission.limit(1.0 / 16.0);
    let mut refused = 0;
    for _ in 0..4 {
        let answer = server.token("shop", &redemption("unknown")).await;
        refused += usize::from(answer.status == 503);
    }
    assert_eq!(refused, 2);
    assert_eq!(shed(&server), 13);

    server.app.admission.limit(1.0);
    assert_eq!(server.refresh("shop", refresh).await.status, 200, "a refusal spent nothing");
    assert_eq!(from_page("rt").await.status, 400);
    assert!(browser.get(&address).await.header("location").starts_with("https://app.example/cb?"));
    server.stop().await;
}

/// One answer with a body of a length that its head tells.
async fn read_answer(stream: &mut TcpStream) -> String {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let octets = stream.read(&mut part).await.unwrap();
        assert_ne!(octets, 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..octets]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text.into_owned();
            }
        }
    }
}

/// Many more connections than a thread's queue has room for, each of which asks again at once: none is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_starves_behind_others() {
    const CONNECTIONS: usize = 400;
    const REQUESTS: usize = 40_000;
    let database = TestDatabase::sqlite();
    let mut binary = Binary::new(&database).with("KEYWARD_SERVER_WORKER_THREADS", "1");
    binary.start(&http_client()).await;
    let port = binary.port();
    let (all, request) = (AtomicUsize::new(0), format!("GET /jwks HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"));
    let connections = (0..CONNECTIONS).map(|_| async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut own = 0;
        while all.load(Ordering::Relaxed) < REQUESTS {
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            all.fetch_add(1, Ordering::Relaxed);
            own += 1;
        }
        own
    });
    let served: Vec<usize> = join_all(connections).await;
    let least = served.iter().min().unwrap();
    assert!(least * 4 > REQUESTS / CONNECTIONS, "one was served {least} times: {served:?}");
}
