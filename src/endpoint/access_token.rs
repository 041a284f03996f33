//! One of our own access tokens as it comes in at an endpoint, whatever its form: what it says, and whether it is live.

use std::sync::Arc;

use keyward_entities::opaque_token;
use keyward_guard::TokenRefusal;
use keyward_protocol::Timestamp;
use keyward_protocol::opaque_token as opaque;
use uuid::Uuid;

use crate::app::App;
use crate::fault::Fault;
use crate::issuer::parse_grant_name;
use crate::status_list;
use crate::store::authorization::LiveGrant;
use crate::store::client::RegisteredClient;
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
        let Some(client) = app.client(self.client_id()).await? else { return Ok(LiveToken::Ended) };
        let mark = revocation_mark(app, self.jti());
        let grant = match self.basis(app, &client, mark).await? {
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
        let Some(client) = app.client(self.client_id()).await? else { return Ok(false) };
        // It is of this client that it was found live, and not of an earlier one of that name.
        if self.is_older_than(&client) {
            return Ok(false);
        }
        if let (Self::Jwt(token), Some(endings)) = (self, endings)
            && token.known.holds(endings, now)
        {
            return Ok(true);
        }
        let Some(ends_at) = Box::pin(self.lives_until(app, &client, now)).await? else { return Ok(false) };
        if let (Self::Jwt(token), Some(endings)) = (self, endings) {
            token.known.remember(endings, now, ends_at);
        }
        Ok(true)
    }

    /// When it ends unless something ends it before; `None` where it has ended. Its own `exp` isn't looked at.
    async fn lives_until(
        &self,
        app: &App,
        client: &RegisteredClient,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Fault> {
        let mark = revocation_mark(app, self.jti());
        match self.basis(app, client, mark).await? {
            Basis::Nothing => Ok(None),
            Basis::Client => Ok(Some(Timestamp::from_micros(i64::MAX))),
            Basis::Grant(grant) => {
                let idle = app.settings.sessions.idle_timeout.as_secs();
                app.store.grant_stands_until(grant, mark, idle, now).await
            }
        }
    }

    /// Whether it is a JWT that a client got for itself before this client was there.
    fn is_older_than(&self, client: &RegisteredClient) -> bool {
        match self {
            Self::Jwt(token) if !token.other.contains_key("grant_id") => {
                i64::try_from(token.iat).is_ok_and(|iat| iat < client.created_at.seconds())
            }
            Self::Jwt(_) | Self::Opaque { .. } => false,
        }
    }

    async fn basis(&self, app: &App, client: &RegisteredClient, mark: [u8; 32]) -> Result<Basis, Fault> {
        Ok(match self {
            Self::Jwt(token) => match token.other.get("grant_id").and_then(|name| name.as_str()) {
                // As for an opaque one below; a JWT names no row, but its second.
                None if self.is_older_than(client) => Basis::Nothing,
                None if token.sub != token.client_id || app.store.is_marked(mark).await? => Basis::Nothing,
                // Its entry, where it has one, says that it ended when the client was disabled.
                None => match status_list::slot_of(app, token).await? {
                    Some(slot) if app.store.is_entry_ended(slot).await? => Basis::Nothing,
                    _ => Basis::Client,
                },
                Some(name) => parse_grant_name(name).map_or(Basis::Nothing, Basis::Grant),
            },
            // An identifier that was given to another client since doesn't bring the token back.
            Self::Opaque { row, .. } if row.client != client.id => Basis::Nothing,
            Self::Opaque { row, .. } => row.grant_id.map_or(Basis::Client, Basis::Grant),
        })
    }
}

/// The mark that says that a JWT was revoked by itself; an opaque token is forgotten.
pub fn revocation_mark(app: &App, jti: &str) -> [u8; 32] {
    app.secrets.token_hash.hash_list(&[b"revoked access token", jti.as_bytes()])
}
