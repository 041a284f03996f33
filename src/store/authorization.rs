//! Authorization codes: issuing and redeeming.

use keyward_entities::{StatementText, audit_event, authorization_code, consent, grant, session, user};
use keyward_protocol::authorization_request::narrow_resources;
use keyward_protocol::claims_request::ClaimsRequest;
use keyward_protocol::code_redemption::{self, CodeContext, CodeDecision, CodePresented, StoredCode};
use keyward_protocol::consent::Consented;
use keyward_protocol::pkce::CodeChallenge;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::{Refusal, Timestamp};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, JoinType, LockType, Query, SelectStatement};
use sea_orm::{DbBackend, Statement};
use uuid::Uuid;

use super::access_token::{self, PlannedToken, TokenOwner, TokenPlanner};
use super::act::{Lock, select_record};
use super::consent::{consented, give_consent};
use super::outcome::Outcome;
use super::owner::{self, Owner};
use super::presented::PresentedSecret;
use super::refresh_token::NewRefreshToken;
use super::{Act, Store, Writes};
use crate::fault::Fault;

/// A code as it is looked for.
pub type PresentedCode = PresentedSecret<Uuid>;

/// What a redemption presents and makes.
#[derive(Debug)]
pub struct Redemption {
    /// The presented code.
    pub presented: PresentedCode,
    /// The authenticated client.
    pub client: Uuid,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
    /// `code_verifier`.
    pub verifier: Option<String>,
    /// `resource`.
    pub resources: Vec<String>,
    /// The refresh token to store, where the client gets one.
    pub refresh_token: Option<NewRefreshToken>,
    /// When the grant ends whatever happens.
    pub grant_expires_at: Timestamp,
    /// Decides the access token.
    pub planner: TokenPlanner,
    /// Seconds without use after which a session is over.
    pub idle_timeout: u64,
    /// The event to write where the code was used before; the act fills in whose it was.
    pub replay_event: audit_event::Model,
}

/// What tokens are made from.
#[derive(Debug, Clone)]
pub struct LiveGrant {
    /// The grant.
    pub grant: grant::Model,
    /// The user's `sub`.
    pub subject: String,
    /// The user's claims, JSON.
    pub claims: String,
    /// When the user's claims last changed.
    pub claims_updated_at: Timestamp,
    /// When it ends unless it is used before: with it, or with the session that it is tied to.
    pub ends_at: Timestamp,
    /// The public id of the session in which it was granted, while that session stands.
    pub session_public_id: Option<String>,
}

/// How a redemption ended.
#[derive(Debug)]
pub enum Redeemed {
    /// Tokens are to be made.
    Granted {
        /// From this.
        live: Box<LiveGrant>,
        /// The access token.
        access_token: PlannedToken,
        /// The nonce of the authorization request.
        nonce: Option<String>,
    },
    /// It was used before; what it gave has ended.
    Replayed,
    /// Refused, and nothing was changed.
    Refused(Refusal),
}

/// What the row of a code needs to be issued.
#[derive(Debug)]
pub struct Issue {
    /// The code.
    pub code: authorization_code::Model,
    /// The consent to put on record.
    pub consent: Option<(Uuid, Consented, audit_event::Model)>,
    /// Write down that the session was used.
    pub touch_session: bool,
    /// Whose it is, where the store wants to know it ([`Store::owner_to_remember`]).
    pub owner: Option<Owner>,
}

impl Issue {
    /// Whether the code is all that is written.
    const fn writes(&self) -> Writes {
        if self.consent.is_none() && !self.touch_session { Writes::One } else { Writes::More }
    }
}

/// How the issue of a code ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// It is stored.
    Stored,
    /// The user or the session ended meanwhile.
    OwnerEnded,
    /// The client was deleted or disabled meanwhile.
    ClientGone,
}

