//! The signed-in home: who am I, my connected apps, sign out.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_protocol::Timestamp;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::client_metadata::ClientMetadata;
use keyward_protocol::role::closure;
use keyward_protocol::session::worth_touching;
use time::OffsetDateTime;
use time::macros::format_description;

use super::view::{ConnectedApp, ConsentClaim, ConsentScope, HomeNotice, HomePage};
use super::{change_password, is_fresh, posted};
use crate::account::sign_in::Current;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::endpoint::end_session;
use crate::fault::Fault;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};
use crate::store::session::times;

/// The mark in the address of what has just happened.
const DISCONNECTED: &str = "app-disconnected";

/// GET `/`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = async {
        match session_cookie::current(&app, &incoming).await? {
            None => Ok(page::see_other(&format!("{}/login", app.settings.base_path()))?),
            Some(current) => {
                let query = incoming.query().unwrap_or_default();
                let notice = match query.get("done") {
                    Some(DISCONNECTED) => Some(HomeNotice::AppDisconnected),
                    Some(change_password::DONE) => Some(HomeNotice::PasswordChanged),
                    _ => None,
                };
                show(&app, &incoming, &current, notice).await
            }
        }
    }
    .await;
    page::answer(&app, &incoming, outcome)
}

async fn show(
    app: &App,
    incoming: &Incoming,
    (session, user): &Current,
    notice: Option<HomeNotice>,
) -> Result<Response, PageFailure> {
    let now = app.clock.now();
    if worth_touching(&times(session), app.settings.sessions.touch_interval.as_secs(), now) {
        app.store.touch_session(session.id, now).await?;
    }
    let form = FormToken::issue(app, incoming)?;
    let frame = page::frame(app, incoming, &[], Some(&user.username));
    let claims: StandardClaims = serde_json::from_str(&user.claims).map_err(Fault::from)?;
    let membership = app.store.membership(user.id).await?;
    let directory = app.directory.load();
    let mut roles: Vec<String> = closure(&directory.roles, membership.roles)
        .iter()
        .filter_map(|id| directory.roles.get(id))
        .map(|role| role.name.clone())
        .collect();
    roles.sort();
    roles.dedup();
    let connected = app.store.connected_apps(user.id).await?;
    let mut described = Vec::new();
    for app in &connected {
        let metadata = ClientMetadata::from_stored(&app.metadata).map_err(Fault::from)?;
        let address = metadata.client_uri.as_deref().or_else(|| metadata.redirect_uris.first().map(String::as_str));
        let host = address.and_then(super::host_of);
        let scopes = app
            .scope
            .iter()
            .map(|name| ConsentScope::describe(&frame.texts, name, directory.words_of_scope(name)).title)
            .chain(app.claims.iter().map(|name| ConsentClaim::describe(&frame.texts, name).title))
            .collect::<Vec<_>>();
        described.push((app, metadata.client_name, host, scopes));
    }
    let apps = described
        .iter()
        .map(|(app, name, host, scopes)| ConnectedApp {
            client_id: &app.client_id,
            name,
            host: host.as_deref(),
            scopes: scopes.clone(),
            since: date(app.since),
        })
        .collect();
    let shown = HomePage {
        frame,
        name: claims.name.as_deref().unwrap_or(&user.username),
        login: &user.username,
        email: claims.email.as_deref(),
        roles,
        groups: membership.groups,
        apps,
        session_since: date(Timestamp::from_micros(session.created_at)),
        csrf: &form.token,
        notice,
    };
    let mut response = page::show(&shown, StatusCode::OK, PageWay::Own)?;
    form.apply(app, &mut response);
    Ok(response)
}

/// POST `/logout`.
pub async fn handle_logout(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = async {
        let form = posted(&incoming)?;
        let home = format!("{}/", app.settings.base_path());
        if !is_fresh(&app, &incoming, &form)? {
            return Ok(page::see_other(&home)?);
        }
        if let Some(current) = session_cookie::current(&app, &incoming).await? {
            end_session::end(&app, &incoming, &current).await?;
        }
        let mut response = page::see_other(&format!("{}/end_session", app.settings.base_path()))?;
        session_cookie::clear(&app, &mut response);
        Ok(response)
    }
    .await;
    page::answer(&app, &incoming, outcome)
}

/// POST `/apps/disconnect`.
pub async fn handle_disconnect(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = disconnect(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn disconnect(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let home = format!("{}/", app.settings.base_path());
    let Some(current) = session_cookie::current(app, incoming).await? else { return Ok(page::see_other(&home)?) };
    if !is_fresh(app, incoming, &form)? {
        return Ok(page::see_other(&home)?);
    }
    let Some(client) = app.store.find_client(form.get("client_id").unwrap_or_default()).await? else {
        return Ok(page::see_other(&home)?);
    };
    let subject = current.1.subject.clone();
    let actor = format!("user:{subject}");
    let event = AuditEvent::new(AuditKind::AppDisconnected, AuditOutcome::Success, actor, &incoming.origin())
        .subject(subject)
        .client(client.client_id);
    app.store.disconnect_app(current.1.id, client.id, app.clock.now(), app.audit_record(event)?).await?;
    Ok(page::see_other(&format!("{home}?done={DISCONNECTED}"))?)
}

/// A date that reads the same in every language.
fn date(moment: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(moment.seconds())
        .ok()
        .and_then(|moment| moment.format(format_description!("[year]-[month]-[day]")).ok())
        .unwrap_or_default()
}
