//! The login page. The request that waits behind it travels in the form, so that any number of tabs, a restart of the
//! server and the back button each end in a working login.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header;
use keyward_protocol::{ErrorCode, Refusal};
use secrecy::SecretString;

use super::view::{ErrorKind, LoginNotice, LoginPage};
use super::{is_fresh, posted};
use crate::account::sign_in::{self, Attempt};
use crate::app::App;
use crate::endpoint::authorization::Case;
use crate::endpoint::pending::{Pending, PendingKind};
use crate::fault::Fault;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};

/// Shows the page, for a waiting request or for our own pages.
///
/// # Errors
/// Where the page can't be made.
pub fn show(
    app: &App,
    incoming: &Incoming,
    case: Option<&Case<'_>>,
    username: &str,
    notice: Option<LoginNotice>,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let sealed = case.map(|case| case.pending.seal(app, PendingKind::Authorization)).transpose()?.unwrap_or_default();
    let host = case.map(|case| case.channel.redirect.display_host());
    let source = case.map(|case| case.channel.redirect.form_action_source()).unwrap_or_default();
    let ui_locales = case.map(Case::ui_locales).unwrap_or_default();
    let shown = LoginPage {
        frame: page::frame(app, incoming, &ui_locales, None),
        client_name: case.map(|case| case.client.metadata.client_name.as_str()),
        client_host: host.as_deref(),
        pending: &sealed,
        csrf: &form.token,
        username,
        notice,
    };
    let status = match shown.notice {
        Some(LoginNotice::Busy) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let mut response = page::show(&shown, status, PageWay::Protocol(&source))?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
    }
    form.apply(app, &mut response);
    Ok(response)
}

/// GET `/login`: for our own pages.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = async {
        if session_cookie::current(&app, &incoming).await?.is_some() {
            return Ok(page::see_other(&format!("{}/", app.settings.base_path()))?);
        }
        show(&app, &incoming, None, "", None)
    }
    .await;
    page::answer(&app, &incoming, outcome)
}

/// POST `/login`.
pub async fn handle_form(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let case = match form.get("request") {
        None => None,
        Some(sealed) => {
            let pending = Pending::open(app, PendingKind::Authorization, sealed).ok_or(ErrorKind::StaleForm)?;
            Some(Case::open(app, pending).await?)
        }
    };
    let username = form.get("username").unwrap_or_default();
    if !is_fresh(app, incoming, &form)? {
        return show(app, incoming, case.as_ref(), username, Some(LoginNotice::StaleForm));
    }
    if form.get("action") == Some("cancel")
        && let Some(case) = &case
    {
        return case.refuse(incoming, Refusal::new(ErrorCode::AccessDenied, "The person did not sign in."));
    }
    let current = session_cookie::current(app, incoming).await?;
    let attempt = Attempt {
        username,
        password: SecretString::from(form.get("password").unwrap_or_default()),
        user_agent: incoming.header(header::USER_AGENT).unwrap_or_default(),
        origin: &incoming.origin(),
        current: current.as_ref(),
    };
    let started = match sign_in::sign_in(app, attempt).await {
        Ok(started) => started,
        // What was typed is kept, and the person may try again at once.
        Err(Fault::Overloaded(_)) => return show(app, incoming, case.as_ref(), username, Some(LoginNotice::Busy)),
        Err(fault) => return Err(fault.into()),
    };
    let Some(started) = started else {
        return show(app, incoming, case.as_ref(), username, Some(LoginNotice::WrongCredentials));
    };
    let next = match &case {
        Some(case) => case.pending.resume_address(app, PendingKind::Authorization)?,
        None => format!("{}/", app.settings.base_path()),
    };
    let mut response = page::see_other(&next)?;
    session_cookie::start(app, &mut response, &started);
    Ok(response)
}
