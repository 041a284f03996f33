//! The client_credentials grant (RFC 6749 §4.4): no user, no refresh token, no write.

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
/// `invalid_scope`, `invalid_target`.
pub fn issue(app: &App, client: &AuthenticatedClient, parameters: &Parameters) -> Result<TokenResponse, Failure> {
    let asked = ScopeSet::parse(parameters.get("scope").unwrap_or_default())?;
    let directory = app.directory.load();
    // Scopes about a person mean nothing where there is none.
    let allowed =
        client.metadata.scope.filter(|name| directory.scopes.contains_key(name) && !BUILT_IN_SCOPES.contains(&name));
    let granted = scope::grantable(&asked, &allowed, &client.metadata.default_scope)?;
    let resources = resources(app, client, parameters)?;
    let signer = issuer::access_token_signer(app, client)?;
    Ok(issuer::for_client(app, &signer, client, &granted, &resources)?)
}
