//! The form token for scripts of our own origin (requirement WB-2): no other origin can read the answer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::http::csrf::FormToken;
use crate::http::{Incoming, json};

/// GET `/csrf-token`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = FormToken::issue(&app, &incoming).map_err(Into::into).and_then(|form| {
        let mut response = json::ok(&serde_json::json!({"csrf_token": form.token}))?;
        form.apply(&app, &mut response);
        Ok(response)
    });
    json::answer(&incoming, outcome)
}
