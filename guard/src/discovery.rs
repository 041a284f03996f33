//! Finds an issuer's keys and keeps them fresh: authorization server metadata (RFC 8414 §3, else OpenID Connect
//! Discovery §4), then its `jwks_uri` (RFC 7517 §5).
//!
//! Good keys are only ever replaced by good keys: an answer that is missing, malformed, too large, of another issuer or
//! empty changes nothing. A request waits for a fetch only when no known key has its token's `kid`; such fetches happen
//! at most every ten seconds, whoever asks. Left out: signed metadata (RFC 8414 §2.1), HTTP caching headers.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::access_token::AccessToken;
use crate::clock::{monotonic_now, wait};
use crate::keys::{KeySet, KeySetError};
use crate::outbound::{Outbound, OutboundError, PlainHttp, innermost};
use crate::refusal::TokenRefusal;
use crate::verifier::Verifier;

/// A longer document is refused. In bytes.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// While no key is known at all, an attempt that a request asks for is repeated at most this often.
const FIRST_KEYS_RETRY: Duration = Duration::from_secs(1);

/// After a failed refresh the background tries again this soon, or at its interval if that is shorter.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Why keys can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The issuer isn't a URL that RFC 8414 §2 allows: https (http on loopback only), no query, no fragment.
    #[error("the issuer must be an https URL without query and fragment (http is for loopback only)")]
    Issuer,
    /// There is no tokio runtime to refresh keys in.
    #[error("discovery must be started inside of a tokio runtime")]
    NoRuntime,
    /// The extra root certificates aren't PEM certificates.
    #[error("the extra root certificates hold no PEM certificate")]
    ExtraRoot,
    /// The private key for `private_key_jwt` isn't a PKCS#8 key in PEM for ES256 or Ed25519.
    #[error("the private key is no PKCS#8 key in PEM for ES256 or Ed25519")]
    PrivateKey,
    /// The introspection endpoint isn't an https URL (http on loopback only), or is missing where no metadata names it.
    #[error("the introspection endpoint must be an https URL, and be set where no keys are fetched")]
    IntrospectionEndpoint,
    /// Signed introspection answers are demanded, and no keys are fetched to check them with.
    #[error("signed introspection answers need the issuer's keys")]
    SignedWithoutKeys,
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
    /// The request failed.
    #[error("{url} can't be fetched")]
    Fetch {
        /// What was fetched.
        url: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// The answer isn't 200; redirects count as such and aren't followed.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than 512 KiB.
    #[error("{url} is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
    },
    /// The metadata document is malformed, names another issuer, or names a `jwks_uri` that isn't https.
    #[error("{url} isn't usable: {reason}")]
    Metadata {
        /// What was fetched.
        url: String,
        /// A fixed text.
        reason: &'static str,
    },
    /// The JWK set can't be used.
    #[error("{url} isn't usable")]
    Keys {
        /// What was fetched.
        url: String,
        /// Why.
        #[source]
        source: KeySetError,
    },
    /// The runtime ended while keys were being fetched.
    #[error("the fetch was stopped")]
    Stopped,
}

/// How keys are found and refreshed.
#[derive(Debug, Clone)]
#[must_use]
pub struct Discovery {
    refresh_every: Duration,
    refetch_at_most_every: Duration,
    timeout: Duration,
    extra_roots: Vec<Vec<u8>>,
    client: Option<Client>,
    plain_http: PlainHttp,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// Refresh every 5 minutes, for unknown keys at most every 10 s, 10 s for an answer.
    pub fn new() -> Self {
        Self {
            refresh_every: Duration::from_secs(300),
            refetch_at_most_every: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            extra_roots: Vec::new(),
            client: None,
            plain_http: PlainHttp::Loopback,
        }
    }

    /// How often the background refreshes the keys. A rotation must publish a key longer than this before signing with
    /// it; where it doesn't, the fetch for an unknown key fills in.
    pub fn refresh_every(mut self, interval: Duration) -> Self {
        self.refresh_every = interval;
        self
    }

    /// How often unknown keys may cause a fetch, over all requests together.
    pub fn refetch_at_most_every(mut self, interval: Duration) -> Self {
        self.refetch_at_most_every = interval;
        self
    }

