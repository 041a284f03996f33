//! Resource servers that trust the real server by `keyward-guard`: a revoked JWT by its status list, opaque tokens by
//! introspection with signed answers and `private_key_jwt`, and a server that is killed. On real time, for the bounds
//! are those of real clocks.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use keyward::clock::Clock;
use keyward_guard::{Discovery, Guard, Introspection, SignatureAlgorithm, TokenRefusal, Verifier};
use keyward_keys::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, PASSWORD};
use crate::support::web_app::granted;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer, WebApp};

const API: &str = "https://api.example";

#[allow(clippy::disallowed_methods, reason = "the bounds are those of real clocks")]
fn now() -> Instant {
    Instant::now()
}

async fn outcome(guard: &Guard, token: &str) -> Result<String, TokenRefusal> {
    guard.verify(token).await.map(|token| token.client_id.clone()).map_err(|denied| denied.refusal().clone())
}

/// How long it takes until the token is refused for this; five seconds is the bound that guard promises.
async fn refused_within_five_seconds(guard: &Guard, token: &str, refusal: &TokenRefusal) -> Duration {
    let begun = now();
    loop {
        let waited = begun.elapsed();
        match outcome(guard, token).await {
            Err(found) if found == *refusal => return begun.elapsed(),
            Ok(_) => assert!(waited < Duration::from_secs(5), "still accepted after {waited:?}"),
            other => panic!("{other:?}"),
        }
        pause(Duration::from_millis(50)).await;
    }
}

