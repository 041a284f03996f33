//! The extractors and the layer over HTTP: who gets in, and what the answer to the others says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, FromRef, Path};
use axum::http::{Request, Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use keyward_guard::{
    AccessToken, Denied, Guard, KeySet, RequirePermission, RequireRole, RequireScope, ResourceMetadata, Verifier,
    permission, role, scope,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::issuer::{AUDIENCE, ISSUER, Key, NOW, claims, jwks};

scope!(NotesRead = "notes.read");
scope!(NotesWrite = "notes.write");
role!(User = "user");
role!(Admin = "admin");
permission!(Publish = "article:publish");

const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource";

struct Api {
    key: Key,
    router: Router,
    clock_reads: Arc<AtomicUsize>,
}

/// The guard as a part of the state of a program.
#[derive(Clone)]
struct AppState {
    guard: Guard,
}

impl FromRef<AppState> for Guard {
    fn from_ref(state: &AppState) -> Self {
        state.guard.clone()
    }
}

fn guard(key: &Key, audience: &str, clock_reads: &Arc<AtomicUsize>) -> Guard {
    let reads = Arc::clone(clock_reads);
    Guard::builder(Verifier::new(ISSUER).audience(audience))
        .role_implies("admin", ["moderator"])
        .role_implies("moderator", ["user"])
        .resource_metadata(METADATA)
        .clock(move || {
            reads.fetch_add(1, Ordering::Relaxed);
            NOW
        })
        .with_keys(KeySet::from_jwks_json(jwks(&[key]).as_bytes()).unwrap())
}

fn api() -> Api {
    let key = Key::ed25519("k");
    let clock_reads = Arc::new(AtomicUsize::new(0));
    let guard = guard(&key, AUDIENCE, &clock_reads);
    let layered = Router::new()
        .route("/layered", get(|Extension(token): Extension<AccessToken>| async move { token.sub.clone() }))
        .route("/layered/again", get(|token: AccessToken| async move { token.sub.clone() }))
        .layer(guard.layer());
    let policed = Router::new()
        .route("/policed", get(|| async { "in" }))
        .layer(guard.policy(|token, parts| token.client_id == "web" && parts.uri.query() != Some("no")));
    let router = Router::new()
        .route("/me", get(|token: AccessToken| async move { token.sub.clone() }).post(|token: AccessToken| async move { token.sub.clone() }))
        .route("/maybe", get(|token: Option<AccessToken>| async move { token.map_or("nobody".into(), |token| token.sub.clone()) }))
        .route("/read", get(|token: RequireScope<NotesRead>| async move { token.sub.clone() }))
        .route("/write", post(|token: RequireScope<NotesWrite>| async move { token.sub.clone() }))
        .route("/user", get(|token: RequireRole<User>| async move { token.sub.clone() }))
        .route("/admin", get(|token: RequireRole<Admin>| async move { token.sub.clone() }))
        .route("/publish", get(|token: RequirePermission<Publish>| async move { token.sub.clone() }))
        .route("/notes/{owner}", get(|Path(owner): Path<String>, token: AccessToken| async move {
            token.must_own(&owner)?;
            Ok::<_, Denied>("yours")
        }))
        .route("/strong", get(|token: AccessToken| async move {
            token.require_acr(&["phr", "phrh"])?;
            Ok::<_, Denied>("strong")
        }))
        .route("/recent", get(|token: AccessToken| async move {
            token.require_max_age(300)?;
            Ok::<_, Denied>("recent")
        }))
        .route("/both", get(|first: RequireScope<NotesRead>, second: AccessToken| async move {
            Json(json!([first.sub, second.sub]))
        }))
        .merge(layered)
        .merge(policed)
        .with_state(AppState { guard });
    Api { key, router, clock_reads }
}

impl Api {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Option<String>, Value) {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
        let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (status, challenge, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str, authorization: Option<&str>) -> (StatusCode, Option<String>, Value) {
        let mut request = Request::get(path);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Asks with the usual claims, some of them replaced.
    async fn ask(&self, path: &str, changes: Value) -> (StatusCode, Option<String>, Value) {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.get(path, Some(&format!("Bearer {}", self.key.token(&claims)))).await
    }
}

#[tokio::test]
async fn without_a_token_there_is_a_bare_challenge() {
    let api = api();
    let bare = format!("Bearer resource_metadata=\"{METADATA}\"");
    for path in ["/me", "/read", "/admin", "/publish", "/layered", "/policed", "/notes/alice"] {
        for authorization in [None, Some("Basic dTpw"), Some("DPoP abc")] {
            let (status, challenge, body) = api.get(path, authorization).await;
            assert_eq!((status.as_u16(), challenge.as_deref()), (401, Some(bare.as_str())), "{path}");
            assert!(body.get("error").is_none());
        }
    }
}

#[tokio::test]
async fn a_token_outside_of_the_header_is_not_seen() {
    let api = api();
    let token = api.key.token(&claims());
    let (status, challenge, _) = api.get(&format!("/me?access_token={token}"), None).await;
    assert_eq!((status.as_u16(), challenge.unwrap().contains("error")), (401, false));
    let form = Request::post("/me")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("access_token={token}")))
        .unwrap();
    let (status, challenge, _) = api.send(form).await;
    assert_eq!((status.as_u16(), challenge.unwrap().contains("error")), (401, false));
    let (status, _, _) = api.get(&format!("/me?access_token={token}"), Some(&format!("Bearer {token}"))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_malformed_header_is_an_invalid_request() {
    let api = api();
    let token = api.key.token(&claims());
    for authorization in
        ["Bearer", "Bearer ", "Bearer a b", &format!("Bearer {token},"), &format!("Bearer \"{token}\"")]
    {
        let (status, challenge, body) = api.get("/me", Some(authorization)).await;
        assert_eq!(status.as_u16(), 400, "{authorization}");
        assert!(challenge.unwrap().starts_with("Bearer error=\"invalid_request\", error_description="));
        assert_eq!(body["error"], "invalid_request");
    }
    let twice = Request::get("/me")
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", format!("Bearer {token}"));
    assert_eq!(api.send(twice.body(Body::empty()).unwrap()).await.0.as_u16(), 400);
}

#[tokio::test]
async fn an_invalid_token_is_named_so_and_never_echoed() {
    let api = api();
    let (status, _, body) = api.ask("/me", json!({})).await;
    assert_eq!((status.as_u16(), body), (200, json!("alice")));
    for changes in [
        json!({ "exp": NOW - 60 }),
        json!({ "nbf": NOW + 61 }),
        json!({ "iss": "https://canary.example" }),
        json!({ "aud": "https://canary.example" }),
        json!({ "exp": "canary" }),
    ] {
        let (status, challenge, body) = api.ask("/me", changes.clone()).await;
        let challenge = challenge.unwrap();
        assert_eq!(status.as_u16(), 401, "{changes}");
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{challenge}");
        assert!(challenge.ends_with(&format!("resource_metadata=\"{METADATA}\"")), "{challenge}");
        assert_eq!(body["error"], "invalid_token");
        assert!(!challenge.contains("canary") && !body.to_string().contains("canary"));
    }
    let (status, _, _) = api.get("/me", Some("Bearer canary")).await;
    assert_eq!(status.as_u16(), 401);
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let api = api();
    for cnf in [json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }), json!({ "x5t#S256": "x" }), json!({})]
    {
        let (status, challenge, _) = api.ask("/me", json!({ "cnf": cnf })).await;
        assert_eq!(status.as_u16(), 401);
        assert!(challenge.unwrap().contains("invalid_token"));
    }
}

#[tokio::test]
async fn scopes_are_demanded() {
    let api = api();
    assert_eq!(api.ask("/read", json!({})).await.0.as_u16(), 200);
    for scope in ["", "notes", "notes.read.all", "NOTES.READ", "openid,notes.read"] {
        let (status, challenge, body) = api.ask("/read", json!({ "scope": scope })).await;
        let challenge = challenge.unwrap();
        assert_eq!((status.as_u16(), &body["error"]), (403, &json!("insufficient_scope")), "{scope}");
        assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"notes.read\""));
    }
}

