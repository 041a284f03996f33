//! A real server on a free port of loopback, in this process, with a clock that stands until a test moves it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum_server::Handle;
use keyward::account::login_name::login_key;
use keyward::account::profile::new_user;
use keyward::app::App;
use keyward::audit::{AuditEvent, AuditKind};
use keyward::clock::Clock;
use keyward::serve;
use keyward::settings::Settings;
use keyward::store::DEFAULT_ORGANIZATION;
use keyward_entities::{client, client_audience, client_secret, scope, user};
use keyward_keys::Algorithm;
use keyward_protocol::Timestamp;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::client_metadata::{ClientMetadata, ClientType, GrantType};
use keyward_protocol::scope::ScopeSet;
use serde_json::Value;

use super::authority::TestAuthority;
use super::database::TestDatabase;

/// The password of every test user.
pub const PASSWORD: &str = "correct horse battery";

/// A PKCE verifier and its challenge (RFC 7636 Appendix B).
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A server under test.
pub struct TestServer {
    pub app: Arc<App>,
    pub url: String,
    pub http: reqwest::Client,
    handle: Handle<SocketAddr>,
    database: Arc<TestDatabase>,
    authority: Option<TestAuthority>,
}

/// A client to register, with defaults for a confidential web app.
pub struct ClientSpec {
    pub id: &'static str,
    pub metadata: ClientMetadata,
}

pub const SECRET: &str = "a-client-secret-of-the-tests";

impl ClientSpec {
    /// A confidential client with redirect `https://app.example/cb`.
    pub fn web(id: &'static str) -> Self {
        let metadata = ClientMetadata {
            client_name: format!("Client {id}"),
            redirect_uris: vec!["https://app.example/cb".into()],
            post_logout_redirect_uris: vec!["https://app.example/bye".into()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            scope: ScopeSet::parse("openid profile email offline_access roles groups permissions api").unwrap(),
            id_token_signed_response_alg: Algorithm::Es256,
            first_party: true,
            ..ClientMetadata::default()
        };
        Self { id, metadata }
    }

    /// A public client with the same redirect.
    pub fn spa(id: &'static str) -> Self {
        let mut spec = Self::web(id);
        spec.metadata.client_type = ClientType::Public;
        spec
    }

    /// A machine client.
    pub fn machine(id: &'static str) -> Self {
        let metadata = ClientMetadata {
            client_name: format!("Machine {id}"),
            grant_types: vec![GrantType::ClientCredentials],
            scope: ScopeSet::parse("api").unwrap(),
            default_scope: ScopeSet::parse("api").unwrap(),
            ..ClientMetadata::default()
        };
        Self { id, metadata }
    }

    /// A resource server that stands for this audience.
    pub fn api(id: &'static str, audience: &str) -> Self {
        let metadata = ClientMetadata {
            client_name: format!("API {id}"),
            audiences: vec![audience.to_owned()],
            ..ClientMetadata::default()
        };
        Self { id, metadata }
    }

    /// Changes the metadata.
    pub fn with(mut self, change: impl FnOnce(&mut ClientMetadata)) -> Self {
        change(&mut self.metadata);
        self
    }
}

impl TestServer {
    /// A server on this database, as most tests want it.
    pub async fn on(database: TestDatabase) -> Self {
        Self::with(database, |_| {}).await
    }

    /// A server on SQLite.
    pub async fn sqlite() -> Self {
        Self::on(TestDatabase::sqlite()).await
    }

    /// A server with other settings.
    pub async fn with(database: TestDatabase, change: impl FnOnce(&mut Settings)) -> Self {
        let start = Timestamp::from_seconds(real_seconds());
        Self::at(database, Clock::standing_at(start), change).await
    }

    /// A server with this clock.
    pub async fn at(database: TestDatabase, clock: Clock, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start(database, clock, None, change).await
    }

    /// A server for foreign clients: https with a certificate of an authority of its own, the real clock, and signing
    /// keys of every kind.
    pub async fn https(database: TestDatabase, change: impl FnOnce(&mut Settings)) -> Self {
        let authority = TestAuthority::new();
        let files = (authority.certificate_file(), authority.key_file());
        Self::start(database, Clock::system(), Some(authority), |settings| {
            settings.server.tls_certificate_file = Some(files.0);
            settings.server.tls_key_file = Some(files.1);
            settings.keys.algorithms = vec!["ES256".into(), "RS256".into(), "EdDSA".into()];
            change(settings);
        })
        .await
    }

