//! The set-up page: the first admin chooses name and password, by a link that works once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_entities::{role, user_role};
use keyward_protocol::claims::StandardClaims;
use secrecy::SecretString;
use uuid::Uuid;

use super::view::{SetupPage, SetupState};
use super::{is_fresh, new_password_problems, posted};
use crate::account::claims;
use crate::account::login_name::login_key;
use crate::account::profile::new_user;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::http::Incoming;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::setup::SetupOutcome;

/// The role of those who may do everything.
const ADMIN: &str = "admin";
/// The query of the page that says that all is done.
const DONE: &str = "done";

/// What the form was filled with.
#[derive(Debug, Default)]
struct Filled<'a> {
    token: &'a str,
    username: &'a str,
    email: &'a str,
}

/// GET `/setup`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = async {
        // Where the form leads when it has done its work.
        if incoming.uri.query() == Some(DONE) && app.store.has_users().await? {
            return show(&app, &incoming, &Filled::default(), Vec::new(), SetupState::Done);
        }
        let query = incoming.query().unwrap_or_default();
        let token = query.get("token").unwrap_or_default();
        let hash = app.secrets.token_hash.hash(token.as_bytes());
        let works = app.store.setup_link_works(&hash, app.clock.now()).await?;
        let state = if works { SetupState::Open } else { SetupState::Expired };
        show(&app, &incoming, &Filled { token, ..Filled::default() }, Vec::new(), state)
    }
    .await;
    page::answer(&app, &incoming, outcome)
}

fn show(
    app: &App,
    incoming: &Incoming,
    filled: &Filled<'_>,
    problems: Vec<String>,
    state: SetupState,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let status = match (&state, problems.is_empty()) {
        (SetupState::Expired, _) => StatusCode::GONE,
        (_, false) => StatusCode::UNPROCESSABLE_ENTITY,
        (SetupState::Open | SetupState::Done, true) => StatusCode::OK,
    };
    let shown = SetupPage {
        frame: page::frame(app, incoming, &[], None),
        token: filled.token,
        csrf: &form.token,
        username: filled.username,
        email: filled.email,
        problems,
        state,
    };
    let mut response = page::show(&shown, status, PageWay::Own)?;
    form.apply(app, &mut response);
    Ok(response)
}

/// POST `/setup`.
pub async fn handle_form(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let text = |name| form.get(name).unwrap_or_default();
    let filled = Filled { token: text("token"), username: text("username"), email: text("email") };
    let hash = app.secrets.token_hash.hash(filled.token.as_bytes());
    let now = app.clock.now();
    if !app.store.setup_link_works(&hash, now).await? {
        return show(app, incoming, &filled, Vec::new(), SetupState::Expired);
    }
    if !is_fresh(app, incoming, &form)? {
        return show(app, incoming, &filled, Vec::new(), SetupState::Open);
    }
    let texts = page::texts(app, incoming, &[]);
    let key = login_key(filled.username);
    let mut problems = Vec::new();
    if key.is_none() {
        problems.push(texts.get("username-needed"));
    }
    let password = text("password");
    let named = key.as_deref().unwrap_or_default();
    problems.extend(new_password_problems(app, &texts, named, password, text("password_again")));
    let Some(key) = key.filter(|_| problems.is_empty()) else {
        return show(app, incoming, &filled, problems, SetupState::Open);
    };
    let email = [("email".to_owned(), filled.email.to_owned())];
    let Ok(claims) = claims::change(&StandardClaims::default(), &email) else {
        return show(app, incoming, &filled, vec![texts.get("email-unusable")], SetupState::Open);
    };
    let password_hash = app.passwords.hash(SecretString::from(password), app.random.bytes()?).await?;
    let admin = new_user(app, filled.username, key, claims, Some(password_hash))?;
    let admin_role = role::Model {
        id: app.random.uuid_v7(now)?,
        organization_id: DEFAULT_ORGANIZATION,
        client: None,
        name: ADMIN.to_owned(),
        description: String::new(),
        permissions: "[]".to_owned(),
        created_at: now.micros(),
    };
    let membership = user_role::Model { id: app.random.uuid_v7(now)?, user_id: admin.id, role_id: Uuid::nil() };
    let actor = format!("user:{}", admin.subject);
    let event = AuditEvent::new(AuditKind::SetupCompleted, AuditOutcome::Success, actor, &incoming.origin())
        .subject(admin.subject.clone());
    let record = app.audit_record(event)?;
    match app.store.complete_setup(hash, admin, admin_role, membership, now, record).await? {
        SetupOutcome::Done => {
            app.reload_if_changed().await?;
            Ok(page::see_other(&format!("{}/setup?{DONE}", app.settings.base_path()))?)
        }
        SetupOutcome::LinkGone => show(app, incoming, &filled, Vec::new(), SetupState::Expired),
        SetupOutcome::NameTaken => show(app, incoming, &filled, vec![texts.get("username-taken")], SetupState::Open),
    }
}
