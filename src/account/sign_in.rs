//! Signing in by password, and the session that follows.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_entities::{session, user};
use keyward_protocol::acr::Acr;
use secrecy::SecretString;

use super::login_name::login_key;
use super::password::PasswordCheck;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind, AuditOrigin, AuditOutcome};
use crate::fault::Fault;
use crate::store::session::SessionLimit;

/// What a password alone says about the strength of an authentication (protocol decision 9).
const ACR_OF_PASSWORD: Acr = Acr::OneFactor;
/// The strongest class that a sign-in can reach: there are passwords alone.
pub const ACR_REACHABLE: Acr = ACR_OF_PASSWORD;
/// RFC 8176.
const AMR_PASSWORD: &str = "[\"pwd\"]";

/// The session that the browser has, with its user.
pub type Current = (session::Model, user::Model);

/// A session that was just started.
#[derive(Debug)]
pub struct Started {
    /// The cookie's value.
    pub cookie: String,
    /// Seconds until the session ends whatever happens.
    pub lifetime: u64,
}

/// What a sign-in comes with.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The name as it was typed.
    pub username: &'a str,
    /// The password as it was typed.
    pub password: SecretString,
    /// For the list of sessions.
    pub user_agent: &'a str,
    /// Where it came from.
    pub origin: &'a AuditOrigin,
    /// The session that the browser had.
    pub current: Option<&'a Current>,
}

/// Checks name and password and starts a session. `None` where they are wrong, whatever is wrong with them: an unknown
/// user, a wrong password and a disabled account take the same hash and the same reads (requirement AC-4).
///
/// # Errors
/// Where the database fails or too many wait.
pub async fn sign_in(app: &App, attempt: Attempt<'_>) -> Result<Option<Started>, Fault> {
    // What changed between check and start is judged anew, once: a sign-in beside this one may have renewed the hash.
    match check_and_start(app, &attempt).await? {
        Outcome::Changed => Ok(check_and_start(app, &attempt).await?.started()),
        outcome => Ok(outcome.started()),
    }
}

/// How one try ended.
enum Outcome {
    Started(Started),
    Wrong,
    /// The user's password or state changed while it was checked.
    Changed,
}

impl Outcome {
    fn started(self) -> Option<Started> {
        match self {
            Self::Started(started) => Some(started),
            Self::Wrong | Self::Changed => None,
        }
    }
}

async fn check_and_start(app: &App, attempt: &Attempt<'_>) -> Result<Outcome, Fault> {
    let key = login_key(attempt.username).unwrap_or_default();
    let found = app.store.find_user_by_login_key(&key).await?;
    let too_long = attempt.password_bytes() > app.settings.passwords.max_bytes;
    let subject = found.as_ref().map(|user| user.subject.clone());
    let stored = found.as_ref().and_then(|user| user.password_hash.clone());
    let password = if too_long { SecretString::from("") } else { attempt.password.clone() };
    let checked = app.passwords.check(password, stored.clone(), app.random.bytes()?).await?;
    let right = match checked {
        PasswordCheck::Right { rehashed } if !too_long => Some(rehashed),
        PasswordCheck::Right { .. } | PasswordCheck::Wrong => None,
    };
    let (Some(user), Some(rehashed)) = (found.filter(|user| user.disabled_at.is_none()), right) else {
        let event = AuditEvent::new(AuditKind::SignIn, AuditOutcome::Failure, "anonymous", attempt.origin);
        // People type passwords into the wrong field: what isn't the name of a user is recorded as a keyed hash.
        let event = match subject {
            Some(subject) => event.subject(subject),
            None => {
                let hash = app.secrets.token_hash.hash_list(&[b"login key", key.as_bytes()]);
                event
                    .detail("unknown_name", BASE64_URL_SAFE_NO_PAD.encode(hash.first_chunk::<12>().unwrap_or(&[0; 12])))
            }
        };
        app.audit_later(event).await?;
        return Ok(Outcome::Wrong);
    };
    let checked_hash = match (rehashed, stored) {
        (Some(fresh), Some(checked)) => {
            if !app.store.rehash_password(user.id, checked, fresh.clone()).await? {
                return Ok(Outcome::Changed);
            }
            Some(fresh)
        }
        (_, stored) => stored,
    };
    let event =
        AuditEvent::new(AuditKind::SignIn, AuditOutcome::Success, format!("user:{}", user.subject), attempt.origin)
            .subject(user.subject.clone());
    let event = app.audit_record(event)?;
    let (started, row) = new_session(app, &user, attempt.user_agent, attempt.origin)?;
    // A person who authenticates again keeps the session and gets a new id; anybody else gets a new session.
    if let Some((current, _)) = attempt.current.filter(|(_, owner)| owner.id == user.id)
        && app.store.renew_session(current.id, &row, checked_hash.clone(), event.clone()).await?
    {
        return Ok(Outcome::Started(started));
    }
    let replaces = attempt.current.map(|(session, _)| session.id);
    let crowded = AuditEvent::new(AuditKind::SignOut, AuditOutcome::Success, "server", attempt.origin)
        .subject(user.subject)
        .detail("reason", "too_many_sessions");
    let limit = SessionLimit { most: app.settings.sessions.max_per_user, event: app.audit_record(crowded)? };
    let stands = app.store.start_session(row, checked_hash, replaces, limit, event).await?;
    Ok(if stands { Outcome::Started(started) } else { Outcome::Changed })
}

/// A session of a person who has just authenticated by password, not yet stored, and what its browser gets.
///
/// # Errors
/// Where there is no chance to be had.
pub fn new_session(
    app: &App,
    user: &user::Model,
    user_agent: &str,
    origin: &AuditOrigin,
) -> Result<(Started, session::Model), Fault> {
    let now = app.clock.now();
    let cookie = app.random.secret()?;
    let lifetime = app.settings.sessions.absolute_timeout.as_secs();
    let row = session::Model {
        id: app.random.uuid_v7(now)?,
        session_hash: app.secrets.session_hash.hash(cookie.as_bytes()).to_vec(),
        public_id: app.random.name()?,
        user_id: user.id,
        auth_time: now.micros(),
        acr: ACR_OF_PASSWORD.as_str().to_owned(),
        amr: AMR_PASSWORD.to_owned(),
        created_at: now.micros(),
        last_seen_at: now.micros(),
        expires_at: now.plus_seconds(lifetime).micros(),
        ended_at: None,
        end_reason: None,
        user_agent: user_agent.chars().take(300).collect(),
        address: origin.address.clone().unwrap_or_default(),
    };
    Ok((Started { cookie, lifetime }, row))
}

impl Attempt<'_> {
    fn password_bytes(&self) -> usize {
        secrecy::ExposeSecret::expose_secret(&self.password).len()
    }
}
