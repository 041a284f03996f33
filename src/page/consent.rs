//! The consent page: what a client asks for, in words.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_protocol::authorization_step::Step;
use keyward_protocol::client_metadata::ClientType;
use keyward_protocol::consent::Consented;
use keyward_protocol::{ErrorCode, Refusal};

use super::view::{ConsentClaim, ConsentPage, ConsentScope, ErrorKind};
use super::{is_fresh, posted};
use crate::account::sign_in::Current;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::endpoint::authorization::Case;
use crate::endpoint::pending::{ConsentShown, Pending, PendingKind};
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};

/// Shows the page.
///
/// # Errors
/// Where the page can't be made.
pub fn show(
    app: &App,
    incoming: &Incoming,
    case: &Case<'_>,
    (_, user): &Current,
    wanted: &Consented,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let ui_locales = case.ui_locales();
    let frame = page::frame(app, incoming, &ui_locales, Some(&user.username)).in_window(case.display());
    let directory = app.directory.load();
    let describe = |name| ConsentScope::describe(&frame.texts, name, directory.words_of_scope(name));
    let scopes = wanted.scope.iter().map(describe).collect();
    let claims = wanted.claims.iter().map(|name| ConsentClaim::describe(&frame.texts, name)).collect();
    let sealed = case.pending.clone().bound_to(&form).seal(app, PendingKind::Authorization)?;
    let metadata = &case.client.metadata;
    let client_host = metadata.client_uri.as_deref().and_then(super::host_of);
    let shown = ConsentPage {
        frame,
        client_name: &metadata.client_name,
        client_host: client_host.as_deref(),
        client_uri: metadata.client_uri.as_deref(),
        policy_uri: metadata.policy_uri.as_deref(),
        tos_uri: metadata.tos_uri.as_deref(),
        redirect_host: &case.channel.redirect.display_host(),
        account: &user.username,
        scopes,
        claims,
        pending: &sealed,
        csrf: &form.token,
        loopback_warning: metadata.client_type == ClientType::Public
            && case.channel.redirect.is_unproven_native()
            && !metadata.trusted_native,
    };
    let source = case.channel.redirect.form_action_source();
    let mut response = page::show(&shown, StatusCode::OK, PageWay::Protocol(&source))?;
    form.apply(app, &mut response);
    Ok(response)
}

/// POST `/consent`.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let pending = Pending::of_form(app, incoming, PendingKind::Authorization, &form).ok_or(ErrorKind::StaleForm)?;
    let again = |pending: &Pending| -> Result<Response, PageFailure> {
        Ok(page::see_other(&pending.resume_address(app, PendingKind::Authorization)?)?)
    };
    if !is_fresh(app, incoming, &form)? {
        return again(&pending);
    }
    let current = session_cookie::current(app, incoming).await?;
    let Some(current) = current else { return again(&pending) };
    // The answer counts for what the page showed to this very session: not for another person who signed in since, and
    // not for a scope that the page didn't name.
    let Some(shown) = pending.consent_shown.clone() else { return again(&pending) };
    if shown.session != current.0.public_id {
        return again(&pending);
    }
    let mut case = Case::open(app, pending).await?;
    let step = case.step(Some(&current)).await?;
    match (step, form.get("decision")) {
        (Step::Refuse(refusal), _) => case.refuse(incoming, refusal, Some(&current)).await,
        (_, Some("deny")) => {
            let event = event(AuditKind::ConsentDenied, AuditOutcome::Failure, incoming, &case, &current, shown);
            app.audit_later(event).await?;
            case.answer_refusal(incoming, Refusal::new(ErrorCode::AccessDenied, "The person declined."))
        }
        // What may be granted has changed since the page was shown: it is shown again.
        (Step::Consent, Some("allow")) if case.wanted().is_none_or(|now| ConsentShown::to(&current, &now) != shown) => {
            again(&case.pending)
        }
        (Step::Consent, Some("allow")) => {
            let event = event(AuditKind::ConsentGiven, AuditOutcome::Success, incoming, &case, &current, shown.clone());
            case.issue(incoming, &current, shown.wanted().scope, Some(event)).await
        }
        // Consent was given in another tab meanwhile, or a new login is needed first.
        (Step::Issue(_) | Step::Login | Step::SelectAccount | Step::Consent, _) => again(&case.pending),
    }
}

fn event(
    kind: AuditKind,
    outcome: AuditOutcome,
    incoming: &Incoming,
    case: &Case<'_>,
    (_, user): &Current,
    shown: ConsentShown,
) -> AuditEvent {
    let wanted = shown.wanted();
    let event = AuditEvent::new(kind, outcome, format!("user:{}", user.subject), &incoming.origin())
        .subject(user.subject.clone())
        .client(case.client.client_id.clone())
        .detail("scope", wanted.scope.to_string());
    match wanted.claims.is_empty() {
        true => event,
        false => event.detail("claims", wanted.claims.into_iter().collect::<Vec<_>>()),
    }
}
