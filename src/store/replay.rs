//! Marks with a lifetime, in the database: access tokens that were revoked one by one (RFC 7009; `status_list.rs` sets
//! those), and what may be used once, such as the `jti` of an assertion (RFC 7523 §3 (7)), unless Redis holds that (see
//! `ephemeral.rs`).

use keyward_entities::{StatementText, replay_mark};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::act::select_record;
use super::{Act, Store};
use crate::fault::Fault;

impl Store {
    /// Whether the mark is set.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn is_marked(&self, mark: [u8; 32]) -> Result<bool, Fault> {
        static TEXT: StatementText = StatementText::new();
        self.read(move |mut act| {
            Box::pin(async move {
                let mark = mark.to_vec();
                let statement = act.fixed(&TEXT, vec![mark.clone().into()], || {
                    let mut select = select_record::<replay_mark::Model>();
                    select.and_where(Expr::col(replay_mark::Column::Mark).eq(mark));
                    select
                });
                Ok(!act.rows(statement).await?.is_empty())
            })
        })
        .await
    }
}

/// Sets a mark; `false` where it was set before.
pub(super) async fn set(act: &mut Act<'_>, mark: [u8; 32], expires_at: Timestamp) -> Result<bool, Fault> {
    let insert = Query::insert()
        .into_table(replay_mark::Entity)
        .columns([replay_mark::Column::Mark, replay_mark::Column::ExpiresAt])
        .values([mark.to_vec().into(), expires_at.micros().into()])
        .map_err(Fault::broken)?
        .on_conflict(OnConflict::column(replay_mark::Column::Mark).do_nothing().to_owned())
        .take();
    Ok(act.run(&insert).await? == 1)
}
