//! The master key out of HashiCorp Vault or OpenBao: a field of a secret in the engine KV, version 2
//! (`GET /v1/<mount>/data/<path>`), read with a token, or with one that AppRole gives for the occasion
//! (`POST /v1/auth/<mount>/login`).
//!
//! Leaves out: other ways to sign in, and renewing a token, for there is one reading.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use super::kept::{ATTEMPTS, MOST_BYTES, NotRead, field_of};
use crate::clock::Clock;
use crate::outbound::operator::{OperatorAnswer, OperatorClient, Unanswered};
use crate::settings::{SecretReference, VaultSettings};

/// The field that is read where none is named.
pub(super) const DEFAULT_FIELD: &str = "master_key";
/// Pause before a further attempt, in milliseconds; it grows with each.
const PAUSE_MILLIS: u64 = 200;

/// Fetches the text of a field.
///
/// # Errors
/// Why there is none.
pub(super) async fn fetch(
    settings: &VaultSettings,
    secret: &SecretReference,
    time: Duration,
    clock: &Clock,
) -> Result<Zeroizing<String>, NotRead> {
    let vault = Vault::new(settings, time, clock)?;
    let token = match (&settings.token, &settings.role_id) {
        (Some(token), _) => token.clone(),
        (None, Some(role_id)) => vault.sign_in(role_id, settings.secret_id.as_ref(), &settings.approle_mount).await?,
        (None, None) => return Err(NotRead::Unusable("neither vault.token nor vault.role_id is set".to_owned())),
    };
    vault.read(&token, &settings.mount, secret).await
}

/// The secret of an answer of KV, version 2. A deleted version has no data.
#[derive(Deserialize)]
struct SecretAnswer<'a> {
    #[serde(borrow)]
    data: Version<'a>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Option<BTreeMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
struct LoginAnswer {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
}

/// One Vault, while it is asked.
struct Vault<'a> {
    client: OperatorClient,
    address: Url,
    namespace: Option<HeaderValue>,
    clock: &'a Clock,
}

impl<'a> Vault<'a> {
    fn new(settings: &VaultSettings, time: Duration, clock: &'a Clock) -> Result<Self, NotRead> {
        let unusable = |what: &dyn std::fmt::Display| NotRead::Unusable(what.to_string());
        let address = settings.address.as_deref().ok_or_else(|| unusable(&"vault.address isn't set"))?;
        let namespace = settings.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let ca_file = settings.ca_file.as_deref().map(|file| ("vault.ca_file", file));
        Ok(Self {
            client: OperatorClient::new(ca_file, time / ATTEMPTS, MOST_BYTES).map_err(|fault| unusable(&fault))?,
            address: address.parse().map_err(|error| unusable(&format_args!("vault.address: {error}")))?,
            namespace: namespace.map_err(|_| unusable(&"vault.namespace can't be a line of a request"))?,
            clock,
        })
    }

    /// A token by AppRole.
    async fn sign_in(
        &self,
        role_id: &str,
        secret_id: Option<&SecretString>,
        mount: &str,
    ) -> Result<SecretString, NotRead> {
        let url = self.url(["auth"].into_iter().chain(mount.split('/')).chain(["login"]))?;
        let mut body = json!({ "role_id": role_id });
        if let (Some(secret_id), Some(members)) = (secret_id, body.as_object_mut()) {
            members.insert("secret_id".to_owned(), secret_id.expose_secret().into());
        }
        let answer = self.ask(Method::POST, url, None, body.to_string().into_bytes()).await?;
        match answer.status {
            StatusCode::OK => {}
            // To those who haven't signed in it often doesn't say whether there is anything.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                let look = format!(
                    "vault.role_id or vault.secret_id is wrong, expired, used up, or not for this address, or there is \
                     no AppRole at auth/{mount} (vault.approle_mount, vault.namespace)"
                );
                return Err(NotRead::Forbidden(look));
            }
            status => return Err(unexpected(status)),
        }
        let answer: LoginAnswer = serde_json::from_slice(&answer.body).map_err(|_| foreign())?;
        Ok(SecretString::from(answer.auth.client_token))
    }

    /// The text of a field of a secret.
    async fn read(
        &self,
        token: &SecretString,
        mount: &str,
        secret: &SecretReference,
    ) -> Result<Zeroizing<String>, NotRead> {
        let url = self.url(mount.split('/').chain(["data"]).chain(secret.name().split('/')))?;
        let mut token = HeaderValue::from_str(token.expose_secret())
            .map_err(|_| NotRead::Unusable("the token can't be a line of a request".to_owned()))?;
        token.set_sensitive(true);
        let answer = self.ask(Method::GET, url, Some(token), Vec::new()).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let look = format!(
                    "the token is wrong or expired, or no policy of it allows \"read\" on {mount}/data/{}",
                    secret.name()
                );
                return Err(NotRead::Forbidden(look));
            }
            StatusCode::NOT_FOUND => return Err(NotRead::Missing),
            status => return Err(unexpected(status)),
        }
        let answer: SecretAnswer<'_> = serde_json::from_slice(&answer.body).map_err(|_| foreign())?;
        field_of(&answer.data.data.ok_or(NotRead::Missing)?, secret.field().unwrap_or(DEFAULT_FIELD))
    }

    fn url<'s>(&self, steps: impl Iterator<Item = &'s str>) -> Result<Url, NotRead> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| NotRead::Unusable("vault.address has no path that could be continued".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(steps.filter(|step| !step.is_empty()));
        Ok(url)
    }

    /// Asks, and again where the way there or Vault itself fails.
    async fn ask(
        &self,
        method: Method,
        url: Url,
        token: Option<HeaderValue>,
        body: Vec<u8>,
    ) -> Result<OperatorAnswer, NotRead> {
        let mut headers = HeaderMap::new();
        // Agents of Vault can demand it: a page in a browser can't be made to send it.
        headers.insert(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert(HeaderName::from_static("x-vault-namespace"), namespace.clone());
        }
        if let Some(token) = token {
            headers.insert(HeaderName::from_static("x-vault-token"), token);
        }
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = Zeroizing::new(body);
        let mut attempt = 1;
        loop {
            let why = match self.client.send(method.clone(), url.clone(), headers.clone(), body.to_vec()).await {
                Ok(answer) if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    NotRead::NotServing(answer.status.as_u16())
                }
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Unreachable(cause)) => NotRead::Unreachable(cause),
                Err(Unanswered::TimedOut) => NotRead::TimedOut,
                Err(Unanswered::TooLong) => return Err(NotRead::TooLong),
                Err(Unanswered::Redirected) => return Err(NotRead::Redirected),
            };
            if attempt == ATTEMPTS {
                return Err(why);
            }
            tracing::warn!(error = %why, attempt, "Vault was asked for the master key in vain; it is asked again");
            self.clock.sleep_millis(PAUSE_MILLIS * u64::from(attempt)).await;
            attempt += 1;
        }
    }
}

fn unexpected(status: StatusCode) -> NotRead {
    NotRead::Unusable(format!("it answers with the status {}", status.as_u16()))
}

fn foreign() -> NotRead {
    NotRead::Unusable(
        "its answer isn't one of Vault's; look at vault.address, and that vault.mount is KV, version 2".to_owned(),
    )
}
