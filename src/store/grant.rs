//! Grants: whether they live, their refresh tokens, and their end.

use std::collections::BTreeSet;

use keyward_entities::{
    StatementText, audit_event, authorization_code, client, consent, grant, refresh_token, replay_mark,
};
use keyward_keys::MacKey;
use keyward_protocol::Refusal;
use keyward_protocol::Timestamp;
use keyward_protocol::authorization_request::narrow_resources;
use keyward_protocol::refresh_rotation::{self, RefreshDecision, StoredRefreshToken};
use keyward_protocol::refresh_token::{Place, Presented};
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::session::{self as session_rule, SessionTimes};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, LockType, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, Select, Statement};
use uuid::Uuid;

use super::access_token::{self, PlannedToken, TokenOwner, TokenPlanner};
use super::act::{Lock, select_record};
use super::authorization::{LiveGrant, NewRefreshToken};
use super::outcome::Outcome;
use super::owner::{self, Owner, OwnerStanding};
use super::{Act, Row, Store, Writes};
use crate::fault::Fault;

/// A refresh token as it is looked for.
#[derive(Debug, Clone, Copy)]
pub struct PresentedRefreshToken {
    /// Where it says it is kept; what says nothing is found by its hash.
    pub place: Option<Place>,
    /// The keyed hash of its secret.
    pub secret_hash: [u8; 32],
}

