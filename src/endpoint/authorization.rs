//! The authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): the code flow, and what it shows on the way.
//!
//! A request fails before its redirect is proven, by a page, or after it, by an answer to the client; nothing can mix
//! these up, for only a `ProvenRedirect` carries an answer. Left out: PAR, request objects, JARM.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use keyward_entities::authorization_code::Model as Code;
use keyward_entities::user;
use keyward_keys::TokenType;
use keyward_protocol::acr::{Acr, AcrVerdict};
use keyward_protocol::authorization_code;
use keyward_protocol::authorization_request::{self, AnswerChannel, AuthorizationRequest, OFFLINE_ACCESS};
use keyward_protocol::authorization_step::{self, Progress, SignedIn, Situation, Step};
use keyward_protocol::claims::scope_of;
use keyward_protocol::consent::Consented;
use keyward_protocol::display::Display;
use keyward_protocol::parameters::Parameters;
use keyward_protocol::response_mode::ResponseMode;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::session::worth_touching;
use keyward_protocol::{ErrorCode, Refusal, Timestamp};

use super::pending::{ConsentShown, MOST_BYTES, Pending, PendingKind};
use crate::account::profile::Holder;
use crate::account::sign_in::{ACR_REACHABLE, Current};
use crate::app::App;
use crate::assets;
use crate::audit::{AuditEvent, AuditKind, AuditOutcome};
use crate::fault::Fault;
use crate::http::page::{self, PageFailure, PageWay};
use crate::http::refused::{Door, Refused};
use crate::http::{Incoming, session_cookie};
use crate::page::view::{ErrorKind, FormPostPage, LoginNotice};
use crate::page::{consent, login, select_account};
use crate::store::authorization::{Issue, Issued};
use crate::store::client::RegisteredClient;
use crate::store::session::times;

/// `/authorize` by GET and POST.
pub async fn handle(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let outcome = match respond(&app, &incoming).await {
        Err(PageFailure::Explained(kind, Some(refusal))) => Box::pin(record_unproven(&app, &incoming, refusal))
            .await
            .and(Err(PageFailure::Explained(kind, Some(refusal)))),
        outcome => outcome,
    };
    page::answer(&app, &incoming, outcome)
}

/// Requirement RB-5, for what is refused before client and redirect are proven: by whom it claims to be from.
async fn record_unproven(app: &App, incoming: &Incoming, refusal: Refusal) -> Result<(), PageFailure> {
    let claimed: String = incoming
        .query()
        .ok()
        .and_then(|parameters| parameters.get("client_id").map(|id| id.chars().take(255).collect()))
        .unwrap_or_default();
    let event = refused_event(incoming, refusal, "anonymous".to_owned());
    let event = if claimed.is_empty() { event } else { event.detail("claimed_client_id", claimed) };
    Ok(app.audit_later(event).await?)
}

fn refused_event(incoming: &Incoming, refusal: Refusal, actor: String) -> AuditEvent {
    AuditEvent::new(AuditKind::AuthorizationRefused, AuditOutcome::Failure, actor, &incoming.origin())
        .detail("error", refusal.code.as_str())
        .detail("reason", refusal.description)
}

async fn respond(app: &App, incoming: &Incoming) -> Result<Response, PageFailure> {
    app.store.admits()?;
    let now = app.clock.now();
    if incoming.method == Method::POST {
        // OpenID Connect Core §3.1.2.1: POST is served too. Protocol decision 5: a POST from another site brings no Lax
        // cookies, so it goes on by GET; the parameters travel sealed, for they were kept out of the address on purpose.
        let form = incoming.form().map_err(|refusal| PageFailure::Explained(ErrorKind::BadRequest, Some(refusal)))?;
        refuse_long(&incoming.body)?;
        let text = String::from_utf8(incoming.body.to_vec()).map_err(Fault::broken)?;
        drop(form);
        let pending = Pending::new(text, now);
        return Ok(page::see_other(&pending.resume_address(app, PendingKind::Authorization)?)?);
    }
    let parameters =
        incoming.query().map_err(|refusal| PageFailure::Explained(ErrorKind::BadRequest, Some(refusal)))?;
    let pending = match Pending::in_address(&parameters) {
        Some(sealed) => Pending::open(app, incoming, PendingKind::Authorization, sealed).ok_or(ErrorKind::StaleForm)?,
        None => {
            let query = incoming.uri.query().unwrap_or_default();
            refuse_long(query.as_bytes())?;
            Pending::new(query.to_owned(), now)
        }
    };
    let case = Case::open(app, pending).await?;
    let current = session_cookie::current(app, incoming).await?;
    // On the heap, as its steps are: what is moved before it runs is then small.
    Box::pin(case.proceed(incoming, current.as_ref())).await
}

