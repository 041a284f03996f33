//! Embedded static files, under addresses that change with their content.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::assets;

/// GET `/assets/{name}`.
pub async fn handle(Path(name): Path<String>) -> Response {
    match assets::find(&format!("/assets/{name}")) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(asset) => {
            let mut response = (StatusCode::OK, Body::from(asset.bytes)).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
            response
        }
    }
}
