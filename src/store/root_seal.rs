//! The sealed copies of the root secret, one for each master key that may open it.
//!
//! No act changes or overwrites a copy: copies are added, and removed when another one is known to work.

use keyward_entities::{audit_event, root_seal, server_fact, signing_key};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::{Act, Store, directory};
use crate::fault::Fault;

/// The fact that holds the root secret's fingerprint. Its name is from before there was one: in a database of then, the
/// master key itself was the root secret.
const ROOT_FINGERPRINT: &str = "master_key_fingerprint";

/// What a database holds of its root secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootState {
    /// The sealed copies, oldest first.
    pub seals: Vec<root_seal::Model>,
    /// The root secret's fingerprint; `None` in a database that nobody has used.
    pub fingerprint: Option<String>,
    /// Whether there are signing keys, which nobody could open without the root secret.
    pub has_keys: bool,
}

impl RootState {
    /// Whether nothing is sealed yet, so that a new root secret may be made.
    pub fn is_fresh(&self) -> bool {
        self.seals.is_empty() && self.fingerprint.is_none() && !self.has_keys
    }
}

/// How the finishing of a change of the master key ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// The copies under these master keys, by their fingerprints, are gone.
    Removed(Vec<String>),
    /// There is no copy under the key that was to stay; nothing was changed.
    NotSealed,
}

impl Store {
    /// What the database holds of its root secret.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn root_state(&self) -> Result<RootState, Fault> {
        self.read_for_upkeep(|mut act| Box::pin(async move { state(&mut act).await })).await
    }

    /// Stores the first copy of a root secret with its fingerprint, unless the database has changed since it was `seen`.
    /// Gives what is there afterwards.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn keep_first_root_seal(
        &self,
        seen: RootState,
        seal: root_seal::Model,
        fingerprint: String,
    ) -> Result<RootState, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                // Two nodes that start together take turns.
                directory::lock(&mut act).await?;
                let now = state(&mut act).await?;
                if now != seen {
                    return Ok(now);
                }
                act.insert(seal).await?;
                let insert = Query::insert()
                    .into_table(server_fact::Entity)
                    .columns([server_fact::Column::Name, server_fact::Column::Value])
                    .values([ROOT_FINGERPRINT.into(), fingerprint.into()])
                    .map_err(Fault::broken)?
                    .on_conflict(OnConflict::column(server_fact::Column::Name).do_nothing().to_owned())
                    .take();
                act.run(&insert).await?;
                state(&mut act).await
            })
        })
        .await
    }

    /// Stores a copy under one more master key; `false` where there is one already.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_root_seal(&self, seal: root_seal::Model, event: audit_event::Model) -> Result<bool, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let known = root_seal::Entity::find().filter(root_seal::Column::Fingerprint.eq(&seal.fingerprint));
                if act.exists(known).await? {
                    return Ok(false);
                }
                act.insert(seal).await?;
                act.insert(event).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Removes every copy but the one under this master key.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn keep_one_root_seal(&self, fingerprint: String, event: audit_event::Model) -> Result<Finished, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let (kept, others): (Vec<_>, Vec<_>) =
                    state(&mut act).await?.seals.into_iter().partition(|seal| seal.fingerprint == fingerprint);
                if kept.is_empty() {
                    return Ok(Finished::NotSealed);
                }
                if !others.is_empty() {
                    let delete = Query::delete()
                        .from_table(root_seal::Entity)
                        .and_where(Expr::col(root_seal::Column::Fingerprint).ne(fingerprint))
                        .take();
                    act.run(&delete).await?;
                    act.insert(event).await?;
                }
                Ok(Finished::Removed(others.into_iter().map(|seal| seal.fingerprint).collect()))
            })
        })
        .await
    }
}

/// Outside a transaction these are several looks, between which another node may start on an empty database. Seals and
/// fingerprint come before keys, and together: looked at in the other order, what is there of one is there of the others.
async fn state(act: &mut Act<'_>) -> Result<RootState, Fault> {
    let has_keys = act.exists(signing_key::Entity::find()).await?;
    let before = fingerprint(act).await?;
    let seals = root_seal::Entity::find()
        .order_by_asc(root_seal::Column::CreatedAt)
        .order_by_asc(root_seal::Column::Fingerprint);
    let seals = act.all(seals).await?;
    let fingerprint = if before.is_none() && !seals.is_empty() { fingerprint(act).await? } else { before };
    Ok(RootState { seals, fingerprint, has_keys })
}

async fn fingerprint(act: &mut Act<'_>) -> Result<Option<String>, Fault> {
    let fact = server_fact::Entity::find().filter(server_fact::Column::Name.eq(ROOT_FINGERPRINT));
    Ok(act.one(fact).await?.map(|fact| fact.value))
}
