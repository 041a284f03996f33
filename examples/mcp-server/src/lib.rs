//! A Model Context Protocol server (revisions 2025-03-26 to 2025-11-25, streamable HTTP) that keeps a task list for each
//! person and accepts access tokens of Keyward, or of any RFC 9068 issuer, by `keyward-guard`.
//!
//! | route | demands | answers |
//! |---|---|---|
//! | `GET /` | nothing | what this is |
//! | `POST /mcp` | scope `tasks.read` | JSON-RPC: `initialize`, `ping`, `tools/list`, `tools/call` |
//! | `GET /.well-known/oauth-protected-resource/mcp` | nothing | metadata (RFC 9728) |
//!
//! | tool | demands |
//! |---|---|
//! | `whoami`, `list_tasks` | scope `tasks.read` |
//! | `add_task` | scope `tasks.write` as well: without it the answer is a challenge that names both |
//!
//! A client that knows nothing but the address finds everything else: the challenge names the metadata (RFC 9728 §5.1),
//! these name the authorization server, and tokens are good here only where the client asked for this resource
//! (RFC 8707). Each request stands alone, so there are no MCP sessions, and no stream for messages of the server. Left
//! out: pages as clients (requests with an `Origin` are refused), resources, prompts, a database.

mod message;
mod tasks;
mod tool;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use keyward_guard::{AccessToken, Denied, Discovery, Guard, TokenRefusal, Verifier};
use serde_json::{Value, json};

use crate::message::{Incoming, RpcError};
use crate::tasks::Tasks;
use crate::tool::{Call, Tool};

/// The longest request body. In bytes.
const MAX_BODY: usize = 16 * 1024;

/// The path of the MCP endpoint.
const ENDPOINT: &str = "/mcp";

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What every request needs.
const READ: &str = "tasks.read";
/// What a change needs.
const WRITE: &str = "tasks.write";

/// The revisions of the protocol that are spoken, the newest first.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

const ABOUT: &str = "A Model Context Protocol server that keeps tasks and accepts OAuth 2.0 access tokens (RFC 9068).

POST /mcp   JSON-RPC by streamable HTTP; scope tasks.read, for add_task also tasks.write
GET  /.well-known/oauth-protected-resource/mcp   metadata of this server (RFC 9728)
";

/// What the server needs to know.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The issuer of the tokens: an https URL, or http on loopback.
    pub issuer: String,
    /// The URL under which clients reach this server, without a path; `None` takes the listener's address, with http.
    /// With `/mcp` behind it, it is the resource that tokens must be for.
    pub public_url: Option<String>,
    /// A PEM file of certificate authorities to trust beside those of the system, to reach the issuer.
    pub extra_ca: Option<PathBuf>,
}

#[derive(Clone)]
struct Server {
    guard: Guard,
    tasks: Arc<Tasks>,
    metadata: Arc<Value>,
}

impl FromRef<Server> for Guard {
    fn from_ref(server: &Server) -> Self {
        server.guard.clone()
    }
}

/// Serves until the listener fails. The issuer needn't be up yet: its keys are fetched when it is.
///
/// # Errors
/// When the configuration is wrong (issuer, CA file) or the listener fails.
pub async fn run(listener: tokio::net::TcpListener, config: Config) -> std::io::Result<()> {
    let public_url = match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", listener.local_addr()?),
    };
    let router = router(&config, &public_url)?;
    tracing::info!(url = %format!("{public_url}{ENDPOINT}"), issuer = %config.issuer, "MCP server is up");
    axum::serve(listener, router).await
}

