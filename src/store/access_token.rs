//! Access tokens that the server remembers: opaque ones, and those that are in a status list. Plain JWTs aren't stored.
//!
//! They are written in the act that gives the grant or uses the refresh token, and judged by their grant: who ends a
//! grant needn't know of them.

use std::sync::Arc;

use keyward_entities::{StatementText, audit_event, opaque_token, status_entry};
use keyward_protocol::scope::ScopeSet;
use keyward_protocol::status_list::Slot;
use keyward_protocol::{ErrorCode, Refusal, Timestamp};
use sea_orm::Statement;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use uuid::Uuid;

use super::act::select_record;
use super::authorization::LiveGrant;
use super::directory::Directory;
use super::{Act, Store};
use crate::fault::Fault;

/// An access token as it was decided, before it is written or signed.
#[derive(Debug, Clone)]
pub struct PlannedToken {
    /// Its name.
    pub jti: String,
    /// What it allows.
    pub scope: ScopeSet,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// When it was decided.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What it is like.
    pub form: PlannedForm,
}

/// What the token is like, and what of it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedForm {
    /// A JWT; nothing.
    Jwt,
    /// A JWT with a bit in a status list.
    ListedJwt(Slot),
    /// Opaque.
    Opaque {
        /// The keyed hash.
        token_hash: [u8; 32],
        /// The identifier of its client.
        client_id: String,
    },
}

/// What [`TokenPlanner::plan`] runs: twice, where the act that it is part of is tried twice.
type Planning = Box<dyn Fn(&LiveGrant, &ScopeSet, &[String]) -> Result<PlannedToken, Refusal> + Send + Sync>;

/// Decides the access token of a grant inside the act, where the grant is known and nothing was spent yet.
pub struct TokenPlanner {
    directory: Arc<Directory>,
    plan: Planning,
}

impl std::fmt::Debug for TokenPlanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenPlanner")
    }
}

impl TokenPlanner {
    /// From a rule, which gets the grant, the scope that the person may still give, and the granted resources.
    pub fn new(
        directory: Arc<Directory>,
        plan: impl Fn(&LiveGrant, &ScopeSet, &[String]) -> Result<PlannedToken, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self { directory, plan: Box::new(plan) }
    }

    /// Decides.
    pub(super) async fn plan(
        &self,
        act: &mut Act<'_>,
        live: &LiveGrant,
        scope: &ScopeSet,
        granted: &[String],
    ) -> Result<Result<PlannedToken, Refusal>, Fault> {
        // Roles are looked at only where a scope is for holders of certain ones.
        if !scope.iter().any(|name| self.directory.is_for_roles(name)) {
            return Ok((self.plan)(live, scope, granted));
        }
        let held = super::user::membership(act, live.grant.user_id).await?.roles.into_iter().collect();
        // Requirement RB-2: a scope goes from the next token of a person who has lost its roles.
        let given = scope.filter(|name| self.directory.may_give(&held, name));
        if given.is_empty() {
            let why = "The person may give nothing of what was granted.";
            return Ok(Err(Refusal::new(ErrorCode::InvalidGrant, why)));
        }
        let withheld = scope.filter(|name| !given.contains(name));
        if !withheld.is_empty() {
            tracing::info!(scope = %withheld, "scopes were withheld, for the person lacks their roles");
        }
        Ok((self.plan)(live, &given, granted))
    }
}

/// Whose token it is.
#[derive(Debug, Clone, Copy)]
pub struct TokenOwner {
    /// The client.
    pub client: Uuid,
    /// The grant; none for a client's own token.
    pub grant: Option<Uuid>,
}

impl Store {
    /// Remembers a token that no grant's act wrote: a client's own (RFC 6749 §4.4). `false` where the client was deleted or
    /// disabled meanwhile: who does so ends what is remembered by then, and nothing may come behind it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remember_access_token(&self, token: PlannedToken, client: Uuid) -> Result<bool, Fault> {
        static TEXT: StatementText = StatementText::new();
        self.act_adding(move |mut act| {
            Box::pin(async move {
                let statement = act.fixed(&TEXT, vec![client.into()], || super::client::standing(client));
                if act.rows(statement).await?.is_empty() {
                    return Ok(false);
                }
                if let Some(insert) = remembering(&act, &token, TokenOwner { client, grant: None })? {
                    act.exec(insert).await?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// The opaque token of this hash.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_opaque_token(&self, token_hash: [u8; 32]) -> Result<Option<opaque_token::Model>, Fault> {
        static TEXT: StatementText = StatementText::new();
        self.read(move |mut act| {
            Box::pin(async move {
                let hash = token_hash.to_vec();
                let statement = act.fixed(&TEXT, vec![hash.clone().into()], || {
                    let mut select = select_record::<opaque_token::Model>();
                    select.and_where(Expr::col(opaque_token::Column::TokenHash).eq(hash)).take()
                });
                act.rows(statement).await?.first_mut().map(super::Row::record).transpose()
            })
        })
        .await
    }

    /// Forgets an opaque token, with which it has ended; its event is written where it was known.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn forget_opaque_token(&self, token_hash: [u8; 32], event: audit_event::Model) -> Result<(), Fault> {
        self.act(move |mut act| {
            Box::pin(async move {
                let delete = Query::delete()
                    .from_table(opaque_token::Entity)
                    .and_where(Expr::col(opaque_token::Column::TokenHash).eq(token_hash.to_vec()))
                    .take();
                if act.run(&delete).await? > 0 {
                    act.insert(event).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Ends what is remembered of a client's tokens for itself. `now` is in microseconds. The caller has locked the client and
/// taken its turn with cleaning up.
pub(super) async fn end_own(act: &mut Act<'_>, client: Uuid, now: i64) -> Result<(), Fault> {
    act.notes.ending();
    let opaque = Query::delete()
        .from_table(opaque_token::Entity)
        .and_where(Expr::col(opaque_token::Column::Client).eq(client))
        .and_where(Expr::col(opaque_token::Column::GrantId).is_null())
        .take();
    act.run(&opaque).await?;
    super::status_list::mark_entries_of_client(act, client, now).await
}

/// The statement that writes what is remembered of a token; none for a plain JWT.
pub(super) fn remembering(act: &Act<'_>, token: &PlannedToken, owner: TokenOwner) -> Result<Option<Statement>, Fault> {
    Ok(match (&token.form, owner.grant) {
        (PlannedForm::Jwt, _) => None,
        (PlannedForm::ListedJwt(slot), grant) => Some(act.inserting(status_entry::Model {
            slot: slot.number(),
            grant_id: grant.unwrap_or(owner.client),
            expires_at: token.expires_at.micros(),
            ended_at: None,
        })),
        (PlannedForm::Opaque { token_hash, client_id }, grant_id) => Some(act.inserting(opaque_token::Model {
            token_hash: token_hash.to_vec(),
            jti: token.jti.clone(),
            client: owner.client,
            client_id: client_id.clone(),
            grant_id,
            scope: token.scope.to_string(),
            audience: serde_json::to_string(&token.audience)?,
            issued_at: token.issued_at.micros(),
            expires_at: token.expires_at.micros(),
        })),
    })
}