impl PresentedRefreshToken {
    /// What a client presents, its secret hashed by this key.
    pub fn of(presented: Presented<'_>, key: &MacKey) -> Self {
        Self { place: presented.place, secret_hash: key.hash(presented.secret.as_bytes()) }
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

/// A client that holds something of a person.
#[derive(Debug)]
pub struct ConnectedApp {
    /// The protocol's identifier.
    pub client_id: String,
    /// The metadata, JSON.
    pub metadata: String,
    /// What was allowed.
    pub scope: ScopeSet,
    /// The single claims that were allowed beside what the scope gives.
    pub claims: BTreeSet<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// The grant of a token, if grant, user and (where it is tied) session stand and the token itself wasn't revoked.
    /// `idle_timeout` is that of sessions, in seconds.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_live_grant(
        &self,
        id: Uuid,
        revocation_mark: [u8; 32],
        idle_timeout: u64,
        now: Timestamp,
    ) -> Result<Option<LiveGrant>, Fault> {
        static TEXT: StatementText = StatementText::new();
        self.read(move |mut act| {
            Box::pin(async move {
                let mark = revocation_mark.to_vec();
                let build = || {
                    let mut select = select_record::<grant::Model>();
                    join_owner(&mut select);
                    unless_revoked(&mut select, id, mark.clone());
                    select
                };
                let statement = act.fixed(&TEXT, vec![mark.clone().into(), id.into()], build);
                let mut rows = act.rows(statement).await?;
                let Some(row) = rows.first_mut() else { return Ok(None) };
                let grant: grant::Model = row.record()?;
                let (live, standing, _) = with_owner(grant, row, idle_timeout, now)?;
                let revoked: Option<i64> = row.take("expires_at")?;
                Ok((standing.all() && revoked.is_none()).then_some(live))
            })
        })
        .await
    }

    /// Until when [`Store::find_live_grant`] would find one, unless something ends it before; `None` where it wouldn't. This
    /// is what introspection asks for a JWT: nothing is read but what decides.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn grant_stands_until(
        &self,
        id: Uuid,
        revocation_mark: [u8; 32],
        idle_timeout: u64,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Fault> {
        static TEXT: StatementText = StatementText::new();
        self.read(move |mut act| {
            Box::pin(async move {
                let mark = revocation_mark.to_vec();
                let statement = act.fixed(&TEXT, vec![mark.clone().into(), id.into()], || select_standing(id, mark));
                let mut rows = act.rows(statement).await?;
                let Some(row) = rows.first_mut() else { return Ok(None) };
                let ended_at: Option<i64> = row.take("ended_at")?;
                let expires_at: i64 = row.take("expires_at")?;
                let tied_to_session: bool = row.take("tied_to_session")?;
                let owner = OwnerStanding::read(row)?;
                let revoked: Option<i64> = row.take("expires_at")?;
                let standing = Standing {
                    grant: ended_at.is_none() && now.micros() < expires_at,
                    user: owner.user_lives(),
                    session: owner.session_stands(idle_timeout, now) || !tied_to_session,
                };
                let ends_at = owner.ends_at(Timestamp::from_micros(expires_at), tied_to_session, idle_timeout);
                Ok((standing.all() && revoked.is_none()).then_some(ends_at))
            })
        })
        .await
    }

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
                let (live, standing, _) = with_owner(grant, &mut row, idle_timeout, now)?;
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

    /// Ends a grant and with it all its tokens.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn end_grant(
        &self,
        id: Uuid,
        why: &'static str,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                if end(&mut act, id, why, now).await? > 0 {
                    act.insert(event).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The clients that a person has allowed something.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn connected_apps(&self, user: Uuid) -> Result<Vec<ConnectedApp>, Fault> {
        self.read(move |mut act| {
            Box::pin(async move {
                let consents = consent::Entity::find()
                    .filter(consent::Column::UserId.eq(user))
                    .order_by_desc(consent::Column::UpdatedAt);
                let mut apps = Vec::new();
                for row in act.all(consents).await? {
                    let client = client::Entity::find().filter(client::Column::Id.eq(row.client));
                    if let Some(client) = act.one(client).await? {
                        apps.push(ConnectedApp {
                            client_id: client.client_id,
                            metadata: client.metadata,
                            scope: ScopeSet::parse(&row.scope).map_err(Fault::broken)?,
                            claims: serde_json::from_str(&row.claims)?,
                            since: Timestamp::from_micros(row.created_at),
                        });
                    }
                }
                Ok(apps)
            })
        })
        .await
    }

    /// Withdraws a person's consent for a client: the record goes, and every grant ends.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn disconnect_app(
        &self,
        user: Uuid,
        client: Uuid,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                super::user::lock(&mut act, user, LockType::Update).await?;
                let delete = Query::delete()
                    .from_table(consent::Entity)
                    .and_where(Expr::col(consent::Column::UserId).eq(user))
                    .and_where(Expr::col(consent::Column::Client).eq(client))
                    .take();
                act.run(&delete).await?;
                let of_client =
                    Expr::col(grant::Column::UserId).eq(user).and(Expr::col(grant::Column::Client).eq(client));
                end_all(&mut act, of_client, "consent_withdrawn", now).await?;
                act.insert(event).await
            })
        })
        .await
    }
}

/// Ends a grant inside an act, and gives whether it had stood.
pub(super) async fn end(act: &mut Act<'_>, id: Uuid, why: &'static str, now: Timestamp) -> Result<u64, Fault> {
    act.notes.ending();
    let update = Query::update()
        .table(grant::Entity)
        .value(grant::Column::EndedAt, now.micros())
        .value(grant::Column::EndReason, why)
        .and_where(Expr::col(grant::Column::Id).eq(id))
        .and_where(Expr::col(grant::Column::EndedAt).is_null())
        .take();
    act.run(&update).await
}

/// Ends every grant of these that stands.
pub(super) async fn end_all(act: &mut Act<'_>, of: Expr, why: &'static str, now: Timestamp) -> Result<(), Fault> {
    act.notes.ending();
    let which = of.and(Expr::col(grant::Column::EndedAt).is_null());
    lock_in_order(act, which.clone()).await?;
    let update = Query::update()
        .table(grant::Entity)
        .value(grant::Column::EndedAt, now.micros())
        .value(grant::Column::EndReason, why)
        .and_where(which)
        .take();
    act.run(&update).await.map(drop)
}

