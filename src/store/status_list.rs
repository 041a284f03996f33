//! Status lists: leasing positions, and which entries stand for tokens that have ended.
//!
//! A token in a list ends as every other: with its grant, user, session or client, of which nobody who ends one of them
//! need know. What has ended lately is found by the indices over the moments of ends, and joined to the entries; so the
//! cost of a look grows with what ended and not with what was issued. Where a grant's row is removed, the entries are
//! marked first, in the same act. So are those of a client's tokens for itself, which have the client in the grant's place,
//! where the client is disabled or deleted.

use keyward_entities::{audit_event, client, grant, session, status_entry, status_list, user};
use keyward_protocol::Timestamp;
use keyward_protocol::status_list::{ENTRIES, Slot};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{Act, Store};
use crate::fault::Fault;

/// Positions that a node takes at once, for which one commit is made.
pub const BLOCK: i64 = 1024;

/// Seconds for which a node hands out from a block; then it takes another, so that an old list comes to its end.
pub const LEASE: u64 = 600;

/// How often another node's new list may come in between before it is given up.
const TRIES: usize = 8;

/// Positions of a list that belong to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The list.
    pub list: i64,
    /// The first position.
    pub from: i64,
    /// The position behind the last.
    pub to: i64,
    /// When it was taken.
    pub taken_at: Timestamp,
}

impl Store {
    /// Takes the next block of the newest list, or the first of a new one.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lease_status_block(&self, now: Timestamp) -> Result<Lease, Fault> {
        self.act_adding(move |mut act| Box::pin(async move { lease(&mut act, now).await })).await
    }

    /// The numbers of the lists.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn status_lists(&self) -> Result<Vec<i64>, Fault> {
        self.read_for_upkeep(|mut act| {
            Box::pin(async move {
                let lists = status_list::Entity::find().order_by_asc(status_list::Column::Number);
                Ok(act.all(lists).await?.into_iter().map(|list| list.number).collect())
            })
        })
        .await
    }

    /// The entries whose tokens were ended since this moment, or at any time where there is none.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn ended_status_entries(&self, since: Option<Timestamp>) -> Result<Vec<Slot>, Fault> {
        self.read_for_upkeep(move |mut act| {
            Box::pin(async move {
                let mut slots = Vec::new();
                for select in ended(since) {
                    let statement = act.backend().build(&select);
                    for mut row in act.rows(statement).await? {
                        slots.push(Slot::from_number(row.take("slot")?));
                    }
                }
                Ok(slots)
            })
        })
        .await
    }

    /// Whether the token of this entry was ended by itself, or its grant's row is gone.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn is_entry_ended(&self, slot: Slot) -> Result<bool, Fault> {
        let select = status_entry::Entity::find()
            .filter(status_entry::Column::Slot.eq(slot.number()))
            .filter(status_entry::Column::EndedAt.is_not_null());
        self.read(move |mut act| Box::pin(async move { act.exists(select).await })).await
    }

    /// Marks an access token as revoked (see `replay.rs`), and its entry where it is in a list.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn revoke_access_token(
        &self,
        mark: [u8; 32],
        expires_at: Timestamp,
        slot: Option<Slot>,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                act.notes.ending();
                if !super::replay::set(&mut act, mark, expires_at).await? {
                    return Ok(());
                }
                if let Some(slot) = slot {
                    mark_ended(&mut act, Expr::col(status_entry::Column::Slot).eq(slot.number()), event.at).await?;
                }
                act.insert(event).await
            })
        })
        .await
    }
}

async fn lease(act: &mut Act<'_>, now: Timestamp) -> Result<Lease, Fault> {
    for _ in 0..TRIES {
        let newest = status_list::Entity::find().order_by_desc(status_list::Column::Number).limit(1).lock_exclusive();
        let newest = act.one(newest).await?;
        if let Some(list) = newest.as_ref().filter(|list| list.positions + BLOCK <= ENTRIES) {
            let to = list.positions + BLOCK;
            let take = Query::update()
                .table(status_list::Entity)
                .value(status_list::Column::Positions, to)
                .value(status_list::Column::LeasedAt, now.micros())
                .and_where(Expr::col(status_list::Column::Number).eq(list.number))
                .take();
            act.run(&take).await?;
            return Ok(Lease { list: list.number, from: list.positions, to, taken_at: now });
        }
        let number = newest.map_or(0, |full| full.number + 1);
        let start = Query::insert()
            .into_table(status_list::Entity)
            .columns([status_list::Column::Number, status_list::Column::Positions, status_list::Column::LeasedAt])
            .values([number.into(), BLOCK.into(), now.micros().into()])
            .map_err(Fault::broken)?
            .on_conflict(OnConflict::column(status_list::Column::Number).do_nothing().to_owned())
            .take();
        if act.run(&start).await? == 1 {
            return Ok(Lease { list: number, from: 0, to: BLOCK, taken_at: now });
        }
        // Another node began this list: it is the newest now.
    }
    Err(Fault::broken("no block of a status list could be had"))
}

