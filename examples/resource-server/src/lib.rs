//! An API that keeps notes in memory and accepts access tokens of Keyward, or of any RFC 9068 issuer, by
//! `keyward-guard`.
//!
//! | route | demands | answers |
//! |---|---|---|
//! | `GET /` | nothing | what this is |
//! | `GET /api/me` | any valid token | subject, client, scope |
//! | `GET /api/notes` | scope `notes.read` | the subject's notes |
//! | `POST /api/notes` | scope `notes.write` | keeps `{"text": "…"}` |
//! | `GET /api/admin` | role `admin` | how much is kept |
//! | `GET /.well-known/oauth-protected-resource` | nothing | metadata (RFC 9728) |
//!
//! Left out: a database. Notes are gone when the program ends.

mod cors;
mod notes;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use keyward_guard::{
    AccessToken, Discovery, Guard, RequireRole, RequireScope, ResourceMetadata, Verifier, role, scope,
};
use serde_json::{Value, json};

use crate::cors::AllowedOrigins;
use crate::notes::{Full, NewNote, Notes};

/// The longest request body. In bytes.
const MAX_BODY: usize = 8 * 1024;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

const ABOUT: &str = "A notes API that accepts OAuth 2.0 access tokens (RFC 9068).

GET  /api/me      any valid token: who you are
GET  /api/notes   scope notes.read: your notes
POST /api/notes   scope notes.write: keeps {\"text\": \"...\"}
GET  /api/admin   role admin: how much is kept
GET  /.well-known/oauth-protected-resource   metadata of this API (RFC 9728)
";

scope!(NotesRead = "notes.read");
scope!(NotesWrite = "notes.write");
role!(Admin = "admin");

/// What the API needs to know.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The issuer of the tokens: an https URL, or http on loopback.
    pub issuer: String,
    /// The audience that tokens must have. Best the URL of this API, for RFC 9728 §3.3 has clients compare the two.
    pub audience: String,
    /// The URL under which clients reach this API; `None` takes the listener's address, with http.
    pub public_url: Option<String>,
    /// The origins whose pages may call this API (CORS), as `https://app.example`.
    pub web_origins: Vec<String>,
    /// A PEM file of certificate authorities to trust beside those of the system, to reach the issuer.
    pub extra_ca: Option<PathBuf>,
}

#[derive(Clone)]
struct Api {
    guard: Guard,
    notes: Arc<Notes>,
}

impl FromRef<Api> for Guard {
    fn from_ref(api: &Api) -> Self {
        api.guard.clone()
    }
}

/// Serves the API until the listener fails. The issuer needn't be up yet: its keys are fetched when it is.
///
/// # Errors
/// When the configuration is wrong (issuer, CA file, origins) or the listener fails.
pub async fn run(listener: tokio::net::TcpListener, config: Config) -> std::io::Result<()> {
    let public_url = match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", listener.local_addr()?),
    };
    let router = router(&config, &public_url)?;
    tracing::info!(url = %public_url, issuer = %config.issuer, audience = %config.audience, "notes API is up");
    axum::serve(listener, router).await
}

fn router(config: &Config, public_url: &str) -> std::io::Result<Router> {
    let mut discovery = Discovery::new();
    if let Some(file) = &config.extra_ca {
        discovery = discovery.extra_root_ca(std::fs::read(file)?);
    }
    let metadata = ResourceMetadata::new(&config.audience, &config.issuer)
        .scopes(["notes.read", "notes.write"])
        .name("Notes")
        .served_at(public_url);
    let verifier = Verifier::new(&config.issuer).audience(&config.audience);
    let guard = Guard::builder(verifier)
        .role_implies("admin", ["moderator"])
        .role_implies("moderator", ["user"])
        .described_by(&metadata)
        .discover(discovery)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let api = Api { guard, notes: Arc::new(Notes::default()) };
    let origins = AllowedOrigins::new(&config.web_origins)?;
    let mut router = Router::new()
        .route("/api/me", get(me))
        .route("/api/notes", get(list).post(keep))
        .route("/api/admin", get(admin))
        .layer(middleware::map_response(not_stored))
        .layer(middleware::from_fn_with_state(Arc::new(origins), cors::answer))
        .route("/", get(|| async { ABOUT }))
        .merge(metadata.router());
    // For clients that ask the host instead of the resource; this host has but one.
    if metadata.path() != WELL_KNOWN {
        router = router.route(WELL_KNOWN, get(move || async move { metadata.to_response::<Body>() }));
    }
    Ok(router.layer(DefaultBodyLimit::max(MAX_BODY)).with_state(api))
}

async fn me(token: AccessToken) -> Json<Value> {
    Json(json!({ "sub": token.sub, "client_id": token.client_id, "scope": token.scope }))
}

async fn list(State(api): State<Api>, token: RequireScope<NotesRead>) -> Json<Value> {
    Json(json!({ "notes": api.notes.of(&token.sub) }))
}

async fn keep(State(api): State<Api>, token: RequireScope<NotesWrite>, Json(note): Json<NewNote>) -> Response {
    let Some(text) = note.acceptable() else {
        let error = json!({ "error": "invalid_note", "error_description": "A note has 1 to 1000 characters." });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response();
    };
    match api.notes.keep(&token.sub, text) {
        Ok(note) => (StatusCode::CREATED, Json(note)).into_response(),
        Err(Full) => {
            let error = json!({ "error": "full", "error_description": "No more notes can be kept." });
            (StatusCode::CONFLICT, Json(error)).into_response()
        }
    }
}

async fn admin(State(api): State<Api>, _: RequireRole<Admin>) -> Json<Value> {
    let (people, notes) = api.notes.count();
    Json(json!({ "people": people, "notes": notes }))
}

/// Answers to tokens are for their owner alone.
async fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
