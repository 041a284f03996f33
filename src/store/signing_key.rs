//! Signing keys at rest: their private parts are sealed before they come here. One act moves them, by the rules of
//! `keyward_protocol::key_schedule`, and one question tells what a key has signed that still lives.

use std::collections::VecDeque;
use std::sync::Arc;

use keyward_entities::{audit_event, grant, refresh_token, session, signing_key, user};
use keyward_keys::{Algorithm, KeyState};
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{KeyMove, KeyRefusal, KeyWaits, ScheduledKey};
use sea_orm::sea_query::{CaseStatement, Cond, Expr, ExprTrait, Func, Order, Query, SimpleExpr};
use sea_orm::{EntityTrait, QueryOrder};
use uuid::Uuid;

use super::{Act, Store, directory};
use crate::fault::Fault;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChangeKind {
    /// It is new, and published before it signs.
    Published,
    /// It is new and signs, for there was nothing else to sign with.
    Activated,
    /// It was the next key and signs now.
    Promoted,
    /// It doesn't sign any more and is still published.
    Retired,
    /// It isn't published any more.
    Withdrawn,
    /// It is gone.
    Removed,
    /// Nothing that it signed is accepted any more.
    Revoked,
}

impl KeyChangeKind {
    /// Its name, as reports show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Activated => "activated",
            Self::Promoted => "promoted",
            Self::Retired => "retired",
            Self::Withdrawn => "withdrawn",
            Self::Removed => "removed",
            Self::Revoked => "revoked",
        }
    }
}

/// A key that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Its name.
    pub kid: String,
    /// What it signs by.
    pub algorithm: Algorithm,
    /// What became of it.
    pub kind: KeyChangeKind,
}

/// How a change of keys ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOutcome {
    /// These keys were moved; none, where nothing was to be done.
    Changed(Vec<KeyChange>),
    /// The rule refused; nothing was changed.
    Refused(KeyRefusal),
    /// The rule asks for a new key that wasn't brought along, for somebody changed the keys meanwhile; nothing was
    /// changed.
    Short,
}

/// The rule that decides what moves, from what the act has locked.
pub type KeyRule = dyn Fn(&[ScheduledKey], &KeyWaits, Timestamp) -> Result<Vec<KeyMove>, KeyRefusal> + Send + Sync;

/// Makes the event of a change: how many there will be only the rule knows.
pub type KeyEvent = dyn Fn(&KeyChange) -> Result<audit_event::Model, Fault> + Send + Sync;

/// Grants of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsOfClient {
    /// The client.
    pub client: Uuid,
    /// Those that stand.
    pub standing: u64,
    /// Those of them for which a code was redeemed or a rotating refresh token used in the asked time.
    pub issued: u64,
}

/// A stored key as the rules see it.
///
/// # Errors
/// Where the row is damaged.
pub fn scheduled(row: &signing_key::Model) -> Result<ScheduledKey, Fault> {
    Ok(ScheduledKey {
        kid: row.kid.clone(),
        thumbprint: row.thumbprint.clone().unwrap_or_else(|| row.kid.clone()),
        algorithm: row.algorithm.parse().map_err(Fault::broken)?,
        state: row.state.parse().map_err(Fault::broken)?,
        published_at: Timestamp::from_micros(row.created_at),
        activated_at: row.activated_at.map(Timestamp::from_micros),
        retired_at: row.retired_at.map(Timestamp::from_micros),
    })
}

