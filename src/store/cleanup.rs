//! Removing what has expired, in small batches that hold no lock for long.
//!
//! A code, its grant and the grant's refresh tokens go together: the code is kept as long as the grant so that a replay
//! ends the grant (RFC 6749 §4.1.2), and every token that was ever used is kept as long as the grant so that using it
//! again does (RFC 9700 §4.14.2). The end of all three is that of the code, which its redemption set (see
//! `authorization.rs`).

use keyward_entities::{
    authorization_code, grant, opaque_token, refresh_token, replay_mark, server_fact, session, status_entry,
};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef, IntoIden, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::{Act, Store};
use crate::fault::Fault;

/// How long an ended row is kept for those who ask why something ended, in seconds. It is longer than any grace time of
/// a refresh token.
const KEPT: u64 = 3600;

/// The fact that says up to which refresh token the seals of the tokens before were removed.
const SEALS_CLEARED: &str = "seals_cleared_until";

impl Store {
    /// Removes at most `batch` rows of each kind; gives how many rows it worked on, and zero where nothing was left.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remove_expired(&self, batch: u64, now: Timestamp) -> Result<u64, Fault> {
        let past = now.minus_seconds(KEPT);
        self.act(move |mut act| {
            Box::pin(async move {
                // Comes first: on PostgreSQL it locks the row by which servers that clean up take turns.
                let mut done = clear_seals(&mut act, batch, past).await?;
                let expired_codes = oldest(
                    authorization_code::Entity,
                    authorization_code::Column::GrantId,
                    authorization_code::Column::ExpiresAt,
                    past,
                    batch,
                );
                done += remove_grants(&mut act, &expired_codes, batch, now).await?;
                let ended_grants = oldest(grant::Entity, grant::Column::Id, grant::Column::EndedAt, past, batch);
                done += remove_grants(&mut act, &ended_grants, batch, now).await?;
                done += remove_codes(&mut act, batch, past).await?;
                for end in [session::Column::ExpiresAt, session::Column::EndedAt] {
                    let sessions = oldest(session::Entity, session::Column::Id, end, past, batch);
                    let delete = Query::delete()
                        .from_table(session::Entity)
                        .and_where(Expr::col(session::Column::Id).in_subquery(sessions))
                        .take();
                    done += act.run(&delete).await?;
                }
                let marks =
                    oldest(replay_mark::Entity, replay_mark::Column::Mark, replay_mark::Column::ExpiresAt, now, batch);
                let delete = Query::delete()
                    .from_table(replay_mark::Entity)
                    .and_where(Expr::col(replay_mark::Column::Mark).in_subquery(marks))
                    .take();
                done += act.run(&delete).await?;
                done += remove_access_tokens(&mut act, batch, now, past).await?;
                Ok(done)
            })
        })
        .await
    }
}

/// A column of the rows that ended before this moment, the earliest first.
fn oldest<C>(table: impl IntoIden, column: C, end: C, before: Timestamp, batch: u64) -> SelectStatement
where
    C: IntoColumnRef + IntoIden + Copy,
{
    Query::select()
        .column(column)
        .from(table.into_iden())
        .and_where(Expr::col(end).lt(before.micros()))
        .order_by(end, Order::Asc)
        .limit(batch)
        .take()
}

/// Removes tokens of these grants, and the grants that have none left.
async fn remove_grants(act: &mut Act<'_>, grants: &SelectStatement, batch: u64, now: Timestamp) -> Result<u64, Fault> {
    super::status_list::mark_entries_of(act, grants.clone(), now.micros()).await?;
    let tokens = Query::select()
        .column(refresh_token::Column::Id)
        .from(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::GrantId).in_subquery(grants.clone()))
        .limit(batch)
        .take();
    let tokens = Query::delete()
        .from_table(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::Id).in_subquery(tokens))
        .take();
    let of_the_grant = Query::select()
        .column((refresh_token::Entity, refresh_token::Column::Id))
        .from(refresh_token::Entity)
        .and_where(
            Expr::col((refresh_token::Entity, refresh_token::Column::GrantId))
                .equals((grant::Entity, grant::Column::Id)),
        )
        .take();
    let grants = Query::delete()
        .from_table(grant::Entity)
        .and_where(Expr::col((grant::Entity, grant::Column::Id)).in_subquery(grants.clone()))
        .and_where(Expr::not_exists(of_the_grant))
        .take();
    Ok(act.run(&tokens).await? + act.run(&grants).await?)
}

