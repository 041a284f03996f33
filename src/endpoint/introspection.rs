//! Token introspection (RFC 7662) for access and refresh tokens, as JSON or signed (RFC 9701). Left out: encrypted
//! answers (RFC 9701 §5).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderValue};
use keyward_entities::opaque_token;
use keyward_guard::AccessToken;
use keyward_keys::{SigningKey, TokenType};
use keyward_protocol::client_metadata::ClientType;
use keyward_protocol::role::RoleClaims;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{ErrorCode, Refusal, client_authentication, introspection, refresh_token};
use serde::Serialize;

use super::access_token::{LiveToken, PresentedToken, is_access_token, read};
use crate::account::profile::{Holder, audience_clients};
use crate::app::App;
use crate::fault::Fault;
use crate::http::Incoming;
use crate::http::accept::names;
use crate::http::admission::Standing;
use crate::http::client_authentication::{AuthenticatedClient, identify, prove};
use crate::http::json::{self, Failure};
use crate::http::shedding::admit_from_page;
use crate::store::authorization::LiveGrant;
use crate::store::refresh_token::PresentedRefreshToken;

/// `token_use` of an access token.
const ACCESS_TOKEN: &str = "access_token";
/// `token_use` of a refresh token.
const REFRESH_TOKEN: &str = "refresh_token";

/// RFC 7662 §2.2.
#[derive(Debug, Default, Serialize)]
struct Introspected<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    /// Which kind of token it is (an extension, which §2.2 allows): what a refresh token's answer says must never be taken
    /// for an access token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_use: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aud: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    permissions: &'a [String],
}

/// RFC 9701 §5: the claims of a signed answer. No `exp` and no `sub` at this level, so that nobody takes it for the token.
#[derive(Debug, Serialize)]
struct SignedIntrospection<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: &'a Introspected<'a>,
}

/// POST `/introspect`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    json::answer(&incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, Failure> {
    let parameters = incoming.form()?;
    parameters.refuse_repeated()?;
    let claimed = identify(app, incoming, &parameters).await?;
    admit_from_page(app, &incoming.headers, Standing::GoesOn)?;
    let caller = prove(app, incoming, claimed, &app.settings.endpoint("/introspect")).await?;
    // RFC 7662 §2.1: the endpoint is protected; a public client proves nothing.
    if caller.metadata.client_type == ClientType::Public {
        return Err(client_authentication::FAILED.into());
    }
    let token = parameters.require("token", "The token is missing.")?;
    let signer = match names(&incoming.headers, introspection::MEDIA_TYPE) {
        false => Signer::None,
        true => match app.key_ring.load().active(caller.metadata.introspection_signed_response_alg) {
            Some(key) => Signer::Key(Arc::clone(key)),
            None => {
                // Never plain JSON for who asked for a signature.
                let refusal = Refusal::new(
                    ErrorCode::InvalidRequest,
                    "There is no key of the algorithm that is registered as introspection_signed_response_alg.",
                );
                return Ok(json::refused(incoming, StatusCode::NOT_ACCEPTABLE, &refusal));
            }
        },
    };
    let asking = Asking { app, caller: &caller, signer };
    // RFC 7662 §2.1: the hint is only a hint. On the heap, so that what holds them is small and cheap to move.
    match is_access_token(token) {
        true => Box::pin(asking.access_token(token)).await,
        false => Box::pin(asking.refresh_token(token)).await,
    }
}

/// In which form the answer goes out.
#[derive(Debug)]
enum Signer {
    /// JSON (RFC 7662 §2.2).
    None,
    /// A JWT (RFC 9701 §5).
    Key(Arc<SigningKey>),
}

/// An authenticated request.
struct Asking<'a> {
    app: &'a App,
    caller: &'a AuthenticatedClient,
    signer: Signer,
}

