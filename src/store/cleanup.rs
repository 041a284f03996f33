//! Removing what has expired, in small batches that hold no lock for long: each batch of a kind is an act of its own, and
//! of several nodes one works at a time while the others pass by.
//!
//! A code, its grant and the grant's refresh tokens go together: the code is kept as long as the grant so that a replay
//! ends the grant (RFC 6749 §4.1.2), and every token that was ever used is kept as long as the grant so that using it
//! again does (RFC 9700 §4.14.2). They go when nothing of the family can be used any more: neither a refresh token nor an
//! access token that the last of them may have brought. A refresh doesn't write when that is. The row of a spent code says
//! when to look again; a family that lives then is looked at again when its newest refresh token will have ended.

use std::collections::HashMap;

use keyward_entities::{
    authorization_code, client, grant, opaque_token, refresh_token, replay_mark, server_fact, session, status_entry,
};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{
    CaseStatement, Expr, ExprTrait, IntoColumnRef, IntoIden, LockBehavior, LockType, Order, Query, SelectStatement,
};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, Statement};
use uuid::Uuid;

use super::{Act, Store};
use crate::fault::Fault;

/// How long an ended row is kept for those who ask why something ended, in seconds. It is longer than any grace time of
/// a refresh token.
const KEPT: u64 = 3600;
/// Rows of one kind that one act removes at the most, whatever the setting says.
const MOST_AT_ONCE: u64 = 1000;

/// The fact that says up to which refresh token the seals of the tokens before were removed.
const SEALS_CLEARED: &str = "seals_cleared_until";

/// Pages that SQLite gives back in one act.
const PAGES: u64 = 64;

/// A kind of rows that expire.
#[derive(Debug, Clone, Copy)]
enum Expired {
    Seals,
    Families,
    EndedGrants,
    Codes,
    Sessions(session::Column),
    Marks,
    AccessTokens,
}

impl Store {
    /// Removes at most `batch` rows of each kind; gives how many rows it worked on, and zero where nothing was left or
    /// another node is at work.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remove_expired(&self, batch: u64, now: Timestamp) -> Result<u64, Fault> {
        if let Some(codes) = &self.issued_codes {
            codes.forget_expired(now);
        }
        let kinds = [
            Expired::Seals,
            Expired::Families,
            Expired::EndedGrants,
            Expired::Codes,
            Expired::Sessions(session::Column::ExpiresAt),
            Expired::Sessions(session::Column::EndedAt),
            Expired::Marks,
            Expired::AccessTokens,
        ];
        let mut done = 0;
        for kind in kinds {
            done += self.act(move |mut act| Box::pin(async move { remove(&mut act, kind, batch, now).await })).await?;
        }
        Ok(done)
    }

    /// Gives pages that were left over back to the file system where they are a quarter of the file or more; gives how
    /// many. On PostgreSQL that is the work of its own autovacuum, and a SQLite file from before this was possible keeps
    /// what it has for later use.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn give_back_pages(&self) -> Result<u64, Fault> {
        self.act(|mut act| {
            Box::pin(async move {
                let dialect = act.backend();
                if dialect != DbBackend::Sqlite {
                    return Ok(0);
                }
                let mut pragma = async |text: &'static str| -> Result<u64, Fault> {
                    let rows = act.rows(Statement::from_string(dialect, text)).await?;
                    let number = rows.into_iter().next().map(|mut row| row.take::<i64>("pages")).transpose()?;
                    Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
                };
                // 2 is INCREMENTAL.
                if pragma("PRAGMA auto_vacuum").await? != 2 {
                    return Ok(0);
                }
                let (free, all) = (pragma("PRAGMA freelist_count").await?, pragma("PRAGMA page_count").await?);
                if free < PAGES || free < all / 4 {
                    return Ok(0);
                }
                let give = Statement::from_string(dialect, format!("PRAGMA incremental_vacuum({PAGES})"));
                act.rows(give).await?;
                Ok(PAGES)
            })
        })
        .await
    }
}

