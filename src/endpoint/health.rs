//! Whether the process lives, and whether it can serve.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::app::App;
use crate::http::json;

/// GET `/health/live`: the process answers.
pub async fn live() -> Response {
    (StatusCode::OK, axum::Json(serde_json::json!({"status": "live"}))).into_response()
}

/// GET `/health/ready`: the database answers too.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.store.directory_version().await {
        Ok(_) => (StatusCode::OK, axum::Json(serde_json::json!({"status": "ready"}))).into_response(),
        Err(fault) => {
            tracing::warn!(error = %fault, "not ready");
            json::fault_response(&fault)
        }
    }
}