/// Locks grants on PostgreSQL in the order of their ids: of two who end or remove several, neither then holds what the
/// other wants. SQLite has one writer and needs no statement for it.
async fn lock_in_order(act: &mut Act<'_>, which: Expr) -> Result<(), Fault> {
    if act.backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let select = Query::select()
        .column(grant::Column::Id)
        .from(grant::Entity)
        .and_where(which)
        .order_by(grant::Column::Id, Order::Asc)
        .lock_exclusive()
        .take();
    let statement = act.backend().build(&select);
    act.rows(statement).await.map(drop)
}

/// Removes what a client was granted. `now` is in microseconds. The caller has locked the client, so that nobody adds to
/// it, and taken its turn ([`super::cleanup::take_turn`]).
pub(super) async fn remove_of_client(act: &mut Act<'_>, client: Uuid, now: i64) -> Result<(), Fault> {
    let of = [
        Expr::col(consent::Column::Client).eq(client),
        Expr::col(authorization_code::Column::Client).eq(client),
        Expr::col(grant::Column::Client).eq(client),
    ];
    remove(act, of, Some(client), now).await
}

/// Removes what a user granted. `now` is in microseconds. As with [`remove_of_client`], the user is locked.
pub(super) async fn remove_of_user(act: &mut Act<'_>, user: Uuid, now: i64) -> Result<(), Fault> {
    let of = [
        Expr::col(consent::Column::UserId).eq(user),
        Expr::col(authorization_code::Column::UserId).eq(user),
        Expr::col(grant::Column::UserId).eq(user),
    ];
    remove(act, of, None, now).await
}

/// Removes consents, codes and grants with all that hangs on them, and ends the tokens that `client` has for itself, in the
/// order of locks (`docs/architecture.md`).
async fn remove(
    act: &mut Act<'_>,
    [consents, codes, which]: [Expr; 3],
    client: Option<Uuid>,
    now: i64,
) -> Result<(), Fault> {
    act.notes.ending();
    act.run(&Query::delete().from_table(consent::Entity).and_where(consents).take()).await?;
    // Who was redeeming one of them has by now made the grant that is removed here.
    act.run(&Query::delete().from_table(authorization_code::Entity).and_where(codes).take()).await?;
    let ids = Query::select().column(grant::Column::Id).from(grant::Entity).and_where(which.clone()).take();
    let tokens = Query::delete()
        .from_table(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::GrantId).in_subquery(ids.clone()))
        .take();
    // A refresh that was under way has by then left a successor that the statement couldn't see. One that finds none had
    // no refresh beside it: who makes a successor holds the lock of a token that is seen.
    while act.run(&tokens).await? > 0 {}
    // After the tokens: who was using one of them has by now written the entry that is marked here.
    super::status_list::mark_entries_of(act, ids, now).await?;
    if let Some(client) = client {
        access_token::end_own(act, client, now).await?;
    }
    lock_in_order(act, which.clone()).await?;
    let grants = Query::delete().from_table(grant::Entity).and_where(which).take();
    act.run(&grants).await.map(drop)
}

/// A token of a family.
fn in_family(grant: Uuid, token: Uuid) -> Select<refresh_token::Entity> {
    refresh_token::Entity::find()
        .filter(refresh_token::Column::GrantId.eq(grant))
        .filter(refresh_token::Column::Id.eq(token))
}

/// Adds to a selection from grants what [`with_owner`] reads behind them.
fn join_owner(select: &mut SelectStatement) {
    owner::join(select, (grant::Entity, grant::Column::UserId), (grant::Entity, grant::Column::SessionId));
}

/// Chooses a grant, and adds whether a token of it was revoked by itself.
fn unless_revoked(select: &mut SelectStatement, id: Uuid, mark: Vec<u8>) {
    select
        .expr(Expr::col((replay_mark::Entity, replay_mark::Column::ExpiresAt)))
        .left_join(replay_mark::Entity, Expr::col((replay_mark::Entity, replay_mark::Column::Mark)).eq(mark))
        .and_where(Expr::col((grant::Entity, grant::Column::Id)).eq(id));
}

