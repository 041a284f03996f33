//! Refresh tokens: looking for them, and using them.

use keyward_entities::{StatementText, audit_event, grant, refresh_token};
use keyward_protocol::authorization_request::narrow_resources;
use keyward_protocol::refresh_rotation::{self, RefreshDecision, StoredRefreshToken};
use keyward_protocol::refresh_token::Place;
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::session::{self as session_rule, SessionTimes};
use keyward_protocol::{Refusal, Timestamp};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, LockType, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select, Statement};
use uuid::Uuid;

use super::access_token::{self, PlannedToken, TokenOwner, TokenPlanner};
use super::act::{Lock, select_record};
use super::authorization::LiveGrant;
use super::outcome::Outcome;
use super::presented::PresentedSecret;
use super::{Act, Row, Store, Writes};
use crate::fault::Fault;

/// A refresh token as it is looked for.
pub type PresentedRefreshToken = PresentedSecret<Place>;

/// A refresh token to be stored.
#[derive(Debug, Clone)]
pub struct NewRefreshToken {
    /// The row's id.
    pub id: Uuid,
    /// The keyed hash of its secret.
    pub token_hash: [u8; 32],
    /// When it ends without use.
    pub expires_at: Timestamp,
}

impl NewRefreshToken {
    /// Its row in this family.
    pub(super) fn into_row(self, grant_id: Uuid, now: Timestamp) -> refresh_token::Model {
        refresh_token::Model {
            id: self.id,
            token_hash: self.token_hash.to_vec(),
            grant_id,
            issued_at: now.micros(),
            expires_at: self.expires_at.micros(),
            spent_at: None,
            successor_id: None,
            sealed_successor: None,
            hash_only: None,
        }
    }
}

/// What a refresh presents and makes.
#[derive(Debug)]
pub struct Refresh {
    /// The presented token.
    pub presented: PresentedRefreshToken,
    /// The authenticated client.
    pub client: Uuid,
    /// `scope`.
    pub scope: Option<ScopeSet>,
    /// `resource`.
    pub resources: Vec<String>,
    /// Decides the access token.
    pub planner: TokenPlanner,
    /// Whether refresh tokens of this client rotate.
    pub rotates: bool,
    /// Seconds in which a retry is forgiven.
    pub grace: u64,
    /// The successor, where one is made.
    pub successor: NewRefreshToken,
    /// The successor's secret, sealed under that of the presented token; kept where a retry is forgiven.
    pub sealed_successor: Option<Vec<u8>>,
    /// Seconds without use after which a session is over.
    pub idle_timeout: u64,
    /// Seconds in which a use is written down once at the most: that of the session a token is tied to, and that of a
    /// token that doesn't rotate.
    pub touch_interval: u64,
    /// The event to write where the token was used before; the act fills in whose it was.
    pub reuse_event: audit_event::Model,
}

/// How a refresh ended.
#[derive(Debug)]
pub enum Refreshed {
    /// The new successor was stored.
    Rotated(Box<LiveGrant>, PlannedToken),
    /// The token stays as it is.
    Kept(Box<LiveGrant>, PlannedToken),
    /// A retry: the successor of the first answer, its secret sealed.
    Repeated(Box<LiveGrant>, PlannedToken, Successor),
    /// Used again: the family has ended.
    Reused,
    /// Refused, and nothing was changed.
    Refused(Refusal),
}

/// A successor that was given before.
#[derive(Debug)]
pub struct Successor {
    /// Where it is kept; none where it doesn't say so.
    pub place: Option<Place>,
    /// Its secret.
    pub sealed_secret: Vec<u8>,
}

/// A refresh token as introspection and revocation see it.
#[derive(Debug)]
pub struct RefreshTokenView {
    /// The row.
    pub token: refresh_token::Model,
    /// What it belongs to.
    pub live: LiveGrant,
    /// Grant, user and session stand.
    pub stands: bool,
}

impl Store {
    /// A refresh token and what it belongs to. `idle_timeout` is that of sessions, in seconds.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_refresh_token(
        &self,
        presented: PresentedRefreshToken,
        idle_timeout: u64,
        now: Timestamp,
    ) -> Result<Option<RefreshTokenView>, Fault> {
        self.read(move |mut act| {
            Box::pin(async move {
                let Some((token, grant, mut row)) = find_token(&mut act, presented, Lock::None).await? else {
                    return Ok(None);
                };
                let (live, standing, _) = super::grant::with_owner(grant, &mut row, idle_timeout, now)?;
                Ok(Some(RefreshTokenView { token, live, stands: standing.all() }))
            })
        })
        .await
    }

    /// Uses a refresh token (RFC 6749 §6): decides, spends and makes the successor in one transaction.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn rotate_refresh_token(&self, refresh: Refresh, now: Timestamp) -> Result<Refreshed, Fault> {
        let writes = if refresh.rotates { Writes::One } else { Writes::More };
        self.act_alone(writes, (refresh, now), |act, (refresh, now)| Box::pin(rotate(act, refresh, *now))).await
    }
}

