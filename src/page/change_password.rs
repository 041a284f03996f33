//! The page on which a person who is signed in chooses a new password, and the well-known address that password managers
//! open for it (W3C, A Well-Known URL for Changing Passwords).
//!
//! With the new password every session and every grant of the person ends; the browser that changed it gets a session
//! of its own.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, header};
use secrecy::SecretString;

use super::view::ChangePasswordPage;
use super::{is_fresh, new_password_problems, posted};
use crate::account::password::PasswordCheck;
use crate::account::sign_in::{self, Current, Started};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::endpoint::pending::{OwnPage, Pending, PendingKind};
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};

/// The mark in the address of the person's own page when the password is new.
pub const DONE: &str = "password-changed";

/// GET `/.well-known/change-password`: the page itself stands elsewhere.
pub async fn handle_well_known(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let page = OwnPage::ChangePassword.address(app.settings.base_path());
    page::answer(&app, &incoming, page::see_other(&page).map_err(Into::into))
}

/// GET `/account/password`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = async {
        match session_cookie::current(&app, &incoming).await? {
            Some(current) => show(&app, &incoming, &current, Vec::new()),
            None => sign_in_first(&app),
        }
    }
    .await;
    page::answer(&app, &incoming, outcome)
}

/// To the login page, and from there back here.
fn sign_in_first(app: &App) -> Result<Response, PageFailure> {
    let pending = Pending::for_own_page(OwnPage::ChangePassword, app.clock.now());
    Ok(page::see_other(&pending.resume_address(app, PendingKind::Login)?)?)
}

fn show(app: &App, incoming: &Incoming, (_, user): &Current, problems: Vec<String>) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let shown = ChangePasswordPage {
        frame: page::frame(app, incoming, &[], Some(&user.username)),
        csrf: &form.token,
        username: &user.username,
        problems,
    };
    let mut response = page::show(&shown, status, PageWay::Own)?;
    form.apply(app, &mut response);
    Ok(response)
}

/// POST `/account/password`.
pub async fn handle_form(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let Some(current) = session_cookie::current(app, incoming).await? else { return sign_in_first(app) };
    if !is_fresh(app, incoming, &form)? {
        let stale = page::texts(app, incoming, &[]).get("form-stale");
        return show(app, incoming, &current, vec![stale]);
    }
    let user = &current.1;
    let texts = page::texts(app, incoming, &[]);
    let text = |name| form.get(name).unwrap_or_default();
    let (given, password) = (text("current"), text("password"));
    let mut problems = new_password_problems(app, &texts, &user.login_key, password, text("password_again"));
    if problems.is_empty() && given == password {
        problems.push(texts.get("password-unchanged"));
    }
    if !problems.is_empty() {
        return show(app, incoming, &current, problems);
    }
    let actor = format!("user:{}", user.subject);
    let event = |outcome| {
        AuditEvent::new(AuditKind::PasswordSet, outcome, actor.clone(), &incoming.origin())
            .subject(user.subject.clone())
    };
    // What is longer than any password isn't hashed.
    let most = app.settings.passwords.max_bytes;
    let given = SecretString::from(if given.len() > most { "" } else { given });
    let checked = app.passwords.check(given, user.password_hash.clone(), app.random.bytes()?).await?;
    let changed = match checked {
        PasswordCheck::Wrong => None,
        PasswordCheck::Right { .. } => {
            let fresh = app.passwords.hash(SecretString::from(password), app.random.bytes()?).await?;
            let user_agent = incoming.header(header::USER_AGENT).unwrap_or_default();
            let (started, session) = sign_in::new_session(app, user, user_agent, &incoming.origin())?;
            let record = app.audit_record(event(AuditOutcome::Success))?;
            let checked = user.password_hash.clone();
            app.store.change_password(session, checked, fresh, record).await?.then_some(started)
        }
    };
    let Some(started) = changed else {
        app.audit_later(event(AuditOutcome::Failure)).await?;
        return show(app, incoming, &current, vec![texts.get("current-password-wrong")]);
    };
    answer(app, &started)
}

fn answer(app: &App, started: &Started) -> Result<Response, PageFailure> {
    let mut response = page::see_other(&format!("{}/?done={DONE}", app.settings.base_path()))?;
    session_cookie::start(app, &mut response, started);
    Ok(response)
}
