//! Whether the process has started, lives, and should be sent requests.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::app::App;
use crate::fault::Fault;
use crate::http::json;

/// GET `/health/startup`: it is answered once the database is open and the keys are loaded, for the server listens no
/// earlier.
pub async fn startup() -> Response {
    status("started")
}

/// GET `/health/live`: the process answers.
pub async fn live() -> Response {
    status("live")
}

/// GET `/health/ready`: the database answers too, and the server isn't about to stop.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.lifecycle.is_draining() {
        return json::fault_response(&Fault::Unavailable("the server is about to stop".to_owned()));
    }
    match app.store.directory_version().await {
        Ok(_) => status("ready"),
        Err(fault) => {
            tracing::warn!(error = %fault, "not ready");
            json::fault_response(&fault)
        }
    }
}

fn status(status: &'static str) -> Response {
    (StatusCode::OK, axum::Json(serde_json::json!({"status": status}))).into_response()
}
