//! Whose a code or a grant is: its user and the session in which it came to be, joined to it and judged in one place.

use keyward_entities::{session, user};
use keyward_protocol::Timestamp;
use keyward_protocol::session::{SessionTimes, ends_at, stands};
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef, SelectStatement};

use super::Row;
use super::authorization::LiveGrant;
use crate::fault::Fault;

/// A user and a session, each if it is there.
#[derive(Debug, Clone, Default)]
pub struct Owner {
    /// The user's `sub`; none where the user is gone.
    pub(super) subject: Option<String>,
    claims: Option<String>,
    pub(super) claims_updated_at: Option<i64>,
    disabled_at: Option<i64>,
    session_public_id: Option<String>,
    /// The times of the session, while it is known.
    pub(super) session_times: Option<SessionTimes>,
}

/// Adds to a selection what [`Owner::read`] reads, joined by this column and this value.
pub(super) fn join(select: &mut SelectStatement, user_id: impl IntoColumnRef, session_id: impl Into<Expr>) {
    select
        .expr(Expr::col((user::Entity, user::Column::Subject)))
        .expr(Expr::col((user::Entity, user::Column::Claims)))
        .expr(Expr::col((user::Entity, user::Column::UpdatedAt)))
        .expr(Expr::col((user::Entity, user::Column::DisabledAt)))
        .expr(Expr::col((session::Entity, session::Column::PublicId)));
    select_session_times(select);
    join_tables(select, user_id, session_id);
}

/// Of an owner only what decides whether it stands.
#[derive(Debug)]
pub(super) struct OwnerStanding {
    user_lives: bool,
    session_times: Option<SessionTimes>,
}

impl OwnerStanding {
    /// Adds to a selection what [`OwnerStanding::read`] reads, joined by this column and this value.
    pub(super) fn join(select: &mut SelectStatement, user_id: impl IntoColumnRef, session_id: impl Into<Expr>) {
        select
            .expr(Expr::col((user::Entity, user::Column::Id)))
            .expr(Expr::col((user::Entity, user::Column::DisabledAt)));
        select_session_times(select);
        join_tables(select, user_id, session_id);
    }

    /// Reads the columns that [`OwnerStanding::join`] added.
    ///
    /// # Errors
    /// Where a column is missing or of another kind.
    pub(super) fn read(row: &mut Row) -> Result<Self, Fault> {
        let id: Option<uuid::Uuid> = row.take("id")?;
        let disabled_at: Option<i64> = row.take("disabled_at")?;
        Ok(Self { user_lives: id.is_some() && disabled_at.is_none(), session_times: session_times(row)? })
    }

    /// The user exists and isn't disabled.
    pub(super) const fn user_lives(&self) -> bool {
        self.user_lives
    }

    /// As [`Owner::session_stands`].
    pub(super) fn session_stands(&self, idle_timeout: u64, now: Timestamp) -> bool {
        self.session_times.is_some_and(|times| stands(&times, idle_timeout, now))
    }

    /// As [`end_of`].
    pub(super) fn ends_at(&self, of_grant: Timestamp, tied_to_session: bool, idle_timeout: u64) -> Timestamp {
        end_of(of_grant, self.session_times.filter(|_| tied_to_session), idle_timeout)
    }
}

/// When a grant ends unless it is used before: by itself, or with the session that it is tied to.
fn end_of(of_grant: Timestamp, session: Option<SessionTimes>, idle_timeout: u64) -> Timestamp {
    session.map_or(of_grant, |times| of_grant.min(ends_at(&times, idle_timeout)))
}

fn select_session_times(select: &mut SelectStatement) {
    select
        .expr(Expr::col((session::Entity, session::Column::EndedAt)))
        .expr(Expr::col((session::Entity, session::Column::ExpiresAt)))
        .expr(Expr::col((session::Entity, session::Column::LastSeenAt)));
}

fn join_tables(select: &mut SelectStatement, user_id: impl IntoColumnRef, session_id: impl Into<Expr>) {
    select
        .left_join(user::Entity, Expr::col((user::Entity, user::Column::Id)).eq(Expr::col(user_id)))
        .left_join(session::Entity, Expr::col((session::Entity, session::Column::Id)).eq(session_id));
}

/// Reads the columns of [`select_session_times`].
fn session_times(row: &mut Row) -> Result<Option<SessionTimes>, Fault> {
    let ended_at: Option<i64> = row.take("ended_at")?;
    let expires_at: Option<i64> = row.take("expires_at")?;
    let last_seen_at: Option<i64> = row.take("last_seen_at")?;
    Ok(last_seen_at.zip(expires_at).map(|(last_seen_at, expires_at)| SessionTimes {
        last_seen_at: Timestamp::from_micros(last_seen_at),
        expires_at: Timestamp::from_micros(expires_at),
        ended_at: ended_at.map(Timestamp::from_micros),
    }))
}

impl Owner {
    /// A session and its user, as they were read.
    pub(super) fn of(session: &session::Model, user: &user::Model) -> Self {
        Self {
            subject: Some(user.subject.clone()),
            claims: Some(user.claims.clone()),
            claims_updated_at: Some(user.updated_at),
            disabled_at: user.disabled_at,
            session_public_id: Some(session.public_id.clone()),
            session_times: Some(super::session::times(session)),
        }
    }

    /// Reads the columns that [`join`] added.
    ///
    /// # Errors
    /// Where a column is missing or of another kind.
    pub(super) fn read(row: &mut Row) -> Result<Self, Fault> {
        let subject = row.take("subject")?;
        let claims = row.take("claims")?;
        let claims_updated_at = row.take("updated_at")?;
        let disabled_at = row.take("disabled_at")?;
        let session_public_id = row.take("public_id")?;
        let session_times = session_times(row)?;
        Ok(Self { subject, claims, claims_updated_at, disabled_at, session_public_id, session_times })
    }

    /// The user exists and isn't disabled.
    pub(super) const fn user_lives(&self) -> bool {
        self.subject.is_some() && self.disabled_at.is_none()
    }

    /// The session hasn't ended: by a logout, by its age, or because it wasn't used for long (NIST SP 800-63B §7.2).
    pub(super) fn session_stands(&self, idle_timeout: u64, now: Timestamp) -> bool {
        self.session_times.is_some_and(|times| stands(&times, idle_timeout, now))
    }

    /// What tokens of this grant are made from.
    pub(super) fn of_grant(
        self,
        grant: keyward_entities::grant::Model,
        idle_timeout: u64,
        now: Timestamp,
    ) -> LiveGrant {
        let session_stands = self.session_stands(idle_timeout, now);
        let of_grant = Timestamp::from_micros(grant.expires_at);
        let ends_at = end_of(of_grant, self.session_times.filter(|_| grant.tied_to_session), idle_timeout);
        LiveGrant {
            grant,
            subject: self.subject.unwrap_or_default(),
            claims: self.claims.unwrap_or_default(),
            claims_updated_at: Timestamp::from_micros(self.claims_updated_at.unwrap_or_default()),
            ends_at,
            session_public_id: self.session_public_id.filter(|_| session_stands),
        }
    }
}