impl Store {
    /// Every key, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn signing_keys(&self) -> Result<Vec<signing_key::Model>, Fault> {
        self.read_for_upkeep(move |mut act| Box::pin(async move { all(&mut act).await })).await
    }

    /// Moves keys as the rule says. `fresh` has new keys for its `Add`; what it doesn't ask for is dropped. Into `waits`
    /// the act puts the longest life that the database remembers, where it is longer. The rule is asked inside the
    /// transaction, on rows that nobody else can change: of two nodes that want the same, the second finds it done.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn change_signing_keys(
        &self,
        rule: Arc<KeyRule>,
        fresh: Vec<signing_key::Model>,
        waits: KeyWaits,
        now: Timestamp,
        event: Box<KeyEvent>,
    ) -> Result<KeyOutcome, Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                directory::lock(&mut act).await?;
                let rows = all(&mut act).await?;
                let keys = rows.iter().map(scheduled).collect::<Result<Vec<_>, Fault>>()?;
                let remembered = directory::longest_token_life(&mut act).await?;
                let waits = KeyWaits { longest_life: Ord::max(waits.longest_life, remembered), ..waits };
                let moves = match rule(&keys, &waits, now) {
                    Ok(moves) => moves,
                    Err(refusal) => return Ok(KeyOutcome::Refused(refusal)),
                };
                let mut fresh = VecDeque::from(fresh);
                let Some(steps) = paired(moves, &mut fresh) else { return Ok(KeyOutcome::Short) };
                if steps.is_empty() {
                    return Ok(KeyOutcome::Changed(Vec::new()));
                }
                let mut done = Vec::new();
                for (step, new) in steps {
                    let change = apply(&mut act, step, new, &keys, now).await?;
                    act.insert(event(&change)?).await?;
                    done.push(change);
                }
                directory::changed(&mut act).await?;
                Ok(KeyOutcome::Changed(done))
            })
        })
        .await
    }

    /// The grants that stand now, by client, and those of them for which tokens were issued in this time (both ends
    /// included). `idle_timeout` is that of sessions, in seconds.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn grants_with_tokens_of(
        &self,
        from: Timestamp,
        until: Timestamp,
        idle_timeout: u64,
        now: Timestamp,
    ) -> Result<Vec<GrantsOfClient>, Fault> {
        let within = |column: SimpleExpr| column.between(from.micros(), until.micros());
        let of_the_grant = Query::select()
            .expr(Expr::val(1_i64))
            .from(refresh_token::Entity)
            .and_where(
                Expr::col((refresh_token::Entity, refresh_token::Column::GrantId))
                    .equals((grant::Entity, grant::Column::Id)),
            )
            .and_where(within(Expr::col((refresh_token::Entity, refresh_token::Column::IssuedAt))))
            .take();
        let issued = Cond::any()
            .add(within(Expr::col((grant::Entity, grant::Column::CreatedAt))))
            .add(Expr::exists(of_the_grant));
        let session_stands = Cond::all()
            .add(Expr::col((session::Entity, session::Column::EndedAt)).is_null())
            .add(Expr::col((session::Entity, session::Column::ExpiresAt)).gt(now.micros()))
            .add(
                Expr::col((session::Entity, session::Column::LastSeenAt)).gt(now.minus_seconds(idle_timeout).micros()),
            );
        let select = Query::select()
            .column((grant::Entity, grant::Column::Client))
            .expr(Func::count(Expr::col((grant::Entity, grant::Column::Id))))
            .expr(Func::count(CaseStatement::new().case(issued, Expr::val(1_i64))))
            .from(grant::Entity)
            .inner_join(
                user::Entity,
                Expr::col((user::Entity, user::Column::Id)).equals((grant::Entity, grant::Column::UserId)),
            )
            .left_join(
                session::Entity,
                Expr::col((session::Entity, session::Column::Id)).equals((grant::Entity, grant::Column::SessionId)),
            )
            .and_where(Expr::col((grant::Entity, grant::Column::EndedAt)).is_null())
            .and_where(Expr::col((grant::Entity, grant::Column::ExpiresAt)).gt(now.micros()))
            .and_where(Expr::col((user::Entity, user::Column::DisabledAt)).is_null())
            .cond_where(
                Cond::any().add(Expr::col((grant::Entity, grant::Column::TiedToSession)).eq(false)).add(session_stands),
            )
            .group_by_col((grant::Entity, grant::Column::Client))
            .order_by((grant::Entity, grant::Column::Client), Order::Asc)
            .take();
        self.read(move |mut act| {
            Box::pin(async move {
                let statement = act.backend().build(&select);
                let mut counts = Vec::new();
                for mut row in act.rows(statement).await? {
                    let client = row.take("client")?;
                    let standing: i64 = row.take("standing")?;
                    let issued: i64 = row.take("issued")?;
                    let number = |count: i64| u64::try_from(count).unwrap_or_default();
                    counts.push(GrantsOfClient { client, standing: number(standing), issued: number(issued) });
                }
                Ok(counts)
            })
        })
        .await
    }
}