    async fn start(
        database: TestDatabase,
        clock: Clock,
        authority: Option<TestAuthority>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if authority.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let mut settings = Settings::default();
        settings.public_url = url.parse().unwrap();
        settings.server.listen = listener.local_addr().unwrap();
        // Client and server share the threads of a test, and other tests the cores: how long a request waits says nothing.
        settings.server.load_shedding = false;
        settings.passwords.argon2_memory_kib = 64;
        settings.passwords.argon2_iterations = 1;
        // RSA keys take seconds to find in a debug build.
        settings.keys.algorithms = vec!["ES256".into(), "EdDSA".into()];
        database.apply(&mut settings);
        change(&mut settings);
        let app = App::start(settings, clock).await.unwrap();
        app.start_background();
        let handle = Handle::new();
        tokio::spawn(serve::serve(Arc::clone(&app), listener, handle.clone()));
        handle.listening().await.unwrap();
        let http = http_client_trusting(authority.as_ref());
        let server = Self { app, url, http, handle, database: Arc::new(database), authority };
        server.add_scope("api").await;
        server
    }

    /// Stops it and removes its data.
    pub async fn stop(self) {
        self.handle.shutdown();
        drop(self.app);
        if let Some(database) = Arc::into_inner(self.database) {
            database.remove().await;
        }
    }

    /// A second node of the same installation, with this one's database, keys and clock. Stop it first.
    pub async fn second_node(&self) -> Self {
        self.second_node_with(self.app.clock.clone()).await
    }

    /// The same with another clock.
    pub async fn second_node_with(&self, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut settings = self.app.settings.clone();
        settings.server.listen = listener.local_addr().unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let app = App::start(settings, clock).await.unwrap();
        app.start_background();
        let handle = Handle::new();
        tokio::spawn(serve::serve(Arc::clone(&app), listener, handle.clone()));
        handle.listening().await.unwrap();
        let database = Arc::clone(&self.database);
        Self { app, url, http: http_client(), handle, database, authority: None }
    }

    /// The database, for another look.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Who issued the certificate of an https server.
    pub fn authority(&self) -> Option<&TestAuthority> {
        self.authority.as_ref()
    }

    /// Moves the clock on.
    pub fn advance(&self, seconds: u64) {
        self.app.clock.advance(seconds);
    }

    /// Removes all that has expired. The server's own cleaning may be at it, and then leaves the rest to this one.
    pub async fn clean_up(&self, batch: u64) {
        let mut idle = 0;
        while idle < 3 {
            if self.app.store.remove_expired(batch, self.app.clock.now()).await.unwrap() > 0 {
                idle = 0;
            } else {
                idle += 1;
                super::binary::pause(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn add_scope(&self, name: &str) {
        let now = self.app.clock.now();
        let row = scope::Model {
            role_ids: "[]".into(),
            id: self.app.random.uuid_v7(now).unwrap(),
            organization_id: DEFAULT_ORGANIZATION,
            name: name.into(),
            title: format!("Title of {name}"),
            description: String::new(),
            permissions: "[]".into(),
            created_at: now.micros(),
        };
        self.app.store.add_scopes(vec![row], None).await.unwrap();
        self.app.reload().await.unwrap();
    }

    /// A user with the password of all test users.
    pub async fn add_user(&self, name: &str) -> user::Model {
        let app = &self.app;
        let hash = app.passwords.hash(PASSWORD.into(), app.random.bytes().unwrap()).await.unwrap();
        let claims = StandardClaims {
            name: Some(format!("Name of {name}")),
            email: Some(format!("{name}@example.org")),
            email_verified: true,
            ..StandardClaims::default()
        };
        let row = new_user(app, name, login_key(name).unwrap(), claims, Some(hash)).unwrap();
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::UserAdded)).unwrap();
        assert!(app.store.add_user(row.clone(), Vec::new(), Vec::new(), event).await.unwrap());
        row
    }

    /// Registers a client; confidential ones have the secret of all test clients.
    pub async fn add_client(&self, spec: ClientSpec) {
        let app = &self.app;
        spec.metadata.check().unwrap();
        let now = app.clock.now();
        let id = app.random.uuid_v7(now).unwrap();
        let row = client::Model {
            id,
            organization_id: DEFAULT_ORGANIZATION,
            client_id: spec.id.into(),
            metadata: spec.metadata.to_stored().unwrap(),
            disabled_at: None,
            created_at: now.micros(),
            updated_at: now.micros(),
            longest_token_life: None,
        };
        let secret = (spec.metadata.client_type == ClientType::Confidential).then(|| client_secret::Model {
            id: app.random.uuid_v7(now).unwrap(),
            client: id,
            secret_hash: app.secrets.client_secret_hash.hash(SECRET.as_bytes()).to_vec(),
            sealed_secret: None,
            created_at: now.micros(),
            expires_at: None,
        });
        let audiences = spec
            .metadata
            .audiences
            .iter()
            .map(|audience| client_audience::Model {
                id: app.random.uuid_v7(now).unwrap(),
                client: id,
                audience: audience.clone(),
            })
            .collect();
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientAdded)).unwrap();
        app.store.add_client(row, secret, audiences, event).await.unwrap().unwrap();
        app.reload().await.unwrap();
    }

