//! The page that shows which account is signed in, for `prompt=select_account`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use keyward_protocol::claims::StandardClaims;

use super::view::{ErrorKind, SelectAccountPage};
use super::{is_fresh, posted};
use crate::account::sign_in::Current;
use crate::app::App;
use crate::endpoint::authorization::Case;
use crate::endpoint::pending::{Pending, PendingKind};
use crate::fault::Fault;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};

/// Shows the page.
///
/// # Errors
/// Where the page can't be made.
pub fn show(app: &App, incoming: &Incoming, case: &Case<'_>, (_, user): &Current) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let claims: StandardClaims = serde_json::from_str(&user.claims).map_err(Fault::from)?;
    let sealed = case.pending.clone().bound_to(&form).seal(app, PendingKind::Authorization)?;
    let shown = SelectAccountPage {
        frame: page::frame(app, incoming, &case.ui_locales(), Some(&user.username)).in_window(case.display()),
        client_name: &case.client.metadata.client_name,
        account_name: claims.name.as_deref().unwrap_or(&user.username),
        account_login: &user.username,
        pending: &sealed,
        csrf: &form.token,
    };
    let source = case.channel.redirect.form_action_source();
    let mut response = page::show(&shown, StatusCode::OK, PageWay::Protocol(&source))?;
    form.apply(app, &mut response);
    Ok(response)
}

/// What stands for a session until its person authenticates again, which gives it a new cookie.
pub fn leaving((session, _): &Current) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&session.session_hash)
}

/// POST `/select`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let mut pending = Pending::of_form(app, incoming, PendingKind::Authorization, &form).ok_or(ErrorKind::StaleForm)?;
    if is_fresh(app, incoming, &form)? {
        match form.get("choice") {
            Some("current") => pending.account_chosen = true,
            Some("other") => {
                let current = session_cookie::current(app, incoming).await?;
                pending.leaves = current.as_ref().map(leaving);
                pending.login_shown_at = Some(app.clock.now());
            }
            _ => {}
        }
    }
    let form = FormToken::issue(app, incoming)?;
    let mut response = page::see_other(&pending.bound_to(&form).resume_address(app, PendingKind::Authorization)?)?;
    form.apply(app, &mut response);
    Ok(response)
}
