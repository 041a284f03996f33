//! Rows of the audit trail.

use keyward_entities::audit_event::{self, Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Store;
use crate::fault::Fault;

impl Store {
    /// Writes events that have no transaction of their own.
    ///
    /// # Errors
    /// Where the database fails: then none is written.
    pub async fn write_audit(&self, events: Vec<audit_event::Model>) -> Result<(), Fault> {
        self.act_adding(move |mut act| {
            Box::pin(async move {
                for event in events {
                    act.insert(event).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The newest events of a kind.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn audit_events(&self, kind: &str, most: u64) -> Result<Vec<audit_event::Model>, Fault> {
        let select = Entity::find().filter(Column::Kind.eq(kind)).order_by_desc(Column::At).limit(most);
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }
}