/// Removes access tokens that were remembered. An entry of a status list is kept for a while beyond its token's end, for
/// resource servers may give tokens a leeway.
async fn remove_access_tokens(act: &mut Act<'_>, batch: u64, now: Timestamp, past: Timestamp) -> Result<u64, Fault> {
    let opaque =
        oldest(opaque_token::Entity, opaque_token::Column::TokenHash, opaque_token::Column::ExpiresAt, now, batch);
    let opaque = Query::delete()
        .from_table(opaque_token::Entity)
        .and_where(Expr::col(opaque_token::Column::TokenHash).in_subquery(opaque))
        .take();
    let entries =
        oldest(status_entry::Entity, status_entry::Column::Slot, status_entry::Column::ExpiresAt, past, batch);
    let entries = Query::delete()
        .from_table(status_entry::Entity)
        .and_where(Expr::col(status_entry::Column::Slot).in_subquery(entries))
        .take();
    let done = act.run(&opaque).await? + act.run(&entries).await?;
    Ok(done + super::status_list::remove_empty(act, past, batch).await?)
}

/// Removes expired codes whose grant is gone or was never made.
async fn remove_codes(act: &mut Act<'_>, batch: u64, past: Timestamp) -> Result<u64, Fault> {
    let expired = oldest(
        authorization_code::Entity,
        authorization_code::Column::Id,
        authorization_code::Column::ExpiresAt,
        past,
        batch,
    );
    let its_grant = Query::select()
        .column((grant::Entity, grant::Column::Id))
        .from(grant::Entity)
        .and_where(
            Expr::col((grant::Entity, grant::Column::Id))
                .equals((authorization_code::Entity, authorization_code::Column::GrantId)),
        )
        .take();
    let delete = Query::delete()
        .from_table(authorization_code::Entity)
        .and_where(Expr::col((authorization_code::Entity, authorization_code::Column::Id)).in_subquery(expired))
        .and_where(Expr::not_exists(its_grant))
        .take();
    act.run(&delete).await
}

/// Removes the sealed successors of tokens that were spent before this moment, for no retry is forgiven any more. A
/// successor is made when its predecessor is spent, and ids are in the order of time (RFC 9562 §5.7): so the tokens made
/// since the last time, found by their key, name the families in which something is to be removed.
async fn clear_seals(act: &mut Act<'_>, batch: u64, past: Timestamp) -> Result<u64, Fault> {
    let fact = server_fact::Entity::find().filter(server_fact::Column::Name.eq(SEALS_CLEARED)).lock_exclusive();
    let fact = act.one(fact).await?.ok_or_else(|| Fault::broken("where the clearing of seals stopped is missing"))?;
    let from = Uuid::try_parse(&fact.value).map_err(Fault::broken)?;
    let millis = u64::try_from(past.micros() / 1000).unwrap_or_default();
    let to = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
    let made = Query::select()
        .column(refresh_token::Column::Id)
        .from(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::Id).gt(from))
        .and_where(Expr::col(refresh_token::Column::Id).lt(to))
        .order_by(refresh_token::Column::Id, Order::Asc)
        .limit(batch)
        .take();
    let statement = act.backend().build(&made);
    let rows = act.rows(statement).await?;
    let (seen, mut last) = (rows.len() as u64, None);
    for mut row in rows {
        last = Some(row.take::<Uuid>("id")?);
    }
    let Some(last) = last else { return Ok(0) };
    let families = Query::select()
        .column(refresh_token::Column::GrantId)
        .from(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::Id).gt(from))
        .and_where(Expr::col(refresh_token::Column::Id).lte(last))
        .take();
    let clear = Query::update()
        .table(refresh_token::Entity)
        .value(refresh_token::Column::SealedSuccessor, Option::<Vec<u8>>::None)
        .and_where(Expr::col(refresh_token::Column::GrantId).in_subquery(families))
        .and_where(Expr::col(refresh_token::Column::SpentAt).lt(past.micros()))
        .and_where(Expr::col(refresh_token::Column::SealedSuccessor).is_not_null())
        .take();
    act.run(&clear).await?;
    let remember = Query::update()
        .table(server_fact::Entity)
        .value(server_fact::Column::Value, last.to_string())
        .and_where(Expr::col(server_fact::Column::Name).eq(SEALS_CLEARED))
        .take();
    act.run(&remember).await?;
    Ok(seen)
}
