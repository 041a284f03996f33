//! Begins a login (`/login`) and finishes it (`/callback`): the authorization code flow of OpenID Connect Core §3.1
//! with `state`, `nonce`, PKCE and the issuer check of RFC 9207.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use openidconnect::core::{CoreIdToken, CoreTokenResponse};
use openidconnect::{AccessToken, OAuth2TokenResponse};
use serde_json::Value;
use url::form_urlencoded;

use crate::App;
use crate::page::{Problem, go};
use crate::provider::{Expected, Provider, ProviderError, jwt_claims};
use crate::session::{
    LOGIN_COOKIE, LOGIN_LIFETIME_SECONDS, PendingLogin, SESSION_COOKIE, SESSION_LIFETIME_SECONDS, Session, cookie,
    set_cookie,
};
use crate::surroundings::{random_token, unix_seconds};

/// Characters of a value made by [`random_token`].
const RANDOM_TOKEN_CHARACTERS: usize = 43;

/// `GET /login`: remembers a new login and sends the browser to the authorization endpoint.
pub(crate) async fn begin(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let provider = app.provider().await?;
    let (state, nonce) = (random_token()?, random_token()?);
    // One cookie binds all logins of this browser, so tabs don't overwrite each other.
    let browser = match cookie(&headers, LOGIN_COOKIE) {
        Some(value) if value.len() == RANDOM_TOKEN_CHARACTERS && value.bytes().all(is_base64url) => value.to_owned(),
        _ => random_token()?,
    };
    let request = provider.authorization_request(&app.settings, &state, &nonce);
    let bound = set_cookie(LOGIN_COOKIE, &browser, LOGIN_LIFETIME_SECONDS, app.secure_cookies);
    let pending = PendingLogin { browser, nonce, verifier: request.verifier, begun_at: unix_seconds() };
    app.memory.begin_login(state, pending);
    Ok(([(header::SET_COOKIE, bound)], go(request.url.as_str())).into_response())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The authorization answer (RFC 6749 §4.1.2, RFC 9207 §2).
#[derive(Default, Debug, PartialEq)]
struct AuthorizationAnswer {
    state: Option<String>,
    iss: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl AuthorizationAnswer {
    /// Reads the query.
    ///
    /// RFC 6749 §3.1: parameters must not repeat; an empty value counts as absent.
    fn parse(query: &str) -> Result<AuthorizationAnswer, String> {
        let mut answer = AuthorizationAnswer::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match name.as_ref() {
                "state" => &mut answer.state,
                "iss" => &mut answer.iss,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "error_description" => &mut answer.error_description,
                _ => continue,
            };
            if field.is_some() {
                return Err(format!("the parameter {name} is repeated"));
            }
            if !value.is_empty() {
                *field = Some(value.into_owned());
            }
        }
        Ok(answer)
    }
}

/// `GET /callback`: checks the answer, redeems the code, checks the ID token, and begins a session.
pub(crate) async fn finish(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let answer =
        AuthorizationAnswer::parse(query.as_deref().unwrap_or_default()).map_err(|text| Problem::bad_answer(&text))?;
    // RFC 6749 §10.12: without a state of this browser the answer is nobody's.
    let state = answer.state.as_deref().ok_or_else(|| Problem::bad_answer("the parameter state is missing"))?;
    let pending = app.memory.take_login(state, cookie(&headers, LOGIN_COOKIE)).ok_or_else(Problem::unknown_login)?;
    let provider = app.provider().await?;
    // RFC 9207 §2.4: before anything else of the answer is believed, errors too.
    if !provider.is_own_answer(&app.settings, answer.iss.as_deref()) {
        return Err(Problem::bad_answer("the parameter iss doesn't name the issuer that the login was sent to"));
    }
    match answer.error.as_deref() {
        Some("access_denied") => return Err(Problem::declined()),
        Some(code) => return Err(Problem::refused_login(code, answer.error_description.as_deref())),
        None => {}
    }
    let code = answer.code.ok_or_else(|| Problem::bad_answer("it has neither a code nor an error"))?;
    let tokens = provider.redeem(&app.settings, &app.http, code, pending.verifier).await?;
    let expected = Expected::Login { nonce: &pending.nonce };
    let (id_token, claims) = verify(&app, &provider, &tokens, &expected)
        .await?
        .ok_or_else(|| Problem::bad_answer("the answer has no ID token"))?;
    let userinfo = userinfo(&app, &provider, tokens.access_token(), &claims).await;

    // A new id at each login: an id planted before can't name the session, and the old session ends.
    if let Some(old) = cookie(&headers, SESSION_COOKIE) {
        app.memory.end_session(old);
    }
    let id = random_token()?;
    let session = Session {
        csrf: random_token()?,
        nonce: pending.nonce,
        id_token,
        claims,
        userinfo,
        access_token: tokens.access_token().clone(),
        access_expires_at: access_expires_at(&tokens),
        refresh_token: tokens.refresh_token().cloned(),
        scope: scope(&tokens).unwrap_or_default(),
        api_result: None,
        notice: None,
        begun_at: unix_seconds(),
    };
    let begun = set_cookie(SESSION_COOKIE, &id, SESSION_LIFETIME_SECONDS, app.secure_cookies);
    app.memory.begin_session(id, session);
    Ok((AppendHeaders([(header::SET_COOKIE, begun)]), go("/")).into_response())
}

/// Checks an ID token; when its key isn't known, once more with freshly fetched keys (Core §10.1.1).
pub(crate) async fn verify(
    app: &App,
    provider: &Provider,
    tokens: &CoreTokenResponse,
    expected: &Expected<'_>,
) -> Result<Option<(CoreIdToken, Value)>, ProviderError> {
    match provider.verify(tokens, expected) {
        Err(ProviderError::UnknownKey) => app.discover().await?.verify(tokens, expected),
        outcome => outcome,
    }
}

/// Userinfo for the person of these ID token claims.
pub(crate) async fn userinfo(
    app: &App,
    provider: &Provider,
    access_token: &AccessToken,
    claims: &Value,
) -> Result<Value, String> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    provider.userinfo(&app.http, access_token, subject).await
}

/// When the access token ends, in unix seconds: by `expires_in` (RFC 6749 §5.1), else by its own `exp`.
pub(crate) fn access_expires_at(tokens: &CoreTokenResponse) -> Option<i64> {
    match tokens.expires_in() {
        Some(lifetime) => unix_seconds().checked_add(i64::try_from(lifetime.as_secs()).ok()?),
        None => jwt_claims(tokens.access_token().secret())?.get("exp")?.as_i64(),
    }
}

/// The granted scope as one text, if the answer states it.
pub(crate) fn scope(tokens: &CoreTokenResponse) -> Option<String> {
    let scopes = tokens.scopes()?;
    Some(scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let answer = AuthorizationAnswer::parse("code=a%20b&state=s&iss=http%3A%2F%2Fi&session_state=x").unwrap();
        assert_eq!(answer.code.as_deref(), Some("a b"));
        assert_eq!(answer.iss.as_deref(), Some("http://i"));
        assert_eq!(answer.error, None);
        assert!(AuthorizationAnswer::parse("state=s&state=s").is_err());
        assert_eq!(AuthorizationAnswer::parse("error=&code=").unwrap(), AuthorizationAnswer::default());
    }
}