/// A token of a family.
fn in_family(grant: Uuid, token: Uuid) -> Select<refresh_token::Entity> {
    refresh_token::Entity::find()
        .filter(refresh_token::Column::GrantId.eq(grant))
        .filter(refresh_token::Column::Id.eq(token))
}

/// The presented token with its grant, and a row from which [`with_owner`](super::grant::with_owner) reads on; `None` where
/// there is none at its place, or its secret is another.
async fn find_token(
    act: &mut Act<'_>,
    presented: PresentedRefreshToken,
    lock: Lock,
) -> Result<Option<(refresh_token::Model, grant::Model, Row)>, Fault> {
    static PLACED: [StatementText; 2] = [const { StatementText::new() }; 2];
    static HASHED: [StatementText; 2] = [const { StatementText::new() }; 2];
    let (texts, values) = match presented.place {
        Some(place) => (&PLACED, vec![place.grant.into(), place.token.into()]),
        None => (&HASHED, vec![presented.secret_hash.to_vec().into(), true.into()]),
    };
    let [unlocked, locked] = texts;
    let text = if lock == Lock::Update { locked } else { unlocked };
    let statement = act.fixed(text, values, || select_token(is_token(&presented), lock));
    let Some(mut row) = act.rows(statement).await?.into_iter().next() else { return Ok(None) };
    let token: refresh_token::Model = row.record()?;
    let grant: grant::Model = row.record()?;
    Ok(presented.proves(&token.token_hash).then_some((token, grant, row)))
}

/// What finds a presented token.
fn is_token(presented: &PresentedRefreshToken) -> Expr {
    match presented.place {
        Some(place) => Expr::col((refresh_token::Entity, refresh_token::Column::GrantId))
            .eq(place.grant)
            .and(Expr::col((refresh_token::Entity, refresh_token::Column::Id)).eq(place.token)),
        None => Expr::col((refresh_token::Entity, refresh_token::Column::TokenHash))
            .eq(presented.secret_hash.to_vec())
            .and(Expr::col((refresh_token::Entity, refresh_token::Column::HashOnly)).eq(true)),
    }
}

/// A refresh token, its grant and the grant's owner.
fn select_token(which: Expr, lock: Lock) -> SelectStatement {
    let mut select = select_record::<refresh_token::Model>();
    for &column in <grant::Model as keyward_entities::Record>::COLUMNS {
        select.column((grant::Entity, Alias::new(column)));
    }
    select.inner_join(
        grant::Entity,
        Expr::col((grant::Entity, grant::Column::Id)).equals((refresh_token::Entity, refresh_token::Column::GrantId)),
    );
    super::grant::join_owner(&mut select);
    select.and_where(which);
    if lock == Lock::Update {
        select.lock_with_tables(LockType::Update, [refresh_token::Entity]);
    }
    select
}

