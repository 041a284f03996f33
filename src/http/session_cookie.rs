//! The session cookie: `__Host-`, `Secure`, `HttpOnly`, `SameSite=Lax` over https; over plain http, which is for
//! loopback alone, without prefix and `Secure`. Its name carries a hash of the issuer (protocol decision 26).

use aws_lc_rs::digest;
use axum::response::Response;
use http::header::{self, HeaderValue};
use keyward_protocol::session as rule;

use super::Incoming;
use crate::account::sign_in::{Current, Started};
use crate::app::App;
use crate::fault::Fault;
use crate::settings::Settings;
use crate::store::session::times;

/// The name of one of our cookies.
pub fn cookie_name(settings: &Settings, purpose: &str) -> String {
    let digest = digest::digest(&digest::SHA256, settings.issuer().as_bytes());
    let tail: String = digest.as_ref().iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    let prefix = if settings.is_https() { "__Host-" } else { "" };
    format!("{prefix}keyward_{purpose}_{tail}")
}

/// A `Set-Cookie` value with the attributes that all our cookies have; no age: until the browser closes.
pub fn set_cookie(settings: &Settings, purpose: &str, value: &str, max_age: Option<u64>) -> Option<HeaderValue> {
    let secure = if settings.is_https() { "; Secure" } else { "" };
    let age = max_age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
    let name = cookie_name(settings, purpose);
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}")).ok()
}

/// The session of the browser that sent this request, if it stands and its user may sign in.
///
/// # Errors
/// Where the database fails.
pub async fn current(app: &App, incoming: &Incoming) -> Result<Option<Current>, Fault> {
    let Some(cookie) = incoming.cookie(&cookie_name(&app.settings, "session")) else { return Ok(None) };
    if cookie.len() != 43 {
        return Ok(None);
    }
    let hash = app.secrets.session_hash.hash(cookie.as_bytes());
    let found = app.store.find_session(&hash).await?;
    Ok(found.filter(|(session, user)| {
        let idle = app.settings.sessions.idle_timeout.as_secs();
        rule::stands(&times(session), idle, app.clock.now()) && user.disabled_at.is_none()
    }))
}

/// Gives the browser its new session.
pub fn start(app: &App, response: &mut Response, started: &Started) {
    if let Some(value) = set_cookie(&app.settings, "session", &started.cookie, Some(started.lifetime)) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Takes the session's cookie from the browser.
pub fn clear(app: &App, response: &mut Response) {
    if let Some(value) = set_cookie(&app.settings, "session", "", Some(0)) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
