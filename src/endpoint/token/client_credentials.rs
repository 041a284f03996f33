//! The client_credentials grant (RFC 6749 §4.4): no user, no refresh token, and for a JWT no write.

use keyward_protocol::parameters::Parameters;
use keyward_protocol::scope::{self, ScopeSet};

use super::resources;
use crate::app::{App, BUILT_IN_SCOPES};
use crate::http::client_authentication::AuthenticatedClient;
use crate::http::json::Failure;
use crate::issuer::{self, TokenResponse};

/// Gives a client a token for itself.
///
/// # Errors
/// `invalid_scope`, `invalid_target`; a fault where an opaque token can't be stored.
pub async fn issue(app: &App, client: &AuthenticatedClient, parameters: &Parameters) -> Result<TokenResponse, Failure> {
    let asked = ScopeSet::parse(parameters.get("scope").unwrap_or_default())?;
    // Scopes about a person mean nothing where there is none, and a client has no role (requirement RB-2).
    let allowed = {
        let directory = app.directory.load();
        client.metadata.scope.filter(|name| {
            directory.scopes.contains_key(name) && !BUILT_IN_SCOPES.contains(&name) && !directory.is_for_roles(name)
        })
    };
    let granted = scope::grantable(&asked, &allowed, &client.metadata.default_scope)?;
    let resources = resources(app, client, parameters)?;
    issuer::for_client(app, client, granted, resources).await
}
