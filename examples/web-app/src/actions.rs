//! The buttons of a logged-in person: refresh the tokens, call the resource server, log out. Each is a form with the
//! CSRF token of the session, and each ends in a redirect, so that a reload repeats nothing.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use openidconnect::OAuth2TokenResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::App;
use crate::home::session_of;
use crate::http_client::{HttpClient, HttpError};
use crate::login::{access_expires_at, scope, userinfo, verify};
use crate::page::{Moment, Problem, go};
use crate::provider::Expected;
use crate::session::{SESSION_COOKIE, Session, same, set_cookie};
use crate::surroundings::random_token;

/// What the resource server is asked.
const API_PATHS: [&str; 2] = ["/api/notes", "/api/me"];

/// The fields of every form here.
#[derive(Deserialize)]
pub(crate) struct ActionForm {
    csrf_token: String,
}

/// A session whose form proved to be its own.
struct Acting {
    id: String,
    session: OwnedMutexGuard<Session>,
}

/// The session of a form. `Ok(Err(answer))` means that the form came from a page that is out of date: nothing is done,
/// and the person sees the present page with one sentence.
async fn acting(
    app: &App,
    headers: &HeaderMap,
    form: Result<Form<ActionForm>, FormRejection>,
) -> Result<Result<Acting, Response>, Problem> {
    let Form(form) = form.map_err(|rejection| Problem::bad_form(rejection.body_text()))?;
    let (id, session) = session_of(app, headers).await.ok_or_else(Problem::not_logged_in)?;
    let mut session = session.lock_owned().await;
    // Cross-site request forgery: only our own page of this session knows the token.
    if !same(&form.csrf_token, &session.csrf) {
        session.notice = Some("That page was out of date, so nothing was done. Please press the button again.".into());
        return Ok(Err(go("/")));
    }
    Ok(Ok(Acting { id, session }))
}

/// `POST /refresh`: exchanges the refresh token for new tokens (RFC 6749 §6).
pub(crate) async fn refresh(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<ActionForm>, FormRejection>,
) -> Result<Response, Problem> {
    let Acting { id, mut session } = match acting(&app, &headers, form).await? {
        Ok(acting) => acting,
        Err(answer) => return Ok(answer),
    };
    let Some(refresh_token) = session.refresh_token.clone() else {
        session.notice = Some("The login server issued no refresh token.".to_owned());
        return Ok(go("/"));
    };
    let provider = app.provider().await?;
    let tokens = match provider.refresh(&app.settings, &app.http, &refresh_token).await {
        Ok(tokens) => tokens,
        // RFC 6749 §5.2: the grant is over, and with it the login.
        Err(error) if error.is_end_of_grant() => {
            app.memory.end_session(&id);
            return Err(Problem::login_ended(error.to_string()));
        }
        // Everything else leaves the refresh token as it is: it can be used again.
        Err(error) => return Err(error.into()),
    };
    // Kept before anything else can fail: the old one may be spent (RFC 9700 §4.14.2).
    if let Some(successor) = tokens.refresh_token() {
        session.refresh_token = Some(successor.clone());
    }
    let subject = session.claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    let expected = Expected::Refresh { nonce: &session.nonce, subject: &subject };
    if let Some((id_token, claims)) = verify(&app, &provider, &tokens, &expected).await? {
        session.id_token = id_token;
        session.claims = claims;
    }
    session.access_token = tokens.access_token().clone();
    session.access_expires_at = access_expires_at(&tokens);
    if let Some(scope) = scope(&tokens) {
        session.scope = scope;
    }
    session.userinfo = userinfo(&app, &provider, tokens.access_token(), &session.claims).await;
    session.notice = Some(match session.access_expires_at.and_then(Moment::at) {
        Some(moment) => format!("Tokens refreshed. The new access token expires on {}.", moment.people),
        None => "Tokens refreshed.".to_owned(),
    });
    Ok(go("/"))
}

/// `POST /call-api`: calls the resource server with the access token (RFC 6750 §2.1).
pub(crate) async fn call_api(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<ActionForm>, FormRejection>,
) -> Result<Response, Problem> {
    let Acting { mut session, .. } = match acting(&app, &headers, form).await? {
        Ok(acting) => acting,
        Err(answer) => return Ok(answer),
    };
    let mut results = serde_json::Map::new();
    for path in API_PATHS {
        let result = match get(&app.http, &format!("{}{path}", app.settings.api_url), &session).await {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.to_string() }),
        };
        results.insert(format!("GET {path}"), result);
    }
    session.api_result = Some(Value::Object(results));
    Ok(go("/#api"))
}

/// One call to the resource server: status, body, and what a refusal demands.
async fn get(http: &HttpClient, url: &str, session: &Session) -> Result<Value, HttpError> {
    let request = axum::http::Request::get(url)
        .header(header::ACCEPT, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", session.access_token.secret()))
        .body(Vec::new())?;
    let answer = http.send(request).await?;
    let body = serde_json::from_slice(answer.body())
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(answer.body()).into_owned()));
    let mut result = json!({ "status": answer.status().as_u16(), "body": body });
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    if let (Some(challenge), Some(members)) = (challenge, result.as_object_mut()) {
        members.insert("www_authenticate".to_owned(), Value::String(challenge.to_owned()));
    }
    Ok(result)
}

/// `POST /logout`: ends the session here, revokes the refresh token, and sends the browser to the issuer's logout.
pub(crate) async fn log_out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<ActionForm>, FormRejection>,
) -> Result<Response, Problem> {
    let Acting { id, session } = match acting(&app, &headers, form).await? {
        Ok(acting) => acting,
        Err(answer) => return Ok(answer),
    };
    app.memory.end_session(&id);
    let gone = [(header::SET_COOKIE, set_cookie(SESSION_COOKIE, "", 0, app.secure_cookies))];
    let provider = match app.provider().await {
        Ok(provider) => provider,
        Err(error) => return Ok((gone, Problem::half_logged_out(error.to_string())).into_response()),
    };
    if let Some(refresh_token) = &session.refresh_token
        && let Err(reason) = provider.revoke(&app.settings, &app.http, refresh_token).await
    {
        // The logout goes on: the person's wish is to leave, and the token is gone from here in any case.
        tracing::warn!(reason, "the refresh token couldn't be revoked");
    }
    let state = random_token()?;
    match provider.logout_url(&app.settings, &session.id_token, &state) {
        Some(url) => {
            app.memory.begin_logout(state);
            Ok((gone, go(url.as_str())).into_response())
        }
        None => {
            let reason = "The login server offers no logout.".to_owned();
            Ok((gone, Problem::half_logged_out(reason)).into_response())
        }
    }
}