impl Store {
    /// Stores a code, and the consent it rests on where that is new.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn issue_code(&self, mut issue: Issue) -> Result<Issued, Fault> {
        let known = issue.owner.take().map(|mut owner| {
            // As the session will be once this is stored.
            if let Some(times) = owner.session_times.as_mut().filter(|_| issue.touch_session) {
                times.last_seen_at = times.last_seen_at.max(Timestamp::from_micros(issue.code.issued_at));
            }
            FoundCode { code: issue.code.clone(), owner, consent: None }
        });
        let issued = self.act_alone(issue.writes(), issue, |act, issue| Box::pin(store_code(act, issue))).await?;
        if let (Issued::Stored, Some(known), Some(codes)) = (issued, known, &self.issued_codes) {
            codes.remember(known);
        }
        Ok(issued)
    }

    /// Whose a code is that rests on no consent, where that is remembered until it is redeemed.
    pub fn owner_to_remember(&self, session: &session::Model, user: &user::Model) -> Option<Owner> {
        self.issued_codes.as_ref().map(|_| Owner::of(session, user))
    }

    /// Redeems a code (RFC 6749 §4.1.3): decides, spends, and makes grant and refresh token in one transaction.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn redeem_code(&self, redemption: Redemption, now: Timestamp) -> Result<Redeemed, Fault> {
        let known = self.issued_codes.as_ref().zip(redemption.presented.place).and_then(|(codes, id)| codes.take(id));
        let request = (redemption, known, now);
        self.act_alone(Writes::One, request, |act, (redemption, known, now)| {
            Box::pin(redeem(act, redemption, known.as_deref(), *now))
        })
        .await
    }
}

/// Stores a code. `None`: somebody has ended, and who it is takes a transaction.
async fn store_code(act: &mut Act<'_>, issue: &Issue) -> Result<Option<Issued>, Fault> {
    let code = &issue.code;
    // A code by itself needs no user and session that stay as they are: where they end beside it, its redemption finds that,
    // and a code of nobody is removed when it has expired. A consent is to be found by who ends them. A session that is
    // touched is locked as for the change at once: two that share a lock and both want more would wait for each other.
    static TEXTS: [StatementText; 3] = [const { StatementText::new() }; 3];
    let [unlocked, shared, exclusive] = &TEXTS;
    let (text, lock) = match (issue.touch_session, &issue.consent) {
        (true, _) => (exclusive, Some(LockType::NoKeyUpdate)),
        (false, Some(_)) => (shared, Some(LockType::Share)),
        (false, None) => (unlocked, None),
    };
    let (client, session) = (code.client, code.session_id);
    let held =
        act.fixed(text, vec![client.into(), true.into(), session.into()], || select_issuable(client, session, lock));
    let insert = act.inserting(code.clone());
    if issue.writes() == Writes::One {
        let outcome = Outcome { held: Some(held), spend: None, inserts: vec![insert] };
        return Ok(match (outcome.write(act).await?, act.is_transaction()) {
            (true, _) => Some(Issued::Stored),
            (false, true) => Some(who_has_ended(act, client).await?),
            (false, false) => None,
        });
    }
    if act.rows(held).await?.is_empty() {
        return who_has_ended(act, client).await.map(Some);
    }
    if let Some((id, given, event)) = &issue.consent {
        give_consent(act, *id, code, given).await?;
        act.insert(event.clone()).await?;
    }
    if issue.touch_session {
        super::session::touch(act, session, Timestamp::from_micros(code.issued_at)).await?;
    }
    act.exec(insert).await?;
    Ok(Some(Issued::Stored))
}

/// Why a code isn't issued.
async fn who_has_ended(act: &mut Act<'_>, client: Uuid) -> Result<Issued, Fault> {
    let statement = act.backend().build(&super::client::standing(client));
    let stands = !act.rows(statement).await?.is_empty();
    Ok(if stands { Issued::OwnerEnded } else { Issued::ClientGone })
}

/// Locks on PostgreSQL the user and the session of a code, so that what ends either of them, or the consent (which is
/// never withdrawn without locking the user), is either seen by the decision or sees what was decided. A statement of
/// its own: the next one then reads what is true once the locks are held.
async fn hold_owner(act: &mut Act<'_>, presented: &PresentedCode) -> Result<(), Fault> {
    if act.backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let mut select = Query::select();
    select
        .column((authorization_code::Entity, authorization_code::Column::Id))
        .from(authorization_code::Entity)
        .inner_join(
            user::Entity,
            Expr::col((user::Entity, user::Column::Id))
                .equals((authorization_code::Entity, authorization_code::Column::UserId)),
        )
        .inner_join(
            session::Entity,
            Expr::col((session::Entity, session::Column::Id))
                .equals((authorization_code::Entity, authorization_code::Column::SessionId)),
        )
        .and_where(is_code(presented))
        .lock_with_tables(LockType::Share, [Alias::new("users"), Alias::new("sessions")]);
    let statement = act.backend().build(&select);
    act.rows(statement).await.map(drop)
}