    /// The address of a plain authorization request of this client; `extra` overrides or adds parameters.
    pub fn authorize_url(&self, client_id: &str, extra: &[(&str, &str)]) -> String {
        let mut parameters = vec![
            ("client_id", client_id),
            ("redirect_uri", "https://app.example/cb"),
            ("response_type", "code"),
            ("scope", "openid profile"),
            ("state", "st-1"),
            ("nonce", "n-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in extra {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, value));
        }
        parameters.retain(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.endpoint(&format!("/authorize?{query}"))
    }

    /// POST to the token endpoint as a client with the secret of all test clients, by Basic.
    pub async fn token(&self, client_id: &str, form: &[(&str, &str)]) -> Answer {
        Answer::of(self.http.post(self.endpoint("/token")).basic_auth(client_id, Some(SECRET)).form(form)).await
    }

    /// Redeems a code with the verifier of all tests.
    pub async fn redeem(&self, client_id: &str, code: &str) -> Answer {
        self.token(client_id, &redemption(code)).await
    }

    /// Uses a refresh token.
    pub async fn refresh(&self, client_id: &str, token: &str) -> Answer {
        self.token(client_id, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// GET `/userinfo` with a Bearer token.
    pub async fn userinfo(&self, token: &str) -> Answer {
        Answer::of(self.http.get(self.endpoint("/userinfo")).bearer_auth(token)).await
    }

    /// Introspects as a client with the secret of all test clients.
    pub async fn introspect(&self, client_id: &str, token: &str) -> Answer {
        let request = self.http.post(self.endpoint("/introspect")).basic_auth(client_id, Some(SECRET));
        Answer::of(request.form(&[("token", token)])).await
    }

    /// Revokes as a client with the secret of all test clients.
    pub async fn revoke(&self, client_id: &str, token: &str) -> Answer {
        let request = self.http.post(self.endpoint("/revoke")).basic_auth(client_id, Some(SECRET));
        Answer::of(request.form(&[("token", token)])).await
    }

    /// Tokens of a person who signs in anew: user, client and browser must be fit for each other.
    pub async fn tokens(&self, client_id: &str, user: &str) -> Value {
        self.tokens_for(client_id, user, &[]).await
    }

    /// The same with parameters of the authorization request that are added or overridden.
    pub async fn tokens_for(&self, client_id: &str, user: &str, extra: &[(&str, &str)]) -> Value {
        let browser = super::Browser::new(self);
        let code = browser.code(&self.authorize_url(client_id, extra), user).await;
        let answer = self.redeem(client_id, &code).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

/// The form that redeems a code with the verifier of all tests.
pub fn redemption(code: &str) -> [(&str, &str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "https://app.example/cb"),
        ("code_verifier", VERIFIER),
    ]
}

/// An HTTP answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    /// The answer of a server that may be gone.
    pub async fn try_of(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The `error` of the body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client without cookies that follows no redirect.
pub fn http_client() -> reqwest::Client {
    http_client_trusting(None)
}

/// The same, which trusts this authority and no other.
pub fn http_client_trusting(authority: Option<&TestAuthority>) -> reqwest::Client {
    http_builder(authority).build().unwrap()
}

/// Follows no redirect, goes by no proxy, and takes `localhost` for the address that the servers under test listen on: on
/// the other one anybody may listen.
#[allow(clippy::disallowed_methods, reason = "the tests' own requests")]
pub fn http_builder(authority: Option<&TestAuthority>) -> reqwest::ClientBuilder {
    serve::install_provider();
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], 0)))
        .no_proxy();
    match authority {
        None => builder,
        Some(authority) => {
            builder.tls_certs_only([reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap()])
        }
    }
}

/// The machine's clock, in seconds.
#[allow(clippy::disallowed_methods, reason = "a test's clock starts at the real time")]
pub fn real_seconds() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// The claims of a JWT, unverified.
pub fn claims(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
