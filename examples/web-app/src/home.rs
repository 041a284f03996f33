//! The front page: an invitation to log in, or what the login brought.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;
use url::form_urlencoded;

use crate::App;
use crate::page::{Moment, SessionPage, WelcomePage, pretty, show as show_page};
use crate::provider::jwt_claims;
use crate::session::{SESSION_COOKIE, SESSION_LIFETIME_SECONDS, SharedSession, cookie};
use crate::surroundings::unix_seconds;

/// `GET /`.
pub(crate) async fn show(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some((_, session)) = session_of(&app, &headers).await else {
        let logged_out = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, _)| name == "state")
            .is_some_and(|(_, state)| app.memory.take_logout(&state));
        let page = WelcomePage { issuer: app.settings.issuer.clone(), logged_out };
        return show_page(StatusCode::OK, &page, None);
    };
    let provider = app.known_provider().await;
    let form_target = provider.and_then(|provider| provider.logout_origin());
    let mut session = session.lock().await;
    let page = SessionPage {
        name: display_name(&session.claims, session.userinfo.as_ref().ok()),
        csrf: session.csrf.clone(),
        notice: session.notice.take(),
        scope: session.scope.clone(),
        expires: session.access_expires_at.and_then(Moment::at),
        id_token_expires: session.claims.get("exp").and_then(Value::as_i64).and_then(Moment::at),
        can_refresh: session.refresh_token.is_some(),
        claims: pretty(&session.claims),
        userinfo: match &session.userinfo {
            Ok(claims) => pretty(claims),
            Err(reason) => format!("No answer from userinfo: {reason}"),
        },
        access_token_claims: match jwt_claims(session.access_token.secret()) {
            Some(claims) => pretty(&claims),
            None => "The access token is opaque: only the issuer can read it.".to_owned(),
        },
        api_url: app.settings.api_url.clone(),
        api_result: session.api_result.as_ref().map(pretty),
    };
    show_page(StatusCode::OK, &page, form_target.as_deref())
}

/// The session that the request's cookie names, with its id, unless it is too old.
pub(crate) async fn session_of(app: &App, headers: &HeaderMap) -> Option<(String, SharedSession)> {
    let id = cookie(headers, SESSION_COOKIE)?;
    let session = app.memory.session(id)?;
    if unix_seconds() >= session.lock().await.begun_at + SESSION_LIFETIME_SECONDS {
        app.memory.end_session(id);
        return None;
    }
    Some((id.to_owned(), session))
}

/// How the page greets: by the friendliest claim there is.
fn display_name(claims: &Value, userinfo: Option<&Value>) -> String {
    ["name", "given_name", "preferred_username", "email", "sub"]
        .iter()
        .find_map(|claim| [userinfo, Some(claims)].into_iter().flatten().find_map(|source| source.get(claim)?.as_str()))
        .unwrap_or("somebody")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn greets_by_the_friendliest_name() {
        assert_eq!(display_name(&json!({"sub": "s"}), Some(&json!({"sub": "s", "name": "Ann"}))), "Ann");
        assert_eq!(display_name(&json!({"sub": "s", "email": "a@example.org"}), None), "a@example.org");
        assert_eq!(display_name(&json!({}), None), "somebody");
    }
}