/// A code, whose it is, and the consent on which it may rest.
#[derive(Debug, Clone)]
pub(super) struct FoundCode {
    pub(super) code: authorization_code::Model,
    pub(super) owner: Owner,
    pub(super) consent: Option<FoundConsent>,
}

/// The consent of a code's owner to its client.
#[derive(Debug, Clone)]
pub(super) struct FoundConsent {
    id: Uuid,
    scope: String,
    claims: String,
}

/// Redeems a code. `None`: more is to be written than an act without a transaction can, or what the decision rests on has
/// changed meanwhile.
async fn redeem(
    act: &mut Act<'_>,
    redemption: &Redemption,
    known: Option<&FoundCode>,
    now: Timestamp,
) -> Result<Option<Redeemed>, Fault> {
    if act.is_transaction() {
        hold_owner(act, &redemption.presented).await?;
    } else if let Some(known) = known
        && redemption.presented.proves(&known.code.code_hash)
    {
        // The write that spends it asks for each premise anew. Anything but tokens is said by who has looked.
        if let Some(granted @ Redeemed::Granted { .. }) = redeem_found(act, redemption, known.clone(), now).await? {
            return Ok(Some(granted));
        }
    }
    match find_code(act, redemption.presented).await? {
        Some(found) => redeem_found(act, redemption, found, now).await,
        None => Ok(Some(Redeemed::Refused(code_redemption::UNKNOWN))),
    }
}

