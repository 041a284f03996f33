//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0). Left out: telling other clients (back-channel and
//! front-channel logout).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use keyward_keys::TokenType;
use keyward_protocol::end_session::{LogoutFacts, LogoutStep, decide};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::redirect_uri::ProvenRedirect;
use keyward_protocol::{ErrorCode, Refusal};

use super::pending::{MOST_BYTES, Pending, PendingKind};
use crate::account::sign_in::Current;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::fault::Fault;
use crate::http::csrf::FormToken;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::{Incoming, session_cookie};
use crate::page::view::{EndSessionPage, ErrorKind, SignedOutPage};
use crate::page::{is_fresh, posted};
use crate::store::client::RegisteredClient;

/// `/end_session` by GET and POST.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

/// A logout request, read.
struct Logout {
    client: Option<Arc<RegisteredClient>>,
    hint_verified: bool,
    hint_subject: Option<String>,
    hint_sid: Option<String>,
    redirect: Option<ProvenRedirect>,
    state: Option<String>,
    ui_locales: Vec<String>,
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let explain = |refusal| PageFailure::Explained(ErrorKind::BadRequest, Some(refusal));
    let too_long = Refusal::new(ErrorCode::InvalidRequest, "The request is longer than 8192 bytes.");
    if incoming.method == Method::POST {
        // RP-Initiated Logout §2: POST is served too; it goes on by GET, where the session's cookie travels.
        incoming.form().map_err(explain)?;
        if incoming.body.len() > MOST_BYTES {
            return Err(explain(too_long));
        }
        let text = String::from_utf8(incoming.body.to_vec()).map_err(Fault::broken)?;
        let pending = Pending::new(text, app.clock.now());
        return Ok(page::see_other(&pending.resume_address(app, PendingKind::EndSession)?)?);
    }
    let parameters = incoming.query().map_err(explain)?;
    let pending = match Pending::in_address(&parameters) {
        Some(sealed) => Pending::open(app, incoming, PendingKind::EndSession, sealed).ok_or(ErrorKind::StaleForm)?,
        None => Pending::new(incoming.uri.query().unwrap_or_default().to_owned(), app.clock.now()),
    };
    if pending.parameters.len() > MOST_BYTES {
        return Err(explain(too_long));
    }
    let logout = read(app, &pending).await?;
    let current = session_cookie::current(app, incoming).await?;
    let facts = LogoutFacts {
        signed_in: current.is_some(),
        hint_verified: logout.hint_verified,
        hint_is_this_session: current.as_ref().is_some_and(|current| names_session(app, &logout, current)),
        redirect_proven: logout.redirect.is_some(),
    };
    match decide(facts) {
        LogoutStep::EndSession { redirect } => {
            if let Some(current) = &current {
                end(app, incoming, current).await?;
            }
            signed_out(app, incoming, &logout, redirect)
        }
        LogoutStep::AlreadyOut { redirect } => signed_out(app, incoming, &logout, redirect),
        LogoutStep::Confirm => confirm(app, incoming, &pending, &logout, current.as_ref()),
    }
}

async fn read(app: &App, pending: &Pending) -> Result<Logout, PageFailure> {
    let explain = |refusal| PageFailure::Explained(ErrorKind::BadRequest, Some(refusal));
    let parameters = Parameters::parse(&pending.parameters).map_err(explain)?;
    parameters.refuse_repeated().map_err(explain)?;
    let named = parameters.get("client_id");
    let claims =
        parameters.get("id_token_hint").and_then(|hint| app.key_ring.load().verify_own(hint, TokenType::IdToken).ok());
    let text = |name: &str| {
        claims.as_ref().and_then(|claims| claims.get(name)).and_then(|value| value.as_str()).map(str::to_owned)
    };
    let audience = text("aud");
    // Protocol decision 29: the hint's audience is the client that the request names, if it names one.
    let hint_verified = audience.is_some() && named.is_none_or(|named| audience.as_deref() == Some(named));
    let client = match named.or(audience.as_deref().filter(|_| hint_verified)) {
        Some(client_id) => app.client(client_id).await?,
        None => None,
    };
    let redirect = match (&client, parameters.get("post_logout_redirect_uri")) {
        (Some(client), Some(uri)) => ProvenRedirect::prove_post_logout(&client.metadata, uri).ok(),
        _ => None,
    };
    let ui_locales = parameters.get("ui_locales").unwrap_or_default();
    Ok(Logout {
        client,
        hint_verified,
        hint_subject: text("sub").filter(|_| hint_verified),
        hint_sid: text("sid").filter(|_| hint_verified),
        redirect,
        state: parameters.get("state").map(str::to_owned),
        ui_locales: ui_locales.split(' ').filter(|tag| !tag.is_empty()).take(20).map(str::to_owned).collect(),
    })
}