/// Uses a refresh token. `None`: more is to be written than an act without a transaction can, or the token was used or
/// removed meanwhile.
async fn rotate(act: &mut Act<'_>, refresh: &Refresh, now: Timestamp) -> Result<Option<Refreshed>, Fault> {
    let lock = act.lock();
    let Some((token, grant, mut row)) = find_token(act, refresh.presented, lock).await? else {
        return Ok(Some(Refreshed::Refused(refresh_rotation::GONE)));
    };
    if token.spent_at.is_some() && !act.is_transaction() {
        return Ok(None);
    }
    let scope = ScopeSet::parse(&grant.scope).map_err(Fault::broken)?;
    let granted: Vec<String> = serde_json::from_str(&grant.resources)?;
    let (client, family_expires_at, family_ended_at) = (grant.client, grant.expires_at, grant.ended_at);
    let (mut live, standing, session_times) = super::grant::with_owner(grant, &mut row, refresh.idle_timeout, now)?;
    let successor = match token.successor_id {
        None => None,
        Some(id) => act.one(in_family(token.grant_id, id)).await?,
    };
    let successor_used =
        token.successor_id.map(|_| successor.as_ref().is_none_or(|successor| successor.spent_at.is_some()));
    let stored = StoredRefreshToken {
        client,
        scope,
        expires_at: Timestamp::from_micros(token.expires_at),
        spent_at: token.spent_at.map(Timestamp::from_micros),
        successor_used,
        family_expires_at: Timestamp::from_micros(family_expires_at),
        family_ended_at: family_ended_at.map(Timestamp::from_micros),
        user_live: standing.user,
        session_live: standing.session,
    };
    let decision =
        refresh_rotation::decide(&stored, refresh.client, refresh.scope.as_ref(), refresh.rotates, refresh.grace, now);
    // Protocol decision 14: a successor that wasn't kept can't be repeated; then the retry is a reuse.
    let kept = successor.zip(token.sealed_successor).map(|(row, sealed_secret)| {
        let place = Place { grant: row.grant_id, token: row.id };
        Successor { place: row.hash_only.is_none().then_some(place), sealed_secret }
    });
    let next = match (decision, kept) {
        (RefreshDecision::Refuse(refusal), _) => return Ok(Some(Refreshed::Refused(refusal))),
        (RefreshDecision::Reused, _) | (RefreshDecision::Repeat(_), None) => {
            if super::grant::end(act, token.grant_id, "refresh_token_reused", now).await? > 0 {
                let subject = Some(live.subject).filter(|subject| !subject.is_empty());
                act.insert(audit_event::Model { subject, ..refresh.reuse_event.clone() }).await?;
            }
            return Ok(Some(Refreshed::Reused));
        }
        (RefreshDecision::Keep(scope), _) => (scope, Next::Keep),
        (RefreshDecision::Repeat(scope), Some(successor)) => (scope, Next::Repeat(successor)),
        (RefreshDecision::Rotate(scope), _) => (scope, Next::Rotate),
    };
    let (scope, next) = next;
    if let Err(refusal) = narrow_resources(&granted, &refresh.resources) {
        return Ok(Some(Refreshed::Refused(refusal)));
    }
    // Protocol decision 12: who uses a token that is tied to a session uses the session.
    let used_session = session_times
        .filter(|times| live.grant.tied_to_session && session_rule::worth_touching(times, refresh.touch_interval, now));
    if let Some(times) = used_session {
        let used = SessionTimes { last_seen_at: now, ..times };
        live.ends_at =
            Timestamp::from_micros(live.grant.expires_at).min(session_rule::ends_at(&used, refresh.idle_timeout));
    }
    // Before anything is spent: what is refused here may be asked for again.
    let access_token = match refresh.planner.plan(act, &live, &scope, &granted).await? {
        Ok(planned) => planned,
        Err(refusal) => return Ok(Some(Refreshed::Refused(refusal))),
    };
    let remembering =
        access_token::remembering(act, &access_token, TokenOwner { client, grant: Some(token.grant_id) })?;
    if !act.is_transaction() && (used_session.is_some() || !matches!(next, Next::Rotate)) {
        return Ok(None);
    }
    if used_session.is_some() {
        super::session::touch(act, live.grant.session_id, now).await?;
    }
    let live = Box::new(live);
    let successor = match next {
        Next::Repeat(successor) => Some(successor),
        Next::Keep => {
            // Protocol decision 12: each use moves the end that comes without use.
            let fresh = refresh.successor.expires_at;
            let known = Timestamp::from_micros(token.expires_at);
            if fresh > known && fresh >= known.plus_seconds(refresh.touch_interval) {
                let slide = Query::update()
                    .table(refresh_token::Entity)
                    .value(refresh_token::Column::ExpiresAt, fresh.micros())
                    .and_where(Expr::col(refresh_token::Column::GrantId).eq(token.grant_id))
                    .and_where(Expr::col(refresh_token::Column::Id).eq(token.id))
                    .take();
                act.run(&slide).await?;
            }
            None
        }
        Next::Rotate => {
            let spend = spending(act, refresh, (token.grant_id, token.id), now);
            let successor = act.inserting(refresh.successor.clone().into_row(token.grant_id, now));
            let inserts = std::iter::once(successor).chain(remembering).collect();
            let outcome = Outcome { held: None, spend: Some(spend), inserts };
            if outcome.write(act).await? {
                return Ok(Some(Refreshed::Rotated(live, access_token)));
            }
            return match act.is_transaction() {
                true => Err(Fault::broken("a refresh token was spent although its row was locked")),
                false => Ok(None),
            };
        }
    };
    if let Some(insert) = remembering {
        act.exec(insert).await?;
    }
    Ok(Some(match successor {
        Some(successor) => Refreshed::Repeated(live, access_token, successor),
        None => Refreshed::Kept(live, access_token),
    }))
}

/// The statement that spends a token of this family for its successor.
fn spending(act: &Act<'_>, refresh: &Refresh, (grant, token): (Uuid, Uuid), now: Timestamp) -> Statement {
    static TEXT: StatementText = StatementText::new();
    let successor = refresh.successor.id;
    let sealed = refresh.sealed_successor.clone();
    let values = vec![now.micros().into(), successor.into(), sealed.into(), grant.into(), token.into()];
    act.fixed(&TEXT, values, || {
        Query::update()
            .table(refresh_token::Entity)
            .value(refresh_token::Column::SpentAt, 0_i64)
            .value(refresh_token::Column::SuccessorId, successor)
            .value(refresh_token::Column::SealedSuccessor, Vec::<u8>::new())
            .and_where(Expr::col(refresh_token::Column::GrantId).eq(grant))
            .and_where(Expr::col(refresh_token::Column::Id).eq(token))
            .and_where(Expr::col(refresh_token::Column::SpentAt).is_null())
            .take()
    })
}

/// What a refresh does with its token once nothing refuses it.
#[derive(Debug)]
enum Next {
    /// It stays.
    Keep,
    /// The successor is given again.
    Repeat(Successor),
    /// It is spent for a successor.
    Rotate,
}
