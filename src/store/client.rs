//! Clients and their secrets.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use keyward_entities::{StatementText, audit_event, authorization_code, client, client_audience, client_secret, grant};
use keyward_keys::ClientKeys;
use keyward_protocol::Timestamp;
use keyward_protocol::client_metadata::ClientMetadata;
use sea_orm::sea_query::{Expr, ExprTrait, LockType, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value};
use uuid::Uuid;

use super::act::select_record;
use super::joint_looks::{Found, MOST};
use super::postgres::Database;
use super::{Act, Backend, Store, directory};
use crate::fault::Fault;

/// Hashes of secrets, each with the moment at which it ends.
pub type Secrets = Vec<(Vec<u8>, Option<Timestamp>)>;

/// A client's row and its secrets.
pub(super) type StoredClient = (client::Model, Secrets);

/// A client as the endpoints use it.
#[derive(Debug)]
pub struct RegisteredClient {
    /// The row.
    pub id: Uuid,
    /// The protocol's identifier.
    pub client_id: String,
    /// The metadata.
    pub metadata: ClientMetadata,
    /// Its secrets.
    pub secrets: Secrets,
    /// Its public keys, parsed.
    pub keys: Option<ClientKeys>,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl RegisteredClient {
    fn of((row, secrets): StoredClient) -> Result<Self, Fault> {
        let metadata = ClientMetadata::from_stored(&row.metadata)?;
        let keys = metadata.jwks.as_ref().map(ClientKeys::parse).transpose().map_err(Fault::broken)?;
        Ok(Self {
            id: row.id,
            client_id: row.client_id,
            metadata,
            secrets,
            keys,
            disabled_at: row.disabled_at.map(Timestamp::from_micros),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// Why a client could not be added or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientConflict {
    /// The identifier is taken.
    ClientId,
    /// Another client stands for this audience.
    Audience(String),
}

impl Store {
    /// The client of this identifier.
    ///
    /// # Errors
    /// Where the database fails or the row is damaged.
    pub async fn find_client(&self, client_id: &str) -> Result<Option<RegisteredClient>, Fault> {
        let key = [Value::from(client_id)];
        first(self.read(move |act| registered(act, &BY_CLIENT_ID, client::Column::ClientId, key)).await?)
    }

    /// The client of this identifier as it was when the directory's version was last seen to change, or since; for who keeps
    /// it under that version.
    ///
    /// # Errors
    /// As [`Store::find_client`].
    pub async fn find_kept_client(&self, client_id: &str) -> Result<Option<RegisteredClient>, Fault> {
        match &self.backend {
            Backend::Sqlite(database) => {
                self.begin_read()?;
                let key = [Value::from(client_id)];
                let mut kept =
                    database.read_kept(|act| registered(act, &BY_CLIENT_ID, client::Column::ClientId, key))?;
                // It may have been added or enabled since, and whoever did that may use it at once.
                kept.retain(|(row, _)| row.disabled_at.is_none());
                match first(kept)? {
                    None => self.find_client(client_id).await,
                    standing => Ok(standing),
                }
            }
            Backend::Postgres(database) => {
                let inside = self.begin_read()?;
                let asked = Arc::clone(database);
                let found = database
                    .client_looks
                    .find(client_id, inside, move |ids| Box::pin(together(Arc::clone(&asked), ids)));
                found.await?.map(RegisteredClient::of).transpose()
            }
        }
    }

    /// The client of this row.
    ///
    /// # Errors
    /// Where the database fails or the row is damaged.
    pub async fn find_client_by_id(&self, id: Uuid) -> Result<Option<RegisteredClient>, Fault> {
        static TEXT: StatementText = StatementText::new();
        first(self.read(move |act| registered(act, &TEXT, client::Column::Id, [id.into()])).await?)
    }

    /// Clients in the order of their identifiers, after this one.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_clients(&self, after: &str, most: u64) -> Result<Vec<client::Model>, Fault> {
        let select = client::Entity::find()
            .filter(client::Column::ClientId.gt(after))
            .order_by_asc(client::Column::ClientId)
            .limit(most);
        self.read(move |mut act| Box::pin(async move { act.all(select).await })).await
    }

    /// Adds a client.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn add_client(
        &self,
        row: client::Model,
        secret: Option<client_secret::Model>,
        audiences: Vec<client_audience::Model>,
        event: audit_event::Model,
    ) -> Result<Result<(), ClientConflict>, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let taken = client::Entity::find().filter(client::Column::ClientId.eq(&row.client_id));
                if act.exists(taken).await? {
                    return Ok(Err(ClientConflict::ClientId));
                }
                let id = row.id;
                remember_lifetime(&mut act, &row.metadata).await?;
                act.insert(row).await?;
                if let Some(conflict) = set_audiences(&mut act, id, audiences).await? {
                    // Nothing may stay: the act is undone by hand, for a conflict is an answer and not a fault.
                    let delete = Query::delete()
                        .from_table(client::Entity)
                        .and_where(Expr::col(client::Column::Id).eq(id))
                        .take();
                    act.run(&delete).await?;
                    return Ok(Err(conflict));
                }
                if let Some(secret) = secret {
                    act.insert(secret).await?;
                }
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Changes a client's metadata as `change` says, unless it refuses them; it also gives the rows of the audiences.
    /// `None` where there is no such client.
    ///
    /// # Errors
    /// Where the database fails or the row is damaged.
    pub async fn change_client<E, F>(
        &self,
        client_id: &str,
        now: Timestamp,
        event: audit_event::Model,
        change: F,
    ) -> Result<Option<Result<ClientMetadata, E>>, Fault>
    where
        E: From<ClientConflict> + Send + 'static,
        F: FnOnce(Uuid, ClientMetadata) -> Result<(ClientMetadata, Vec<client_audience::Model>), E> + Send + 'static,
    {
        let select = client::Entity::find().filter(client::Column::ClientId.eq(client_id)).lock_exclusive();
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let Some(row) = act.one(select).await? else { return Ok(None) };
                let (changed, audiences) = match change(row.id, ClientMetadata::from_stored(&row.metadata)?) {
                    Ok(changed) => changed,
                    Err(refused) => return Ok(Some(Err(refused))),
                };
                if let Some(conflict) = set_audiences(&mut act, row.id, audiences).await? {
                    return Ok(Some(Err(conflict.into())));
                }
                let metadata = changed.to_stored()?;
                write_metadata(&mut act, row.id, metadata, now, event).await?;
                Ok(Some(Ok(changed)))
            })
        })
        .await
    }

    /// Replaces a client's metadata.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn edit_client(
        &self,
        id: Uuid,
        metadata: String,
        audiences: Vec<client_audience::Model>,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<Result<(), ClientConflict>, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                if let Some(conflict) = set_audiences(&mut act, id, audiences).await? {
                    return Ok(Err(conflict));
                }
                write_metadata(&mut act, id, metadata, now, event).await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Adds a secret, and lets the others end at `others_end` where that is sooner. Those that have ended go.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn rotate_client_secret(
        &self,
        secret: client_secret::Model,
        others_end: Timestamp,
        event: audit_event::Model,
    ) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let update = Query::update()
                    .table(client_secret::Entity)
                    .value(client_secret::Column::ExpiresAt, others_end.micros())
                    .and_where(Expr::col(client_secret::Column::Client).eq(secret.client))
                    .and_where(
                        Expr::col(client_secret::Column::ExpiresAt)
                            .is_null()
                            .or(Expr::col(client_secret::Column::ExpiresAt).gt(others_end.micros())),
                    )
                    .take();
                act.run(&update).await?;
                let delete = Query::delete()
                    .from_table(client_secret::Entity)
                    .and_where(Expr::col(client_secret::Column::Client).eq(secret.client))
                    .and_where(Expr::col(client_secret::Column::ExpiresAt).lte(secret.created_at))
                    .take();
                act.run(&delete).await?;
                act.insert(secret).await?;
                act.insert(event).await?;
                directory::changed(&mut act).await
            })
        })
        .await
    }

    /// Disables a client, whose grants end; or enables it again. `Some(false)` where it was so before, which changes
    /// nothing: the first moment of being disabled stays on record. `None` where there is no such client.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn set_client_disabled(
        &self,
        client_id: &str,
        disabled: bool,
        now: Timestamp,
        event: audit_event::Model,
    ) -> Result<Option<bool>, Fault> {
        // Locked as for a deletion: whoever is being given a code is waited for.
        let select = client::Entity::find().filter(client::Column::ClientId.eq(client_id)).lock_exclusive();
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                super::cleanup::take_turn(&mut act).await?;
                let Some(row) = act.one(select).await? else { return Ok(None) };
                if row.disabled_at.is_some() == disabled {
                    return Ok(Some(false));
                }
                let update = Query::update()
                    .table(client::Entity)
                    .value(client::Column::DisabledAt, disabled.then(|| now.micros()))
                    .and_where(Expr::col(client::Column::Id).eq(row.id))
                    .take();
                act.run(&update).await?;
                if disabled {
                    // Codes that weren't used end too. Who is redeeming one has by then made the grant that ends below.
                    // Those that have just expired by this clock may be good by another's, and one that is being redeemed
                    // is to be found changed: none lives for an hour.
                    let past = now.minus_seconds(3600).micros();
                    let unused = Query::update()
                        .table(authorization_code::Entity)
                        .value(authorization_code::Column::ExpiresAt, past)
                        .and_where(Expr::col(authorization_code::Column::LookAgainAt).is_null())
                        .and_where(Expr::col(authorization_code::Column::ExpiresAt).gt(past))
                        .and_where(Expr::col(authorization_code::Column::Client).eq(row.id))
                        .and_where(Expr::col(authorization_code::Column::SpentAt).is_null())
                        .take();
                    act.run(&unused).await?;
                    // What was given before doesn't come back when the client does, as with a person.
                    super::access_token::end_own(&mut act, row.id, now.micros()).await?;
                    super::grant::end_all(
                        &mut act,
                        Expr::col(grant::Column::Client).eq(row.id),
                        "client_disabled",
                        now,
                    )
                    .await?;
                }
                act.insert(event).await?;
                directory::changed(&mut act).await?;
                Ok(Some(true))
            })
        })
        .await
    }

    /// Deletes a client with all that hangs on it; its grants end, for no row of theirs is accepted without it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_client(&self, id: Uuid, event: audit_event::Model) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                super::cleanup::take_turn(&mut act).await?;
                // Nobody is given a code meanwhile, and whoever is being given one is waited for.
                act.one(client::Entity::find().filter(client::Column::Id.eq(id)).lock_exclusive()).await?;
                super::removal::remove_of_client(&mut act, id, event.at).await?;
                let delete =
                    Query::delete().from_table(client::Entity).and_where(Expr::col(client::Column::Id).eq(id)).take();
                act.run(&delete).await?;
                act.insert(event).await?;
                directory::changed(&mut act).await
            })
        })
        .await
    }
}

