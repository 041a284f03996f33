//! One of our own access tokens as it comes in at an endpoint, whatever its form: what it says, and whether it is live.

use std::sync::Arc;

use keyward_entities::opaque_token;
use keyward_guard::{AccessToken, TokenRefusal};
use keyward_protocol::Timestamp;
use keyward_protocol::opaque_token as opaque;
use uuid::Uuid;

use crate::app::App;
use crate::fault::Fault;
use crate::issuer::parse_grant_name;
use crate::status_list;
use crate::store::authorization::LiveGrant;
use crate::verified_token::VerifiedToken;

/// A token that was issued by this server and hasn't expired. Whether it is live is another question.
#[derive(Debug)]
pub enum PresentedToken {
    /// A JWT whose signature and claims were checked.
    Jwt(Arc<VerifiedToken>),
    /// A reference that is known.
    Opaque {
        /// The row.
        row: Box<opaque_token::Model>,
        /// Whom it is for.
        audience: Vec<String>,
    },
}

/// What a token rests on, of which all but a grant is known to stand.
#[derive(Debug, Clone, Copy)]
enum Basis {
    /// A client, for itself.
    Client,
    /// A person's grant.
    Grant(Uuid),
    /// Nothing any more.
    Nothing,
}

/// What a token of ours stands for now.
#[derive(Debug)]
pub enum LiveToken {
    /// A client for itself.
    OfClient,
    /// A person's grant.
    OfGrant(Box<LiveGrant>),
    /// Nothing any more.
    Ended,
}

/// Whether a text can be an access token and no refresh token: ours are JWTs, which have dots, or opaque ones, whose form
/// says so.
pub fn is_access_token(text: &str) -> bool {
    text.contains('.') || opaque::is_one(text)
}

/// Reads a token. The inner error says what is wrong with it.
///
/// # Errors
/// Where the database fails.
pub async fn read(app: &App, text: &str) -> Result<Result<PresentedToken, TokenRefusal>, Fault> {
    if !opaque::is_one(text) {
        return Ok(app.verify_access_token(text).map(PresentedToken::Jwt));
    }
    let found = app.store.find_opaque_token(app.secrets.token_hash.hash(text.as_bytes())).await?;
    let Some(row) = found else { return Ok(Err(TokenRefusal::Malformed)) };
    // As for a JWT: until the second of its end, and not in it.
    if app.clock.now().seconds() >= row.expires_at.div_euclid(1_000_000) {
        return Ok(Err(TokenRefusal::Expired));
    }
    let audience = serde_json::from_str(&row.audience)?;
    Ok(Ok(PresentedToken::Opaque { row: Box::new(row), audience }))
}

impl PresentedToken {
    /// The client that it was issued to.
    pub fn client_id(&self) -> &str {
        match self {
            Self::Jwt(token) => &token.client_id,
            Self::Opaque { row, .. } => &row.client_id,
        }
    }

    /// Whom it is for.
    pub fn audience(&self) -> &[String] {
        match self {
            Self::Jwt(token) => &token.aud,
            Self::Opaque { audience, .. } => audience,
        }
    }

    /// What it allows.
    pub fn scope(&self) -> &str {
        match self {
            Self::Jwt(token) => token.scope.as_str(),
            Self::Opaque { row, .. } => &row.scope,
        }
    }

    fn jti(&self) -> &str {
        match self {
            Self::Jwt(token) => &token.jti,
            Self::Opaque { row, .. } => &row.jti,
        }
    }

    /// Protocol decision 19: a token is accepted only while grant, user and client are live and it wasn't revoked itself.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn live(&self, app: &App) -> Result<LiveToken, Fault> {
        if !self.has_its_client(app).await? {
            return Ok(LiveToken::Ended);
        }
        let mark = revocation_mark(app, self.jti());
        let grant = match self.basis(app, mark).await? {
            Basis::Nothing => return Ok(LiveToken::Ended),
            Basis::Client => return Ok(LiveToken::OfClient),
            Basis::Grant(grant) => grant,
        };
        let idle = app.settings.sessions.idle_timeout.as_secs();
        let found = app.store.find_live_grant(grant, mark, idle, app.clock.now()).await?;
        Ok(found.map_or(LiveToken::Ended, |live| LiveToken::OfGrant(Box::new(live))))
    }

    /// Whether [`PresentedToken::live`] would say anything but that it has ended. A JWT that was found live a moment ago is
    /// looked for again only where something may have ended since.
    ///
    /// # Errors
    /// As there.
    pub async fn is_live(&self, app: &App) -> Result<bool, Fault> {
        // Before anything is looked at: what ends meanwhile counts as having ended after it.
        let (endings, now) = (app.store.endings(), app.clock.now());
        if !self.has_its_client(app).await? {
            return Ok(false);
        }
        let remembered = match (self, endings) {
            (Self::Jwt(token), Some(endings)) => Some((&token.known, endings)),
            _ => None,
        };
        if remembered.is_some_and(|(known, endings)| known.holds(endings, now)) {
            return Ok(true);
        }
        let Some(ends_at) = Box::pin(self.lives_until(app, now)).await? else { return Ok(false) };
        if let Some((known, endings)) = remembered {
            known.remember(endings, now, ends_at);
        }
        Ok(true)
    }

    /// When it ends unless something ends it before; `None` where it has ended. Neither its own `exp` nor its client is
    /// looked at.
    async fn lives_until(&self, app: &App, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
        let mark = revocation_mark(app, self.jti());
        match self.basis(app, mark).await? {
            Basis::Nothing => Ok(None),
            Basis::Client => Ok(Some(Timestamp::from_micros(i64::MAX))),
            Basis::Grant(grant) => {
                let idle = app.settings.sessions.idle_timeout.as_secs();
                app.store.grant_stands_until(grant, mark, idle, now).await
            }
        }
    }

    /// Whether the client stands that it was issued to: an identifier that was given to another client since doesn't bring
    /// the token back.
    async fn has_its_client(&self, app: &App) -> Result<bool, Fault> {
        let Some(client) = app.client(self.client_id()).await? else { return Ok(false) };
        Ok(match self {
            Self::Opaque { row, .. } => row.client == client.id,
            // One of a person ends with its grant. Another names no row, but its second.
            Self::Jwt(token) => {
                grant_name(token).is_some()
                    || !i64::try_from(token.iat).is_ok_and(|iat| iat < client.created_at.seconds())
            }
        })
    }

    /// What it rests on beside its client.
    async fn basis(&self, app: &App, mark: [u8; 32]) -> Result<Basis, Fault> {
        Ok(match self {
            Self::Jwt(token) => match grant_name(token) {
                None if token.sub != token.client_id || app.store.is_marked(mark).await? => Basis::Nothing,
                // Its entry, where it has one, says that it ended when the client was disabled.
                None => match status_list::slot_of(app, token).await? {
                    Some(slot) if app.store.is_entry_ended(slot).await? => Basis::Nothing,
                    _ => Basis::Client,
                },
                Some(name) => parse_grant_name(name).map_or(Basis::Nothing, Basis::Grant),
            },
            Self::Opaque { row, .. } => row.grant_id.map_or(Basis::Client, Basis::Grant),
        })
    }
}

/// The grant that a JWT of a person names.
fn grant_name(token: &AccessToken) -> Option<&str> {
    token.other.get("grant_id").and_then(|name| name.as_str())
}

/// The mark that says that a JWT was revoked by itself; an opaque token is forgotten.
pub fn revocation_mark(app: &App, jti: &str) -> [u8; 32] {
    app.secrets.token_hash.hash_list(&[b"revoked access token", jti.as_bytes()])
}
