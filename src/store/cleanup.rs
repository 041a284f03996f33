//! Removing what has expired, in small batches that hold no lock for long.

use keyward_entities::{authorization_code, grant, refresh_token, replay_mark, session};
use keyward_protocol::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, Query};

use super::Store;
use crate::fault::Fault;

/// How long an ended row is kept for those who ask why something ended, in seconds.
const KEPT: u64 = 3600;

impl Store {
    /// Removes at most `batch` rows of each table; gives how many went.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remove_expired(&self, batch: u64, now: Timestamp) -> Result<u64, Fault> {
        let past = now.minus_seconds(KEPT).micros();
        self.act(move |mut act| {
            Box::pin(async move {
                // A grant goes when it has ended or expired; before it go its refresh tokens, and after it the code that
                // made it, which stays as long so that a replay can end the grant.
                let gone_grants = Query::select()
                    .column(grant::Column::Id)
                    .from(grant::Entity)
                    .and_where(
                        Expr::col(grant::Column::ExpiresAt).lt(past).or(Expr::col(grant::Column::EndedAt).lt(past)),
                    )
                    .limit(batch)
                    .take();
                let standing_grants = Query::select()
                    .column((grant::Entity, grant::Column::Id))
                    .from(grant::Entity)
                    .and_where(
                        Expr::col((grant::Entity, grant::Column::Id))
                            .equals((authorization_code::Entity, authorization_code::Column::GrantId)),
                    )
                    .take();
                let mut removed = 0;
                let tokens = Query::select()
                    .column(refresh_token::Column::Id)
                    .from(refresh_token::Entity)
                    .and_where(
                        Expr::col(refresh_token::Column::ExpiresAt)
                            .lt(past)
                            .or(Expr::col(refresh_token::Column::GrantId).in_subquery(gone_grants.clone())),
                    )
                    .limit(batch)
                    .take();
                removed += act
                    .run(
                        &Query::delete()
                            .from_table(refresh_token::Entity)
                            .and_where(Expr::col(refresh_token::Column::Id).in_subquery(tokens))
                            .take(),
                    )
                    .await?;
                removed += act
                    .run(
                        &Query::delete()
                            .from_table(grant::Entity)
                            .and_where(Expr::col(grant::Column::Id).in_subquery(gone_grants))
                            .take(),
                    )
                    .await?;
                let codes = Query::select()
                    .column(authorization_code::Column::Id)
                    .from(authorization_code::Entity)
                    .and_where(Expr::col(authorization_code::Column::ExpiresAt).lt(past))
                    .and_where(
                        Expr::col(authorization_code::Column::SpentAt)
                            .is_null()
                            .or(Expr::not_exists(standing_grants)),
                    )
                    .limit(batch)
                    .take();
                removed += act
                    .run(
                        &Query::delete()
                            .from_table(authorization_code::Entity)
                            .and_where(Expr::col(authorization_code::Column::Id).in_subquery(codes))
                            .take(),
                    )
                    .await?;
                let sessions = Query::select()
                    .column(session::Column::Id)
                    .from(session::Entity)
                    .and_where(
                        Expr::col(session::Column::ExpiresAt).lt(past).or(Expr::col(session::Column::EndedAt).lt(past)),
                    )
                    .limit(batch)
                    .take();
                removed += act
                    .run(
                        &Query::delete()
                            .from_table(session::Entity)
                            .and_where(Expr::col(session::Column::Id).in_subquery(sessions))
                            .take(),
                    )
                    .await?;
                let marks = Query::select()
                    .column(replay_mark::Column::Mark)
                    .from(replay_mark::Entity)
                    .and_where(Expr::col(replay_mark::Column::ExpiresAt).lt(now.micros()))
                    .limit(batch)
                    .take();
                removed += act
                    .run(
                        &Query::delete()
                            .from_table(replay_mark::Entity)
                            .and_where(Expr::col(replay_mark::Column::Mark).in_subquery(marks))
                            .take(),
                    )
                    .await?;
                Ok(removed)
            })
        })
        .await
    }
}