#[tokio::test]
async fn roles_follow_the_hierarchy_and_permissions_stand_alone() {
    let api = api();
    for (roles, user, admin) in [
        (json!(["admin"]), 200, 200),
        (json!(["moderator"]), 200, 403),
        (json!(["user"]), 200, 403),
        (json!(["stranger", { "value": "moderator" }]), 200, 403),
        (json!([]), 403, 403),
        (json!(["Admin", "superadmin", ""]), 403, 403),
    ] {
        let changes = json!({ "roles": roles, "groups": ["admin"], "permissions": ["admin"] });
        assert_eq!(api.ask("/user", changes.clone()).await.0.as_u16(), user, "{changes}");
        assert_eq!(api.ask("/admin", changes.clone()).await.0.as_u16(), admin, "{changes}");
    }
    let (status, challenge, _) = api.ask("/admin", json!({})).await;
    assert_eq!(status.as_u16(), 403);
    assert!(challenge.unwrap().contains("insufficient_scope"));
    assert_eq!(api.ask("/publish", json!({ "permissions": ["article:publish"] })).await.0.as_u16(), 200);
    let others = json!({ "permissions": ["article:*"], "roles": ["admin"], "scope": "article:publish" });
    assert_eq!(api.ask("/publish", others).await.0.as_u16(), 403);
}

