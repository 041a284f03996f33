//! Sessions of people at this server.

use keyward_entities::{Record, StatementText, audit_event, session, user};
use keyward_protocol::Timestamp;
use keyward_protocol::session::SessionTimes;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, LockType, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::act::select_record;
use super::{Act, Store};
use crate::fault::Fault;

/// Sessions that one sign-in ends at the most; more are there only where the limit was lowered.
const MOST_AT_ONCE: u64 = 100;

/// What decides whether a row's session stands.
pub fn times(row: &session::Model) -> SessionTimes {
    SessionTimes {
        last_seen_at: Timestamp::from_micros(row.last_seen_at),
        expires_at: Timestamp::from_micros(row.expires_at),
        ended_at: row.ended_at.map(Timestamp::from_micros),
    }
}

/// How many sessions a person may have at once.
#[derive(Debug)]
pub struct SessionLimit {
    /// So many.
    pub most: u32,
    /// The event for when a session ends because there would be more.
    pub event: audit_event::Model,
}

impl Store {
    /// The session of this cookie's hash, with its user.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_session(&self, session_hash: &[u8]) -> Result<Option<(session::Model, user::Model)>, Fault> {
        static TEXT: StatementText = StatementText::new();
        let hash = session_hash.to_vec();
        self.read(move |mut act| {
            Box::pin(async move {
                let statement = act.fixed(&TEXT, vec![hash.clone().into()], || {
                    let mut select = select_record::<session::Model>();
                    for &column in <user::Model as Record>::COLUMNS {
                        select.column((user::Entity, Alias::new(column)));
                    }
                    select
                        .inner_join(
                            user::Entity,
                            Expr::col((user::Entity, user::Column::Id))
                                .equals((session::Entity, session::Column::UserId)),
                        )
                        .and_where(Expr::col((session::Entity, session::Column::SessionHash)).eq(hash));
                    select
                });
                let mut rows = act.rows(statement).await?;
                rows.first_mut().map(|row| Ok((row.record()?, row.record()?))).transpose()
            })
        })
        .await
    }

    /// Starts a session and ends the one that the same browser had (a new id at every login); and of the user's others
    /// those that were used the longest ago, as far as there would be more than the limit. `false` where the user was
    /// disabled or deleted, or the password changed since it was checked.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn start_session(
        &self,
        row: session::Model,
        checked_password_hash: Option<String>,
        replaces: Option<Uuid>,
        limit: SessionLimit,
        event: audit_event::Model,
    ) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                // Those who sign in as the same user take turns: each counts the session of the one before.
                let user = user::Entity::find().filter(user::Column::Id.eq(row.user_id)).lock(LockType::NoKeyUpdate);
                let user = act.one(user).await?;
                let stands =
                    user.is_some_and(|user| user.disabled_at.is_none() && user.password_hash == checked_password_hash);
                if !stands {
                    return Ok(false);
                }
                if let Some(replaced) = replaces {
                    end(&mut act, replaced, "replaced", Timestamp::from_micros(row.created_at)).await?;
                }
                make_room(&mut act, &row, limit).await?;
                act.insert(row).await?;
                act.insert(event).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Gives the session of the same user the id, the time of authentication (a rise of privilege) and the end of a fresh
    /// one: what hangs on the session stays. `false` where it ended meanwhile or the user is no longer as checked.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn renew_session(
        &self,
        id: Uuid,
        fresh: &session::Model,
        checked_password_hash: Option<String>,
        event: audit_event::Model,
    ) -> Result<bool, Fault> {
        let (session_hash, auth_time, expires_at) = (fresh.session_hash.clone(), fresh.auth_time, fresh.expires_at);
        self.act(move |mut act| {
            Box::pin(async move {
                let Some(row) = act.one(session::Entity::find().filter(session::Column::Id.eq(id))).await? else {
                    return Ok(false);
                };
                let user = act.one(held(row.user_id)).await?;
                let stands =
                    user.is_some_and(|user| user.disabled_at.is_none() && user.password_hash == checked_password_hash);
                if !stands {
                    return Ok(false);
                }
                let update = Query::update()
                    .table(session::Entity)
                    .value(session::Column::SessionHash, session_hash)
                    .value(session::Column::AuthTime, auth_time)
                    .value(session::Column::LastSeenAt, auth_time)
                    .value(session::Column::ExpiresAt, expires_at)
                    .and_where(Expr::col(session::Column::Id).eq(id))
                    .and_where(Expr::col(session::Column::EndedAt).is_null())
                    .take();
                if act.run(&update).await? == 0 {
                    return Ok(false);
                }
                act.insert(event).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn end_session(
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

    /// Writes down that a session was used.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn touch_session(&self, id: Uuid, now: Timestamp) -> Result<(), Fault> {
        self.act_adding(move |mut act| Box::pin(async move { touch(&mut act, id, now).await })).await
    }
}

/// A user whose row stays as it is until the act is over: without the lock PostgreSQL would let a new password or a
/// disabled account pass between this look and the session that rests on it.
pub(super) fn held(id: Uuid) -> Select<user::Entity> {
    user::Entity::find().filter(user::Column::Id.eq(id)).lock(LockType::Share)
}

/// Ends sessions of a user until one more is within the limit. The caller has locked the user.
async fn make_room(act: &mut Act<'_>, fresh: &session::Model, limit: SessionLimit) -> Result<(), Fault> {
    let over = session::Entity::find()
        .filter(session::Column::UserId.eq(fresh.user_id))
        .filter(session::Column::EndedAt.is_null())
        .filter(session::Column::ExpiresAt.gt(fresh.created_at))
        .order_by_desc(session::Column::LastSeenAt)
        .order_by_desc(session::Column::Id)
        .offset(u64::from(limit.most.saturating_sub(1)))
        .limit(MOST_AT_ONCE);
    let mut ended = 0;
    for row in act.all(over).await? {
        ended += end(act, row.id, "too_many", Timestamp::from_micros(fresh.created_at)).await?;
    }
    if ended > 0 {
        act.insert(limit.event).await?;
    }
    Ok(())
}

pub(super) async fn touch(act: &mut Act<'_>, id: Uuid, now: Timestamp) -> Result<(), Fault> {
    let update = Query::update()
        .table(session::Entity)
        .value(session::Column::LastSeenAt, now.micros())
        .and_where(Expr::col(session::Column::Id).eq(id))
        .and_where(Expr::col(session::Column::LastSeenAt).lt(now.micros()))
        .take();
    act.run(&update).await.map(drop)
}

async fn end(act: &mut Act<'_>, id: Uuid, why: &'static str, now: Timestamp) -> Result<u64, Fault> {
    act.notes.ending();
    let update = Query::update()
        .table(session::Entity)
        .value(session::Column::EndedAt, now.micros())
        .value(session::Column::EndReason, why)
        .and_where(Expr::col(session::Column::Id).eq(id))
        .and_where(Expr::col(session::Column::EndedAt).is_null())
        .take();
    act.run(&update).await
}