async fn all(act: &mut Act<'_>) -> Result<Vec<signing_key::Model>, Fault> {
    act.all(signing_key::Entity::find().order_by_asc(signing_key::Column::Id)).await
}

/// Each step with the new key that it needs; `None` where one is missing.
fn paired(
    moves: Vec<KeyMove>,
    fresh: &mut VecDeque<signing_key::Model>,
) -> Option<Vec<(KeyMove, Option<signing_key::Model>)>> {
    moves
        .into_iter()
        .map(|step| match &step {
            KeyMove::Add { algorithm, .. } => {
                let place = fresh.iter().position(|key| key.algorithm == algorithm.as_str())?;
                let new = fresh.remove(place)?;
                Some((step, Some(new)))
            }
            _ => Some((step, None)),
        })
        .collect()
}

async fn apply(
    act: &mut Act<'_>,
    step: KeyMove,
    new: Option<signing_key::Model>,
    keys: &[ScheduledKey],
    now: Timestamp,
) -> Result<KeyChange, Fault> {
    let (kid, state, moment, kind) = match step {
        KeyMove::Add { algorithm, state } => {
            let new = new.ok_or_else(|| Fault::broken("a new key is missing"))?;
            let kid = new.kid.clone();
            let signs = state == KeyState::Active;
            act.insert(signing_key::Model {
                state: state.as_str().to_owned(),
                created_at: now.micros(),
                activated_at: signs.then_some(now.micros()),
                ..new
            })
            .await?;
            let kind = if signs { KeyChangeKind::Activated } else { KeyChangeKind::Published };
            return Ok(KeyChange { kid, algorithm, kind });
        }
        KeyMove::Remove { kid } => {
            let delete = Query::delete()
                .from_table(signing_key::Entity)
                .and_where(Expr::col(signing_key::Column::Kid).eq(kid.as_str()))
                .take();
            act.run(&delete).await?;
            return changed(keys, kid, KeyChangeKind::Removed);
        }
        KeyMove::Promote { kid } => (kid, KeyState::Active, signing_key::Column::ActivatedAt, KeyChangeKind::Promoted),
        KeyMove::Retire { kid } => (kid, KeyState::Retired, signing_key::Column::RetiredAt, KeyChangeKind::Retired),
        KeyMove::Withdraw { kid } => {
            (kid, KeyState::Archived, signing_key::Column::ArchivedAt, KeyChangeKind::Withdrawn)
        }
        KeyMove::Revoke { kid } => (kid, KeyState::Revoked, signing_key::Column::RevokedAt, KeyChangeKind::Revoked),
    };
    let update = Query::update()
        .table(signing_key::Entity)
        .value(signing_key::Column::State, state.as_str())
        .value(moment, now.micros())
        .and_where(Expr::col(signing_key::Column::Kid).eq(kid.as_str()))
        .take();
    match act.run(&update).await? {
        1 => changed(keys, kid, kind),
        _ => Err(Fault::broken(format_args!("the signing key {kid} is gone"))),
    }
}

fn changed(keys: &[ScheduledKey], kid: String, kind: KeyChangeKind) -> Result<KeyChange, Fault> {
    let key = keys.iter().find(|key| key.kid == kid);
    let algorithm = key.ok_or_else(|| Fault::broken(format_args!("there is no signing key {kid}")))?.algorithm;
    Ok(KeyChange { kid, algorithm, kind })
}