/// The statement that finds a client by its identifier.
static BY_CLIENT_ID: StatementText = StatementText::new();

/// The clients whose column has one of these values, with their secrets: in one statement, for where clients are many most
/// requests bring one that isn't in memory.
fn registered<'t, const N: usize>(
    mut act: Act<'t>,
    text: &'static StatementText,
    column: client::Column,
    values: [Value; N],
) -> BoxFuture<'t, Result<Vec<StoredClient>, Fault>> {
    Box::pin(async move {
        let statement = act.fixed(text, values.to_vec(), || select_registered(column, values));
        let mut found: Vec<StoredClient> = Vec::with_capacity(N);
        for mut row in act.rows(statement).await? {
            let record: client::Model = row.record()?;
            let hash: Option<Vec<u8>> = row.take("secret_hash")?;
            let ends: Option<i64> = row.take("expires_at")?;
            let secret = hash.map(|hash| (hash, ends.map(Timestamp::from_micros)));
            match found.iter_mut().find(|(known, _)| known.id == record.id) {
                Some((_, secrets)) => secrets.extend(secret),
                None => found.push((record, Vec::from_iter(secret))),
            }
        }
        Ok(found)
    })
}

/// The clients of these identifiers, by identifier. A list of so many that PostgreSQL plans it once: the identifiers fill
/// the shortest that holds them, the last one again and again.
async fn together(database: Arc<Database>, client_ids: Vec<String>) -> Result<Found<StoredClient>, Fault> {
    static SOME: StatementText = StatementText::new();
    static MANY: StatementText = StatementText::new();
    let column = client::Column::ClientId;
    if client_ids.len() > MOST {
        return Err(Fault::broken("more clients are looked for at once than a statement holds"));
    }
    let found = database
        .read_in_time(|act| match client_ids.len() {
            0 | 1 => registered(act, &BY_CLIENT_ID, column, filled::<1>(&client_ids)),
            2..=8 => registered(act, &SOME, column, filled::<8>(&client_ids)),
            _ => registered(act, &MANY, column, filled::<MOST>(&client_ids)),
        })
        .await?;
    Ok(found.into_iter().map(|client| (client.0.client_id.clone(), client)).collect())
}