/// The entries of what ended since a moment. By each way by which a token ends, but for time: no token outlives its grant
/// or session unless something ends them.
///
/// Subselects and no joins: they say where to begin, and SQLite would rather begin with all entries.
fn ended(since: Option<Timestamp>) -> Vec<SelectStatement> {
    let from = since.map_or(i64::MIN, Timestamp::micros);
    let of_grants = |grants: SelectStatement| {
        let entry = Expr::col(status_entry::Column::GrantId).in_subquery(grants);
        Query::select().column(status_entry::Column::Slot).from(status_entry::Entity).and_where(entry).take()
    };
    let grants = || Query::select().column(grant::Column::Id).from(grant::Entity).to_owned();
    let sessions = |column: session::Column| {
        let ended = Expr::col(session::Column::EndedAt).gte(from);
        Query::select().column(column).from(session::Entity).and_where(ended).take()
    };
    let disabled_users = Query::select()
        .column(user::Column::Id)
        .from(user::Entity)
        .and_where(Expr::col(user::Column::DisabledAt).gte(from))
        .take();
    let disabled_clients = Query::select()
        .column(client::Column::Id)
        .from(client::Entity)
        .and_where(Expr::col(client::Column::DisabledAt).gte(from))
        .take();
    let marked = Query::select()
        .column(status_entry::Column::Slot)
        .from(status_entry::Entity)
        .and_where(Expr::col(status_entry::Column::EndedAt).gte(from))
        .take();
    vec![
        marked,
        of_grants(grants().and_where(Expr::col(grant::Column::EndedAt).gte(from)).take()),
        of_grants(
            grants()
                // By the user first, for that column has an index.
                .and_where(Expr::col(grant::Column::UserId).in_subquery(sessions(session::Column::UserId)))
                .and_where(Expr::col(grant::Column::SessionId).in_subquery(sessions(session::Column::Id)))
                .and_where(Expr::col(grant::Column::TiedToSession).eq(true))
                .take(),
        ),
        of_grants(grants().and_where(Expr::col(grant::Column::UserId).in_subquery(disabled_users)).take()),
        of_grants(grants().and_where(Expr::col(grant::Column::Client).in_subquery(disabled_clients)).take()),
    ]
}

/// Marks the entries of these grants as ended, before their rows are removed. `grants` selects ids.
pub(super) async fn mark_entries_of(act: &mut Act<'_>, grants: SelectStatement, now: i64) -> Result<(), Fault> {
    mark_ended(act, Expr::col(status_entry::Column::GrantId).in_subquery(grants), now).await
}

/// Marks the entries of a client's tokens for itself as ended.
pub(super) async fn mark_entries_of_client(act: &mut Act<'_>, client: Uuid, now: i64) -> Result<(), Fault> {
    mark_ended(act, Expr::col(status_entry::Column::GrantId).eq(client), now).await
}

async fn mark_ended(act: &mut Act<'_>, which: Expr, now: i64) -> Result<(), Fault> {
    act.notes.ending();
    let update = Query::update()
        .table(status_entry::Entity)
        .value(status_entry::Column::EndedAt, now)
        .and_where(which)
        .and_where(Expr::col(status_entry::Column::EndedAt).is_null())
        .take();
    act.run(&update).await.map(drop)
}

/// Removes lists that nobody hands out from any more and that have no entry left. The newest stays, so that no number
/// comes twice.
pub(super) async fn remove_empty(act: &mut Act<'_>, past: Timestamp, batch: u64) -> Result<u64, Fault> {
    let number = || Expr::col((status_list::Entity, status_list::Column::Number));
    let slot = || Expr::col((status_entry::Entity, status_entry::Column::Slot));
    let entries = Query::select()
        .column((status_entry::Entity, status_entry::Column::Slot))
        .from(status_entry::Entity)
        .and_where(slot().gte(number().mul(ENTRIES)))
        .and_where(slot().lt(number().add(1_i64).mul(ENTRIES)))
        .take();
    let newest = Query::select().expr(Expr::col(status_list::Column::Number).max()).from(status_list::Entity).take();
    let empty = Query::select()
        .column((status_list::Entity, status_list::Column::Number))
        .from(status_list::Entity)
        .and_where(
            Expr::col((status_list::Entity, status_list::Column::LeasedAt)).lt(past.minus_seconds(LEASE).micros()),
        )
        .and_where(Expr::not_exists(entries))
        .and_where(number().not_in_subquery(newest))
        .order_by((status_list::Entity, status_list::Column::Number), Order::Asc)
        .limit(batch)
        .take();
    let delete = Query::delete()
        .from_table(status_list::Entity)
        .and_where(Expr::col(status_list::Column::Number).in_subquery(empty))
        .take();
    act.run(&delete).await
}
