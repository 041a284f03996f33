//! The request that waits while a person logs in or consents. It isn't stored: it travels sealed in the page's form and
//! in the address, so that a restart or a second tab can't lose it and strangers can't fill the disk.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::fault::Fault;

/// Longest encoded parameters that are carried.
pub const MOST_BYTES: usize = 8192;

/// What kind of request waits: one can't be passed off as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingKind {
    /// At the authorization endpoint.
    Authorization,
    /// At the end-session endpoint.
    EndSession,
}

impl PendingKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Authorization => b"authorization",
            Self::EndSession => b"end_session",
        }
    }
}

/// A waiting request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The parameters, form-encoded, as they came.
    pub parameters: String,
    /// When it came.
    pub since: Timestamp,
    /// When the login page was first shown for it.
    pub login_shown_at: Option<Timestamp>,
    /// The person confirmed the account.
    pub account_chosen: bool,
    /// The session and the scope that the consent page showed.
    pub consent_shown: Option<(String, String)>,
}

impl Pending {
    /// A request that just came.
    pub fn new(parameters: String, now: Timestamp) -> Self {
        Self { parameters, since: now, login_shown_at: None, account_chosen: false, consent_shown: None }
    }

    /// Seals it.
    ///
    /// # Errors
    /// Where there is no chance to be had.
    pub fn seal(&self, app: &App, kind: PendingKind) -> Result<String, Fault> {
        let plain = serde_json::to_vec(self)?;
        let sealed = app
            .secrets
            .request_sealing
            .seal(app.random.bytes()?, kind.label(), &plain)
            .map_err(Fault::broken)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens it. One that waited too long starts again: its request stands, what the person did for it doesn't.
    pub fn open(app: &App, kind: PendingKind, sealed: &str) -> Option<Self> {
        if sealed.len() > 2 * MOST_BYTES {
            return None;
        }
        let octets = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = app.secrets.request_sealing.open(kind.label(), &octets).ok()?;
        let pending: Self = serde_json::from_slice(&plain).ok()?;
        let now = app.clock.now();
        let lifetime = app.settings.authorization.pending_lifetime.as_secs();
        if now >= pending.since.plus_seconds(lifetime) {
            return Some(Self::new(pending.parameters, now));
        }
        Some(pending)
    }

    /// The address at which it goes on.
    ///
    /// # Errors
    /// As [`Pending::seal`].
    pub fn resume_address(&self, app: &App, kind: PendingKind) -> Result<String, Fault> {
        let path = match kind {
            PendingKind::Authorization => "authorize",
            PendingKind::EndSession => "end_session",
        };
        Ok(format!("{}/{path}?resume={}", app.settings.base_path(), self.seal(app, kind)?))
    }
}
