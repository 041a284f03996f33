//! Consents: what people allowed clients, and its withdrawal.

use std::collections::BTreeSet;

use keyward_entities::{StatementText, audit_event, authorization_code, client, consent, grant};
use keyward_protocol::Timestamp;
use keyward_protocol::consent::Consented;
use keyward_protocol::scope::ScopeSet;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, LockType, OnConflict, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::act::select_record;
use super::{Act, Row, Store};
use crate::fault::Fault;

/// A client that holds something of a person.
#[derive(Debug)]
pub struct ConnectedApp {
    /// The protocol's identifier.
    pub client_id: String,
    /// The metadata, JSON.
    pub metadata: String,
    /// What was allowed.
    pub scope: ScopeSet,
    /// The single claims that were allowed beside what the scope gives.
    pub claims: BTreeSet<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// What this person has allowed this client.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_consent(&self, user: Uuid, client: Uuid) -> Result<Option<Consented>, Fault> {
        static TEXT: StatementText = StatementText::new();
        let found: Option<consent::Model> = self
            .read(move |mut act| {
                Box::pin(async move {
                    let statement = act.fixed(&TEXT, vec![user.into(), client.into()], || {
                        let mut select = select_record::<consent::Model>();
                        select
                            .and_where(Expr::col(consent::Column::UserId).eq(user))
                            .and_where(Expr::col(consent::Column::Client).eq(client))
                            .take()
                    });
                    act.rows(statement).await?.first_mut().map(Row::record).transpose()
                })
            })
            .await?;
        found.map(|row| consented(&row.scope, &row.claims)).transpose()
    }

    /// The clients that a person has allowed something.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn connected_apps(&self, user: Uuid) -> Result<Vec<ConnectedApp>, Fault> {
        self.read(move |mut act| {
            Box::pin(async move {
                let consents = consent::Entity::find()
                    .filter(consent::Column::UserId.eq(user))
                    .order_by_desc(consent::Column::UpdatedAt);
                let mut apps = Vec::new();
                for row in act.all(consents).await? {
                    let client = client::Entity::find().filter(client::Column::Id.eq(row.client));
                    if let Some(client) = act.one(client).await? {
                        let Consented { scope, claims } = consented(&row.scope, &row.claims)?;
                        apps.push(ConnectedApp {
                            client_id: client.client_id,
                            metadata: client.metadata,
                            scope,
                            claims,
                            since: Timestamp::from_micros(row.created_at),
                        });
                    }
                }
                Ok(apps)
            })
        })
        .await
    }

    /// Withdraws a person's consent for a client: the record goes, and every grant ends.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn disconnect_app(
        &self,
        user: Uuid,
        client: Uuid,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                super::user::lock(&mut act, user, LockType::Update).await?;
                let delete = Query::delete()
                    .from_table(consent::Entity)
                    .and_where(Expr::col(consent::Column::UserId).eq(user))
                    .and_where(Expr::col(consent::Column::Client).eq(client))
                    .take();
                act.run(&delete).await?;
                let of_client =
                    Expr::col(grant::Column::UserId).eq(user).and(Expr::col(grant::Column::Client).eq(client));
                super::grant::end_all(&mut act, of_client, "consent_withdrawn", now).await?;
                act.insert(event).await
            })
        })
        .await
    }
}

/// A consent as it is stored.
pub(super) fn consented(scope: &str, claims: &str) -> Result<Consented, Fault> {
    Ok(Consented { scope: ScopeSet::parse(scope).map_err(Fault::broken)?, claims: serde_json::from_str(claims)? })
}

pub(super) async fn give_consent(
    act: &mut Act<'_>,
    id: Uuid,
    code: &authorization_code::Model,
    given: &Consented,
) -> Result<(), Fault> {
    let row = consent::Model {
        id,
        user_id: code.user_id,
        client: code.client,
        scope: given.scope.to_string(),
        created_at: code.issued_at,
        updated_at: code.issued_at,
        claims: serde_json::to_string(&given.claims)?,
    };
    let insert = Query::insert()
        .into_table(consent::Entity)
        .columns(<consent::Model as keyward_entities::Record>::COLUMNS.iter().map(|&column| Alias::new(column)))
        .values(keyward_entities::Record::into_values(row).into_iter().map(Into::into))
        .map_err(Fault::broken)?
        .on_conflict(OnConflict::columns([consent::Column::UserId, consent::Column::Client]).do_nothing().to_owned())
        .take();
    if act.run(&insert).await? == 1 {
        return Ok(());
    }
    // What was allowed before stays allowed: a smaller request doesn't withdraw, nor does another tab's.
    let select = consent::Entity::find()
        .filter(consent::Column::UserId.eq(code.user_id))
        .filter(consent::Column::Client.eq(code.client))
        .lock_exclusive();
    let earlier = act.one(select).await?.ok_or_else(|| Fault::broken("a consent is in the way and not there"))?;
    let both = consented(&earlier.scope, &earlier.claims)?.union(given);
    let update = Query::update()
        .table(consent::Entity)
        .value(consent::Column::Scope, both.scope.to_string())
        .value(consent::Column::Claims, serde_json::to_string(&both.claims)?)
        .value(consent::Column::UpdatedAt, code.issued_at)
        .and_where(Expr::col(consent::Column::Id).eq(earlier.id))
        .take();
    act.run(&update).await.map(drop)
}
