//! Requests that leave the server (requirement WB-6): to nothing near us, by no redirect, no second answer of a name, and
//! never for longer or more than is allowed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::future::join_all;
use futures_util::stream;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use keyward::clock::Clock;
use keyward::outbound::{Lookup, Outbound, OutboundError, OutboundRequest, system_lookup};
use keyward::settings::{OutboundSettings, Settings};
use keyward_protocol::Timestamp;

use crate::support::binary::pause;
use crate::support::{TestDatabase, TestServer};

/// A host of somebody else on an address of this machine.
struct Host {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
}

impl Host {
    async fn on(ip: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
        Self::serving(listener, ip)
    }

    fn serving(listener: tokio::net::TcpListener, name: &str) -> Self {
        let (address, hits) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let name = name.to_owned();
        let router = Router::new()
            .route("/who", get(move || async move { ([(header::CONNECTION, "close")], name) }))
            .route("/echo", any(|headers: HeaderMap, body: String| async move { format!("{headers:?} {body}") }))
            .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
            .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
            .route("/silent", get(|| async { std::future::pending::<()>().await }))
            .route("/drip", get(drip))
            .route("/torn", get(torn))
            .route("/long", get(|| async { "x".repeat(5000) }))
            .route(
                "/endless",
                get(|| async { Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1000)))) }),
            )
            .route("/to", any(redirect))
            .layer(axum::middleware::from_fn_with_state(
                Arc::clone(&hits),
                |State(hits): State<Arc<AtomicUsize>>, request, next: axum::middleware::Next| async move {
                    hits.fetch_add(1, Ordering::SeqCst);
                    next.run(request).await
                },
            ));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    fn url(&self, name: &str, path: &str) -> String {
        format!("http://{name}:{}{path}", self.address.port())
    }
}

/// `/to?<address>` redirects there.
async fn redirect(uri: Uri) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, uri.query().unwrap_or_default().to_owned())]).into_response()
}