fn router(config: &Config, public_url: &str) -> std::io::Result<Router> {
    let resource = format!("{public_url}{ENDPOINT}");
    let mut discovery = Discovery::new();
    if let Some(file) = &config.extra_ca {
        discovery = discovery.extra_root_ca(std::fs::read(file)?);
    }
    let guard = Guard::builder(Verifier::new(&config.issuer).audience(&resource))
        .resource_metadata(format!("{public_url}{WELL_KNOWN}{ENDPOINT}"))
        .discover(discovery)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    // A client asks for the scopes that stand here, so the list holds what every request needs and no more; a
    // challenge names what else a call needs.
    let metadata = json!({
        "resource": resource,
        "authorization_servers": [config.issuer],
        "scopes_supported": [READ],
        "bearer_methods_supported": ["header"],
        "resource_name": "Tasks",
    });
    let server = Server { guard, tasks: Arc::new(Tasks::default()), metadata: Arc::new(metadata) };
    Ok(Router::new()
        // No stream at GET and no session to end by DELETE (MCP 2025-11-25, Transports: 405 says so to the client).
        .route(ENDPOINT, post(exchange).fallback(only_post))
        .layer(middleware::from_fn(no_pages))
        .layer(middleware::map_response(not_stored))
        .route("/", get(|| async { ABOUT }))
        .route(WELL_KNOWN, get(metadata_document))
        .route(&format!("{WELL_KNOWN}{ENDPOINT}"), get(metadata_document))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(server))
}

/// One message of the client, and the answer to it.
async fn exchange(
    State(server): State<Server>,
    token: AccessToken,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Denied> {
    token.require_scope(READ)?;
    if !is_json(&headers) {
        return Ok(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
    }
    // MCP 2025-06-18 and 2025-11-25, Transports: a revision that isn't spoken is 400; its absence means 2025-03-26.
    if headers.get("mcp-protocol-version").is_some_and(|revision| !REVISIONS.iter().any(|known| revision == known)) {
        let error = RpcError::invalid_request("This revision of the protocol isn't spoken here.");
        return Ok((StatusCode::BAD_REQUEST, Json(message::failure(&Value::Null, &error))).into_response());
    }
    Ok(match message::read(&body) {
        Ok(Incoming::Request { id, method, params }) => match answer(&server, &token, &method, &params)? {
            Ok(result) => Json(message::success(&id, result)).into_response(),
            Err(error) => Json(message::failure(&id, &error)).into_response(),
        },
        // Notifications, and responses to requests that were never sent: nothing to answer.
        Ok(Incoming::Unanswered) => StatusCode::ACCEPTED.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(message::failure(&Value::Null, &error))).into_response(),
    })
}

/// The outer error is an answer of HTTP, for the token isn't enough; the inner one is JSON-RPC's.
fn answer(
    server: &Server,
    token: &AccessToken,
    method: &str,
    params: &Value,
) -> Result<Result<Value, RpcError>, Denied> {
    Ok(match method {
        "initialize" => initialize(params),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": Tool::ALL.map(Tool::describe) })),
        "tools/call" => match Call::read(params) {
            Ok(call) => {
                if call.tool.changes() && token.require_scope(WRITE).is_err() {
                    // The client asks anew for what the challenge names: it must name all of it, not the missing part.
                    return Err(token.deny(TokenRefusal::InsufficientScope(format!("{READ} {WRITE}"))));
                }
                Ok(call.run(&server.tasks, token))
            }
            Err(error) => Err(error),
        },
        _ => Err(RpcError::unknown_method()),
    })
}

/// MCP 2025-11-25, Lifecycle: the client's revision where it is spoken, else the newest that is.
fn initialize(params: &Value) -> Result<Value, RpcError> {
    let wanted = params.get("protocolVersion").and_then(Value::as_str);
    let wanted = wanted.ok_or_else(|| RpcError::invalid_params("protocolVersion is missing."))?;
    let [newest, ..] = REVISIONS;
    let revision = if REVISIONS.contains(&wanted) { wanted } else { newest };
    Ok(json!({
        "protocolVersion": revision,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "keyward-example-mcp-server", "version": env!("CARGO_PKG_VERSION") },
    }))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// RFC 9728 §3.2. Readable from any page: it holds nothing private.
async fn metadata_document(State(server): State<Server>) -> Response {
    ([("access-control-allow-origin", "*")], Json(&*server.metadata)).into_response()
}

/// RFC 9110 §15.5.6: with the methods that are known. The text is for a person who opens the address in a browser.
async fn only_post() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], ABOUT).into_response()
}

/// MCP 2025-11-25, Transports, security warning: the origin is checked, so that no page reaches a server on loopback by
/// a name of its own (DNS rebinding). No page is a client here, so any origin is a wrong one.
async fn no_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(ORIGIN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

/// Answers to tokens are for their owner alone.
async fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
