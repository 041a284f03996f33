//! The whole story over HTTP against an issuer made for these tests, which signs real ID tokens (EdDSA) and keeps to
//! the rules where it isn't told to break one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, JsonWebKeyId, PkceCodeChallenge, PkceCodeVerifier, PrivateSigningKey,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::surroundings::unix_seconds;
use crate::{Config, run};

const SECRET: &str = "s+ecr&t =";

/// A rule that the issuer breaks.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    WrongNonce,
    WrongAtHash,
    ForeignAudience,
    ForeignKey,
    Expired,
    NoIdToken,
    OtherPersonAtRefresh,
    OtherPersonAtUserinfo,
    GrantIsOver,
}

/// What the issuer remembers.
struct IssuerState {
    address: String,
    api: String,
    flaw: Flaw,
    /// Seed of the signing key; its number is the `kid`.
    key: u8,
    /// Challenge and nonce by code.
    codes: HashMap<String, (String, String)>,
    refresh: u32,
    revoked: Vec<String>,
    discoveries: u32,
}

type Issuer = Arc<Mutex<IssuerState>>;

fn signing_key(seed: u8, kid: u8) -> CoreEdDsaPrivateSigningKey {
    // PKCS #8 of an Ed25519 key is this prefix and the seed (RFC 8410 §7).
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(kid.to_string()))).unwrap()
}