fn refuse_long(parameters: &[u8]) -> Result<(), PageFailure> {
    if parameters.len() > MOST_BYTES {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "The request is longer than 8192 bytes.");
        return Err(PageFailure::Explained(ErrorKind::BadRequest, Some(refusal)));
    }
    Ok(())
}

fn unknown_client() -> PageFailure {
    let refusal = Refusal::new(ErrorCode::InvalidRequest, "The client is unknown.");
    PageFailure::Explained(ErrorKind::UnknownClient, Some(refusal))
}

/// A request whose client and redirect are proven.
pub struct Case<'a> {
    app: &'a App,
    /// The request as it travels.
    pub pending: Pending,
    /// Its parameters.
    pub parameters: Parameters,
    /// The client.
    pub client: Arc<RegisteredClient>,
    /// Where the answer goes.
    pub channel: AnswerChannel,
    /// What the rules say of the rest.
    request: Result<AuthorizationRequest, Refusal>,
    /// The scopes that the person at the browser may not give.
    withheld: ScopeSet,
}

impl<'a> Case<'a> {
    /// Proves client and redirect.
    ///
    /// # Errors
    /// A page, and never a redirect.
    pub async fn open(app: &'a App, pending: Pending) -> Result<Case<'a>, PageFailure> {
        let explain = |kind| move |refusal: Refusal| PageFailure::Explained(kind, Some(refusal));
        let parameters = Parameters::parse(&pending.parameters).map_err(explain(ErrorKind::BadRequest))?;
        let client_id = authorization_request::client_id(&parameters).map_err(explain(ErrorKind::BadRequest))?;
        let client = app.client(client_id).await?.ok_or_else(unknown_client)?;
        let channel = authorization_request::answer_channel(&parameters, &client.metadata)
            .map_err(explain(ErrorKind::RedirectUri))?;
        let directory = app.directory.load();
        let request = authorization_request::validate(
            &parameters,
            &client.metadata,
            |scope| directory.scopes.contains_key(scope),
            |resource| directory.audiences.contains_key(resource),
        );
        Ok(Self { app, pending, parameters, client, channel, request, withheld: ScopeSet::default() })
    }

    /// The languages that the request prefers (OpenID Connect Core §3.1.2.1).
    pub fn ui_locales(&self) -> Vec<String> {
        let text = self.parameters.get("ui_locales").unwrap_or_default();
        text.split(' ').filter(|tag| !tag.is_empty()).take(20).map(str::to_owned).collect()
    }

    /// What a person can allow: the scope, and the claims that it doesn't give; `None` where the request is refused.
    pub fn wanted(&self) -> Option<Consented> {
        let request = self.request.as_ref().ok()?;
        Some(Consented { scope: request.scope.clone(), claims: request.claims.beyond(&request.scope) })
    }

    /// In what kind of window the pages are shown.
    pub fn display(&self) -> Display {
        self.request.as_ref().map(|request| request.display).unwrap_or_default()
    }

    /// The name that the request suggests for the login form.
    pub fn login_hint(&self) -> &str {
        self.request.as_ref().ok().and_then(|request| request.login_hint.as_deref()).unwrap_or_default()
    }

    /// Decides what comes next and answers so.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn proceed(mut self, incoming: &Incoming, current: Option<&Current>) -> Result<Response, PageFailure> {
        let step = self.step(current).await?;
        if step != Step::Login {
            // What the login page was to say is of no use any more.
            self.pending.notice = None;
            self.pending.username.clear();
        }
        match step {
            Step::Refuse(refusal) => Box::pin(self.refuse(incoming, refusal, current)).await,
            Step::Login => {
                let again = current.is_some() && self.pending.login_shown_at.is_none();
                let notice = self.pending.notice.or(again.then_some(LoginNotice::Reauthenticate));
                self.pending.login_shown_at.get_or_insert(self.app.clock.now());
                let username = match (self.pending.username.as_str(), self.login_hint(), current) {
                    ("", "", Some((_, user))) if self.pending.leaves.is_none() => user.username.clone(),
                    ("", hint, _) => hint.to_owned(),
                    (typed, _, _) => typed.to_owned(),
                };
                login::show(self.app, incoming, Some(&self), &self.pending, &username, notice)
            }
            Step::SelectAccount => match current {
                Some(current) => select_account::show(self.app, incoming, &self, current),
                None => Err(Fault::broken("an account is to be confirmed and nobody is signed in").into()),
            },
            Step::Consent => match (current, self.wanted()) {
                (Some(current), Some(wanted)) => {
                    self.pending.consent_shown = Some(ConsentShown::to(current, &wanted));
                    consent::show(self.app, incoming, &self, current, &wanted)
                }
                _ => Err(Fault::broken("consent is asked of nobody").into()),
            },
            Step::Issue(scope) => match current {
                Some(current) => Box::pin(self.issue(incoming, current, scope, None)).await,
                None => Err(Fault::broken("a code is issued to nobody").into()),
            },
        }
    }