/// Redeems a code that was found; as [`redeem`].
async fn redeem_found(
    act: &mut Act<'_>,
    redemption: &Redemption,
    FoundCode { code, owner, consent }: FoundCode,
    now: Timestamp,
) -> Result<Option<Redeemed>, Fault> {
    let scope = ScopeSet::parse(&code.scope).map_err(Fault::broken)?;
    let consent_stands = match (code.needs_consent, &consent) {
        (false, _) => true,
        (true, Some(consent)) => {
            let asked = ClaimsRequest::from_stored(code.requested_claims.as_deref()).map_err(Fault::broken)?;
            consented(&consent.scope, &consent.claims)?.covers(&scope, &asked.beyond(&scope))
        }
        (true, None) => false,
    };
    let challenge = match &code.challenge {
        None => None,
        Some(octets) => {
            let octets = octets.as_slice().try_into().map_err(|_| Fault::broken("a stored challenge is damaged"))?;
            Some(CodeChallenge::from_octets(octets))
        }
    };
    let stored = StoredCode {
        client: code.client,
        redirect_uri: code.redirect_uri.clone(),
        redirect_uri_named: code.redirect_uri_named,
        challenge,
        expires_at: Timestamp::from_micros(code.expires_at),
        spent_at: code.spent_at.map(Timestamp::from_micros),
    };
    let context = CodeContext {
        user_live: owner.user_lives(),
        session_live: owner.session_stands(redemption.idle_timeout, now),
        consent_stands,
    };
    let presented = CodePresented {
        client: redemption.client,
        redirect_uri: redemption.redirect_uri.as_deref(),
        verifier: redemption.verifier.as_deref(),
    };
    match code_redemption::decide(&stored, context, presented, now) {
        CodeDecision::Refuse(refusal) => return Ok(Some(Redeemed::Refused(refusal))),
        CodeDecision::Replayed if !act.is_transaction() => return Ok(None),
        CodeDecision::Replayed => {
            // One event for what ended; who repeats it once more ends nothing and fills no log.
            if super::grant::end(act, code.grant_id, "code_replayed", now).await? > 0 {
                let event = redemption.replay_event.clone();
                act.insert(audit_event::Model { subject: owner.subject, ..event }).await?;
            }
            return Ok(Some(Redeemed::Replayed));
        }
        CodeDecision::Redeem => {}
    }
    let granted: Vec<String> = serde_json::from_str(&code.resources)?;
    if let Err(refusal) = narrow_resources(&granted, &redemption.resources) {
        return Ok(Some(Redeemed::Refused(refusal)));
    }
    let grant = grant::Model {
        id: code.grant_id,
        user_id: code.user_id,
        client: code.client,
        session_id: code.session_id,
        tied_to_session: code_redemption::ties_to_session(&scope),
        scope: code.scope.clone(),
        resources: code.resources.clone(),
        auth_time: code.auth_time,
        acr: code.acr.clone(),
        amr: code.amr.clone(),
        created_at: now.micros(),
        expires_at: redemption.grant_expires_at.micros(),
        ended_at: None,
        end_reason: None,
        requested_claims: code.requested_claims.clone(),
    };
    let claims_updated_at = owner.claims_updated_at;
    let live = owner.of_grant(grant, redemption.idle_timeout, now);
    // Before anything is spent: what is refused here may be asked for again.
    let access_token = match redemption.planner.plan(act, &live, &scope, &granted).await? {
        Ok(planned) => planned,
        Err(refusal) => return Ok(Some(Redeemed::Refused(refusal))),
    };
    let look_again = match &redemption.refresh_token {
        Some(token) => token.expires_at.min(redemption.grant_expires_at),
        None => redemption.grant_expires_at,
    };
    static SPEND: StatementText = StatementText::new();
    // A spent code is kept as long as its grant, so that a replay ends the grant. This is when cleaning up looks whether
    // the family still lives (see `cleanup.rs`).
    let look_again = Ord::max(look_again.micros(), code.expires_at);
    // It is spent as it was read: a client that is disabled has its codes expire.
    let values = vec![now.micros().into(), look_again.into(), code.id.into(), code.expires_at.into()];
    let spend = act.fixed(&SPEND, values, || {
        Query::update()
            .table(authorization_code::Entity)
            .value(authorization_code::Column::SpentAt, now.micros())
            .value(authorization_code::Column::LookAgainAt, look_again)
            .and_where(Expr::col(authorization_code::Column::Id).eq(code.id))
            .and_where(Expr::col(authorization_code::Column::ExpiresAt).eq(code.expires_at))
            .and_where(Expr::col(authorization_code::Column::SpentAt).is_null())
            .take()
    });
    let token_owner = TokenOwner { client: code.client, grant: Some(code.grant_id) };
    let mut inserts = vec![act.inserting(live.grant.clone())];
    inserts.extend(redemption.refresh_token.clone().map(|token| act.inserting(token.into_row(code.grant_id, now))));
    inserts.extend(access_token::remembering(act, &access_token, token_owner)?);
    let held = match act.is_transaction() {
        true => None,
        false => {
            let consent = consent.filter(|_| code.needs_consent).map(|consent| consent.id);
            Some(standing_owner(act, &code, claims_updated_at, consent))
        }
    };
    match (Outcome { held, spend: Some(spend), inserts }.write(act).await?, act.is_transaction()) {
        (true, _) => Ok(Some(Redeemed::Granted { live: Box::new(live), access_token, nonce: code.nonce })),
        (false, false) => Ok(None),
        (false, true) => Err(Fault::broken("a code was spent although its row was locked")),
    }
}

/// Locks the user and the session of a code, and the consent on which it rests, if they still stand as the decision has
/// seen them: the user's claims are those, a consent may have grown since, and one that was given anew is another. The
/// statement of an act without a transaction: in one, [`hold_owner`] has locked them before the decision.
fn standing_owner(
    act: &Act<'_>,
    code: &authorization_code::Model,
    claims_updated_at: Option<i64>,
    consent: Option<Uuid>,
) -> Statement {
    static TEXTS: [StatementText; 2] = [const { StatementText::new() }; 2];
    let [without, with] = &TEXTS;
    let mut values = vec![code.session_id.into(), claims_updated_at.into()];
    values.extend(consent.map(sea_orm::Value::from));
    act.fixed(if consent.is_some() { with } else { without }, values, || {
        let mut select = select_standing(code.session_id);
        select.and_where(Expr::col((user::Entity, user::Column::UpdatedAt)).eq(claims_updated_at));
        let mut locked = vec![Alias::new("users"), Alias::new("sessions")];
        if let Some(id) = consent {
            let of_user =
                Expr::col((consent::Entity, consent::Column::UserId)).equals((user::Entity, user::Column::Id));
            select
                .inner_join(consent::Entity, of_user)
                .and_where(Expr::col((consent::Entity, consent::Column::Id)).eq(id));
            locked.push(Alias::new("consents"));
        }
        select.lock_with_tables(LockType::Share, locked).take()
    })
}

