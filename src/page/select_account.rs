//! The page that shows which account is signed in, for `prompt=select_account`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_protocol::claims::StandardClaims;

use super::view::{ErrorKind, SelectAccountPage};
use super::{is_fresh, login, posted};
use crate::account::sign_in::Current;
use crate::app::App;
use crate::endpoint::authorization::Case;
use crate::endpoint::pending::{Pending, PendingKind};
use crate::fault::Fault;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::Incoming;

/// Shows the page.
///
/// # Errors
/// Where the page can't be made.
pub fn show(
    app: &App,
    incoming: &Incoming,
    case: &Case<'_>,
    (_, user): &Current,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let claims: StandardClaims = serde_json::from_str(&user.claims).map_err(Fault::from)?;
    let sealed = case.pending.seal(app, PendingKind::Authorization)?;
    let shown = SelectAccountPage {
        frame: page::frame(app, incoming, &case.ui_locales(), Some(&user.username)),
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

/// POST `/select`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let sealed = form.get("request").unwrap_or_default();
    let mut pending = Pending::open(app, PendingKind::Authorization, sealed).ok_or(ErrorKind::StaleForm)?;
    if is_fresh(app, incoming, &form)? {
        match form.get("choice") {
            Some("current") => pending.account_chosen = true,
            Some("other") => {
                pending.login_shown_at = Some(app.clock.now());
                let case = Case::open(app, pending).await?;
                return login::show(app, incoming, Some(&case), "", None);
            }
            _ => {}
        }
    }
    Ok(page::see_other(&pending.resume_address(app, PendingKind::Authorization)?)?)
}