/// Whether the hint names this very session; a hint without `sid` names its subject's.
fn names_session(app: &App, logout: &Logout, (session, user): &Current) -> bool {
    let subject_fits = logout.hint_subject.as_deref() == Some(&user.subject);
    let session_fits = match (&logout.hint_sid, &logout.client) {
        (Some(sid), Some(client)) => *sid == app.secrets.sid(&session.public_id, &client.client_id),
        (Some(_), None) => false,
        (None, _) => true,
    };
    subject_fits && session_fits
}

/// Ends the browser's session.
///
/// # Errors
/// Where the database fails.
pub async fn end(app: &App, incoming: &Incoming, (session, user): &Current) -> Result<(), Fault> {
    let actor = format!("user:{}", user.subject);
    let event = AuditEvent::new(AuditKind::SignOut, AuditOutcome::Success, actor, &incoming.origin())
        .subject(user.subject.clone());
    app.store.end_session(session.id, "logout", app.clock.now(), app.audit_record(event)?).await
}

fn signed_out(app: &App, incoming: &Incoming, logout: &Logout, redirect: bool) -> Result<Response, PageFailure> {
    let mut response = match (&logout.redirect, redirect) {
        (Some(target), true) => {
            let uri = target.as_str();
            let address = match &logout.state {
                None => uri.to_owned(),
                Some(state) => {
                    let separator = if uri.contains('?') { '&' } else { '?' };
                    let encoded = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
                    format!("{uri}{separator}{encoded}")
                }
            };
            page::see_other(&address)?
        }
        _ => {
            let frame = page::frame(app, incoming, &logout.ui_locales, None);
            let client = logout.client.as_ref().map(|client| &client.metadata);
            let return_to =
                client.and_then(|client| Some((client.client_uri.as_deref()?, client.client_name.as_str())));
            page::show(&SignedOutPage { frame, return_to }, StatusCode::OK, PageWay::Protocol(""))?
        }
    };
    session_cookie::clear(app, &mut response);
    Ok(response)
}

fn confirm(
    app: &App,
    incoming: &Incoming,
    pending: &Pending,
    logout: &Logout,
    current: Option<&Current>,
) -> Result<Response, PageFailure> {
    let form = FormToken::issue(app, incoming)?;
    let account = current.map(|(_, user)| user.username.as_str());
    let sealed = pending.seal(app, PendingKind::EndSession)?;
    let question = EndSessionPage {
        frame: page::frame(app, incoming, &logout.ui_locales, account),
        client_name: logout.client.as_ref().map(|client| client.metadata.client_name.as_str()),
        account,
        pending: &sealed,
        csrf: &form.token,
    };
    let mut response = page::show(&question, StatusCode::OK, PageWay::Protocol(""))?;
    form.apply(app, &mut response);
    Ok(response)
}

/// POST `/end_session/confirm`: the person's answer. No redirect to a client follows (protocol decision 29).
pub async fn handle_confirmation(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = respond_to_confirmation(&app, &incoming).await;
    page::answer(&app, &incoming, outcome)
}

async fn respond_to_confirmation(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    let form = posted(incoming)?;
    let pending = Pending::of_form(app, incoming, PendingKind::EndSession, &form).ok_or(ErrorKind::StaleForm)?;
    if !is_fresh(app, incoming, &form)? {
        // The question is asked again.
        return Ok(page::see_other(&pending.resume_address(app, PendingKind::EndSession)?)?);
    }
    if form.get("decision") != Some("sign_out") {
        return Ok(page::see_other(&format!("{}/", app.settings.base_path()))?);
    }
    if let Some(current) = session_cookie::current(app, incoming).await? {
        end(app, incoming, &current).await?;
    }
    // The page that says so has an address of its own; of the request it keeps who asked and in which language.
    let logout = read(app, &pending).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(client) = &logout.client {
        query.append_pair("client_id", &client.client_id);
    }
    if !logout.ui_locales.is_empty() {
        query.append_pair("ui_locales", &logout.ui_locales.join(" "));
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    let mut response = page::see_other(&format!("{}/end_session{mark}{query}", app.settings.base_path()))?;
    session_cookie::clear(app, &mut response);
    Ok(response)
}