impl Asking<'_> {
    /// Answers in the form that was asked for.
    fn answer(&self, said: &Introspected<'_>) -> Result<Response, Failure> {
        let Signer::Key(key) = &self.signer else { return json::ok(said) };
        let claims = SignedIntrospection {
            iss: self.app.settings.issuer(),
            aud: &self.caller.client_id,
            iat: self.app.clock.now().seconds(),
            token_introspection: said,
        };
        let token = key.sign_jwt(TokenType::Introspection, &claims).map_err(Fault::from)?;
        let mut response = json::ok(&())?;
        *response.body_mut() = Body::from(token);
        let kind = HeaderValue::from_static(introspection::MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    /// RFC 7662 §2.2, RFC 9701 §5: nothing else is said of a token that isn't active, or isn't the caller's to see.
    fn inactive(&self) -> Result<Response, Failure> {
        self.answer(&Introspected::default())
    }

    async fn access_token(&self, token: &str) -> Result<Response, Failure> {
        let Self { app, caller, .. } = *self;
        let Ok(token) = read(app, token).await? else { return self.inactive() };
        if !introspection::may_see_access_token(
            &caller.metadata,
            &caller.client_id,
            token.client_id(),
            token.audience(),
        ) {
            return self.inactive();
        }
        let (row, audience) = match &token {
            PresentedToken::Jwt(jwt) => {
                return if token.is_live(app).await? { self.answer(&describe(jwt)) } else { self.inactive() };
            }
            PresentedToken::Opaque { row, audience } => (row, audience),
        };
        match token.live(app).await? {
            LiveToken::Ended => self.inactive(),
            LiveToken::OfClient => self.opaque(row, audience, None).await,
            LiveToken::OfGrant(live) => self.opaque(row, audience, Some(&live)).await,
        }
    }

    /// An opaque token says what a JWT would that is issued now: the roles are those of this moment.
    async fn opaque(
        &self,
        row: &opaque_token::Model,
        audience: &[String],
        live: Option<&LiveGrant>,
    ) -> Result<Response, Failure> {
        let scope = ScopeSet::parse(&row.scope).map_err(Fault::broken)?;
        let (amr, roles) = match live {
            None => (Vec::new(), RoleClaims::default()),
            Some(live) => {
                let holder = Holder::load(self.app, live, &scope).await?;
                let amr: Vec<String> = serde_json::from_str(&live.grant.amr).map_err(Fault::from)?;
                (amr, holder.claims(self.app, &scope, &audience_clients(self.app, audience)))
            }
        };
        self.answer(&Introspected {
            active: true,
            scope: Some(&row.scope),
            client_id: Some(&row.client_id),
            token_type: Some("Bearer"),
            token_use: Some(ACCESS_TOKEN),
            exp: Some(row.expires_at.div_euclid(1_000_000)),
            iat: Some(row.issued_at.div_euclid(1_000_000)),
            sub: Some(live.map_or(&row.client_id, |live| &live.subject)),
            aud: audience,
            iss: Some(self.app.settings.issuer()),
            jti: Some(&row.jti),
            auth_time: live.and_then(|live| u64::try_from(live.grant.auth_time.div_euclid(1_000_000)).ok()),
            acr: live.map(|live| live.grant.acr.as_str()),
            amr: &amr,
            roles: roles.roles.as_deref().unwrap_or_default(),
            groups: roles.groups.as_deref().unwrap_or_default(),
            permissions: roles.permissions.as_deref().unwrap_or_default(),
        })
    }

    async fn refresh_token(&self, token: &str) -> Result<Response, Failure> {
        let Self { app, caller, .. } = *self;
        let now = app.clock.now();
        let Some(presented) = refresh_token::parse(token) else { return self.inactive() };
        let presented = PresentedRefreshToken::of(presented, &app.secrets.token_hash);
        let idle = app.settings.sessions.idle_timeout.as_secs();
        let found = app.store.find_refresh_token(presented, idle, now).await?;
        let Some(found) = found else { return self.inactive() };
        let Some(client) = app.store.find_client_by_id(found.live.grant.client).await? else {
            return self.inactive();
        };
        if !introspection::may_see_refresh_token(&caller.client_id, &client.client_id) {
            return self.inactive();
        }
        if !found.stands || found.token.spent_at.is_some() || now.micros() >= found.token.expires_at {
            return self.inactive();
        }
        self.answer(&Introspected {
            active: true,
            scope: Some(&found.live.grant.scope),
            client_id: Some(&client.client_id),
            token_use: Some(REFRESH_TOKEN),
            exp: Some(found.token.expires_at.min(found.live.grant.expires_at).div_euclid(1_000_000)),
            iat: Some(found.token.issued_at.div_euclid(1_000_000)),
            sub: Some(&found.live.subject),
            iss: Some(app.settings.issuer()),
            ..Introspected::default()
        })
    }
}

fn describe(token: &AccessToken) -> Introspected<'_> {
    Introspected {
        active: true,
        scope: Some(token.scope.as_str()),
        client_id: Some(&token.client_id),
        token_type: Some("Bearer"),
        token_use: Some(ACCESS_TOKEN),
        exp: i64::try_from(token.exp).ok(),
        iat: i64::try_from(token.iat).ok(),
        sub: Some(&token.sub),
        aud: &token.aud,
        iss: Some(&token.iss),
        jti: Some(&token.jti),
        auth_time: token.auth_time,
        acr: token.acr.as_deref(),
        amr: &token.amr,
        roles: &token.roles,
        groups: &token.groups,
        permissions: &token.permissions,
    }
}
