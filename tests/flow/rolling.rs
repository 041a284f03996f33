//! Two real processes behind a proxy: each is stopped and started again under steady load, and no request fails. The
//! proxies' configurations are those of `deploy/`, with the addresses and times of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::binary::{Binary, pause};
use crate::support::browser::parameters;
use crate::support::server::{Answer, PASSWORD, http_client};
use crate::support::service::{Service, free_port};
use crate::support::{Browser, TestDatabase, WebApp};

/// What a person or a client does again and again; any failure is one of the test.
struct Load {
    app: WebApp,
    stop: AtomicBool,
    done: AtomicUsize,
}

impl Load {
    async fn good(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.done.fetch_add(1, Ordering::Relaxed);
        answer
    }

    async fn run(self: Arc<Self>) {
        // Connections of its own.
        let (app, browser) = (WebApp { http: http_client(), ..self.app.clone() }, Browser::at(&self.app.url));
        while !self.stop.load(Ordering::Relaxed) {
            let arrived = browser.arrive(&app.authorize_url(), "ada").await;
            assert_eq!(arrived.status, 303, "{arrived:?}");
            let code = parameters(arrived.header("location")).remove("code").expect("a code");
            let mut tokens = self.good(app.redeem(&code)).await.json();
            for _ in 0..5 {
                let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
                tokens = self.good(app.refresh(&refresh)).await.json();
                self.good(app.userinfo(tokens["access_token"].as_str().unwrap())).await;
            }
        }
    }
}

/// A configuration of `deploy/` for these nodes.
pub(super) fn configuration(file: &str, port: u16, nodes: &[Binary; 2]) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let text = text
        .replace("node1:4000", &format!("127.0.0.1:{}", nodes[0].port()))
        .replace("node2:4000", &format!("127.0.0.1:{}", nodes[1].port()))
        .replace("inter 1s", "inter 200ms")
        .replace("X-Forwarded-Proto https", "X-Forwarded-Proto http");
    match file {
        "haproxy.cfg" => text.replace("bind :8080", &format!("bind 127.0.0.1:{port}")),
        _ => format!(
            "pid nginx.pid;\n{}",
            text.replace("listen 8080", &format!("listen 127.0.0.1:{port}"))
                .replace("server_tokens off;", "access_log off; keepalive_timeout 0;")
        ),
    }
}

async fn rolling_restart(file: &str, database: TestDatabase) {
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let node = || {
        Binary::behind(&database, &url)
            .with("KEYWARD_SERVER_TRUSTED_PROXIES", "127.0.0.1")
            .with("KEYWARD_SERVER_DRAIN_DELAY", "2s")
            .with("KEYWARD_PASSWORDS_ARGON2_MEMORY_KIB", "64")
    };
    let mut nodes = [node(), node()];
    nodes[0].run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    let app = nodes[0].add_web_app("shop", &[]);
    let http = http_client();
    for node in &mut nodes {
        node.start(&http).await;
    }
    let configuration = configuration(file, port, &nodes);
    let mut proxy = match file {
        "haproxy.cfg" => Service::haproxy(port, &configuration).await,
        _ => Service::nginx(port, &configuration).await,
    };
    pause(Duration::from_millis(500)).await;
    // A request near 8 KB makes the address of the login page several times as long.
    let state = "s".repeat(7500);
    let long = app.authorize_url().replace("state=s", &format!("state={state}"));
    let arrived = Browser::at(&url).arrive(&long, "ada").await;
    assert_eq!(arrived.status, 303, "{file}: {arrived:?}");
    assert_eq!(parameters(arrived.header("location"))["state"], state);
    let load = Arc::new(Load { app, stop: AtomicBool::new(false), done: AtomicUsize::new(0) });
    let workers: Vec<_> = (0..4).map(|_| tokio::spawn(Arc::clone(&load).run())).collect();
    pause(Duration::from_millis(500)).await;
    for node in &mut nodes {
        let before = load.done.load(Ordering::Relaxed);
        if file == "nginx.conf" {
            // It asks nobody for health and has to be told.
            let own = format!("server 127.0.0.1:{} ", node.port());
            proxy.reload_nginx(&configuration.replace(&own, &format!("{own}down ")));
            pause(Duration::from_millis(500)).await;
        }
        node.signal("TERM");
        pause(Duration::from_millis(300)).await;
        let ready = format!("{}/health/ready", node.own_url());
        let answer = Answer::of(http.get(&ready)).await;
        assert_eq!((answer.status, answer.header("connection")), (503, "close"), "it drains");
        assert!(node.ended().await.success());
        pause(Duration::from_millis(300)).await;
        node.start(&http).await;
        if file == "nginx.conf" {
            proxy.reload_nginx(&configuration);
        }
        // Until the proxy has seen it too.
        pause(Duration::from_millis(1500)).await;
        assert!(load.done.load(Ordering::Relaxed) > before + 10, "there was no load");
    }
    load.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("no request failed");
    }
    eprintln!("{file}: {} requests through a rolling restart, none failed", load.done.load(Ordering::Relaxed));
    proxy.kill();
    for node in &mut nodes {
        node.kill();
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL, Redis and HAProxy: run ./test")]
async fn behind_haproxy() {
    rolling_restart("haproxy.cfg", TestDatabase::postgres().await.with_redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and nginx: run ./test")]
async fn behind_nginx() {
    rolling_restart("nginx.conf", TestDatabase::postgres().await).await;
}

/// A second signal doesn't wait for anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let http = http_client();
    let mut binary = Binary::new(&TestDatabase::sqlite()).with("KEYWARD_SERVER_DRAIN_DELAY", "600s");
    binary.start(&http).await;
    assert_eq!(binary.run(&["--json", "health"], "")["status"], "ready");
    binary.signal("TERM");
    pause(Duration::from_millis(300)).await;
    // What a container asks says so too, and before that it said the opposite.
    let health = binary.command(&["health"]).output().unwrap();
    assert_eq!(health.status.code(), Some(1), "{}", String::from_utf8_lossy(&health.stderr));
    let live = Answer::of(http.get(format!("{}/health/live", binary.url))).await;
    assert_eq!(live.status, 200, "it serves while it drains");
    binary.signal("TERM");
    let ended = tokio::time::timeout(Duration::from_secs(10), binary.ended()).await;
    assert!(ended.expect("it ends at once").success());
}
