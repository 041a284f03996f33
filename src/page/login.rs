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
use crate::endpoint::pending::{OwnPage, Pending, PendingKind};
use crate::fault::Fault;
use crate::http::csrf::{self, FormToken};
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, RETRY_AFTER, session_cookie};

/// Shows the page, for a waiting request or for our own pages.
///
/// # Errors
/// Where the page can't be made.
pub fn show(
    app: &App,
    incoming: &Incoming,
    case: Option<&Case<'_>>,
    pending: &Pending,
    username: &str,
    notice: Option<LoginNotice>,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let kind = if case.is_some() { PendingKind::Authorization } else { PendingKind::Login };
    let sealed = pending.clone().said().bound_to(&form).seal(app, kind)?;
    let host = case.map(|case| case.channel.redirect.display_host());
    let source = case.map(|case| case.channel.redirect.form_action_source()).unwrap_or_default();
    let ui_locales = case.map(Case::ui_locales).unwrap_or_default();
    let display = case.map(Case::display).unwrap_or_default();
    let shown = LoginPage {
        frame: page::frame(app, incoming, &ui_locales, None).in_window(display),
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
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
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
        let query = incoming.query().unwrap_or_default();
        let pending = query
            .get("retry")
            .and_then(|sealed| Pending::open(&app, &incoming, PendingKind::Login, sealed))
            .unwrap_or_else(|| Pending::for_own_page(OwnPage::Home, app.clock.now()));
        show(&app, &incoming, None, &pending, &pending.username, pending.notice)
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
    let (mut pending, kind) = waiting(app, incoming, form.get("request")).ok_or(ErrorKind::StaleForm)?;
    let was_stale = pending.notice.take() == Some(LoginNotice::StaleForm);
    let case = match kind {
        PendingKind::Authorization => Some(Case::open(app, pending.clone()).await?),
        PendingKind::EndSession | PendingKind::Login => None,
    };
    let username = form.get("username").unwrap_or_default();
    if !is_fresh(app, incoming, &form)? {
        // Once a form gets old; a browser that again sends none of the cookies that the page gave it will never do.
        if was_stale && form.get("csrf").is_some() && csrf::form_cookie(app, incoming).is_none() {
            return Err(ErrorKind::Cookies.into());
        }
        return again(app, incoming, pending.with_notice(LoginNotice::StaleForm, username), kind);
    }
    let current = session_cookie::current(app, incoming).await?;
    if form.get("action") == Some("cancel")
        && let Some(case) = &case
    {
        let refusal = Refusal::new(ErrorCode::AccessDenied, "The person did not sign in.");
        return case.refuse(incoming, refusal, current.as_ref()).await;
    }
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
        Err(Fault::Overloaded(_)) => {
            return show(app, incoming, case.as_ref(), &pending, username, Some(LoginNotice::Busy));
        }
        Err(fault) => return Err(fault.into()),
    };
    let Some(started) = started else {
        return again(app, incoming, pending.with_notice(LoginNotice::WrongCredentials, username), kind);
    };
    let next = match &case {
        Some(_) => pending.resume_address(app, kind)?,
        None => pending.own_page().address(app.settings.base_path()),
    };
    let mut response = page::see_other(&next)?;
    session_cookie::start(app, &mut response, &started);
    Ok(response)
}

/// What waits behind the form: a client's request, or nothing but our own pages. `None` where it isn't ours.
fn waiting(app: &App, incoming: &Incoming, sealed: Option<&str>) -> Option<(Pending, PendingKind)> {
    let Some(sealed) = sealed else {
        return Some((Pending::for_own_page(OwnPage::Home, app.clock.now()), PendingKind::Login));
    };
    [PendingKind::Authorization, PendingKind::Login]
        .into_iter()
        .find_map(|kind| Some((Pending::open(app, incoming, kind, sealed)?, kind)))
}

/// The login page once more, under an address: the back button then leads to a page and not to a form that was sent.
fn again(app: &App, incoming: &Incoming, pending: Pending, kind: PendingKind) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let mut response = page::see_other(&pending.bound_to(&form).resume_address(app, kind)?)?;
    form.apply(app, &mut response);
    Ok(response)
}