async fn revoked_by_its_status_list(database: TestDatabase) {
    let server = TestServer::at(database, Clock::system(), |_| {}).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::api("api", API)).await;
    for (id, listed) in [("listed", true), ("unlisted", false)] {
        server
            .add_client(ClientSpec::web(id).with(|client| {
                client.resources = vec![API.into()];
                client.access_token_status_list = listed;
            }))
            .await;
    }
    let guard = Guard::discover(server.url.clone(), API).unwrap();
    let access = |tokens: &Value| tokens["access_token"].as_str().unwrap().to_owned();
    let (mut revoked, mut latencies) = (Vec::new(), Vec::new());
    let standing = access(&server.tokens("listed", "ada").await);
    let unlisted = server.tokens("unlisted", "ada").await;
    for _ in 0..3 {
        let tokens = server.tokens("listed", "ada").await;
        assert_eq!(outcome(&guard, &access(&tokens)).await, Ok("listed".into()));
        let before = server.app.store.uses();
        assert_eq!(outcome(&guard, &access(&tokens)).await, Ok("listed".into()));
        assert_eq!(server.app.store.uses(), before, "nobody asks the server about a token");
        let answer = server.revoke("listed", tokens["refresh_token"].as_str().unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        latencies.push(refused_within_five_seconds(&guard, &access(&tokens), &TokenRefusal::Revoked).await);
        revoked.push(access(&tokens));
    }
    eprintln!("revoked JWTs were refused after {latencies:?}");
    for token in &revoked {
        assert_eq!(outcome(&guard, token).await, Err(TokenRefusal::Revoked), "and stay so");
    }
    assert_eq!(outcome(&guard, &standing).await, Ok("listed".into()), "the neighbour's bit isn't touched");
    // Who isn't in a list lives until its end: that is the choice of the client's operator.
    assert_eq!(server.revoke("unlisted", unlisted["refresh_token"].as_str().unwrap()).await.status, 200);
    assert_eq!(outcome(&guard, &access(&unlisted)).await, Ok("unlisted".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_jwt_is_refused_sqlite() {
    revoked_by_its_status_list(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_revoked_jwt_is_refused_postgres() {
    revoked_by_its_status_list(TestDatabase::postgres().await).await;
}

fn pem(pkcs8: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(pkcs8))
}

/// A running binary with a client that gets opaque tokens for an API that authenticates by its key.
struct Installation {
    binary: Binary,
    app: WebApp,
    private_key: String,
    kid: String,
}

impl Installation {
    async fn start(database: &TestDatabase) -> Self {
        let mut binary =
            Binary::new(database).with("KEYWARD_PASSWORDS_ARGON2_MEMORY_KIB", "64").with("KEYWARD_LOG_LEVEL", "error");
        let (key, pkcs8) = SigningKey::generate(Algorithm::Es256).unwrap();
        let jwks = database.folder().join("api.jwks");
        std::fs::write(&jwks, json!({"keys": [key.public_jwk()]}).to_string()).unwrap();
        binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
        let mut api = vec!["--json", "clients", "add", "--name", "Api", "--id", "api", "--audience", API];
        api.extend(["--auth-method", "private_key_jwt", "--introspection-alg", "ES256"]);
        api.extend(["--resource-token-format", "opaque", "--jwks-file", jwks.to_str().unwrap()]);
        binary.run(&api, "");
        let app = binary.add_web_app("shop", &["--resource", API]);
        binary.start(&app.http).await;
        Self { binary, app, private_key: pem(&pkcs8), kid: key.kid().to_owned() }
    }

    /// A resource server that demands signed answers.
    fn guard(&self, private_key: &str) -> Guard {
        let introspection = Introspection::with_private_key("api", private_key, Some(&self.kid))
            .unwrap()
            .signed_answers(SignatureAlgorithm::Es256);
        let verifier = Verifier::new(self.binary.url.clone()).audience(API);
        Guard::builder(verifier).introspect(introspection, Discovery::new().client(self.app.http.clone())).unwrap()
    }

    /// Access tokens of as many grants.
    async fn tokens(&self, number: usize) -> Vec<String> {
        let browser = Browser::at(&self.binary.url);
        let mut tokens = Vec::new();
        for _ in 0..number {
            let code = browser.code(&self.app.authorize_url(), "ada").await;
            tokens.push(granted(&Answer::of(self.app.redeem(&code)).await, "access_token"));
        }
        tokens
    }
}

async fn opaque_by_signed_introspection(database: TestDatabase) {
    let mut story = Installation::start(&database).await;
    let guard = story.guard(&story.private_key);
    let tokens = story.tokens(8).await;
    let (token, fresh) = (&tokens[0], &tokens[1..]);
    assert!(!token.contains('.'), "{token}");
    assert_eq!(outcome(&guard, token).await, Ok("shop".into()));
    assert_eq!(outcome(&guard, "kw_at_unheard-of").await, Err(TokenRefusal::Inactive));
    // Somebody else's key: no answer, and so neither good nor bad.
    let stranger = story.guard(&pem(&SigningKey::generate(Algorithm::Es256).unwrap().1));
    let judged = outcome(&stranger, token).await;
    assert!(matches!(judged, Err(TokenRefusal::IntrospectionUnavailable { .. })), "{judged:?}");

    assert_eq!(Answer::of(story.app.post("/revoke", &[("token", token)])).await.status, 200);
    let waited = refused_within_five_seconds(&guard, token, &TokenRefusal::Inactive).await;
    eprintln!("a revoked opaque token was refused after {waited:?}");

    // The server is killed. An answer that is remembered serves on; others are neither good nor bad.
    assert_eq!(outcome(&guard, &fresh[0]).await, Ok("shop".into()));
    story.binary.kill();
    assert_eq!(outcome(&guard, &fresh[0]).await, Ok("shop".into()));
    for token in &fresh[1..6] {
        let judged = outcome(&guard, token).await;
        assert!(matches!(judged, Err(TokenRefusal::IntrospectionUnavailable { .. })), "{judged:?}");
    }
    // Five failures in a row open the circuit: whoever listens there now isn't asked.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", story.binary.port())).await.unwrap();
    let judged = outcome(&guard, &fresh[6]).await;
    assert_eq!(judged, Err(TokenRefusal::IntrospectionUnavailable { retry_after: 1 }));
    let knock = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(knock.is_err(), "the circuit is open");
    drop(listener);

    // It is back, and after the pause a trial closes the circuit.
    story.binary.start(&story.app.http).await;
    let begun = now();
    while outcome(&guard, &fresh[6]).await != Ok("shop".into()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the circuit stays open");
        pause(Duration::from_millis(100)).await;
    }
    for token in fresh {
        assert_eq!(outcome(&guard, token).await, Ok("shop".into()), "good tokens outlived the server's end");
    }
    assert_eq!(outcome(&guard, token).await, Err(TokenRefusal::Inactive), "and the revoked one didn't come back");
    story.binary.kill();
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opaque_token_is_asked_about_sqlite() {
    opaque_by_signed_introspection(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn an_opaque_token_is_asked_about_postgres() {
    opaque_by_signed_introspection(TestDatabase::postgres().await).await;
}
