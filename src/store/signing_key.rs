//! Signing keys at rest: their private parts are sealed before they come here.

use keyward_entities::{audit_event, signing_key};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{EntityTrait, QueryOrder};

use super::{Store, directory};
use crate::fault::Fault;

/// How a rotation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// There was no next key: the new one is it.
    Published,
    /// The next key signs from now on, and the new one is the next.
    Promoted {
        /// The key that signs.
        kid: String,
    },
    /// The next key is too young to sign; nothing changed.
    TooSoon {
        /// The next key.
        kid: String,
        /// When it was published.
        published_at: Timestamp,
    },
}

impl Store {
    /// Every key, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn signing_keys(&self) -> Result<Vec<signing_key::Model>, Fault> {
        let select = signing_key::Entity::find().order_by_asc(signing_key::Column::Id);
        self.read_for_upkeep(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// Stores keys for algorithms that have no active one. What another node stored first stays: the caller reads anew.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_missing_signing_keys(
        &self,
        keys: Vec<(signing_key::Model, audit_event::Model)>,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                // Raising the version first locks its row: two nodes that start together take turns.
                directory::changed(&mut act).await?;
                let known = act.all(signing_key::Entity::find()).await?;
                for (key, event) in keys {
                    if !known.iter().any(|other| other.algorithm == key.algorithm && other.state == "active") {
                        act.insert(key).await?;
                        act.insert(event).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// Rotates, as far as it is time: where no key of the algorithm is next, the new one is published as that. Where one
    /// is, and was published before `published_by`, it becomes active, the active one retires and stays published, and
    /// the new one is the next. Otherwise nothing changes, for a client may still hold a JWK Set without the next key.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn rotate_signing_key(
        &self,
        fresh: signing_key::Model,
        published_by: Timestamp,
        now: Timestamp,
        generated: audit_event::Model,
        rotated: audit_event::Model,
    ) -> Result<Rotation, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::changed(&mut act).await?;
                let known = act.all(signing_key::Entity::find()).await?;
                let of_algorithm =
                    |state: &str| known.iter().find(|key| key.algorithm == fresh.algorithm && key.state == state);
                let outcome = match of_algorithm("next") {
                    None => Rotation::Published,
                    Some(next) if next.created_at > published_by.micros() => {
                        return Ok(Rotation::TooSoon {
                            kid: next.kid.clone(),
                            published_at: Timestamp::from_micros(next.created_at),
                        });
                    }
                    Some(next) => {
                        if let Some(active) = of_algorithm("active") {
                            let retire = Query::update()
                                .table(signing_key::Entity)
                                .value(signing_key::Column::State, "retired")
                                .value(signing_key::Column::RetiredAt, now.micros())
                                .and_where(Expr::col(signing_key::Column::Id).eq(active.id))
                                .take();
                            act.run(&retire).await?;
                        }
                        let activate = Query::update()
                            .table(signing_key::Entity)
                            .value(signing_key::Column::State, "active")
                            .value(signing_key::Column::ActivatedAt, now.micros())
                            .and_where(Expr::col(signing_key::Column::Id).eq(next.id))
                            .take();
                        act.run(&activate).await?;
                        act.insert(rotated).await?;
                        Rotation::Promoted { kid: next.kid.clone() }
                    }
                };
                act.insert(fresh).await?;
                act.insert(generated).await?;
                Ok(outcome)
            })
        })
        .await
    }
}