fn filled<const N: usize>(client_ids: &[String]) -> [Value; N] {
    let last = client_ids.last();
    std::array::from_fn(|place| client_ids.get(place).or(last).cloned().into())
}

/// Of rows of which there is one at the most.
fn first(found: Vec<StoredClient>) -> Result<Option<RegisteredClient>, Fault> {
    found.into_iter().next().map(RegisteredClient::of).transpose()
}

/// A client that isn't disabled, as it is until the act is over: whoever deletes or disables it waits, and finds what the
/// act wrote. On PostgreSQL the lock is the one that a foreign key takes; it hinders nobody else.
pub(super) fn standing(id: Uuid) -> SelectStatement {
    Query::select()
        .column(client::Column::Id)
        .from(client::Entity)
        .and_where(Expr::col(client::Column::Id).eq(id))
        .and_where(Expr::col(client::Column::DisabledAt).is_null())
        .lock(LockType::KeyShare)
        .take()
}

/// The longest that `tokens.access_token_lifetime` can be set to, in seconds.
const LONGEST_BY_SETTING: u64 = 86_400;

/// The longest that an access token of this client may live that was ever given, in seconds: a shorter life that the
/// metadata came to say doesn't shorten that of earlier tokens.
pub(super) fn longest_token_life(row: &client::Model) -> Result<u64, Fault> {
    let metadata = ClientMetadata::from_stored(&row.metadata)?;
    let now = metadata.access_token_lifetime.unwrap_or(LONGEST_BY_SETTING);
    let earlier = row.longest_token_life.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(earlier.map_or(now, |earlier| Ord::max(earlier, now)))
}