#[tokio::test]
async fn owners_get_in_and_others_do_not() {
    let api = api();
    assert_eq!(api.ask("/notes/alice", json!({})).await.0.as_u16(), 200);
    for stranger in ["bob", "Alice", ""] {
        let status = api.ask("/notes/alice", json!({ "sub": stranger })).await.0.as_u16();
        assert_eq!(status, if stranger.is_empty() { 401 } else { 403 }, "{stranger}");
    }
}

#[tokio::test]
async fn a_step_up_says_what_is_missing() {
    let api = api();
    assert_eq!(api.ask("/strong", json!({ "acr": "phrh" })).await.0.as_u16(), 200);
    for changes in [json!({ "acr": "urn:keyward:acr:1" }), json!({})] {
        let (status, challenge, body) = api.ask("/strong", changes).await;
        let challenge = challenge.unwrap();
        assert_eq!((status.as_u16(), &body["error"]), (401, &json!("insufficient_user_authentication")));
        assert!(
            challenge.contains("acr_values=\"phr phrh\"") && challenge.contains("resource_metadata="),
            "{challenge}"
        );
    }
    assert_eq!(api.ask("/recent", json!({ "auth_time": NOW - 300 })).await.0.as_u16(), 200);
    for changes in [json!({ "auth_time": NOW - 301 }), json!({})] {
        let (status, challenge, _) = api.ask("/recent", changes).await;
        assert_eq!(status.as_u16(), 401);
        assert!(challenge.unwrap().contains("max_age=\"300\""));
    }
}

#[tokio::test]
async fn a_layer_guards_and_a_policy_decides() {
    let api = api();
    assert_eq!(api.ask("/layered", json!({})).await.2, json!("alice"));
    assert_eq!(api.ask("/layered/again", json!({})).await.2, json!("alice"));
    assert_eq!(api.ask("/layered", json!({ "exp": 0 })).await.0.as_u16(), 401);
    assert_eq!(api.ask("/policed", json!({})).await.0.as_u16(), 200);
    assert_eq!(api.ask("/policed", json!({ "exp": 0 })).await.0.as_u16(), 401);
    for (path, client) in [("/policed?no", "web"), ("/policed", "other")] {
        let (status, challenge, _) = api.ask(path, json!({ "client_id": client })).await;
        assert_eq!(status.as_u16(), 403);
        assert!(challenge.unwrap().contains("A policy forbids"));
    }
}

#[tokio::test]
async fn a_token_may_be_optional_but_never_bad() {
    let api = api();
    assert_eq!(api.get("/maybe", None).await.2, json!("nobody"));
    assert_eq!(api.ask("/maybe", json!({})).await.2, json!("alice"));
    assert_eq!(api.ask("/maybe", json!({ "exp": 0 })).await.0.as_u16(), 401);
    assert_eq!(api.get("/maybe", Some("Bearer")).await.0.as_u16(), 400);
}