    /// How long one answer may take, its body included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Also trusts the certificate authorities in this PEM text, beside those of the system. No effect on a client of
    /// one's own.
    pub fn extra_root_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(pem.into());
        self
    }

    /// Uses this client. It shouldn't follow redirects; an answer that came by one is refused in any case.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Allows http to hosts other than loopback, for networks that encrypt below HTTP. Who can change the answers can
    /// then forge any token.
    pub fn allow_plain_http(mut self) -> Self {
        self.plain_http = PlainHttp::Anywhere;
        self
    }

    /// The client alone, for a guard that needs no keys.
    pub(crate) fn outbound(&self) -> Result<Outbound, DiscoveryError> {
        Outbound::new(self.client.clone(), &self.extra_roots, self.timeout, self.plain_http)
    }

    /// Starts to fetch and refresh the keys of `issuer` in the background and returns at once.
    ///
    /// # Errors
    /// [`DiscoveryError::Issuer`], [`DiscoveryError::NoRuntime`], [`DiscoveryError::ExtraRoot`],
    /// [`DiscoveryError::Client`]. An issuer that is away is
    /// no error.
    pub fn start(self, issuer: &str) -> Result<IssuerKeys, DiscoveryError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| DiscoveryError::NoRuntime)?;
        let url = Url::parse(issuer).map_err(|_| DiscoveryError::Issuer)?;
        // RFC 8414 §2: "a URL that uses the "https" scheme and has no query or fragment components".
        if !self.plain_http.allows(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(DiscoveryError::Issuer);
        }
        let outbound = self.outbound()?;
        let inner = Arc::new(Inner {
            issuer: issuer.to_owned(),
            metadata_urls: metadata_urls(&url),
            settings: self,
            outbound,
            keys: ArcSwapOption::empty(),
            introspection_endpoint: ArcSwapOption::empty(),
            attempts: Arc::new(Mutex::new(Attempts { last_for_unknown_key: None, outcome: Outcome::Failed })),
        });
        let task = runtime.spawn(keep_fresh(Arc::clone(&inner))).abort_handle();
        Ok(IssuerKeys { inner, _background: Arc::new(Background(task)) })
    }
}

/// The keys of an issuer, refreshed in the background for as long as a clone of this exists.
#[derive(Clone)]
pub struct IssuerKeys {
    inner: Arc<Inner>,
    _background: Arc<Background>,
}

impl std::fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerKeys").field("issuer", &self.inner.issuer).field("keys", &self.current()).finish()
    }
}

struct Background(AbortHandle);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Inner {
    issuer: String,
    metadata_urls: [Url; 2],
    settings: Discovery,
    outbound: Outbound,
    keys: ArcSwapOption<KeySet>,
    /// RFC 8414 §2, as the newest good metadata names it.
    introspection_endpoint: ArcSwapOption<Url>,
    /// Held while fetching, so that one fetch serves all who wait.
    attempts: Arc<Mutex<Attempts>>,
}

struct Attempts {
    last_for_unknown_key: Option<Instant>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fetched,
    Failed,
}

