//! A database that is away: 503 with `Retry-After`, and the server recovers by itself when it is back. What needs no
//! database stays up.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::support::server::{Answer, PASSWORD};
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// What every request gets while the database is away.
async fn everything_waits(server: &TestServer, refresh_token: &str, browser: &Browser, login: &Answer) {
    let refused = server.refresh("shop", refresh_token).await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    assert!(!refused.header("retry-after").is_empty());
    let page = browser.submit(login, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, 503, "{}", page.text);
    assert!(!page.header("retry-after").is_empty() && page.text.contains("<html"));
    for open in ["/jwks", "/.well-known/openid-configuration", "/health/live"] {
        assert_eq!(Answer::of(server.http.get(server.endpoint(open))).await.status, 200, "{open}");
    }
}

/// What works again when it is back, without anybody's doing.
async fn everything_works(server: &TestServer, refresh_token: &str, browser: &Browser, login: &Answer) {
    let refreshed = server.refresh("shop", refresh_token).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text);
    let answer = browser.sign_in(login, "ada").await;
    assert!(answer.header("location").contains("code="), "{answer:?}");
    assert_eq!(Answer::of(server.http.get(server.endpoint("/health/ready"))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_locked_by_another_process() {
    let database = TestDatabase::sqlite();
    let file = database.folder().join("keyward.db");
    let server =
        TestServer::with(database, |settings| settings.database.busy_timeout = keyward::settings::Seconds(1)).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let browser = Browser::new(&server);
    let login = browser.open(&server.authorize_url("shop", &[])).await;
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    everything_waits(&server, &token, &browser, &login).await;
    other.execute_batch("ROLLBACK").unwrap();
    everything_works(&server, &token, &browser, &login).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_takes_longer_than_the_setting_says() {
    let database = TestDatabase::sqlite();
    let file = database.folder().join("keyward.db");
    let server = TestServer::with(database, |settings| {
        settings.database.busy_timeout = keyward::settings::Seconds(30);
        settings.server.request_timeout = keyward::settings::Seconds(1);
    })
    .await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = server.refresh("shop", &token).await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    other.execute_batch("ROLLBACK").unwrap();
    // What was under way may have been done all the same: the retry gets its successor.
    assert_eq!(server.refresh("shop", &token).await.status, 200);
    server.stop().await;
}

/// Stands between the server and PostgreSQL, and can go away.
struct Line {
    address: SocketAddr,
    upstream: SocketAddr,
    open: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Line {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self { address: listener.local_addr().unwrap(), upstream, open: Arc::default() };
        line.serve(listener).await;
        line
    }

    async fn serve(&self, listener: TcpListener) {
        let upstream = self.upstream;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(upstream).await {
                        // An end of either side ends the connection.
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        *self.open.lock().await = Some(tasks);
    }

    /// Breaks every connection and refuses new ones.
    async fn cut(&self) {
        if let Some(mut tasks) = self.open.lock().await.take() {
            tasks.shutdown().await;
        }
    }

    async fn mend(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres_cut_off() {
    let database = TestDatabase::postgres().await;
    let url = url::Url::parse(&database.url()).unwrap();
    let upstream = SocketAddr::new(url.host_str().unwrap().parse().unwrap(), url.port().unwrap());
    let line = Line::to(upstream).await;
    let mut through = url.clone();
    through.set_port(Some(line.address.port())).unwrap();
    let server = TestServer::with(database, |settings| {
        settings.database.url = through.to_string().into();
        settings.database.busy_timeout = keyward::settings::Seconds(1);
    })
    .await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let token = server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned();
    let browser = Browser::new(&server);
    let login = browser.open(&server.authorize_url("shop", &[])).await;
    line.cut().await;
    everything_waits(&server, &token, &browser, &login).await;
    line.mend().await;
    everything_works(&server, &token, &browser, &login).await;
    server.stop().await;
}

/// PostgreSQL ended every connection, as at a restart. No read and no act fails for that, though the pool is full of
/// connections that are dead and don't know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres_ended_the_connections() {
    let server = TestServer::on(TestDatabase::postgres().await).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let tokens = server.tokens("shop", "ada").await;
    let access = tokens["access_token"].as_str().unwrap();
    let mut families = Vec::new();
    for _ in 0..30 {
        families.push(server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned());
    }
    for _ in 0..5 {
        // Fills the pool.
        let warm = futures_util::future::join_all((0..40).map(|_| server.userinfo(access))).await;
        assert!(warm.iter().all(|answer| answer.status == 200));
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        server.database().administer(others).await;
        let reads = futures_util::future::join_all((0..40).map(|_| server.userinfo(access))).await;
        for answer in reads {
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        server.database().administer(others).await;
        // More at once than the pool has connections: none waits for another while it holds a dead one.
        let refreshes = families.iter().map(|token| server.refresh("shop", token));
        let answers = futures_util::future::join_all(refreshes).await;
        families.clear();
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text);
            families.push(answer.json()["refresh_token"].as_str().unwrap().to_owned());
        }
    }
    server.stop().await;
}