    /// What the rules say is next for this person.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn step(&mut self, current: Option<&Current>) -> Result<Step, Fault> {
        self.narrow(current).await?;
        let request = match &self.request {
            Ok(request) => request,
            Err(refusal) => return Ok(Step::Refuse(*refusal)),
        };
        let hinted = match &request.id_token_hint {
            None => None,
            // OpenID Connect Core §3.1.2.1: an ID token that we issued; its exp doesn't matter.
            Some(hint) => match self.app.key_ring.load().verify_own(hint, TokenType::IdToken) {
                Ok(claims) => Some(claims.get("sub").and_then(|sub| sub.as_str()).unwrap_or_default().to_owned()),
                Err(_) => {
                    return Ok(Step::Refuse(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "The id_token_hint is not an ID token of this server.",
                    )));
                }
            },
        };
        let signed_in = current.map(|(session, user)| SignedIn {
            auth_time: Timestamp::from_micros(session.auth_time),
            is_hinted: match (&hinted, &request.subjects) {
                (None, None) => None,
                (hint, subjects) => Some(
                    hint.as_ref().is_none_or(|subject| *subject == user.subject)
                        && subjects.as_ref().is_none_or(|subjects| subjects.contains(&user.subject)),
                ),
            },
            acr: Acr::parse(&session.acr),
        });
        let consented = match current {
            Some((_, user))
                if !self.client.metadata.first_party
                    || request.prompt.consent
                    || request.scope.contains(OFFLINE_ACCESS) =>
            {
                self.app.store.find_consent(user.id, self.client.id).await?
            }
            _ => None,
        };
        let progress =
            Progress { login_shown_at: self.pending.login_shown_at, account_chosen: self.pending.account_chosen };
        let situation = Situation {
            signed_in,
            consented: consented.as_ref(),
            progress,
            reachable: ACR_REACHABLE,
            now: self.app.clock.now(),
        };
        let step = authorization_step::next_step(request, &self.client.metadata, &self.channel.redirect, &situation);
        // The person chose another account, and this is still the session that they wanted to leave.
        let leaves = self.pending.leaves.is_some() && self.pending.leaves == current.map(select_account::leaving);
        Ok(match step {
            Step::SelectAccount | Step::Consent | Step::Issue(_) if leaves => Step::Login,
            step => step,
        })
    }

    /// Requirement RB-2: leaves of the request what this person may give: scopes that name roles are for their holders.
    async fn narrow(&mut self, current: Option<&Current>) -> Result<(), Fault> {
        let (Some((_, user)), Ok(request)) = (current, &self.request) else { return Ok(()) };
        let claims = request.claims.userinfo.iter().chain(&request.claims.id_token);
        let named: Vec<&str> = request.scope.iter().chain(claims.filter_map(|claim| scope_of(&claim.name))).collect();
        let Some(holder) = Holder::for_restricted(self.app, user.id, &named).await? else { return Ok(()) };
        let (narrowed, withheld) = request.clone().narrowed(|scope| holder.may_give(self.app, scope));
        self.request = if narrowed.scope.is_empty() {
            Err(Refusal::new(ErrorCode::AccessDenied, "The person may give none of the scopes."))
        } else {
            Ok(narrowed)
        };
        self.withheld = withheld;
        Ok(())
    }

    /// Issues a code and answers with it; puts the consent on record where the person just gave it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn issue(
        &self,
        incoming: &Incoming,
        current: &Current,
        scope: ScopeSet,
        consent_event: Option<AuditEvent>,
    ) -> Result<Response, PageFailure> {
        let (app, (session, user)) = (self.app, current);
        let request = match &self.request {
            Ok(request) => request,
            Err(refusal) => return Box::pin(self.refuse(incoming, *refusal, Some(current))).await,
        };
        // The class that is stated is one that was asked for, where that was essential (Core §5.5.1.1).
        let acr = match request.acr.judge(Acr::parse(&session.acr), ACR_REACHABLE, true) {
            AcrVerdict::Met(Some(class)) => class.as_str().to_owned(),
            AcrVerdict::Met(None) => session.acr.clone(),
            AcrVerdict::StepUp | AcrVerdict::Unmet => {
                return Err(Fault::broken("a code is issued to somebody who authenticated too weakly").into());
            }
        };
        let now = app.clock.now();
        let secret = app.random.secret()?;
        let needs_consent = !self.client.metadata.first_party || consent_event.is_some();
        let code = Code {
            id: app.random.uuid_v7(now)?,
            code_hash: app.secrets.token_hash.hash(secret.as_bytes()).to_vec(),
            client: self.client.id,
            user_id: user.id,
            session_id: session.id,
            grant_id: app.random.uuid_v7(now)?,
            redirect_uri: self.channel.redirect.as_str().to_owned(),
            redirect_uri_named: request.redirect_uri_named,
            challenge: request.challenge.as_ref().map(|challenge| challenge.octets().to_vec()),
            scope: scope.to_string(),
            resources: serde_json::to_string(&request.resources).map_err(Fault::from)?,
            nonce: request.nonce.clone(),
            auth_time: session.auth_time,
            acr,
            amr: session.amr.clone(),
            needs_consent,
            issued_at: now.micros(),
            expires_at: now.plus_seconds(app.settings.tokens.authorization_code_lifetime.as_secs()).micros(),
            spent_at: None,
            requested_claims: request.claims.to_json(),
            look_again_at: None,
            hash_only: None,
        };
        let answer = authorization_code::form(code.id, &secret);
        let consent = match consent_event {
            Some(event) => {
                let given = Consented { claims: request.claims.beyond(&scope), scope };
                Some((app.random.uuid_v7(now)?, given, app.audit_record(event)?))
            }
            None => None,
        };
        let interval = app.settings.sessions.touch_interval.as_secs();
        let touch_session = worth_touching(&times(session), interval, now);
        let owner = if needs_consent { None } else { app.store.owner_to_remember(session, user) };
        match app.store.issue_code(Issue { code, consent, touch_session, owner }).await? {
            Issued::Stored => {}
            // The session ended while the person was deciding: the login page comes next.
            Issued::OwnerEnded => {
                return Ok(page::see_other(&self.pending.resume_address(app, PendingKind::Authorization)?)?);
            }
            Issued::ClientGone => return Err(unknown_client()),
        }
        if !self.withheld.is_empty() {
            let event =
                AuditEvent::new(AuditKind::ScopeWithheld, AuditOutcome::Failure, actor(user), &incoming.origin())
                    .subject(user.subject.clone())
                    .client(self.client.client_id.clone())
                    .detail("scope", self.withheld.to_string())
                    .detail("reason", "The person has none of the roles that the scope is for.");
            Box::pin(app.audit_later(event)).await?;
        }
        self.send(incoming, &[("code", &answer)])
    }

    /// Answers with an error (RFC 6749 §4.1.2.1), which is audited (requirement RB-5).
    ///
    /// # Errors
    /// Where there is no chance to be had, or the page can't be made.
    pub async fn refuse(
        &self,
        incoming: &Incoming,
        refusal: Refusal,
        current: Option<&Current>,
    ) -> Result<Response, PageFailure> {
        let who = current.map_or_else(|| "anonymous".to_owned(), |(_, user)| actor(user));
        let mut event = refused_event(incoming, refusal, who).client(self.client.client_id.clone());
        if let Some((_, user)) = current {
            event = event.subject(user.subject.clone());
        }
        if !self.withheld.is_empty() {
            event = event.detail("withheld_scope", self.withheld.to_string());
        }
        self.app.audit_later(event).await?;
        self.answer_refusal(incoming, refusal)
    }

    /// Answers with an error whose event is written already.
    ///
    /// # Errors
    /// Where the page can't be made.
    pub fn answer_refusal(&self, incoming: &Incoming, refusal: Refusal) -> Result<Response, PageFailure> {
        let answer = [("error", refusal.code.as_str()), ("error_description", refusal.description)];
        let mut response = self.send(incoming, &answer)?;
        Refused::note(&mut response, Door::Redirect, &refusal, incoming);
        Ok(response)
    }

    /// Sends an answer to the client, with `state` and `iss` (RFC 9207).
    fn send(&self, incoming: &Incoming, answer: &[(&str, &str)]) -> Result<Response, PageFailure> {
        let mut fields: Vec<(&str, &str)> = answer.to_vec();
        if let Some(state) = &self.channel.state {
            fields.push(("state", state));
        }
        fields.push(("iss", self.app.settings.issuer()));
        let uri = self.channel.redirect.as_str();
        let encoded = || form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        match self.channel.mode {
            ResponseMode::Query => {
                let separator = if uri.contains('?') { '&' } else { '?' };
                Ok(page::see_other(&format!("{uri}{separator}{}", encoded()))?)
            }
            ResponseMode::Fragment => Ok(page::see_other(&format!("{uri}#{}", encoded()))?),
            ResponseMode::FormPost => {
                let frame = page::frame(self.app, incoming, &self.ui_locales(), None);
                let form = FormPostPage { frame, action: uri, fields };
                let way = self.channel.redirect.form_action_source();
                let hash = assets::form_post_script_csp_hash();
                Ok(page::show_with(&form, StatusCode::OK, PageWay::Protocol(&way), hash)?)
            }
        }
    }
}

/// A user in the audit trail.
fn actor(user: &user::Model) -> String {
    format!("user:{}", user.subject)
}