/// An octet now and then, for ever.
async fn drip() -> Body {
    Body::from_stream(stream::unfold((), |()| async {
        pause(Duration::from_millis(200)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    }))
}

/// A body that breaks off.
async fn torn() -> Body {
    Body::from_stream(stream::iter([Ok("x"), Err(std::io::Error::other("torn"))]))
}

fn settings(change: impl FnOnce(&mut OutboundSettings)) -> OutboundSettings {
    let mut settings = Settings::default().outbound;
    settings.timeout = keyward::settings::Seconds(1);
    settings.connect_timeout = keyward::settings::Seconds(1);
    settings.http_hosts = ["localhost", "127.0.0.1", "[::1]", "a.example", "b.example"].map(str::to_owned).into();
    change(&mut settings);
    settings
}

fn outbound(clock: &Clock, lookup: Lookup, change: impl FnOnce(&mut OutboundSettings)) -> Outbound {
    Outbound::new(&settings(change), clock.clone(), lookup).unwrap()
}

fn clock() -> Clock {
    Clock::standing_at(Timestamp::from_seconds(1_800_000_000))
}

fn localhost_allowed(settings: &mut OutboundSettings) {
    settings.allowed_hosts = vec!["localhost".into()];
}

async fn ask(outbound: &Outbound, url: &str) -> Result<String, OutboundError> {
    let answer = outbound.send(OutboundRequest::get(url)).await?;
    Ok(String::from_utf8(answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_near_us_is_asked_unless_the_operator_says_so() {
    let host = Host::on("127.0.0.1").await;
    let strict = outbound(&clock(), system_lookup(), |_| {});
    for name in ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]"] {
        assert_eq!(ask(&strict, &host.url(name, "/who")).await, Err(OutboundError::Refused), "{name}");
    }
    // Whether the system knows this name at all is the system's affair.
    assert!(ask(&strict, &host.url("localhost.", "/who")).await.is_err());
    assert_eq!(host.hits(), 0, "not even a connection with a request");
    let by_name = outbound(&clock(), system_lookup(), localhost_allowed);
    assert_eq!(ask(&by_name, &host.url("localhost", "/who")).await.unwrap(), "127.0.0.1");
    assert_eq!(ask(&by_name, &host.url("127.0.0.1", "/who")).await, Err(OutboundError::Refused));
    let by_network = outbound(&clock(), system_lookup(), |settings| {
        settings.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    });
    for name in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(&by_network, &host.url(name, "/who")).await.unwrap(), "127.0.0.1", "{name}");
    }
    let by_tls_alone = outbound(&clock(), system_lookup(), |settings| {
        localhost_allowed(settings);
        settings.http_hosts.clear();
    });
    assert_eq!(ask(&by_tls_alone, &host.url("localhost", "/who")).await, Err(OutboundError::Refused), "plain http");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_is_judged_is_the_one_that_is_connected_to() {
    // Two hosts on one port of two addresses, of which the operator allows the second.
    let wanted = Host::on("127.0.0.2").await;
    let port = wanted.address.port();
    let inner = Host::serving(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(), "inner");
    let allow_second = |settings: &mut OutboundSettings| {
        settings.allowed_networks = vec!["127.0.0.2/32".parse().unwrap()];
    };
    let (first, second): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
    let both: Lookup = Arc::new(move |_| Box::pin(async move { Ok(vec![first, second]) }));
    let mixed = outbound(&clock(), both, allow_second);
    assert_eq!(ask(&mixed, &wanted.url("a.example", "/who")).await.unwrap(), "127.0.0.2");
    // A name that changes its mind between the look and the connection: there is only one look.
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let turning: Lookup = Arc::new(move |_| {
        let found = if counted.fetch_add(1, Ordering::SeqCst) == 0 { second } else { first };
        Box::pin(async move { Ok(vec![found]) })
    });
    let rebinding = outbound(&clock(), turning, allow_second);
    assert_eq!(ask(&rebinding, &wanted.url("a.example", "/who")).await.unwrap(), "127.0.0.2");
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    assert_eq!(ask(&rebinding, &wanted.url("a.example", "/who")).await, Err(OutboundError::Refused));
    assert_eq!(inner.hits(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_only_where_asked_for_and_judged_each() {
    let host = Host::on("127.0.0.1").await;
    let outbound = outbound(&clock(), system_lookup(), localhost_allowed);
    let to = |target: &str| host.url("localhost", &format!("/to?{target}"));
    let good = to(&host.url("localhost", "/who"));
    assert_eq!(ask(&outbound, &good).await, Err(OutboundError::Redirected));
    let follow = async |url: &str, most| {
        let answer = outbound.send(OutboundRequest::get(url).redirects(most)).await?;
        Ok::<_, OutboundError>(String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(follow(&good, 1).await.unwrap(), "127.0.0.1");
    assert_eq!(follow(&to("/who"), 1).await.unwrap(), "127.0.0.1", "a relative one");
    let before = host.hits();
    for target in [
        host.url("127.0.0.1", "/who"),
        host.url("[::1]", "/who"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://user:pass@localhost/".to_owned(),
    ] {
        assert_eq!(follow(&to(&target), 5).await, Err(OutboundError::Refused), "{target}");
    }
    assert_eq!(host.hits(), before + 5, "the redirects alone were asked for");
    let circle = to(&to(&to("/who")));
    assert_eq!(follow(&circle, 1).await, Err(OutboundError::Redirected));
    let posted = OutboundRequest::post(&good, HeaderValue::from_static("text/plain"), b"x".to_vec()).redirects(5);
    assert_eq!(outbound.send(posted).await.unwrap_err(), OutboundError::Redirected);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_stay_with_their_origin_and_nothing_else_goes_along() {
    let (host, other) = (Host::on("127.0.0.1").await, Host::on("127.0.0.1").await);
    let outbound = outbound(&clock(), system_lookup(), localhost_allowed);
    let with_secret = |url: &str| {
        OutboundRequest::get(url).redirects(1).header(header::AUTHORIZATION, HeaderValue::from_static("Bearer canary"))
    };
    let text = async |request| String::from_utf8(outbound.send(request).await.unwrap().body).unwrap();
    assert!(text(with_secret(&host.url("localhost", "/to?/echo"))).await.contains("canary"));
    let away = host.url("localhost", &format!("/to?{}", other.url("localhost", "/echo")));
    let seen = text(with_secret(&away)).await;
    assert!(!seen.contains("canary") && !seen.contains("referer") && !seen.contains("cookie"), "{seen}");
    let name = HeaderName::from_static("x-own");
    let posted =
        OutboundRequest::post(&host.url("localhost", "/echo"), HeaderValue::from_static("text/plain"), b"body".into())
            .header(name, HeaderValue::from_static("1"));
    let seen = text(posted).await;
    assert!(seen.contains("x-own") && seen.ends_with("body"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_long_answers_are_cut() {
    let host = Host::on("127.0.0.1").await;
    let outbound = outbound(&clock(), system_lookup(), |settings| {
        localhost_allowed(settings);
        settings.max_response_bytes = 4000;
    });
    for path in ["/silent", "/drip"] {
        assert_eq!(ask(&outbound, &host.url("localhost", path)).await, Err(OutboundError::TimedOut), "{path}");
    }
    for path in ["/long", "/endless"] {
        assert_eq!(ask(&outbound, &host.url("localhost", path)).await, Err(OutboundError::TooLong), "{path}");
    }
    let short = OutboundRequest::get(&host.url("localhost", "/who")).most_bytes(8);
    assert_eq!(outbound.send(short).await.unwrap_err(), OutboundError::TooLong);
    let exact = OutboundRequest::get(&host.url("localhost", "/who")).most_bytes(9);
    assert_eq!(outbound.send(exact).await.unwrap().body, b"127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_is_left_alone_and_tried_again() {
    let host = Host::on("127.0.0.1").await;
    let clock = clock();
    let outbound = outbound(&clock, system_lookup(), localhost_allowed);
    for _ in 0..20 {
        let answer = outbound.send(OutboundRequest::get(&host.url("localhost", "/missing"))).await.unwrap();
        assert_eq!(answer.status, 404, "what isn't there is an answer");
    }
    for _ in 0..5 {
        let answer = outbound.send(OutboundRequest::get(&host.url("localhost", "/broken"))).await.unwrap();
        assert_eq!(answer.status, 502);
    }
    let before = host.hits();
    assert_eq!(ask(&outbound, &host.url("localhost", "/broken")).await, Err(OutboundError::LeftAlone));
    assert_eq!(host.hits(), before);
    // Who else is on this host isn't made to suffer for it.
    assert_eq!(ask(&outbound, &host.url("localhost", "/who")).await.unwrap(), "127.0.0.1");
    assert_eq!(ask(&outbound, &host.url("localhost", "/broken")).await, Err(OutboundError::LeftAlone));
    clock.advance(30);
    assert_eq!(ask(&outbound, &host.url("localhost", "/broken")).await.unwrap(), "", "one tries");
    assert_eq!(ask(&outbound, &host.url("localhost", "/broken")).await, Err(OutboundError::LeftAlone));
    // One that takes connections and then never answers, or breaks off, is left alone alike, and nobody else.
    for (path, error) in [("/silent", OutboundError::TimedOut), ("/torn", OutboundError::Unreachable)] {
        for _ in 0..5 {
            assert_eq!(ask(&outbound, &host.url("localhost", path)).await, Err(error), "{path}");
        }
        let before = host.hits();
        assert_eq!(ask(&outbound, &host.url("localhost", path)).await, Err(OutboundError::LeftAlone), "{path}");
        assert_eq!(host.hits(), before);
        assert_eq!(ask(&outbound, &host.url("localhost", "/who")).await.unwrap(), "127.0.0.1", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_connection_is_left_alone_whole() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let clock = clock();
    let outbound = outbound(&clock, system_lookup(), localhost_allowed);
    for number in 0..5 {
        let url = format!("http://localhost:{port}/{number}");
        assert_eq!(ask(&outbound, &url).await, Err(OutboundError::Unreachable));
    }
    let host = Host::serving(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(), "back");
    assert_eq!(ask(&outbound, &host.url("localhost", "/who")).await, Err(OutboundError::LeftAlone));
    assert_eq!(host.hits(), 0);
    clock.advance(30);
    for _ in 0..2 {
        assert_eq!(ask(&outbound, &host.url("localhost", "/who")).await.unwrap(), "back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_host_takes_no_place_from_others() {
    let (slow, quick) = (Host::on("127.0.0.1").await, Host::on("127.0.0.1").await);
    let outbound = Arc::new(outbound(&clock(), system_lookup(), |settings| {
        localhost_allowed(settings);
        settings.max_concurrent = 10;
        settings.breaker_failures = 1000;
    }));
    let waiting = (0..30).map(|_| {
        let (outbound, url) = (Arc::clone(&outbound), slow.url("localhost", "/silent"));
        tokio::spawn(async move { ask(&outbound, &url).await })
    });
    let waiting: Vec<_> = waiting.collect();
    pause(Duration::from_millis(200)).await;
    assert_eq!(ask(&outbound, &quick.url("localhost", "/who")).await.unwrap(), "127.0.0.1");
    assert!(slow.hits() <= 8, "{} under way to one host", slow.hits());
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome.unwrap(), Err(OutboundError::TimedOut | OutboundError::Busy)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_by_the_systems_authorities_and_those_of_the_operator() {
    let server = TestServer::https(TestDatabase::sqlite(), |_| {}).await;
    let url = server.endpoint("/jwks");
    // The server under test listens on IPv4 alone.
    let loopback: Lookup = Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }));
    let untrusting = outbound(&clock(), Arc::clone(&loopback), localhost_allowed);
    assert_eq!(ask(&untrusting, &url).await, Err(OutboundError::Unreachable));
    let trusting = outbound(&clock(), Arc::clone(&loopback), |settings| {
        localhost_allowed(settings);
        settings.ca_file = Some(server.authority().unwrap().ca_file());
    });
    assert!(ask(&trusting, &url).await.unwrap().contains("\"keys\""));
    let missing = settings(|settings| settings.ca_file = Some("/nowhere/ca.pem".into()));
    let error = Outbound::new(&missing, clock(), loopback).unwrap_err().to_string();
    assert!(error.contains("outbound.ca_file"), "{error}");
    server.stop().await;
}