impl IssuerKeys {
    /// The keys known now, if any have been had yet.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.inner.keys.load_full()
    }

    /// Fetches the keys now; joins a fetch that is under way by waiting for it and then fetching again.
    ///
    /// # Errors
    /// [`DiscoveryError`]; the keys known before stay.
    pub async fn refresh(&self) -> Result<(), DiscoveryError> {
        let attempts = Arc::clone(&self.inner.attempts).lock_owned().await;
        self.inner.fetch_detached(attempts).await
    }

    /// Verifies a token with the known keys, and once more with new ones if its key is unknown.
    ///
    /// # Errors
    /// As [`Verifier::verify`]; [`TokenRefusal::KeysUnavailable`] when the key is unknown and the issuer doesn't answer.
    pub async fn verify(
        &self,
        verifier: &Verifier,
        token: &str,
        now: impl Fn() -> u64,
    ) -> Result<AccessToken, TokenRefusal> {
        self.judge(|keys| verifier.verify(keys, token, now())).await.map(|(token, _)| token)
    }

    /// Judges with the known keys, and once more with new ones if a key is unknown. Gives the keys that judged as well.
    pub(crate) async fn judge<T>(
        &self,
        judge: impl Fn(&KeySet) -> Result<T, TokenRefusal>,
    ) -> Result<(T, Arc<KeySet>), TokenRefusal> {
        let seen = self.inner.keys.load_full();
        if let Some(keys) = &seen {
            match judge(keys) {
                Err(TokenRefusal::UnknownKey) => {}
                judged => return judged.map(|good| (good, Arc::clone(keys))),
            }
        }
        let outcome = self.inner.renew(seen.as_ref()).await;
        let judged = match self.inner.keys.load_full() {
            None => Err(TokenRefusal::KeysUnavailable),
            Some(keys) => judge(&keys).map(|good| (good, keys)),
        };
        match (judged, outcome) {
            // The issuer may have a key that we couldn't learn of: not the token's fault, and so no 401, after which a
            // client would throw a good token away.
            (Err(TokenRefusal::UnknownKey), Outcome::Failed) => Err(TokenRefusal::KeysUnavailable),
            (judged, _) => judged,
        }
    }

    /// Whether these are the keys in use now.
    pub(crate) fn are_current(&self, keys: &Arc<KeySet>) -> bool {
        self.inner.keys.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, keys))
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    /// The introspection endpoint that the metadata names; waits for the metadata if none has come yet.
    #[cfg(feature = "introspection")]
    pub(crate) async fn introspection_endpoint(&self) -> Option<Arc<Url>> {
        if self.inner.keys.load().is_none() {
            self.inner.renew(None).await;
        }
        self.inner.introspection_endpoint.load_full()
    }
}

impl Inner {
    /// Fetches keys because `seen` has none for a token, unless that was done a moment ago.
    async fn renew(self: &Arc<Self>, seen: Option<&Arc<KeySet>>) -> Outcome {
        let mut attempts = Arc::clone(&self.attempts).lock_owned().await;
        let current = self.keys.load_full();
        let unchanged = match (seen, &current) {
            (None, None) => true,
            (Some(seen), Some(current)) => Arc::ptr_eq(seen, current),
            _ => false,
        };
        if !unchanged {
            return Outcome::Fetched;
        }
        let pause = match current {
            Some(_) => self.settings.refetch_at_most_every,
            None => FIRST_KEYS_RETRY.min(self.settings.refetch_at_most_every),
        };
        if attempts.last_for_unknown_key.is_some_and(|last| last.elapsed() < pause) {
            return attempts.outcome;
        }
        attempts.last_for_unknown_key = Some(monotonic_now());
        match self.fetch_detached(attempts).await {
            Ok(()) => Outcome::Fetched,
            Err(_) => Outcome::Failed, // logged where it happened
        }
    }

    /// Fetches in a task of its own: a request that is given up meanwhile can't stop a fetch that others wait for.
    async fn fetch_detached(self: &Arc<Self>, attempts: OwnedMutexGuard<Attempts>) -> Result<(), DiscoveryError> {
        let inner = Arc::clone(self);
        tokio::spawn(async move { inner.fetch_and_note(attempts).await }).await.unwrap_or(Err(DiscoveryError::Stopped))
    }