#[tokio::test]
async fn a_request_is_validated_once() {
    let api = api();
    assert_eq!(api.ask("/both", json!({})).await.2, json!(["alice", "alice"]));
    assert_eq!(api.clock_reads.load(Ordering::Relaxed), 1);
    assert_eq!(api.ask("/layered/again", json!({})).await.0.as_u16(), 200);
    assert_eq!(api.clock_reads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_guard_never_vouches_for_another() {
    let key = Key::ed25519("k");
    let reads = Arc::new(AtomicUsize::new(0));
    let (outer, inner) = (guard(&key, AUDIENCE, &reads), guard(&key, "https://other.example", &reads));
    let router = Router::new()
        .route("/", get(|token: AccessToken| async move { token.sub.clone() }))
        .layer(outer.layer())
        .with_state(inner);
    let ask = |claims: Value| {
        let request = Request::get("/").header("authorization", format!("Bearer {}", key.token(&claims)));
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    assert_eq!(ask(claims()).await.unwrap().status().as_u16(), 401, "the inner guard has another audience");
    let mut both = claims();
    both["aud"] = json!([AUDIENCE, "https://other.example"]);
    assert_eq!(ask(both).await.unwrap().status().as_u16(), 200);
}

/// A body that has nothing to do with axum.
#[derive(Debug, PartialEq)]
struct PlainBody(String);

impl From<String> for PlainBody {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[tokio::test]
async fn the_layer_needs_nothing_of_axum() {
    let key = Key::ed25519("k");
    let guard = guard(&key, AUDIENCE, &Arc::new(AtomicUsize::new(0)));
    let service = tower::ServiceBuilder::new().layer(guard.layer()).service_fn(|request: Request<()>| async move {
        let token = request.extensions().get::<AccessToken>().unwrap();
        Ok::<_, std::convert::Infallible>(Response::new(PlainBody(token.sub.clone())))
    });
    let request = |authorization: &str| Request::get("/").header("authorization", authorization).body(()).unwrap();
    let answer = service.clone().oneshot(request(&format!("Bearer {}", key.token(&claims())))).await.unwrap();
    assert_eq!((answer.status(), answer.into_body()), (StatusCode::OK, PlainBody("alice".into())));
    let answer = service.oneshot(request("Bearer x")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().contains("resource_metadata="));
    assert!(answer.into_body().0.contains("invalid_token"));
}

#[tokio::test]
async fn a_request_can_be_authorized_by_hand() {
    let key = Key::ed25519("k");
    let guard = guard(&key, AUDIENCE, &Arc::new(AtomicUsize::new(0)));
    let bearer = format!("Bearer {}", key.token(&claims()));
    let (mut good, ()) = Request::get("/").header("authorization", bearer).body(()).unwrap().into_parts();
    assert_eq!(guard.authorize(&mut good).await.unwrap().sub, "alice");
    let (mut bad, ()) = Request::get("/").body(()).unwrap().into_parts();
    let answer: Response<PlainBody> = guard.authorize(&mut bad).await.unwrap_err().to_response();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_resource_describes_itself_where_its_challenges_point() {
    let key = Key::ed25519("k");
    let metadata = ResourceMetadata::new("https://api.example/notes", ISSUER).scopes(["notes.read"]);
    let guard = Guard::builder(Verifier::new(ISSUER).audience("https://api.example/notes"))
        .described_by(&metadata)
        .with_keys(KeySet::from_jwks_json(jwks(&[&key]).as_bytes()).unwrap());
    let router = Router::new()
        .route("/notes", get(|_: AccessToken| async { "notes" }))
        .with_state(guard)
        .merge(metadata.router());
    let ask = |path: &str| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    let refused = ask("/notes").await.unwrap();
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    let url = challenge.strip_prefix("Bearer resource_metadata=\"").unwrap().strip_suffix('"').unwrap();
    assert_eq!(url, "https://api.example/.well-known/oauth-protected-resource/notes");
    let answer = ask(url.strip_prefix("https://api.example").unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let document: Value = serde_json::from_slice(&body).unwrap();
    // RFC 9728 §3.3: the client compares `resource` with the URL that it made the metadata's URL from.
    assert_eq!(document["resource"], "https://api.example/notes");
    assert_eq!(document["authorization_servers"], json!([ISSUER]));
}
