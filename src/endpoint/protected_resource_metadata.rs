//! Metadata of our own protected resource, userinfo (RFC 9728 §2): whose tokens it takes, and how they are presented.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::http::Incoming;
use crate::http::json;

/// GET `/.well-known/oauth-protected-resource`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let issuer = app.settings.issuer();
    // Protocol decision 16: userinfo takes tokens whose audience is the issuer.
    let document = serde_json::json!({
        "resource": issuer,
        "authorization_servers": [issuer],
        "jwks_uri": app.settings.endpoint("/jwks"),
        "scopes_supported": ["openid", "profile", "email", "phone", "address", "roles", "groups", "permissions"],
        "bearer_methods_supported": ["header", "body"],
    });
    json::answer(&incoming, json::ok(&document))
}