fn jwt(key: &CoreEdDsaPrivateSigningKey, kid: u8, claims: &Value) -> String {
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid.to_string() });
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = key.sign(&CoreJwsSigningAlgorithm::EdDsa, message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

async fn metadata(State(issuer): State<Issuer>) -> Json<Value> {
    let mut issuer = issuer.lock().unwrap();
    issuer.discoveries += 1;
    let at = |path: &str| format!("{}{path}", issuer.address);
    Json(json!({
        "issuer": issuer.address, "authorization_endpoint": at("/a"), "token_endpoint": at("/t"),
        "userinfo_endpoint": at("/u"), "jwks_uri": at("/k"), "revocation_endpoint": at("/r"),
        "end_session_endpoint": at("/e"), "authorization_response_iss_parameter_supported": true,
        "response_types_supported": ["code"], "response_modes_supported": ["query", "form_post", "query.jwt"],
        "subject_types_supported": ["public", "pairwise"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "Ed25519", "HS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "tls_client_auth", "attest_jwt_client_auth"],
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"],
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let key = issuer.lock().unwrap().key;
    Json(json!({ "keys": [
        { "kty": "EC", "kid": "other", "crv": "P-256", "alg": "ES256", "use": "sig", "x": "AA", "y": "AA" },
        signing_key(key, key).as_verification_key(),
    ] }))
}

async fn token(State(issuer): State<Issuer>, headers: HeaderMap, Form(form): Form<Vec<(String, String)>>) -> Response {
    let mut issuer = issuer.lock().unwrap();
    let form: HashMap<String, String> = form.into_iter().collect();
    let refuse = |code: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": code }))).into_response();
    if headers[header::AUTHORIZATION] != format!("Basic {}", BASE64_STANDARD.encode("web+app:s%2Becr%26t+%3D")) {
        return refuse("invalid_client");
    }
    let mut nonce = None;
    match form["grant_type"].as_str() {
        "authorization_code" => {
            let Some((challenge, code_nonce)) = issuer.codes.remove(&form["code"]) else {
                return refuse("invalid_grant");
            };
            let verifier = PkceCodeVerifier::new(form["code_verifier"].clone());
            assert_eq!(PkceCodeChallenge::from_code_verifier_sha256(&verifier).as_str(), challenge);
            assert_eq!(form["resource"], issuer.api);
            nonce = Some(code_nonce);
        }
        "refresh_token" => {
            if issuer.flaw == Flaw::GrantIsOver || form["refresh_token"] != format!("refresh-{}", issuer.refresh) {
                return refuse("invalid_grant");
            }
        }
        other => panic!("{other}"),
    }
    let refreshed = nonce.is_none();
    issuer.refresh += 1;
    let access = jwt(&signing_key(9, 9), 9, &json!({ "sub": "ann", "number": issuer.refresh, "scope": "notes.read" }));
    let (seed, kid) = (if issuer.flaw == Flaw::ForeignKey { 77 } else { issuer.key }, issuer.key);
    let key = signing_key(seed, kid);
    let hashed = if issuer.flaw == Flaw::WrongAtHash { "other".to_owned() } else { access.clone() };
    let algorithm = CoreJwsSigningAlgorithm::EdDsa;
    let at_hash = AccessTokenHash::from_token(&AccessToken::new(hashed), &algorithm, &key.as_verification_key());
    let mut claims = json!({
        "iss": issuer.address,
        "sub": if refreshed && issuer.flaw == Flaw::OtherPersonAtRefresh { "bob" } else { "ann" },
        "aud": if issuer.flaw == Flaw::ForeignAudience { "other" } else { "web app" },
        "iat": unix_seconds(),
        "exp": if issuer.flaw == Flaw::Expired { unix_seconds() - 1 } else { unix_seconds() + 300 },
        "at_hash": at_hash.unwrap(), "number": issuer.refresh, "roles": ["reader"],
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = if issuer.flaw == Flaw::WrongNonce { json!("other") } else { json!(nonce) };
    }
    let mut answer = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": 300, "scope": "openid notes.read",
        "refresh_token": format!("refresh-{}", issuer.refresh),
    });
    if issuer.flaw != Flaw::NoIdToken {
        answer["id_token"] = json!(jwt(&key, kid, &claims));
    }
    Json(answer).into_response()
}

async fn userinfo(State(issuer): State<Issuer>, headers: HeaderMap) -> Json<Value> {
    assert!(headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer ey"));
    let subject = if issuer.lock().unwrap().flaw == Flaw::OtherPersonAtUserinfo { "bob" } else { "ann" };
    Json(json!({ "sub": subject, "name": "Ann <b>", "email_verified": true, "updated_at": 1_700_000_000, "shoe": 41 }))
}

async fn revoke(State(issuer): State<Issuer>, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) {
    assert!(headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Basic "));
    issuer.lock().unwrap().revoked.push(form["token"].clone());
}

/// The browser: follows nothing by itself, keeps cookies.
struct Browser {
    client: reqwest::Client,
    app: String,
    cookies: HashMap<String, String>,
}

struct Seen {
    status: StatusCode,
    location: Option<Url>,
    headers: HeaderMap,
    text: String,
}

impl Browser {
    #[allow(clippy::disallowed_methods, reason = "the browser of these tests")]
    fn new(app: &str) -> Browser {
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Browser { client: builder.build().unwrap(), app: app.to_owned(), cookies: HashMap::new() }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Seen {
        let line = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let answer = request.header(header::COOKIE, line).send().await.unwrap();
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let location =
            headers.get(header::LOCATION).map(|to| Url::parse(&self.app).unwrap().join(to.to_str().unwrap()).unwrap());
        Seen { status, location, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&mut self, path: &str) -> Seen {
        let request = self.client.get(format!("{}{path}", self.app));
        self.send(request).await
    }

    async fn press(&mut self, path: &str, csrf: &str) -> Seen {
        let request = self.client.post(format!("{}{path}", self.app)).form(&[("csrf_token", csrf)]);
        self.send(request).await
    }
}

/// A stage: the issuer, the API and the app, each on a port of its own.
struct Stage {
    issuer: Issuer,
    app: String,
}

fn issuer(address: &str, api: &str) -> Issuer {
    Arc::new(Mutex::new(IssuerState {
        address: address.to_owned(),
        api: api.to_owned(),
        flaw: Flaw::None,
        key: 1,
        codes: HashMap::new(),
        refresh: 0,
        revoked: Vec::new(),
        discoveries: 0,
    }))
}

fn issuer_router(issuer: &Issuer) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/k", get(keys))
        .route("/t", post(token))
        .route("/u", get(userinfo))
        .route("/r", post(revoke))
        .with_state(Arc::clone(issuer))
}

async fn stage() -> Stage {
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (issuer_listener, api_listener, app_listener) = (listen().await, listen().await, listen().await);
    let address = |listener: &TcpListener| format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (address, api, app) = (address(&issuer_listener), address(&api_listener), address(&app_listener));
    let issuer = issuer(&address, &api);
    let issuer_router = issuer_router(&issuer);
    let notes = |headers: HeaderMap| async move {
        assert!(headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer ey"));
        Json(json!([{ "title": "<i>milk" }]))
    };
    let me = || async { (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")]) };
    let api_router = Router::new().route("/api/notes", get(notes)).route("/api/me", get(me));
    tokio::spawn(async move { axum::serve(issuer_listener, issuer_router).await.unwrap() });
    tokio::spawn(async move { axum::serve(api_listener, api_router).await.unwrap() });
    let config = Config {
        issuer: address,
        client_id: "web app".to_owned(),
        client_secret: SECRET.to_owned(),
        public_url: format!("{app}/"),
        api_url: api.clone(),
        resource: Some(api),
        extra_ca_pem: None,
    };
    tokio::spawn(async move { run(app_listener, config).await.unwrap() });
    Stage { issuer, app }
}

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

impl Stage {
    /// The issuer's part of a login: takes the authorization request, gives the address that the browser returns to.
    fn authorize(&self, request: &Url) -> String {
        let parameters = query(request);
        let mut issuer = self.issuer.lock().unwrap();
        let code = format!("code-{}", parameters["state"]);
        issuer.codes.insert(code.clone(), (parameters["code_challenge"].clone(), parameters["nonce"].clone()));
        format!("/callback?code={code}&state={}&iss={}", parameters["state"], issuer.address)
    }

    async fn log_in(&self, browser: &mut Browser) -> Seen {
        let request = browser.get("/login").await.location.unwrap();
        browser.get(&self.authorize(&request)).await
    }

    fn break_rule(&self, flaw: Flaw) {
        self.issuer.lock().unwrap().flaw = flaw;
    }
}

fn csrf(page: &str) -> &str {
    page.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap()
}

#[tokio::test]
async fn the_whole_story() {
    let stage = stage().await;
    let mut browser = Browser::new(&stage.app);

    let welcome = browser.get("/").await;
    assert!(welcome.text.contains("id=\"login\""));
    assert_eq!(welcome.headers[header::CACHE_CONTROL], "no-store");
    let policy = welcome.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");

    let begun = browser.get("/login").await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER);
    let request = begun.location.unwrap();
    let asked = query(&request);
    assert_eq!(request.path(), "/a");
    assert_eq!(asked["client_id"], "web app");
    assert_eq!(asked["redirect_uri"], format!("{}/callback", stage.app));
    assert_eq!(asked["scope"], "openid profile email offline_access notes.read notes.write roles");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["response_type"], "code");
    assert!(asked["state"].len() == 43 && asked["nonce"].len() == 43 && asked["state"] != asked["nonce"]);

    let finished = browser.get(&stage.authorize(&request)).await;
    assert_eq!((finished.status, finished.location.unwrap().path()), (StatusCode::SEE_OTHER, "/"), "{}", finished.text);
    let home = browser.get("/").await;
    for id in ["claims", "userinfo", "access-token-claims", "expires", "call-api", "refresh", "logout"] {
        assert!(home.text.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(
        home.text.contains("reader") && home.text.contains("shoe") && !home.text.contains("Ann <b>"),
        "{}",
        home.text
    );
    let policy = home.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains(&format!("form-action 'self' {};", stage.issuer.lock().unwrap().address)), "{policy}");

    let form = csrf(&home.text).to_owned();
    assert_eq!(browser.press("/call-api", &form).await.status, StatusCode::SEE_OTHER);
    let page = browser.get("/").await.text;
    assert!(page.contains("id=\"api-result\"") && page.contains("milk") && !page.contains("<i>milk"));
    assert!(page.contains("403") && page.contains("insufficient_scope"));

    assert!(page.contains("&#34;number&#34;: 1"), "{page}");
    assert_eq!(browser.press("/refresh", &form).await.status, StatusCode::SEE_OTHER);
    let page = browser.get("/").await.text;
    assert!(page.contains("Tokens refreshed") && page.contains("&#34;number&#34;: 2"), "{page}");
    // The notice is said once.
    assert!(!browser.get("/").await.text.contains("Tokens refreshed"));

    let leave = browser.press("/logout", &form).await;
    assert_eq!(leave.status, StatusCode::SEE_OTHER);
    let leave = leave.location.unwrap();
    let told = query(&leave);
    assert_eq!((leave.path(), told["client_id"].as_str()), ("/e", "web app"));
    assert_eq!(told["post_logout_redirect_uri"], format!("{}/", stage.app));
    assert_eq!(crate::provider::jwt_claims(&told["id_token_hint"]).unwrap()["number"], 2);
    assert_eq!(stage.issuer.lock().unwrap().revoked, ["refresh-2"]);
    let back = browser.get(&format!("/?state={}", told["state"])).await.text;
    assert!(back.contains("id=\"logged-out\"") && back.contains("id=\"login\""));
    assert!(!browser.get(&format!("/?state={}", told["state"])).await.text.contains("id=\"logged-out\""));
    assert_eq!(browser.press("/refresh", &form).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tabs_dont_disturb_each_other_and_an_answer_serves_once() {
    let stage = stage().await;
    let mut browser = Browser::new(&stage.app);
    let first = browser.get("/login").await.location.unwrap();
    let second = browser.get("/login").await.location.unwrap();
    let (first, second) = (stage.authorize(&first), stage.authorize(&second));
    // Another browser has no use for the answer, and doesn't spoil it.
    let mut other = Browser::new(&stage.app);
    assert_eq!(other.get(&first).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get(&second).await.status, StatusCode::SEE_OTHER);
    let planted = browser.cookies["web_app_session"].clone();
    assert_eq!(browser.get(&first).await.status, StatusCode::SEE_OTHER);
    assert_ne!(browser.cookies["web_app_session"], planted);
    // The session before is over.
    other.cookies.insert("web_app_session".to_owned(), planted);
    assert!(other.get("/").await.text.contains("id=\"login\""));
    let again = browser.get(&first).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert!(again.text.contains("id=\"problem\""));
}

#[tokio::test]
async fn declining_and_other_errors_are_pages() {
    let stage = stage().await;
    let mut browser = Browser::new(&stage.app);
    let address = stage.issuer.lock().unwrap().address.clone();
    let state = async |browser: &mut Browser| query(&browser.get("/login").await.location.unwrap())["state"].clone();

    let one = state(&mut browser).await;
    let page = browser.get(&format!("/callback?error=access_denied&state={one}&iss={address}")).await.text;
    assert!(page.contains("id=\"declined\"") && page.contains("href=\"/login\""), "{page}");

    let one = state(&mut browser).await;
    let seen =
        browser.get(&format!("/callback?error=server_error&error_description=%3Cb%3E&state={one}&iss={address}")).await;
    assert!(seen.status == StatusCode::BAD_REQUEST && seen.text.contains("server_error") && !seen.text.contains("<b>"));

    // RFC 9207: the issuer that announces `iss` must send its own.
    for iss in ["", "&iss=http://other.example", &format!("&iss={address}/")] {
        let one = state(&mut browser).await;
        let seen = browser.get(&format!("/callback?code=c&state={one}{iss}")).await;
        assert!(seen.status == StatusCode::BAD_REQUEST && seen.text.contains("parameter iss"), "{iss}");
    }
    for broken in ["", "?code=c", "?state=s&code=c", "?state=s&state=s", "?code=%ff&state=%00"] {
        assert_eq!(browser.get(&format!("/callback{broken}")).await.status, StatusCode::BAD_REQUEST, "{broken}");
    }
    let one = state(&mut browser).await;
    let seen = browser.get(&format!("/callback?code=never-issued&state={one}&iss={address}")).await;
    assert!(seen.text.contains("invalid_grant"), "{}", seen.text);
    assert_eq!(browser.get("/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_false_id_token_logs_nobody_in() {
    let stage = stage().await;
    for (flaw, reason) in [
        (Flaw::WrongNonce, "nonce"),
        (Flaw::WrongAtHash, "at_hash"),
        (Flaw::ForeignAudience, "audience"),
        (Flaw::ForeignKey, "signature"),
        (Flaw::Expired, "Expired"),
        (Flaw::NoIdToken, "none came"),
    ] {
        let mut browser = Browser::new(&stage.app);
        stage.break_rule(flaw);
        let seen = stage.log_in(&mut browser).await;
        assert_eq!(seen.status, StatusCode::BAD_GATEWAY, "{reason}");
        assert!(seen.text.contains(reason), "{reason}: {}", seen.text);
        assert!(browser.get("/").await.text.contains("id=\"login\""), "{reason}");
    }
    stage.break_rule(Flaw::OtherPersonAtUserinfo);
    let mut browser = Browser::new(&stage.app);
    assert_eq!(stage.log_in(&mut browser).await.status, StatusCode::SEE_OTHER);
    let page = browser.get("/").await.text;
    assert!(page.contains("No answer from userinfo") && !page.contains("bob&#34;"), "{page}");
}

#[tokio::test]
async fn a_new_signing_key_is_fetched() {
    let stage = stage().await;
    let mut browser = Browser::new(&stage.app);
    assert_eq!(stage.log_in(&mut browser).await.status, StatusCode::SEE_OTHER);
    assert_eq!(stage.log_in(&mut browser).await.status, StatusCode::SEE_OTHER);
    assert_eq!(stage.issuer.lock().unwrap().discoveries, 1);
    stage.issuer.lock().unwrap().key = 2;
    assert_eq!(stage.log_in(&mut browser).await.status, StatusCode::SEE_OTHER);
    assert_eq!(stage.issuer.lock().unwrap().discoveries, 2);
}

#[tokio::test]
async fn refreshes_are_checked_and_an_ended_grant_ends_the_session() {
    let stage = stage().await;
    let mut browser = Browser::new(&stage.app);
    stage.log_in(&mut browser).await;
    let form = csrf(&browser.get("/").await.text).to_owned();

    // A foreign form does nothing.
    let seen = browser.press("/refresh", "foreign").await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    let page = browser.get("/").await.text;
    assert!(page.contains("out of date") && page.contains("&#34;number&#34;: 1"), "{page}");
    let request = browser.client.post(format!("{}/logout", stage.app));
    assert_eq!(browser.send(request).await.status, StatusCode::BAD_REQUEST);

    stage.break_rule(Flaw::OtherPersonAtRefresh);
    let seen = browser.press("/refresh", &form).await;
    assert!(seen.status == StatusCode::BAD_GATEWAY && seen.text.contains("another person"), "{}", seen.text);
    // The rotated refresh token was kept all the same.
    stage.break_rule(Flaw::None);
    assert_eq!(browser.press("/refresh", &form).await.status, StatusCode::SEE_OTHER);
    // Two at the same time go one after the other.
    let mut twin = Browser::new(&stage.app);
    twin.cookies.clone_from(&browser.cookies);
    let (one, two) = tokio::join!(browser.press("/refresh", &form), twin.press("/refresh", &form));
    assert_eq!((one.status, two.status), (StatusCode::SEE_OTHER, StatusCode::SEE_OTHER));

    stage.break_rule(Flaw::GrantIsOver);
    let seen = browser.press("/refresh", &form).await;
    assert!(seen.status == StatusCode::UNAUTHORIZED && seen.text.contains("Your login has ended"));
    assert!(browser.get("/").await.text.contains("id=\"login\""));
}

#[tokio::test]
async fn the_app_starts_before_the_issuer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer_port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let app = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let config = Config {
        issuer: format!("http://127.0.0.1:{issuer_port}"),
        client_id: "c".to_owned(),
        client_secret: "s".to_owned(),
        public_url: app.clone(),
        api_url: app.clone(),
        resource: None,
        extra_ca_pem: None,
    };
    tokio::spawn(async move { run(listener, config).await.unwrap() });
    let mut browser = Browser::new(&app);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    let seen = browser.get("/login").await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(seen.text.contains("reached") && seen.text.contains("id=\"try-again\""), "{}", seen.text);

    // An issuer that calls itself by another name, here with a slash, is refused.
    let listener = TcpListener::bind(("127.0.0.1", issuer_port)).await.unwrap();
    let issuer = issuer(&format!("http://127.0.0.1:{issuer_port}/"), "");
    let router = issuer_router(&issuer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let seen = browser.get("/login").await;
    assert!(seen.status == StatusCode::BAD_GATEWAY && seen.text.contains("issuer"), "{}", seen.text);
    issuer.lock().unwrap().address = format!("http://127.0.0.1:{issuer_port}");
    assert_eq!(browser.get("/login").await.location.unwrap().path(), "/a");
}

#[tokio::test]
async fn bad_settings_are_refused_at_the_start() {
    for (issuer, ca) in [("localhost:3000", None), ("http://localhost", Some(b"no certificate".to_vec()))] {
        let config = Config {
            issuer: issuer.to_owned(),
            client_id: "c".to_owned(),
            client_secret: "s".to_owned(),
            public_url: "http://localhost:4001".to_owned(),
            api_url: "http://localhost:4003".to_owned(),
            resource: None,
            extra_ca_pem: ca,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outcome = tokio::time::timeout(std::time::Duration::from_secs(5), run(listener, config)).await;
        assert_eq!(outcome.unwrap().unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{issuer}");
    }
}