/// A client's tokens may live longer than others: a key that signed them stays published for as long.
async fn remember_lifetime(act: &mut Act<'_>, metadata: &str) -> Result<(), Fault> {
    let metadata = ClientMetadata::from_stored(metadata)?;
    match metadata.access_token_lifetime {
        Some(lifetime) => directory::raise_longest_token_life(act, lifetime).await,
        None => Ok(()),
    }
}

async fn write_metadata(
    act: &mut Act<'_>,
    id: Uuid,
    metadata: String,
    now: Timestamp,
    event: audit_event::Model,
) -> Result<(), Fault> {
    remember_lifetime(act, &metadata).await?;
    let earlier = act.one(client::Entity::find().filter(client::Column::Id.eq(id))).await?;
    let longest = earlier.as_ref().map(longest_token_life).transpose()?;
    let update = Query::update()
        .table(client::Entity)
        .value(client::Column::LongestTokenLife, longest.and_then(|seconds| i64::try_from(seconds).ok()))
        .value(client::Column::Metadata, metadata)
        .value(client::Column::UpdatedAt, now.micros())
        .and_where(Expr::col(client::Column::Id).eq(id))
        .take();
    act.run(&update).await?;
    act.insert(event).await?;
    directory::changed(act).await
}

/// Makes these the audiences of the client; gives the conflict and changes nothing where one is taken.
async fn set_audiences(
    act: &mut Act<'_>,
    id: Uuid,
    audiences: Vec<client_audience::Model>,
) -> Result<Option<ClientConflict>, Fault> {
    for wanted in &audiences {
        let taken = client_audience::Entity::find()
            .filter(client_audience::Column::Audience.eq(&wanted.audience))
            .filter(client_audience::Column::Client.ne(id));
        if act.exists(taken).await? {
            return Ok(Some(ClientConflict::Audience(wanted.audience.clone())));
        }
    }
    let delete = Query::delete()
        .from_table(client_audience::Entity)
        .and_where(Expr::col(client_audience::Column::Client).eq(id))
        .take();
    act.run(&delete).await?;
    for audience in audiences {
        act.insert(audience).await?;
    }
    Ok(None)
}

/// Clients and their secrets, a row for each.
fn select_registered<const N: usize>(column: client::Column, values: [Value; N]) -> SelectStatement {
    let mut select = select_record::<client::Model>();
    select
        .expr(Expr::col((client_secret::Entity, client_secret::Column::SecretHash)))
        .expr(Expr::col((client_secret::Entity, client_secret::Column::ExpiresAt)))
        .left_join(
            client_secret::Entity,
            Expr::col((client_secret::Entity, client_secret::Column::Client))
                .equals((client::Entity, client::Column::Id)),
        )
        .and_where(Expr::col((client::Entity, column)).is_in(values));
    select
}
