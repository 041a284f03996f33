//! Client authentication at the endpoints that clients call themselves: token, introspection, revocation.

use std::sync::Arc;

use http::header::HeaderValue;
use keyward_keys::Algorithm;
use keyward_protocol::client_authentication::{self, FAILED, Presented};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::{ErrorCode, Refusal};

use super::Incoming;
use super::json::Failure;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::store::client::RegisteredClient;

/// A client that proved what it is; it comes only out of [`authenticate`].
#[derive(Debug, Clone)]
pub struct AuthenticatedClient(Arc<RegisteredClient>);

impl AuthenticatedClient {
    /// The client, for whoever keeps it longer than the request.
    pub fn shared(&self) -> Arc<RegisteredClient> {
        Arc::clone(&self.0)
    }
}

impl std::ops::Deref for AuthenticatedClient {
    type Target = RegisteredClient;

    fn deref(&self) -> &RegisteredClient {
        &self.0
    }
}

/// A request whose client is named and has proven nothing yet.
#[derive(Debug)]
pub struct Claimed {
    presented: Presented,
    found: Option<Arc<RegisteredClient>>,
    by_header: bool,
}

/// Reads what a request presents and looks the client up: nothing is proven, and nothing is spent.
///
/// # Errors
/// `invalid_client` (401) where nothing is presented, `invalid_request` where too much is; a fault where the database
/// fails.
pub async fn identify(app: &App, incoming: &Incoming, parameters: &Parameters) -> Result<Claimed, Failure> {
    let authorization = incoming.authorization()?;
    let presented = match client_authentication::read(authorization, parameters) {
        Ok(presented) => presented,
        Err(refusal) => return Err(challenged(refusal, authorization.is_some())),
    };
    let found = app.client(presented.client_id()).await?;
    if let Some(client) = &found {
        // For CORS alone. The first identification stands; there is one in a request.
        let _ = incoming.client.set(Arc::clone(client));
    }
    Ok(Claimed { presented, found, by_header: authorization.is_some() })
}

/// Authenticates the client of a request (RFC 6749 §2.3). `endpoint` is the address that was called.
///
/// # Errors
/// `invalid_client` (401) or `invalid_request`; a fault where the database fails.
pub async fn authenticate(
    app: &App,
    incoming: &Incoming,
    parameters: &Parameters,
    endpoint: &str,
) -> Result<AuthenticatedClient, Failure> {
    let claimed = identify(app, incoming, parameters).await?;
    prove(app, incoming, claimed, endpoint).await
}

/// Has the named client prove itself. An assertion is spent by this.
///
/// # Errors
/// As [`authenticate`].
pub async fn prove(
    app: &App,
    incoming: &Incoming,
    claimed: Claimed,
    endpoint: &str,
) -> Result<AuthenticatedClient, Failure> {
    let Claimed { presented, found, by_header } = claimed;
    let outcome = judge(app, &presented, found, endpoint).await;
    if let Err(Failure::Refused { refusal, .. }) = &outcome
        && refusal.code == ErrorCode::InvalidClient
    {
        let client_id: String = presented.client_id().chars().take(255).collect();
        let event =
            AuditEvent::new(AuditKind::ClientAuthentication, AuditOutcome::Failure, "anonymous", &incoming.origin())
                .client(client_id)
                .detail("method", presented.method().as_str());
        Box::pin(app.audit_later(event)).await?;
        return Err(challenged(*refusal, by_header));
    }
    outcome
}

/// RFC 6749 §5.2: a client that tried by the Authorization header is told the scheme that is taken.
fn challenged(refusal: Refusal, by_header: bool) -> Failure {
    let challenge = (refusal.code == ErrorCode::InvalidClient && by_header)
        .then(|| HeaderValue::from_static("Basic realm=\"clients\", charset=\"UTF-8\""));
    Failure::Refused { refusal, challenge }
}

async fn judge(
    app: &App,
    presented: &Presented,
    found: Option<Arc<RegisteredClient>>,
    endpoint: &str,
) -> Result<AuthenticatedClient, Failure> {
    match presented {
        Presented::Basic { secret, .. } | Presented::Post { secret, .. } => {
            // The same work for a client that doesn't exist.
            let hash = app.secrets.client_secret_hash.hash(secret.as_bytes());
            let client = found.ok_or(FAILED)?;
            client_authentication::check_method(&client.metadata, presented.method())?;
            let now = app.clock.now();
            let right = client.secrets.iter().filter(|(_, ends)| ends.is_none_or(|ends| now < ends)).fold(
                false,
                |right, (stored, _)| {
                    let equal: bool = subtle::ConstantTimeEq::ct_eq(hash.as_slice(), stored.as_slice()).into();
                    right | equal
                },
            );
            if right { Ok(AuthenticatedClient(client)) } else { Err(FAILED.into()) }
        }
        Presented::Nothing { .. } => {
            let client = found.ok_or(FAILED)?;
            client_authentication::check_method(&client.metadata, presented.method())?;
            Ok(AuthenticatedClient(client))
        }
        Presented::Assertion { assertion, client_id } => {
            let client = found.ok_or(FAILED)?;
            client_authentication::check_method(&client.metadata, presented.method())?;
            // On the heap, for its future holds a whole HTTP exchange, and every other request would carry the room for it.
            Box::pin(judge_assertion(app, client, assertion, client_id, endpoint)).await
        }
    }
}

async fn judge_assertion(
    app: &App,
    client: Arc<RegisteredClient>,
    assertion: &str,
    client_id: &str,
    endpoint: &str,
) -> Result<AuthenticatedClient, Failure> {
    let verified = match (&client.keys, &client.metadata.jwks_uri) {
        (Some(keys), _) => keys.verify(assertion, &Algorithm::ALL),
        (None, Some(uri)) => app.published_keys.verify(client.id, uri, assertion, &Algorithm::ALL).await,
        (None, None) => return Err(FAILED.into()),
    };
    let (_, claims) = verified.map_err(|_| FAILED)?;
    let token_endpoint = app.settings.endpoint("/token");
    let audiences = [app.settings.issuer(), &token_endpoint, endpoint];
    let leeway = app.settings.tokens.clock_leeway.as_secs();
    let now = app.clock.now();
    let accepted = client_authentication::check_assertion(&claims, client_id, &audiences, leeway, now)?;
    // RFC 7523 §3 (7), protocol decision 22: once until exp.
    let mark = app.secrets.token_hash.hash_list(&[b"client_assertion", client_id.as_bytes(), accepted.jti.as_bytes()]);
    if !app.store.use_once(mark, accepted.remember_until, now).await? {
        return Err(Refusal::new(ErrorCode::InvalidClient, "The assertion was used before.").into());
    }
    Ok(AuthenticatedClient(client))
}