/// The user of a session, where both and the client stand. The client can't end until the act is over, and user and session
/// can't where they are locked.
fn select_issuable(client: Uuid, session: Uuid, lock: Option<LockType>) -> SelectStatement {
    let mut select = select_standing(session);
    select.join_subquery(JoinType::InnerJoin, super::client::standing(client), Alias::new("client"), Expr::val(true));
    if let Some(lock) = lock {
        select.lock_with_tables(lock, [Alias::new("users"), Alias::new("sessions")]);
    }
    select
}

/// The user of a session, where both stand.
fn select_standing(session: Uuid) -> SelectStatement {
    Query::select()
        .column((user::Entity, user::Column::Id))
        .from(user::Entity)
        .inner_join(
            session::Entity,
            Expr::col((session::Entity, session::Column::UserId)).equals((user::Entity, user::Column::Id)),
        )
        .and_where(Expr::col((session::Entity, session::Column::Id)).eq(session))
        .and_where(Expr::col((session::Entity, session::Column::EndedAt)).is_null())
        .and_where(Expr::col((user::Entity, user::Column::DisabledAt)).is_null())
        .take()
}

/// The presented code; `None` where there is none at its place, or its secret is another.
async fn find_code(act: &mut Act<'_>, presented: PresentedCode) -> Result<Option<FoundCode>, Fault> {
    static PLACED: [StatementText; 2] = [const { StatementText::new() }; 2];
    static HASHED: [StatementText; 2] = [const { StatementText::new() }; 2];
    let (texts, values) = match presented.place {
        Some(id) => (&PLACED, vec![id.into()]),
        None => (&HASHED, vec![presented.secret_hash.to_vec().into(), true.into()]),
    };
    let lock = act.lock();
    let [unlocked, locked] = texts;
    let text = if lock == Lock::Update { locked } else { unlocked };
    let statement = act.fixed(text, values, || select_code(is_code(&presented), lock));
    let Some(mut row) = act.rows(statement).await?.into_iter().next() else { return Ok(None) };
    let code: authorization_code::Model = row.record()?;
    if !presented.proves(&code.code_hash) {
        return Ok(None);
    }
    let owner = Owner::read(&mut row)?;
    let (id, scope, claims): (Option<Uuid>, Option<String>, Option<String>) =
        (row.take("id")?, row.take("scope")?, row.take("claims")?);
    let consent = match (id, scope, claims) {
        (Some(id), Some(scope), Some(claims)) => Some(FoundConsent { id, scope, claims }),
        _ => None,
    };
    Ok(Some(FoundCode { code, owner, consent }))
}

/// What finds a presented code.
fn is_code(presented: &PresentedCode) -> Expr {
    match presented.place {
        Some(id) => Expr::col((authorization_code::Entity, authorization_code::Column::Id)).eq(id),
        None => Expr::col((authorization_code::Entity, authorization_code::Column::CodeHash))
            .eq(presented.secret_hash.to_vec())
            .and(Expr::col((authorization_code::Entity, authorization_code::Column::HashOnly)).eq(true)),
    }
}

/// A code with its user, session and consent.
fn select_code(which: Expr, lock: Lock) -> SelectStatement {
    let mut select = select_record::<authorization_code::Model>();
    owner::join(
        &mut select,
        (authorization_code::Entity, authorization_code::Column::UserId),
        Expr::col((authorization_code::Entity, authorization_code::Column::SessionId)),
    );
    select
        .expr(Expr::col((consent::Entity, consent::Column::Id)))
        .expr(Expr::col((consent::Entity, consent::Column::Scope)))
        .expr(Expr::col((consent::Entity, consent::Column::Claims)))
        .left_join(
            consent::Entity,
            Expr::col((consent::Entity, consent::Column::UserId))
                .equals((authorization_code::Entity, authorization_code::Column::UserId))
                .and(
                    Expr::col((consent::Entity, consent::Column::Client))
                        .equals((authorization_code::Entity, authorization_code::Column::Client)),
                ),
        )
        .and_where(which);
    if lock == Lock::Update {
        select.lock_with_tables(LockType::Update, [authorization_code::Entity]);
    }
    select
}