    async fn fetch_and_note(&self, mut attempts: OwnedMutexGuard<Attempts>) -> Result<(), DiscoveryError> {
        match self.fetch().await {
            Ok(keys) => {
                tracing::debug!(issuer = %self.issuer, keys = keys.len(), ignored = keys.ignored(), "keys fetched");
                // The same keys stay the same object, so that what was verified with them needn't be verified again.
                if !self.keys.load().as_ref().is_some_and(|known| known.same_as(&keys)) {
                    self.keys.store(Some(Arc::new(keys)));
                }
                attempts.outcome = Outcome::Fetched;
                Ok(())
            }
            Err(error) => {
                let cause = error.source().map(|source| innermost(source).to_string());
                tracing::warn!(issuer = %self.issuer, %error, cause, "keys can't be fetched; known ones stay in use");
                attempts.outcome = Outcome::Failed;
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, DiscoveryError> {
        let [first, second] = &self.metadata_urls;
        let found = match self.metadata(first).await {
            Ok(found) => found,
            // Nobody answered: the same host won't answer on another path.
            Err(error @ DiscoveryError::Fetch { .. }) => return Err(error),
            Err(_) => self.metadata(second).await?,
        };
        let document = self.get(&found.jwks_uri).await?;
        let keys = KeySet::from_jwks_json(&document)
            .map_err(|source| DiscoveryError::Keys { url: found.jwks_uri.to_string(), source })?;
        self.introspection_endpoint.store(found.introspection_endpoint.map(Arc::new));
        Ok(keys)
    }

    async fn metadata(&self, url: &Url) -> Result<Metadata, DiscoveryError> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
            introspection_endpoint: Option<String>,
        }
        let unusable = |reason| DiscoveryError::Metadata { url: url.to_string(), reason };
        let document = self.get(url).await?;
        let document: Document =
            serde_json::from_slice(&document).map_err(|_| unusable("no JSON object with issuer and jwks_uri"))?;
        // RFC 8414 §3.3: the `issuer` must be identical to the one that the URL was made from.
        if document.issuer != self.issuer {
            return Err(unusable("it names another issuer"));
        }
        // RFC 8414 §2: "This URL MUST use the "https" scheme".
        let allowed = |text: &str| Url::parse(text).ok().filter(|url| self.outbound.allows(url));
        let jwks_uri = allowed(&document.jwks_uri).ok_or_else(|| unusable("its jwks_uri isn't an https URL"))?;
        let introspection_endpoint = document.introspection_endpoint.as_deref().and_then(allowed);
        Ok(Metadata { jwks_uri, introspection_endpoint })
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, DiscoveryError> {
        let text = url.to_string();
        match self.outbound.get(url, "application/json", None, MAX_DOCUMENT_BYTES).await {
            Ok(reply) if reply.status == 200 => Ok(reply.body),
            Ok(reply) => Err(DiscoveryError::Status { url: text, status: reply.status }),
            Err(OutboundError::Redirected { status }) => Err(DiscoveryError::Status { url: text, status }),
            Err(OutboundError::TooLarge) => Err(DiscoveryError::TooLarge { url: text }),
            Err(OutboundError::Request(source)) => Err(DiscoveryError::Fetch { url: text, source }),
        }
    }
}

/// What the issuer's metadata says that matters here.
struct Metadata {
    jwks_uri: Url,
    introspection_endpoint: Option<Url>,
}

/// RFC 8414 §3.1 puts the well-known part between host and path; OpenID Connect Discovery §4.1 puts it at the end.
fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ]
}

async fn keep_fresh(inner: Arc<Inner>) {
    loop {
        let attempts = Arc::clone(&inner.attempts).lock_owned().await;
        let pause = match inner.fetch_and_note(attempts).await {
            Ok(()) => inner.settings.refresh_every,
            Err(_) => inner.settings.refresh_every.min(RETRY_AFTER_FAILURE),
        };
        wait(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_lies_where_the_specifications_say() {
        for (issuer, inserted, appended) in [
            (
                "https://id.example",
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ),
            (
                "https://id.example/tenant/",
                "https://id.example/.well-known/oauth-authorization-server/tenant",
                "https://id.example/tenant/.well-known/openid-configuration",
            ),
        ] {
            let [first, second] = metadata_urls(&Url::parse(issuer).unwrap());
            assert_eq!((first.as_str(), second.as_str()), (inserted, appended));
        }
    }

    #[tokio::test]
    async fn an_issuer_that_no_specification_allows_is_refused() {
        for issuer in ["", "id.example", "http://id.example", "https://id.example?x", "https://id.example#x"] {
            assert!(matches!(Discovery::new().start(issuer), Err(DiscoveryError::Issuer)), "{issuer}");
        }
    }

    #[tokio::test]
    async fn an_extra_root_that_is_no_certificate_is_refused() {
        for pem in ["", "certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            let started = Discovery::new().extra_root_ca(pem).start("https://id.example");
            assert!(matches!(started, Err(DiscoveryError::ExtraRoot | DiscoveryError::Client(_))), "{pem}");
        }
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        assert!(matches!(Discovery::new().start("https://id.example"), Err(DiscoveryError::NoRuntime)));
    }
}
