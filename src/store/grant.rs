//! Grants: whether they live, and their end.

use keyward_entities::{StatementText, audit_event, grant, replay_mark};
use keyward_protocol::Timestamp;
use keyward_protocol::session::SessionTimes;
use sea_orm::DbBackend;
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, Order, Query, SelectStatement};
use uuid::Uuid;

use super::act::select_record;
use super::authorization::LiveGrant;
use super::owner::{self, Owner, OwnerStanding};
use super::{Act, Row, Store};
use crate::fault::Fault;

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
pub(super) async fn lock_in_order(act: &mut Act<'_>, which: Expr) -> Result<(), Fault> {
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

/// Adds to a selection from grants what [`with_owner`] reads behind them. Their session is looked for where it decides or an
/// ID token names it; that of other grants would be read for nothing.
pub(super) fn join_owner(select: &mut SelectStatement) {
    // Without bound values, which would stand before those of the statement.
    let openid = Expr::cust(r#"' ' || "grants"."scope" || ' ' LIKE '% openid %'"#);
    owner::join(select, (grant::Entity, grant::Column::UserId), session_where(tied_to_session().or(openid)));
}

fn tied_to_session() -> Expr {
    Expr::col((grant::Entity, grant::Column::TiedToSession))
}

/// The session of a grant where this holds, else none.
fn session_where(condition: Expr) -> CaseStatement {
    Expr::case(condition, Expr::col((grant::Entity, grant::Column::SessionId)))
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
    OwnerStanding::join(&mut select, (grant::Entity, grant::Column::UserId), session_where(tied_to_session()));
    unless_revoked(&mut select, id, mark);
    select
}

/// What of a grant stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// The grant hasn't ended.
    grant: bool,
    /// The user exists and isn't disabled.
    pub(super) user: bool,
    /// The session that it is tied to hasn't ended, or it is tied to none.
    pub(super) session: bool,
}

impl Standing {
    pub(super) const fn all(self) -> bool {
        self.grant && self.user && self.session
    }
}

/// The grant with its owner, what of it stands, and the times of the session in which it was granted, where [`join_owner`]
/// found it.
pub(super) fn with_owner(
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
