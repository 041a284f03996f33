//! Metadata of the server (RFC 8414, OpenID Connect Discovery §3): exactly what is enabled. Left out: signed metadata.

use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use keyward_keys::Algorithm;
use keyward_protocol::acr::Acr;
use keyward_protocol::claims;
use keyward_protocol::client_metadata::{AuthMethod, GrantType};
use keyward_protocol::display::Display;
use keyward_protocol::response_mode::ResponseMode;
use serde_json::json;

use super::jwks::{CACHE_CONTROL, cached};
use crate::account::sign_in::ACR_REACHABLE;
use crate::app::App;
use crate::fault::Fault;
use crate::locale::Texts;
use crate::status_list;

/// GET `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`.
pub async fn handle(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let document = app.provider_metadata.load_full();
    let etag = &app.provider_metadata_etag.load();
    cached(&headers, Bytes::from_owner(SharedBytes(document)), etag, "application/json", CACHE_CONTROL)
}

struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The document, made once for each change of what it says.
///
/// # Errors
/// Where it can't be written as JSON.
pub fn document(app: &App) -> Result<Vec<u8>, Fault> {
    let settings = &app.settings;
    let mut signing: Vec<&str> = app.key_ring.load().algorithms().into_iter().map(Algorithm::as_str).collect();
    signing.sort_unstable();
    let assertions: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
    let methods: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    let confidential: Vec<&str> = methods.iter().copied().filter(|method| *method != "none").collect();
    let grants: Vec<&str> = GrantType::ALL.iter().map(|grant| grant.as_str()).collect();
    let scopes: Vec<String> = app.directory.load().scopes.keys().cloned().collect();
    let own_claims: Vec<&str> = claims::supported().collect();
    let acr_values: Vec<&str> = ACR_REACHABLE.up_to().map(Acr::as_str).collect();
    let displays = Display::ALL.map(Display::as_str);
    let document = json!({
        "issuer": settings.issuer(),
        "authorization_endpoint": settings.endpoint("/authorize"),
        "token_endpoint": settings.endpoint("/token"),
        "userinfo_endpoint": settings.endpoint("/userinfo"),
        "jwks_uri": settings.endpoint("/jwks"),
        "introspection_endpoint": settings.endpoint("/introspect"),
        "revocation_endpoint": settings.endpoint("/revoke"),
        "end_session_endpoint": settings.endpoint("/end_session"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ResponseMode::ALL,
        "grant_types_supported": grants,
        "subject_types_supported": ["public"],
        "acr_values_supported": acr_values,
        "id_token_signing_alg_values_supported": signing,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": assertions,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": assertions,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": assertions,
        "introspection_signing_alg_values_supported": signing,
        "status_list_aggregation_endpoint": settings.endpoint(status_list::PATH),
        "code_challenge_methods_supported": ["S256"],
        "claim_types_supported": ["normal"],
        "claims_supported": own_claims,
        "claims_parameter_supported": true,
        "display_values_supported": displays,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "ui_locales_supported": app.locales.languages().iter().map(Texts::language).collect::<Vec<_>>(),
        "authorization_response_iss_parameter_supported": true,
    });
    Ok(serde_json::to_vec(&document)?)
}

/// The entity tag of these bytes.
pub fn etag(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut tag = String::from("\"");
    for octet in digest.as_ref().iter().take(8) {
        // Writing to a string can't fail.
        let _ = write!(tag, "{octet:02x}");
    }
    tag.push('"');
    tag
}