/// Takes the row that is the token of those who remove families, and waits for it: of two who remove many rows at once,
/// each could hold what the other wants. SQLite has one writer and needs no statement for it.
pub(super) async fn take_turn(act: &mut Act<'_>) -> Result<(), Fault> {
    if act.backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let fact = server_fact::Entity::find().filter(server_fact::Column::Name.eq(SEALS_CLEARED)).lock_exclusive();
    match act.one(fact).await? {
        Some(_) => Ok(()),
        None => Err(Fault::broken("there is nothing that those who remove families take turns by")),
    }
}

async fn remove(act: &mut Act<'_>, kind: Expired, batch: u64, now: Timestamp) -> Result<u64, Fault> {
    // Who doesn't get the token (see `take_turn`) leaves the work to its holder.
    let fact = server_fact::Entity::find()
        .filter(server_fact::Column::Name.eq(SEALS_CLEARED))
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let Some(fact) = act.one(fact).await? else { return Ok(0) };
    let past = now.minus_seconds(KEPT);
    // Ids are bound one by one, and PostgreSQL takes 65,535 values in a statement.
    let batch = Ord::min(batch, MOST_AT_ONCE);
    match kind {
        Expired::Seals => clear_seals(act, &fact.value, batch, past).await,
        Expired::Families => remove_families(act, batch, now).await,
        Expired::EndedGrants => {
            let ended = oldest(grant::Entity, grant::Column::Id, grant::Column::EndedAt, past, batch);
            let ids = column(act, &ended, "id").await?;
            remove_grants(act, ids, batch, now).await
        }
        Expired::Codes => remove_codes(act, batch, past).await,
        Expired::Sessions(end) => {
            // Whoever ends several of a person's sessions locks them in another order: those are left for the next time.
            let mut sessions = oldest(session::Entity, session::Column::Id, end, past, batch);
            sessions.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
            let sessions = column(act, &sessions, "id").await?;
            if sessions.is_empty() {
                return Ok(0);
            }
            // What tells a status list of their end goes with them: the entries say it from now on.
            let tied = Query::select()
                .column(grant::Column::Id)
                .from(grant::Entity)
                .and_where(
                    Expr::col(grant::Column::UserId).in_subquery(
                        Query::select()
                            .column(session::Column::UserId)
                            .from(session::Entity)
                            .and_where(Expr::col(session::Column::Id).is_in(sessions.iter().copied()))
                            .take(),
                    ),
                )
                .and_where(Expr::col(grant::Column::SessionId).is_in(sessions.iter().copied()))
                .and_where(Expr::col(grant::Column::TiedToSession).eq(true))
                .take();
            super::status_list::mark_entries_of(act, tied, now.micros()).await?;
            let delete = Query::delete()
                .from_table(session::Entity)
                .and_where(Expr::col(session::Column::Id).is_in(sessions))
                .take();
            act.run(&delete).await
        }
        Expired::AccessTokens => remove_access_tokens(act, batch, now, past).await,
        Expired::Marks => {
            let marks =
                oldest(replay_mark::Entity, replay_mark::Column::Mark, replay_mark::Column::ExpiresAt, past, batch);
            let delete = Query::delete()
                .from_table(replay_mark::Entity)
                .and_where(Expr::col(replay_mark::Column::Mark).in_subquery(marks))
                .take();
            act.run(&delete).await
        }
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

/// The ids that a selection of one column gives.
async fn column(act: &mut Act<'_>, select: &SelectStatement, name: &'static str) -> Result<Vec<Uuid>, Fault> {
    let statement = act.backend().build(select);
    act.rows(statement).await?.iter_mut().map(|row| row.take(name)).collect()
}

/// Looks at the families whose time to be looked at has come: removes those of which nothing can be used any more, and
/// notes for the others when to look again. Gives how many rows were removed or noted.
async fn remove_families(act: &mut Act<'_>, batch: u64, now: Timestamp) -> Result<u64, Fault> {
    let past = now.minus_seconds(KEPT);
    let due = Query::select()
        .column((authorization_code::Entity, authorization_code::Column::Id))
        .column((grant::Entity, grant::Column::Id))
        .column((grant::Entity, grant::Column::Client))
        .column((grant::Entity, grant::Column::ExpiresAt))
        .from(authorization_code::Entity)
        .inner_join(
            grant::Entity,
            Expr::col((grant::Entity, grant::Column::Id))
                .equals((authorization_code::Entity, authorization_code::Column::GrantId)),
        )
        .and_where(Expr::col((authorization_code::Entity, authorization_code::Column::LookAgainAt)).lt(past.micros()))
        .order_by((authorization_code::Entity, authorization_code::Column::LookAgainAt), Order::Asc)
        .limit(batch)
        .take();
    let statement = act.backend().build(&due);
    let mut due: Vec<(Uuid, Uuid, Uuid, i64)> = Vec::new();
    for mut row in act.rows(statement).await? {
        due.push((row.take("id")?, row.take("id")?, row.take("client")?, row.take("expires_at")?));
    }
    if due.is_empty() {
        return Ok(0);
    }
    let newest = Query::select()
        .column(refresh_token::Column::GrantId)
        .expr(Expr::col(refresh_token::Column::ExpiresAt).max())
        .from(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::GrantId).is_in(due.iter().map(|(_, grant, ..)| *grant)))
        .group_by_col(refresh_token::Column::GrantId)
        .take();
    let statement = act.backend().build(&newest);
    let mut last_refresh: HashMap<Uuid, i64> = HashMap::new();
    for mut row in act.rows(statement).await? {
        last_refresh.insert(row.take("grant_id")?, row.take("expires_at")?);
    }
    let lifetimes = access_token_lifetimes(act, due.iter().map(|(_, _, client, _)| *client)).await?;
    let (mut over, mut again) = (Vec::new(), Vec::new());
    for (code, grant, client, grant_end) in due {
        // Of a client that is gone no token is accepted.
        let access = lifetimes.get(&client).copied().unwrap_or_default();
        // Without a refresh token the grant ends with its access token.
        let end = last_refresh.get(&grant).map_or(grant_end, |&refresh| {
            Timestamp::from_micros(refresh).plus_seconds(access).min(Timestamp::from_micros(grant_end)).micros()
        });
        if end < past.micros() { over.push(grant) } else { again.push((code, end)) }
    }
    let mut done = 0;
    if !again.is_empty() {
        let mut ends = CaseStatement::new();
        for &(code, end) in &again {
            ends = ends.case(Expr::col(authorization_code::Column::Id).eq(code), end);
        }
        let note = Query::update()
            .table(authorization_code::Entity)
            .value(
                authorization_code::Column::LookAgainAt,
                ends.finally(Expr::col(authorization_code::Column::LookAgainAt)),
            )
            .and_where(Expr::col(authorization_code::Column::Id).is_in(again.iter().map(|(code, _)| *code)))
            .take();
        done += act.run(&note).await?;
    }
    Ok(done + remove_grants(act, over, batch, now).await?)
}

/// How long access tokens of these clients live at the most, in seconds, whenever they were given.
async fn access_token_lifetimes(
    act: &mut Act<'_>,
    clients: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, u64>, Fault> {
    let mut ids: Vec<Uuid> = clients.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut lifetimes = HashMap::new();
    for row in act.all(client::Entity::find().filter(client::Column::Id.is_in(ids))).await? {
        lifetimes.insert(row.id, super::client::longest_token_life(&row)?);
    }
    Ok(lifetimes)
}

/// Removes tokens of these grants, and the grants that have none left, in the order of locks (`docs/architecture.md`).
async fn remove_grants(act: &mut Act<'_>, grants: Vec<Uuid>, batch: u64, now: Timestamp) -> Result<u64, Fault> {
    if grants.is_empty() {
        return Ok(0);
    }
    let tokens = Query::select()
        .column(refresh_token::Column::Id)
        .from(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::GrantId).is_in(grants.iter().copied()))
        .limit(batch)
        .take();
    let tokens = Query::delete()
        .from_table(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::Id).in_subquery(tokens))
        .take();
    let tokens = act.run(&tokens).await?;
    let of_the_grant = Query::select()
        .column((refresh_token::Entity, refresh_token::Column::Id))
        .from(refresh_token::Entity)
        .and_where(
            Expr::col((refresh_token::Entity, refresh_token::Column::GrantId))
                .equals((grant::Entity, grant::Column::Id)),
        )
        .take();
    let empty = Query::select()
        .column((grant::Entity, grant::Column::Id))
        .from(grant::Entity)
        .and_where(Expr::col((grant::Entity, grant::Column::Id)).is_in(grants))
        .and_where(Expr::not_exists(of_the_grant))
        .take();
    super::status_list::mark_entries_of(act, empty.clone(), now.micros()).await?;
    // Whoever ends all grants of a person may hold some of them: those are left for the next time.
    let mut empty = empty;
    empty.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let empty = column(act, &empty, "id").await?;
    if empty.is_empty() {
        return Ok(tokens);
    }
    let grants = Query::delete().from_table(grant::Entity).and_where(Expr::col(grant::Column::Id).is_in(empty)).take();
    Ok(tokens + act.run(&grants).await?)
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

/// Removes codes that expired unused, and spent ones whose family is gone.
async fn remove_codes(act: &mut Act<'_>, batch: u64, past: Timestamp) -> Result<u64, Fault> {
    let unused = Query::select()
        .column(authorization_code::Column::Id)
        .from(authorization_code::Entity)
        // The index holds no other: spent codes, which stay for long, aren't passed by.
        .and_where(Expr::col(authorization_code::Column::LookAgainAt).is_null())
        .and_where(Expr::col(authorization_code::Column::ExpiresAt).lt(past.micros()))
        .order_by(authorization_code::Column::ExpiresAt, Order::Asc)
        .limit(batch)
        .take();
    // Before there was a column for it, a spent code said in `expires_at` when to look again; nodes of that version, which
    // may still run during an upgrade, write it so.
    let take_over = Query::update()
        .table(authorization_code::Entity)
        .value(authorization_code::Column::LookAgainAt, Expr::col(authorization_code::Column::ExpiresAt))
        .and_where(Expr::col(authorization_code::Column::Id).in_subquery(unused.clone()))
        .and_where(Expr::col(authorization_code::Column::SpentAt).is_not_null())
        .take();
    let unused = Query::delete()
        .from_table(authorization_code::Entity)
        .and_where(Expr::col(authorization_code::Column::Id).in_subquery(unused))
        .and_where(Expr::col(authorization_code::Column::SpentAt).is_null())
        .take();
    let due = oldest(
        authorization_code::Entity,
        authorization_code::Column::Id,
        authorization_code::Column::LookAgainAt,
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
    let orphans = Query::delete()
        .from_table(authorization_code::Entity)
        .and_where(Expr::col((authorization_code::Entity, authorization_code::Column::Id)).in_subquery(due))
        .and_where(Expr::not_exists(its_grant))
        .take();
    let mut done = 0;
    for statement in [act.backend().build(&take_over), act.backend().build(&unused), act.backend().build(&orphans)] {
        done += act.exec(statement).await?;
    }
    Ok(done)
}

/// Removes the sealed successors of tokens that were spent before this moment, for no retry is forgiven any more. A
/// successor is made when its predecessor is spent, and ids are in the order of time (RFC 9562 §5.7): so the tokens made
/// since the last time, found by their key, name the families in which something is to be removed.
async fn clear_seals(act: &mut Act<'_>, cleared_until: &str, batch: u64, past: Timestamp) -> Result<u64, Fault> {
    let from = Uuid::try_parse(cleared_until).map_err(Fault::broken)?;
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
