//! Removing what was granted, with the one who granted it or the client that got it.

use keyward_entities::{authorization_code, consent, grant, refresh_token};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use uuid::Uuid;

use super::{Act, access_token};
use crate::fault::Fault;

/// Removes what a client was granted. `now` is in microseconds. The caller has locked the client, so that nobody adds to
/// it, and taken its turn ([`super::cleanup::take_turn`]).
pub(super) async fn remove_of_client(act: &mut Act<'_>, client: Uuid, now: i64) -> Result<(), Fault> {
    let of = [
        Expr::col(consent::Column::Client).eq(client),
        Expr::col(authorization_code::Column::Client).eq(client),
        Expr::col(grant::Column::Client).eq(client),
    ];
    remove(act, of, Some(client), now).await
}

/// Removes what a user granted. `now` is in microseconds. As with [`remove_of_client`], the user is locked.
pub(super) async fn remove_of_user(act: &mut Act<'_>, user: Uuid, now: i64) -> Result<(), Fault> {
    let of = [
        Expr::col(consent::Column::UserId).eq(user),
        Expr::col(authorization_code::Column::UserId).eq(user),
        Expr::col(grant::Column::UserId).eq(user),
    ];
    remove(act, of, None, now).await
}

/// Removes consents, codes and grants with all that hangs on them, and ends the tokens that `client` has for itself, in the
/// order of locks (`docs/architecture.md`).
async fn remove(
    act: &mut Act<'_>,
    [consents, codes, which]: [Expr; 3],
    client: Option<Uuid>,
    now: i64,
) -> Result<(), Fault> {
    act.notes.ending();
    act.run(&Query::delete().from_table(consent::Entity).and_where(consents).take()).await?;
    // Who was redeeming one of them has by now made the grant that is removed here.
    act.run(&Query::delete().from_table(authorization_code::Entity).and_where(codes).take()).await?;
    let ids = Query::select().column(grant::Column::Id).from(grant::Entity).and_where(which.clone()).take();
    let tokens = Query::delete()
        .from_table(refresh_token::Entity)
        .and_where(Expr::col(refresh_token::Column::GrantId).in_subquery(ids.clone()))
        .take();
    // A refresh that was under way has by then left a successor that the statement couldn't see. One that finds none had
    // no refresh beside it: who makes a successor holds the lock of a token that is seen.
    while act.run(&tokens).await? > 0 {}
    // After the tokens: who was using one of them has by now written the entry that is marked here.
    super::status_list::mark_entries_of(act, ids, now).await?;
    if let Some(client) = client {
        access_token::end_own(act, client, now).await?;
    }
    super::grant::lock_in_order(act, which.clone()).await?;
    let grants = Query::delete().from_table(grant::Entity).and_where(which).take();
    act.run(&grants).await.map(drop)
}