/// Of a grant what decides whether it stands.
fn select_standing(id: Uuid, mark: Vec<u8>) -> SelectStatement {
    let mut select = Query::select();
    select
        .expr(Expr::col((grant::Entity, grant::Column::EndedAt)))
        .expr(Expr::col((grant::Entity, grant::Column::ExpiresAt)))
        .expr(Expr::col((grant::Entity, grant::Column::TiedToSession)))
        .from(grant::Entity);
    let (user, session) = ((grant::Entity, grant::Column::UserId), (grant::Entity, grant::Column::SessionId));
    OwnerStanding::join(&mut select, user, session);
    unless_revoked(&mut select, id, mark);
    select
}

/// What of a grant stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// The grant hasn't ended.
    grant: bool,
    /// The user exists and isn't disabled.
    user: bool,
    /// The session that it is tied to hasn't ended, or it is tied to none.
    session: bool,
}

impl Standing {
    const fn all(self) -> bool {
        self.grant && self.user && self.session
    }
}

/// The grant with its owner, what of it stands, and the times of the session in which it was granted, while that is known.
fn with_owner(
    grant: grant::Model,
    row: &mut Row,
    idle_timeout: u64,
    now: Timestamp,
) -> Result<(LiveGrant, Standing, Option<SessionTimes>), Fault> {
    let owner = Owner::read(row)?;
    let standing = Standing {
        grant: grant.ended_at.is_none() && now.micros() < grant.expires_at,
        user: owner.user_lives(),
        session: owner.session_stands(idle_timeout, now) || !grant.tied_to_session,
    };
    let session_times = owner.session_times;
    let live = owner.of_grant(grant, idle_timeout, now);
    Ok((live, standing, session_times))
}

/// The presented token with its grant, and a row from which [`with_owner`] reads on; `None` where there is none at its
/// place, or its secret is another.
async fn find_token(
    act: &mut Act<'_>,
    presented: PresentedRefreshToken,
    lock: Lock,
) -> Result<Option<(refresh_token::Model, grant::Model, Row)>, Fault> {
    static PLACED: [StatementText; 2] = [const { StatementText::new() }; 2];
    static HASHED: [StatementText; 2] = [const { StatementText::new() }; 2];
    let [placed, placed_locked] = &PLACED;
    let [hashed, hashed_locked] = &HASHED;
    let statement = match presented.place {
        Some(place) => {
            let text = if lock == Lock::Update { placed_locked } else { placed };
            let at_place = Expr::col((refresh_token::Entity, refresh_token::Column::GrantId))
                .eq(place.grant)
                .and(Expr::col((refresh_token::Entity, refresh_token::Column::Id)).eq(place.token));
            act.fixed(text, vec![place.grant.into(), place.token.into()], || select_token(at_place, lock))
        }
        None => {
            let text = if lock == Lock::Update { hashed_locked } else { hashed };
            let hash = presented.secret_hash.to_vec();
            let by_hash = Expr::col((refresh_token::Entity, refresh_token::Column::TokenHash))
                .eq(hash.clone())
                .and(Expr::col((refresh_token::Entity, refresh_token::Column::HashOnly)).eq(true));
            act.fixed(text, vec![hash.into(), true.into()], || select_token(by_hash, lock))
        }
    };
    let Some(mut row) = act.rows(statement).await?.into_iter().next() else { return Ok(None) };
    let token: refresh_token::Model = row.record()?;
    let grant: grant::Model = row.record()?;
    let proven: bool =
        subtle::ConstantTimeEq::ct_eq(token.token_hash.as_slice(), presented.secret_hash.as_slice()).into();
    Ok(proven.then_some((token, grant, row)))
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
    join_owner(&mut select);
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
    let (mut live, standing, session_times) = with_owner(grant, &mut row, refresh.idle_timeout, now)?;
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
            if end(act, token.grant_id, "refresh_token_reused", now).await? > 0 {
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
