//! The token endpoint (RFC 6749 §3.2): parse, authenticate the client, dispatch to the grant, answer.

mod authorization_code;
mod client_credentials;
mod refresh_token;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keyward_protocol::client_metadata::GrantType;
use keyward_protocol::parameters::Parameters;
use keyward_protocol::{ErrorCode, Refusal, authorization_request};

use crate::app::App;
use crate::http::Incoming;
use crate::http::admission::Standing;
use crate::http::client_authentication::{AuthenticatedClient, identify, prove};
use crate::http::json::{self, Failure};
use crate::http::shedding::admit_from_page;

const MISSING_CODE: &str = "The code is missing.";
const MISSING_REFRESH_TOKEN: &str = "The refresh_token is missing.";

/// POST `/token`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let parameters = incoming.form()?;
    parameters.refuse_repeated()?;
    let claimed = identify(app, incoming, &parameters).await?;
    // Protocol decision 10: syntax first, so that a malformed request spends no assertion.
    let name = parameters.require("grant_type", "The grant_type is missing.")?;
    let grant = GrantType::parse(name)
        .ok_or(Refusal::new(ErrorCode::UnsupportedGrantType, "The grant_type is not supported."))?;
    match grant {
        GrantType::AuthorizationCode => drop(parameters.require("code", MISSING_CODE)?),
        GrantType::RefreshToken => drop(parameters.require("refresh_token", MISSING_REFRESH_TOKEN)?),
        GrantType::ClientCredentials => {}
    }
    // Before anything is spent or computed: under overload a refusal is to cost as little as it can.
    admit_from_page(app, &incoming.headers, Standing::of(Some(grant)))?;
    // A client's own token needs no act, as a JWT.
    if grant != GrantType::ClientCredentials {
        app.store.admits()?;
    }
    let client = prove(app, incoming, claimed, &app.settings.endpoint("/token")).await?;
    // RFC 6749 §5.2: the authenticated client is not authorized to use this grant.
    if !client.metadata.has_grant(grant) {
        return Err(Refusal::new(ErrorCode::UnauthorizedClient, "The client may not use this grant.").into());
    }
    // The futures of the grants that write are large, and on the heap: what is moved on the way to a client's own token is
    // small.
    let response = match grant {
        GrantType::AuthorizationCode => {
            Box::pin(authorization_code::redeem(app, incoming, &client, &parameters)).await?
        }
        GrantType::RefreshToken => Box::pin(refresh_token::refresh(app, incoming, &client, &parameters)).await?,
        GrantType::ClientCredentials => client_credentials::issue(app, &client, &parameters).await?,
    };
    json::ok(&response)
}

/// The resources that a token request names (RFC 8707 §2.2).
fn resources(app: &App, client: &AuthenticatedClient, parameters: &Parameters) -> Result<Vec<String>, Refusal> {
    let directory = app.directory.load();
    authorization_request::resources(parameters, &client.metadata, |resource| {
        directory.audiences.contains_key(resource)
    })
}
