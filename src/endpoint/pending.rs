//! The request that waits while a person logs in or consents. It isn't stored: it travels sealed in the page's form and
//! in the address, so that a restart or a second tab can't lose it and strangers can't fill the disk.
//!
//! What the person did for it counts in the browser where it was done: an address with progress in it, handed to
//! somebody else, starts again there.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_protocol::Timestamp;
use keyward_protocol::consent::Consented;
use keyward_protocol::parameters::Parameters;
use keyward_protocol::scope::ScopeSet;
use serde::{Deserialize, Serialize};

use crate::account::sign_in::Current;
use crate::app::App;
use crate::fault::Fault;
use crate::http::Incoming;
use crate::http::csrf::{self, FormToken};
use crate::page::view::LoginNotice;

/// Longest encoded parameters that are carried.
pub const MOST_BYTES: usize = 8192;
/// Longest name that is carried back to the login form.
const MOST_NAME_BYTES: usize = 320;

/// What kind of request waits: one can't be passed off as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingKind {
    /// At the authorization endpoint.
    Authorization,
    /// At the end-session endpoint.
    EndSession,
    /// At the login page, for our own pages.
    Login,
}

impl PendingKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Authorization => b"authorization",
            Self::EndSession => b"end_session",
            Self::Login => b"login",
        }
    }
}

/// A page of ours to which the login page leads on. A closed list: nothing that a request brings can name another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPage {
    /// The person's own page.
    Home,
    /// A new password.
    ChangePassword,
}

impl OwnPage {
    const ALL: [Self; 2] = [Self::Home, Self::ChangePassword];

    const fn path(self) -> &'static str {
        match self {
            Self::Home => "/",
            Self::ChangePassword => "/account/password",
        }
    }

    /// Its address below the path of the public URL.
    #[must_use]
    pub fn address(self, base: &str) -> String {
        format!("{base}{}", self.path())
    }
}

/// What a consent page showed: the answer counts for this alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentShown {
    /// The public id of the session.
    pub session: String,
    /// The scope.
    scope: ScopeSet,
    /// The claims beside it. What waits since an earlier version knows of none.
    #[serde(default)]
    claims: BTreeSet<String>,
}

impl ConsentShown {
    /// What is shown to the person of this session.
    pub fn to((session, _): &Current, wanted: &Consented) -> Self {
        Self { session: session.public_id.clone(), scope: wanted.scope.clone(), claims: wanted.claims.clone() }
    }

    /// What was shown.
    pub fn wanted(self) -> Consented {
        Consented { scope: self.scope, claims: self.claims }
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
    /// What the consent page showed, and to whom.
    pub consent_shown: Option<ConsentShown>,
    /// The session that the person wants to leave for another account; a hash of its cookie.
    pub leaves: Option<String>,
    /// What the login page says, once, of the answer that it got.
    pub notice: Option<LoginNotice>,
    /// The name that was typed there.
    pub username: String,
    /// The browser in which all this happened ([`FormToken::browser`]).
    browser: Option<String>,
}

impl Pending {
    /// A request that just came.
    pub fn new(parameters: String, now: Timestamp) -> Self {
        Self {
            parameters,
            since: now,
            login_shown_at: None,
            account_chosen: false,
            consent_shown: None,
            leaves: None,
            notice: None,
            username: String::new(),
            browser: None,
        }
    }

    /// The wish for a page of ours, of the kind [`PendingKind::Login`].
    pub fn for_own_page(page: OwnPage, now: Timestamp) -> Self {
        Self::new(page.path().to_owned(), now)
    }

    /// The page of ours that waits behind the login page.
    #[must_use]
    pub fn own_page(&self) -> OwnPage {
        OwnPage::ALL.into_iter().find(|page| page.path() == self.parameters).unwrap_or(OwnPage::Home)
    }

    /// The same, bound to the browser that gets this form.
    #[must_use]
    pub fn bound_to(mut self, form: &FormToken) -> Self {
        self.browser = Some(form.browser.clone());
        self
    }

    /// The same with what the login page is to say, and the name that was typed unless it is absurdly long.
    #[must_use]
    pub fn with_notice(mut self, notice: LoginNotice, username: &str) -> Self {
        self.notice = Some(notice);
        self.username = if username.len() <= MOST_NAME_BYTES { username.to_owned() } else { String::new() };
        self
    }

    /// The same as a form carries it: what was said once isn't said again. That a form was stale already is remembered,
    /// for it tells a browser that keeps no cookies.
    #[must_use]
    pub fn said(mut self) -> Self {
        self.notice = self.notice.filter(|notice| *notice == LoginNotice::StaleForm);
        self.username = String::new();
        self
    }

    /// The sealed request that an address carries: `resume` is ours where it stands alone, and else a parameter of the
    /// client's that means nothing here.
    pub fn in_address(parameters: &Parameters) -> Option<&str> {
        match parameters.pairs() {
            [(name, value)] if name == "resume" => Some(value),
            _ => None,
        }
    }

    /// Seals it.
    ///
    /// # Errors
    /// Where there is no chance to be had.
    pub fn seal(&self, app: &App, kind: PendingKind) -> Result<String, Fault> {
        let plain = serde_json::to_vec(self)?;
        let sealed =
            app.secrets.request_sealing.seal(app.random.bytes()?, kind.label(), &plain).map_err(Fault::broken)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The one that a page's form carries in its field `request`; `None` as for [`Pending::open`].
    pub fn of_form(app: &App, incoming: &Incoming, kind: PendingKind, form: &Parameters) -> Option<Self> {
        Self::open(app, incoming, kind, form.get("request")?)
    }

    /// Opens it. One that waited too long or comes from another browser starts again: its request stands, what the
    /// person did for it doesn't.
    pub fn open(app: &App, incoming: &Incoming, kind: PendingKind, sealed: &str) -> Option<Self> {
        if sealed.len() > 4 * MOST_BYTES {
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
        if pending.browser.is_some() && pending.browser == csrf::this_browser(app, incoming) {
            return Some(pending);
        }
        let stale = pending.notice.filter(|notice| *notice == LoginNotice::StaleForm);
        Some(Self { notice: stale, ..Self::new(pending.parameters, pending.since) })
    }

    /// The address at which it goes on.
    ///
    /// # Errors
    /// As [`Pending::seal`].
    pub fn resume_address(&self, app: &App, kind: PendingKind) -> Result<String, Fault> {
        let path = match kind {
            PendingKind::Authorization => "authorize?resume",
            PendingKind::EndSession => "end_session?resume",
            PendingKind::Login => "login?retry",
        };
        Ok(format!("{}/{path}={}", app.settings.base_path(), self.seal(app, kind)?))
    }
}
